"""The seam between the pipeline and engines that try the grasps of many objects at once, and the process that such an engine runs in.

The class that the table ENGINES names for such an engine has, besides or instead of what `Backend` asks for,

    open_simulator(gripper, settings, *, device) -> Simulator

and that is all the pipeline knows of it. It is called once in a process of its own for each device, and nothing else is imported there
before. It may raise GraspgenError, in one line, where the device cannot be used.

The simulator processes of a run, a device each: which trials go to which, and what becomes of them when one fails."""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from graspgen_cli.errors import InputError
from graspgen_cli.records import Gripper, TrialState
from graspgen_cli.running.engines import Engine
from graspgen_cli.running.object_threads import GoOn
from graspgen_cli.running.processes import death, start_process, stop_process
from graspgen_cli.settings.models import SimulationSettings
from graspgen_cli.tables import ENGINES
from graspgen_cli.validate.engine import ObjectFailed, ObjectResults, ObjectTrials, Simulator, told

_Batches = queue.SimpleQueue[list[ObjectTrials] | None]


@dataclass(frozen=True)
class Opened:
    """The simulator is ready. takes_more: as `Simulator` says."""

    takes_more: bool


@dataclass(frozen=True)
class BatchDone:
    """The simulator is at the end of a go; of the objects of these numbers it gave no results."""

    numbers: tuple[int, ...]


@dataclass(frozen=True)
class BatchFailed:
    """A go ended with an error, in one line, before there were results of the objects of these numbers."""

    numbers: tuple[int, ...]
    message: str


@dataclass(frozen=True)
class OpenFailed:
    """The simulator cannot be had; its process ends."""

    message: str


def _named(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def serve_simulator(pipe: Connection, place: str, device: str, gripper: Gripper, settings: SimulationSettings) -> None:
    """The life of a simulator process: lists of ObjectTrials in; Opened, then for each go ObjectResults or ObjectFailed and BatchDone or
    BatchFailed out. A simulator that takes more has what comes meanwhile in the same go.

    It ends when the other end of the pipe is closed, or its owner dies.

    place: "module:Class", as in the engine's row of ENGINES.
    """
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what an engine prints is no result
    with contextlib.suppress(OSError):
        try:
            simulator: Simulator = _named(place).open_simulator(gripper, settings, device=device)
        except Exception as error:  # where it is that the owner is gone, so is the pipe to say so
            pipe.send(OpenFailed(told(error)))
            return
        pipe.send(Opened(simulator.takes_more))
        batches: _Batches = queue.SimpleQueue()
        threading.Thread(target=_read_ahead, args=(pipe, batches), daemon=True).start()
        while (batch := batches.get()) is not None:
            _simulate(pipe, simulator, batch, batches)


def _simulate(pipe: Connection, simulator: Simulator, batch: list[ObjectTrials], batches: _Batches) -> None:
    missing = {each.number for each in batch}

    def more() -> list[ObjectTrials]:
        come: list[ObjectTrials] = []
        with contextlib.suppress(queue.Empty):
            while (following := batches.get_nowait()) is not None:
                come += following
            batches.put(None)  # the end, for the loop outside
        missing.update(each.number for each in come)
        return come

    try:
        for results in simulator.run(batch, more):
            missing.discard(results.number)
            pipe.send(results)
    except BrokenPipeError:  # the run is over
        raise
    except Exception as error:
        pipe.send(BatchFailed(tuple(missing), told(error)))
    else:
        pipe.send(BatchDone(tuple(missing)))


def _read_ahead(pipe: Connection, batches: _Batches) -> None:
    """Takes what comes while the simulator is at work, so that the next batch is there when it is done with this one and the sender
    never waits."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            batches.put(pipe.recv())
    batches.put(None)


MOST_GRASPS = 65536
"""Grasps of a batch: four times as many as a GPU tries at once."""
BATCHES_A_DEVICE = 2
"""Grasps that are out with a device, in batches: those that are tried, and as many that are there already as these are done."""
BATCHES_AHEAD = 3
"""Grasps for each device that may wait or be out, in batches, before workers are to take up no more objects: those, and a batch that
fills."""


Batch = dict[int, ObjectTrials]
"""Trials that a simulator gets at once, by the object's number; those whose results have come are taken out."""


@dataclass(eq=False)
class _Device:
    """A simulator process and the trials that are out with it, by the object's number. has_part: whether these are a part of a batch that
    failed, which gets no more."""

    name: str
    process: BaseProcess
    pipe: Connection
    ready: bool = False
    takes_more: bool = False
    has_part: bool = False
    out: Batch = field(default_factory=dict)


class Devices:
    """All simulators of a run."""

    def __init__(self, engine: Engine, gripper: Gripper, settings: SimulationSettings) -> None:
        self._engine, self._gripper, self._settings = engine, gripper, settings
        self._devices: list[_Device] = []
        self._waiting: deque[ObjectTrials] = deque()
        self._parts: deque[Batch] = deque()
        self._pending = 0

    def start(self) -> None:
        """Starts the processes, which take their time to get ready."""
        for name in self._engine.devices:
            self._devices.append(self._started(name))

    def add(self, trials: ObjectTrials) -> None:
        """Trials that are to be made."""
        self._waiting.append(trials)
        self._pending += len(trials.grasps)

    def drop(self, number: int) -> None:
        """Forgets an object's trials unless they are out already."""
        found = next((trials for trials in self._waiting if trials.number == number), None)
        if found is not None:
            self._waiting.remove(found)
        else:
            found = next((part.pop(number) for part in self._parts if number in part), None)
        if found is not None:
            self._pending -= len(found.grasps)

    def is_room(self) -> bool:
        """Whether more objects are to be taken up."""
        return self._pending < BATCHES_AHEAD * MOST_GRASPS * len(self._devices)

    def hand_out(self) -> None:
        """Gives every simulator that has nothing to do what there is, first of all a part of a batch that failed; one that is busy gets
        more at once if it takes more, else once there is a whole batch."""
        for device in self._devices:
            if not device.ready:
                continue
            if not device.out:
                device.has_part = bool(self._parts)
            if device.has_part and not device.out:
                self._give(device, self._parts.popleft())
            elif self._waiting and (not device.out or self._may_get_more(device)):
                self._give(device, self._next_batch())

    def _may_get_more(self, device: _Device) -> bool:
        if device.has_part or self._parts:
            return False
        enough = device.takes_more or _grasps(self._waiting) >= MOST_GRASPS
        return enough and _grasps(device.out.values()) < BATCHES_A_DEVICE * MOST_GRASPS

    def signals(self) -> list[Connection | int]:
        """What to wait for."""
        return [signal for device in self._devices for signal in (device.pipe, device.process.sentinel)]

    def collect(self) -> Iterator[GoOn]:
        """What the simulators have said since. Raises InputError where one cannot be had."""
        for number, device in enumerate(self._devices):
            try:
                while device.pipe.poll():
                    yield from self._take(device, device.pipe.recv())
            except (EOFError, OSError):
                yield from self._died(device)
                self._devices[number] = self._started(device.name)

    def try_all(self, trials: Sequence[ObjectTrials]) -> Iterator[GoOn]:
        """Makes trials that are all there from the start, and yields their results as they come."""
        for each in trials:
            self.add(each)
        missing = len(trials)
        while missing:
            self.hand_out()
            wait(self.signals())
            for results in self.collect():
                missing -= 1
                yield results

    def stop(self) -> None:
        """Ends the processes."""
        for device in self._devices:
            stop_process(device.process, device.pipe)

    def _started(self, name: str) -> _Device:
        arguments = (ENGINES[self._engine.name].place, name, self._gripper, self._settings)
        return _Device(name, *start_process(serve_simulator, arguments))

    def _next_batch(self) -> Batch:
        """From the front of those that wait: as many as fit, the first one whatever its size."""
        batch: Batch = {}
        while self._waiting and not (batch and _grasps([*batch.values(), self._waiting[0]]) > MOST_GRASPS):
            first = self._waiting.popleft()
            batch[first.number] = first
        return batch

    def _give(self, device: _Device, batch: Batch) -> None:
        device.out |= batch
        _send(device, list(batch.values()))

    def _take(self, device: _Device, message: object) -> Iterator[GoOn]:
        match message:
            case Opened(takes_more):
                device.ready, device.takes_more = True, takes_more
            case OpenFailed(reason):
                raise InputError(f"--backend {self._engine.name} on {device.name}: {reason}")
            case ObjectResults(number, said) | ObjectFailed(number, said):
                if number in device.out:
                    yield self._answered(device.out.pop(number), said)
            case BatchDone(numbers):
                yield from self._failed(_taken(device, numbers), "it gave no results")
            case BatchFailed(numbers, reason):
                yield from self._failed(_taken(device, numbers), reason)

    def _failed(self, batch: Batch, reason: str) -> Iterator[GoOn]:
        """What is left of a batch that ended: one object is the cause, so that many are tried again in two parts, each by itself, until
        that one is alone."""
        if len(batch) == 1:
            yield from (self._answered(trials, reason) for trials in batch.values())
        elif batch:
            trials, middle = list(batch.values()), len(batch) // 2
            self._parts.extend({each.number: each for each in part} for part in (trials[:middle], trials[middle:]))

    def _answered(self, trials: ObjectTrials, results: TrialState | str) -> GoOn:
        self._pending -= len(trials.grasps)
        return GoOn(trials.number, results)

    def _died(self, device: _Device) -> Iterator[GoOn]:
        exitcode = death(device.process).exitcode
        if not device.ready:
            raise InputError(f"--backend {self._engine.name} on {device.name}: its process ended with code {exitcode} before it was ready")
        stop_process(device.process, device.pipe)
        yield from self._failed(device.out, f"its process ended with code {exitcode}")


def _taken(device: _Device, numbers: tuple[int, ...]) -> Batch:
    """The trials with these numbers that are still out, which now are not."""
    return {number: device.out.pop(number) for number in numbers if number in device.out}


def _grasps(trials: Iterable[ObjectTrials]) -> int:
    return sum(len(each.grasps) for each in trials)


def _send(device: _Device, message: object) -> None:
    with contextlib.suppress(OSError):  # it has died, which `collect` will see
        device.pipe.send(message)
