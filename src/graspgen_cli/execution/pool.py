"""Worker processes on this machine: an object is a task, a worker has its own gripper shape and backend."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass

from pebble import ProcessExpired, ProcessPool
from threadpoolctl import threadpool_limits

from graspgen_cli.execution.object_run import BACKEND, ObjectTask, failure_report, run_object
from graspgen_cli.execution.reports import ObjectReport
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
    # Ctrl-C goes to every process of the terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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
    """Reports as they come. A worker that dies takes only its own task with it. When the caller stops early, so do the workers: files
    are written atomically, so none is left half-made."""
    # Spawned, not forked: the engines' threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPool(count, initializer=_start, initargs=(gripper, threads), context=context)
    try:
        futures: dict[Future[ObjectReport], ObjectTask] = {pool.schedule(_work, args=(task,)): task for task in tasks}
        pool.close()
        for future in as_completed(futures):
            yield _result(future, futures[future])
    finally:
        pool.stop()
        pool.join()


def _result(future: Future[ObjectReport], task: ObjectTask) -> ObjectReport:
    try:
        return future.result()
    except ProcessExpired as error:
        # Its own exceptions are in the report; what is left is a death from outside, or in native code.
        reason = f"the worker process died (exit code {error.exitcode}; out of memory?)"
        return failure_report(task, f"{task.object_id}: {reason}; run again, with fewer --workers if it stays so")
