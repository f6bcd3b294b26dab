"""Worker processes: whatever happens to one costs its task and no more."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from graspgen_cli.running.processes import Died, Lifetime, TimedOut, run_in_processes


def handler(offset: int) -> Callable[[int], int]:
    """Adds; 13 kills its process, 17 hangs, 19 is slow."""

    def work(task: int) -> int:
        if task == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        if task in (17, 19):
            time.sleep(60 if task == 17 else 0.3)
        return task + offset

    return work


def pids(_: int) -> Callable[[int], int]:
    return lambda task: os.getpid()


def test_every_task_has_its_result() -> None:
    assert dict(run_in_processes(range(20, 40), handler, (5,), count=3)) == {n: n + 5 for n in range(20, 40)}


def test_no_tasks_no_processes() -> None:
    assert list(run_in_processes([], handler, (5,), count=3)) == []


def test_a_death_costs_one_task() -> None:
    found = dict(run_in_processes([1, 13, 2, 3, 4], handler, (0,), count=2))
    assert found == {1: 1, 13: Died(-signal.SIGKILL), 2: 2, 3: 3, 4: 4}


def test_a_hang_costs_one_task_and_no_more_than_its_time() -> None:
    began = time.monotonic()
    found = dict(run_in_processes([1, 17, 2, 19], handler, (0,), count=1, timeout=1.0))
    assert found == {1: 1, 17: TimedOut(), 2: 2, 19: 19}
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_workers_are_replaced_after_their_share() -> None:
    found = dict(run_in_processes(range(6), pids, (0,), count=1, lifetime=Lifetime(tasks=2)))
    assert len(set(found.values())) == 3
    assert len(set(dict(run_in_processes(range(6), pids, (0,), count=1)).values())) == 1


def test_a_caller_that_stops_early_stops_the_workers() -> None:
    began = time.monotonic()
    results = run_in_processes([19, 17, 17], handler, (0,), count=2)
    assert next(results) == (19, 19)
    results.close()
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_workers_killed_at_any_moment_never_stop_the_run() -> None:
    """Killed just when they send their results, which is when shared queues would break."""
    tasks = [19] * 12
    started = []
    for task, result in run_in_processes(tasks, handler, (0,), count=2):
        started.append(result)
        if len(started) in (2, 5, 8):
            me = os.getpid()
            children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
            workers = [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
            os.kill(workers[0], signal.SIGKILL)
        assert task == 19
    assert len(started) == 12
    assert sum(isinstance(result, Died) for result in started) <= 3
