"""The variables at the head of GraspGen's training scripts: lines such as ``export GRIPPER_NAME="franka_panda"``.

GraspGen's training scripts for a gripper, made from those that its checkout has for another one.

Source: ``runs/train_graspgen_<gripper>_{gen,dis}.sh`` of NVlabs/GraspGen, and the training section of GraspDataGen's guide
(docs/workflows/graspgen.md): which variables change, and the discriminator's ratio."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from graspgen_cli.errors import InputError
from graspgen_cli.files import Placed, place_file, read_bounded
from graspgen_cli.settings.commands import TrainingScriptsCommand
from graspgen_cli.settings.datasets import NegativeRatio

_ASSIGNMENT = re.compile(r"^(?P<head>[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)=)(?P<value>[^\r\n]*)", re.MULTILINE)
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")
_PLAIN = re.compile(r"[A-Za-z0-9_./,\[\]${}-]*")
"""Values without spaces, quotes or anything that a shell acts upon: the scripts use their variables without quotes, after ``rm -rf``
among others."""
_PROGRAM = re.compile(r"\bpython3?[ \t]+(?P<file>[A-Za-z0-9_./-]+\.py)\b")


def is_plain_path(path: str) -> bool:
    """Whether a shell takes the path for one word and for itself, wherever it stands."""
    return bool(_PLAIN_PATH.fullmatch(path))


def assigned(script: str) -> dict[str, str]:
    """The variables and their values without quotes; of several assignments the last."""
    return {match["name"]: match["value"].strip().strip("\"'") for match in _ASSIGNMENT.finditer(script)}


def with_values(script: str, values: Mapping[str, str]) -> str:
    """The script with other values of some variables. Raises ValueError for a variable that it does not assign, or a value with
    spaces, quotes or the like."""
    missing = [name for name in values if name not in assigned(script)]
    if missing:
        raise ValueError(f"does not set {', '.join(missing)}")
    unsafe = [f"{name}={value}" for name, value in values.items() if not _PLAIN.fullmatch(value)]
    if unsafe:
        raise ValueError(f"cannot hold {unsafe[0]!a}: the script uses its variables without quotes")
    return _ASSIGNMENT.sub(lambda match: f'{match["head"]}"{values[match["name"]]}"' if match["name"] in values else match[0], script)


def programs(script: str) -> list[str]:
    """The Python files that the script runs, as it names them."""
    return [match["file"] for match in _PROGRAM.finditer(script)]


ROLES = ("gen", "dis")
"""Generator and discriminator, as the scripts' names end."""
GUIDE_RATIO = "[0.250,0.250,0.00,0.0,0.00,0.250,0.250]"
"""Mixture without negatives that GraspGen makes itself by moving the gripper's collision mesh into the object, for grippers without one."""
_PREFERRED = "robotiq_2f_140"
_MOUNTS = {"CODE_DIR": "/code", "GRASP_DIR": "/grasp_dataset", "OBJECT_DATASET_DIR": "/object_dataset", "RESULTS_DIR": "/results"}
"""Where GraspGen's docker/run.sh mounts the folders."""
_UUID_MAPS = ("map_uuid_to_path_simplified.json", "map_uuid_to_path.json")
"""The trainer takes the first that is there."""
_LARGEST = 1 << 20


@dataclass(frozen=True)
class WrittenScript:
    """One script."""

    path: Path
    status: Placed


@dataclass(frozen=True)
class TrainingScripts:
    """What was done. template: the gripper whose scripts were adapted. ratio: the discriminator's, and why."""

    scripts: tuple[WrittenScript, ...]
    template: str
    ratio: str
    ratio_reason: str


def script_path(checkout: Path, gripper: str, role: str) -> Path:
    """Where GraspGen keeps the script."""
    return checkout / "runs" / f"train_graspgen_{gripper}_{role}.sh"


def write_training_scripts(settings: TrainingScriptsCommand, gripper: str) -> TrainingScripts:
    """Writes both scripts, executable, after checking that everything they name is there. Scripts that differ are replaced only where
    that is asked for. Raises InputError with a line for each thing that is missing, OutputError where a file cannot be written."""
    checkout = settings.graspgen.graspgen_source
    template = _template(checkout, settings.scripts.template_gripper, gripper)
    texts = {role: _read(script_path(checkout, template, role)) for role in ROLES}
    folders = _folders(settings)
    problems = [*missing_inputs(settings, gripper), *_missing_programs(checkout, template, texts)]
    problems += [] if settings.scripts.container_paths else _unusable(folders)
    if problems:
        raise InputError("\n".join(problems))
    ratio, reason = _ratio(settings.scripts.discriminator_ratio, checkout, gripper, texts["dis"])
    values = {
        "GRIPPER_NAME": gripper,
        "SAVE_FREQ": str(settings.scripts.save_freq),
        **(_MOUNTS if settings.scripts.container_paths else {name: str(folder) for name, folder in folders.items()}),
        "GRASP_DATASET_DIR": "$GRASP_DIR/grasp_data/$GRIPPER_NAME",
        "SPLIT_DATASET_DIR": "$GRASP_DIR/splits/$GRIPPER_NAME",
    }
    adapted = {
        "gen": _adapted(script_path(checkout, template, "gen"), texts["gen"], values),
        "dis": _adapted(script_path(checkout, template, "dis"), texts["dis"], {**values, "RATIO": ratio}),
    }
    written = [_write(script_path(checkout, gripper, role), adapted[role], settings) for role in ROLES]
    return TrainingScripts(tuple(written), template, ratio, reason)


def _template(checkout: Path, wanted: str | None, gripper: str) -> str:
    """The gripper whose scripts are adapted. Raises InputError where there is none."""
    runs = checkout / "runs"
    names = {path.name.removeprefix("train_graspgen_").removesuffix("_gen.sh") for path in runs.glob("train_graspgen_*_gen.sh")}
    complete = sorted(name for name in names if script_path(checkout, name, "dis").is_file())
    others = [name for name in complete if name != gripper]
    if wanted is not None:
        if wanted in complete:
            return wanted
        raise InputError(f"{runs}: no scripts train_graspgen_{wanted}_gen.sh and _dis.sh; there is {', '.join(complete) or 'none'}")
    if not others:
        raise InputError(f"{runs}: no training scripts of another gripper to adapt; name a GraspGen checkout with --graspgen-source")
    return _PREFERRED if _PREFERRED in others else others[0]


def _read(path: Path) -> str:
    try:
        return read_bounded(path, largest=_LARGEST).decode()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); check the checkout") from error


def _folders(settings: TrainingScriptsCommand) -> dict[str, Path]:
    """The variables of the scripts that name folders."""
    return {
        "CODE_DIR": settings.graspgen.graspgen_source.absolute(),
        "GRASP_DIR": settings.dataset.grasp_dataset.absolute(),
        "OBJECT_DATASET_DIR": settings.meshes.object_dataset.absolute(),
        "RESULTS_DIR": settings.results.training_results.absolute(),
    }


def _unusable(folders: Mapping[str, Path]) -> Iterator[str]:
    for folder in folders.values():
        if not is_plain_path(str(folder)):
            yield f"{folder}: the training scripts use their variables without quotes; move it to a path of letters, digits, ., _ and -"


def missing_inputs(settings: TrainingScriptsCommand, gripper: str) -> Iterator[str]:
    """A line for each thing that training needs and that is not there."""
    for suffix in (".yaml", ".py"):
        config = settings.graspgen.graspgen_source / "config" / "grippers" / f"{gripper}{suffix}"
        if not config.is_file():
            yield f"{config}: no such file; `graspgen gripper-config --gripper-config {gripper}` makes it"
    grasps = settings.dataset.grasp_dataset / "grasp_data" / gripper
    if not (any(grasps.glob("*.json")) or any(grasps.glob("*.tar"))):
        yield f"{grasps}: no grasps; `graspgen all` makes them"
    if not settings.meshes.object_dataset.is_dir():
        yield f"{settings.meshes.object_dataset}: no such folder; name the folder of the meshes with --object-dataset"
    elif (missing := _missing_mesh(settings, gripper)) is not None:
        yield missing
    if not settings.scripts.container_paths and not settings.results.training_results.is_dir():
        yield f"{settings.results.training_results}: no such folder; make it, or name another with --training-results"


def _missing_mesh(settings: TrainingScriptsCommand, gripper: str) -> str | None:
    """What is wrong with the splits or the first object in them; the trainer finds it by its id or by a map in the meshes' folder."""
    splits = settings.dataset.grasp_dataset / "splits" / gripper
    listed: list[str] = []
    for name in ("train.txt", "valid.txt"):
        if not (splits / name).is_file():
            return f"{splits / name}: no such file; `graspgen splits` makes it"
        listed += [line.strip() for line in _read(splits / name).splitlines() if line.strip()]
    known = _uuid_map(settings.meshes.object_dataset)
    gone = [one for one in listed if not (settings.meshes.object_dataset / known.get(one, one)).is_file()]
    if not listed:
        return f"{splits}: the lists are empty; `graspgen splits` fills them"
    return f"{settings.meshes.object_dataset}: no mesh of {len(gone)} of {len(listed)} listed objects, such as {gone[0]}" if gone else None


def _uuid_map(meshes: Path) -> dict[str, str]:
    path = next((meshes / name for name in _UUID_MAPS if (meshes / name).is_file()), None)
    try:
        content = json.loads(read_bounded(path)) if path is not None else {}
    except (OSError, ValueError, RecursionError, MemoryError):
        return {}
    return {uuid: name for uuid, name in content.items() if isinstance(name, str)} if isinstance(content, dict) else {}


def _missing_programs(checkout: Path, template: str, texts: Mapping[str, str]) -> Iterator[str]:
    for role, text in texts.items():
        path = script_path(checkout, template, role)
        if not programs(text):
            yield f"{path}: runs no Python program; choose other scripts with --template-gripper"
        for program in programs(text):
            if not (checkout / "scripts" / program).is_file():
                yield f"{checkout / 'scripts' / program}: no such file, but {path.name} runs it"


def _ratio(wanted: NegativeRatio, checkout: Path, gripper: str, template: str) -> tuple[str, str]:
    """The discriminator's mixture and why it is that."""
    original = assigned(template).get("RATIO", "")
    if wanted is NegativeRatio.ORIGINAL:
        return original, "as the scripts have it"
    if wanted is NegativeRatio.GUIDE:
        return GUIDE_RATIO, "as the guide says: without negatives made from the gripper's collision mesh"
    if has_collision_mesh(checkout / "config" / "grippers", gripper):
        return original, "as the scripts have it: the gripper config has a real collision mesh, which negatives can be made from"
    return GUIDE_RATIO, "without negatives made from the gripper's collision mesh: the gripper config has none that is known to be real"


def has_collision_mesh(folder: Path, gripper: str) -> bool:
    """Whether a gripper config hands GraspGen a mesh with faces: ours has one beside it, of the same name; GraspDataGen's is empty."""
    try:
        module = read_bounded(folder / f"{gripper}.py", largest=_LARGEST).decode()
        mesh = read_bounded(folder / f"{gripper}.obj").decode()
    except (OSError, ValueError):
        return False
    return ".obj" in module and sum(line.startswith("f ") for line in mesh.splitlines()) >= 4


def _adapted(path: Path, text: str, values: Mapping[str, str]) -> str:
    try:
        return with_values(text, values)
    except ValueError as error:
        raise InputError(f"{path}: {error}; choose other scripts with --template-gripper") from error


def _write(path: Path, text: str, settings: TrainingScriptsCommand) -> WrittenScript:
    return WrittenScript(path, place_file(path, text, overwrite=settings.scripts.overwrite_scripts, mode=0o755))
