"""Which engine a run takes, and what the machine and its container allow."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from graspgen_cli.errors import SettingsError
from graspgen_cli.running import engines
from graspgen_cli.running.engines import Engine, choose_engine, gpus
from graspgen_cli.running.machine import container_cores, slurm_cores, usable_cores
from graspgen_cli.settings.runs import BackendSettings, ExecutionSettings, Executor

WARP = BackendSettings(backend="mujoco-warp")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with a GPU on which mujoco-warp is installed."""
    monkeypatch.setattr(engines, "_is_installed", lambda module: True)
    monkeypatch.setattr(engines, "gpus", lambda: ["nvidia0"])
    return monkeypatch


@pytest.mark.usefixtures("machine")
def test_auto_takes_the_gpu_where_there_is_one() -> None:
    assert choose_engine(BackendSettings()) == Engine("mujoco-warp", ("cuda:0",))
    assert choose_engine(BackendSettings(backend="mujoco")) == Engine("mujoco")
    assert choose_engine(BackendSettings(device="cuda:3")).devices == ("cuda:3",)
    assert choose_engine(BackendSettings(devices="cuda:0, cuda:2")).devices == ("cuda:0", "cuda:2")


def test_auto_does_without(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(engines, "gpus", list)
    assert choose_engine(BackendSettings()) == Engine("mujoco")
    with pytest.raises(SettingsError, match="--backend mujoco-warp: this machine shows no NVIDIA GPU; take --backend mujoco"):
        choose_engine(WARP)
    assert choose_engine(WARP, ExecutionSettings(executor=Executor.RAY)) == Engine("mujoco-warp", ("cuda:0",))
    machine.setattr(engines, "gpus", lambda: ["nvidia0"])
    machine.setattr(engines, "_is_installed", lambda module: False)
    assert choose_engine(BackendSettings()) == Engine("mujoco")
    with pytest.raises(SettingsError, match=r"needs mujoco_warp, which is not installed; run `pip install 'graspgen-cli\[gpu\]'`"):
        choose_engine(WARP)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("devices", ["cuda:0,", "cuda:0,cuda:0", " "])
def test_devices_are_different_and_named(devices: str) -> None:
    with pytest.raises(SettingsError, match="give the names of different devices"):
        choose_engine(BackendSettings(devices=devices))


@pytest.mark.usefixtures("machine")
def test_isaac_lab_is_one_process_a_device() -> None:
    engine = choose_engine(BackendSettings(backend="isaaclab", headed=True), ExecutionSettings(objects_per_worker=2))
    assert engine == Engine("isaaclab", ("cuda:0",))
    assert engine.options == {"headed": True, "objects_per_worker": 2}
    assert not choose_engine(WARP).options


def test_gpus_are_found_by_their_drivers_files(tmp_path: Path) -> None:
    assert gpus(folder=tmp_path, environ={}) == []
    for name in ("nvidia1", "nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpus(folder=tmp_path, environ={}) == ["nvidia0", "nvidia1"]
    assert gpus(folder=tmp_path, environ={"CUDA_VISIBLE_DEVICES": "1"}) == ["nvidia0", "nvidia1"]
    assert (
        gpus(folder=tmp_path, environ={"CUDA_VISIBLE_DEVICES": ""}) == gpus(folder=tmp_path, environ={"CUDA_VISIBLE_DEVICES": "-1"}) == []
    )


def test_choosing_an_engine_does_not_load_it() -> None:
    code = (
        "import sys\n"
        "from graspgen_cli.running.engines import choose_engine\n"
        "from graspgen_cli.settings.runs import BackendSettings\n"
        "from graspgen_cli.running import engines\n"
        "engines.gpus = lambda: ['nvidia0']\n"
        "engines._is_installed = lambda module: True\n"
        "assert choose_engine(BackendSettings()).devices == ('cuda:0',)\n"
        "print({'warp', 'mujoco_warp', 'torch', 'ray', 'isaaclab'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu.max": "nonsense"}, math.inf),
        ({}, math.inf),
    ],
)
def test_a_container_allows_so_many_cores(files: dict[str, str], cores: float, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert container_cores(tmp_path) == cores


def test_a_container_of_less_than_a_core_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr("graspgen_cli.running.machine.CONTROL_GROUPS", tmp_path)
    assert usable_cores() == 1


@pytest.mark.parametrize(
    ("environment", "cores"),
    [
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "16"}, 4.0),  # sbatch --ntasks=4 --cpus-per-task=4
        ({"SLURM_CPUS_ON_NODE": "16"}, 16.0),  # sbatch --exclusive
        ({"SLURM_CPUS_ON_NODE": "nonsense"}, math.inf),
        ({}, math.inf),
    ],
)
def test_slurm_gives_so_many_cores(environment: dict[str, str], cores: float) -> None:
    assert slurm_cores(environment) == cores


def test_a_task_of_slurm_takes_no_more_cores_than_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr("graspgen_cli.running.machine.CONTROL_GROUPS", Path("/nowhere"))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "16")
    assert usable_cores() == 16
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "128")  # asked for on a node that is smaller
    assert usable_cores() == 64
