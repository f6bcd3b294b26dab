"""Which engine simulates, on which devices: decided once a run, in the process that starts it, which never loads the engine itself."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graspgen_cli.errors import SettingsError
from graspgen_cli.running.machine import DISTRIBUTION
from graspgen_cli.settings.models import BackendName, BackendSettings, Executor
from graspgen_cli.validate.engine import BACKENDS

FIRST_GPU = "cuda:0"
NEEDS = {BackendName.MUJOCO_WARP: ("mujoco_warp", "gpu"), BackendName.ISAACLAB: ("isaaclab", "isaaclab")}
"""The package that an engine needs, and the extra that brings it."""

ON_DEVICES = frozenset({BackendName.MUJOCO_WARP.value, BackendName.ISAACLAB.value})
"""Engines that get the grasps of many objects at once, in a process for each device (see `running.devices`)."""


@dataclass(frozen=True)
class Engine:
    """The engine of a run.

    name: as in BACKENDS and in the provenance. devices: one simulator process for each; empty for an engine that runs inside each
    worker.
    """

    name: str
    devices: tuple[str, ...] = ()


def choose_engine(settings: BackendSettings, *, executor: Executor = Executor.LOCAL) -> Engine:
    """The engine that the settings ask for. Raises SettingsError where it cannot be had here.

    With Ray the GPUs are those of other machines, so that an engine asked for by name need not find one here.
    """
    name = settings.backend
    if name is BackendName.AUTO:
        there = BackendName.MUJOCO_WARP in BACKENDS and _is_installed("mujoco_warp") and bool(gpus())
        name = BackendName.MUJOCO_WARP if there else BackendName.MUJOCO
    if name not in BACKENDS:
        raise SettingsError(f"--backend {name}: there is auto, {', '.join(BACKENDS)}")
    if name in NEEDS and not _is_installed(NEEDS[name][0]):
        module, extra = NEEDS[name]
        raise SettingsError(f"--backend {name} needs {module}, which is not installed; run `pip install '{DISTRIBUTION}[{extra}]'`")
    if name not in ON_DEVICES:
        return Engine(name.value)
    devices = _devices(settings)
    lacking = executor is Executor.LOCAL and not gpus()
    if lacking and any(device.startswith("cuda") for device in devices):
        raise SettingsError(f"--backend {name}: this machine shows no NVIDIA GPU; take --backend mujoco, or see `graspgen doctor`")
    return Engine(name.value, devices)


def _devices(settings: BackendSettings) -> tuple[str, ...]:
    named = settings.devices or settings.device or FIRST_GPU
    devices = tuple(device.strip() for device in named.split(","))
    if "" in devices or len(set(devices)) < len(devices):
        raise SettingsError(f"--devices {named}: give the names of different devices, such as cuda:0,cuda:1")
    return devices


def gpus(*, folder: Path = Path("/dev"), environ: Mapping[str, str] = os.environ) -> list[str]:
    """The NVIDIA GPUs that this process may use, by the files of their driver: the driver itself would tie the process to a GPU."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return []
    return sorted(path.name for path in folder.glob("nvidia[0-9]*")) or [path.name for path in folder.glob("dxg")]


def _is_installed(module: str) -> bool:
    """Whether a top-level module could be imported; it is not."""
    return importlib.util.find_spec(module) is not None
