"""The sections of the commands that look at datasets and copy parts of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from graspgen_cli.settings.models import Axis, Count, Fraction, PositiveFloat, Section, SeedSettings, UserPath


class InputSettings(Section):
    """Which grasps to read."""

    paths: tuple[UserPath, ...] = Field(
        (),
        description="Datasets, folders or files of grasps; default: those of --gripper-config in --grasp-dataset.",
        json_schema_extra={"allowed": "a path; several as a JSON list, or by giving it several times"},
    )


class AnalyzeSettings(Section):
    """What to look at, and what is enough."""

    min_success: Count = Field(0, description="Fewest held grasps an object; fewer ends with exit code 1.")
    min_failed: Count = Field(0, description="Fewest failed grasps an object; fewer ends with exit code 1.")
    min_total: Count = Field(0, description="Fewest grasps an object; fewer ends with exit code 1.")
    fail_under: Fraction = Field(0.0, description="Least share (0 to 1) of all tested grasps that held; less ends with exit code 1.")
    geometry: bool = Field(
        False,
        description="Compare with the meshes in --object-dataset: collisions, grasps out of reach, the share of the surface that is held. "
        "Takes 0.1 s an object or more.",
    )
    output: tuple[UserPath, ...] = Field(
        (),
        description="Write the result to a file as well: .json, .csv (a row an object) or .html (a page that needs no network).",
        json_schema_extra={"allowed": "a path that ends in .json, .csv or .html; may be given several times"},
    )


class CopySettings(Section):
    """Where the copy goes."""

    output_dataset: UserPath = Field(Path("copy"), description="Folder of the new dataset; it must hold no grasps of the gripper yet.")


class BalanceSettings(SeedSettings):
    """How many grasps to keep of each object."""

    num_held: Count | None = Field(None, description="Most held grasps of each object; default: all.")
    num_failed: Count | None = Field(None, description="Most failed grasps of each object; default: all.")
    failed_per_held: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = Field(
        None, description="Failed grasps for each held one: as many of both as give that ratio; default: whatever there is."
    )


class FilterSettings(Section):
    """Which grasps to keep; all conditions must be met."""

    indices: str | None = Field(
        None,
        min_length=1,
        description="Places in the file from 0, and ranges without their end: 0,5,10:20.",
        json_schema_extra={"allowed": "places and ranges such as 0,5,10:20"},
    )
    outcomes: str | None = Field(
        None,
        min_length=1,
        description="Names of outcomes, with commas: held,dropped.",
        json_schema_extra={"allowed": "names of outcomes, with commas"},
    )
    min_opening: PositiveFloat | None = Field(None, description="Narrowest opening (m) at the start of the trial.")
    max_opening: PositiveFloat | None = Field(None, description="Widest opening (m) at the start of the trial.")
    approach_direction: Axis | None = Field(
        None,
        description="JSON list [x, y, z]: direction in which the gripper approaches, in the object's frame.",
        json_schema_extra={"allowed": "a JSON list [x, y, z] that is not zero"},
    )
    approach_angle: Annotated[float, Field(gt=0.0, le=180.0)] = Field(
        30.0, description="Largest angle (degrees) between a grasp's approach and --approach-direction."
    )
