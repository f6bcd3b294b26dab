"""Runs on a Ray cluster of two nodes on this machine; `nox -s external`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trimesh

from graspgen_cli.app import main
from graspgen_cli.errors import InputError, install_command
from graspgen_cli.running import ray_cluster as cluster
from graspgen_cli.running.engines import Engine
from graspgen_cli.running.ray_cluster import MOST_RETRIES
from graspgen_cli.settings.runs import ExecutionSettings
from made_datasets import contents

QUOTAS = ["--gripper-config", "franka_panda", "--num-collision-free-grasps", "24", "--num-colliding-grasps", "2"]
OBJECTS = 12


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    for n in range(OBJECTS):
        trimesh.creation.box((0.02 + 0.002 * n, 0.03, 0.04)).export(folder / f"box{n}.obj")
    (folder / "list.json").write_text(json.dumps({f"box{n}.obj": 1.0 for n in range(OBJECTS)}))
    return folder


def command(objects: Path, out: Path, *flags: str) -> list[str]:
    where = ["--object-scales-json", str(objects / "list.json"), "--object-dataset", str(objects), "--grasp-dataset", str(out)]
    return ["all", *where, *QUOTAS, "--quiet", *flags]


@pytest.fixture(scope="module")
def reference(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("reference") / "out"
    assert main(command(objects, out, "--workers", "1")) == 0
    return contents(out)


@pytest.fixture
def two_nodes() -> Iterator[Any]:
    """A cluster of a head and another node, of one core each."""
    pytest.importorskip("ray", reason="ray is not installed; `nox -s external` brings it")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield nodes
    finally:
        nodes.shutdown()


@pytest.mark.ray
def test_a_node_killed_in_mid_run_costs_nothing_but_time(
    objects: Path, reference: dict[str, bytes], tmp_path: Path, two_nodes: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    node, out = two_nodes.add_node(num_cpus=1), tmp_path / "out"
    two_nodes.wait_for_nodes()
    flags = ["--executor", "ray", "--ray-address", two_nodes.address]
    run = subprocess.Popen([sys.executable, "-m", "graspgen_cli", *command(objects, out, *flags)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and len(list(out.rglob("*.grasps.json"))) < 3 and run.poll() is None:
        time.sleep(0.05)
    made = len(list(out.rglob("*.grasps.json")))
    two_nodes.remove_node(node, allow_graceful=False)
    assert run.poll() is None and 3 <= made < OBJECTS
    assert run.wait(300) == 0
    with capsys.disabled():
        print(f"node killed after {made} of {OBJECTS} objects")
    assert contents(out) == reference


@pytest.mark.ray
def test_objects_that_fail_there_are_told_here(objects: Path, tmp_path: Path, two_nodes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.json").write_text('{"box0.obj": 1.0, "gone.obj": 1.0}')
    flags = ["--executor", "ray", "--ray-address", two_nodes.address, "--object-scales-json", str(tmp_path / "list.json"), "--json"]
    assert main(command(objects, tmp_path / "out", *flags)) == 1
    rows = {row["object_id"]: row for row in json.loads(capsys.readouterr().out)["objects"]}
    assert rows["box0.obj"]["status"] == "made" and "no such file" in rows["gone.obj"]["message"]


@pytest.mark.ray
def test_termination_is_ours_and_not_rays(objects: Path, reference: dict[str, bytes], tmp_path: Path, two_nodes: Any) -> None:
    out, flags = tmp_path / "out", ["--executor", "ray", "--ray-address", two_nodes.address]
    arguments = [sys.executable, "-m", "graspgen_cli", *command(objects, out, *flags)]
    run = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and not list(out.rglob("*.grasps.json")) and run.poll() is None:
        time.sleep(0.05)
    run.terminate()
    _, said = run.communicate(timeout=60)
    assert run.returncode == 143 and "Traceback" not in said
    assert said.endswith("graspgen: terminated; finished files are kept, and the same command continues\n")  # Ray may warn before
    assert main(command(objects, out, *flags)) == 0
    assert contents(out) == reference


@pytest.fixture
def pretended_gpus() -> Iterator[Any]:
    """A cluster of one node, which has two GPUs only by Ray's account."""
    pytest.importorskip("ray", reason="ray is not installed; `nox -s external` brings it")
    pytest.importorskip("mujoco_warp", reason="mujoco_warp is not installed; `nox -s external` brings it")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 2, "include_dashboard": False})
    try:
        yield nodes
    finally:
        nodes.shutdown()


def command_for_gpus(folder: Path, objects: Path, out: Path, *flags: str) -> list[str]:
    (folder / "list.json").write_text('{"box0.obj": 1.0, "box1.obj": 1.0, "gone.obj": 1.0}')
    quotas = ["--num-collision-free-grasps", "4", "--num-colliding-grasps", "1", "--do-not-run-controls"]
    quotas += ["--max-num-envs", "4", "--tug-sequences", "[]"]  # Warp's own device is slow
    engine = ["--backend", "mujoco-warp", "--object-scales-json", str(folder / "list.json"), "--json"]
    return command(objects, out, *engine, *quotas, *flags)


@pytest.mark.ray
def test_lists_of_objects_go_to_gpus_and_come_back(
    objects: Path, tmp_path: Path, pretended_gpus: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "FIRST_GPU", "cpu")  # Warp's own
    flags = ["--executor", "ray", "--ray-address", pretended_gpus.address]
    assert main(command_for_gpus(tmp_path, objects, tmp_path / "ray", *flags)) == 1
    rows = {row["object_id"]: row["status"] for row in json.loads(capsys.readouterr().out)["objects"]}
    assert rows == {"box0.obj": "made", "box1.obj": "made", "gone.obj": "failed"}
    assert main(command_for_gpus(tmp_path, objects, tmp_path / "local", "--device", "cpu")) == 1
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.ray
def test_a_node_whose_gpu_cannot_be_used_says_so_in_a_line(
    objects: Path, tmp_path: Path, pretended_gpus: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "FIRST_GPU", "cuda:99")
    flags = ["--executor", "ray", "--ray-address", pretended_gpus.address]
    assert main(command_for_gpus(tmp_path, objects, tmp_path / "ray", *flags)) == 1
    said = {row["object_id"]: row["message"] for row in json.loads(capsys.readouterr().out)["objects"]}
    for name in ("box0.obj", "box1.obj"):
        assert said[name].startswith(f"{name}: --backend mujoco-warp on cuda:99: ") and "_do()" not in said[name]


@pytest.mark.ray
def test_a_cluster_that_is_not_there_is_one_line(objects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray", reason="ray is not installed; `nox -s external` brings it")
    assert main(command(objects, tmp_path / "out", "--executor", "ray", "--ray-address", "127.0.0.1:1")) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "--ray-address 127.0.0.1:1: no Ray cluster can be reached" in lines[0]


def test_without_ray_the_package_is_named(
    objects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(command(objects, tmp_path / "out", "--executor", "ray")) == 2
    assert install_command("ray") in capsys.readouterr().err.splitlines()[-1]


# --- what a task asks of a node -----------------------------------------------------------------------------------------------------


def plan(count: int, engine: Engine, resources: dict[str, float], workers: int = 0) -> tuple[dict[str, int], list[int]]:
    need, lists = cluster.plan(list(range(count)), engine, ExecutionSettings(workers=workers), resources)  # type: ignore[arg-type]
    assert [task for each in lists for task in each] == list(range(count))
    return need, [len(each) for each in lists]


def test_on_the_cpu_an_object_is_a_task() -> None:
    assert plan(3, Engine("mujoco"), {"CPU": 8}) == ({"num_cpus": 1}, [1, 1, 1])


def test_a_gpu_gets_lists_of_objects_and_its_share_of_the_cores() -> None:
    engine = Engine("mujoco-warp", ("cuda:0",))
    assert plan(800, engine, {"CPU": 32, "GPU": 2}) == ({"num_cpus": 16, "num_gpus": 1}, [100] * 8)
    assert plan(300, engine, {"CPU": 32, "GPU": 2})[1] == [64, 64, 64, 64, 44]
    assert plan(19, engine, {"CPU": 32, "GPU": 2})[1] == [10, 9]
    assert plan(10000, engine, {"CPU": 9, "GPU": 2}, workers=3) == ({"num_cpus": 3, "num_gpus": 1}, [1000] * 10)
    with pytest.raises(InputError, match="the Ray cluster has no GPU"):
        plan(1, engine, {"CPU": 32})


def test_the_simulator_of_a_gpu_has_a_core_to_itself() -> None:
    settings = ExecutionSettings()
    assert cluster.workers(settings, {"num_cpus": 1}) == 1
    assert cluster.workers(settings, {"num_cpus": 16, "num_gpus": 1}) == 15
    assert cluster.workers(settings, {"num_cpus": 1, "num_gpus": 1}) == 1
    assert cluster.workers(ExecutionSettings(workers=3), {"num_cpus": 3, "num_gpus": 1}) == 3


def test_a_task_is_tried_again_more_than_once() -> None:
    assert MOST_RETRIES >= 2
