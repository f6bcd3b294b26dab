"""The objects of a run on this machine: in this process, in worker processes, or in the pipeline if the engine runs on devices. All three
make the same files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from threadpoolctl import threadpool_limits

from graspgen_cli.dataset.locks import open_object_locks
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.rays import keep_geometry_on_one_thread
from graspgen_cli.making.make_object import failure_report, run_object
from graspgen_cli.making.reports import ObjectReport
from graspgen_cli.making.task import ObjectTask
from graspgen_cli.records import Gripper
from graspgen_cli.running.engines import Engine
from graspgen_cli.running.machine import usable_cores
from graspgen_cli.running.pipeline import run_pipeline
from graspgen_cli.running.processes import SPAWN, Died, Lifetime, TimedOut, run_in_processes
from graspgen_cli.settings.runs import ExecutionSettings
from graspgen_cli.validate.engine import Counter, SharedCores


def run_tasks(
    tasks: Sequence[ObjectTask], gripper: Gripper, engine: Engine, settings: ExecutionSettings
) -> Iterator[tuple[ObjectTask, ObjectReport]]:
    """Does all tasks of one dataset and yields each with its report, in the order of completion. Files are written atomically, so a worker
    that dies leaves no partial file.

    Raises InputError if a device of the engine cannot be used.
    """
    if not tasks:
        return
    results = run_pipeline(tasks, gripper, engine, settings) if engine.devices else _run_whole(tasks, gripper, settings)
    for task, result in results:
        yield task, result if isinstance(result, ObjectReport) else _lost(task, result, settings.object_timeout)


def _run_whole(
    tasks: Sequence[ObjectTask], gripper: Gripper, settings: ExecutionSettings
) -> Iterator[tuple[ObjectTask, ObjectReport | Died | TimedOut]]:
    """One process makes all of an object."""
    count = min(settings.workers or usable_cores(), len(tasks))
    busy = SPAWN.RawValue("i", count)
    if count == 1 and not settings.object_timeout and len(tasks) <= (settings.objects_per_worker or len(tasks)):
        with closing(ObjectWorker(gripper, tasks[0], busy, alone=True)) as worker:
            yield from ((task, worker(task)) for task in tasks)
        return
    yield from run_in_processes(
        tasks,
        ObjectWorker,
        (gripper, tasks[0], busy),
        count=count,
        timeout=settings.object_timeout,
        lifetime=Lifetime(settings.objects_per_worker, settings.worker_memory),
        busy=busy,
    )


class ObjectWorker:
    """The handler of a worker: it does tasks of one dataset. like: one of them. alone: whether it has the cores to itself."""

    def __init__(self, gripper: Gripper, like: ObjectTask, busy: Counter, *, alone: bool = False) -> None:
        if not alone:
            keep_geometry_on_one_thread()
        self._gripper = GripperShape(gripper)
        self._backend = SharedCores(like.plan.backend, usable_cores(), busy)
        self._locks = open_object_locks(like.paths)

    def __call__(self, task: ObjectTask) -> ObjectReport:
        """Does one task."""
        # The matrices are small: BLAS threads would compete for the cores, and their number would change the sums.
        with threadpool_limits(1, user_api="blas"):
            return run_object(task, self._gripper, self._backend, self._locks)

    def close(self) -> None:
        """Closes the lock file."""
        self._locks.close()


def _lost(task: ObjectTask, result: Died | TimedOut, timeout: float) -> ObjectReport:
    """The report of a task that lost its worker."""
    if isinstance(result, TimedOut):
        return failure_report(task, f"{task.object_id}: not done after {timeout:g} s; run again with a larger --object-timeout")
    reason = f"the worker process died (exit code {result.exitcode}; out of memory?)"
    return failure_report(task, f"{task.object_id}: {reason}; run again, with fewer --workers if it stays so")
