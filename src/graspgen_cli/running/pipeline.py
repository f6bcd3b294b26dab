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

from graspgen_cli.making.make_object import ObjectTask
from graspgen_cli.making.reports import ObjectReport
from graspgen_cli.records import Gripper
from graspgen_cli.running.devices import Devices
from graspgen_cli.running.engines import Engine
from graspgen_cli.running.machine import usable_cores
from graspgen_cli.running.object_threads import Begin, Done, GoOn, make_objects_in_hand
from graspgen_cli.running.processes import Died, Lifetime, TimedOut, Worker, answers, start_worker
from graspgen_cli.settings.models import ExecutionSettings
from graspgen_cli.validate.engine import ObjectTrials

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
            for worker, answer in answers(crew.members, settings.object_timeout, others=devices.signals()):
                yield from crew.take(worker, answer)
            for results in devices.collect():
                crew.deliver(results)
    finally:
        crew.stop()
        devices.stop()


@dataclass(frozen=True, eq=False)
class _Object:
    """An object that a worker has in hand. restarts: how often it was begun before."""

    task: ObjectTask
    member: _Member
    restarts: int


@dataclass(eq=False)
class _Member:
    """A worker of the crew. objects: the numbers of those that it has in hand; current: the one that it is at while it is busy;
    results: for others of them; finished: how many it is done with."""

    worker: Worker
    objects: set[int] = field(default_factory=set)
    current: int = 0
    results: deque[GoOn] = field(default_factory=deque)
    finished: int = 0


@dataclass(eq=False)
class _Crew:
    """The workers, and the objects that they have in hand, by a number that no other start of an object ever has."""

    gripper: Gripper
    size: int
    lifetime: Lifetime
    waiting: deque[ObjectTask]
    devices: Devices
    members: dict[Worker, _Member] = field(default_factory=dict)
    objects: dict[int, _Object] = field(default_factory=dict)
    again: deque[tuple[ObjectTask, int]] = field(default_factory=deque)
    """Objects to be begun again, each with its number of starts so far."""
    last_number: int = 0

    def is_at_work(self) -> bool:
        """Whether anything is left to do."""
        return bool(self.waiting or self.again or self.objects)

    def hand_out(self) -> None:
        """Gives every idle worker what there is for it: results first, else a new object."""
        for member in self._idle():
            if not member.objects and self._is_due(member):
                self._dismiss(member)
        while len(self.members) < self.size and self._to_begin() > sum(not member.objects for member in self.members.values()):
            worker = start_worker(make_objects_in_hand, (self.gripper, (self.again[0][0] if self.again else self.waiting[0])))
            self.members[worker] = _Member(worker)
        for member in self._idle():
            if member.results:
                message = member.results.popleft()
                self._give(member, message.number, message)
            elif self._to_begin() and self.devices.is_room() and len(member.objects) < MOST_IN_HAND and not self._is_due(member):
                self._begin(member)

    def take(self, worker: Worker, answer: object) -> Iterator[tuple[ObjectTask, Result]]:
        """What a worker answered about the object that it was at."""
        member = self.members[worker]
        if isinstance(answer, ObjectTrials):
            self.devices.add(answer)
        elif isinstance(answer, Done):
            member.finished += 1
            yield self._put_down(member.current).task, answer.report
        elif isinstance(answer, Died | TimedOut):
            yield self._put_down(member.current).task, answer
            yield from self._lose(member, answer)

    def deliver(self, results: GoOn) -> None:
        """Keeps the results of trials for the worker; those of an object that was lost meanwhile are of no use."""
        if results.number in self.objects:
            self.objects[results.number].member.results.append(results)

    def stop(self) -> None:
        """Ends all workers."""
        for worker in self.members:
            worker.stop()

    def _idle(self) -> list[_Member]:
        return [member for member in self.members.values() if not member.worker.busy]

    def _to_begin(self) -> int:
        return len(self.waiting) + len(self.again)

    def _is_due(self, member: _Member) -> bool:
        return member.worker.is_due(self.lifetime, member.finished)

    def _begin(self, member: _Member) -> None:
        task, restarts = self.again.popleft() if self.again else (self.waiting.popleft(), 0)
        self.last_number += 1
        self.objects[self.last_number] = _Object(task, member, restarts)
        member.objects.add(self.last_number)
        self._give(member, self.last_number, Begin(self.last_number, task))

    def _give(self, member: _Member, number: int, message: Begin | GoOn) -> None:
        member.current = number
        member.worker.give(message)

    def _put_down(self, number: int) -> _Object:
        found = self.objects.pop(number)
        found.member.objects.remove(number)
        return found

    def _dismiss(self, member: _Member) -> None:
        member.worker.dismiss()
        member.worker.stop()
        del self.members[member.worker]

    def _lose(self, member: _Member, answer: Died | TimedOut) -> Iterator[tuple[ObjectTask, Result]]:
        """Ends a worker that failed at one object; the others that it had in hand are begun again."""
        member.worker.stop()
        del self.members[member.worker]
        for number in sorted(member.objects):
            lost = self._put_down(number)
            self.devices.drop(number)
            if lost.restarts < MOST_RESTARTS:
                self.again.append((lost.task, lost.restarts + 1))
            else:
                yield lost.task, answer
