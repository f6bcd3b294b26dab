"""Simulators that get ready while the command does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trimesh

import fake_simulator
from graspgen_cli.app import main
from graspgen_cli.making.reports import Phase
from graspgen_cli.running import engines
from graspgen_cli.running.devices import Loaded
from graspgen_cli.running.standby import Standby, ready_engine, start_simulator
from graspgen_cli.settings.commands import GraspCommand
from graspgen_cli.validate.engine import BACKENDS

TWO = GraspCommand.model_validate({"backend": "mujoco", "devices": "cpu:0,cpu:1"})


@pytest.fixture(autouse=True)
def batch_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """`mujoco` is an engine that tries many objects at once."""
    monkeypatch.setitem(BACKENDS, "mujoco", fake_simulator.PLACE)
    monkeypatch.setattr(engines, "ON_DEVICES", {"mujoco"})


def test_each_device_has_a_process_that_waits_to_be_told_of_the_gripper() -> None:
    with ready_engine(TWO, Phase.ALL) as engine:
        assert isinstance(engine.standby, Standby)
        taken = engine.standby.take("cpu:1")
        assert taken is not None and engine.standby.take("cpu:1") is None
        process, pipe = taken
        assert isinstance(pipe.recv(), Loaded)
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == [process]  # who takes one has to end it
    pipe.close()
    process.join(20)
    assert process.exitcode == 0


def test_they_end_with_a_run_that_fails() -> None:
    with pytest.raises(RuntimeError, match="no mesh"), ready_engine(TWO, Phase.VALIDATE):
        assert len(multiprocessing.active_children()) == 2
        raise RuntimeError("no mesh")
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("settings", "phase"),
    [({}, Phase.GUESS), ({"guess_only": True}, Phase.ALL), ({"executor": "ray", "ray_address": "head:6379"}, Phase.ALL)],
)
def test_there_are_none_where_nothing_is_simulated_here(settings: dict[str, object], phase: Phase) -> None:
    with ready_engine(TWO.model_copy(update=GraspCommand.model_validate(settings).model_dump(include=set(settings))), phase) as engine:
        assert engine.devices == ("cpu:0", "cpu:1")
        assert not multiprocessing.active_children()


def command(folder: Path) -> list[str]:
    trimesh.creation.box((0.03, 0.03, 0.04)).export(folder / "box.obj")
    (folder / "list.json").write_text('{"box.obj": 1.0}')
    where = ["--object-scales-json", str(folder / "list.json"), "--object-dataset", str(folder), "--grasp-dataset", str(folder / "out")]
    quotas = ["--num-collision-free-grasps", "2", "--num-colliding-grasps", "1", "--fps", "100", "--workers", "1"]
    return ["all", *where, *quotas, "--gripper-config", "franka_panda", "--quiet", "--backend", "mujoco", "--device", "cpu"]


def test_a_run_takes_them_and_leaves_none_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr("graspgen_cli.running.devices.start_simulator", lambda *args: started.append(args))
    assert main(command(tmp_path)) == 0
    assert started == [] and not multiprocessing.active_children()


def test_an_engine_that_cannot_be_imported_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(BACKENDS, "mujoco-warp", "no_such_engine:Engine")
    monkeypatch.setattr(engines, "ON_DEVICES", {"mujoco-warp"})
    monkeypatch.setattr(engines, "_is_installed", lambda module: True)
    assert main([*command(tmp_path), "--backend", "mujoco-warp", "--do-not-run-controls"]) == 3
    assert capsys.readouterr().err == (
        "graspgen: --backend mujoco-warp on cpu: unexpected ModuleNotFoundError: No module named 'no_such_engine'\n"
    )


def test_one_that_was_killed_while_it_waited_ends_the_run_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(engine: str, device: str) -> object:
        process, pipe = start_simulator(engine, device)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        return process, pipe

    monkeypatch.setattr("graspgen_cli.running.standby.start_simulator", killed)
    assert main([*command(tmp_path), "--do-not-run-controls"]) == 3
    assert capsys.readouterr().err == "graspgen: --backend mujoco on cpu: its process ended with code -9 before it was ready\n"


def test_nothing_heavy_is_imported_before_they_are_started() -> None:
    code = (
        "import sys\n"
        "import graspgen_cli.commands.objects, graspgen_cli.commands.all_\n"
        "import graspgen_cli.running.standby\n"
        "print({'scipy', 'trimesh', 'mujoco', 'warp', 'mujoco_warp', 'embreex'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
