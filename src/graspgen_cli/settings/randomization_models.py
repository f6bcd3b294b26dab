"""The sections that say how the physics of a trial is varied."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.config import JsonDict

from graspgen_cli.settings.models import Fraction, PositiveFloat, Section, SeedSettings


def _ascending(factors: tuple[float, float]) -> tuple[float, float]:
    if factors[0] > factors[1]:
        raise ValueError(f"the least factor comes first: [{factors[1]:g}, {factors[0]:g}]")
    return factors


Factors = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ascending)]
_ALLOWED: JsonDict = {"allowed": "a JSON list of two factors above 0, the least first"}
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class ThresholdSettings(Section):
    """How many of the draws must hold."""

    randomize_threshold: Fraction = Field(
        0.5, description="Least share (0 to 1) of the draws of --randomize that must hold for a grasp to count as held."
    )


class RandomizationSettings(SeedSettings, ThresholdSettings):
    """Randomised physics."""

    randomize: bool = Field(
        False, description="Try each grasp several times more with varied physics; the share that held is kept, and decides the label."
    )
    randomize_draws: Annotated[int, Field(ge=1, le=1000)] = Field(8, description="Varied trials of each grasp, besides the usual one.")
    randomize_friction: Factors = Field(
        (0.8, 1.2), description="JSON list of the least and largest factor on --friction.", json_schema_extra=_ALLOWED
    )
    randomize_mass: Factors = Field(
        (0.8, 1.2),
        description="JSON list of the least and largest factor on the mass, with which the tugs grow.",
        json_schema_extra=_ALLOWED,
    )
    randomize_center_of_mass: NotNegative = Field(
        0.005, description="Largest distance (m) of the centre of mass from that of a uniform body along each of the object's axes."
    )
    randomize_position: NotNegative = Field(
        0.002, description="Standard deviation (m) of where the gripper stands, along each of its axes."
    )
    randomize_rotation: NotNegative = Field(
        0.02, description="Standard deviation (rad) of how the gripper is turned about the middle between its pads, about each axis."
    )
    randomize_grip_force: Factors = Field(
        (0.8, 1.2), description="JSON list of the least and largest factor on the grip force.", json_schema_extra=_ALLOWED
    )
