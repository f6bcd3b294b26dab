"""Worker processes, each at the end of a pipe of its own.

The pools of the standard library and of others share queues between their workers, with locks that a killed worker takes along; the
run then waits for ever. Here nothing is shared: whatever happens to a worker, by whomever and whenever, costs its task in hand.

Many small pieces of work on all cores, where any one of them may cost a worker its life."""

from __future__ import annotations

import contextlib
import gc
import math
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from graspgen_cli.running.machine import usable_cores

T = TypeVar("T")
R = TypeVar("R")

# Spawned, not forked: the engines' threads do not survive a fork.
SPAWN = multiprocessing.get_context("spawn")
GRACE = 5.0
"""s that a worker has to end by itself when there is nothing left to do."""
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Died:
    """A worker ended before its task was done. exitcode: the process's, minus the signal's number where one killed it."""

    exitcode: int | None


@dataclass(frozen=True)
class TimedOut:
    """A task took longer than it was allowed to, and its worker was killed."""


@dataclass(frozen=True)
class Lifetime:
    """When a worker is replaced by a new one, so that what a process never gives back does not add up.

    tasks: after so many. memory: above so many MB resident. 0: never.
    """

    tasks: int = 0
    memory: int = 0


@dataclass(eq=False)
class Worker:
    """A process that answers each message with one message, in turn: it always reads when it is written to, so that neither end ever
    waits for the other to make room."""

    process: BaseProcess
    pipe: Connection
    busy: bool = False
    since: float = math.inf
    """When the message in hand was begun; the time that a new worker takes to get ready does not count."""
    ready: bool = False
    done: int = 0
    """Messages answered."""

    def give(self, message: object) -> None:
        """Hands a message to an idle worker. One that has died takes it along: its end shows as its answer."""
        self.busy, self.since = True, time.monotonic() if self.ready else math.inf
        with contextlib.suppress(OSError):
            self.pipe.send(message)

    def is_due(self, lifetime: Lifetime, tasks: int) -> bool:
        """Whether it is to be replaced, having done so many tasks; never before its first, however large it is from the start."""
        too_large = 0 < lifetime.memory * MEGABYTE < resident_bytes(self.process.pid)
        return tasks > 0 and (too_large or 0 < lifetime.tasks <= tasks)

    def dismiss(self) -> None:
        """Lets an idle worker end by itself."""
        self.pipe.close()  # an idle worker ends when its pipe does
        self.process.join(GRACE)

    def stop(self) -> None:
        """Ends it, whatever it does."""
        stop_process(self.process, self.pipe)


def run_in_processes(
    tasks: Sequence[T],
    make_handler: Callable[..., Callable[[T], R]],
    arguments: tuple[Any, ...],
    *,
    count: int,
    timeout: float = 0.0,
    lifetime: Lifetime | None = None,
    on_busy: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[T, R | Died | TimedOut]]:
    """Does every task on `count` worker processes and yields (task, result) as they come.

    A worker calls `make_handler(*arguments)` once, then the handler for each of its tasks. A task that takes longer than `timeout` s
    (0: no limit) is ended with its worker. `on_busy` is told how many workers have a task whenever that changes. When the caller stops
    early, so do the workers.
    """
    waiting, in_hand, life = deque(tasks), dict[Worker, T](), lifetime or Lifetime()
    workers: list[Worker] = []
    try:
        while waiting or in_hand:
            while len(workers) < min(count, len(in_hand) + len(waiting)):
                workers.append(start_worker(make_handler, arguments))
            for worker in workers:
                if not worker.busy and waiting:
                    in_hand[worker] = waiting.popleft()
                    worker.give(in_hand[worker])
            on_busy(len(in_hand))
            for worker, outcome in answers(workers, timeout):
                if isinstance(outcome, Died | TimedOut) or worker.is_due(life, worker.done):
                    worker.stop()
                    workers.remove(worker)
                yield in_hand.pop(worker), outcome
        for worker in workers:
            worker.dismiss()
    finally:
        for worker in workers:
            worker.stop()


def start_worker(make_handler: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> Worker:
    """A new worker, whose messages go to the handler that `make_handler(*arguments)` makes there."""
    return Worker(*start_process(_serve, (make_handler, arguments)))


def start_process(serve: Callable[..., None], arguments: tuple[Any, ...]) -> tuple[BaseProcess, Connection]:
    """A process that runs `serve(pipe, *arguments)`, and this end of its pipe."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=serve, args=(theirs, *arguments), daemon=True)
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
    return process, ours


def stop_process(process: BaseProcess, pipe: Connection) -> None:
    """Ends a process, whatever it does."""
    pipe.close()
    if process.is_alive():
        process.kill()
    process.join()


def _serve(pipe: Connection, make_handler: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """A worker's life; it ends when the other end of its pipe is closed, or its owner dies."""
    handler = make_handler(*arguments)
    gc.freeze()  # what has been imported stays: the garbage collector need not walk through it again and again
    with contextlib.suppress(EOFError, OSError):
        pipe.send(None)  # ready
        while True:
            pipe.send(handler(pipe.recv()))


def answers(workers: Iterable[Worker], timeout: float, *, others: Sequence[Connection | int] = ()) -> Iterator[tuple[Worker, Any]]:
    """Waits until something has happened to at least one busy worker, or to one of the other pipes and processes, and tells what each
    busy worker answered: its message, Died or TimedOut."""
    busy = [worker for worker in workers if worker.busy]
    ends = min((worker.since for worker in busy), default=math.inf) + timeout if timeout else math.inf
    left = max(0.0, ends - time.monotonic()) if math.isfinite(ends) else None
    ready = wait([*(w.pipe for w in busy), *(w.process.sentinel for w in busy), *others], left)
    for worker in busy:
        if worker.pipe in ready:
            yield from _received(worker)
        elif worker.process.sentinel in ready:
            yield worker, _ended(worker, death(worker.process))
        elif timeout and time.monotonic() - worker.since >= timeout:
            yield worker, _ended(worker, TimedOut())


def _received(worker: Worker) -> Iterator[tuple[Worker, Any]]:
    try:
        message = worker.pipe.recv()
    except (EOFError, OSError):
        yield worker, _ended(worker, death(worker.process))
        return
    if worker.ready:
        yield worker, _ended(worker, message)
    else:
        worker.ready, worker.since = True, time.monotonic()


def _ended(worker: Worker, outcome: R) -> R:
    worker.busy, worker.done = False, worker.done + 1
    return outcome


def death(process: BaseProcess) -> Died:
    """How a process that is ending ended."""
    process.join(GRACE)  # before that there is no exit code
    return Died(process.exitcode)


def resident_bytes(pid: int | None) -> int:
    """Memory of a process that is in RAM; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16
"""Pieces handed to a worker at once: fewer messages, and the workers still end at nearly the same time."""
FEW = 64
"""Pieces up to which no other process is worth its start, where each takes milliseconds."""


def spread(
    items: Sequence[Item],
    make_handler: Callable[..., Callable[[Item], Result]],
    arguments: tuple[Any, ...],
    *,
    workers: int,
    slow: bool = False,
    fetch: Callable[[Item], None] | None = None,
) -> Iterator[tuple[Item, Result | None]]:
    """(item, result) as they come; the result is None for an item that a worker did not survive.

    make_handler: makes the function that does one item from `arguments`, in each process once; it and the items travel to the workers.
    workers: processes; 0 = one a core. slow: an item takes a second or so, rather than milliseconds. fetch: a worker calls it with the next
    item before it does one, so that what that needs of the disk is there in time.
    """
    size = 1 if slow else CHUNK
    count = min(workers or usable_cores(), -(-len(items) // size))
    if count <= 1 or (len(items) <= FEW and not slow):
        handle = make_handler(*arguments)
        yield from ((item, handle(item)) for item in items)
        return
    chunks = [tuple(items[start : start + size]) for start in range(0, len(items), size)]
    lost: list[tuple[Item, ...]] = []
    for chunk, results in run_in_processes(chunks, _chunk_handler, (make_handler, arguments, fetch), count=count):
        if isinstance(results, Died | TimedOut):
            lost += [(item,) for item in chunk]
        else:
            yield from zip(chunk, results, strict=True)
    # Of a chunk that was lost one item is to blame: each is tried again by itself.
    for (item,), results in run_in_processes(lost, _chunk_handler, (make_handler, arguments, fetch), count=count):
        yield item, None if isinstance(results, Died | TimedOut) else results[0]


def _chunk_handler(
    make_handler: Callable[..., Callable[[Item], Result]], arguments: tuple[Any, ...], fetch: Callable[[Item], None] | None
) -> Callable[[Sequence[Item]], list[Result]]:
    handle = make_handler(*arguments)

    def handle_all(chunk: Sequence[Item]) -> list[Result]:
        results = []
        for number, item in enumerate(chunk, 1):
            if fetch and number < len(chunk):
                fetch(chunk[number])
            results.append(handle(item))
        return results

    return handle_all
