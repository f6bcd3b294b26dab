"""What goes to an engine that tries the grasps of many objects at once, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from graspgen_cli.records import GraspBatch, TargetObject, TrialState


@dataclass(frozen=True, eq=False)
class ObjectTrials:
    """What is to be tried of one object: all `grasps`, on its convex pieces. number: comes back with the results."""

    number: int
    target: TargetObject
    grasps: GraspBatch


@dataclass(frozen=True, eq=False)
class ObjectResults:
    """The end states of one object's trials, in the order of its grasps."""

    number: int
    state: TrialState


class Simulator(Protocol):
    """One device with one gripper on it."""

    def run(self, trials: Sequence[ObjectTrials]) -> Iterator[ObjectResults]:
        """Tries the grasps of any number of objects, and yields each object's results as soon as they are there, in any order. The
        simulator divides them into as many launches as the device's memory asks for."""
