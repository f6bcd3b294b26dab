"""Grippers by name or file: the built-in ones (catalog/), the user's saved ones, model files, and the package robot_descriptions.

The cache folder keeps the measured grippers of files; a changed file is measured again.
"""

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
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from graspgen_cli.errors import GripperError, OutputError, install_command, one_line
from graspgen_cli.files import LARGEST_FILE, default_cache, read_bounded, write_atomically
from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.grippers.gripper_file import GRIPPER_FILE, GripperFile, parse_gripper_file, saved_file, saved_grippers
from graspgen_cli.grippers.measure import measure_gripper
from graspgen_cli.grippers.model import Draft, GripperModel, build_model
from graspgen_cli.grippers.read_mjcf import read_mjcf, read_mjcf_text
from graspgen_cli.grippers.read_sdf import read_sdf
from graspgen_cli.grippers.read_urdf import read_urdf
from graspgen_cli.grippers.read_usd import read_usd
from graspgen_cli.records import Gripper
from graspgen_cli.settings.inputs import GripperSettings
from graspgen_cli.settings.sources import MAX_FILE_BYTES

READERS: dict[str, Callable[..., Draft]] = {
    ".xml": read_mjcf,
    ".mjcf": read_mjcf,
    ".urdf": read_urdf,
    ".sdf": read_sdf,
    ".usd": read_usd,
    ".usda": read_usd,
    ".usdc": read_usd,
    ".usdz": read_usd,
}
"""Suffix of a model file to its reader, called as ``reader(path, base=..., package_root=...)``: base is the name of the base body or None,
package_root the folder of `package://` folders or None."""
_YAML = (".yaml", ".yml")
_DESCRIBED = "robot_descriptions:"
_CACHE_VERSION = 3  # to be raised when the same files give another measurement
_AS_MEASURED = GripperSettings()
_OPTIONS = set(GripperSettings.model_fields) - {"gripper_config"}


def builtin_grippers() -> tuple[str, ...]:
    """The names of the built-in grippers, sorted."""
    return tuple(sorted(folder.name for folder in _catalog().iterdir() if folder.joinpath(GRIPPER_FILE).is_file()))


def known_grippers() -> tuple[str, ...]:
    """The names of the built-in grippers, then those of the saved ones."""
    return *builtin_grippers(), *saved_grippers()


def load_gripper(name_or_path: str, *, bite: float | None = None, options: GripperSettings = _AS_MEASURED) -> Gripper:
    """A measured gripper: a built-in or saved one by name, or one by file.

    A file is a gripper .yaml, a model (MJCF .xml, .urdf, .sdf, .usd*), or `robot_descriptions:<name>` if that package is installed.

    bite: distance (m) from the fingertip back to the contact point; replaces the gripper's own.
    options: values that replace those of the gripper's files.
    Raises GripperError for an unknown name, an unreadable file, and a model that is no two-finger gripper.
    """
    measure = partial(measure_gripper, iterations=options.convergence_iterations, convergence=options.measure_convergence)
    path = _file(name_or_path)
    if path is None:
        file, model = _read_builtin(name_or_path, options)
        return measure(model, _overridden(file, options, bite))
    key = f"{options.model_dump_json(include=_OPTIONS)} {bite}"
    if (kept := _load_measured(path, key)) is not None:
        return kept
    if path.suffix in _YAML:
        file, model_path = _read_yaml(path)
    else:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem).lstrip("_-") or "gripper"
        file, model_path = GripperFile(name=name, model=path.name), path
    file = _overridden(file, options, bite)
    draft = _read_model(model_path, file.base_body, options.package_root)
    gripper = measure(build_model(draft, base_body=file.base_body, keep=file.finger_bodies or ()), file)
    _store_measured(path, key, gripper, [path, *draft.files])
    return gripper


def _file(name_or_path: str) -> Path | None:
    """The file of a gripper; None for the name of a built-in gripper."""
    if name_or_path.startswith(_DESCRIBED):
        return _described_file(name_or_path.removeprefix(_DESCRIBED))
    path = Path(name_or_path).expanduser()
    return path if path.suffix.lower() in (*_YAML, *READERS) else saved_file(name_or_path)


def _described_file(name: str) -> Path:
    """The MJCF or URDF file of `robot_descriptions.<name>`, such as robotiq_2f85_mj_description; the package fetches a missing file.

    Raises GripperError if the package is missing, does not know the name, or cannot fetch the file.
    """
    source = f"{_DESCRIBED}{name}"
    if not name.isidentifier():
        raise GripperError(f"{name!r} cannot be the name of a robot description", path=source, advice="try robotiq_2f85_mj_description")
    try:
        import_module("robot_descriptions")
    except ImportError:
        raise GripperError("needs robot_descriptions", path=source, advice=f"run {install_command('grippers')}") from None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the package prints its progress; stdout is for our data
            described = import_module(f"robot_descriptions.{name}")
    except ModuleNotFoundError:
        raise GripperError(
            f"robot_descriptions knows no {name}", path=source, advice="`robot_descriptions list` prints the known names"
        ) from None
    except Exception as error:  # git and the network raise errors of many kinds
        raise GripperError(f"cannot be fetched: {one_line(error, 160)}", path=source) from error
    path = getattr(described, "MJCF_PATH", None) or getattr(described, "URDF_PATH", None)
    if path is None:
        hint = "; run xacro on its XACRO_PATH and give the URDF" if hasattr(described, "XACRO_PATH") else ""
        raise GripperError(f"has neither an MJCF nor a URDF file{hint}", path=source)
    return Path(path)


def _overridden(file: GripperFile, options: GripperSettings, bite: float | None) -> GripperFile:
    """The gripper file with the values of the options and the bite."""
    given = {
        "base_body": options.base_frame,
        "finger_bodies": options.finger_colliders,
        "bite": bite,
        **{name: getattr(options, name) for name in ("approach_axis", "grip_force", "closing_speed", "open_configuration")},
    }
    return file.model_copy(update={name: value for name, value in given.items() if value is not None})


def _catalog() -> Traversable:
    return resources.files("graspgen_cli.grippers.catalog")


def _read_builtin(name: str, options: GripperSettings) -> tuple[GripperFile, GripperModel]:
    known = known_grippers()
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise GripperError(
            f"no gripper is called {name!r}; {hint}There are {', '.join(known)}; or give the path of a gripper .yaml or of a model "
            "(MJCF .xml, .urdf, .sdf, .usd)"
        )
    folder = _catalog().joinpath(name)
    file = parse_gripper_file(folder.joinpath(GRIPPER_FILE).read_text("utf-8"), source=f"{name}/{GRIPPER_FILE}")
    text = folder.joinpath(file.model).read_text("utf-8")
    file = _overridden(file, options, None)
    return file, read_mjcf_text(text, source=f"{name}/{file.model}", base_body=file.base_body, keep=file.finger_bodies or ())


def _read_yaml(path: Path) -> tuple[GripperFile, Path]:
    """A gripper file's content and the file of its model."""
    try:
        text = read_bounded(path, largest=MAX_FILE_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise GripperError(f"gripper file {path} cannot be read: {one_line(error)}") from error
    file = parse_gripper_file(text, source=str(path))
    described = file.model.startswith(_DESCRIBED)
    return file, _described_file(file.model.removeprefix(_DESCRIBED)) if described else path.parent / file.model


def _read_model(path: Path, base: str | None, package_root: Path | None) -> Draft:
    if package_root is not None and not package_root.is_dir():
        raise GripperError(f"--package-root {package_root}: is no folder")
    if not path.is_file():
        raise GripperError(f"gripper model {path} does not exist")
    if path.stat().st_size > LARGEST_FILE:
        raise GripperError(f"gripper model {path} is larger than {LARGEST_FILE >> 20} MiB, so not a model")
    suffix = path.suffix.lower()
    if suffix == ".xml":  # URDF files have this suffix too
        root = re.search(r"<([A-Za-z]\w*)[\s>]", path.read_text("utf-8", errors="replace"))
        suffix = ".urdf" if root and root.group(1) == "robot" else suffix
    return READERS.get(suffix, read_mjcf)(path, base=base, package_root=package_root)


def _load_measured(main: Path, key: str) -> Gripper | None:
    """The cached gripper of a file and options; None for a missing or broken entry, and if a file that it was made from changed."""
    try:
        with np.load(_cache_entry(main, key), allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
        record = json.loads(content["record"].tobytes())
        if record["files"] != _digests(main, [main.parent / name for name in record["files"]]):
            return None
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in record["plain"].items()}
        values |= {field.name: content[field.name] for field in fields(Gripper) if field.name in content}
        assets = {name: content[f"asset_{number}"].tobytes() for number, name in enumerate(record["assets"])}
        ends = np.cumsum(content["mesh_counts"], axis=0)
        pairs = zip(np.split(content["vertices"], ends[:, 0])[:-1], np.split(content["faces"], ends[:, 1])[:-1], strict=True)
        meshes = iter([triangle_mesh(vertices, faces) for vertices, faces in pairs])
        parts = tuple(tuple(next(meshes) for _ in range(count)) for count in content["part_counts"])
        return Gripper(**values, assets=assets, collision_parts=parts)
    except (OSError, ValueError, KeyError, IndexError, EOFError, TypeError, AttributeError, zipfile.BadZipFile):
        return None


def _store_measured(main: Path, key: str, gripper: Gripper, files: list[Path]) -> None:
    """Cache a gripper: its arrays by name, and its other values as JSON under `record`. Ignores a cache folder that cannot be written."""
    values = {field.name: getattr(gripper, field.name) for field in fields(gripper)}
    assets, parts = values.pop("assets"), values.pop("collision_parts")
    arrays: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    plain = {name: value for name, value in values.items() if name not in arrays}
    meshes = [part for body in parts for part in body]
    arrays["part_counts"] = np.array([len(body) for body in parts])
    arrays["mesh_counts"] = np.array([[len(mesh.vertices), len(mesh.faces)] for mesh in meshes]).reshape(-1, 2)
    arrays["vertices"] = np.concatenate([np.zeros((0, 3)), *(mesh.vertices for mesh in meshes)])
    arrays["faces"] = np.concatenate([np.zeros((0, 3), np.int32), *(mesh.faces for mesh in meshes)])
    for number, content in enumerate(assets.values()):
        arrays[f"asset_{number}"] = np.frombuffer(content, np.uint8)
    with contextlib.suppress(OSError, ValueError, OutputError):
        record = json.dumps({"files": _digests(main, files), "assets": list(assets), "plain": plain})
        buffer = io.BytesIO()
        np.savez(buffer, record=np.frombuffer(record.encode(), np.uint8), **arrays)
        write_atomically(_cache_entry(main, key), buffer.getvalue())


def _cache_entry(main: Path, key: str) -> Path:
    digest = hashlib.sha256(f"{_CACHE_VERSION} {mujoco.__version__} {main.name} {key}\n".encode())
    digest.update(read_bounded(main))
    return default_cache() / "grippers" / f"{digest.hexdigest()}.npz"


def _digests(main: Path, files: list[Path]) -> dict[str, str]:
    """Path of each file, relative to the folder of the main file, to the digest of its content."""
    return {os.path.relpath(file, main.parent): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
