"""The groups for guesses: their number, and how they are made."""

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
    """Which part of an object counts as out of reach."""

    GRIPPER = "gripper"
    CLOSED = "closed"


class QuotaSettings(Group):
    """How many grasps an object."""

    num_collision_free_grasps: Count = Field(64, description="Held grasps of each object (guesses, with --guess-only).")
    num_colliding_grasps: Count = Field(16, description="Failed grasps of each object, made by collision.")
    max_guess_tries: Count = Field(100, description="Rounds of sampling of each object, at most; 0 = no limit.")


class GuessSettings(SeedSettings):
    """How guesses are made."""

    sampler: Sampler = Field(Sampler.FINGER_PADS, description="Method that proposes grasps.")
    num_orientations: PositiveCount = Field(1, description="Orientations tried at each surface point.")
    percent_random_guess_angle: Fraction = Field(
        0.75, description="Share of the guesses with a random angle about the contact normal; the others align with the object's axes."
    )
    standoff_distance: PositiveFloat = Field(0.001, description="Step (m) by which the first finger backs off from the surface.")
    num_offsets: PositiveCount = Field(16, description="Back-off steps of the first finger, at most.")
    center_finger_opening: bool = Field(True, description="Centre the opening on the material between the pads.")
    correct_acronym_approach: bool = Field(
        False, description="With the acronym sampler: correct for fingers that move along the approach axis while they close."
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
        None,
        description="Least height (m) of the whole gripper, at the guess's opening, over the object's lowest point; default: any.",
    )
    wrist_up: bool = Field(False, description="Only guesses with the gripper's base at the height of its pads or above.")
    up_axis: Axis = Field((0.0, 0.0, 1.0), description="JSON list [x, y, z]: the up direction in the frame of the meshes.")

    @property
    def is_on(self) -> bool:
        """Whether a rule can reject a guess."""
        return self.approach_cone is not None or self.bottom_clearance is not None or self.wrist_up


class ReachSettings(Group):
    """What is out of reach."""

    reach: Reach = Field(
        Reach.GRIPPER,
        description="Surface that guesses and pieces leave out: gripper = surface that no part of the gripper can touch from outside; "
        "closed = surface inside a closed surface.",
    )
