"""A run on a Ray cluster, all of whose nodes have the dataset and the meshes under the same paths.

A Ray task is one object or, for an engine on devices, a list of objects for one GPU. Ray repeats the tasks of a node that dies: finished
objects are skipped, and the locks of a dead process are free.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from graspgen_cli.errors import GraspgenError, InputError, SettingsError, install_command, one_line
from graspgen_cli.making.make_object import failure_report
from graspgen_cli.making.reports import ObjectReport
from graspgen_cli.making.task import ObjectTask
from graspgen_cli.records import Gripper
from graspgen_cli.running.engines import FIRST_GPU, Engine
from graspgen_cli.running.pool import run_tasks
from graspgen_cli.settings.runs import ExecutionSettings, Executor

TIMEOUT = 10.0
"""s for the connection to the cluster."""
MOST_RETRIES = 5
"""Times that Ray repeats a task whose process or node dies."""
TASKS_AHEAD = 2
"""Tasks submitted for each core or GPU of the cluster."""
LISTS_A_GPU, SHORTEST_LIST, LONGEST_LIST = 4, 64, 1000
"""Lists for each GPU, so that all GPUs end at about the same time; objects of the shortest list, since each list starts processes; and of
the longest."""

Reports = list[tuple[ObjectTask, ObjectReport]]


def run_on_ray(
    tasks: Sequence[ObjectTask], gripper: Gripper, engine: Engine, settings: ExecutionSettings
) -> Iterator[tuple[ObjectTask, ObjectReport]]:
    """Does all tasks on the cluster and yields each with its report, in the order of completion.

    Raises SettingsError if Ray is not installed, InputError if the cluster does not answer or lacks the devices of the engine.
    """
    ray = _connected(settings.ray_address)
    try:
        need, lists = plan(tasks, engine, settings, ray.cluster_resources())
        slots = TASKS_AHEAD * max(1, int(ray.cluster_resources().get("GPU" if "num_gpus" in need else "CPU", 1)))
        do = ray.remote(max_retries=MOST_RETRIES, **need)(_do)
        on_node = settings.model_copy(update={"executor": Executor.LOCAL, "workers": workers(settings, need)})
        node_engine = replace(engine, devices=(FIRST_GPU,) if engine.devices else ())
        shared = ray.put((gripper, node_engine, on_node))
        waiting, running = list(reversed(lists)), dict[Any, list[ObjectTask]]()
        while waiting or running:
            while waiting and len(running) < slots:
                chosen = waiting.pop()
                running[do.remote(chosen, shared)] = chosen
            for reference in ray.wait(list(running))[0]:
                yield from _results(ray, reference, running.pop(reference))
    finally:
        ray.shutdown()


def _connected(address: str | None) -> Any:
    try:
        import ray
    except ImportError:
        raise SettingsError(f"--executor ray needs ray, which is not installed; run {install_command('ray')}") from None
    try:
        _require_listener(address or "")
        with _own_termination():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = address or "this machine"
        raise InputError(f"--ray-address {where}: no Ray cluster can be reached ({one_line(error)}); see `ray status`") from error
    return ray


@contextlib.contextmanager
def _own_termination() -> Iterator[None]:
    """Restores the SIGTERM handler that Ray replaces: Ray's own prints a stack trace and exits with another code."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _require_listener(address: str) -> None:
    """Raises OSError if host:port refuses a connection. Ray itself would retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=TIMEOUT).close()


def plan(
    tasks: Sequence[ObjectTask], engine: Engine, settings: ExecutionSettings, resources: dict[str, float]
) -> tuple[dict[str, int], list[list[ObjectTask]]]:
    """The resources of each Ray task, and its objects."""
    if not engine.devices:
        return {"num_cpus": 1}, [[task] for task in tasks]
    gpus = int(resources.get("GPU", 0))
    if not gpus:
        raise InputError(f"--backend {engine.name}: the Ray cluster has no GPU; add a node with one, or take --backend mujoco")
    shortest = min(SHORTEST_LIST, math.ceil(len(tasks) / gpus))
    length = min(LONGEST_LIST, max(shortest, math.ceil(len(tasks) / (LISTS_A_GPU * gpus))))
    cpus = settings.workers or max(1, int(resources.get("CPU", 1)) // gpus)
    return {"num_cpus": cpus, "num_gpus": 1}, [list(tasks[i : i + length]) for i in range(0, len(tasks), length)]


def workers(settings: ExecutionSettings, need: dict[str, int]) -> int:
    """Worker processes of a Ray task: a core each, less one for the simulator of a GPU."""
    return settings.workers or max(1, need["num_cpus"] - need.get("num_gpus", 0))


def _do(tasks: list[ObjectTask], shared: tuple[Gripper, Engine, ExecutionSettings]) -> Reports:
    """Does tasks on a node. The first GPU that a Ray task sees is its own."""
    gripper, engine, settings = shared
    return list(run_tasks(tasks, gripper, engine, settings))


def _results(ray: Any, reference: Any, tasks: list[ObjectTask]) -> Reports:
    try:
        return list(ray.get(reference))
    except ray.exceptions.RayError as error:
        return [(task, failure_report(task, f"{task.object_id}: {_why(error)}; run again")) for task in tasks]


def _why(error: Exception) -> str:
    """The cause of a failed task, without Ray's traceback."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, GraspgenError):
        return f"{one_line(cause, 1000)} (from a node of the Ray cluster)"
    return f"lost on the Ray cluster ({f'{type(cause).__name__}: {one_line(cause)}'[:200]})"
