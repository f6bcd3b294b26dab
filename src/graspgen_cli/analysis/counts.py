"""Grasps by outcome, and the held rates of the built-in gripper models with which a rate is compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import orjson

from graspgen_cli.records import TRAINER_MINIMUM_POSITIVES, GraspBatch, Outcome

OUTCOMES = tuple(outcome.label for outcome in (Outcome.HELD, Outcome.COLLISION, Outcome.DROPPED, Outcome.UNSTABLE, Outcome.UNVALIDATED))
"""The outcomes in the order of the tables."""
_95_PERCENT = 1.959964
"""Standard deviations to either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True, kw_only=True)
class OutcomeCounts:
    """Number of grasps of each outcome, of an object or of many."""

    held: int = 0
    collision: int = 0
    dropped: int = 0
    unstable: int = 0
    unvalidated: int = 0

    @property
    def failed(self) -> int:
        """Negatives of every kind."""
        return self.collision + self.dropped + self.unstable

    @property
    def positive(self) -> int:
        """Positives for the trainer: held grasps, and guesses without a trial."""
        return self.held + self.unvalidated

    @property
    def tested(self) -> int:
        """Grasps with a trial."""
        return self.held + self.dropped + self.unstable

    @property
    def total(self) -> int:
        """All grasps."""
        return self.tested + self.collision + self.unvalidated

    @property
    def held_rate(self) -> float:
        """Share of the tested grasps that held, 0 to 1; NaN without a tested grasp."""
        return self.held / self.tested if self.tested else math.nan

    @property
    def usable(self) -> bool:
        """Whether the trainer takes an object with these counts."""
        return self.positive >= TRAINER_MINIMUM_POSITIVES


def count_grasps(grasps: GraspBatch) -> OutcomeCounts:
    """The grasps by outcome. Raises ValueError for a value that is no `Outcome`."""
    values, numbers = np.unique(grasps.outcome, return_counts=True)
    return OutcomeCounts(**{Outcome(int(value)).label: int(number) for value, number in zip(values, numbers, strict=True)})


def total_counts(counts: Iterable[OutcomeCounts]) -> OutcomeCounts:
    """The sum."""
    rows = tuple(counts)
    return OutcomeCounts(**{name: sum(getattr(row, name) for row in rows) for name in OUTCOMES})


@dataclass(frozen=True)
class ReferenceRate:
    """Held rates (0 to 1) of a gripper on the example objects at the defaults: of all grasps, and over the objects the lowest, the
    quartiles and the highest. Made by ``benchmarks/reference_rates.py``."""

    held_rate: float
    lowest: float
    lower_quartile: float
    median: float
    upper_quartile: float
    highest: float
    objects: int


@cache
def reference_rates() -> Mapping[str, ReferenceRate]:
    """Name of a built-in gripper -> its rates."""
    text = resources.files("graspgen_cli.analysis").joinpath("reference_rates.json").read_bytes()
    return {name: ReferenceRate(**values) for name, values in orjson.loads(text).items()}


def rate_interval(held: int, tested: int) -> tuple[float, float]:
    """The 95 % interval of a share `held` / `tested` (Wilson 1927, score interval); 0 to 1 without a trial."""
    if tested == 0:
        return 0.0, 1.0
    z2 = _95_PERCENT**2
    middle = (held + z2 / 2) / (tested + z2)
    half = _95_PERCENT / (tested + z2) * math.sqrt(held * (tested - held) / tested + z2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def compared_rate(counts: OutcomeCounts, reference: ReferenceRate | None) -> str:
    """``low``, ``usual`` or ``high``; empty without a reference or a tested grasp.

    A rate is low or high only if its whole 95 % interval lies outside the range of the example objects.
    """
    if reference is None or counts.tested == 0:
        return ""
    low, high = rate_interval(counts.held, counts.tested)
    if high < reference.lowest:
        return "low"
    return "high" if low > reference.highest else "usual"
