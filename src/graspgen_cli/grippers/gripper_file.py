"""The gripper file: YAML that names a gripper's model and sets parameters that the model lacks; and the user's saved grippers.

A saved gripper is a folder of its name in the user's config folder, with a gripper file, a model and meshes.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import platformdirs
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from graspgen_cli.errors import GripperError, OutputError, one_line
from graspgen_cli.files import load_plain_yaml, write_atomically
from graspgen_cli.settings.sources import MAX_FILE_DEPTH

if TYPE_CHECKING:
    from graspgen_cli.records import Gripper

GRIPPER_FILE = "gripper.yaml"
_MODEL_FILE = "model.xml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


def _direction(vector: tuple[float, float, float]) -> tuple[float, float, float]:
    if not 0 < math.hypot(*vector) < math.inf:
        raise ValueError("must be a direction that is not zero")
    return vector


PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Direction = Annotated[tuple[float, float, float], AfterValidator(_direction)]


class GripperFile(BaseModel):
    """Content of a gripper file. An omitted value is measured, or has the default named in its description."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]*$")] = Field(
        description="The gripper's name, used for files and folders."
    )
    model: str = Field(description="The MJCF file, relative to this file's folder.")
    base_body: str | None = Field(None, description="The body whose frame is the grasp frame; default: the one body in the world.")
    finger_bodies: tuple[str, str] | None = Field(None, description="The two bodies that carry the pads; default: found.")
    approach_axis: Direction | None = Field(
        None, description="Direction in which the gripper moves towards an object, in the base's frame; default: found."
    )
    grip_force: PositiveFloat | None = Field(None, description="Force (N) with which each pad presses; default: the model's, or 50.")
    closing_speed: PositiveFloat | None = Field(None, description="Rate (m/s) at which the opening shrinks; default: the model's, or 0.1.")
    bite: PositiveFloat | None = Field(
        None, description="Distance (m) from the fingertip back to the contact point; default: half the pad."
    )
    open_configuration: dict[str, Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        None, description="Joint positions (m or rad) at which the gripper counts as open; default: the joints' limits."
    )
    sources: dict[str, str] = Field(default_factory=dict, description="Where each of the numbers comes from.")


def parse_gripper_file(text: str, *, source: str) -> GripperFile:
    """Parse a gripper file's text. Raises GripperError, one line, for a wrong value or an unknown key."""
    try:
        content = load_plain_yaml(text.encode(), deepest=MAX_FILE_DEPTH)
    except ValueError as error:
        raise GripperError(str(error), path=source) from error
    if not isinstance(content, dict):
        raise GripperError("a gripper file is a mapping of keys such as name and model", path=source)
    known = list(GripperFile.model_fields)
    for key in content:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys are {', '.join(known)}"
            raise GripperError(f"unknown key {key!r}", path=source, advice=hint)
    try:
        return GripperFile.model_validate(content)
    except ValidationError as error:
        raise GripperError(_reason(error.errors()[0]), path=source) from error


def _reason(problem: Any) -> str:
    key = ".".join(str(step) for step in problem["loc"])
    if problem["type"] == "missing":
        return f"{key} is missing"
    text = str(problem["ctx"]["error"] if problem["type"] == "value_error" else problem["msg"])
    return f"{key}: {text[0].lower()}{text[1:]} (it is {problem['input']!r})"


def config_folder() -> Path:
    """The user's config folder, or the folder named by the environment variable GRASPGEN_CONFIG_DIR."""
    named = os.environ.get("GRASPGEN_CONFIG_DIR")
    return Path(named).expanduser() if named else platformdirs.user_config_path("graspgen")


def saved_grippers() -> tuple[str, ...]:
    """The names of the saved grippers, sorted."""
    try:
        folders = list((config_folder() / "grippers").iterdir())
    except OSError:
        return ()
    return tuple(sorted(folder.name for folder in folders if saved_file(folder.name)))


def saved_file(name: str) -> Path | None:
    """The gripper file of a saved gripper; None for an unknown name."""
    if not _NAME.fullmatch(name):
        return None
    file = config_folder() / "grippers" / name / GRIPPER_FILE
    return file if file.is_file() else None


def save_gripper(gripper: Gripper, name: str, *, taken: tuple[str, ...], overwrite: bool) -> Path:
    """Save a measured gripper under a name: its model as MJCF, its meshes, and its measured or set parameters.

    taken: names of built-in grippers, which are refused; overwrite: replace another gripper of that name.
    Returns the gripper file. Raises GripperError for a name that cannot be used, OutputError for files that cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise GripperError(f"--save {name!r}: a gripper's name has letters, digits, _ and -, and begins with a letter or a digit")
    if name in taken:
        raise GripperError(f"--save {name}: a built-in gripper is called that; choose another name")
    folder = config_folder() / "grippers" / name
    contents = {**gripper.assets, _MODEL_FILE: gripper.mjcf.encode(), GRIPPER_FILE: _gripper_file(gripper, name).encode()}
    file = folder / GRIPPER_FILE
    if file.exists() and not overwrite and _differs(folder, contents):
        raise GripperError(f"another gripper is saved as {name}", path=file, advice="--overwrite-gripper-config replaces it")
    # The gripper file comes last: a folder without a gripper file is no gripper.
    for relative, content in contents.items():
        write_atomically(folder / relative, content)
    return file


def _differs(folder: Path, contents: dict[str, bytes]) -> bool:
    try:
        return any(not (folder / name).exists() or (folder / name).read_bytes() != content for name, content in contents.items())
    except OSError as error:
        raise OutputError(f"cannot be read ({one_line(error)})", path=folder, advice="check the permissions") from error


def _gripper_file(gripper: Gripper, name: str) -> str:
    joints = zip(gripper.joint_names, gripper.joint_position[-1], gripper.joint_effort, strict=True)
    content = {
        "name": name,
        "model": _MODEL_FILE,
        "base_body": gripper.base_body,
        "finger_bodies": list(gripper.finger_bodies),
        "approach_axis": gripper.approach_axis_in_base.tolist(),
        "grip_force": gripper.grip_force,
        "closing_speed": gripper.closing_speed,
        "bite": gripper.bite,
        "open_configuration": {joint: float(position) for joint, position, effort in joints if effort},
    }
    return str(yaml.safe_dump(content, sort_keys=False, default_flow_style=None))
