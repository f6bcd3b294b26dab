"""Two sets of grasps side by side: grasp by grasp where the poses are the same, by object where they are not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graspgen_cli.analysis.counts import ObjectCounts
from graspgen_cli.analysis.reference import rate_interval
from graspgen_cli.records import Floats, Outcome

SAME = 1e-5
"""Poses are the same grasp where the root of the summed squares of the differences of their entries is below this: 10 µm and 10 µrad.
Files hold 10 nm; tools that write single precision, or quaternions, lose some of that."""

Confusion = NDArray[np.int64]
"""(5, 5): number of matched grasps by outcome in the first set (rows) and in the second (columns), in the order of `Outcome`."""


@dataclass(frozen=True, eq=False)
class ObjectComparison:
    """One object in both sets."""

    first: ObjectCounts
    second: ObjectCounts
    gripper_first: str
    gripper_second: str
    confusion: Confusion

    @property
    def change(self) -> float:
        """Held rate in the second set less that in the first; NaN where one of them was not tested."""
        return self.second.held_rate - self.first.held_rate

    @property
    def beyond_chance(self) -> bool:
        """Whether the 95 % intervals of the two rates do not overlap."""
        (low, high), (other_low, other_high) = (rate_interval(counts.held, counts.tested) for counts in (self.first, self.second))
        return high < other_low or other_high < low


@dataclass(frozen=True)
class Agreement:
    """How often the trial of one and the same grasp ended alike. tested: matched grasps that were tried in both sets."""

    matched: int
    tested: int
    agreed: int

    @property
    def rate(self) -> float:
        """Share of the tested ones, 0 to 1; NaN without any."""
        return self.agreed / self.tested if self.tested else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return rate_interval(self.agreed, self.tested)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. differing: what is not the same of grippers and settings, as (what, first, second)."""

    objects: tuple[ObjectComparison, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    differing: tuple[tuple[str, str, str], ...]
    broken: tuple[str, ...]

    @property
    def confusion(self) -> Confusion:
        """Of all objects."""
        return np.sum([each.confusion for each in self.objects], axis=0) if self.objects else empty_confusion()

    @property
    def agreement(self) -> Agreement:
        """Of all objects."""
        return agreement(self.confusion)

    @property
    def moved(self) -> list[ObjectComparison]:
        """The objects by how much their held rate changed, the most first; those without a rate in both sets last."""
        return sorted(self.objects, key=lambda each: (-abs(each.change) if not math.isnan(each.change) else 1.0, each.first.object_id))


def empty_confusion() -> Confusion:
    """No grasps."""
    return np.zeros((len(Outcome), len(Outcome)), np.int64)


def agreement(confusion: Confusion) -> Agreement:
    """Held against not held (dropped, unstable), of the grasps that were tried in both sets."""
    tried = np.array([outcome in (Outcome.HELD, Outcome.DROPPED, Outcome.UNSTABLE) for outcome in Outcome])
    both = confusion[np.ix_(tried, tried)]
    held = int(confusion[Outcome.HELD, Outcome.HELD])
    lost = int(both.sum() - both[0].sum() - both[:, 0].sum() + both[0, 0])
    return Agreement(int(confusion.sum()), int(both.sum()), held + lost)


def match_poses(first: Floats, second: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the poses (N, 4, 4) and (M, 4, 4) that are the same; each pose is in one pair at most.

    Where a set holds a pose several times, its copies are paired in their order.
    """
    entries = [poses[:, :3].reshape(len(poses), 12) for poses in (first, second)]
    if not len(first) or not len(second):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    # Copies within a set become one place with a number of copies, so that the search meets each place once.
    (places, first_group), (others, second_group) = (_grouped(each) for each in entries)
    distance, nearest = cKDTree(others).query(places, distance_upper_bound=SAME)
    pairs = [
        (int(i), int(j))
        for group in np.argsort(distance, kind="stable")
        if np.isfinite(distance[group])
        for i, j in zip(first_group[group], second_group.pop(int(nearest[group]), ()), strict=False)
    ]
    pairs.sort()
    left, right = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(left, np.intp), np.array(right, np.intp)


def _grouped(entries: Floats) -> tuple[Floats, dict[int, Sequence[int]]]:
    """The distinct rows, and for each of them where it stands."""
    distinct, where = np.unique(entries, axis=0, return_inverse=True)
    order = np.argsort(where.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(where.reshape(-1), minlength=len(distinct)))[:-1]
    return distinct, dict(enumerate(part.tolist() for part in np.split(order, ends)))


def confusion_of(first: NDArray[np.int8], second: NDArray[np.int8]) -> Confusion:
    """The table of two rows of outcomes (N,)."""
    table = empty_confusion()
    np.add.at(table, (first, second), 1)
    return table
