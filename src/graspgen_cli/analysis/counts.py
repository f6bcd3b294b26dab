"""How many grasps of each outcome there are, of an object and of a dataset, and which objects are short.

How often a built-in gripper holds what it tries: what another object's rate is to be compared with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, NamedTuple

import numpy as np
import orjson

from graspgen_cli.records import TRAINER_MINIMUM_POSITIVES, GraspBatch, Outcome


@dataclass(frozen=True, kw_only=True)
class OutcomeCounts:
    """Number of grasps of each outcome."""

    held: int
    collision: int
    dropped: int
    unstable: int
    unvalidated: int

    @property
    def failed(self) -> int:
        """Negatives of every kind."""
        return self.collision + self.dropped + self.unstable

    @property
    def positive(self) -> int:
        """Grasps that the trainer takes for good: held ones, and guesses that were not tested."""
        return self.held + self.unvalidated

    @property
    def tested(self) -> int:
        """Grasps that were tried in simulation."""
        return self.held + self.dropped + self.unstable

    @property
    def total(self) -> int:
        """All grasps."""
        return self.tested + self.collision + self.unvalidated

    @property
    def held_rate(self) -> float:
        """Share of the tested grasps that held, 0 to 1; NaN when none was tested."""
        return self.held / self.tested if self.tested else math.nan


@dataclass(frozen=True, kw_only=True)
class ObjectCounts(OutcomeCounts):
    """The counts of one object's grasp file."""

    object_id: str
    file_name: str
    """Of the grasp file, without its folder; empty where there is none."""

    @property
    def usable(self) -> bool:
        """Whether the trainer takes the object at all."""
        return self.positive >= TRAINER_MINIMUM_POSITIVES


@dataclass(frozen=True, kw_only=True)
class DatasetCounts(OutcomeCounts):
    """The counts of all objects together."""

    objects: int
    usable_objects: int
    """Objects that the trainer takes: those with `TRAINER_MINIMUM_POSITIVES` or more."""


class Shortfall(NamedTuple):
    """One threshold that one object does not reach."""

    object_id: str
    what: Literal["held", "failed", "total"]
    missing: int
    """How many more grasps the object needs."""
    found: int
    """How many it has."""


def count_grasps(object_id: str, file_name: str, grasps: GraspBatch) -> ObjectCounts:
    """Count one object's grasps by outcome.

    Raises ValueError for a value that is no `Outcome`, so that the counts always add up to the number of grasps.
    """
    values, numbers = np.unique(grasps.outcome, return_counts=True)
    found = {Outcome(int(value)): int(number) for value, number in zip(values, numbers, strict=True)}
    return ObjectCounts(object_id=object_id, file_name=file_name, **{outcome.label: found.get(outcome, 0) for outcome in Outcome})


def total_counts(counts: Iterable[ObjectCounts]) -> DatasetCounts:
    """The sum over all objects."""
    rows = tuple(counts)
    sums = {outcome.label: sum(getattr(row, outcome.label) for row in rows) for outcome in Outcome}
    return DatasetCounts(objects=len(rows), usable_objects=sum(row.usable for row in rows), **sums)


def shortfalls(counts: Sequence[ObjectCounts], *, min_success: int, min_failed: int, min_total: int = 0) -> list[Shortfall]:
    """The objects with fewer than `min_success` held, `min_failed` failed or `min_total` grasps in all, in the order given."""
    short: list[Shortfall] = []
    for row in counts:
        wanted: tuple[tuple[Literal["held", "failed", "total"], int, int], ...] = (
            ("held", row.held, min_success),
            ("failed", row.failed, min_failed),
            ("total", row.total, min_total),
        )
        short += [Shortfall(row.object_id, what, least - found, found) for what, found, least in wanted if found < least]
    return short


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
