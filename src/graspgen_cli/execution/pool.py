"""Worker processes on this machine: an object is a task, a worker has its own gripper shape and backend."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from graspgen_cli.execution.object_run import BACKEND, ObjectTask, run_object
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


_worker: Worker | None = None
"""The worker of this process; set once, before its first task."""


def _start(gripper: Gripper, threads: int) -> None:
    global _worker
    _worker = make_worker(gripper, threads=threads)


def _work(task: ObjectTask) -> ObjectReport:
    assert _worker is not None, "the pool's initializer runs first"
    return _worker.run(task)


def make_worker(gripper: Gripper, *, threads: int) -> Worker:
    """A worker in this process."""
    return Worker(GripperShape(gripper), make_backend(BACKEND, threads=threads))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    tasks: Sequence[ObjectTask], gripper: Gripper, *, workers: int, on_report: Callable[[ObjectReport], None]
) -> list[ObjectReport]:
    """Runs all tasks on `workers` processes (0: one a core) and returns their reports in the order of the tasks; `on_report` sees
    them as they come. What a task makes does not depend on the number of workers."""
    count = min(workers or cores(), max(len(tasks), 1))
    threads = max(1, cores() // count)
    by_id: dict[str, ObjectReport] = {}
    source = _in_this_process(tasks, gripper, threads) if count == 1 else _in_processes(tasks, gripper, count, threads)
    for report in source:
        by_id[report.object_id] = report
        on_report(report)
    return [by_id[task.object_id] for task in tasks]


def _in_this_process(tasks: Sequence[ObjectTask], gripper: Gripper, threads: int) -> Iterator[ObjectReport]:
    worker = make_worker(gripper, threads=threads)
    for task in tasks:
        yield worker.run(task)


def _in_processes(tasks: Sequence[ObjectTask], gripper: Gripper, count: int, threads: int) -> Iterator[ObjectReport]:
    # Spawned, not forked: the engines' threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=(gripper, threads)) as pool:
        futures = {pool.submit(_work, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield _result(future, futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _result(future: Future[ObjectReport], task: ObjectTask) -> ObjectReport:
    """The task's report; a worker that died takes its tasks with it, and they are said to have failed."""
    try:
        return future.result()
    except BrokenProcessPool:
        message = f"{task.object_id}: a worker process died (out of memory?); run again with fewer --workers"
        return ObjectReport(
            object_id=task.object_id, status=Status.FAILED, held=0, failed=0, unvalidated=0, tested=0, message=message, seconds=0.0
        )
