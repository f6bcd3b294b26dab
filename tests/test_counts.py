"""Counts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graspgen_cli.analysis.counts import (
    ObjectCounts,
    Shortfall,
    count_grasps,
    shortfalls,
    total_counts,
)
from graspgen_cli.records import TRAINER_MINIMUM_POSITIVES, GraspBatch, Outcome


def batch(*outcomes: int) -> GraspBatch:
    number = len(outcomes)
    return GraspBatch(np.tile(np.eye(4), (number, 1, 1)), np.full(number, 0.05), np.array(outcomes, np.int8))


def counts(object_id: str = "a.obj", **numbers: int) -> ObjectCounts:
    return ObjectCounts(object_id=object_id, file_name="", **{outcome.label: numbers.get(outcome.label, 0) for outcome in Outcome})


def test_each_outcome_is_counted_by_itself() -> None:
    numbers = {Outcome.HELD: 5, Outcome.COLLISION: 4, Outcome.DROPPED: 3, Outcome.UNSTABLE: 2, Outcome.UNVALIDATED: 1}
    row = count_grasps("mug.obj", "mug.0.001.grasps.json", batch(*(outcome for outcome, n in numbers.items() for _ in range(n))))
    assert (row.object_id, row.file_name) == ("mug.obj", "mug.0.001.grasps.json")
    assert (row.held, row.collision, row.dropped, row.unstable, row.unvalidated) == (5, 4, 3, 2, 1)
    assert (row.failed, row.positive, row.tested, row.total) == (9, 6, 10, 15)
    assert row.held_rate == 0.5


def test_collisions_and_guesses_do_not_enter_the_held_rate() -> None:
    row = counts(held=3, dropped=1, collision=1000, unvalidated=1000)
    assert row.held_rate == 0.75


def test_the_held_rate_is_nan_when_nothing_was_tested() -> None:
    assert math.isnan(counts(collision=5, unvalidated=5).held_rate)
    assert counts(unstable=1).held_rate == 0.0


def test_no_grasps_count_as_nothing() -> None:
    row = count_grasps("a.obj", "", GraspBatch.empty())
    assert row.total == 0
    assert math.isnan(row.held_rate)


def test_an_unknown_outcome_is_not_lost_in_the_sum() -> None:
    with pytest.raises(ValueError, match="9"):
        count_grasps("a.obj", "", batch(Outcome.HELD, 9))


@pytest.mark.parametrize(("held", "guesses", "usable"), [(5, 0, True), (0, 5, True), (2, 3, True), (4, 0, False), (0, 0, False)])
def test_the_trainer_skips_an_object_with_fewer_than_five_positives(held: int, guesses: int, usable: bool) -> None:
    assert TRAINER_MINIMUM_POSITIVES == 5
    assert counts(held=held, unvalidated=guesses, collision=100).usable is usable


def test_totals_add_up() -> None:
    rows = [counts("a", held=6, dropped=2), counts("b", held=1, collision=7, unstable=1), counts("c", unvalidated=9)]
    total = total_counts(rows)
    assert (total.objects, total.usable_objects) == (3, 2)
    assert (total.held, total.collision, total.dropped, total.unstable, total.unvalidated) == (7, 7, 2, 1, 9)
    assert total.total == sum(row.total for row in rows) == 26
    assert total.held_rate == 0.7


def test_totals_of_no_objects() -> None:
    total = total_counts([])
    assert (total.objects, total.total) == (0, 0)
    assert math.isnan(total.held_rate)


def test_shortfalls_say_what_is_short_and_by_how_much() -> None:
    rows = [counts("full", held=64, collision=16), counts("few", held=60, dropped=3), counts("none")]
    assert shortfalls(rows, min_success=64, min_failed=16) == [
        Shortfall("few", "held", 4, 60),
        Shortfall("few", "failed", 13, 3),
        Shortfall("none", "held", 64, 0),
        Shortfall("none", "failed", 16, 0),
    ]
    assert shortfalls(rows, min_success=61, min_failed=0) == [("few", "held", 1, 60), ("none", "held", 61, 0)]
    assert shortfalls(rows, min_success=0, min_failed=0) == []
    assert shortfalls(rows, min_success=0, min_failed=0, min_total=64) == [("few", "total", 1, 63), ("none", "total", 64, 0)]


def test_guesses_are_not_held_grasps() -> None:
    assert shortfalls([counts(unvalidated=64)], min_success=1, min_failed=0) == [("a.obj", "held", 1, 0)]
