"""How often a built-in gripper holds what it tries: what another object's rate is to be compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import orjson

from graspgen_cli.analysis.counts import OutcomeCounts

_95_PERCENT = 1.959964
"""Standard deviations to either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class ReferenceRate:
    """Held rates (0 to 1) of one gripper on the example objects, with the default settings: of all grasps, and of the objects the lowest,
    the quartiles and the highest. Made by ``benchmarks/reference_rates.py``."""

    held_rate: float
    lowest: float
    lower_quartile: float
    median: float
    upper_quartile: float
    highest: float
    objects: int


@cache
def reference_rates() -> Mapping[str, ReferenceRate]:
    """Gripper name -> its rates, for the built-in grippers."""
    text = resources.files("graspgen_cli.analysis").joinpath("reference_rates.json").read_bytes()
    return {name: ReferenceRate(**values) for name, values in orjson.loads(text).items()}


def rate_interval(held: int, tested: int) -> tuple[float, float]:
    """The 95 % interval of a share that was seen `held` times of `tested` (Wilson 1927, score interval); 0 to 1 without any trial."""
    if tested == 0:
        return 0.0, 1.0
    z2 = _95_PERCENT**2
    middle = (held + z2 / 2) / (tested + z2)
    half = _95_PERCENT / (tested + z2) * math.sqrt(held * (tested - held) / tested + z2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def judged(counts: OutcomeCounts, reference: ReferenceRate | None) -> str:
    """Whether a rate is normal, in a word or two; empty where there is nothing to compare, or nothing was tested.

    `low` and `high` only where chance is no explanation: the whole interval lies beyond what any reference object gave.
    """
    if reference is None or counts.tested == 0:
        return ""
    low, high = rate_interval(counts.held, counts.tested)
    if high < reference.lowest:
        return "low"
    return "high" if low > reference.highest else "usual"
