"""The groups for the inputs of a run: objects, gripper, dataset, GraspGen's source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from graspgen_cli.settings.base import Axis, FiniteFloat, GripperName, Group, PositiveFloat, Rule, Text, UserPath


class MeshSettings(Group):
    """Where the meshes are."""

    object_dataset: UserPath = Field(Path("objects"), description="Folder of the meshes; the paths of the scales file start here.")


class ObjectSettings(MeshSettings):
    """Which objects."""

    object_scales_json: UserPath = Field(
        Path("objects/graspgen_example.json"), description='The objects and their scales: {"path/to/object.obj": scale, ...}.'
    )


class GripperSettings(Group):
    """Which gripper."""

    gripper_config: GripperName = Field(
        "robotiq_2f_85",
        description="Name of a built-in or saved gripper, or path of a gripper file or of a model (MJCF, URDF, SDF, USD).",
    )
    base_frame: Text | None = Field(None, description="Body whose frame is the grasp frame; only bodies attached to it are kept.")
    package_root: UserPath | None = Field(
        None, description="Folder of the packages that a URDF or SDF names by package:// or model://; default: searched."
    )
    finger_colliders: Annotated[tuple[str, str], Rule("a JSON list of two names")] | None = Field(
        None, description='JSON list of the two bodies with the pads, ["left", "right"]; default: found.'
    )
    approach_axis: Axis | None = Field(
        None, description="JSON list [x, y, z]: approach direction of the gripper in its base frame; default: found."
    )
    open_configuration: Annotated[dict[str, FiniteFloat], Rule('a JSON mapping {"joint": value}')] | None = Field(
        None, description='JSON {"joint": value}: joint positions (m or rad) of the open gripper; default: the limits of the joints.'
    )
    grip_force: PositiveFloat | None = Field(None, description="Force (N) of each pad; default: the gripper's.")
    closing_speed: PositiveFloat | None = Field(None, description="Rate (m/s) at which the opening shrinks; default: the gripper's.")
    measure_convergence: bool = Field(False, description="Measure the error of the mechanism's constraints.")
    convergence_iterations: Annotated[int, Field(ge=1, le=1000)] = Field(
        50, description="Iterations for each position of the mechanism, at most."
    )


class GripperFileSettings(Group):
    """What to do with the gripper."""

    gripper_file: UserPath | None = Field(None, description="File of the gripper, instead of a name.")
    draw_picture: bool = Field(True, description="Draw the gripper, from open to closed, into a PNG beside the config.")
    save: Annotated[str, Rule("a name of letters, digits, _ and -", bool)] | None = Field(
        None, description="Save the gripper under this name in the user's config folder, where every command finds it."
    )
    list: bool = Field(False, description="Print the names of the built-in and the saved grippers, and stop.")


class DatasetSettings(Group):
    """Where output goes."""

    grasp_dataset: UserPath = Field(Path("results"), description="Folder of all output.")


class CheckoutSettings(Group):
    """Where GraspGen's source is."""

    graspgen_source: UserPath = Field(
        Path("~/github/GraspGen"),
        validate_default=True,
        description="GraspGen checkout; the gripper config goes to its config/grippers, or to the dataset if there is no checkout.",
    )


class GraspGenSettings(CheckoutSettings):
    """The gripper config in GraspGen's source."""

    overwrite_gripper_config: bool = Field(False, description="Replace gripper config files that differ.")
