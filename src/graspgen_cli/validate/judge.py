"""From the end state of a trial, or from its measures in a file, to its outcome: one criterion for every engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.records import Floats, Measure, Outcome, TrialState
from graspgen_cli.settings.trials import JudgeSettings, ThresholdSettings

BOTH_FINGERS = JudgeSettings()
"""Both fingers press at the end, nothing more, as GraspDataGen judges."""


def judge(state: TrialState, criterion: JudgeSettings = BOTH_FINGERS) -> NDArray[np.int8]:
    """(N,) Outcome values: `unstable` if the simulation diverged; `held` if both fingers press on the object at the end and the measures
    meet the criterion; otherwise `dropped`."""
    held = (state.finger_contact_force > 0).all(axis=1) & meets(measures(state), criterion)
    outcome = np.where(held, Outcome.HELD, Outcome.DROPPED)
    return np.where(state.finite, outcome, Outcome.UNSTABLE).astype(np.int8)


def judge_fraction(outcome: NDArray[np.int8], quality: Floats, threshold: float) -> NDArray[np.int8]:
    """(N,) outcomes of grasps that were also tried with varied physics: held if the share of these trials that held is at least
    `threshold`. A grasp whose nominal trial diverged stays unstable."""
    by_draws = np.where(quality[:, Measure.HELD_FRACTION] >= threshold, Outcome.HELD, Outcome.DROPPED)
    return np.where(outcome == Outcome.UNSTABLE, outcome, by_draws).astype(np.int8)


@dataclass(frozen=True)
class Rejudging:
    """How to judge again from the measures in a file.

    by_draws: the criterion by which the draws of randomised physics were judged; the recorded share holds for no other criterion.
    threshold: least share of draws that must hold.
    """

    criterion: JudgeSettings
    by_draws: JudgeSettings = BOTH_FINGERS
    threshold: float = ThresholdSettings().randomize_threshold

    def can_judge(self, outcome: NDArray[np.int8], quality: Floats) -> NDArray[np.bool_]:
        """(N,) grasps that held or dropped in a trial, and of which the file has every measure that the criterion needs."""
        needed = [Measure.SMALLEST_FORCE, *([] if self.criterion.max_penetration is None else [Measure.PENETRATION])]
        drawn = ~np.isnan(quality[:, Measure.HELD_FRACTION])
        known = np.where(drawn, self.criterion == self.by_draws, ~np.isnan(quality[:, needed]).any(axis=1))
        return np.isin(outcome, (Outcome.HELD, Outcome.DROPPED)) & known

    def judge(self, outcome: NDArray[np.int8], quality: Floats) -> NDArray[np.int8]:
        """(N,) outcomes by this criterion, from recorded outcomes (N,) and measures (N, number of Measures). Grasps that `can_judge`
        excludes keep their outcomes."""
        held = np.isnan(quality[:, Measure.LOSS_TIME]) & meets(quality, self.criterion)
        again = np.where(held, Outcome.HELD, Outcome.DROPPED)
        drawn = ~np.isnan(quality[:, Measure.HELD_FRACTION])
        again = np.where(drawn, judge_fraction(outcome, quality, self.threshold), again)
        return np.where(self.can_judge(outcome, quality), again, outcome).astype(np.int8)


def meets(quality: Floats, criterion: JudgeSettings) -> NDArray[np.bool_]:
    """(N,) whether measures (N, number of Measures) are within the criterion's limits. NaN fails every limit."""
    within = np.ones(len(quality), bool)
    if criterion.max_slip is not None:
        within &= quality[:, Measure.SLIP] <= criterion.max_slip
    if criterion.max_turn is not None:
        within &= np.degrees(quality[:, Measure.TURN]) <= criterion.max_turn
    if criterion.min_contact_force is not None:
        within &= quality[:, Measure.SMALLEST_FORCE] >= criterion.min_contact_force
    if criterion.still is not None:
        within &= quality[:, Measure.MOTION] <= criterion.still
    if criterion.max_penetration is not None:
        within &= quality[:, Measure.PENETRATION] <= criterion.max_penetration
    return within


def measures(state: TrialState) -> Floats:
    """(N, number of Measures): the measures of trials as a file holds them, rounded; NaN if the simulation diverged."""
    found = np.full((len(state.finite), len(Measure)), np.nan)
    # Decimals in a file: finer than the accuracy of a trial.
    for measure, values, decimals in (
        (Measure.SLIP, state.slip[:, 0], 6),
        (Measure.TURN, state.slip[:, 1], 5),
        (Measure.SMALLEST_FORCE, state.smallest_force, 3),
        (Measure.LOSS_TIME, state.loss_time, 4),
        (Measure.MOTION, state.late_motion, 6),
        (Measure.PENETRATION, state.penetration, 6),
    ):
        found[:, measure] = np.where(state.finite, np.round(values, decimals), np.nan)
    return found
