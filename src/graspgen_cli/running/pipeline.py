"""The objects of a run with an engine on devices: workers prepare and guess, simulators try the grasps of many objects at once.

    workers (CPU):       object ─► guesses ─► wait ─► results ─► more guesses … ─► file
                                       │               ▲
    this process:                      └──► batches ───┘
    simulators (one a device):    simulate a batch, with the next one queued

A worker keeps an object until its quotas are full, and works on others while the object waits for its trials: each object has a thread,
and only one thread of a worker runs at a time. This process makes all decisions. It replaces a worker or a simulator that dies, and starts
the lost objects again.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from threadpoolctl import threadpool_limits

from graspgen_cli.dataset.locks import open_object_locks
from graspgen_cli.errors import ObjectError
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.rays import keep_geometry_on_one_thread
from graspgen_cli.making.make_object import run_object
from graspgen_cli.making.reports import ObjectReport
from graspgen_cli.making.task import ObjectTask
from graspgen_cli.records import GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.running.devices import Devices, Results
from graspgen_cli.running.engines import Engine
from graspgen_cli.running.machine import usable_cores
from graspgen_cli.running.processes import Died, Lifetime, TimedOut, Worker, answers, start_worker
from graspgen_cli.settings.runs import ExecutionSettings
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import ObjectFailed, ObjectTrials, Variation

OBJECTS_PER_WORKER = 64
"""Objects that a worker has at once: each keeps its mesh and its search trees in memory."""
MOST_RESTARTS = 3
"""Times that an object starts again because its worker died of another object."""

Result = ObjectReport | Died | TimedOut


def run_pipeline(
    tasks: Sequence[ObjectTask], gripper: Gripper, engine: Engine, settings: ExecutionSettings
) -> Iterator[tuple[ObjectTask, Result]]:
    """Does every task and yields it with its result, in the order of completion. Raises InputError if a device cannot be used.

    `object_timeout` limits the time that a worker spends on an object without a pause; waiting for a simulator does not count.
    """
    devices = Devices(engine, gripper, tasks[0].settings.simulation)
    count = settings.workers or max(1, usable_cores() - len(engine.devices))
    lifetime = Lifetime(settings.objects_per_worker, settings.worker_memory)
    workers = _Workers(gripper, min(count, len(tasks)), lifetime, deque((task, 0) for task in tasks), devices)
    try:
        devices.start()
        while workers.waiting or workers.objects:
            workers.assign()
            devices.assign()
            for worker, answer in answers(workers.queues, settings.object_timeout, others=devices.signals()):
                yield from workers.answered(worker, answer)
            for results in devices.results():
                workers.deliver(results)
    finally:
        workers.stop()
        devices.stop()


@dataclass(frozen=True)
class StartObject:
    """To a worker: start an object."""

    number: int
    task: ObjectTask


@dataclass(frozen=True)
class ObjectDone:
    """From a worker: an object is done."""

    number: int
    report: ObjectReport


class _RemoteBackend:
    """The backend of one object: it sends the trials to the other end of the worker's pipe, and waits for the results."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.answers: queue.SimpleQueue[ObjectTrials | ObjectDone] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[Results] = queue.SimpleQueue()

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """See `Backend.run`. Raises ObjectError if the simulator failed."""
        self.answers.put(ObjectTrials(self.number, target, grasps, variation))
        results = self.results.get()
        if isinstance(results, ObjectFailed):
            raise ObjectError(f"{target.object_id}: the simulator failed: {results.reason}")
        return results.state


class ObjectThreads:
    """The handler of a worker: it continues one object until that waits for trials or is done. like: one of the tasks."""

    def __init__(self, gripper: Gripper, like: ObjectTask) -> None:
        keep_geometry_on_one_thread()
        self._shape = GripperShape(gripper)
        self._locks = open_object_locks(like.paths)
        self._backends: dict[int, _RemoteBackend] = {}

    def __call__(self, message: StartObject | Results) -> ObjectTrials | ObjectDone:
        """Starts an object or gives an object its results; returns the next trials of the object, or its report."""
        number = message.number
        with threadpool_limits(1, user_api="blas"):  # as in ObjectWorker
            if isinstance(message, StartObject):
                self._backends[number] = _RemoteBackend(number)
                threading.Thread(target=self._run, args=(message.task, self._backends[number]), daemon=True).start()
            else:
                self._backends[number].results.put(message)
            answer = self._backends[number].answers.get()
        if isinstance(answer, ObjectDone):
            del self._backends[number]
        return answer

    def _run(self, task: ObjectTask, backend: _RemoteBackend) -> None:
        backend.answers.put(ObjectDone(backend.number, run_object(task, self._shape, backend, self._locks)))


@dataclass(frozen=True, eq=False)
class _Object:
    """An object at a worker. restarts: how often it was started before."""

    task: ObjectTask
    worker: Worker
    restarts: int


@dataclass(eq=False)
class _Queue:
    """What a worker has. objects: their numbers; current: the number of the object that it works on while busy; results: of its other
    objects; finished: number of objects done."""

    objects: set[int] = field(default_factory=set)
    current: int = 0
    results: deque[Results] = field(default_factory=deque)
    finished: int = 0


@dataclass(eq=False)
class _Workers:
    """The workers and their objects. Each start of an object has a number of its own. waiting: tasks, with their number of restarts."""

    gripper: Gripper
    size: int
    lifetime: Lifetime
    waiting: deque[tuple[ObjectTask, int]]
    devices: Devices
    queues: dict[Worker, _Queue] = field(default_factory=dict)
    objects: dict[int, _Object] = field(default_factory=dict)
    last_number: int = 0

    def assign(self) -> None:
        """Gives every idle worker the results of one of its objects, or else a new object."""
        for worker, queued in self._idle():
            if not queued.objects and self._is_due(worker):
                worker.dismiss()
                del self.queues[worker]
        while len(self.queues) < self.size and len(self.waiting) > sum(not queued.objects for queued in self.queues.values()):
            self.queues[start_worker(ObjectThreads, (self.gripper, self.waiting[0][0]))] = _Queue()
        for worker, queued in self._idle():
            if queued.results:
                self._give(worker, queued.results.popleft())
            elif self.waiting and self.devices.has_room() and len(queued.objects) < OBJECTS_PER_WORKER and not self._is_due(worker):
                self._start_object(worker)

    def answered(self, worker: Worker, answer: object) -> Iterator[tuple[ObjectTask, Result]]:
        """Handles the answer of a worker about its current object."""
        queued = self.queues[worker]
        if isinstance(answer, ObjectTrials):
            self.devices.add(answer)
        elif isinstance(answer, ObjectDone):
            queued.finished += 1
            yield self._remove(queued.current).task, answer.report
        elif isinstance(answer, Died | TimedOut):
            yield self._remove(queued.current).task, answer
            yield from self._lost(worker, answer)

    def deliver(self, results: Results) -> None:
        """Queues results for the worker of their object, unless the object was lost."""
        if results.number in self.objects:
            self.queues[self.objects[results.number].worker].results.append(results)

    def stop(self) -> None:
        """Kills all workers."""
        for worker in self.queues:
            worker.stop()

    def _idle(self) -> list[tuple[Worker, _Queue]]:
        return [(worker, queued) for worker, queued in self.queues.items() if not worker.busy]

    def _is_due(self, worker: Worker) -> bool:
        return worker.is_due(self.lifetime, self.queues[worker].finished)

    def _start_object(self, worker: Worker) -> None:
        task, restarts = self.waiting.popleft()
        self.last_number += 1
        self.objects[self.last_number] = _Object(task, worker, restarts)
        self.queues[worker].objects.add(self.last_number)
        self._give(worker, StartObject(self.last_number, task))

    def _give(self, worker: Worker, message: StartObject | Results) -> None:
        self.queues[worker].current = message.number
        worker.give(message)

    def _remove(self, number: int) -> _Object:
        found = self.objects.pop(number)
        self.queues[found.worker].objects.remove(number)
        return found

    def _lost(self, worker: Worker, answer: Died | TimedOut) -> Iterator[tuple[ObjectTask, Result]]:
        """Ends a worker that failed at one object; its other objects start again."""
        worker.stop()
        for number in sorted(self.queues[worker].objects, reverse=True):
            lost = self._remove(number)
            self.devices.cancel(number)
            if lost.restarts < MOST_RESTARTS:
                self.waiting.appendleft((lost.task, lost.restarts + 1))
            else:
                yield lost.task, answer
        del self.queues[worker]
