"""How much more than the protocol asks for a held grasp survives: the protocol again, with larger and larger forces.

On the CPU engine, whichever engine the run takes: one that tries the grasps of many objects at once does so with one force.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.execution.rounds import ObjectState, ObjectWork
from graspgen_cli.records import Floats, GraspBatch, Measure, Outcome
from graspgen_cli.validate.backend import Backend, make_backend
from graspgen_cli.validate.trials import run_trials

LARGEST = 32.0
"""Times the protocol's force beyond which is not looked."""
_BACKEND = "mujoco"
ROUNDS = 5
"""Bisections, on a logarithmic scale: the score is known to a factor of 32^(1/32), 11 %."""


def add_robustness(work: ObjectWork, state: ObjectState) -> ObjectState:
    """Gives each held grasp that has none its score: the largest force, in g, with which it was found to survive the whole protocol."""
    wanted = (state.grasps.outcome == Outcome.HELD) & np.isnan(state.grasps.measured[:, Measure.ROBUSTNESS])
    if not work.settings.robustness or not wanted.any():
        return state
    backend = make_backend(_BACKEND, threads=1)
    survived = np.zeros(int(wanted.sum()), np.int64)  # rungs of a ladder of 2**ROUNDS, the lowest of which the grasps are known to hold
    for bit in reversed(range(ROUNDS)):
        higher = survived + (1 << bit)
        held = np.zeros(len(survived), bool)
        for rung in np.unique(higher):
            rows = np.flatnonzero(higher == rung)
            held[rows] = _holds(backend, work, state.grasps[np.flatnonzero(wanted)[rows]], float(_force(work, rung)))
        survived = np.where(held, higher, survived)
    quality = state.grasps.measured.copy()
    quality[wanted, Measure.ROBUSTNESS] = np.round(_force(work, survived), 4)
    return replace(state, grasps=replace(state.grasps, quality=quality))


def _force(work: ObjectWork, rung: NDArray[np.int64] | int) -> Floats:
    """g, at rungs of the ladder."""
    force: Floats = work.settings.force_magnitude * LARGEST ** (np.asarray(rung) / (1 << ROUNDS))
    return force


def _holds(backend: Backend, work: ObjectWork, grasps: GraspBatch, force: float) -> NDArray[np.bool_]:
    """Which of the grasps the protocol leaves held with a force in g."""
    settings = work.settings.model_copy(update={"force_magnitude": force, "max_num_grasps": 0})
    tried = run_trials(backend, work.gripper.gripper, work.target, grasps, settings, criterion=settings).grasps
    return tried.outcome == Outcome.HELD
