"""Whole runs on small objects: the same bytes whatever the way there, and what happens to objects that cannot be used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from graspgen_cli.app import main
from graspgen_cli.formats.graspgen_json import read_grasp_file
from graspgen_cli.records import Outcome
from made_datasets import change_unseen
from trainer import FEWEST_POSITIVES, read_dataset

QUOTAS = ["--num-collision-free-grasps", "8", "--num-colliding-grasps", "4"]
FEW = ["--num-collision-free-grasps", "2", "--num-colliding-grasps", "1"]
GRASPS = "grasp_data/robotiq_2f_85"


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three objects that are quick to try, one of which is dropped now and then."""
    folder = tmp_path_factory.mktemp("objects")
    trimesh.creation.icosphere(subdivisions=2, radius=20).export(folder / "ball.stl")
    trimesh.creation.box((0.03, 0.04, 0.05)).export(folder / "brick.obj")
    trimesh.creation.cone(radius=0.02, height=0.06, sections=24).export(folder / "cone.ply")
    (folder / "list.json").write_text(json.dumps({"ball.stl": 0.001, "brick.obj": 1.0, "cone.ply": 1.0}))
    return folder


Run = Callable[..., Path]


@pytest.fixture
def run(objects: Path, tmp_path: Path) -> Run:
    """Runs a command on those objects into a folder of that name; returns the folder."""
    return runner(objects, tmp_path)


def runner(objects: Path, folder: Path) -> Run:
    def go(command: str, name: str, *flags: str, scales: Path | None = None, code: int = 0) -> Path:
        where = (
            []
            if command == "gripper-config"
            else ["--object-scales-json", str(scales or objects / "list.json"), "--object-dataset", str(objects)]
        )
        quiet = ["--grasp-dataset", str(folder / name), "--quiet"]
        workers = [] if "--workers" in flags or command in ("splits", "gripper-config") else ["--workers", "1"]
        assert main([command, *where, *quiet, *workers, *flags]) == code
        return folder / name

    return go


@pytest.fixture(scope="module")
def whole(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `all` makes of them; not to be changed."""
    return runner(objects, tmp_path_factory.mktemp("whole"))("all", "a", *QUOTAS)


@pytest.fixture(scope="module")
def guesses(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `guess` makes of them; not to be changed."""
    return runner(objects, tmp_path_factory.mktemp("guesses"))("guess", "g", *QUOTAS)


@pytest.fixture
def guessed(guesses: Path, tmp_path: Path) -> Path:
    """That dataset in the folder `g` of the runs to come."""
    return Path(shutil.copytree(guesses, tmp_path / "g"))


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """That dataset in the folder `a` of the runs to come."""
    return Path(shutil.copytree(whole, tmp_path / "a"))


def contents(dataset: Path) -> dict[str, bytes]:
    """Every file of the dataset but the logs and locks, which say when and who."""
    named = {str(p.relative_to(dataset)): p.read_bytes() for p in sorted(dataset.rglob("*")) if p.is_file()}
    return {name: content for name, content in named.items() if not name.startswith(("runs.jsonl", "failures", "locks", "index"))}


def test_all_makes_a_dataset_that_the_trainer_reads(whole: Path, objects: Path) -> None:
    found = read_dataset(whole, "robotiq_2f_85", objects)
    assert set(found) == {"ball.stl", "brick.obj", "cone.ply"}
    for mesh, positive, negative in found.values():
        assert len(positive) == 8 >= FEWEST_POSITIVES and len(negative) >= 4
        assert np.ptp(mesh.vertices, axis=0).max() < 0.1
    assert (whole / "config/grippers/robotiq_2f_85.py").is_file()


def test_guess_then_validate_gives_the_bytes_of_all(run: Run, whole: Path, guessed: Path) -> None:
    run("validate", "g", "--load-guesses", *QUOTAS)
    run("gripper-config", "g", "--do-not-draw-picture")
    assert contents(run("splits", "g")) == contents(whole)


@pytest.mark.slow
def test_two_workers_and_another_order_give_the_same_bytes(run: Run, whole: Path, objects: Path, tmp_path: Path) -> None:
    backwards = tmp_path / "list.json"
    backwards.write_text(json.dumps(dict(reversed(json.loads((objects / "list.json").read_text()).items()))))
    assert contents(run("all", "two", *QUOTAS, "--workers", "2", scales=backwards)) == contents(whole)


def test_one_object_alone_gets_what_it_gets_among_others(run: Run, guesses: Path, tmp_path: Path) -> None:
    among = contents(guesses)[f"{GRASPS}/cone.1.0.grasps.json"]
    alone = tmp_path / "list.json"
    alone.write_text('{"cone.ply": 1.0}')
    assert contents(run("guess", "alone", *QUOTAS, scales=alone))[f"{GRASPS}/cone.1.0.grasps.json"] == among


@pytest.mark.slow
def test_another_seed_gives_other_grasps(run: Run, guesses: Path) -> None:
    other = run("guess", "other", *QUOTAS, "--seed", "7")
    assert contents(other)[f"{GRASPS}/ball.0.001.grasps.json"] != contents(guesses)[f"{GRASPS}/ball.0.001.grasps.json"]


@pytest.fixture
def ring(objects: Path, tmp_path: Path) -> Path:
    """A list of one object, which needs several pieces."""
    trimesh.creation.annulus(r_min=0.02, r_max=0.028, height=0.012).export(objects / "ring.stl")
    (tmp_path / "ring.json").write_text('{"ring.stl": 1.0}')
    return tmp_path / "ring.json"


@pytest.mark.slow
def test_the_gap_of_the_pieces_is_on_record_and_its_bound_is_kept(run: Run, ring: Path) -> None:
    usual, tight = (
        read_grasp_file(run("validate", name, *FEW, *flags, scales=ring) / GRASPS / "ring.1.0.grasps.json").provenance
        for name, flags in (("usual", ()), ("tight", ("--max-surface-gap", "0.0004")))
    )
    for made in (usual["object"], tight["object"]):
        assert 0 <= made["mean_gap"] <= made["gap_95"] <= made["largest_gap"] <= 0.0015
    assert tight["object"]["largest_gap"] <= 0.0004 < usual["object"]["largest_gap"]
    assert tight["object"]["pieces"] > usual["object"]["pieces"]
    assert (usual["simulation"]["settings"]["max_surface_gap"], tight["simulation"]["settings"]["max_surface_gap"]) == (None, 0.0004)
    assert usual["simulation"]["digest"] != tight["simulation"]["digest"]


@pytest.mark.slow
def test_pieces_that_cannot_keep_to_the_bound_are_reported(
    run: Run, ring: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("graspgen_cli.geometry.convex.MOST_PARTS", 2)
    run("validate", "loose", *FEW, "--max-surface-gap", "0.00001", "--json", scales=ring)
    (report,) = json.loads(capsys.readouterr().out)["objects"]
    assert report["message"].endswith("mm off the mesh, 0.01 mm were asked for")


def test_guesses_are_untested_and_positive(guesses: Path) -> None:
    grasps = read_grasp_file(guesses / GRASPS / "brick.1.0.grasps.json").grasps
    assert (grasps.count(Outcome.UNVALIDATED), grasps.count(Outcome.COLLISION)) == (8, 4)


@pytest.mark.slow
def test_existing_files_are_kept_filled_or_made_anew_as_asked(run: Run, copied: Path) -> None:
    before = contents(copied)
    assert contents(run("all", "a", *QUOTAS, "--seed", "5")) == before
    larger = ["--num-collision-free-grasps", "12", "--num-colliding-grasps", "4"]
    dataset = run("fill", "a", *larger)
    name = "brick.1.0.grasps.json"
    filled = read_grasp_file(dataset / GRASPS / name).grasps
    first = json.loads(before[f"{GRASPS}/{name}"])["grasps"]["transforms"]
    assert filled.count(Outcome.HELD) == 12
    np.testing.assert_array_equal(filled.pose_gripper_in_object[: len(first)], np.array(first))
    again = contents(run("all", "a", *QUOTAS, "--overwrite-grasps"))
    assert again == before


def test_load_guesses_tests_everything_but_the_geometric_negatives_again(run: Run, copied: Path) -> None:
    path = copied / GRASPS / "brick.1.0.grasps.json"
    before = read_grasp_file(path).grasps
    run("validate", "a", "--load-guesses", *QUOTAS, "--friction", "0.0")
    after = read_grasp_file(path).grasps
    np.testing.assert_array_equal(after.pose_gripper_in_object, before.pose_gripper_in_object)
    np.testing.assert_array_equal(after.outcome == Outcome.COLLISION, before.outcome == Outcome.COLLISION)
    assert after.count(Outcome.HELD) < before.count(Outcome.HELD)


@pytest.mark.slow
def test_a_file_of_another_tool_is_tested(run: Run, guesses: Path, tmp_path: Path) -> None:
    """Poses and flags are all that it holds; a pose in collision becomes a negative, the others get their trial."""
    ours = read_grasp_file(guesses / GRASPS / "brick.1.0.grasps.json").grasps
    poses = ours.pose_gripper_in_object.tolist()
    folder = tmp_path / "theirs" / GRASPS
    folder.mkdir(parents=True)
    document = {"object": {"file": "brick.obj", "scale": 1.0}, "grasps": {"transforms": poses, "object_in_gripper": [True] * len(poses)}}
    (folder / "theirs.grasps.json").write_text(json.dumps(document))
    alone = tmp_path / "list.json"
    alone.write_text('{"brick.obj": 1.0}')
    run("validate", "theirs", "--load-guesses", *QUOTAS, scales=alone)
    tested = read_grasp_file(folder / "theirs.grasps.json").grasps
    assert len(tested) == len(poses)
    assert tested.count(Outcome.HELD) >= 6
    assert np.isfinite(tested.opening_width).all()


def test_bad_objects_do_not_stop_the_good_ones(run: Run, objects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (objects / "text.obj").write_text("this is not a mesh\n")
    (objects / "empty.stl").write_bytes(b"")
    scales = {"ball.stl": 0.001, "gone.obj": 1.0, "text.obj": 1.0, "empty.stl": 1.0, "brick.obj": 0.0, "cone.ply": 1e9, "../x.obj": 1.0}
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(scales))
    command = ["guess", "--object-scales-json", str(listed), "--object-dataset", str(objects), "--grasp-dataset", str(tmp_path / "out")]
    assert main([*command, "--workers", "1", *QUOTAS]) == 1
    said = capsys.readouterr()
    lines = said.err.splitlines()
    for name in set(scales) - {"ball.stl"}:
        assert sum(name in line for line in lines) >= 1, name
    assert "Traceback" not in said.err and "Warning" not in said.err
    assert {p.name for p in (tmp_path / "out" / GRASPS).iterdir()} == {"ball.0.001.grasps.json", "map_uuid_to_path.json"}


def test_two_objects_of_one_name_have_a_file_each(run: Run, objects: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (objects / name).mkdir(exist_ok=True)
        trimesh.creation.icosphere(subdivisions=1, radius=0.02).export(objects / name / "same.stl")
    listed = tmp_path / "list.json"
    listed.write_text('{"a/same.stl": 1.0, "b/same.stl": 1.0}')
    dataset = run("guess", "d", *QUOTAS, scales=listed)
    mapped = json.loads((dataset / GRASPS / "map_uuid_to_path.json").read_text())
    assert len(set(mapped.values())) == 2
    for object_id, name in mapped.items():
        assert read_grasp_file(dataset / GRASPS / name).object_id == object_id


def test_a_broken_grasp_file_fails_alone_and_is_made_anew_when_asked(run: Run, guessed: Path) -> None:
    before = contents(guessed)
    (guessed / GRASPS / "brick.1.0.grasps.json").write_text("{")
    run("guess", "g", *QUOTAS, code=1)
    run("guess", "g", *QUOTAS, "--overwrite-grasps")
    assert contents(guessed) == before


def test_no_grasp_no_file(run: Run, objects: Path, tmp_path: Path) -> None:
    trimesh.creation.icosphere(subdivisions=2, radius=0.3).export(objects / "huge.stl")
    listed = tmp_path / "list.json"
    listed.write_text('{"huge.stl": 1.0}')
    flags = ["--num-collision-free-grasps", "4", "--num-colliding-grasps", "0", "--max-guess-tries", "3"]
    assert contents(run("guess", "d", *flags, scales=listed)) == {}


def test_the_run_log_tells_what_the_files_do_not(guesses: Path) -> None:
    line = json.loads((guesses / "runs.jsonl").read_text())
    assert line["phase"] == "guess" and line["objects"]["made"] == 3 and line["seconds"] > 0


def test_finished_objects_are_walked_over_without_reading_a_file(run: Run, guessed: Path) -> None:
    """By the index, once the files are old enough for their times to be trusted: that they are broken meanwhile is not seen."""
    for path in (guessed / GRASPS).glob("*.grasps.json"):
        os.utime(path, (1e9, 1e9))
    run("guess", "g", *QUOTAS)
    for path in (guessed / GRASPS).glob("*.grasps.json"):
        change_unseen(path, b"x" * path.stat().st_size)
    before = contents(guessed)
    run("guess", "g", *QUOTAS)
    assert contents(guessed) == before


def test_a_kept_file_says_how_it_differs(run: Run, guessed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("guess", "g", *QUOTAS, "--num-offsets", "9", "--json")
    messages = [row["message"] for row in json.loads(capsys.readouterr().out)["objects"]]
    assert all("made with other settings (num_offsets 16, now 9); --overwrite-grasps" in message for message in messages)


def test_testing_again_keeps_the_old_labels_on_record(run: Run, copied: Path) -> None:
    path = copied / GRASPS / "brick.1.0.grasps.json"
    before = json.loads(path.read_text())
    run("validate", "a", "--load-guesses", *QUOTAS, "--friction", "0.2")
    after = json.loads(path.read_text())
    earlier = after["provenance"]["earlier"]
    assert [entry["outcome"] for entry in earlier] == [before["grasps"]["outcome"]]
    assert earlier[0]["simulation"] == before["provenance"]["simulation"] != after["provenance"]["simulation"]
