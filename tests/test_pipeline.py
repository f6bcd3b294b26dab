"""The pipeline of workers and simulators, with an engine that stands for a GPU's: the same bytes as on the CPU, whatever fails."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import pytest
import trimesh

import fake_simulator
from graspgen_cli.app import main
from graspgen_cli.records import GraspBatch, Gripper, TargetObject
from graspgen_cli.running import devices, engines
from graspgen_cli.running.devices import BatchEnded
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.tables import ENGINES, EngineRow
from graspgen_cli.validate.engine import ObjectFailed, ObjectTrials
from made_datasets import contents

SLIPPERY = ["--friction", "0.16", "--object-mass", "2"]
QUOTAS = ["--num-collision-free-grasps", "6", "--num-colliding-grasps", "2", "--fps", "100", *SLIPPERY]
NAMES = [f"box{n}.obj" for n in range(6)]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small boxes, so slippery and heavy that some are dropped and need several rounds."""
    folder = tmp_path_factory.mktemp("objects")
    for n, name in enumerate(NAMES):
        trimesh.creation.box((0.02 + 0.003 * n, 0.03, 0.04)).export(folder / name)
    (folder / "list.json").write_text(json.dumps(dict.fromkeys(NAMES, 1.0)))
    return folder


Run = Callable[..., Path]


@pytest.fixture(scope="module")
def run(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    def go(*flags: str, code: int = 0) -> Path:
        out = tmp_path_factory.mktemp("run") / "out"
        where = ["--object-scales-json", str(objects / "list.json"), "--object-dataset", str(objects), "--grasp-dataset", str(out)]
        assert main(["validate", *where, "--gripper-config", "franka_panda", "--quiet", *QUOTAS, *flags]) == code
        return out

    return go


@pytest.fixture(scope="module")
def reference(run: Run) -> dict[str, bytes]:
    """What the CPU engine makes, an object after the other."""
    return contents(run("--backend", "mujoco", "--workers", "1"))


EXTRAS = ["--hard-negatives", "2", "--robustness", "--max-slip", "0.004", "--protocol", "gravity"]


@pytest.fixture(scope="module")
def reference_with_extras(run: Run) -> dict[str, bytes]:
    """The same with all that can be asked for beyond the quotas."""
    return contents(run("--backend", "mujoco", "--workers", "1", *EXTRAS))


@pytest.fixture
def batch_engine(monkeypatch: pytest.MonkeyPatch, reference: dict[str, bytes]) -> None:
    """`mujoco` is an engine that tries many objects at once."""
    monkeypatch.setitem(ENGINES, "mujoco", fake_simulator.ROW)


CPU = ["--backend", "mujoco", "--device", "cpu"]


@pytest.mark.slow
@pytest.mark.usefixtures("batch_engine")
def test_what_is_asked_for_beyond_the_quotas_is_the_same_too(run: Run, reference_with_extras: dict[str, bytes]) -> None:
    made = contents(run(*CPU, "--workers", "1", *EXTRAS))
    assert made == reference_with_extras
    assert sum(b'"offset"' in content and b'"robustness"' in content for content in made.values()) == len(NAMES)


@pytest.mark.slow
def test_randomised_trials_are_the_same_whoever_makes_them(
    run: Run, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "three.json").write_text(json.dumps(dict.fromkeys(NAMES[::2], 1.0)))
    flags = ["--object-scales-json", str(tmp_path / "three.json"), "--hard-negatives", "1", "--fps", "100"]
    flags += ["--randomize", "--randomize-draws", "3", "--randomize-position", "0.004"]
    alone = contents(run("--backend", "mujoco", "--workers", "1", *flags))
    assert contents(run("--backend", "mujoco", "--workers", "3", *flags)) == alone
    assert all(b'"held_fraction"' in content for name, content in alone.items() if name.endswith("grasps.json"))
    monkeypatch.setitem(ENGINES, "mujoco", fake_simulator.ROW)
    assert contents(run(*CPU, "--workers", "2", *flags)) == alone


@pytest.mark.slow
@pytest.mark.usefixtures("batch_engine")
def test_objects_share_batches_and_come_round_again_to_the_bytes_of_one_process(
    run: Run, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(fake_simulator.LOG, str(tmp_path / "log"))
    assert contents(run("--backend", "mujoco", "--workers", "1", "--devices", "cpu:0, cpu:1")) == reference
    batches = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {batch["device"] for batch in batches} == {"cpu:0", "cpu:1"}
    tried = [name for batch in batches for name in batch["objects"]]
    assert set(tried) == set(NAMES) and len(tried) > len(NAMES)
    assert max(len(batch["objects"]) for batch in batches) > 1


@pytest.mark.slow
@pytest.mark.usefixtures("batch_engine")
@pytest.mark.parametrize("flags", [["--max-num-envs", "4"], ["--objects-per-worker", "1"], ["--worker-memory", "1"]])
def test_the_pipeline_makes_the_same_bytes_in_every_way(run: Run, reference: dict[str, bytes], flags: list[str]) -> None:
    assert contents(run(*CPU, "--workers", "2", *flags)) == reference


@pytest.mark.slow
@pytest.mark.usefixtures("batch_engine")
@pytest.mark.parametrize(
    ("fault", "said"), [("raise", "unexpected RuntimeError: no memory left"), ("die", "its process ended with code -9")]
)
def test_an_object_that_breaks_the_simulator_fails_alone(
    run: Run,
    reference: dict[str, bytes],
    fault: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(fake_simulator.FAULT, f"{fault} box2.obj")
    found = contents(run(*CPU, "--workers", "2", code=1))
    grasps = {name: content for name, content in reference.items() if "box2" not in name and "map_" not in name}
    assert {name: content for name, content in found.items() if "map_" not in name} == grasps
    assert f"box2.obj: the simulator failed: {said}" in capsys.readouterr().out


def trials_of(count: int) -> list[ObjectTrials]:
    """Objects of one grasp each; nothing is simulated."""
    one = GraspBatch.empty()
    return [ObjectTrials(number, cast(TargetObject, None), one) for number in range(count)]


def one_device(count: int) -> tuple[devices.Devices, devices.Device, Connection]:
    """A device that takes more, with this number of objects queued for it, and the simulator's end of its pipe."""
    simulators = devices.Devices(engines.Engine("mujoco", ("cpu",)), cast(Gripper, None), SimulationSettings())
    ours, theirs = multiprocessing.Pipe()
    device = devices.Device("cpu", cast(Any, None), ours, ready=True, takes_more=True)
    simulators.devices.append(device)
    for each in trials_of(count):
        simulators.add(each)
    return simulators, device, theirs


def test_which_object_breaks_the_simulator_is_found_by_halves() -> None:
    """Of 1,000 objects that went out together, 999 are tried again in parts that halve each time, not each by itself."""
    simulators, device, theirs = one_device(1000)
    answered, goes = dict[int, str](), 0
    while len(answered) < 1000:
        simulators.assign()
        numbers, goes = tuple(device.running), goes + 1
        assert [each.number for each in theirs.recv()] == list(numbers)
        for number in () if 616 in numbers else numbers:
            theirs.send(ObjectFailed(number, "tried"))
            answered |= reasons(simulators)
        theirs.send(BatchEnded(numbers, "no memory left") if 616 in numbers else BatchEnded(()))
        answered |= reasons(simulators)
    assert goes < 25
    assert answered == {**dict.fromkeys(range(1000), "tried"), 616: "no memory left"}
    assert simulators.has_room()


def reasons(simulators: devices.Devices) -> dict[int, str]:
    return {each.number: each.reason for each in simulators.results() if isinstance(each, ObjectFailed)}


def test_a_part_gets_no_more_and_loses_what_is_dropped() -> None:
    simulators, device, theirs = one_device(4)
    simulators.assign()
    theirs.send(BatchEnded((0, 1, 2, 3), "no memory left"))
    assert list(simulators.results()) == []
    simulators.cancel(1)
    simulators.add(trials_of(5)[4])
    simulators.assign()
    simulators.assign()
    assert list(device.running) == [0]
    theirs.recv()
    assert [each.number for each in theirs.recv()] == [0] and not theirs.poll()


@pytest.mark.slow
@pytest.mark.usefixtures("batch_engine")
@pytest.mark.parametrize(
    ("device", "said"),
    [
        (fake_simulator.ABSENT, "there are 2 GPUs"),
        (fake_simulator.BROKEN, "unexpected OSError: libcuda.so.1: cannot open"),
        pytest.param(fake_simulator.DEADLY, "ended with code -9 before it was ready", marks=pytest.mark.slow),
    ],
)
def test_a_device_that_cannot_be_used_ends_the_run(run: Run, device: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("--backend", "mujoco", "--device", device, "--workers", "1", code=3)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and f"--backend mujoco on {device}: " in lines[0] and said in lines[0]


def test_an_engine_that_cannot_be_imported_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ENGINES, "mujoco", EngineRow(place="no_such_engine:Engine", first_device="cuda:0"))
    run(*CPU, "--workers", "1", "--do-not-run-controls", code=3)
    assert capsys.readouterr().err == (
        "graspgen: --backend mujoco on cpu: unexpected ModuleNotFoundError: No module named 'no_such_engine'\n"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("batch_engine")
def test_what_a_lost_worker_had_in_hand_is_begun_again(
    run: Run, objects: Path, reference: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worker hangs on a pipe into which nobody writes while objects that it took up before wait for their trials."""
    os.mkfifo(objects / "hang.obj")
    (tmp_path / "list.json").write_text(json.dumps({NAMES[0]: 1.0, NAMES[1]: 1.0, "hang.obj": 1.0, **dict.fromkeys(NAMES[2:], 1.0)}))
    flags = ["--object-scales-json", str(tmp_path / "list.json"), "--object-timeout", "4"]
    assert contents(run(*CPU, "--workers", "1", *flags, code=1)) == reference
    assert "hang.obj: not done after 4 s" in capsys.readouterr().out


@pytest.mark.slow
def test_mujoco_warp_tries_through_the_pipeline_and_is_on_record(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The real engine, on Warp's CPU device, which is slow: few worlds, few grasps, a short trial."""
    pytest.importorskip("mujoco_warp", reason="mujoco-warp is not installed; the extra `gpu` brings it")
    short = [
        "--do-not-run-controls",
        "--fps",
        "100",
        "--initial-grasp-duration",
        "0.2",
        "--tug-sequences",
        "[]",
        "--max-num-envs",
        "4",
        "--max-num-grasps",
        "2",
    ]
    out = run("--backend", "mujoco-warp", "--device", "cpu", "--workers", "2", *short, "--json")
    rows = json.loads(capsys.readouterr().out)["objects"]
    assert all(row["tested"] >= 2 for row in rows) and len(rows) == len(NAMES)
    record = json.loads(next(out.rglob("*.grasps.json")).read_text())["provenance"]["simulation"]
    assert record["settings"]["backend"] == "mujoco-warp" and {"mujoco-warp", "warp-lang"} <= set(record["versions"])
