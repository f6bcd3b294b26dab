"""Objects that wait for their trials while their worker goes on with others.

What is done with an object is written as if the simulator were at hand: `run_object` calls its backend and goes on with the results.
Here the backend is elsewhere. Each object has a thread of its own, which runs only while the worker waits for it: until the object
wants trials, or is done. So nothing ever happens at the same time in one process, and many objects are in hand at once.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from graspgen_cli.dataset.locks import ObjectLocks, open_object_locks
from graspgen_cli.errors import ObjectError
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.rays import keep_geometry_on_one_thread
from graspgen_cli.making.make_object import ObjectTask, run_object
from graspgen_cli.making.reports import ObjectReport
from graspgen_cli.records import GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.settings.models import SimulationSettings
from graspgen_cli.validate.engine import ObjectTrials
from graspgen_cli.validate.variation import Variation


@dataclass(frozen=True)
class Begin:
    """To a worker: take up an object."""

    number: int
    task: ObjectTask


@dataclass(frozen=True, eq=False)
class GoOn:
    """To a worker: the results of the trials that an object in hand waits for, or in a line why there are none."""

    number: int
    results: TrialState | str


@dataclass(frozen=True)
class Done:
    """From a worker: an object is done with."""

    number: int
    report: ObjectReport


class _FarBackend:
    """The backend of one object, whose trials are made in another process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.said: queue.SimpleQueue[ObjectTrials | Done] = queue.SimpleQueue()
        self.heard: queue.SimpleQueue[TrialState | str] = queue.SimpleQueue()

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """See `Backend.run`. Raises ObjectError where the simulator failed."""
        self.said.put(ObjectTrials(self.number, target, grasps, variation))
        answer = self.heard.get()
        if isinstance(answer, str):
            raise ObjectError(f"{target.object_id}: the simulator failed: {answer}")
        return answer


class ObjectsInHand:
    """What a worker of the pipeline does with each message: it goes on with that object as far as it can, and answers with the
    trials that the object then wants, or that it is done."""

    def __init__(self, gripper: Gripper, locks: ObjectLocks) -> None:
        self._shape = GripperShape(gripper)
        self._locks = locks
        self._backends: dict[int, _FarBackend] = {}

    def __call__(self, message: Begin | GoOn) -> ObjectTrials | Done:
        """Goes on with one object until it waits for trials or is done."""
        number = message.number
        with threadpool_limits(1, user_api="blas"):  # as in ObjectWorker
            if isinstance(message, Begin):
                self._backends[number] = _FarBackend(number)
                threading.Thread(target=self._run, args=(message.task, self._backends[number]), daemon=True).start()
            else:
                self._backends[number].heard.put(message.results)
            answer = self._backends[number].said.get()
        if isinstance(answer, Done):
            del self._backends[number]
        return answer

    def _run(self, task: ObjectTask, backend: _FarBackend) -> None:
        backend.said.put(Done(backend.number, run_object(task, self._shape, backend, self._locks)))


def make_objects_in_hand(gripper: Gripper, like: ObjectTask) -> ObjectsInHand:
    """For a worker process; `like` is one of its tasks."""
    keep_geometry_on_one_thread()
    return ObjectsInHand(gripper, open_object_locks(like.paths))
