"""The choice of the engine and its devices, once for each run and without an import of the engine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graspgen_cli.errors import SettingsError, install_command
from graspgen_cli.running.machine import mujoco_conflict
from graspgen_cli.settings.runs import AUTO, BackendSettings, ExecutionSettings, Executor
from graspgen_cli.tables import ENGINES, REFERENCE_ENGINE, EngineRow

FIRST_GPU = "cuda:0"


@dataclass(frozen=True)
class Engine:
    """The engine of a run.

    name: its key in ENGINES. devices: each has a simulator process; empty for an engine that runs inside the workers.
    options: what the engine's `open_simulator` takes besides the device.
    """

    name: str
    devices: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, compare=False)


def choose_engine(settings: BackendSettings, execution: ExecutionSettings | None = None) -> Engine:
    """The engine of the settings. Raises SettingsError if this machine cannot run it.

    With Ray the GPUs are on other machines, so this machine needs none.
    """
    if conflict := mujoco_conflict():
        raise SettingsError(conflict)
    execution = execution or ExecutionSettings()
    name = settings.backend
    if name == AUTO:
        preferred = [each for each, row in ENGINES.items() if row.preferred and _can_run(row)]
        name = preferred[0] if preferred else REFERENCE_ENGINE
    row = ENGINES[name]
    if row.module and not _is_installed(row.module):
        advice = f"; run {install_command(row.extra)}" if row.extra else ""
        raise SettingsError(f"--backend {name} needs {row.module}, which is not installed{advice}")
    if row.first_device is None and not (row.takes_devices and (settings.device or settings.devices)):
        return Engine(name)
    devices = _devices(settings, row.first_device or "cpu")
    lacking = execution.executor is Executor.LOCAL and not gpus()
    if lacking and any(map(_is_gpu, devices)):
        raise SettingsError(
            f"--backend {name}: this machine shows no NVIDIA GPU; take --backend {REFERENCE_ENGINE}, or see `graspgen doctor`"
        )
    given = {**dict(settings), **dict(execution)}
    return Engine(name, devices, {option: given[option] for option in row.options})


def _can_run(row: EngineRow) -> bool:
    """Whether the engine's module is installed and its first device exists."""
    has_device = row.first_device is None or not _is_gpu(row.first_device) or bool(gpus())
    return (row.module is None or _is_installed(row.module)) and has_device


def _is_gpu(device: str) -> bool:
    return device.startswith("cuda")


def _devices(settings: BackendSettings, first_device: str) -> tuple[str, ...]:
    named = settings.devices or settings.device or first_device
    devices = tuple(device.strip() for device in named.split(","))
    if "" in devices or len(set(devices)) < len(devices):
        raise SettingsError(f"--devices {named}: give the names of different devices, such as cuda:0,cuda:1")
    return devices


def gpus(*, folder: Path = Path("/dev"), environ: Mapping[str, str] = os.environ) -> list[str]:
    """The NVIDIA GPUs that this process may use, by their device files: a call of the driver would bind the process to a GPU."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return []
    return sorted(path.name for path in folder.glob("nvidia[0-9]*")) or [path.name for path in folder.glob("dxg")]


def _is_installed(module: str) -> bool:
    """Whether a top-level module is installed; it is not imported."""
    return importlib.util.find_spec(module) is not None
