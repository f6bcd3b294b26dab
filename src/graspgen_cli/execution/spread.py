"""Which objects a run does, and what does them: shards of a list, and executors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from graspgen_cli.execution.engines import Engine
from graspgen_cli.execution.object_run import ObjectTask
from graspgen_cli.execution.ownership import object_lock
from graspgen_cli.execution.pool import run_tasks
from graspgen_cli.execution.reports import ObjectReport, Status
from graspgen_cli.records import Gripper
from graspgen_cli.settings.models import ExecutionSettings, Executor


def is_mine(object_id: str, shard: str | None) -> bool:
    """Whether an object is of the shard ``i/n``: by a hash of its id, so that each object is of just one shard and stays there however
    the list grows. Without a shard, every object is."""
    if shard is None:
        return True
    number, _, count = shard.partition("/")
    return int.from_bytes(hashlib.sha256(object_id.encode()).digest()[:8], "big") % int(count) == int(number)


def spread_tasks(
    tasks: Sequence[ObjectTask],
    gripper: Gripper,
    engine: Engine,
    settings: ExecutionSettings,
    *,
    on_report: Callable[[ObjectReport], None],
) -> list[ObjectReport]:
    """Does all tasks and returns their reports in the order of the tasks; `on_report` sees them as they come. What a task makes does
    not depend on where it is done, or in which order. Objects that another run has in hand are looked at again when it is done with
    them.

    Raises InputError or SettingsError where the executor or the engine's device cannot be used.
    """
    by_id: dict[str, ObjectReport] = {}
    remaining = list(tasks)
    while remaining:
        busy = []
        for task, report in _executed(remaining, gripper, engine, settings):
            if report.status is Status.BUSY:
                busy.append(task)
                continue
            by_id[task.object_id] = report
            on_report(report)
        remaining = busy
        if busy:
            with object_lock(busy[0].paths, busy[0].object_id, wait=True):
                pass
    return [by_id[task.object_id] for task in tasks]


def _executed(
    tasks: Sequence[ObjectTask], gripper: Gripper, engine: Engine, settings: ExecutionSettings
) -> Iterator[tuple[ObjectTask, ObjectReport]]:
    if settings.executor is Executor.LOCAL:
        return run_tasks(tasks, gripper, engine, settings)
    from graspgen_cli.execution.cluster import run_on_ray

    return run_on_ray(tasks, gripper, engine, settings)
