"""GraspGen's training scripts for a gripper, made from those of another gripper in the checkout.

Source: ``runs/train_graspgen_<gripper>_{gen,dis}.sh`` of NVlabs/GraspGen, and the training section of GraspDataGen's guide
(docs/workflows/graspgen.md): which variables change, and the ratio of the discriminator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from graspgen_cli.errors import InputError, one_line
from graspgen_cli.files import Placed, place_file, read_bounded, read_json_map_if_sound
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.settings.commands import TrainingScriptsCommand
from graspgen_cli.settings.datasets import NegativeRatio
from graspgen_cli.settings.fields import command_line

ROLES = ("gen", "dis")
"""Generator and discriminator, the last part of the names of the scripts."""
GUIDE_RATIO = "[0.250,0.250,0.00,0.0,0.00,0.250,0.250]"
"""Mixture without the negatives that GraspGen makes by moving the gripper's collision mesh into the object."""
_PREFERRED = "robotiq_2f_140"
_MOUNTS = {"CODE_DIR": "/code", "GRASP_DIR": "/grasp_dataset", "OBJECT_DATASET_DIR": "/object_dataset", "RESULTS_DIR": "/results"}
"""Mount points of GraspGen's docker/run.sh."""
_UUID_MAPS = ("map_uuid_to_path_simplified.json", "map_uuid_to_path.json")
"""The trainer takes the first that exists."""
_LARGEST = 1 << 20
_ASSIGNMENT = re.compile(r"^(?P<head>[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)=)(?P<value>[^\r\n]*)", re.MULTILINE)
"""Lines such as ``export GRIPPER_NAME="franka_panda"``."""
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")
_PLAIN = re.compile(r"[A-Za-z0-9_./,\[\]${}-]*")
"""Values without a character that a shell acts upon: the scripts use their variables without quotes, for example after ``rm -rf``."""
_PROGRAM = re.compile(r"\bpython3?[ \t]+(?P<file>[A-Za-z0-9_./-]+\.py)\b")


@dataclass(frozen=True)
class WrittenScript:
    """One script."""

    path: Path
    status: Placed


@dataclass(frozen=True)
class TrainingScripts:
    """The written scripts. template: the gripper whose scripts were adapted. ratio: of the discriminator, and its reason."""

    scripts: tuple[WrittenScript, ...]
    template: str
    ratio: str
    ratio_reason: str


def make_training_scripts(settings: TrainingScriptsCommand) -> TrainingScripts:
    """Writes both scripts, executable, after a check of everything that they name. Replaces different scripts only if asked to.

    Raises InputError with a line for each missing thing, OutputError for a file that cannot be written, GripperError.
    """
    gripper = load_gripper(settings.gripper.gripper_config, options=settings.gripper).name
    checkout = settings.graspgen.graspgen_source
    template = _template(checkout, settings.scripts.template_gripper, gripper)
    texts = {role: _read(_script_path(checkout, template, role)) for role in ROLES}
    folders = _MOUNTS if settings.scripts.container_paths else _folders(settings)
    problems = [*_missing_inputs(settings, gripper), *_missing_programs(checkout, template, texts)]
    problems += [] if settings.scripts.container_paths else _unusable(folders)
    if problems:
        raise InputError("\n".join(problems))
    ratio, reason = _ratio(settings.scripts.discriminator_ratio, checkout, gripper, texts["dis"])
    values = {
        "GRIPPER_NAME": gripper,
        "SAVE_FREQ": str(settings.scripts.save_freq),
        **folders,
        "GRASP_DATASET_DIR": "$GRASP_DIR/grasp_data/$GRIPPER_NAME",
        "SPLIT_DATASET_DIR": "$GRASP_DIR/splits/$GRIPPER_NAME",
    }
    adapted = {
        "gen": _adapted(_script_path(checkout, template, "gen"), texts["gen"], values),
        "dis": _adapted(_script_path(checkout, template, "dis"), texts["dis"], {**values, "RATIO": ratio}),
    }
    written = []
    for role in ROLES:
        path = _script_path(checkout, gripper, role)
        status = place_file(path, adapted[role], overwrite=settings.scripts.overwrite_scripts, mode=0o755)
        written.append(WrittenScript(path, status))
    return TrainingScripts(tuple(written), template, ratio, reason)


def _script_path(checkout: Path, gripper: str, role: str) -> Path:
    return checkout / "runs" / f"train_graspgen_{gripper}_{role}.sh"


def _template(checkout: Path, wanted: str | None, gripper: str) -> str:
    """The gripper whose scripts are adapted. Raises InputError if there is none."""
    runs = checkout / "runs"
    names = {path.name.removeprefix("train_graspgen_").removesuffix("_gen.sh") for path in runs.glob("train_graspgen_*_gen.sh")}
    complete = sorted(name for name in names if _script_path(checkout, name, "dis").is_file())
    others = [name for name in complete if name != gripper]
    if wanted is not None:
        if wanted in complete:
            return wanted
        reason = f"no scripts train_graspgen_{wanted}_gen.sh and _dis.sh; there is {', '.join(complete) or 'none'}"
        raise InputError(reason, path=runs)
    if not others:
        advice = "name a GraspGen checkout with --graspgen-source"
        raise InputError("no training scripts of another gripper to adapt", path=runs, advice=advice)
    return _PREFERRED if _PREFERRED in others else others[0]


def _read(path: Path) -> str:
    try:
        return read_bounded(path, largest=_LARGEST).decode()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({one_line(error)})", path=path, advice="check the checkout") from error


def _folders(settings: TrainingScriptsCommand) -> dict[str, str]:
    """The variables that name folders."""
    folders = {
        "CODE_DIR": settings.graspgen.graspgen_source,
        "GRASP_DIR": settings.dataset.grasp_dataset,
        "OBJECT_DATASET_DIR": settings.meshes.object_dataset,
        "RESULTS_DIR": settings.results.training_results,
    }
    return {name: str(folder.absolute()) for name, folder in folders.items()}


def _unusable(folders: Mapping[str, str]) -> Iterator[str]:
    for folder in folders.values():
        if not _PLAIN_PATH.fullmatch(folder):
            yield f"{folder}: the training scripts use their variables without quotes; move it to a path of letters, digits, ., _ and -"


def _missing_inputs(settings: TrainingScriptsCommand, gripper: str) -> Iterator[str]:
    """A line for each missing thing that training needs."""
    for suffix in (".yaml", ".py"):
        config = settings.graspgen.graspgen_source / "config" / "grippers" / f"{gripper}{suffix}"
        if not config.is_file():
            yield f"{config}: no such file; `{command_line('gripper-config', settings)}` makes it"
    grasps, meshes = settings.dataset.grasp_dataset / "grasp_data" / gripper, settings.meshes.object_dataset
    if not (any(grasps.glob("*.json")) or any(grasps.glob("*.tar"))):
        yield f"{grasps}: no grasps; the command all makes them"
    if not meshes.is_dir():
        yield f"{meshes}: no such folder; name the folder of the meshes with --object-dataset"
    elif missing := _missing_mesh(settings.dataset.grasp_dataset / "splits" / gripper, meshes):
        yield missing
    results = settings.results.training_results
    if not settings.scripts.container_paths and not results.is_dir():
        yield f"{results}: no such folder; make it, or name another with --training-results"


def _missing_mesh(splits: Path, meshes: Path) -> str:
    """What is wrong with the lists, or with the meshes of the listed objects, which the trainer finds by id or by a map; else empty."""
    listed: list[str] = []
    for name in ("train.txt", "valid.txt"):
        if not (splits / name).is_file():
            return f"{splits / name}: no such file; the command splits makes it"
        listed += [line.strip() for line in _read(splits / name).splitlines() if line.strip()]
    if not listed:
        return f"{splits}: the lists are empty; the command splits fills them"
    path = next((meshes / name for name in _UUID_MAPS if (meshes / name).is_file()), meshes)
    known = {uuid: name for uuid, name in read_json_map_if_sound(path).items() if isinstance(name, str)}
    gone = [one for one in listed if not (meshes / known.get(one, one)).is_file()]
    return f"{meshes}: no mesh of {len(gone)} of {len(listed)} listed objects, such as {gone[0]}" if gone else ""


def _missing_programs(checkout: Path, template: str, texts: Mapping[str, str]) -> Iterator[str]:
    for role, text in texts.items():
        path = _script_path(checkout, template, role)
        programs = [match["file"] for match in _PROGRAM.finditer(text)]
        if not programs:
            yield f"{path}: runs no Python program; choose other scripts with --template-gripper"
        for program in programs:
            if not (checkout / "scripts" / program).is_file():
                yield f"{checkout / 'scripts' / program}: no such file, but {path.name} runs it"


def _ratio(wanted: NegativeRatio, checkout: Path, gripper: str, template: str) -> tuple[str, str]:
    """The discriminator's mixture and its reason."""
    original = assigned(template).get("RATIO", "")
    if wanted is NegativeRatio.ORIGINAL:
        return original, "as the scripts have it"
    if wanted is NegativeRatio.GUIDE:
        return GUIDE_RATIO, "as the guide says: without negatives made from the gripper's collision mesh"
    if _has_collision_mesh(checkout / "config" / "grippers", gripper):
        return original, "as the scripts have it: the gripper config has a real collision mesh, which negatives can be made from"
    return GUIDE_RATIO, "without negatives made from the gripper's collision mesh: the gripper config has none that is known to be real"


def _has_collision_mesh(folder: Path, gripper: str) -> bool:
    """Whether a gripper config gives GraspGen a mesh with faces: ours has a file of the same name beside it; GraspDataGen's is empty."""
    try:
        module = read_bounded(folder / f"{gripper}.py", largest=_LARGEST).decode()
        mesh = read_bounded(folder / f"{gripper}.obj").decode()
    except (OSError, ValueError):
        return False
    return ".obj" in module and sum(line.startswith("f ") for line in mesh.splitlines()) >= 4


def assigned(script: str) -> dict[str, str]:
    """The variables of a script and their values without quotes; of several assignments the last."""
    return {match["name"]: match["value"].strip().strip("\"'") for match in _ASSIGNMENT.finditer(script)}


def with_values(script: str, values: Mapping[str, str]) -> str:
    """The script with other values of some variables. Raises ValueError for a variable that it does not assign, and for an unsafe value."""
    missing = [name for name in values if name not in assigned(script)]
    if missing:
        raise ValueError(f"does not set {', '.join(missing)}")
    unsafe = [f"{name}={value}" for name, value in values.items() if not _PLAIN.fullmatch(value)]
    if unsafe:
        raise ValueError(f"cannot hold {unsafe[0]!a}: the script uses its variables without quotes")
    return _ASSIGNMENT.sub(lambda match: f'{match["head"]}"{values[match["name"]]}"' if match["name"] in values else match[0], script)


def _adapted(path: Path, text: str, values: Mapping[str, str]) -> str:
    try:
        return with_values(text, values)
    except ValueError as error:
        raise InputError(str(error), path=path, advice="choose other scripts with --template-gripper") from error
