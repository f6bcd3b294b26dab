"""Which engine a run takes, and what the machine and its container allow."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from graspgen_cli.errors import SettingsError
from graspgen_cli.running.engines import Engine, choose_engine, gpus
from graspgen_cli.running.machine import container_cores, slurm_cores, usable_cores
from graspgen_cli.settings.runs import BackendSettings, ExecutionSettings, Executor
from graspgen_cli.tables import ENGINES, EngineRow

WARP = BackendSettings(backend="mujoco-warp")


THERE = EngineRow(place="no_such_engine:Engine", module="json", first_device="cpu:0", preferred=True)
"""An engine whose module is installed and whose device is no GPU."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[EngineRow], None]:
    """Puts a row in the place of mujoco-warp's, on a machine that hides its GPUs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return partial(monkeypatch.setitem, ENGINES, "mujoco-warp")


def test_auto_takes_an_engine_that_is_preferred_where_it_can_run(engine: Callable[[EngineRow], None]) -> None:
    engine(THERE)
    assert choose_engine(BackendSettings()) == Engine("mujoco-warp", ("cpu:0",))
    assert choose_engine(BackendSettings(backend="mujoco")) == Engine("mujoco")
    assert choose_engine(BackendSettings(device="cpu:3")).devices == ("cpu:3",)
    assert choose_engine(BackendSettings(devices="cpu:0, cpu:2")).devices == ("cpu:0", "cpu:2")
    for row in (replace(THERE, first_device="cuda:0"), replace(THERE, module="no_such_engine"), replace(THERE, preferred=False)):
        engine(row)
        assert choose_engine(BackendSettings()) == Engine("mujoco")


def test_an_engine_that_is_asked_for_and_cannot_run_is_one_line(engine: Callable[[EngineRow], None]) -> None:
    engine(replace(THERE, first_device="cuda:0"))
    with pytest.raises(SettingsError, match="--backend mujoco-warp: this machine shows no NVIDIA GPU; take --backend mujoco"):
        choose_engine(WARP)
    assert choose_engine(WARP, ExecutionSettings(executor=Executor.RAY)) == Engine("mujoco-warp", ("cuda:0",))
    engine(replace(THERE, module="no_such_engine", extra="gpu"))
    with pytest.raises(SettingsError, match=r"needs no_such_engine, which is not installed; run `pip install "):
        choose_engine(WARP)


@pytest.mark.parametrize("devices", ["cpu:0,", "cpu:0,cpu:0", " "])
def test_devices_are_different_and_named(devices: str, engine: Callable[[EngineRow], None]) -> None:
    engine(THERE)
    with pytest.raises(SettingsError, match="give the names of different devices"):
        choose_engine(BackendSettings(devices=devices))


def test_an_engine_may_run_in_the_workers_or_on_named_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    row = EngineRow(place="no_such_engine:Engine", module="json", takes_devices=True, options=("backend", "objects_per_worker"))
    monkeypatch.setitem(ENGINES, "physx", row)
    assert choose_engine(BackendSettings(backend="physx")) == Engine("physx")
    engine = choose_engine(BackendSettings(backend="physx", device="cpu"), ExecutionSettings(objects_per_worker=2))
    assert engine == Engine("physx", ("cpu",))
    assert engine.options == {"backend": "physx", "objects_per_worker": 2}
    assert not choose_engine(BackendSettings(backend="mujoco")).options


def test_an_old_mujoco_over_mujoco_core_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of installed packages alone says so: the package itself may fail at its import."""
    (tmp_path / "mujoco-3.17.0.dist-info").mkdir()
    (tmp_path / "mujoco-3.17.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mujoco\nVersion: 3.17.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match=r"mujoco 3\.17\.0 overwrites files of mujoco-core; run `pip uninstall .*mujoco-core"):
        choose_engine(BackendSettings())


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
        "from graspgen_cli.errors import SettingsError\n"
        "from graspgen_cli.running.engines import choose_engine\n"
        "from graspgen_cli.settings.runs import BackendSettings\n"
        "from graspgen_cli.tables import ENGINES\n"
        "for name in ENGINES:\n"
        "    try:\n"
        "        choose_engine(BackendSettings(backend=name, device='cpu'))\n"
        "    except SettingsError:\n"
        "        pass\n"
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


def test_there_is_a_core_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "0")
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


def test_a_task_of_slurm_takes_no_more_cores_than_it_was_given_nor_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    there = usable_cores()
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert usable_cores() == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", str(10 * there))  # asked for on a node that is smaller
    assert usable_cores() == there
