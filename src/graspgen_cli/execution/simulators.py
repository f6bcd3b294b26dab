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

from graspgen_cli.errors import GraspgenError
from graspgen_cli.records import Gripper
from graspgen_cli.settings.models import SimulationSettings
from graspgen_cli.validate.batches import ObjectTrials, Simulator


@dataclass(frozen=True)
class Opened:
    """The simulator is ready."""


@dataclass(frozen=True)
class BatchDone:
    """All results of the first batch that is still out have been sent."""


@dataclass(frozen=True)
class BatchFailed:
    """The first batch that is still out ended with an error, in one line; results that were sent before are good."""

    message: str


@dataclass(frozen=True)
class OpenFailed:
    """The simulator cannot be had; its process ends."""

    message: str


def _named(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def serve_simulator(pipe: Connection, place: str, gripper: Gripper, settings: SimulationSettings, device: str) -> None:
    """The life of a simulator process: lists of ObjectTrials in; Opened, then for each list ObjectResults and BatchDone or
    BatchFailed out. It ends when the other end of the pipe is closed, or its owner dies.

    place: the engine's entry in BACKENDS.
    """
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what an engine prints is no result
    with contextlib.suppress(OSError):
        try:
            simulator: Simulator = _named(place).open_simulator(gripper, settings, device=device)
        except Exception as error:
            pipe.send(OpenFailed(_line(error)))
            return
        pipe.send(Opened())
        batches: queue.SimpleQueue[list[ObjectTrials] | None] = queue.SimpleQueue()
        threading.Thread(target=_read_ahead, args=(pipe, batches), daemon=True).start()
        while (batch := batches.get()) is not None:
            _simulate(pipe, simulator, batch)


def _simulate(pipe: Connection, simulator: Simulator, batch: list[ObjectTrials]) -> None:
    try:
        for results in simulator.run(batch):
            pipe.send(results)
    except BrokenPipeError:  # the run is over
        raise
    except Exception as error:
        pipe.send(BatchFailed(_line(error)))
    else:
        pipe.send(BatchDone())


def _read_ahead(pipe: Connection, batches: queue.SimpleQueue[list[ObjectTrials] | None]) -> None:
    """Takes what comes while the simulator is at work, so that the next batch is there when it is done with this one and the sender
    never waits."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            batches.put(pipe.recv())
    batches.put(None)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, GraspgenError) else f"unexpected {type(error).__name__}: {text}"
