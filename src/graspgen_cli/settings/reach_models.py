"""The section of the settings that says what of an object is out of reach."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from graspgen_cli.settings.models import Section


class Reach(StrEnum):
    """What of an object counts as out of reach."""

    GRIPPER = "gripper"
    CLOSED = "closed"


class ReachSettings(Section):
    """What is out of reach."""

    reach: Reach = Field(
        Reach.GRIPPER,
        description="What guesses and pieces leave out: gripper = what no part of the gripper can touch, coming from outside; "
        "closed = only what lies inside a closed surface.",
    )
