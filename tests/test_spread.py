"""Shards, workers that are replaced, and cores that are shared: none of it changes what is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

import shapes
from graspgen_cli.app import main
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.running.processes import resident_bytes
from graspgen_cli.running.run import is_mine
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.tables import ENGINES, EngineRow
from graspgen_cli.validate.engine import TRIALS_AT_ONCE, SharedCores, Variation
from graspgen_cli.validate.engines.mujoco import MujocoBackend
from made_datasets import contents

QUOTAS = ["--gripper-config", "franka_panda", "--num-collision-free-grasps", "3", "--num-colliding-grasps", "1"]
NAMES = [f"{folder}/box{n}.obj" for folder in "ab" for n in range(3)]
"""Two objects of each base name, so that the files' names depend on the whole list."""


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    for n, name in enumerate(NAMES):
        (folder / name).parent.mkdir(exist_ok=True)
        trimesh.creation.box((0.02 + 0.003 * n, 0.03, 0.04)).export(folder / name)
    (folder / "list.json").write_text(json.dumps(dict.fromkeys(NAMES, 1.0)))
    return folder


def arguments(verb: str, objects: Path, out: Path, *flags: str) -> list[str]:
    where = ["--object-scales-json", str(objects / "list.json"), "--object-dataset", str(objects), "--grasp-dataset", str(out)]
    quotas = QUOTAS[:2] if verb == "splits" else QUOTAS
    return [verb, *where, *quotas, "--quiet", *flags]


@pytest.fixture(scope="module")
def reference(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of one run."""
    out = tmp_path_factory.mktemp("reference") / "out"
    assert main(arguments("all", objects, out, "--workers", "1")) == 0
    return out


def aged_index(objects: Path, out: Path) -> dict[str, object]:
    """The index once all files have been given one time of change, made by a walk over them."""
    for path in [*out.rglob("*.grasps.json"), *objects.rglob("*.obj")]:
        os.utime(path, (1e9, 1e9))
    assert main(arguments("all", objects, out, "--workers", "1")) == 0
    return json.loads((out / "index/franka_panda.json").read_text())


@pytest.mark.slow
def test_shards_one_after_the_other_make_the_dataset_of_one_run(objects: Path, reference: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in (2, 0, 1):
        assert main(arguments("all", objects, out, "--workers", "1", "--shard", f"{number}/3")) == 0
    assert not (out / "splits").exists()
    assert main(arguments("splits", objects, out)) == 0
    assert contents(out) == contents(reference)
    assert aged_index(objects, out) == aged_index(objects, reference)


@pytest.mark.slow
def test_shards_at_the_same_time_make_the_dataset_of_one_run(objects: Path, reference: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "graspgen_cli"]
    runs = [subprocess.Popen([*command, *arguments("all", objects, out, "--shard", f"{n}/3")], stdout=subprocess.DEVNULL) for n in range(3)]
    assert [run.wait(300) for run in runs] == [0, 0, 0]
    assert main(arguments("splits", objects, out)) == 0
    assert contents(out) == contents(reference)


def test_a_shard_tells_of_its_own_objects_only(objects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps({**dict.fromkeys(NAMES, 1.0), "bad.obj": -1.0}))
    seen: list[str] = []
    for number in range(3):
        flags = ["--object-scales-json", str(listed), "--shard", f"{number}/3", "--json", "--workers", "1"]
        assert main(arguments("guess", objects, tmp_path / "out", *flags)) in (0, 1)
        seen += [row["object_id"] for row in json.loads(capsys.readouterr().out)["objects"]]
    assert sorted(seen) == sorted([*NAMES, "bad.obj"])


@pytest.mark.slow
def test_a_map_that_another_machine_left_short_is_made_whole_by_splits(objects: Path, reference: Path, tmp_path: Path) -> None:
    """As where there are no locks, and two runs end at the same moment."""
    out = tmp_path / "out"
    assert main(arguments("all", objects, out, "--workers", "1", "--shard", "0/1")) == 0
    path = out / "grasp_data/franka_panda/map_uuid_to_path.json"
    path.write_text(json.dumps(dict(list(json.loads(path.read_text()).items())[:2])))
    assert main(arguments("splits", objects, out)) == 0
    assert contents(out) == contents(reference)


@given(object_id=st.text(min_size=1), count=st.integers(1, 50))
def test_every_object_is_of_one_shard(object_id: str, count: int) -> None:
    assert sum(is_mine(object_id, f"{number}/{count}") for number in range(count)) == 1
    assert is_mine(object_id, None)


def test_shards_are_of_like_size() -> None:
    sizes = [sum(is_mine(f"{n}.obj", f"{number}/4") for n in range(4000)) for number in range(4)]
    assert sum(sizes) == 4000 and min(sizes) > 900


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [["--objects-per-worker", "1"], ["--objects-per-worker", "4", "--workers", "1"], ["--worker-memory", "1"]]
)
def test_workers_that_are_replaced_make_the_same(objects: Path, reference: Path, tmp_path: Path, flags: list[str]) -> None:
    assert main(arguments("all", objects, tmp_path / "out", "--workers", "2", *flags)) == 0
    assert contents(tmp_path / "out") == contents(reference)


# --- cores ----------------------------------------------------------------------------------------------------------------------


class Recorder:
    """An engine that notes its threads and grasps, and lets other workers end after each call."""

    calls: ClassVar[list[tuple[int, int]]] = []
    busy: ClassVar[SimpleNamespace] = SimpleNamespace(value=8)

    def __init__(self, *, threads: int) -> None:
        self.threads = threads

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        self.calls.append((self.threads, len(grasps)))
        self.busy.value = max(1, self.busy.value // 4)
        n, none = len(grasps), np.zeros((len(grasps), 2))
        end = grasps.pose_gripper_in_object, none, none, np.ones(n, bool), none
        return TrialState(*end, *[np.zeros(n)] * 3, np.zeros(n, bool), np.zeros(n, np.int32), np.zeros(n))


def grasps_in_a_row(count: int) -> GraspBatch:
    places = np.arange(float(count))[:, None] * np.array([1e-4, 0.0, 0.0])
    return GraspBatch(pose(np.eye(3), places), np.full(count, 0.05), np.zeros(count, np.int8))


def test_the_last_busy_worker_takes_over_the_cores(monkeypatch: pytest.MonkeyPatch, gripper_shape: Callable[[str], GripperShape]) -> None:
    monkeypatch.setitem(ENGINES, "mujoco", EngineRow(place=f"{__name__}:Recorder"))
    grasps = grasps_in_a_row(600)
    state = SharedCores("mujoco", 16, Recorder.busy).run(
        gripper_shape("franka_panda").gripper, shapes.box(1, 1, 1), grasps, SimulationSettings()
    )
    assert Recorder.calls == [(2, 256), (8, 256), (16, 88)]
    np.testing.assert_array_equal(state.pose_object_in_gripper, grasps.pose_gripper_in_object)


def test_trials_in_portions_end_as_those_at_once(gripper_shape: Callable[[str], GripperShape]) -> None:
    gripper, target = gripper_shape("franka_panda").gripper, shapes.box(0.03, 0.03, 0.03)
    grasps = grasps_in_a_row(TRIALS_AT_ONCE + 10)
    settings = SimulationSettings(initial_grasp_duration=0.04, tug_sequences=())
    whole = MujocoBackend(threads=1).run(gripper, target, grasps, settings)
    portions = SharedCores("mujoco", 2, SimpleNamespace(value=1)).run(gripper, target, grasps, settings)
    for name in TrialState.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(portions, name), getattr(whole, name))


# --- memory ---------------------------------------------------------------------------------------------------------------------


def peak_of_a_run(objects: int, folder: Path) -> float:
    """MB: the most memory of the run's process and its workers together at any time, looked at every 20 ms."""
    flags = ["--object-scales-json", str(folder / f"{objects}.json"), "--quiet", "--workers", "2", "--tug-sequences", "[]"]
    where = ["--object-dataset", str(folder), "--grasp-dataset", str(folder / f"out{objects}")]
    run = subprocess.Popen([sys.executable, "-m", "graspgen_cli", "all", *where, *QUOTAS, *flags], stdout=subprocess.DEVNULL)
    peak = 0
    while run.poll() is None:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split() if Path(f"/proc/{run.pid}").exists() else []
        peak = max(peak, sum(resident_bytes(pid) for pid in (run.pid, *map(int, children))))
        time.sleep(0.02)
    assert run.returncode == 0
    return peak / 2**20


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trimesh.creation.box((0.02, 0.03, 0.04)).export(tmp_path / "box.obj")
    counts = (40, 300)
    for number in range(max(counts)):
        (tmp_path / f"{number}.obj").write_bytes((tmp_path / "box.obj").read_bytes())
    for count in counts:
        (tmp_path / f"{count}.json").write_text(json.dumps({f"{number}.obj": 1.0 for number in range(count)}))
    few, many = (peak_of_a_run(count, tmp_path) for count in counts)
    with capsys.disabled():
        print(f"peak memory: {few:.0f} MB for {counts[0]} objects, {many:.0f} MB for {counts[1]}")
    assert abs(many - few) < 20
