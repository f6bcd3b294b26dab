"""End states of trials put together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.records import TrialState

_FIELDS = tuple(TrialState.__dataclass_fields__)


def join_states(states: list[TrialState], joints: int) -> TrialState:
    """The states of consecutive trials as one; of none, an empty state."""
    if not states:
        shapes = {"pose_object_in_gripper": (0, 4, 4), "finger_contact_force": (0, 2), "joint_position": (0, joints), "slip": (0, 2)}
        types = {"finite": np.bool_, "started_inside": np.bool_, "steps": np.int32}
        return TrialState(**{name: np.zeros(shapes.get(name, 0), types.get(name, np.float64)) for name in _FIELDS})
    return TrialState(**{name: np.concatenate([getattr(state, name) for state in states]) for name in _FIELDS})


def in_order(state: TrialState, number: NDArray[np.intp]) -> TrialState:
    """The states sorted by the number (N,) of each."""
    return rows(state, np.argsort(number, kind="stable"))


def rows(state: TrialState, index: NDArray[np.intp]) -> TrialState:
    """The states at an index (M,)."""
    return TrialState(**{name: getattr(state, name)[index] for name in _FIELDS})
