"""Counts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graspgen_cli.analysis.counts import OutcomeCounts, count_grasps, total_counts
from graspgen_cli.analysis.dataset_facts import Shortfall
from graspgen_cli.analysis.dataset_facts import shortfalls as shortfalls_of
from graspgen_cli.records import TRAINER_MINIMUM_POSITIVES, GraspBatch, Outcome
from graspgen_cli.settings.datasets import AnalyzeSettings


def batch(*outcomes: int) -> GraspBatch:
    number = len(outcomes)
    return GraspBatch(np.tile(np.eye(4), (number, 1, 1)), np.full(number, 0.05), np.array(outcomes, np.int8))


def counts(**numbers: int) -> OutcomeCounts:
    return OutcomeCounts(**numbers)


def test_each_outcome_is_counted_by_itself() -> None:
    numbers = {Outcome.HELD: 5, Outcome.COLLISION: 4, Outcome.DROPPED: 3, Outcome.UNSTABLE: 2, Outcome.UNVALIDATED: 1}
    row = count_grasps(batch(*(outcome for outcome, n in numbers.items() for _ in range(n))))
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
    row = count_grasps(GraspBatch.empty())
    assert row.total == 0
    assert math.isnan(row.held_rate)


def test_an_unknown_outcome_is_not_lost_in_the_sum() -> None:
    with pytest.raises(ValueError, match="9"):
        count_grasps(batch(Outcome.HELD, 9))


@pytest.mark.parametrize(("held", "guesses", "usable"), [(5, 0, True), (0, 5, True), (2, 3, True), (4, 0, False), (0, 0, False)])
def test_the_trainer_skips_an_object_with_fewer_than_five_positives(held: int, guesses: int, usable: bool) -> None:
    assert TRAINER_MINIMUM_POSITIVES == 5
    assert counts(held=held, unvalidated=guesses, collision=100).usable is usable


def test_totals_add_up() -> None:
    rows = [counts(held=6, dropped=2), counts(held=1, collision=7, unstable=1), counts(unvalidated=9)]
    total = total_counts(rows)
    assert (total.held, total.collision, total.dropped, total.unstable, total.unvalidated) == (7, 7, 2, 1, 9)
    assert total.total == sum(row.total for row in rows) == 26
    assert total.held_rate == 0.7


def test_totals_of_no_objects() -> None:
    total = total_counts([])
    assert total.total == 0
    assert math.isnan(total.held_rate)


def shortfalls(counts: OutcomeCounts, **least: int) -> list[Shortfall]:
    return list(shortfalls_of("a.obj", counts, AnalyzeSettings(**least)))


def test_shortfalls_say_what_is_short_and_by_how_much() -> None:
    full, few = counts(held=64, collision=16), counts(held=60, dropped=3)
    assert shortfalls(full, min_success=64, min_failed=16) == []
    assert shortfalls(few, min_success=64, min_failed=16) == [("a.obj", "held", 4, 60), ("a.obj", "failed", 13, 3)]
    assert shortfalls(few, min_success=61) == [("a.obj", "held", 1, 60)]
    assert shortfalls(counts()) == []
    assert shortfalls(few, min_total=64) == [("a.obj", "total", 1, 63)]


def test_guesses_are_not_held_grasps() -> None:
    assert shortfalls(counts(unvalidated=64), min_success=1) == [("a.obj", "held", 1, 0)]
