"""Worker processes on this machine: an object is a task, a worker has its own gripper shape and backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from threadpoolctl import threadpool_limits

from graspgen_cli.execution.object_run import BACKEND, ObjectTask, failure_report, run_object
from graspgen_cli.execution.processes import Died, TimedOut, run_in_processes
from graspgen_cli.execution.reports import ObjectReport, Status
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.records import Gripper
from graspgen_cli.validate.backend import Backend, make_backend


@dataclass(frozen=True, eq=False)
class Worker:
    """What a process needs to do tasks."""

    gripper: GripperShape
    backend: Backend

    def run(self, task: ObjectTask) -> ObjectReport:
        """Does one task."""
        # Matrices are small: BLAS threads would only fight over the cores, and their sums would depend on how many there are.
        with threadpool_limits(1, user_api="blas"):
            return run_object(task, self.gripper, self.backend)


def make_worker(gripper: Gripper, threads: int) -> Worker:
    """A worker in this process."""
    return Worker(GripperShape(gripper), make_backend(BACKEND, threads=threads))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    tasks: Sequence[ObjectTask], gripper: Gripper, *, workers: int, timeout: float, on_report: Callable[[ObjectReport], None]
) -> list[ObjectReport]:
    """Runs all tasks on `workers` processes (0: one a core) and returns their reports in the order of the tasks; `on_report` sees
    them as they come. What a task makes does not depend on the number of workers. A task that takes longer than `timeout` s (0: no
    limit) is ended. Objects that another run has in hand are looked at again when all others are done."""
    by_id: dict[str, ObjectReport] = {}
    remaining = list(tasks)
    while remaining:
        busy = []
        for task, report in _reports(remaining, gripper, workers=workers, timeout=timeout):
            if report.status is Status.BUSY:
                busy.append(replace(task, wait=True))
                continue
            by_id[task.object_id] = report
            on_report(report)
        remaining = busy
    return [by_id[task.object_id] for task in tasks]


def _reports(tasks: list[ObjectTask], gripper: Gripper, *, workers: int, timeout: float) -> Iterator[tuple[ObjectTask, ObjectReport]]:
    """Reports as they come. Files are written atomically, so that a worker that dies or is stopped leaves none half-made."""
    count = min(workers or cores(), len(tasks))
    threads = max(1, cores() // count)
    if count == 1 and not timeout:
        worker = make_worker(gripper, threads)
        yield from ((task, worker.run(task)) for task in tasks)
        return
    for task, result in run_in_processes(tasks, _handler, (gripper, threads), count=count, timeout=timeout):
        yield task, result if isinstance(result, ObjectReport) else _lost(task, result, timeout)


def _handler(gripper: Gripper, threads: int) -> Callable[[ObjectTask], ObjectReport]:
    return make_worker(gripper, threads).run


def _lost(task: ObjectTask, result: Died | TimedOut, timeout: float) -> ObjectReport:
    """The report of a task whose own exceptions would be in a report, had it come to one."""
    if isinstance(result, TimedOut):
        return failure_report(task, f"{task.object_id}: not done after {timeout:g} s; run again with a larger --object-timeout")
    reason = f"the worker process died (exit code {result.exitcode}; out of memory?)"
    return failure_report(task, f"{task.object_id}: {reason}; run again, with fewer --workers if it stays so")
