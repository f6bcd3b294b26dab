"""Simulation engines: the table of engines, what an engine does, and the messages to and from an engine that tries many objects at once."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.errors import GraspgenError, SettingsError
from graspgen_cli.records import GraspBatch, TargetObject, TrialState
from graspgen_cli.tables import ENGINES

if TYPE_CHECKING:
    from graspgen_cli.records import Gripper
    from graspgen_cli.settings.trials import SimulationSettings
    from graspgen_cli.validate.variation import Variation


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


@dataclass(frozen=True, eq=False)
class ObjectTrials:
    """What is to be tried of one object: all `grasps`, on its convex pieces, with the physics of `variation`. number: comes back with the
    results."""

    number: int
    target: TargetObject
    grasps: GraspBatch
    variation: Variation | None = None


@dataclass(frozen=True, eq=False)
class ObjectResults:
    """The end states of one object's trials, in the order of its grasps."""

    number: int
    state: TrialState


@dataclass(frozen=True)
class ObjectFailed:
    """Why there are no results of one object, in one line."""

    number: int
    reason: str

    @staticmethod
    def of(number: int, error: Exception) -> ObjectFailed:
        """For an object that raised an error."""
        return ObjectFailed(number, told(error))


def told(error: Exception) -> str:
    """An error in one line; one that is none of ours with its kind."""
    text = " ".join(str(error).split())
    return text if isinstance(error, GraspgenError) else f"unexpected {type(error).__name__}: {text}"


More = Callable[[], Sequence[ObjectTrials]]
"""Gives the trials that have come since it was last asked; it does not wait."""


class Simulator(Protocol):
    """One device with one gripper on it.

    takes_more: whether `run` asks for more while it is at work, so that small batches cost nothing.
    """

    @property
    def takes_more(self) -> bool: ...

    def run(self, trials: Sequence[ObjectTrials], more: More) -> Iterator[ObjectResults | ObjectFailed]:
        """Tries the grasps of any number of objects, and of those that `more` gives meanwhile, and yields each object's results as soon
        as they are there, in any order, or why there are none. How many are tried at once is its own affair."""


class Backend(Protocol):
    """Runs trials. Made once, used for many objects."""

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """The end states of trials of all `grasps`, in their order; what comes out for one grasp does not depend on the others.

        variation: how the physics of each trial differs from what the settings say; None: not at all."""


def make_backend(name: str, *, threads: int) -> Backend:
    """The backend called `name`, with at most `threads` CPU threads."""
    if name not in ENGINES:
        raise SettingsError(f"--backend {name}: there is {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].place.partition(":")
    backend: Backend = getattr(importlib.import_module(module), attribute)(threads=threads)
    return backend
