"""The sections that say when a grasp counts as held."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graspgen_cli.settings.models import Count, PositiveFloat, Section
from graspgen_cli.tables import DEFAULT_PROTOCOL, PROTOCOLS


class JudgeSettings(Section):
    """When a grasp counts as held, besides that both fingers press at the end."""

    max_slip: PositiveFloat | None = Field(
        None, description="Largest distance (m) that the object may move in the gripper after the grip closed; default: any."
    )
    max_turn: Annotated[float, Field(gt=0.0, le=180.0)] | None = Field(
        None, description="Largest angle (degrees) that it may turn in the gripper after the grip closed; default: any."
    )
    min_contact_force: PositiveFloat | None = Field(
        None,
        description="Least force (N) of each finger, ten times a second, from when the grip has closed; a tiny one asks for contact "
        "throughout. Default: only at the end.",
    )
    still: PositiveFloat | None = Field(
        None, description="Largest motion (m) of the object's farthest point in the last 0.2 s; default: any."
    )
    max_penetration: PositiveFloat | None = Field(
        None,
        description="Deepest overlap (m) of the object's pieces with the gripper, ten times a second, from when the grip has closed; "
        "default: any.",
    )

    @property
    def asks_more(self) -> bool:
        """Whether anything is asked for besides both fingers at the end."""
        return any(getattr(self, name) is not None for name in JudgeSettings.model_fields)


class ControlSettings(Section):
    """What is made sure of first."""

    run_controls: bool = Field(
        True, description="Before the first run with a gripper: trials that must hold and trials that must not, in known ways (0.3 s)."
    )


class HardNegativeSettings(Section):
    """Failed grasps next to held ones."""

    hard_negatives: Count = Field(
        0, description="Dropped grasps wanted of each object that are held ones moved by small random offsets until they drop the object."
    )


class ProtocolSettings(Section):
    """What is done once the object is gripped."""

    protocol: str = Field(
        DEFAULT_PROTOCOL,
        min_length=1,
        description=f"What tries the grip: {'; '.join(f'{name}, {row.description}' for name, row in PROTOCOLS.items())}; "
        "or a YAML file with tugs and shakes.",
        json_schema_extra={"allowed": f"{', '.join(PROTOCOLS)} or the path of a YAML file"},
    )


class RobustnessSettings(Section):
    """How much more a held grasp survives."""

    robustness: bool = Field(
        False, description="Find the largest force (g) up to 32 times the protocol's that each held grasp survives, by five trials more."
    )
