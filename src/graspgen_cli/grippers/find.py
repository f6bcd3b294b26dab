"""Measured grippers kept on disk, by the content of the files that they were made from. Never needed, only faster.

Grippers from the package robot_descriptions, which fetches robots' files by name.

Finds a gripper by name or file and measures it."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import io
import json
import os
import re
import sys
import zipfile
from dataclasses import dataclass, fields
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from graspgen_cli.errors import GripperError, OutputError
from graspgen_cli.files import LARGEST_FILE, default_cache, read_bounded, write_atomically
from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.grippers.gripper_file import GripperFile, parse_gripper_file, saved_file, saved_grippers
from graspgen_cli.grippers.measure import SweepOptions, measure_gripper
from graspgen_cli.grippers.model import Draft, GripperModel, build_model
from graspgen_cli.grippers.read_mjcf import draft_from_mjcf, read_mjcf_text
from graspgen_cli.grippers.read_sdf import draft_from_sdf
from graspgen_cli.grippers.read_urdf import draft_from_urdf
from graspgen_cli.grippers.read_usd import draft_from_usd
from graspgen_cli.records import Gripper, TriangleMesh
from graspgen_cli.settings.inputs import GripperSettings
from graspgen_cli.settings.sources import MAX_FILE_BYTES

ALGORITHM = 3
"""Goes up whenever the same files measure otherwise than before: kept grippers are then made anew."""


def load_measured(main: Path, key: str) -> Gripper | None:
    """The gripper kept for a file and options; None where there is none, it is broken, or any file that it was made from changed."""
    try:
        with np.load(_place(main, key), allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
        record = json.loads(content["record"].tobytes())
        if record["files"] != _digests(main, [main.parent / name for name in record["files"]]):
            return None
        return _gripper(record, content)
    except (OSError, ValueError, KeyError, IndexError, EOFError, TypeError, AttributeError, zipfile.BadZipFile):
        return None


def store_measured(main: Path, key: str, gripper: Gripper, files: tuple[Path, ...]) -> None:
    """Keeps a gripper. A folder that cannot be written is no error."""
    with contextlib.suppress(OSError, ValueError, OutputError):
        buffer = io.BytesIO()
        np.savez(buffer, **_content(gripper, _digests(main, list(files))))
        write_atomically(_place(main, key), buffer.getvalue())


def _place(main: Path, key: str) -> Path:
    digest = hashlib.sha256(f"{ALGORITHM} {mujoco.__version__} {main.name} {key}\n".encode())
    digest.update(read_bounded(main))
    return default_cache() / "grippers" / f"{digest.hexdigest()}.npz"


def _digests(main: Path, files: list[Path]) -> dict[str, str]:
    """Each file by its way from the main one, with the digest of its content."""
    return {os.path.relpath(file, main.parent): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _content(gripper: Gripper, files: dict[str, str]) -> dict[str, Any]:
    """The arrays of a gripper by name, and everything else as JSON under `record`."""
    values = {field.name: getattr(gripper, field.name) for field in fields(gripper)}
    assets, parts = values.pop("assets"), values.pop("collision_parts")
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    plain: dict[str, Any] = {name: value for name, value in values.items() if name not in arrays}
    meshes = [part for body in parts for part in body]
    arrays["part_counts"] = np.array([len(body) for body in parts])
    arrays["mesh_counts"] = np.array([[len(mesh.vertices), len(mesh.faces)] for mesh in meshes]).reshape(-1, 2)
    arrays["vertices"] = np.concatenate([np.zeros((0, 3)), *(mesh.vertices for mesh in meshes)])
    arrays["faces"] = np.concatenate([np.zeros((0, 3), np.int32), *(mesh.faces for mesh in meshes)])
    for number, content in enumerate(assets.values()):
        arrays[f"asset_{number}"] = np.frombuffer(content, np.uint8)
    record = json.dumps({"files": files, "assets": list(assets), "plain": plain})
    return {"record": np.frombuffer(record.encode(), np.uint8), **arrays}


def _gripper(record: dict[str, Any], content: dict[str, Any]) -> Gripper:
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in record["plain"].items()}
    assets = {name: content[f"asset_{number}"].tobytes() for number, name in enumerate(record["assets"])}
    stored = {field.name for field in fields(Gripper)}
    arrays: dict[str, Any] = {name: value for name, value in content.items() if name in stored}
    return Gripper(**plain, **arrays, assets=assets, collision_parts=_parts(content))


def _parts(content: dict[str, Any]) -> tuple[tuple[TriangleMesh, ...], ...]:
    ends = np.cumsum(content["mesh_counts"], axis=0)[:-1]
    if len(content["mesh_counts"]) == 0:
        return tuple(() for _ in content["part_counts"])
    pairs = zip(np.split(content["vertices"], ends[:, 0]), np.split(content["faces"], ends[:, 1]), strict=True)
    meshes = iter([triangle_mesh(corners, faces) for corners, faces in pairs])
    return tuple(tuple(next(meshes) for _ in range(count)) for count in content["part_counts"])


PREFIX = "robot_descriptions:"


def described_file(name: str) -> Path:
    """The MJCF or URDF file of `robot_descriptions.<name>`, such as robotiq_2f85_mj_description; the package fetches it if need be.

    Raises GripperError where the package is missing, does not know the name, or cannot fetch the file.
    """
    source = f"{PREFIX}{name}"
    if not name.isidentifier():
        raise GripperError(f"{source}: {name!r} cannot be the name of a robot description; try robotiq_2f85_mj_description")
    try:
        import_module("robot_descriptions")
    except ImportError:
        raise GripperError(f"{source}: needs robot_descriptions; run: pip install 'graspgen-cli[grippers]'") from None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it tells of its progress there, where our data goes
            described = import_module(f"robot_descriptions.{name}")
    except ModuleNotFoundError:
        raise GripperError(f"{source}: robot_descriptions knows no {name}; `robot_descriptions list` names those it knows") from None
    except Exception as error:  # git and the network fail in their own ways
        raise GripperError(f"{source}: cannot be fetched: {' '.join(str(error).split())[:160]}") from error
    path = getattr(described, "MJCF_PATH", None) or getattr(described, "URDF_PATH", None)
    if path is None:
        hint = "; run xacro on its XACRO_PATH and give the URDF" if hasattr(described, "XACRO_PATH") else ""
        raise GripperError(f"{source}: has neither an MJCF nor a URDF file{hint}")
    return Path(path)


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
