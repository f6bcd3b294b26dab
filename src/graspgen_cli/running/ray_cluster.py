"""A run on a Ray cluster. Every node sees the dataset and the meshes under the same paths; the head needs no more than this package.

A task of Ray's is one object or, for an engine that tries many at once, a list of objects for one GPU. Whatever happens to a node, its
tasks are done again elsewhere: objects that were finished are found finished, and the locks of a dead process are free.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from graspgen_cli.errors import GraspgenError, InputError, SettingsError
from graspgen_cli.making.make_object import ObjectTask, failure_report
from graspgen_cli.making.reports import ObjectReport
from graspgen_cli.records import Gripper
from graspgen_cli.running.engines import FIRST_GPU, Engine
from graspgen_cli.running.machine import DISTRIBUTION
from graspgen_cli.running.pool import run_tasks
from graspgen_cli.settings.models import ExecutionSettings, Executor

PATIENCE = 10.0
"""s that the cluster has to answer."""
MOST_RETRIES = 5
"""Times that a task is done again when its process or its node dies."""
TASKS_AHEAD = 2
"""Tasks handed to the cluster for each of its cores or GPUs."""
LISTS_A_GPU, SHORTEST_LIST, LONGEST_LIST = 4, 64, 1000
"""A GPU gets its objects in at least so many lists, so that all end at about the same time, but in lists no shorter than that, for each
starts its own processes, and no longer."""

Reports = list[tuple[ObjectTask, ObjectReport]]


def run_on_ray(
    tasks: Sequence[ObjectTask], gripper: Gripper, engine: Engine, settings: ExecutionSettings
) -> Iterator[tuple[ObjectTask, ObjectReport]]:
    """Does all tasks on the cluster and yields each with its report as they come.

    Raises SettingsError where Ray is not installed, InputError where the cluster cannot be reached or has not what the engine needs.
    """
    ray = _connected(settings.ray_address)
    try:
        need, lists = plan(tasks, engine, settings, ray.cluster_resources())
        slots = TASKS_AHEAD * max(1, int(ray.cluster_resources().get("GPU" if "num_gpus" in need else "CPU", 1)))
        do = ray.remote(max_retries=MOST_RETRIES, **need)(_do)
        here = settings.model_copy(update={"executor": Executor.LOCAL, "workers": workers(settings, need)})
        on_node = Engine(engine.name, (FIRST_GPU,) if engine.devices else ())
        shared = ray.put((gripper, on_node, here))
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
        raise SettingsError(f"--executor ray needs ray, which is not installed; run `pip install '{DISTRIBUTION}[ray]'`") from None
    try:
        _require_listener(address or "")
        with _own_termination():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = address or "this machine"
        raise InputError(f"--ray-address {where}: no Ray cluster can be reached ({_line(error)}); see `ray status`") from error
    return ray


@contextlib.contextmanager
def _own_termination() -> Iterator[None]:
    """Leaves SIGTERM to whom it belonged: Ray takes it, to end the process with a code of its own and a page about where it was."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _require_listener(address: str) -> None:
    """Raises OSError where nobody listens at host:port: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()


def plan(
    tasks: Sequence[ObjectTask], engine: Engine, settings: ExecutionSettings, resources: dict[str, float]
) -> tuple[dict[str, int], list[list[ObjectTask]]]:
    """What each task of Ray's asks of a node, and the objects of each."""
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
    """Worker processes of a task that asks for this; the simulator of a GPU has a core to itself, as on one machine."""
    return settings.workers or max(1, need["num_cpus"] - need.get("num_gpus", 0))


def _do(tasks: list[ObjectTask], shared: tuple[Gripper, Engine, ExecutionSettings]) -> Reports:
    """On a node: the tasks, as on a machine of their own. A GPU that Ray gives to a task is the first that the task sees."""
    gripper, engine, settings = shared
    return list(run_tasks(tasks, gripper, engine, settings))


def _results(ray: Any, reference: Any, tasks: list[ObjectTask]) -> Reports:
    try:
        return list(ray.get(reference))
    except ray.exceptions.RayError as error:
        return [(task, failure_report(task, f"{task.object_id}: {_why(error)}; run again")) for task in tasks]


def _why(error: Exception) -> str:
    """What happened to a task; an error that it raised is told without Ray's traceback."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, GraspgenError):
        return f"{_line(cause)} (said by a node of the Ray cluster)"
    return f"lost on the Ray cluster ({f'{type(cause).__name__}: {_line(cause)}'[:200]})"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
