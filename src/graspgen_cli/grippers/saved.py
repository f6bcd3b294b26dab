"""The user's own grippers, kept by name in the user's config folder: each a folder with a gripper file, its model and its meshes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import yaml

from graspgen_cli.errors import GripperError, OutputError
from graspgen_cli.files import write_atomically

if TYPE_CHECKING:
    from graspgen_cli.records import Gripper

_GRIPPER_FILE = "gripper.yaml"
_MODEL_FILE = "model.xml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


def config_folder() -> Path:
    """The user's config folder, or what the environment variable GRASPGEN_CONFIG_DIR names."""
    named = os.environ.get("GRASPGEN_CONFIG_DIR")
    return Path(named).expanduser() if named else platformdirs.user_config_path("graspgen")


def saved_grippers() -> tuple[str, ...]:
    """The names of the saved grippers, sorted."""
    try:
        folders = list(_folder().iterdir())
    except OSError:
        return ()
    return tuple(sorted(folder.name for folder in folders if saved_file(folder.name)))


def saved_file(name: str) -> Path | None:
    """The gripper file of a saved gripper; None where none is saved under that name."""
    if not _NAME.fullmatch(name):
        return None
    file = _folder() / name / _GRIPPER_FILE
    return file if file.is_file() else None


def save_gripper(gripper: Gripper, name: str, *, taken: tuple[str, ...], overwrite: bool) -> Path:
    """Keeps a measured gripper under a name: its model as MJCF with its meshes, and everything that was measured or set.

    taken: names that the user may not give, those of the built-in grippers; overwrite: replace another gripper of that name.
    Returns the gripper file. Raises GripperError for a name that cannot be used, OutputError where nothing can be written.
    """
    if not _NAME.fullmatch(name):
        raise GripperError(f"--save {name!r}: a gripper's name has letters, digits, _ and -, and begins with a letter or a digit")
    if name in taken:
        raise GripperError(f"--save {name}: a built-in gripper is called that; choose another name")
    folder = _folder() / name
    contents = {**gripper.assets, _MODEL_FILE: gripper.mjcf.encode(), _GRIPPER_FILE: _gripper_file(gripper, name).encode()}
    file = folder / _GRIPPER_FILE
    if file.exists() and not overwrite and _differs(folder, contents):
        raise GripperError(f"{file}: another gripper is saved as {name}; --overwrite-gripper-config replaces it")
    # The gripper file last: without it, the folder is no gripper.
    for relative, content in contents.items():
        write_atomically(folder / relative, content)
    return file


def _folder() -> Path:
    return config_folder() / "grippers"


def _differs(folder: Path, contents: dict[str, bytes]) -> bool:
    try:
        return any(not (folder / name).exists() or (folder / name).read_bytes() != content for name, content in contents.items())
    except OSError as error:
        raise OutputError(f"{folder}: cannot be read ({error.strerror or error}); check the permissions") from error


def _gripper_file(gripper: Gripper, name: str) -> str:
    driven = {
        joint: float(at)
        for joint, at, effort in zip(gripper.joint_names, gripper.joint_position[-1], gripper.joint_effort, strict=True)
        if effort
    }
    content = {
        "name": name,
        "model": _MODEL_FILE,
        "base_body": gripper.base_body,
        "finger_bodies": list(gripper.finger_bodies),
        "approach_axis": gripper.approach_axis_in_base.tolist(),
        "grip_force": gripper.grip_force,
        "closing_speed": gripper.closing_speed,
        "bite": gripper.bite,
        "open_configuration": driven,
    }
    return str(yaml.safe_dump(content, sort_keys=False, default_flow_style=None))
