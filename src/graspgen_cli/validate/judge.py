"""From the end state of a trial to its outcome: one criterion for every backend."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.records import Floats, Measure, Outcome, TrialState

_DECIMALS = {Measure.SLIP: 6, Measure.TURN: 5, Measure.SMALLEST_FORCE: 3, Measure.LOSS_TIME: 4, Measure.MOTION: 6}
"""What is kept of the measures: finer than a trial means anything, short in a file."""


def judge(state: TrialState) -> NDArray[np.int8]:
    """(N,) Outcome values: `held` where both fingers press on the object at the end, `unstable` where the simulation diverged,
    `dropped` else."""
    held = (state.finger_contact_force > 0).all(axis=1)
    outcome = np.where(held, Outcome.HELD, Outcome.DROPPED)
    return np.where(state.finite, outcome, Outcome.UNSTABLE).astype(np.int8)


def measures(state: TrialState) -> Floats:
    """(N, number of Measures): what a file keeps of the trials, rounded; NaN where the simulation diverged."""
    found = np.full((len(state.finite), len(Measure)), np.nan)
    columns = {
        Measure.SLIP: state.slip[:, 0],
        Measure.TURN: state.slip[:, 1],
        Measure.SMALLEST_FORCE: state.smallest_force,
        Measure.LOSS_TIME: state.loss_time,
        Measure.MOTION: state.late_motion,
    }
    for measure, values in columns.items():
        found[:, measure] = np.where(state.finite, np.round(values, _DECIMALS[measure]), np.nan)
    return found
