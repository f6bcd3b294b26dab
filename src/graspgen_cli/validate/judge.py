"""From the end state of a trial to its outcome: one criterion for every backend."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.records import Outcome, TrialState


def judge(state: TrialState) -> NDArray[np.int8]:
    """(N,) Outcome values: `held` where both fingers press on the object at the end, `unstable` where the simulation diverged,
    `dropped` else."""
    held = (state.finger_contact_force > 0).all(axis=1)
    outcome = np.where(held, Outcome.HELD, Outcome.DROPPED)
    return np.where(state.finite, outcome, Outcome.UNSTABLE).astype(np.int8)
