"""The seam between the pipeline and engines that try the grasps of many objects at once, and the process that such an engine runs in.

The object that BACKENDS names for such an engine has, besides or instead of what `Backend` asks for,

    open_simulator(gripper, settings, *, device) -> Simulator

and that is all the pipeline knows of it. It is called once in a process of its own for each device, and nothing else is imported there
before. It may raise GraspgenError, in one line, where the device cannot be used.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from graspgen_cli.validate.batches import ObjectTrials, Simulator, told

_Batches = queue.SimpleQueue[list[ObjectTrials] | None]


@dataclass(frozen=True)
class Loaded:
    """The engine is imported; the process waits for the gripper and the settings of the simulation."""


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


def serve_simulator(pipe: Connection, place: str, device: str) -> None:
    """The life of a simulator process: a Gripper with SimulationSettings in, then lists of ObjectTrials; Loaded, Opened, then for each go
    ObjectResults or ObjectFailed and BatchDone or BatchFailed out. A simulator that takes more has what comes meanwhile in the same go.

    It ends when the other end of the pipe is closed, or its owner dies.

    place: the engine's entry in BACKENDS.
    """
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what an engine prints is no result
    with contextlib.suppress(OSError):
        try:
            simulator = _opened(pipe, place, device)
        except Exception as error:  # where it is that the owner is gone, so is the pipe to say so
            pipe.send(OpenFailed(told(error)))
            return
        pipe.send(Opened(simulator.takes_more))
        batches: _Batches = queue.SimpleQueue()
        threading.Thread(target=_read_ahead, args=(pipe, batches), daemon=True).start()
        while (batch := batches.get()) is not None:
            _simulate(pipe, simulator, batch, batches)


def _opened(pipe: Connection, place: str, device: str) -> Simulator:
    engine = _named(place)
    pipe.send(Loaded())
    gripper, settings = pipe.recv()
    simulator: Simulator = engine.open_simulator(gripper, settings, device=device)
    return simulator


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
