"""The objects of a run on this machine: in this process, on worker processes that do all of an object each, or through the pipeline
where an engine tries the grasps of many objects at once. What is made of an object is the same on every way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from threadpoolctl import threadpool_limits

from graspgen_cli.dataset.locks import ObjectLocks, open_object_locks
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.rays import keep_geometry_on_one_thread
from graspgen_cli.making.make_object import ObjectTask, failure_report, run_object
from graspgen_cli.making.reports import ObjectReport
from graspgen_cli.records import GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.running.engines import Engine
from graspgen_cli.running.machine import usable_cores
from graspgen_cli.running.pipeline import run_pipeline
from graspgen_cli.running.processes import SPAWN, Died, Lifetime, TimedOut, run_in_processes
from graspgen_cli.settings.models import ExecutionSettings, SimulationSettings
from graspgen_cli.validate.engine import Backend, join_states, make_backend
from graspgen_cli.validate.variation import Variation

TRIALS_AT_ONCE = 256
"""Trials after which a worker looks anew at how many cores there are for it."""


class Counter(Protocol):
    """A number in memory that processes share."""

    value: int


class SharedCores:
    """An engine on as many threads as there are cores for each busy worker: when the last objects of a run are large, those that work
    on them take over the cores of those that are done. It does not change what comes out: each trial is for itself."""

    def __init__(self, backend: str, busy: Counter) -> None:
        self._backend, self._busy = backend, busy

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """See `Backend.run`."""
        states = []
        for first in range(0, len(grasps), TRIALS_AT_ONCE):
            threads = max(1, usable_cores() // max(1, self._busy.value))
            rows = slice(first, first + TRIALS_AT_ONCE)
            backend = make_backend(self._backend, threads=threads)
            states.append(backend.run(gripper, target, grasps[rows], settings, variation and variation[rows]))
        return join_states(states, len(gripper.joint_names))


def run_tasks(
    tasks: Sequence[ObjectTask], gripper: Gripper, engine: Engine, settings: ExecutionSettings
) -> Iterator[tuple[ObjectTask, ObjectReport]]:
    """Does all tasks, which are of one dataset, and yields each with its report as they come. Files are written atomically, so that a
    worker that dies or is stopped leaves none half-made.

    Raises InputError where the engine's device cannot be used.
    """
    if not tasks:
        return
    results = run_pipeline(tasks, gripper, engine, settings) if engine.devices else _run_whole(tasks, gripper, settings)
    for task, result in results:
        yield task, result if isinstance(result, ObjectReport) else _lost(task, result, settings.object_timeout)


def _run_whole(
    tasks: Sequence[ObjectTask], gripper: Gripper, settings: ExecutionSettings
) -> Iterator[tuple[ObjectTask, ObjectReport | Died | TimedOut]]:
    """Each object from its mesh to its file in one process."""
    count = min(settings.workers or usable_cores(), len(tasks))
    busy = SPAWN.RawValue("i", count)
    if count == 1 and not settings.object_timeout and len(tasks) <= (settings.objects_per_worker or len(tasks)):
        with closing(make_worker(gripper, tasks[0], busy)) as worker:
            yield from ((task, worker(task)) for task in tasks)
        return

    def note_busy(number: int) -> None:
        busy.value = number

    yield from run_in_processes(
        tasks,
        make_worker_of_several,
        (gripper, tasks[0], busy),
        count=count,
        timeout=settings.object_timeout,
        lifetime=Lifetime(settings.objects_per_worker, settings.worker_memory),
        on_busy=note_busy,
    )


@dataclass(frozen=True, eq=False)
class ObjectWorker:
    """What a process needs to do tasks of one dataset, for as long as it lives."""

    gripper: GripperShape
    backend: Backend
    locks: ObjectLocks

    def __call__(self, task: ObjectTask) -> ObjectReport:
        """Does one task."""
        # Matrices are small: BLAS threads would only fight over the cores, and their sums would depend on how many there are.
        with threadpool_limits(1, user_api="blas"):
            return run_object(task, self.gripper, self.backend, self.locks)

    def close(self) -> None:
        """Gives back what is open."""
        self.locks.close()


def make_worker_of_several(gripper: Gripper, like: ObjectTask, busy: Counter) -> ObjectWorker:
    """For one of several worker processes; `like` is one of its tasks."""
    keep_geometry_on_one_thread()
    return make_worker(gripper, like, busy)


def make_worker(gripper: Gripper, like: ObjectTask, busy: Counter) -> ObjectWorker:
    """A worker in this process; `like` is one of its tasks."""
    return ObjectWorker(GripperShape(gripper), SharedCores(like.backend, busy), open_object_locks(like.paths))


def _lost(task: ObjectTask, result: Died | TimedOut, timeout: float) -> ObjectReport:
    """The report of a task whose own exceptions would be in a report, had it come to one."""
    if isinstance(result, TimedOut):
        return failure_report(task, f"{task.object_id}: not done after {timeout:g} s; run again with a larger --object-timeout")
    reason = f"the worker process died (exit code {result.exitcode}; out of memory?)"
    return failure_report(task, f"{task.object_id}: {reason}; run again, with fewer --workers if it stays so")
