"""Finds a gripper by name or file and measures it."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from graspgen_cli.errors import GripperError
from graspgen_cli.files import LARGEST_FILE, read_bounded
from graspgen_cli.grippers.gripper_file import GripperFile, parse_gripper_file
from graspgen_cli.grippers.measure import SweepOptions, measure_gripper
from graspgen_cli.grippers.measured_cache import load_measured, store_measured
from graspgen_cli.grippers.model import Draft, GripperModel, build_model
from graspgen_cli.grippers.read_described import PREFIX, described_file
from graspgen_cli.grippers.read_mjcf import draft_from_mjcf, read_mjcf_text
from graspgen_cli.grippers.read_sdf import draft_from_sdf
from graspgen_cli.grippers.read_urdf import draft_from_urdf
from graspgen_cli.grippers.read_usd import draft_from_usd
from graspgen_cli.grippers.saved import saved_file, saved_grippers
from graspgen_cli.records import Gripper
from graspgen_cli.settings.models import GripperSettings
from graspgen_cli.settings.sources import MAX_FILE_BYTES

_GRIPPER_FILE = "gripper.yaml"
_YAML = (".yaml", ".yml")
_MODELS = (".xml", ".mjcf", ".urdf", ".sdf", ".usd", ".usda", ".usdc", ".usdz")
_AS_MEASURED = GripperSettings()
_OPTIONS = set(GripperSettings.model_fields) - {"gripper_config"}


@dataclass(frozen=True)
class _Found:
    """A gripper file's content, where its model is, and the files on which both depend besides the model's own."""

    file: GripperFile
    model: Path
    files: tuple[Path, ...] = ()


def builtin_grippers() -> tuple[str, ...]:
    """The names of the built-in grippers, sorted."""
    return tuple(sorted(folder.name for folder in _catalog().iterdir() if folder.joinpath(_GRIPPER_FILE).is_file()))


def load_gripper(name_or_path: str, *, bite: float | None = None, options: GripperSettings = _AS_MEASURED) -> Gripper:
    """A measured gripper: a built-in or saved one by name, or the user's by file.

    A file is a gripper .yaml, or a model: MJCF .xml, .urdf, .sdf, .usd*, or `robot_descriptions:<name>` where that package is
    installed. What was measured of a file is kept in the cache folder and used again while no file that it was made from changes.

    bite: distance (m) from the fingertip back to the contact point; replaces the gripper's own.
    options: whatever is set in them replaces what the gripper's files say.
    Raises GripperError for an unknown name, a file that cannot be read, and a model that is no two-finger gripper.
    """
    sweep = _sweep(options)
    if (path := _file(name_or_path)) is None:
        file, model = _read_builtin(name_or_path, options)
        return measure_gripper(model, _overridden(file, options, bite), sweep=sweep)
    key = f"{options.model_dump_json(include=_OPTIONS)} {bite}"
    kept = load_measured(path, key)
    if kept is not None:
        return kept
    found = _read_yaml(path) if path.suffix in _YAML else _Found(_bare_file(path), path)
    file = _overridden(found.file, options, bite)
    draft = _read_model(found.model, file.base_body, options.package_root)
    gripper = measure_gripper(build_model(draft, base_body=file.base_body, keep=file.finger_bodies or ()), file, sweep=sweep)
    store_measured(path, key, gripper, (path, *found.files, *draft.files))
    return gripper


def _file(name_or_path: str) -> Path | None:
    """The file that is meant; None for a built-in gripper's name."""
    if name_or_path.startswith(PREFIX):
        return described_file(name_or_path.removeprefix(PREFIX))
    path = Path(name_or_path).expanduser()
    if path.suffix.lower() in (*_YAML, *_MODELS):
        return path
    return saved_file(name_or_path)


def _sweep(options: GripperSettings) -> SweepOptions:
    return SweepOptions(iterations=options.convergence_iterations, convergence=options.measure_convergence)


def _overridden(file: GripperFile, options: GripperSettings, bite: float | None) -> GripperFile:
    """The gripper file with what the options and the bite replace."""
    given = {
        "base_body": options.base_frame,
        "finger_bodies": options.finger_colliders,
        "approach_axis": options.approach_axis,
        "grip_force": options.grip_force,
        "closing_speed": options.closing_speed,
        "open_configuration": options.open_configuration,
        "bite": bite,
    }
    return file.model_copy(update={name: value for name, value in given.items() if value is not None})


def _catalog() -> Traversable:
    return resources.files("graspgen_cli.grippers.catalog")


def _read_builtin(name: str, options: GripperSettings) -> tuple[GripperFile, GripperModel]:
    known = (*builtin_grippers(), *saved_grippers())
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise GripperError(
            f"no gripper is called {name!r}; {hint}There are {', '.join(known)}; or give the path of a gripper .yaml or of a model "
            "(MJCF .xml, .urdf, .sdf, .usd)"
        )
    folder = _catalog().joinpath(name)
    file = parse_gripper_file(folder.joinpath(_GRIPPER_FILE).read_text("utf-8"), source=f"{name}/{_GRIPPER_FILE}")
    text = folder.joinpath(file.model).read_text("utf-8")
    file = _overridden(file, options, None)
    source = f"{name}/{file.model}"
    return file, read_mjcf_text(text, source=source, base_body=file.base_body, keep=file.finger_bodies or ())


def _read_yaml(path: Path) -> _Found:
    try:
        text = read_bounded(path, largest=MAX_FILE_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise GripperError(f"gripper file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    file = parse_gripper_file(text, source=str(path))
    if file.model.startswith(PREFIX):
        return _Found(file, described_file(file.model.removeprefix(PREFIX)))
    return _Found(file, path.parent / file.model)


def _bare_file(path: Path) -> GripperFile:
    """A gripper file for a model that comes without one."""
    return GripperFile(name=re.sub(r"[^A-Za-z0-9_-]", "_", path.stem).lstrip("_-") or "gripper", model=path.name)


def _read_model(path: Path, base: str | None, package_root: Path | None) -> Draft:
    """What a model file holds, by its suffix."""
    if package_root is not None and not package_root.is_dir():
        raise GripperError(f"--package-root {package_root}: is no folder")
    if not path.is_file():
        raise GripperError(f"gripper model {path} does not exist")
    if path.stat().st_size > LARGEST_FILE:
        raise GripperError(f"gripper model {path} is larger than {LARGEST_FILE >> 20} MiB, so not a model")
    suffix = path.suffix.lower()
    if suffix == ".urdf" or (suffix == ".xml" and _first_tag(path) == "robot"):
        return draft_from_urdf(path, base=base, package_root=package_root)
    if suffix == ".sdf":
        return draft_from_sdf(path, base=base, package_root=package_root)
    if suffix.startswith(".usd"):
        return draft_from_usd(path, base=base)
    return draft_from_mjcf(path)


def _first_tag(path: Path) -> str:
    """The name of an XML file's root element; empty where there is none."""
    found = re.search(r"<([A-Za-z]\w*)[\s>]", path.read_text("utf-8", errors="replace"))
    return found.group(1) if found else ""
