"""Joins the training runs of generator and discriminator into one config for GraspGen's demo scripts.

Source: ``grasp_gen/grasp_server.py`` and ``tutorials`` of NVlabs/GraspGen: checkpoints are named relative to the config's folder, and
the gripper has to be the same in ``data``, ``diffusion`` and ``discriminator``.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graspgen_cli.errors import InputError, one_line
from graspgen_cli.files import Placed, load_plain_yaml, place_file, read_bounded
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.settings.commands import InferenceConfigCommand

_DEMO = Path("scripts/demo_object_mesh.py")
_TRAINED_AS = {"generator": "diffusion", "discriminator": "discriminator"}
"""``train.model_name`` of the two runs, and the section of the model."""
_LARGEST = 1 << 20


@dataclass(frozen=True)
class InferenceConfig:
    """The file, what was done with it, and the command that tries the model."""

    path: Path
    status: Placed
    demo: str


def make_inference_config(settings: InferenceConfigCommand) -> InferenceConfig:
    """Joins the runs and writes the config.

    Raises InputError if a run, a checkpoint or a demo script is missing or belongs to another gripper, OutputError, GripperError.
    """
    gripper = load_gripper(settings.gripper.gripper_config, options=settings.gripper).name
    names, checkout = settings.inference, settings.graspgen.graspgen_source
    logs = settings.results.training_results / "logs"
    path = names.inference_file or logs / f"{gripper}_inference.yaml"
    runs = (names.generator_run or logs / f"{gripper}_gen_test", names.discriminator_run or logs / f"{gripper}_dis_test")
    checkpoints = [os.path.relpath(_checkpoint(run, names.checkpoint).resolve(), path.parent.resolve()) for run in runs]
    generator, discriminator = (_read_run(run, role, gripper) for run, role in zip(runs, _TRAINED_AS, strict=True))
    joined = {**discriminator, "diffusion": generator["diffusion"]}
    joined["eval"] = {**(discriminator.get("eval") or {}), "model_name": "diffusion-discriminator", "checkpoint": checkpoints[0]}
    joined["discriminator"] = {**discriminator["discriminator"], "checkpoint": checkpoints[1]}
    if not (checkout / _DEMO).is_file():
        raise InputError("no such file", path=checkout / _DEMO, advice="name the GraspGen checkout with --graspgen-source")
    status = place_file(path, _text(joined), overwrite=names.overwrite_inference_config)
    words = ["python", str(_DEMO), "--mesh_file", "YOUR_MESH.obj", "--mesh_scale", "1.0", "--gripper_config", str(path.absolute())]
    return InferenceConfig(path, status, f"cd {shlex.quote(str(checkout.absolute()))} && {shlex.join(words)}")


def _checkpoint(run: Path, name: str) -> Path:
    path = run / name
    if path.is_file() and path.stat().st_size > 0:
        return path
    there = sorted(each.name for each in run.glob("*.pth"))
    advice = f"there is {', '.join(there[-5:])}, see --checkpoint" if there else "has the training saved one yet?"
    raise InputError("no such checkpoint", path=path, advice=advice)


def _read_run(run: Path, role: str, gripper: str) -> dict[str, Any]:
    """The config of a run. Raises InputError for another file, and for a run of another model or gripper."""
    path, section = run / "config.yaml", _TRAINED_AS[role]
    try:
        config = load_plain_yaml(read_bounded(path, largest=_LARGEST), deepest=20)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({one_line(error)})", path=path, advice=f"name the {role}'s run") from error
    found = config if isinstance(config, dict) else {}
    parts = {name: part for name in ("data", "train", section) if isinstance(part := found.get(name), dict)}
    if len(parts) < 3:
        raise InputError(f"not the config of a training run: it lacks data, train or {section}", path=path)
    train = parts.pop("train")
    if train.get("model_name") != section:
        reason = f"a run of {train.get('model_name')!a}, not of the {role}"
        raise InputError(reason, path=path, advice=f"name its run with --{role}-run")
    for name, part in parts.items():
        if part.get("gripper_name") != gripper:
            reason = f"{name}.gripper_name is {part.get('gripper_name')!a}, not {gripper}"
            raise InputError(reason, path=path, advice="check --gripper-config")
    return dict(found)


def _text(config: dict[str, Any]) -> str:
    import yaml

    head = "# Made by `graspgen inference-config`; checkpoints are relative to this file's folder.\n"
    return head + str(yaml.safe_dump(config, sort_keys=False))
