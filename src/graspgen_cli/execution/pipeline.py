"""Preparing, guessing and validating at the same time: workers prepare and guess ahead, simulators try the grasps of many objects at once.

    workers (CPU):   object ─► guesses ─► wait ─► results ─► more guesses … ─► file
                                   │               ▲
    this process:                  └► batches ─────┘
    simulators (a device each):     try a batch, the next one already there

An object stays with the worker that prepared it and comes round again until its quotas are full. How far the workers run ahead is bounded
by the grasps that wait. This process decides everything and only hands things on; whatever happens to a worker or a simulator, it starts
another and has the objects that were lost with it done again, from the start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from graspgen_cli.execution.coroutines import Begin, Done, GoOn, make_objects_in_hand
from graspgen_cli.execution.devices import Devices
from graspgen_cli.execution.engines import Engine
from graspgen_cli.execution.machine import usable_cores
from graspgen_cli.execution.object_run import ObjectTask
from graspgen_cli.execution.processes import Died, Lifetime, TimedOut, Worker, answers, start_worker
from graspgen_cli.execution.reports import ObjectReport
from graspgen_cli.execution.simulators import ObjectTrials
from graspgen_cli.records import Gripper
from graspgen_cli.settings.models import ExecutionSettings

MOST_IN_HAND = 64
"""Objects that a worker has in hand at once: each keeps its mesh and its search trees in memory."""
MOST_RESTARTS = 3
"""Times that an object is begun again because the worker that had it in hand died of something else."""

Result = ObjectReport | Died | TimedOut


def run_pipeline(
    tasks: Sequence[ObjectTask], gripper: Gripper, engine: Engine, settings: ExecutionSettings
) -> Iterator[tuple[ObjectTask, Result]]:
    """Does every task and yields it with its result as they come. Raises InputError where a device cannot be used.

    `object_timeout` limits the time that a worker spends on an object without a break; waiting for a simulator does not count.
    """
    devices = Devices(engine, gripper, tasks[0].settings)
    count = settings.workers or max(1, usable_cores() - len(engine.devices))
    crew = _Crew(gripper, min(count, len(tasks)), Lifetime(settings.objects_per_worker, settings.worker_memory), deque(tasks), devices)
    try:
        devices.start()
        while crew.is_at_work():
            crew.hand_out()
            devices.hand_out()
            for worker, answer in answers(crew.workers, settings.object_timeout, others=devices.signals()):
                yield from crew.take(worker, answer)
            for results in devices.collect():
                crew.deliver(results)
    finally:
        crew.stop()
        devices.stop()


@dataclass(eq=False)
class _InHand:
    """An object that a worker has in hand. restarts: how often it was begun before."""

    task: ObjectTask
    worker: Worker
    restarts: int


@dataclass(eq=False)
class _Crew:
    """The workers, and the objects that they have in hand, by a number that no other start of an object ever has."""

    gripper: Gripper
    size: int
    lifetime: Lifetime
    waiting: deque[ObjectTask]
    devices: Devices
    workers: list[Worker] = field(default_factory=list)
    objects: dict[int, _InHand] = field(default_factory=dict)
    again: deque[tuple[ObjectTask, int]] = field(default_factory=deque)
    """Objects to be begun again, each with its number of starts so far."""
    results: dict[int, GoOn] = field(default_factory=dict)
    """Results for objects whose worker is still at another one."""
    current: dict[Worker, int] = field(default_factory=dict)
    """The object that a busy worker is at."""
    finished: dict[Worker, int] = field(default_factory=dict)
    next_number: int = 0

    def is_at_work(self) -> bool:
        """Whether anything is left to do."""
        return bool(self.waiting or self.again or self.objects)

    def hand_out(self) -> None:
        """Gives every idle worker what there is for it: results first, else a new object."""
        for worker in [worker for worker in self.workers if not worker.busy]:
            if self._is_due(worker) and not self._in_hand(worker):
                self._dismiss(worker)
        while len(self.workers) < self.size and self._to_begin() > sum(self._is_free(worker) for worker in self.workers):
            self.workers.append(start_worker(make_objects_in_hand, (self.gripper, self._first_waiting())))
        for worker in [worker for worker in self.workers if not worker.busy]:
            number = next((n for n in self.results if self.objects[n].worker is worker), None)
            if number is not None:
                self._give(worker, number, self.results.pop(number))
            elif self._to_begin() and self.devices.is_room() and self._in_hand(worker) < MOST_IN_HAND and not self._is_due(worker):
                self._begin(worker)

    def take(self, worker: Worker, answer: object) -> Iterator[tuple[ObjectTask, Result]]:
        """What a worker answered about the object that it was at."""
        number = self.current.pop(worker)
        if isinstance(answer, ObjectTrials):
            self.devices.add(answer)
        elif isinstance(answer, Done):
            self.finished[worker] = self.finished.get(worker, 0) + 1
            yield self.objects.pop(number).task, answer.report
        elif isinstance(answer, Died | TimedOut):
            yield self.objects.pop(number).task, answer
            yield from self._lose(worker, answer)

    def deliver(self, results: GoOn) -> None:
        """Keeps the results of trials for the worker; those of an object that was lost meanwhile are of no use."""
        if results.number in self.objects:
            self.results[results.number] = results

    def stop(self) -> None:
        """Ends all workers."""
        for worker in self.workers:
            worker.stop()

    def _to_begin(self) -> int:
        return len(self.waiting) + len(self.again)

    def _first_waiting(self) -> ObjectTask:
        return self.again[0][0] if self.again else self.waiting[0]

    def _is_free(self, worker: Worker) -> bool:
        return not worker.busy and not self._in_hand(worker)

    def _in_hand(self, worker: Worker) -> int:
        return sum(each.worker is worker for each in self.objects.values())

    def _is_due(self, worker: Worker) -> bool:
        return worker.is_due(self.lifetime, self.finished.get(worker, 0))

    def _begin(self, worker: Worker) -> None:
        task, restarts = self.again.popleft() if self.again else (self.waiting.popleft(), 0)
        self.next_number += 1
        self.objects[self.next_number] = _InHand(task, worker, restarts)
        self._give(worker, self.next_number, Begin(self.next_number, task))

    def _give(self, worker: Worker, number: int, message: Begin | GoOn) -> None:
        self.current[worker] = number
        worker.give(message)

    def _dismiss(self, worker: Worker) -> None:
        worker.dismiss()
        worker.stop()
        self.workers.remove(worker)

    def _lose(self, worker: Worker, answer: Died | TimedOut) -> Iterator[tuple[ObjectTask, Result]]:
        """Ends a worker that failed at one object; the others that it had in hand are begun again."""
        worker.stop()
        self.workers.remove(worker)
        for number in [n for n, each in self.objects.items() if each.worker is worker]:
            lost = self.objects.pop(number)
            self.results.pop(number, None)
            self.devices.drop(number)
            if lost.restarts < MOST_RESTARTS:
                self.again.append((lost.task, lost.restarts + 1))
            else:
                yield lost.task, answer
