"""An engine that tries the grasps of many objects at once, for tests of the pipeline: the CPU engine, one object after the other.

Spawned simulator processes import it by name. What it is to do wrong is told by an environment variable, GRASPGEN_TEST_FAULT.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from graspgen_cli.errors import InputError
from graspgen_cli.records import Gripper
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.tables import EngineRow
from graspgen_cli.validate.engine import More, ObjectResults, ObjectTrials
from graspgen_cli.validate.engines.mujoco import MujocoBackend

ABSENT, BROKEN, DEADLY = "cpu:9", "cpu:7", "cpu:8"
"""Devices that cannot be used."""
FAULT, LOG = "GRASPGEN_TEST_FAULT", "GRASPGEN_TEST_LOG"
LAUNCH = 0.1
"""s that a batch takes however small it is, as on a GPU."""
ROW = EngineRow(place="fake_simulator:FakeBatchEngine", first_device="cuda:0", has_our_contacts=True)
"""It stands for mujoco or mujoco-warp."""


class FakeSimulator:
    """One device. Results come in the reverse order. Every batch is noted in the file that LOG names, if it does."""

    def __init__(self, gripper: Gripper, settings: SimulationSettings, device: str) -> None:
        self.gripper, self.settings, self.device = gripper, settings, device
        self.engine = MujocoBackend(threads=1)

    takes_more = False

    def run(self, trials: Sequence[ObjectTrials], more: More) -> Iterator[ObjectResults]:
        if LOG in os.environ:
            line = {"device": self.device, "objects": [each.target.object_id for each in trials]}
            with Path(os.environ[LOG]).open("a") as file:
                file.write(json.dumps(line) + "\n")
        time.sleep(LAUNCH)
        for each in reversed(trials):
            what, _, whom = os.environ.get(FAULT, "").partition(" ")
            if whom == each.target.object_id:
                self.go_wrong(what)
            state = self.engine.run(self.gripper, each.target, each.grasps, self.settings, each.variation)
            yield ObjectResults(each.number, state)

    def go_wrong(self, how: str) -> None:
        """Dies, or raises."""
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("no memory\nleft")


class FakeBatchEngine(MujocoBackend):
    """Both kinds of engine in one, so that it can stand for `mujoco` everywhere."""

    @staticmethod
    def open_simulator(gripper: Gripper, settings: SimulationSettings, *, device: str) -> FakeSimulator:
        if device == ABSENT:
            raise InputError("there are 2 GPUs")
        if device == BROKEN:
            raise OSError("libcuda.so.1: cannot open shared object file")
        if device == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return FakeSimulator(gripper, settings, device)
