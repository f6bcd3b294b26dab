"""Finds a gripper by name or file and measures it."""

from __future__ import annotations

import difflib
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from graspgen_cli.errors import GripperError
from graspgen_cli.grippers.gripper_file import GripperFile, parse_gripper_file
from graspgen_cli.grippers.measure import measure_gripper
from graspgen_cli.grippers.read_mjcf import GripperModel, read_mjcf_file, read_mjcf_text
from graspgen_cli.records import Gripper

_GRIPPER_FILE = "gripper.yaml"


def builtin_grippers() -> tuple[str, ...]:
    """The names of the built-in grippers, sorted."""
    return tuple(sorted(folder.name for folder in _catalog().iterdir() if folder.joinpath(_GRIPPER_FILE).is_file()))


def load_gripper(name_or_path: str, *, bite: float | None = None) -> Gripper:
    """A measured gripper: a built-in one by name, or the user's by the path of a gripper .yaml or an MJCF .xml.

    bite: distance (m) from the fingertip back to the contact point; replaces the gripper's own.
    Raises GripperError for an unknown name, a file that cannot be read, and a model that is no two-finger gripper.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix in (".yaml", ".yml"):
        file, model = _read_user_file(path)
    elif path.suffix == ".xml":
        file, model = _read_user_model(path)
    else:
        file, model = _read_builtin(name_or_path)
    return measure_gripper(model, file if bite is None else file.model_copy(update={"bite": bite}))


def _catalog() -> Traversable:
    return resources.files("graspgen_cli.grippers.catalog")


def _read_builtin(name: str) -> tuple[GripperFile, GripperModel]:
    known = builtin_grippers()
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise GripperError(
            f"no gripper is called {name!r}; {hint}There are {', '.join(known)}; or give the path of a gripper .yaml or of an MJCF .xml"
        )
    folder = _catalog().joinpath(name)
    file = parse_gripper_file(folder.joinpath(_GRIPPER_FILE).read_text("utf-8"), source=f"{name}/{_GRIPPER_FILE}")
    text = folder.joinpath(file.model).read_text("utf-8")
    return file, read_mjcf_text(text, source=f"{name}/{file.model}", base_body=file.base_body)


def _read_user_file(path: Path) -> tuple[GripperFile, GripperModel]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GripperError(f"gripper file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    file = parse_gripper_file(text, source=str(path))
    return file, read_mjcf_file(_existing(path.parent / file.model), base_body=file.base_body)


def _read_user_model(path: Path) -> tuple[GripperFile, GripperModel]:
    model = read_mjcf_file(_existing(path))
    return parse_gripper_file(f"name: {path.stem}\nmodel: {path.name}", source=str(path)), model


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise GripperError(f"gripper model {path} does not exist")
    return path
