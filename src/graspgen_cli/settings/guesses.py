"""The groups that say how many grasps are wanted, and how guesses of them are made."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from graspgen_cli.settings.base import Axis, Count, FiniteFloat, Fraction, Group, PositiveCount, PositiveFloat, SeedSettings


class Sampler(StrEnum):
    """How guesses are proposed."""

    FINGER_PADS = "finger-pads"
    ANTIPODAL = "antipodal"
    ACRONYM = "acronym"


class Reach(StrEnum):
    """What of an object counts as out of reach."""

    GRIPPER = "gripper"
    CLOSED = "closed"


class QuotaSettings(Group):
    """How many grasps an object."""

    num_collision_free_grasps: Count = Field(64, description="Held grasps wanted of each object (guesses, with --guess-only).")
    num_colliding_grasps: Count = Field(16, description="Failed grasps wanted of each object, made by collision.")
    max_guess_tries: Count = Field(100, description="Rounds of sampling an object before giving up; 0 = no limit.")


class GuessSettings(SeedSettings):
    """How guesses are made."""

    sampler: Sampler = Field(Sampler.FINGER_PADS, description="How grasps are proposed.")
    num_orientations: PositiveCount = Field(1, description="Orientations tried at each surface point.")
    percent_random_guess_angle: Fraction = Field(
        0.75, description="Share of guesses turned by a random angle about the contact normal; the rest align with the object's axes."
    )
    standoff_distance: PositiveFloat = Field(0.001, description="Step (m) by which the first finger backs off from the surface.")
    num_offsets: PositiveCount = Field(16, description="Most back-off steps of the first finger.")
    center_finger_opening: bool = Field(True, description="Centre the opening on the material between the pads.")
    correct_acronym_approach: bool = Field(
        False, description="With the acronym sampler: allow for fingers that move along the approach axis as they close."
    )
    bite: PositiveFloat | None = Field(
        None, description="Distance (m) from the fingertip back to the contact point; default: the gripper's."
    )
    pinch_width_resolution: Annotated[int, Field(ge=2)] = Field(8, description="Opening widths tried at each pose.")


class PickUpSettings(Group):
    """Guesses for picking up from a table."""

    approach_cone: Annotated[float, Field(ge=0.0, le=180.0)] | None = Field(
        None, description="Largest angle (degrees) between the gripper's approach and straight down; default: any."
    )
    bottom_clearance: FiniteFloat | None = Field(
        None, description="Least height (m) of the whole gripper, at the guess's opening, over the object's lowest point; default: any."
    )
    wrist_up: bool = Field(False, description="Only guesses in which the gripper's base is not below its pads.")
    up_axis: Axis = Field(
        (0.0, 0.0, 1.0),
        description="JSON list [x, y, z]: which way is up in the frame of the objects' meshes.",
        json_schema_extra={"allowed": "a JSON list [x, y, z] that is not zero"},
    )

    @property
    def is_on(self) -> bool:
        """Whether any guess could be turned down."""
        return self.approach_cone is not None or self.bottom_clearance is not None or self.wrist_up


class ReachSettings(Group):
    """What is out of reach."""

    reach: Reach = Field(
        Reach.GRIPPER,
        description="What guesses and pieces leave out: gripper = what no part of the gripper can touch, coming from outside; "
        "closed = only what lies inside a closed surface.",
    )
