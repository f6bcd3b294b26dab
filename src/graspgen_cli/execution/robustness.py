"""How much more than the protocol asks for a held grasp survives: the protocol again, with larger and larger forces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.execution.rounds import ObjectState, ObjectWork
from graspgen_cli.records import Floats, GraspBatch, Measure, Outcome
from graspgen_cli.settings.commands import GraspCommand
from graspgen_cli.settings.judge_models import JudgeSettings
from graspgen_cli.validate.trials import run_trials
from graspgen_cli.validate.variation import Variation

LARGEST = 32.0
"""Times the protocol's force beyond which is not looked."""
ROUNDS = 5
"""Bisections, on a logarithmic scale: the score is known to a factor of 32^(1/32), 11 %."""


def add_robustness(work: ObjectWork, state: ObjectState) -> ObjectState:
    """Gives each held grasp that has none its score."""
    wanted = (state.grasps.outcome == Outcome.HELD) & np.isnan(state.grasps.measured[:, Measure.ROBUSTNESS])
    if not work.settings.robustness or not wanted.any():
        return state
    quality = state.grasps.measured.copy()
    quality[wanted, Measure.ROBUSTNESS] = scores(work, state.grasps[wanted])
    return replace(state, grasps=replace(state.grasps, quality=quality))


def scores(work: ObjectWork, grasps: GraspBatch) -> Floats:
    """(N,) the largest force, in g, with which each grasp was found to survive the whole protocol, by the settings' criterion.

    Each bisection is one batch of trials, every grasp's with the force that is its turn, on the engine of the run.
    """
    survived = np.zeros(len(grasps), np.int64)  # rungs of a ladder of 2**ROUNDS, the lowest of which the grasps are known to hold
    for bit in reversed(range(ROUNDS)):
        higher = survived + (1 << bit)
        survived = np.where(_holds(work, grasps, _times(higher)), higher, survived)
    found: Floats = np.round(work.settings.force_magnitude * _times(survived), 4)
    return found


def robustness_record(settings: GraspCommand) -> dict[str, Any]:
    """What a file says of its scores: how they were found, and by which criterion where it was not the usual one."""
    criterion = settings.model_dump(mode="json", include=set(JudgeSettings.model_fields), exclude_none=True)
    return {"largest": LARGEST, "rounds": ROUNDS, **criterion}


def without_scores(state: ObjectState) -> ObjectState:
    """The grasps as if no score had been found."""
    quality = state.grasps.measured.copy()
    quality[:, Measure.ROBUSTNESS] = np.nan
    return replace(state, grasps=replace(state.grasps, quality=quality))


def _times(rung: NDArray[np.int64]) -> Floats:
    """(N,) how many times the protocol's force, at rungs (N,) of the ladder."""
    times: Floats = LARGEST ** (rung / (1 << ROUNDS))
    return times


def _holds(work: ObjectWork, grasps: GraspBatch, strength: Floats) -> NDArray[np.bool_]:
    """(N,) which of the grasps the protocol leaves held with so many times its force (N,)."""
    assert work.backend is not None
    settings = work.settings.model_copy(update={"max_num_grasps": 0})
    tried = run_trials(
        work.backend, work.gripper.gripper, work.target, grasps, settings, criterion=settings, variation=Variation.of_tugs(strength)
    )
    return tried.grasps.outcome == Outcome.HELD
