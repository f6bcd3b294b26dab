"""Every number in a file comes out again from the file, its provenance and the mesh."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pytest
import trimesh

from graspgen_cli.app import main
from graspgen_cli.errors import ExitCode
from graspgen_cli.formats.graspgen_json import checksum, encode, read_grasp_file
from graspgen_cli.records import GraspDataset, Measure, Outcome
from graspgen_cli.running.recompute import Recomputation, recompute_file
from made_datasets import OFFSET

SLIPPERY = ["--friction", "0.16", "--object-mass", "2", "--fps", "100", "--grip-force", "75", "--backend", "mujoco", "--workers", "1"]
"""So that some are dropped and several rounds are needed."""
FEW, MORE = (["--num-collision-free-grasps", str(free), "--num-colliding-grasps", "2"] for free in (4, 7))
EXTRAS = ["--hard-negatives", "2", "--robustness", "--randomize", "--randomize-draws", "2", "--max-slip", "0.02"]


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box, and an L that takes two pieces."""
    folder = tmp_path_factory.mktemp("meshes")
    trimesh.creation.box((0.02, 0.03, 0.04)).export(folder / "box.obj")
    (folder / "box.json").write_text('{"box.obj": 1.0}')
    (folder / "both.json").write_text('{"box.obj": 1.0, "l.obj": 0.001}')
    corner = trimesh.creation.box((60, 20, 20)), trimesh.creation.box((20, 60, 20), pose_at(-20.0, 20.0))
    trimesh.boolean.union(corner, engine="manifold").export(folder / "l.obj")
    return folder


def pose_at(x: float, y: float) -> np.ndarray:
    place = np.eye(4)
    place[:2, 3] = x, y
    return place


Run = Callable[..., Path]


def made(out: Path, meshes: Path, command: str, *flags: str, scales: str = "box.json") -> Path:
    """Runs a command on a dataset, and returns the grasp file of the box."""
    where = ["--object-scales-json", str(meshes / scales), "--object-dataset", str(meshes), "--gripper-config", "franka_panda"]
    assert main([command, *where, *SLIPPERY, "--grasp-dataset", str(out), "--quiet", *flags]) == 0
    return next(out.rglob("box*.grasps.json"))


@pytest.fixture
def run(meshes: Path, tmp_path: Path) -> Run:
    """As `made`, on a dataset of the test's own."""
    return partial(made, tmp_path / "out", meshes)


@pytest.fixture(scope="module")
def content(meshes: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What one run makes."""
    return made(tmp_path_factory.mktemp("one") / "out", meshes, "validate", *FEW).read_bytes()


@pytest.fixture
def file(content: bytes, tmp_path: Path) -> Path:
    """A file of that run, to be changed."""
    path = tmp_path / "box.1.0.grasps.json"
    path.write_bytes(content)
    return path


def test_what_one_run_made_comes_out(file: Path, meshes: Path) -> None:
    outcomes = set(read_grasp_file(file).grasps.outcome.tolist())
    assert outcomes == {Outcome.HELD, Outcome.COLLISION, Outcome.DROPPED}
    assert_all_comes_out(recompute_file(file, meshes=meshes))


def assert_all_comes_out(found: Recomputation, *, grasps: int | None = None) -> None:
    assert found.differences == () and found.notes == ()
    assert found.grasps > 4 if grasps is None else found.grasps == grasps


WAYS: dict[str, list[list[str]]] = {
    "with all extras": [["validate", *FEW, *EXTRAS]],
    "filled up": [["validate", *FEW], ["fill", *MORE]],
    "guesses first, then fewer": [["validate", *MORE, "--guess-only"], ["validate", *FEW, "--load-guesses"], ["fill", *MORE]],
    "tested again": [["validate", *FEW], ["validate", *MORE, "--load-guesses"]],
    "hard negatives later": [["validate", *FEW], ["validate", *FEW, "--load-guesses", "--hard-negatives", "2"]],
    "shaken, with draws": [["validate", *FEW, "--protocol", "shake", "--randomize", "--randomize-draws", "2"]],
    "some left untried": [["validate", *MORE, "--max-num-grasps", "3"]],
}
FAST = 1
"""Of those, how many are always tested."""


@pytest.mark.parametrize("way", [way if number < FAST else pytest.param(way, marks=pytest.mark.slow) for number, way in enumerate(WAYS)])
def test_whatever_the_runs_were_the_file_comes_out(run: Run, meshes: Path, way: str) -> None:
    for command, *flags in WAYS[way]:
        file = run(command, *flags)
    assert_all_comes_out(recompute_file(file, meshes=meshes))


@pytest.mark.slow
def test_a_file_that_was_relabelled_comes_out(run: Run, meshes: Path, tmp_path: Path) -> None:
    file = run("validate", *FEW)
    slip = read_grasp_file(file).grasps.measured[:, Measure.SLIP]
    limit = str(float(np.nanmedian(slip)))
    before = read_grasp_file(file).grasps.count(Outcome.HELD)
    assert main(["relabel", str(tmp_path / "out"), "--gripper-config", "franka_panda", "--max-slip", limit, "--quiet"]) == 0
    assert 0 < read_grasp_file(file).grasps.count(Outcome.HELD) < before
    assert_all_comes_out(recompute_file(file, meshes=meshes))
    file = run("fill", *FEW, "--max-slip", limit)
    assert read_grasp_file(file).grasps.count(Outcome.HELD) == 4
    assert_all_comes_out(recompute_file(file, meshes=meshes))


@pytest.mark.slow
def test_scores_come_out_by_the_criterion_that_they_were_found_by(run: Run, meshes: Path, tmp_path: Path) -> None:
    """A run that asks for none adds grasps without; relabelling leaves them as they are, even of grasps that are not held any longer."""
    pull = ["--tug-sequences", "[[0.5, [0.0, 0.0, 1.0], 1.0]]"]
    run("validate", *FEW, *pull, "--robustness")
    file = run("fill", *MORE, *pull)
    assert_all_comes_out(recompute_file(file, meshes=meshes))
    assert main(["relabel", str(tmp_path / "out"), "--gripper-config", "franka_panda", "--max-slip", "0.001", "--quiet"]) == 0
    grasps = read_grasp_file(file).grasps
    assert (grasps.outcome[~np.isnan(grasps.measured[:, Measure.ROBUSTNESS])] == Outcome.DROPPED).any()
    assert_all_comes_out(recompute_file(file, meshes=meshes))
    changed(file, score_changed)
    assert any("quality.robustness: 1 of" in line for line in recompute_file(file, meshes=meshes).differences)


def test_scores_of_grasps_from_elsewhere_come_out_by_that_criterion_too(file: Path, meshes: Path, tmp_path: Path) -> None:
    grasps, out = read_grasp_file(file).grasps, tmp_path / "out"
    limit = str(float(np.median(grasps.measured[grasps.outcome == Outcome.HELD, Measure.SLIP])))
    theirs = foreign(file, tmp_path / "foreign.json")
    again = made(out, meshes, "validate", "--grasps", str(theirs), "--robustness", "--max-slip", limit)
    assert main(["relabel", str(out), "--gripper-config", "franka_panda", "--quiet"]) == 0
    grasps = read_grasp_file(again).grasps
    scored = ~np.isnan(grasps.measured[grasps.outcome == Outcome.HELD, Measure.ROBUSTNESS])
    assert scored.any() and not scored.all()
    found = recompute_file(again, meshes=meshes)
    assert found.differences == () and found.grasps > 4


def score_changed(dataset: GraspDataset) -> GraspDataset:
    quality = dataset.grasps.measured.copy()
    quality[np.flatnonzero(~np.isnan(quality[:, Measure.ROBUSTNESS]))[0], Measure.ROBUSTNESS] += 0.1
    return replace(dataset, grasps=replace(dataset.grasps, quality=quality))


def test_guesses_alone_come_out(run: Run, meshes: Path) -> None:
    assert_all_comes_out(recompute_file(run("validate", *FEW, "--guess-only"), meshes=meshes), grasps=6)


def test_of_a_part_of_a_dataset_the_part_comes_out(file: Path, meshes: Path) -> None:
    dataset = read_grasp_file(file)
    part = replace(dataset, grasps=dataset.grasps[np.array([4, 0])], provenance={**dataset.provenance, "subset": [{}]})
    file.write_bytes(encode(part, OFFSET))
    assert_all_comes_out(recompute_file(file, meshes=meshes), grasps=2)


def foreign(file: Path, path: Path) -> Path:
    """A file's grasps as if another tool had made them."""
    document = orjson.loads(file.read_bytes())
    del document["provenance"], document["checksum"]
    path.write_bytes(orjson.dumps(document))
    return path


def changed(file: Path, change: Callable[[GraspDataset], GraspDataset]) -> None:
    """Changes a file as somebody would who also makes its checksum right."""
    file.write_bytes(encode(change(read_grasp_file(file)), OFFSET))


def edited(file: Path, *path: str, value: object) -> None:
    document = orjson.loads(file.read_bytes())
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    document["checksum"] = checksum(document)
    file.write_bytes(orjson.dumps(document))


def slip_changed(dataset: GraspDataset) -> GraspDataset:
    quality = dataset.grasps.measured.copy()
    quality[0, Measure.SLIP] += 1e-6
    return replace(dataset, grasps=replace(dataset.grasps, quality=quality))


def outcome_changed(dataset: GraspDataset) -> GraspDataset:
    outcome = dataset.grasps.outcome.copy()
    outcome[np.flatnonzero(outcome == Outcome.HELD)[0]] = Outcome.DROPPED
    return replace(dataset, grasps=replace(dataset.grasps, outcome=outcome))


def pose_changed(dataset: GraspDataset) -> GraspDataset:
    poses = dataset.grasps.pose_gripper_in_object.copy()
    poses[2, 0, 3] += 1e-8
    return replace(dataset, grasps=replace(dataset.grasps, pose_gripper_in_object=poses))


def grasp_left_out(dataset: GraspDataset) -> GraspDataset:
    return replace(dataset, grasps=dataset.grasps[1:])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (slip_changed, "quality.slip: 1 of"),
        (outcome_changed, "outcome: 1 of"),
        (pose_changed, "first that of grasp 2"),
        (grasp_left_out, "grasps come out, the file has"),
    ],
)
def test_every_change_is_found(file: Path, meshes: Path, change: Callable[[GraspDataset], GraspDataset], says: str) -> None:
    changed(file, change)
    assert any(says in line for line in recompute_file(file, meshes=meshes).differences)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("provenance", "object", "largest_gap"), 0.5, "largest_gap: 0.5 in the file"),
        (("provenance", "object", "pieces"), 7, "pieces: 7 in the file"),
        (("provenance", "tries"), 70, "tries: 70 in the file"),
        (("provenance", "simulation", "settings", "contact", "time_constant"), 0.5, "contact.time_constant 0.5, now"),
        (("provenance", "guess", "object_digest"), "0", "another mesh"),
        (("provenance", "gripper", "grip_force"), 61.0, "another gripper model"),
        (("gripper", "depth"), 0.5, "depth: 0.5 in the file"),
    ],
)
def test_a_record_that_is_not_so_is_found(file: Path, meshes: Path, path: tuple[str, ...], value: object, says: str) -> None:
    document = orjson.loads(file.read_bytes())
    for part in ("guess", "simulation"):
        document["provenance"][part].pop("digest")
    file.write_bytes(orjson.dumps({**document, "checksum": checksum(document)}))
    edited(file, *path, value=value)
    assert any(says in line for line in recompute_file(file, meshes=meshes).differences)


def test_what_cannot_come_out_is_said(run: Run, file: Path, meshes: Path, tmp_path: Path) -> None:
    theirs = foreign(file, tmp_path / "foreign.json")
    assert "another tool's" in recompute_file(theirs, meshes=meshes).notes[0]
    edited(file, "provenance", "simulation", "settings", "backend", value="mujoco-warp")
    found = recompute_file(file, meshes=meshes)
    assert found.grasps == 0 and any("mujoco-warp" in note for note in (*found.notes, *found.differences))
    file = run("validate", "--grasps", str(theirs))
    found = recompute_file(file, meshes=meshes)
    assert found.grasps > 4 and found.differences == () and "from elsewhere" in found.notes[0]
    file = run("validate", "--load-guesses", "--force-magnitude", "2")
    assert "provenance.earlier" in recompute_file(file, meshes=meshes).notes[0]


def test_the_command(run: Run, meshes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run("validate", "--num-collision-free-grasps", "2", "--num-colliding-grasps", "1", scales="both.json")
    doctor = ["doctor", str(tmp_path / "out"), "--object-dataset", str(meshes), "--recompute", "9"]
    capsys.readouterr()
    main([*doctor, "--json"])
    found = json.loads(capsys.readouterr().out)["dataset"]
    assert [each["differences"] for each in found["recomputed"]] == [[], []]
    assert min(each["grasps"] for each in found["recomputed"]) > 2
    main([*doctor[:-1], "1"])
    assert "files with the same numbers throughout: 1\n" in capsys.readouterr().out
    changed(file, slip_changed)
    assert main([*doctor[:-1], "1", "--json"]) == 1
    kinds = [each["finding"] for each in json.loads(capsys.readouterr().out)["dataset"]["findings"]]
    assert "not reproduced" in kinds
    (meshes / "gone").mkdir(exist_ok=True)
    assert main(["doctor", str(tmp_path / "out"), "--object-dataset", str(meshes / "gone"), "--recompute", "1"]) == 1


@pytest.mark.slow
def test_the_examples_are_found_where_the_run_found_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder that has no meshes of its own."""
    monkeypatch.chdir(tmp_path)
    assert main(["guess", "--num-collision-free-grasps", "5", "--num-colliding-grasps", "1"]) == ExitCode.OK
    capsys.readouterr()
    assert main(["doctor", "results", "--recompute", "2", "--json"]) == ExitCode.OK
    made = orjson.loads(capsys.readouterr().out)["dataset"]["recomputed"]
    assert [each["differences"] for each in made] == [[], []] and all(each["grasps"] for each in made)
