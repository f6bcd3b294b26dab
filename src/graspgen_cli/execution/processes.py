"""Worker processes, each at the end of a pipe of its own.

The pools of the standard library and of others share queues between their workers, with locks that a killed worker takes along; the
run then waits for ever. Here nothing is shared: whatever happens to a worker, by whomever and whenever, costs its task in hand.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Spawned, not forked: the engines' threads do not survive a fork.
_SPAWN = multiprocessing.get_context("spawn")
GRACE = 5.0
"""s that a worker has to end by itself when there is nothing left to do."""


@dataclass(frozen=True)
class Died:
    """A worker ended before its task was done. exitcode: the process's, minus the signal's number where one killed it."""

    exitcode: int | None


@dataclass(frozen=True)
class TimedOut:
    """A task took longer than it was allowed to, and its worker was killed."""


@dataclass(eq=False)
class _Worker(Generic[T]):
    process: BaseProcess
    pipe: Connection
    task: T | None = None
    since: float = math.inf
    """When the task was begun; the time that a new worker takes to get ready does not count."""
    ready: bool = False
    done: int = 0


def run_in_processes(
    tasks: Sequence[T],
    make_handler: Callable[..., Callable[[T], R]],
    arguments: tuple[Any, ...],
    *,
    count: int,
    timeout: float = 0.0,
    tasks_per_worker: int = 0,
) -> Iterator[tuple[T, R | Died | TimedOut]]:
    """Does every task on `count` worker processes and yields (task, result) as they come.

    A worker calls `make_handler(*arguments)` once, then the handler for each of its tasks. After `tasks_per_worker` tasks (0: never) it
    is replaced by a new one. A task that takes longer than `timeout` s (0: no limit) is ended with its worker. When the caller stops
    early, so do the workers.
    """
    waiting = deque(tasks)
    workers: list[_Worker[T]] = []
    try:
        while waiting or any(worker.task is not None for worker in workers):
            while waiting and len(workers) < count:
                workers.append(_started(make_handler, arguments))
            for worker in workers:
                if worker.task is None and waiting:
                    _hand_out(worker, waiting.popleft())
            for worker, outcome in _outcomes(workers, timeout):
                task = worker.task
                assert task is not None
                worker.task, worker.done = None, worker.done + 1
                if isinstance(outcome, Died | TimedOut) or 0 < tasks_per_worker <= worker.done:
                    _stop(worker)
                    workers.remove(worker)
                yield task, outcome
        for worker in workers:
            worker.pipe.close()  # an idle worker ends when its pipe does
            worker.process.join(GRACE)
    finally:
        for worker in workers:
            _stop(worker)


def _started(make_handler: Callable[..., Callable[[T], R]], arguments: tuple[Any, ...]) -> _Worker[T]:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(theirs, make_handler, arguments), daemon=True)
    # The tracker's own start would unblock the signal.
    resource_tracker.ensure_running()
    # Ctrl-C goes to every process of the terminal, but the parent alone decides what it means: a process that is started with the
    # signal blocked never sees it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return _Worker(process, ours)


def _serve(pipe: Connection, make_handler: Callable[..., Callable[[T], R]], arguments: tuple[Any, ...]) -> None:
    """A worker's life; it ends when the other end of its pipe is closed, or its owner dies."""
    handler = make_handler(*arguments)
    with contextlib.suppress(EOFError, OSError):
        pipe.send(None)  # ready
        while True:
            pipe.send(handler(pipe.recv()))


def _hand_out(worker: _Worker[T], task: T) -> None:
    worker.task, worker.since = task, time.monotonic() if worker.ready else math.inf
    # A worker that has died takes the task with it: its end shows as its outcome.
    with contextlib.suppress(OSError):
        worker.pipe.send(task)


def _outcomes(workers: list[_Worker[T]], timeout: float) -> Iterator[tuple[_Worker[T], Any]]:
    """Waits until something has happened to at least one busy worker, and tells what."""
    busy = [worker for worker in workers if worker.task is not None]
    ends = min(worker.since for worker in busy) + timeout if timeout else math.inf
    left = max(0.0, ends - time.monotonic()) if math.isfinite(ends) else None
    ready = wait([*(w.pipe for w in busy), *(w.process.sentinel for w in busy)], left)
    for worker in busy:
        if worker.pipe in ready:
            yield from _received(worker)
        elif worker.process.sentinel in ready:
            yield worker, _death(worker)
        elif timeout and time.monotonic() - worker.since >= timeout:
            yield worker, TimedOut()


def _received(worker: _Worker[T]) -> Iterator[tuple[_Worker[T], Any]]:
    try:
        message = worker.pipe.recv()
    except (EOFError, OSError):
        yield worker, _death(worker)
        return
    if worker.ready:
        yield worker, message
    else:
        worker.ready, worker.since = True, time.monotonic()


def _death(worker: _Worker[T]) -> Died:
    worker.process.join(GRACE)  # before that there is no exit code
    return Died(worker.process.exitcode)


def _stop(worker: _Worker[T]) -> None:
    worker.pipe.close()
    if worker.process.is_alive():
        worker.process.kill()
    worker.process.join()
