"""The groups that say what is worked on: objects, gripper, dataset, GraspGen's source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from graspgen_cli.settings.base import Axis, FiniteFloat, Group, PositiveFloat, UserPath


class MeshSettings(Group):
    """Where the meshes are."""

    object_dataset: UserPath = Field(Path("objects"), description="Folder that the paths of the scales file start from.")


class ObjectSettings(MeshSettings):
    """Which objects."""

    object_scales_json: UserPath = Field(
        Path("objects/graspgen_example.json"), description='The objects and their scales: {"path/to/object.obj": scale, ...}.'
    )


class GripperSettings(Group):
    """Which gripper."""

    gripper_config: str = Field(
        "robotiq_2f_85",
        min_length=1,
        description="A built-in or saved gripper's name, or the path of a gripper file or of a model (MJCF, URDF, SDF, USD).",
        json_schema_extra={"allowed": "a gripper's name or the path of a gripper file"},
    )
    base_frame: str | None = Field(
        None, min_length=1, description="Body whose frame is the grasp frame; all that does not hang on it is left out."
    )
    package_root: UserPath | None = Field(
        None, description="Folder in which the packages lie whose meshes a URDF or SDF names by package:// or model://; default: searched."
    )
    finger_colliders: tuple[str, str] | None = Field(
        None,
        description='JSON list of the two bodies that carry the pads, ["left", "right"]; default: found.',
        json_schema_extra={"allowed": "a JSON list of two names"},
    )
    approach_axis: Axis | None = Field(
        None,
        description="JSON list [x, y, z]: direction in which the gripper moves towards an object, in the base's frame; default: found.",
        json_schema_extra={"allowed": "a JSON list [x, y, z] that is not zero"},
    )
    open_configuration: dict[str, FiniteFloat] | None = Field(
        None,
        description='JSON {"joint": value}: joint positions (m or rad) at which the gripper counts as open; default: the joints\' limits.',
        json_schema_extra={"allowed": 'a JSON mapping {"joint": value}'},
    )
    grip_force: PositiveFloat | None = Field(None, description="Force (N) with which each pad presses; default: the gripper's.")
    closing_speed: PositiveFloat | None = Field(None, description="Rate (m/s) at which the opening shrinks; default: the gripper's.")
    measure_convergence: bool = Field(False, description="Measure how well the mechanism's constraints are met.")
    convergence_iterations: Annotated[int, Field(ge=1, le=1000)] = Field(
        50, description="Most iterations for each position of the mechanism."
    )


class GripperFileSettings(Group):
    """What to do with the gripper."""

    gripper_file: UserPath | None = Field(None, description="The gripper's file, in the place of a name.")
    draw_picture: bool = Field(True, description="Draw the gripper, open to closed, into a PNG beside the config.")
    save: str | None = Field(
        None,
        min_length=1,
        description="Keep the gripper under this name in the user's config folder; every command then knows it.",
        json_schema_extra={"allowed": "a name of letters, digits, _ and -"},
    )
    list: bool = Field(False, description="Name the built-in and the saved grippers, and stop.")


class DatasetSettings(Group):
    """Where output goes."""

    grasp_dataset: UserPath = Field(Path("results"), description="Folder of all output.")


class CheckoutSettings(Group):
    """Where GraspGen's source is."""

    graspgen_source: UserPath = Field(
        Path("~/github/GraspGen"),
        validate_default=True,
        description="GraspGen checkout; the gripper config goes to its config/grippers, or to the dataset where it does not exist.",
    )


class GraspGenSettings(CheckoutSettings):
    """The gripper config in GraspGen's source."""

    overwrite_gripper_config: bool = Field(False, description="Replace gripper config files that differ.")
