"""What is done to the object once it is gripped, as it stands in the settings: tugs, and the gripper shaken."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator

from graspgen_cli.tables import DEFAULT_PROTOCOL, PROTOCOLS

LEAST_PERIODS = 4
"""Periods of a shake, at least: it swells over the first one and a half, fades over the last one and a half, and one is whole."""
_ROUNDING = 1e-6
"""Periods by which a whole number of them may be missed."""


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
    """The shakes. Raises ValueError, in one line, where one cannot be made."""
    for duration, kind, axis, amplitude, frequency in shakes:
        if not all(math.isfinite(value) and value > 0 for value in (duration, amplitude, frequency)):
            said = f"[{duration}, {kind}, {axis}, {amplitude}, {frequency}]"
            raise ValueError(f"a shake is [duration s > 0, kind, axis, amplitude m or rad > 0, frequency Hz > 0], not {said}")
        periods = duration * frequency
        if periods < LEAST_PERIODS - _ROUNDING or abs(periods - round(periods)) > _ROUNDING:
            raise ValueError(f"a shake has whole periods, {LEAST_PERIODS} or more; {duration} s at {frequency} Hz are {periods:g}")
    return shakes


Tugs = Annotated[tuple[Tug, ...], AfterValidator(_checked_tugs)]
Shakes = Annotated[tuple[Shake, ...], AfterValidator(checked_shakes)]

DEFAULT_TUGS: tuple[Tug, ...] = PROTOCOLS[DEFAULT_PROTOCOL].tugs
