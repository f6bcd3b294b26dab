"""The gripper file: a YAML that says which model a gripper has and what its model does not tell."""

from __future__ import annotations

import difflib
import math
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from graspgen_cli.errors import GripperError
from graspgen_cli.settings.sources import check_nesting


def _direction(vector: tuple[float, float, float]) -> tuple[float, float, float]:
    if not 0 < math.hypot(*vector) < math.inf:
        raise ValueError("must be a direction that is not zero")
    return vector


PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Direction = Annotated[tuple[float, float, float], AfterValidator(_direction)]


class GripperFile(BaseModel):
    """What a gripper file holds. A value that is left out is measured, or has the default named in its description."""

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
    """Reads a gripper file's text. Raises GripperError, one line, for a wrong or unknown key."""
    try:
        check_nesting(text)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise GripperError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise GripperError(f"{source}: a gripper file is a mapping of keys such as name and model")
    for key in content:
        if key not in GripperFile.model_fields:
            raise GripperError(f"{source}: unknown key {key!r}{_nearest(str(key), list(GripperFile.model_fields))}")
    try:
        return GripperFile.model_validate(content)
    except ValidationError as error:
        raise GripperError(f"{source}: {_first_problem(error.errors()[0])}") from error


def _first_problem(problem: Any) -> str:
    where = ".".join(str(step) for step in problem["loc"])
    what = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where} is missing" if problem["type"] == "missing" else f"{where}: {what[0].lower()}{what[1:]} (it is {problem['input']!r})"


def _nearest(key: str, names: list[str]) -> str:
    close = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known keys are {', '.join(names)}"
