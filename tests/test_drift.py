"""Percentiles of the motion of held objects, from classes that can be added up."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from graspgen_cli.analysis.drift import SHARES, drift_document, drift_lines, drift_of, total_drift
from graspgen_cli.records import GraspBatch, Measure, Outcome
from made_datasets import grasp_dataset


def batch(slips: list[float], turns: list[float], outcomes: list[Outcome] | None = None, overlaps: float = math.nan) -> GraspBatch:
    grasps = grasp_dataset("a.obj", outcomes=outcomes or [Outcome.HELD] * len(slips)).grasps
    quality = np.full((len(slips), len(Measure)), np.nan)
    quality[:, Measure.SLIP], quality[:, Measure.TURN], quality[:, Measure.PENETRATION] = slips, turns, overlaps
    return replace(grasps, quality=quality)


def test_percentiles_are_those_of_the_numbers_within_a_class() -> None:
    rng = np.random.Generator(np.random.Philox(2))
    slips, turns = rng.lognormal(-8, 2, 5000).clip(1e-6, 0.5), rng.lognormal(-5, 1, 5000)
    drift = drift_of(batch(slips.tolist(), turns.tolist()))
    for share in SHARES:
        assert drift.percentile(Measure.SLIP, share) == pytest.approx(float(np.quantile(slips, share)), rel=0.13)
        assert drift.percentile(Measure.TURN, share) == pytest.approx(float(np.quantile(turns, share)), rel=0.13)


def test_a_hand_made_case() -> None:
    drift = drift_of(batch([0.001] * 9 + [0.01], [0.1] * 10))
    assert (
        drift.percentile(Measure.SLIP, 0.5) == pytest.approx(0.001)
        and drift.percentile(Measure.SLIP, 0.95) == pytest.approx(0.01)
        and drift.percentile(Measure.TURN, 0.99) == pytest.approx(0.1)
    )
    (line,) = drift_lines(drift)
    assert line.startswith("drift of 10 held grasps: 1 mm and 5.7° in the median, 1 mm and 5.7° at 90%, 10 mm and 5.7° at 95%")


def test_how_deep_held_objects_were_in_the_gripper_is_told_too() -> None:
    outcomes = [Outcome.HELD, Outcome.DROPPED, Outcome.HELD]
    drift = drift_of(batch([0.1, 0.1, math.nan], [1.0, 1.0, math.nan], outcomes, overlaps=0.001))
    moved, overlap = drift_lines(drift)
    assert moved.startswith("drift of 1 held grasps: 100 mm and 57° in the median")
    assert overlap == "deepest overlap of 2 held grasps: 1 mm in the median, 1 mm at 90%, 1 mm at 95%, 1 mm at 99%"
    assert drift_document(drift)["penetration_m"] == pytest.approx(dict.fromkeys(["0.5", "0.9", "0.95", "0.99"], 0.001))


def test_only_held_grasps_with_numbers_count() -> None:
    outcomes = [Outcome.HELD, Outcome.DROPPED, Outcome.HELD]
    drift = drift_of(batch([0.001, 0.1, math.nan], [0.01, 0.1, math.nan], outcomes))
    assert drift.grasps == 1 and drift.percentile(Measure.SLIP, 1.0) == pytest.approx(0.001)


def test_objects_add_up() -> None:
    parts = [drift_of(batch([0.0, 0.002], [0.0, 0.02])), drift_of(batch([0.004], [0.04]))]
    assert total_drift(parts) == drift_of(batch([0.0, 0.002, 0.004], [0.0, 0.02, 0.04]))


def test_nothing_known_is_no_number() -> None:
    drift = total_drift([drift_of(grasp_dataset("a.obj").grasps)])
    assert drift_lines(drift) == [] and math.isnan(drift.percentile(Measure.SLIP, 0.5))
    assert drift_document(drift) == {
        "held_grasps": 0,
        "slip_m": dict.fromkeys(["0.5", "0.9", "0.95", "0.99"]),
        "turn_rad": dict.fromkeys(["0.5", "0.9", "0.95", "0.99"]),
        "penetration_m": dict.fromkeys(["0.5", "0.9", "0.95", "0.99"]),
    }
