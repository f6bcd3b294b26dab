"""Two training runs, the generator's and the discriminator's, joined into the one config that GraspGen's demo scripts load.

Source: ``grasp_gen/grasp_server.py`` and ``tutorials`` of NVlabs/GraspGen: checkpoints are named relative to the config's folder, and
the gripper has to be the same in ``data``, ``diffusion`` and ``discriminator``.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graspgen_cli.errors import InputError
from graspgen_cli.files import Placed, load_plain_yaml, place_file, read_bounded
from graspgen_cli.settings.commands import InferenceConfigCommand

MODEL_NAME = "diffusion-discriminator"
DEMO = Path("scripts/demo_object_mesh.py")
_TRAINED_AS = {"generator": "diffusion", "discriminator": "discriminator"}
"""``train.model_name`` of the two runs."""
_LARGEST = 1 << 20


@dataclass(frozen=True)
class InferenceConfig:
    """The file, what was done with it, and the command that tries the model."""

    path: Path
    status: Placed
    demo: str


def write_inference_config(settings: InferenceConfigCommand, gripper: str) -> InferenceConfig:
    """Joins the runs and writes the config. Raises InputError where a run, a checkpoint or a demo script is missing or does not belong
    to the gripper, OutputError where the file cannot be written."""
    logs = settings.results.training_results / "logs"
    generator = settings.inference.generator_run or logs / f"{gripper}_gen_test"
    discriminator = settings.inference.discriminator_run or logs / f"{gripper}_dis_test"
    path = settings.inference.inference_file or logs / f"{gripper}_inference.yaml"
    checkpoints = [_checkpoint(run, settings.inference.checkpoint) for run in (generator, discriminator)]
    joined = join_configs(_read_run(generator, "generator", gripper), _read_run(discriminator, "discriminator", gripper))
    joined["eval"]["checkpoint"], joined["discriminator"]["checkpoint"] = (
        os.path.relpath(checkpoint.resolve(), path.parent.resolve()) for checkpoint in checkpoints
    )
    demo = settings.graspgen.graspgen_source / DEMO
    if not demo.is_file():
        raise InputError(f"{demo}: no such file; name the GraspGen checkout with --graspgen-source")
    status = place_file(path, _text(joined), overwrite=settings.inference.overwrite_inference_config)
    words = ["python", str(DEMO), "--mesh_file", "YOUR_MESH.obj", "--mesh_scale", "1.0", "--gripper_config", str(path.absolute())]
    return InferenceConfig(path, status, f"cd {shlex.quote(str(settings.graspgen.graspgen_source.absolute()))} && {shlex.join(words)}")


def join_configs(generator: Mapping[str, Any], discriminator: Mapping[str, Any]) -> dict[str, Any]:
    """The discriminator's config with the generator's diffusion settings, for both models together; the checkpoints are left open."""
    joined = {**discriminator, "diffusion": generator["diffusion"]}
    joined["eval"] = {**(discriminator.get("eval") or {}), "model_name": MODEL_NAME, "checkpoint": ""}
    joined["discriminator"] = {**discriminator["discriminator"], "checkpoint": ""}
    return joined


def _checkpoint(run: Path, name: str) -> Path:
    path = run / name
    if path.is_file() and path.stat().st_size > 0:
        return path
    there = sorted(each.name for each in run.glob("*.pth"))
    hint = f"there is {', '.join(there[-5:])}, see --checkpoint" if there else "has the training saved one yet?"
    raise InputError(f"{path}: no such checkpoint; {hint}")


def _read_run(run: Path, role: str, gripper: str) -> dict[str, Any]:
    """The config of a run. Raises InputError where it is none, or of another model or gripper."""
    path = run / "config.yaml"
    try:
        config = load_plain_yaml(read_bounded(path, largest=_LARGEST), deepest=20)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); name the {role}'s run") from error
    section = "diffusion" if role == "generator" else "discriminator"
    found = config if isinstance(config, dict) else {}
    parts = {name: part for name in ("data", "train", section) if isinstance(part := found.get(name), dict)}
    if len(parts) < 3:
        raise InputError(f"{path}: not the config of a training run: it lacks data, train or {section}")
    train = parts.pop("train")
    if train.get("model_name") != _TRAINED_AS[role]:
        raise InputError(f"{path}: a run of {train.get('model_name')!a}, not of the {role}; name its run with --{role}-run")
    for name, part in parts.items():
        if part.get("gripper_name") != gripper:
            raise InputError(f"{path}: {name}.gripper_name is {part.get('gripper_name')!a}, not {gripper}; check --gripper-config")
    return dict(found)


def _text(config: Mapping[str, Any]) -> str:
    import yaml

    head = "# Made by `graspgen inference-config`; checkpoints are relative to this file's folder.\n"
    return head + str(yaml.safe_dump(dict(config), sort_keys=False))
