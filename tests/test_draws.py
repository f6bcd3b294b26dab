"""What draws of randomised physics say of a dataset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graspgen_cli.analysis.drift import draws_document, draws_line, draws_of, total_draws
from graspgen_cli.records import GraspBatch, Measure, Outcome
from made_datasets import grasp_dataset


def batch(shares: list[float]) -> GraspBatch:
    quality = np.full((len(shares), len(Measure)), np.nan)
    quality[:, Measure.HELD_FRACTION] = shares
    return replace(grasp_dataset("a.obj", outcomes=[Outcome.HELD] * len(shares)).grasps, quality=quality)


def test_objects_add_up_and_grasps_without_draws_do_not_count() -> None:
    draws = total_draws([draws_of(batch([1.0, 0.25, np.nan])), draws_of(batch([0.0, 1.0]))])
    assert draws_line(draws) == "draws of 4 grasps: 56.2% held; 2 grasps held in all of theirs, 1 in none"
    assert draws_document(draws) == {"grasps": 4, "held_fraction_mean": 0.5625, "all_held": 2, "none_held": 1}


def test_nothing_known_is_no_number() -> None:
    draws = total_draws([draws_of(batch([np.nan]))])
    assert draws_line(draws) == ""
    assert draws_document(draws) == {"grasps": 0, "held_fraction_mean": None, "all_held": 0, "none_held": 0}
