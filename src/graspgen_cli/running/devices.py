"""Simulator processes, one for each device of an engine that tries the grasps of many objects at once.

The class that the table ENGINES names for such an engine has, besides or instead of the methods of `Backend`,

    open_simulator(gripper, settings, *, device, **options) -> Simulator

This function is called once in each simulator process, before any other import of the engine. It raises GraspgenError, in one line, if the
device cannot be used.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from graspgen_cli.errors import InputError
from graspgen_cli.records import Gripper
from graspgen_cli.running.engines import Engine
from graspgen_cli.running.processes import death, start_process, stop_process
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.tables import ENGINES
from graspgen_cli.validate.engine import ObjectFailed, ObjectResults, ObjectTrials, Simulator, failure_reason

BATCH_GRASPS = 65536
"""Grasps of a batch: four times the number that a GPU simulates at once."""
BATCHES_PER_DEVICE = 2
"""Batches that a device holds: one in simulation and one queued behind it."""
BATCHES_AHEAD = 3
"""Workers stop starting objects once this many batches per device are queued or running: those of the device, and one that fills."""

Batch = dict[int, ObjectTrials]
"""Trials without results by the number of the object."""
Results = ObjectResults | ObjectFailed
_Inbox = queue.SimpleQueue[list[ObjectTrials] | None]


@dataclass(frozen=True)
class Opened:
    """From a simulator process: the simulator is ready. takes_more: see `Simulator`."""

    takes_more: bool


@dataclass(frozen=True)
class OpenFailed:
    """From a simulator process that ends: the device cannot be used."""

    reason: str


@dataclass(frozen=True)
class BatchEnded:
    """From a simulator process: a call of `Simulator.run` ended. numbers: of the objects without results; reason: why they have none."""

    numbers: tuple[int, ...]
    reason: str = "it gave no results"


def serve_simulator(
    pipe: Connection, place: str, device: str, gripper: Gripper, settings: SimulationSettings, options: Mapping[str, Any]
) -> None:
    """The main function of a simulator process.

    It sends Opened or OpenFailed; then it receives lists of ObjectTrials, and sends Results for each object and BatchEnded for each call
    of the simulator. It returns when the other end of the pipe is closed. place: "module:Class" of the engine.
    """
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # Engines print to stdout, which is for results.
    with contextlib.suppress(OSError):
        try:
            simulator = _open(place, device, gripper, settings, options)
        except Exception as error:
            pipe.send(OpenFailed(failure_reason(error)))
            return
        pipe.send(Opened(simulator.takes_more))
        inbox: _Inbox = queue.SimpleQueue()
        threading.Thread(target=_receive, args=(pipe, inbox), daemon=True).start()
        while (batch := inbox.get()) is not None:
            _simulate(pipe, simulator, batch, inbox)


def _open(place: str, device: str, gripper: Gripper, settings: SimulationSettings, options: Mapping[str, Any]) -> Simulator:
    module, _, attribute = place.partition(":")
    engine = getattr(importlib.import_module(module), attribute)
    simulator: Simulator = engine.open_simulator(gripper, settings, device=device, **options)
    return simulator


def _simulate(pipe: Connection, simulator: Simulator, batch: list[ObjectTrials], inbox: _Inbox) -> None:
    missing = {each.number for each in batch}

    def more() -> list[ObjectTrials]:
        received: list[ObjectTrials] = []
        with contextlib.suppress(queue.Empty):
            while (following := inbox.get_nowait()) is not None:
                received += following
            inbox.put(None)  # The caller needs the end mark too.
        missing.update(each.number for each in received)
        return received

    try:
        for results in simulator.run(batch, more):
            missing.discard(results.number)
            pipe.send(results)
    except BrokenPipeError:
        raise
    except Exception as error:
        pipe.send(BatchEnded(tuple(missing), failure_reason(error)))
    else:
        pipe.send(BatchEnded(tuple(missing)))


def _receive(pipe: Connection, inbox: _Inbox) -> None:
    """Receives during the simulation, so that the next batch is at hand and the sender never waits."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            inbox.put(pipe.recv())
    inbox.put(None)


@dataclass(eq=False)
class Device:
    """A simulator process. running: its trials. is_retrying: whether these are part of a batch that failed; such a part runs alone."""

    name: str
    process: BaseProcess
    pipe: Connection
    ready: bool = False
    takes_more: bool = False
    is_retrying: bool = False
    running: Batch = field(default_factory=dict)

    def give(self, batch: Batch) -> None:
        """Sends trials to the simulator. If its process is dead, `Devices.results` sees that."""
        self.running |= batch
        with contextlib.suppress(OSError):
            self.pipe.send(list(batch.values()))

    def remove(self, numbers: Iterable[int]) -> Batch:
        """Takes the trials of these objects from the running ones."""
        return {number: self.running.pop(number) for number in numbers if number in self.running}


class Devices:
    """The simulator processes of a run, and the trials that are queued for them."""

    def __init__(self, engine: Engine, gripper: Gripper, settings: SimulationSettings) -> None:
        self._engine, self._gripper, self._settings = engine, gripper, settings
        self._queued: deque[ObjectTrials] = deque()
        self._retries: deque[Batch] = deque()
        self._pending: dict[int, int] = {}  # number of grasps by the number of the object, until there are results
        self.devices: list[Device] = []

    def start(self) -> None:
        """Starts the processes; they get ready while the workers do."""
        self.devices += map(self._start, self._engine.devices)

    def stop(self) -> None:
        """Kills the processes."""
        for device in self.devices:
            stop_process(device.process, device.pipe)

    def add(self, trials: ObjectTrials) -> None:
        """Queues the trials of an object."""
        self._queued.append(trials)
        self._pending[trials.number] = len(trials.grasps)

    def cancel(self, number: int) -> None:
        """Removes the trials of an object if no simulator has them yet."""
        if any(number in device.running for device in self.devices):
            return
        self._pending.pop(number, None)
        self._queued = deque(trials for trials in self._queued if trials.number != number)
        for part in self._retries:
            part.pop(number, None)

    def has_room(self) -> bool:
        """Whether workers may start objects."""
        return sum(self._pending.values()) < BATCHES_AHEAD * BATCH_GRASPS * len(self.devices)

    def assign(self) -> None:
        """Gives an idle simulator part of a failed batch, or else the queued trials. A busy one gets queued trials at once if it takes
        more, or else as a whole batch."""
        for device in self.devices:
            if not device.ready:
                continue
            if not device.running:
                device.is_retrying = bool(self._retries)
            if device.is_retrying and not device.running:
                device.give(self._retries.popleft())
            elif self._queued and (not device.running or self._may_get_more(device)):
                device.give(self._next_batch())

    def _may_get_more(self, device: Device) -> bool:
        if device.is_retrying or self._retries:
            return False
        enough = device.takes_more or _grasps(self._queued) >= BATCH_GRASPS
        return enough and _grasps(device.running.values()) < BATCHES_PER_DEVICE * BATCH_GRASPS

    def _next_batch(self) -> Batch:
        """The first queued trials that fit in a batch; at least those of one object."""
        batch: Batch = {}
        grasps = 0
        while self._queued and not (batch and grasps + len(self._queued[0].grasps) > BATCH_GRASPS):
            first = self._queued.popleft()
            batch[first.number] = first
            grasps += len(first.grasps)
        return batch

    def signals(self) -> list[Connection | int]:
        """The pipes and processes to wait for."""
        return [signal for device in self.devices for signal in (device.pipe, device.process.sentinel)]

    def results(self) -> Iterator[Results]:
        """Results that the simulators have sent. A dead simulator is replaced. Raises InputError if a device cannot be used."""
        for device in list(self.devices):
            for results in self._results_of(device):
                del self._pending[results.number]
                yield results

    def try_all(self, trials: Sequence[ObjectTrials]) -> Iterator[Results]:
        """Makes all trials, and yields the results in the order of completion."""
        for each in trials:
            self.add(each)
        missing = len(trials)
        while missing:
            self.assign()
            wait(self.signals())
            for results in self.results():
                missing -= 1
                yield results

    def _start(self, name: str) -> Device:
        arguments = (ENGINES[self._engine.name].place, name, self._gripper, self._settings, self._engine.options)
        return Device(name, *start_process(serve_simulator, arguments))

    def _results_of(self, device: Device) -> Iterator[Results]:
        try:
            while device.pipe.poll():
                yield from self._received(device, device.pipe.recv())
        except (EOFError, OSError):
            yield from self._died(device)
            self.devices[self.devices.index(device)] = self._start(device.name)

    def _received(self, device: Device, message: object) -> Iterator[Results]:
        match message:
            case Opened(takes_more):
                device.ready, device.takes_more = True, takes_more
            case OpenFailed(reason):
                raise InputError(f"--backend {self._engine.name} on {device.name}: {reason}")
            case ObjectResults(number) | ObjectFailed(number):
                if device.remove([number]):
                    yield message
            case BatchEnded(numbers, reason):
                yield from self._failed(device.remove(numbers), reason)

    def _failed(self, batch: Batch, reason: str) -> Iterator[Results]:
        """Fails one object. Retries several in two halves, since one of them is the cause: halving finds that one."""
        numbers = list(batch)
        if len(numbers) == 1:
            yield ObjectFailed(numbers[0], reason)
        elif numbers:
            middle = len(numbers) // 2
            self._retries.extend({number: batch[number] for number in half} for half in (numbers[:middle], numbers[middle:]))

    def _died(self, device: Device) -> Iterator[Results]:
        exitcode = death(device.process).exitcode
        if not device.ready:
            raise InputError(f"--backend {self._engine.name} on {device.name}: its process ended with code {exitcode} before it was ready")
        stop_process(device.process, device.pipe)
        yield from self._failed(device.running, f"its process ended with code {exitcode}")


def _grasps(trials: Iterable[ObjectTrials]) -> int:
    return sum(len(each.grasps) for each in trials)
