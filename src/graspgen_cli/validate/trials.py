"""Grasps in, outcomes out: which grasps are tried, and what their trials say."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.records import Floats, GraspBatch, Gripper, Measure, Outcome, TargetObject, TrialState
from graspgen_cli.settings.trials import JudgeSettings, RandomizationSettings, SimulationSettings
from graspgen_cli.validate.engine import Backend, rows
from graspgen_cli.validate.judge import BOTH_FINGERS, judge, judge_fraction, measures
from graspgen_cli.validate.variation import Variation, drawn_trials, nominal_rows

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
    randomization: RandomizationSettings | None = None,
    variation: Variation | None = None,
) -> TrialResult:
    """Tries every grasp that is not a geometric negative, the first `max_num_grasps` of them if that is set; the others keep the
    outcome that they have.

    randomization: where it is on, each grasp is also tried with varied physics, and the share of those trials that held decides.
    variation: of grasps that are tried once."""
    tested = grasps.outcome != Outcome.COLLISION
    if settings.max_num_grasps:
        tested &= np.cumsum(tested) <= settings.max_num_grasps
    if not tested.any():
        return TrialResult(grasps, tested, 0, 0)
    if randomization is not None and randomization.randomize:
        tried = _drawn(backend, gripper, target, grasps[tested], settings, criterion, randomization)
    else:
        state = backend.run(gripper, target, grasps[tested], settings, variation and variation[np.flatnonzero(tested)])
        tried = _Tried(state, judge(state, criterion), measures(state), int(state.steps.sum()))
    outcome = grasps.outcome.copy()
    outcome[tested] = tried.outcome
    quality = grasps.measured.copy()
    quality[tested] = np.where(_OF_TRIALS, tried.measured, quality[tested])
    inside = int(tried.state.started_inside.sum())
    return TrialResult(replace(grasps, outcome=outcome, quality=quality), tested, inside, tried.steps)


@dataclass(frozen=True, eq=False)
class _Tried:
    """What became of N grasps that were tried. state: without varied physics. steps: of all trials."""

    state: TrialState
    outcome: NDArray[np.int8]
    measured: Floats
    steps: int


def _drawn(
    backend: Backend,
    gripper: Gripper,
    target: TargetObject,
    grasps: GraspBatch,
    settings: SimulationSettings,
    criterion: JudgeSettings,
    randomization: RandomizationSettings,
) -> _Tried:
    """Tries each grasp as it is and with the draws of its physics."""
    trials, variation = drawn_trials(gripper, target.object_id, grasps, randomization)
    state = backend.run(gripper, target, trials, settings, variation)
    usual = rows(state, nominal_rows(len(grasps), randomization))
    held = (judge(state, criterion) == Outcome.HELD).reshape(len(grasps), -1)[:, 1:]
    measured = measures(usual)
    measured[:, Measure.HELD_FRACTION] = np.round(held.mean(axis=1), 6)
    outcome = judge_fraction(judge(usual, criterion), measured, randomization.randomize_threshold)
    return _Tried(usual, outcome, measured, int(state.steps.sum()))
