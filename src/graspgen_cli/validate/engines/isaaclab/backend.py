"""The `isaaclab` backend: hands trials to a process in which Isaac Sim runs.

A process of its own, because the app prints to stdout, takes the process with it when it ends, and because Isaac Lab leaks host memory
from object to object: after so many objects the process is replaced.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np

from graspgen_cli.errors import GraspgenError, InputError
from graspgen_cli.records import GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import More, ObjectResults, ObjectTrials, Simulator, Variation, join_states
from graspgen_cli.validate.engines.isaaclab.mechanism import mechanism
from graspgen_cli.validate.engines.isaaclab.server import READY
from graspgen_cli.validate.engines.isaaclab.simulate import Job
from graspgen_cli.validate.scene import build_scene, in_body_frame, pose_object_in_body, started_inside

VERSION = "2.3"
INSTALL = (
    "Python 3.11, an NVIDIA GPU, and: pip install 'isaaclab>=2.3.2,<2.4' 'isaacsim[all,extscache]==5.1.0' "
    "--extra-index-url https://pypi.nvidia.com (see docs/isaaclab.md), or docker/run.sh --image graspgen:isaaclab"
)
OBJECTS_PER_PROCESS = 100
GRACE = 10.0
"""s that the app has to end by itself."""


class IsaacLabBackend:
    """Trials in Isaac Lab. Making one proves that what it needs is installed; the app is started by the first trials."""

    def __init__(
        self, *, threads: int = 1, device: str = "cuda:0", headed: bool = False, objects_per_worker: int = OBJECTS_PER_PROCESS
    ) -> None:
        """threads: not used, PhysX decides. device: `cuda:0` or `cpu`. headed: with a window. objects_per_worker: the process is
        replaced after so many objects; 0 keeps it.

        Raises InputError, one line, that says what is missing and how to get it.
        """
        require_isaac_lab()
        self._device, self._headed = device, headed
        self._limit = objects_per_worker
        self._process: _Process | None = None
        self._objects: list[str] = []

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """See `Backend.run`. Raises GripperError for a mechanism that PhysX cannot have, GraspgenError where the process fails."""
        mechanism(gripper)
        if len(grasps) == 0:
            return join_states([], len(gripper.joint_names))
        pose_in_body = pose_object_in_body(target)
        moved = replace(grasps, pose_gripper_in_object=pose_in_body @ grasps.pose_gripper_in_object)
        drawn = Variation.of_tugs(np.ones(len(grasps))) if variation is None else variation
        in_its_axes = replace(drawn, center_offset=drawn.center_offset @ pose_in_body[:3, :3].T)
        state = self._ask(Job(gripper, in_body_frame(target), moved, in_its_axes, settings, self._device, self._headed))
        inside = started_inside(build_scene(gripper, target, settings), gripper, target, grasps)
        return replace(state, pose_object_in_gripper=state.pose_object_in_gripper @ pose_in_body, started_inside=inside)

    @classmethod
    def open_simulator(
        cls,
        gripper: Gripper,
        settings: SimulationSettings,
        *,
        device: str,
        headed: bool = False,
        objects_per_worker: int = OBJECTS_PER_PROCESS,
    ) -> Simulator:
        """A device with this gripper on it (see `validate.batches`): one process for all objects, which takes them one by one.
        headed, objects_per_worker: as for the constructor.

        Raises InputError as the constructor does, GripperError for a mechanism that PhysX cannot have.
        """
        mechanism(gripper)
        return _OneByOne(cls(device=device, headed=headed, objects_per_worker=objects_per_worker), gripper, settings)

    def close(self) -> None:
        """Ends the process, if there is one."""
        if self._process is not None:
            self._process.stop()
        self._process, self._objects = None, []

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            self.close()

    def _ask(self, job: Job) -> TrialState:
        if job.target.content_hash not in self._objects:
            if 0 < self._limit <= len(self._objects):
                self.close()
            self._objects.append(job.target.content_hash)
        if self._process is None:
            self._process = _Process(self._device, headed=self._headed)
        try:
            answer = self._process.ask(job)
        except (EOFError, OSError):
            log = self._process.log
            self.close()
            raise GraspgenError(f"Isaac Sim ended before its answer; {log} has what it printed") from None
        if not isinstance(answer, TrialState):
            raise GraspgenError(f"Isaac Lab: {answer}; {self._process.log} has what it printed")
        return answer


class _OneByOne:
    """The backend with one gripper, as a simulator."""

    takes_more = False

    def __init__(self, backend: IsaacLabBackend, gripper: Gripper, settings: SimulationSettings) -> None:
        self._backend, self._gripper, self._settings = backend, gripper, settings

    def run(self, trials: Sequence[ObjectTrials], more: More) -> Iterator[ObjectResults]:
        """See `Simulator.run`."""
        for each in trials:
            state = self._backend.run(self._gripper, each.target, each.grasps, self._settings, each.variation)
            yield ObjectResults(each.number, state)


class _Process:
    """The process, ready for jobs. What it prints goes to `log`, which the process removes at its end where all went well."""

    def __init__(self, device: str, *, headed: bool) -> None:
        number, name = tempfile.mkstemp(prefix="graspgen-isaaclab-", suffix=".log")
        self.log = Path(name)
        self._pipe, theirs = Pipe()
        arguments = [str(theirs.fileno()), device, "headed" if headed else "headless", name]
        with os.fdopen(number, "wb") as log, theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "graspgen_cli.validate.engines.isaaclab.server", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
            )
        self._ready = False

    def ask(self, job: Job) -> Any:
        """The answer to a job. Raises EOFError or OSError where the process ends first."""
        if not self._ready:
            self._ready = self._pipe.recv() == READY
        self._pipe.send(job)
        return self._pipe.recv()

    def stop(self) -> None:
        """Ends the process; without mercy where it does not end by itself."""
        self._pipe.close()
        try:
            self._child.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def require_isaac_lab() -> None:
    """Raises InputError, one line, where Isaac Lab or Isaac Sim is not there or is another version. Imports nothing of them."""
    # Isaac Lab's own __init__ starts Isaac Sim, so only its outer package is looked for.
    missing = [name for name, package in (("Isaac Lab", "isaaclab"), ("Isaac Sim", "isaacsim")) if find_spec(package) is None]
    if missing:
        raise InputError(f"--backend isaaclab: {' and '.join(missing)} not installed; needs {INSTALL}; or use --backend mujoco")
    try:
        found = version("isaaclab")
    except PackageNotFoundError:
        return
    # A checkout, such as that of NVIDIA's image, has a version of its own that begins with 0.
    if not found.startswith(("0.", f"{VERSION}.")):
        raise InputError(f"--backend isaaclab: Isaac Lab {found} is installed, {VERSION} is needed: pip install 'isaaclab=={VERSION}.*'")
