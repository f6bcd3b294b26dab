"""The groups for trials: how grasps are tried and judged."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from graspgen_cli.settings.base import Count, Factors, Fraction, Group, NotNegative, PositiveFloat, Rule, SeedSettings
from graspgen_cli.tables import DEFAULT_PROTOCOL, PROTOCOLS

LEAST_PERIODS = 4
"""Periods of a shake, at least: the amplitude grows over the first one and a half, and fades over the last one and a half."""
_ROUNDING = 1e-6
"""Tolerance of a whole number of periods."""


class ShakeKind(StrEnum):
    """How the gripper is shaken."""

    LINEAR = "linear"
    """To and fro along an axis; the amplitude is in m."""
    ROTATIONAL = "rotational"
    """To and fro about an axis through the origin of the gripper's base; the amplitude is in rad."""


class ShakeAxis(StrEnum):
    """Axes of the gripper."""

    APPROACH = "approach"
    CLOSING = "closing"
    BINORMAL = "binormal"


Tug = tuple[float, tuple[float, float, float], float]
"""Duration (s), direction (z approach, x closing), scale."""
Shake = tuple[float, ShakeKind, ShakeAxis, float, float]
"""Duration (s), kind, axis, amplitude (m or rad), frequency (Hz)."""


def _checked_tugs(tugs: tuple[Tug, ...]) -> tuple[Tug, ...]:
    for duration, direction, scale in tugs:
        if not (math.isfinite(duration) and duration > 0 and math.isfinite(scale)):
            raise ValueError(f"a tug is [duration s > 0, [x, y, z], scale], not [{duration}, {list(direction)}, {scale}]")
        if not 0 < math.hypot(*direction) < math.inf:
            raise ValueError(f"a tug needs a direction that is not zero: {list(direction)}")
    return tugs


def checked_shakes(shakes: tuple[Shake, ...]) -> tuple[Shake, ...]:
    """The shakes. Raises ValueError, in one line, for an impossible one."""
    for duration, kind, axis, amplitude, frequency in shakes:
        if not all(math.isfinite(value) and value > 0 for value in (duration, amplitude, frequency)):
            given = f"[{duration}, {kind}, {axis}, {amplitude}, {frequency}]"
            raise ValueError(f"a shake is [duration s > 0, kind, axis, amplitude m or rad > 0, frequency Hz > 0], not {given}")
        periods = duration * frequency
        if periods < LEAST_PERIODS - _ROUNDING or abs(periods - round(periods)) > _ROUNDING:
            raise ValueError(f"a shake has whole periods, {LEAST_PERIODS} or more; {duration} s at {frequency} Hz are {periods:g}")
    return shakes


Tugs = Annotated[tuple[Tug, ...], AfterValidator(_checked_tugs), Rule("a JSON list of [duration s, [x, y, z], scale]")]
Shakes = Annotated[
    tuple[Shake, ...], AfterValidator(checked_shakes), Rule("a JSON list of [duration s, kind, axis, amplitude, frequency Hz]")
]
DEFAULT_TUGS: tuple[Tug, ...] = PROTOCOLS[DEFAULT_PROTOCOL].tugs


class CollisionApproximation(StrEnum):
    """The collision geometry of the object in the simulation."""

    CONVEX_DECOMPOSITION = "convex-decomposition"
    COACD = "coacd"
    CONVEX_HULL = "convex-hull"
    SPHERE_FILL = "sphere-fill"
    SDF = "sdf"


class SimulationSettings(Group):
    """How grasps are tried."""

    fps: Annotated[int, Field(ge=50, le=10000)] = Field(250, description="Simulation steps per second.")
    initial_grasp_duration: PositiveFloat = Field(1.0, description="Time (s) to close and hold before the first tug.")
    tug_sequences: Tugs = Field(
        DEFAULT_TUGS, description="JSON list of [duration s, [x, y, z], scale]: successive tugs on the object, in the gripper's frame."
    )
    shake_sequences: Shakes = Field(
        (),
        description='JSON list of [duration s, "linear" or "rotational", "approach", "closing" or "binormal", amplitude m or rad, '
        "frequency Hz]: successive shakes of the gripper along or about one of its axes, after the tugs.",
    )
    force_magnitude: NotNegative = Field(1.0, description="Force of a tug of scale 1, in g.")
    steady_motion: NotNegative = Field(
        0.0005,
        description="Motion (m): a stage of a trial ends early if the object creeps steadily and would move by less until its end; "
        "0 = never.",
    )
    object_mass: PositiveFloat = Field(1.0, description="Mass (kg) of every object.")
    object_density: PositiveFloat | None = Field(None, description="Density (kg/m³); replaces --object-mass.")
    friction: NotNegative = Field(1.0, description="Coulomb friction coefficient.")
    contact_patch: Annotated[float, Field(ge=0.0, le=0.1, allow_inf_nan=False)] = Field(
        0.003,
        description="Radius (m) of the contact patch of a soft pad, which resists rotation about the contact normal. "
        "0 = point contacts without that resistance, as of hard fingers.",
    )
    collision_approximation: CollisionApproximation = Field(
        CollisionApproximation.CONVEX_DECOMPOSITION, description="Collision geometry of the object in the simulation."
    )
    max_surface_gap: PositiveFloat | None = Field(
        None,
        description="Largest distance (m) between the pieces of convex-decomposition and the mesh; "
        "default: 0.0015 or 1.5 % of the object's size, whichever is more.",
    )
    max_num_envs: Count = Field(0, description="Trials at the same time, at most; 0 = all grasps.")
    max_num_grasps: Count = Field(0, description="Grasps tested of each object, at most; 0 = all.")

    @model_validator(mode="after")
    def _gap_of_a_decomposition(self) -> Self:
        decomposed = self.collision_approximation is CollisionApproximation.CONVEX_DECOMPOSITION
        if self.max_surface_gap is not None and not decomposed:
            raise ValueError("max-surface-gap goes with collision-approximation convex-decomposition only; leave one of them out")
        return self


class ProtocolSettings(Group):
    """How the grip is tested."""

    protocol: Annotated[str, Rule(f"{', '.join(PROTOCOLS)} or the path of a YAML file", bool)] = Field(
        DEFAULT_PROTOCOL,
        description=f"Test of the grip: {'; '.join(f'{name}, {row.description}' for name, row in PROTOCOLS.items())}; "
        "or a YAML file with tugs and shakes.",
    )


class JudgeSettings(Group):
    """When a grasp counts as held, besides contact of both fingers at the end."""

    max_slip: PositiveFloat | None = Field(
        None, description="Largest motion (m) of the object in the gripper after the grip has closed; default: any."
    )
    max_turn: Annotated[float, Field(gt=0.0, le=180.0)] | None = Field(
        None, description="Largest rotation (degrees) of the object in the gripper after the grip has closed; default: any."
    )
    min_contact_force: PositiveFloat | None = Field(
        None,
        description="Least force (N) of each finger, ten times a second after the grip has closed; a tiny one demands contact throughout. "
        "Default: contact at the end only.",
    )
    still: PositiveFloat | None = Field(
        None, description="Largest motion (m) of the object's farthest point in the last 0.2 s; default: any."
    )
    max_penetration: PositiveFloat | None = Field(
        None,
        description="Deepest overlap (m) of the object's pieces with the gripper, ten times a second after the grip has closed; "
        "default: any.",
    )

    @property
    def asks_more(self) -> bool:
        """Whether there is a limit besides contact of both fingers at the end."""
        return any(value is not None for _, value in self)


class ThresholdSettings(Group):
    """How many of the draws must hold."""

    randomize_threshold: Fraction = Field(0.5, description="Least share (0 to 1) of the draws of --randomize that hold in a held grasp.")


class RandomizationSettings(SeedSettings, ThresholdSettings):
    """Randomised physics."""

    randomize: bool = Field(
        False, description="Try each grasp several more times with varied physics; the share that held is stored and decides the label."
    )
    randomize_draws: Annotated[int, Field(ge=1, le=1000)] = Field(8, description="Varied trials of each grasp, besides the nominal one.")
    randomize_friction: Factors = Field((0.8, 1.2), description="JSON list of the lowest and highest factor on --friction.")
    randomize_mass: Factors = Field((0.8, 1.2), description="JSON list of the lowest and highest factor on the mass, and so on the tugs.")
    randomize_center_of_mass: NotNegative = Field(
        0.005, description="Largest offset (m) of the centre of mass from that of a uniform body, along each of the object's axes."
    )
    randomize_position: NotNegative = Field(0.002, description="Standard deviation (m) of the gripper's position along each of its axes.")
    randomize_rotation: NotNegative = Field(
        0.02, description="Standard deviation (rad) of the gripper's rotation about each axis through the middle between its pads."
    )
    randomize_grip_force: Factors = Field((0.8, 1.2), description="JSON list of the lowest and highest factor on the grip force.")


class ExtraSettings(Group):
    """What is done besides the quotas."""

    hard_negatives: Count = Field(
        0, description="Dropped grasps of each object that are held grasps moved by small random offsets until they drop the object."
    )
    robustness: bool = Field(
        False, description="Find the largest force (g), up to 32 times the protocol's, that each held grasp survives, by five more trials."
    )
    run_controls: bool = Field(
        True, description="Before the first run with a gripper: trials with a known outcome, held or dropped (0.3 s)."
    )
