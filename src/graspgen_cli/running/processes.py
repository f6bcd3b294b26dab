"""Worker processes, each with a pipe of its own.

Process pools that share queues, such as the standard library's, hang when a worker dies while it holds the lock of a queue. Workers here
share nothing: the death of a worker costs the task that it was doing.
"""

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
from graspgen_cli.validate.engine import Counter

Task = TypeVar("Task")
Result = TypeVar("Result")

# Processes are spawned, since threads of the engines do not survive a fork.
SPAWN = multiprocessing.get_context("spawn")
GRACE = 5.0
"""s that a process gets to end by itself."""
MEGABYTE = 1 << 20
CHUNK = 16
"""Short tasks that a worker gets in one message: few enough that all workers end at nearly the same time."""
FEW = 64
"""Up to this number, short tasks (milliseconds each) take less time than the start of a process, and run in this one."""


@dataclass(frozen=True)
class Died:
    """The worker ended during its task. exitcode: of the process; the negative number of the signal that killed it."""

    exitcode: int | None


@dataclass(frozen=True)
class TimedOut:
    """The task exceeded its time limit, and its worker was killed."""


@dataclass(frozen=True)
class Lifetime:
    """When a new worker replaces an old one, which bounds memory leaks. tasks: number done; memory: MB resident; 0: no limit."""

    tasks: int = 0
    memory: int = 0


@dataclass(eq=False)
class Worker:
    """A process that answers each message with one message. It reads before it writes, so neither end of the pipe blocks the other.

    busy: whether a message is unanswered. ready: whether the handler is made. since: time at which the current task began, s of the
    monotonic clock; infinite until the worker is ready, so that its start counts for no task. done: number of messages answered.
    """

    process: BaseProcess
    pipe: Connection
    busy: bool = False
    ready: bool = False
    since: float = math.inf
    done: int = 0

    def give(self, message: object) -> None:
        """Sends a message to an idle worker. If the worker is dead, `answers` reports that as the answer."""
        self.busy, self.since = True, time.monotonic() if self.ready else math.inf
        with contextlib.suppress(OSError):
            self.pipe.send(message)

    def is_due(self, lifetime: Lifetime, tasks: int) -> bool:
        """Whether the worker has reached its lifetime after this number of tasks; a worker does at least one."""
        too_large = 0 < lifetime.memory * MEGABYTE < resident_bytes(self.process.pid)
        return tasks > 0 and (too_large or 0 < lifetime.tasks <= tasks)

    def dismiss(self) -> None:
        """Lets an idle worker end by itself, and ends it if it does not."""
        self.pipe.close()
        self.process.join(GRACE)
        self.stop()

    def stop(self) -> None:
        """Kills the worker."""
        stop_process(self.process, self.pipe)


def run_in_processes(
    tasks: Sequence[Task],
    make_handler: Callable[..., Callable[[Task], Result]],
    arguments: tuple[Any, ...],
    *,
    count: int,
    timeout: float = 0.0,
    lifetime: Lifetime | None = None,
    busy: Counter | None = None,
) -> Iterator[tuple[Task, Result | Died | TimedOut]]:
    """Does every task on `count` worker processes and yields (task, result) in the order of completion.

    A worker calls `make_handler(*arguments)` once, then the handler for each of its tasks. timeout: s for one task, 0 for no limit; a
    worker that exceeds it is killed. busy: in shared memory; holds the number of workers with a task. Closing the iterator kills the
    workers.
    """
    waiting, current, life = deque(tasks), dict[Worker, Task](), lifetime or Lifetime()
    workers: list[Worker] = []
    try:
        while waiting or current:
            while len(workers) < min(count, len(current) + len(waiting)):
                workers.append(start_worker(make_handler, arguments))
            for worker in workers:
                if not worker.busy and waiting:
                    current[worker] = waiting.popleft()
                    worker.give(current[worker])
            if busy is not None:
                busy.value = len(current)
            for worker, result in answers(workers, timeout):
                if isinstance(result, Died | TimedOut) or worker.is_due(life, worker.done):
                    worker.stop()
                    workers.remove(worker)
                yield current.pop(worker), result
        for worker in workers:
            worker.dismiss()
    finally:
        for worker in workers:
            worker.stop()


def run_in_chunks(
    tasks: Sequence[Task],
    make_handler: Callable[..., Callable[[Task], Result]],
    arguments: tuple[Any, ...],
    *,
    workers: int,
    slow: bool = False,
    fetch: Callable[[Task], None] | None = None,
) -> Iterator[tuple[Task, Result | None]]:
    """Does many short tasks and yields (task, result) in the order of completion; the result is None if the task kills its worker.

    make_handler, arguments: as in `run_in_processes`. workers: number of processes; 0: one for each core. slow: whether a task takes
    about a second rather than milliseconds. fetch: called with the next task before the current one is done, to read files ahead.
    """
    size = 1 if slow else CHUNK
    count = min(workers or usable_cores(), -(-len(tasks) // size))
    if count <= 1 or (len(tasks) <= FEW and not slow):
        handle = make_handler(*arguments)
        yield from ((task, handle(task)) for task in tasks)
        return
    chunks = [tuple(tasks[start : start + size]) for start in range(0, len(tasks), size)]
    lost: list[tuple[Task, ...]] = []
    for chunk, results in run_in_processes(chunks, _chunk_handler, (make_handler, arguments, fetch), count=count):
        if isinstance(results, Died | TimedOut):
            lost += [(task,) for task in chunk]
        else:
            yield from zip(chunk, results, strict=True)
    # One task of a lost chunk is the cause: each task of the chunk runs again alone.
    for (task,), results in run_in_processes(lost, _chunk_handler, (make_handler, arguments, fetch), count=count):
        yield task, None if isinstance(results, Died | TimedOut) else results[0]


def _chunk_handler(
    make_handler: Callable[..., Callable[[Task], Result]], arguments: tuple[Any, ...], fetch: Callable[[Task], None] | None
) -> Callable[[Sequence[Task]], list[Result]]:
    handle = make_handler(*arguments)

    def handle_all(chunk: Sequence[Task]) -> list[Result]:
        results = []
        for number, task in enumerate(chunk, 1):
            if fetch and number < len(chunk):
                fetch(chunk[number])
            results.append(handle(task))
        return results

    return handle_all


def start_worker(make_handler: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> Worker:
    """A new worker that passes its messages to `make_handler(*arguments)`."""
    return Worker(*start_process(_serve, (make_handler, arguments)))


def start_process(serve: Callable[..., None], arguments: tuple[Any, ...]) -> tuple[BaseProcess, Connection]:
    """A new process that runs `serve(pipe, *arguments)`, and this end of its pipe."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=serve, args=(theirs, *arguments), daemon=True)
    # The start of the resource tracker unblocks signals, so it has to come first.
    resource_tracker.ensure_running()
    # A terminal sends Ctrl-C to all its processes, but only the parent reacts: a process inherits the blocked signal.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return process, ours


def stop_process(process: BaseProcess, pipe: Connection) -> None:
    """Kills a process and closes its pipe."""
    pipe.close()
    if process.is_alive():
        process.kill()
    process.join()


def _serve(pipe: Connection, make_handler: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """The main function of a worker, which returns when the other end of the pipe is closed."""
    handler = make_handler(*arguments)
    gc.freeze()  # The garbage collector skips the imported modules from here on.
    with contextlib.suppress(EOFError, OSError):
        pipe.send(None)  # ready
        while True:
            pipe.send(handler(pipe.recv()))


def answers(workers: Iterable[Worker], timeout: float, *, others: Sequence[Connection | int] = ()) -> Iterator[tuple[Worker, Any]]:
    """Waits for an event of a busy worker or of the other pipes and processes, and yields the answers of busy workers: a message, Died or
    TimedOut."""
    busy = [worker for worker in workers if worker.busy]
    ends = min((worker.since for worker in busy), default=math.inf) + timeout if timeout else math.inf
    left = max(0.0, ends - time.monotonic()) if math.isfinite(ends) else None
    events = wait([*(w.pipe for w in busy), *(w.process.sentinel for w in busy), *others], left)
    for worker in busy:
        if worker.pipe in events:
            yield from _received(worker)
        elif worker.process.sentinel in events:
            yield worker, _idle_again(worker, death(worker.process))
        elif timeout and time.monotonic() - worker.since >= timeout:
            yield worker, _idle_again(worker, TimedOut())


def _received(worker: Worker) -> Iterator[tuple[Worker, Any]]:
    try:
        message = worker.pipe.recv()
    except (EOFError, OSError):
        yield worker, _idle_again(worker, death(worker.process))
        return
    if worker.ready:
        yield worker, _idle_again(worker, message)
    else:
        worker.ready, worker.since = True, time.monotonic()


def _idle_again(worker: Worker, answer: Result) -> Result:
    worker.busy, worker.done = False, worker.done + 1
    return answer


def death(process: BaseProcess) -> Died:
    """How a process ended."""
    process.join(GRACE)  # The exit code is unknown before.
    return Died(process.exitcode)


def resident_bytes(pid: int | None) -> int:
    """Resident memory of a process, bytes; 0 on a system without /proc."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
