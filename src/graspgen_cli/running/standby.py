"""Simulator processes that get ready while the command does: what an engine imports takes seconds, and so does what a run imports. So
nothing heavy is imported here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from graspgen_cli.making.reports import Phase
from graspgen_cli.running.engines import Engine, choose_engine
from graspgen_cli.running.processes import start_process, stop_process
from graspgen_cli.settings.commands import GraspCommand
from graspgen_cli.settings.models import Executor
from graspgen_cli.validate.engine import BACKENDS

Simulation = tuple[BaseProcess, Connection]
"""A simulator process, and this end of its pipe."""


class Standby:
    """Simulator processes by their devices, which wait to be told of a gripper."""

    def __init__(self, waiting: Mapping[str, Simulation]) -> None:
        self._waiting = dict(waiting)

    def take(self, device: str) -> Simulation | None:
        """The process for a device, whose owner the caller now is; None where there is none (any more)."""
        return self._waiting.pop(device, None)

    def stop(self) -> None:
        """Ends those that nobody took."""
        for process, pipe in self._waiting.values():
            stop_process(process, pipe)
        self._waiting = {}


@contextlib.contextmanager
def ready_engine(settings: GraspCommand, phase: Phase) -> Iterator[Engine]:
    """The engine of a run, whose simulators get ready meanwhile; those that the run does not take end with it. Raises SettingsError
    where the engine cannot be had."""
    engine = choose_engine(settings, executor=settings.executor)
    simulates_here = phase is not Phase.GUESS and not settings.guess_only and settings.executor is Executor.LOCAL
    standby = Standby({device: start_simulator(engine.name, device) for device in engine.devices if simulates_here})
    try:
        yield replace(engine, standby=standby)
    finally:
        standby.stop()


def start_simulator(engine: str, device: str) -> Simulation:
    """A process that gets ready to simulate on a device; see `running.devices`."""
    return start_process(_serve, (BACKENDS[engine], device))


def _serve(pipe: Connection, place: str, device: str) -> None:
    from graspgen_cli.running.devices import serve_simulator

    serve_simulator(pipe, place, device)
