"""Simulation engines: what an engine does, what it is asked and what it answers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.errors import GraspgenError, SettingsError
from graspgen_cli.records import Floats, GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.tables import ENGINES

_FIELDS = tuple(TrialState.__dataclass_fields__)


@dataclass(frozen=True, eq=False)
class Variation:
    """How the physics of N trials differs from the settings, the object and the gripper.

    friction, mass, grip_force, tug_force: (N,) factors. The inertia, and the force of a tug, which is given in g, grow with the mass.
    center_offset: (N, 3) m, shift of the centre of mass, in the object's frame.
    """

    friction: Floats
    mass: Floats
    grip_force: Floats
    tug_force: Floats
    center_offset: Floats

    def __getitem__(self, index: NDArray[np.intp] | slice) -> Variation:
        return Variation(**{name: getattr(self, name)[index] for name in Variation.__dataclass_fields__})

    @staticmethod
    def of_tugs(tug_force: Floats) -> Variation:
        """Only the forces of the tugs differ, by factors (N,)."""
        one = np.ones(len(tug_force))
        return Variation(one, one, one, tug_force, np.zeros((len(tug_force), 3)))

    @property
    def is_of_tugs_alone(self) -> bool:
        """Whether the object's body, the friction and the grip are those of the settings."""
        factors = (self.friction, self.mass, self.grip_force)
        return all(bool((each == 1.0).all()) for each in factors) and not self.center_offset.any()

    @property
    def pull(self) -> Floats:
        """(N,) factors on the force of a stage."""
        return self.mass * self.tug_force


class Backend(Protocol):
    """An engine in this process. Made once, used for many objects."""

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """The end states of trials of all `grasps`, in their order. The trial of one grasp does not depend on the other grasps.

        variation: None: the physics of the settings.
        """


@dataclass(frozen=True, eq=False)
class ObjectTrials:
    """Trials of one object: all `grasps`, with the physics of `variation`. number: identifies the object in the results."""

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
    """Why one object has no results, in one line."""

    number: int
    reason: str

    @staticmethod
    def of(number: int, error: Exception) -> ObjectFailed:
        """For an object whose trials raised an error."""
        return ObjectFailed(number, failure_reason(error))


def failure_reason(error: Exception) -> str:
    """The message of an error in one line; an error that is no GraspgenError is named with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, GraspgenError) else f"unexpected {type(error).__name__}: {text}"


More = Callable[[], Sequence[ObjectTrials]]
"""Returns the trials that have arrived since the last call, without waiting."""


class Simulator(Protocol):
    """One device with one gripper on it.

    takes_more: whether `run` calls `more` while it simulates. Small batches then cost nothing extra.
    """

    @property
    def takes_more(self) -> bool: ...

    def run(self, trials: Sequence[ObjectTrials], more: More) -> Iterator[ObjectResults | ObjectFailed]:
        """Makes the trials of any number of objects, and of those that `more` returns meanwhile. Yields each object's results, or the
        reason why it has none, as soon as they are known, in any order."""


def make_backend(name: str, *, threads: int) -> Backend:
    """The engine called `name`, with at most `threads` CPU threads. Raises SettingsError for an unknown name."""
    if name not in ENGINES:
        raise SettingsError(f"--backend {name}: there is {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].place.partition(":")
    backend: Backend = getattr(importlib.import_module(module), attribute)(threads=threads)
    return backend


class Counter(Protocol):
    """A number in shared memory."""

    value: int


TRIALS_AT_ONCE = 256
"""Trials after which `SharedCores` divides the cores again."""


class SharedCores:
    """An engine that shares `cores` cores with the engines of other workers: near the end of a run, the workers of the last objects take
    over the cores of idle ones. Trials are independent, so the results stay the same. busy: number of busy workers."""

    def __init__(self, name: str, cores: int, busy: Counter) -> None:
        self._name, self._cores, self._busy = name, cores, busy

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """See `Backend.run`."""
        states = []
        for first in range(0, len(grasps), TRIALS_AT_ONCE):
            part = slice(first, first + TRIALS_AT_ONCE)
            backend = make_backend(self._name, threads=max(1, self._cores // max(1, self._busy.value)))
            states.append(backend.run(gripper, target, grasps[part], settings, variation and variation[part]))
        return join_states(states, len(gripper.joint_names))


def join_states(states: list[TrialState], joints: int) -> TrialState:
    """The states of consecutive trials as one; an empty state, of a gripper with `joints` joints, for an empty list."""
    if not states:
        shapes = {"pose_object_in_gripper": (0, 4, 4), "finger_contact_force": (0, 2), "joint_position": (0, joints), "slip": (0, 2)}
        types = {"finite": np.bool_, "started_inside": np.bool_, "steps": np.int32}
        return TrialState(**{name: np.zeros(shapes.get(name, 0), types.get(name, np.float64)) for name in _FIELDS})
    return TrialState(**{name: np.concatenate([getattr(state, name) for state in states]) for name in _FIELDS})


def in_order(state: TrialState, number: NDArray[np.intp]) -> TrialState:
    """The states sorted by the number (N,) of each trial."""
    return rows(state, np.argsort(number, kind="stable"))


def rows(state: TrialState, index: NDArray[np.intp]) -> TrialState:
    """The states at an index (M,)."""
    return TrialState(**{name: getattr(state, name)[index] for name in _FIELDS})
