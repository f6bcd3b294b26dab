"""Grasps in, outcomes out: which grasps are tried, and what their trials say."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.records import GraspBatch, Gripper, Measure, Outcome, TargetObject
from graspgen_cli.settings.judge_models import JudgeSettings
from graspgen_cli.settings.models import SimulationSettings
from graspgen_cli.validate.backend import Backend
from graspgen_cli.validate.judge import BOTH_FINGERS, judge, measures

_OF_TRIALS = ~np.isin(np.arange(len(Measure)), [Measure.OFFSET, Measure.OFFSET_TURN])
"""(number of Measures,): those that a trial says; the others are known before."""


@dataclass(frozen=True, eq=False)
class TrialResult:
    """The grasps with the outcomes of their trials.

    tested: (N,) which were tried. started_inside: how many of them began deeper in the gripper than the pieces' error explains.
    steps: simulation steps made.
    """

    grasps: GraspBatch
    tested: NDArray[np.bool_]
    started_inside: int
    steps: int


def run_trials(
    backend: Backend,
    gripper: Gripper,
    target: TargetObject,
    grasps: GraspBatch,
    settings: SimulationSettings,
    *,
    criterion: JudgeSettings = BOTH_FINGERS,
) -> TrialResult:
    """Tries every grasp that is not a geometric negative, the first `max_num_grasps` of them if that is set; the others keep the
    outcome that they have."""
    tested = grasps.outcome != Outcome.COLLISION
    if settings.max_num_grasps:
        tested &= np.cumsum(tested) <= settings.max_num_grasps
    if not tested.any():
        return TrialResult(grasps, tested, 0, 0)
    state = backend.run(gripper, target, grasps[tested], settings)
    outcome = grasps.outcome.copy()
    outcome[tested] = judge(state, criterion)
    quality = grasps.measured.copy()
    quality[tested] = np.where(_OF_TRIALS, measures(state), quality[tested])
    return TrialResult(replace(grasps, outcome=outcome, quality=quality), tested, int(state.started_inside.sum()), int(state.steps.sum()))
