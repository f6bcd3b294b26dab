"""What goes to an engine that tries the grasps of many objects at once, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from graspgen_cli.errors import GraspgenError
from graspgen_cli.records import GraspBatch, TargetObject, TrialState
from graspgen_cli.validate.variation import Variation


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
