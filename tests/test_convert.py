"""Conversion: what goes in comes out again, in every format's own library, in the same bytes, and nothing that is hostile gets through."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import OBJECTS as EXAMPLES
from foreign_files import datagen_document, isaac_document, random_poses, write_acronym, write_datagen, write_webdataset, write_yaml
from graspgen_cli.app import main
from graspgen_cli.dataset import convert as conversion
from graspgen_cli.dataset.collection import open_collection, read_entry
from graspgen_cli.dataset.convert import in_frame_of
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.formats.format import Entry, load_format
from graspgen_cli.formats.graspgen_json import read_grasp_file
from graspgen_cli.formats.webdataset import shard_uuids
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.records import GraspBatch, Outcome
from graspgen_cli.settings.commands import ConvertCommand
from made_datasets import make_dataset
from trainer import read_dataset

OBJECTS = ["cups/mug.obj", "box.stl", "cups/bowl.obj"]
GRIPPER = "robotiq_2f_85"


def convert(source: Path, to: str, output: Path, *more: str, code: int = 0) -> None:
    assert main(["convert", str(source), "--to", to, "--output-dataset", str(output), "--quiet", *more]) == code


def batches(path: Path) -> dict[str, GraspBatch]:
    return {found.dataset.object_id: found.dataset.grasps for found in map(read_entry, open_collection(path).entries)}


def assert_same(before: dict[str, GraspBatch], after: dict[str, GraspBatch], *, tolerance: float = 0.0) -> None:
    assert before.keys() == after.keys()
    for object_id, one in before.items():
        other = after[object_id]
        assert np.abs(one.pose_gripper_in_object - other.pose_gripper_in_object).max() <= tolerance
        assert np.array_equal(one.outcome, other.outcome)
        assert np.array_equal(one.opening_width, other.opening_width, equal_nan=True)


def isaac_file(folder: Path) -> Any:
    (path,) = folder.rglob("*.yaml")
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.mark.parametrize("made_by", [make_dataset, write_datagen])
def test_round_trips_of_datasets(tmp_path: Path, made_by: Any) -> None:
    made_by(tmp_path / "a", OBJECTS)
    before = batches(tmp_path / "a")
    convert(tmp_path / "a", "webdataset", tmp_path / "w")
    convert(tmp_path / "w", "graspgen", tmp_path / "b")
    assert_same(before, batches(tmp_path / "w"))
    assert_same(before, batches(tmp_path / "b"))
    convert(tmp_path / "a", "isaac-grasp", tmp_path / "i")
    convert(tmp_path / "i", "graspgen", tmp_path / "c")
    assert_same(before, batches(tmp_path / "i"), tolerance=1e-12)
    assert_same(before, batches(tmp_path / "c"), tolerance=1e-12)


@pytest.mark.parametrize("spelling", ["gripper_frame", "gripper_frame_link"])
@pytest.mark.parametrize("version", ["1.0", 1.0])
def test_isaac_grasp_comes_back_as_it_was(tmp_path: Path, spelling: str, version: object) -> None:
    document = isaac_document(spelling=spelling, version=version, object_frame="/World/mug", somebody="else", made=[1, {"a": None}])
    document["grasps"]["grasp_1_7"] |= {"confidence": 0.25, "pregrasp_position": [1, 2, 3], "extra": {"b": True}}
    del document["grasps"]["grasp_0_7"]["confidence"]
    write_yaml(tmp_path / "a" / "mug.yaml", document)
    convert(tmp_path / "a", "graspgen", tmp_path / "g")
    convert(tmp_path / "g", "isaac-grasp", tmp_path / "b")
    assert isaac_file(tmp_path / "b") == document
    convert(tmp_path / "a", "webdataset", tmp_path / "w")
    convert(tmp_path / "w", "isaac-grasp", tmp_path / "c")
    assert isaac_file(tmp_path / "c") == document


def test_guesses_stay_guesses(tmp_path: Path) -> None:
    document = isaac_document(created_with="grasp_guess")
    write_yaml(tmp_path / "a" / "mug.yaml", document)
    convert(tmp_path / "a", "graspgen", tmp_path / "g")
    assert_same(batches(tmp_path / "a"), batches(tmp_path / "g"))
    convert(tmp_path / "g", "isaac-grasp", tmp_path / "b")
    assert isaac_file(tmp_path / "b") == document


@settings(max_examples=30)
@given(
    position=st.lists(st.floats(-10, 10), min_size=3, max_size=3),
    quaternion=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    confidence=st.floats(0, 1),
)
def test_any_pose_comes_back(tmp_path_factory: Any, position: list[float], quaternion: list[float], confidence: float) -> None:
    """The law of the round trip: a unit quaternion, either sign, and a position come back to the last bit."""
    w, x, y, z = (np.array(quaternion) / np.linalg.norm(quaternion)).tolist()
    grasp = {"confidence": confidence, "position": position, "orientation": {"w": w, "xyz": [x, y, z]}}
    document = {**isaac_document(count=1), "grasps": {"g": grasp}}
    isaac_grasp = load_format("isaac-grasp")
    found = isaac_grasp.read(Entry(write_yaml(tmp_path_factory.mktemp("pose") / "a.yaml", document), "a"))
    assert isaac_grasp.encode is not None and yaml.safe_load(isaac_grasp.encode(found, None)) == document


def test_the_trainer_reads_what_was_an_isaac_grasp_file(tmp_path: Path) -> None:
    """GraspGen's reader, and the frames and the checksum in the file."""
    write_yaml(tmp_path / "a" / "mug.yaml", isaac_document(object_file="box.obj", object_scale=1.0))
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "box.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    convert(tmp_path / "a", "graspgen", tmp_path / "g", "--for-gripper", GRIPPER)
    splits = DatasetPaths(tmp_path / "g", GRIPPER).splits
    splits.mkdir(parents=True)
    (splits / "train.txt").write_text("box.obj\n")
    (splits / "valid.txt").write_text("")
    _, held, failed = read_dataset(tmp_path / "g", GRIPPER, tmp_path / "objects")["box.obj"]
    assert (len(held), len(failed)) == (4, 1)
    assert np.allclose(held, random_poses(5, seed=3)[[0, 1, 3, 4]])
    (file,) = DatasetPaths(tmp_path / "g", GRIPPER).grasps.glob("*.grasps.json")
    assert read_grasp_file(file).gripper_name == GRIPPER
    assert json.loads(file.read_text())["frames"]["gripper"] == load_gripper(GRIPPER).base_body


def graspgen_lookup(folder: Path, uuid: str) -> Any:
    """How GraspGen finds an object in shards: the index, then the shard's samples from its start, by the webdataset library."""
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    number = json.loads((folder / "uuid_index.json").read_text())[uuid]
    samples = webdataset.WebDataset(str(folder / f"shard_{number:03d}.tar"), shardshuffle=False)
    return next((json.loads(sample["grasps.json"]) for sample in samples if sample["__key__"] == uuid), None)


NAMES = [
    "cups/mug.obj",
    "v1.2/a.b.c.stl",
    "a.obj",
    "a.stl",
    ".hidden.obj",
    "__x__/y.obj",
    "räder/süß 1.glb",
    "x" * 150 + ".obj",
    "no_ending",
]


def test_the_webdataset_library_finds_every_object(tmp_path: Path) -> None:
    make_dataset(tmp_path / "a", NAMES)
    convert(tmp_path / "a", "webdataset", tmp_path / "w", "--objects-per-shard", "4")
    folder = DatasetPaths(tmp_path / "w", GRIPPER).grasps
    assert sorted(path.name for path in folder.iterdir()) == ["shard_000.tar", "shard_001.tar", "shard_002.tar", "uuid_index.json"]
    meshes = json.loads((tmp_path / "w" / "objects" / "map_uuid_to_path.json").read_text())
    assert sorted(meshes.values()) == sorted(NAMES)
    for uuid, object_id in meshes.items():
        assert graspgen_lookup(folder, uuid)["object"]["file"] == object_id
    splits = DatasetPaths(tmp_path / "w", GRIPPER).splits
    listed = [line for name in ("train.txt", "valid.txt") for line in (splits / name).read_text().splitlines()]
    assert sorted(listed) == sorted(meshes)


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(lambda name: f"{name}.obj"), unique=True))
def test_uuids_are_distinct_and_have_no_dot_that_cuts(object_ids: list[str]) -> None:
    uuids = shard_uuids(object_ids)
    assert len(set(uuids.values())) == len(object_ids)
    assert all("." not in uuid.rpartition("/")[2] for uuid in uuids.values())
    assert uuids == shard_uuids(reversed(object_ids))


@pytest.mark.parametrize("to", ["graspgen", "isaac-grasp", "webdataset"])
def test_the_same_data_give_the_same_bytes(tmp_path: Path, to: str) -> None:
    make_dataset(tmp_path / "a", OBJECTS)
    contents = []
    for output in ("x", "y"):
        convert(tmp_path / "a", to, tmp_path / output)
        contents.append(
            {str(p.relative_to(tmp_path / output)): p.read_bytes() for p in sorted((tmp_path / output).rglob("*")) if p.is_file()}
        )
    assert contents[0] == contents[1]
    assert len(contents[0]) >= 3


def test_what_is_not_ours_comes_along(tmp_path: Path) -> None:
    document = datagen_document("mug.obj") | {"note": {"by": "somebody"}}
    document["grasps"]["contact_locations"] = [[1, 2, 3]] * 8
    (tmp_path / "a.json").write_text(json.dumps(document))
    convert(tmp_path / "a.json", "webdataset", tmp_path / "w")
    convert(tmp_path / "w", "graspgen", tmp_path / "g")
    (file,) = (tmp_path / "g").rglob("*.grasps.json")
    found = json.loads(file.read_text())
    assert found["note"] == document["note"]
    assert found["grasps"]["contact_locations"] == document["grasps"]["contact_locations"]
    turn = found["gripper"]["transform_offset_from_asset_to_graspgen_convention"][1]
    assert np.allclose(turn, [0, 0, np.sqrt(0.5), np.sqrt(0.5)])


def test_turned_to_the_grippers_own_frame(tmp_path: Path) -> None:
    """What the trainer computes, grasp @ offset, is the same before and after."""
    write_datagen(tmp_path / "a", ["mug.obj"])
    convert(tmp_path / "a", "graspgen", tmp_path / "b", "--for-gripper", GRIPPER)
    before, after = (read_entry(entry) for name in "ab" for entry in open_collection(tmp_path / name).entries)
    assert before.pose_graspgen_in_gripper is not None and after.pose_graspgen_in_gripper is not None
    seen = before.dataset.grasps.pose_gripper_in_object @ before.pose_graspgen_in_gripper
    assert np.allclose(after.dataset.grasps.pose_gripper_in_object @ after.pose_graspgen_in_gripper, seen, atol=1e-12)
    assert not np.allclose(before.dataset.grasps.pose_gripper_in_object, after.dataset.grasps.pose_gripper_in_object)
    again = in_frame_of(after, load_gripper(GRIPPER)).dataset.grasps
    assert np.array_equal(again.pose_gripper_in_object, after.dataset.grasps.pose_gripper_in_object)


def test_joints_for_isaac(tmp_path: Path) -> None:
    make_dataset(tmp_path / "a", ["mug.obj"])
    convert(tmp_path / "a", "isaac-grasp", tmp_path / "i", "--for-gripper", GRIPPER)
    gripper = load_gripper(GRIPPER)
    grasp = isaac_file(tmp_path / "i")["grasps"]["grasp_0"]
    k = int(gripper.nearest_opening(np.array([0.05]))[0])
    assert grasp["pregrasp_cspace_position"] == dict(zip(gripper.joint_names, gripper.joint_position[k].tolist(), strict=True))
    assert grasp["cspace_position"] == dict(zip(gripper.joint_names, gripper.joint_position[0].tolist(), strict=True))


def test_acronym_becomes_a_dataset(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    write_acronym(tmp_path / "mug.h5")
    convert(tmp_path / "mug.h5", "graspgen", tmp_path / "g", "--for-gripper", "franka_panda")
    (grasps,) = batches(tmp_path / "g").values()
    offset = np.linalg.inv(load_gripper("franka_panda").pose_base_in_graspgen)
    assert np.allclose(grasps.pose_gripper_in_object @ offset, random_poses(10), atol=1e-12)


def test_published_shards_become_files(tmp_path: Path) -> None:
    write_webdataset(tmp_path / "grasp_data" / "franka_panda", OBJECTS)
    (tmp_path / "splits" / "franka_panda").mkdir(parents=True)
    (tmp_path / "splits" / "franka_panda" / "train.txt").write_text("mug\r\n# mine\r\nunknown\r\nbox")
    convert(tmp_path, "graspgen", tmp_path / "out")
    paths = DatasetPaths(tmp_path / "out", "franka_panda")
    assert set(orjson.loads(paths.object_map.read_bytes())) == set(OBJECTS)
    assert (paths.splits / "train.txt").read_bytes() == b"cups/mug.obj\r\n# mine\r\nunknown\r\nbox.stl"
    assert not (paths.splits / "valid.txt").exists()


def test_what_cannot_be_converted_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, object_id in enumerate(["/abs/mug.obj", "../up.obj", "good.obj", "good.obj"]):
        (tmp_path / f"{number}.json").write_text(json.dumps(datagen_document(object_id)))
    (tmp_path / "4.json").write_text("{")
    (tmp_path / "5.json").write_text(json.dumps(datagen_document() | {"gripper": {"name": "../../evil"}}))
    skewed = datagen_document("skewed.obj")
    skewed["grasps"]["transforms"][2][0][0] = 5.0
    (tmp_path / "6.json").write_text(json.dumps(skewed))
    convert(tmp_path, "graspgen", tmp_path / "out", code=1)
    lines = capsys.readouterr().err.splitlines()
    expected = ("is an absolute path", "leaves the folder", "3.json: holds good.obj", "cannot be read as JSON", "'../../evil'", "no rigid")
    assert len(lines) == len(expected)
    assert all(any(text in line for line in lines) for text in expected)
    assert list(batches(tmp_path / "out")) == ["good.obj"]


def test_nothing_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text("{")
    convert(tmp_path / "a.json", "graspgen", tmp_path / "out", code=1)
    assert capsys.readouterr().out == "nothing was converted\n"
    assert not (tmp_path / "out").exists()


def test_absolute_paths_within_the_folder_of_the_meshes(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(datagen_document(str(tmp_path / "meshes" / "cups" / "mug.obj"))))
    convert(tmp_path / "a.json", "graspgen", tmp_path / "out", "--object-dataset", str(tmp_path / "meshes"))
    assert list(batches(tmp_path / "out")) == ["cups/mug.obj"]


def test_nothing_that_is_there_is_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_dataset(tmp_path / "a", OBJECTS)
    convert(tmp_path / "a", "webdataset", tmp_path / "a", code=4)
    assert "is not empty" in capsys.readouterr().err
    assert not list((tmp_path / "a").rglob("*.tar"))


def test_grasps_of_two_grippers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_dataset(tmp_path / "a", OBJECTS)
    make_dataset(tmp_path / "a", OBJECTS, gripper="franka_panda")
    convert(tmp_path / "a", "webdataset", tmp_path / "w")
    assert len(batches(tmp_path / "w")) == 3  # of each gripper, under the same names
    assert open_collection(tmp_path / "w").grippers == ("franka_panda", GRIPPER)
    convert(tmp_path / "a", "graspgen", tmp_path / "g", "--for-gripper", GRIPPER, code=3)
    assert "holds grasps of franka_panda, robotiq_2f_85" in capsys.readouterr().err


def test_hostile_values_beside_the_grasps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that a file says besides replaces a pose, breaks the others' conversion or makes a file that cannot be read."""
    deep: list[Any] = []
    for _ in range(600):
        deep = [deep]
    fields = [{"name": f"g{i}", "position": [9, 9, 9], "confidence": float("nan"), "orientation": "x"} for i in range(8)]
    for name, beside in {
        "fields": {"isaac_grasp": {"header": {"format": "other", "grasps": {}}, "grasps": fields}},
        "deep": {"mine": deep, "isaac_grasp": {"header": {"mine": deep}, "grasps": fields}},
        "surrogate": {"mine": "\ud800", "nan": float("nan"), "isaac_grasp": {"header": {"mine": "\ud800"}, "grasps": fields}},
        "good": {},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(datagen_document(f"{name}.obj") | beside))
    for to in ("graspgen", "isaac-grasp", "webdataset"):
        convert(tmp_path, to, tmp_path / ".out" / to, code=1)
        lines = capsys.readouterr().err.splitlines()
        assert {line.partition(".json")[0].rpartition("/")[2] for line in lines} <= {"deep", "surrogate"}
        found = batches(tmp_path / ".out" / to)
        assert {"good.obj", "fields.obj"} <= set(found)
        assert np.allclose(found["fields.obj"].pose_gripper_in_object, random_poses(8))


def test_file_names_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "good.json").write_text(json.dumps(datagen_document("good.obj")))
    Path(os.fsdecode(os.fsencode(tmp_path / "a") + b"/\xff\n.json")).write_text("{")
    for to, code in (("graspgen", 1), ("webdataset", 1)):
        convert(tmp_path / "a", to, tmp_path / to, "--json", code=code)
        streams = capsys.readouterr()
        assert [one["object_id"] for one in json.loads(streams.out)["objects"]] == ["good.obj"]
        assert streams.err.count("\n") == 1


def test_json_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_dataset(tmp_path / "a", ["mug.obj"])
    convert(tmp_path / "a", "webdataset", tmp_path / "w", "--json")
    document = json.loads(capsys.readouterr().out)
    assert [(one["object_id"], one["name"], one["grasps"]) for one in document["objects"]] == [("mug.obj", "mug", 8)]


def test_a_file_that_is_lost_between_the_two_readings(tmp_path: Path) -> None:
    """The index lists the objects that were written."""
    paths = make_dataset(tmp_path / "a", OBJECTS)
    lost = next(paths.grasps.glob("mug*"))
    how = ConvertCommand.of(grasp_dataset=tmp_path / "a", to="webdataset", output_dataset=tmp_path / "w")
    done = conversion.convert(how, on_start=lambda _: None, on_object=lambda name: lost.unlink() if "mug" in name else None)
    assert [error.path for error in done.damaged] == [lost]
    folder = DatasetPaths(tmp_path / "w", GRIPPER).grasps
    assert len(json.loads((folder / "uuid_index.json").read_text())) == 2
    assert len(batches(folder)) == 2


def test_the_poses_of_these_tests_are_rigid() -> None:
    """Or none of the laws above would say anything."""
    rotations = random_poses(20)[:, :3, :3]
    assert np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3))
    assert np.allclose(np.linalg.det(rotations), 1)


@pytest.mark.slow
def test_foreign_grasps_are_tried_again(tmp_path: Path) -> None:
    """A GraspDataGen dataset in place, and isaac_grasp files by way of `convert`: the same grasps, the same verdicts."""
    ours = tmp_path / "ours"
    make = ["--object-dataset", str(EXAMPLES), "--object-scales-json", str(tmp_path / "s.json"), "--workers", "1", "--quiet"]
    (tmp_path / "s.json").write_text('{"box.stl": 0.001}')
    few = ["--num-collision-free-grasps", "6", "--num-colliding-grasps", "2"]
    assert main(["all", "--grasp-dataset", str(ours), "--graspgen-source", str(tmp_path / "none"), *few, *make]) == 0
    (file,) = ours.rglob("*.grasps.json")
    document = json.loads(file.read_text())
    foreign = {**datagen_document("box.stl", scale=0.001), "gripper": document["gripper"]}
    foreign["grasps"] = {key: document["grasps"][key] for key in ("transforms", "object_in_gripper")}
    folder = write_datagen(tmp_path / "theirs", [])
    (folder / "box.grasps.json").write_text(json.dumps(foreign))
    convert(tmp_path / "theirs", "isaac-grasp", tmp_path / "isaac")
    convert(tmp_path / "isaac", "graspgen", tmp_path / "back", "--for-gripper", GRIPPER)
    outcomes = []
    for dataset in (tmp_path / "theirs", tmp_path / "back"):
        assert main(["validate", "--load-guesses", "--grasp-dataset", str(dataset), *make]) == 0
        assert main(["analyze", "--grasp-dataset", str(dataset), "--quiet"]) == 0
        (grasps,) = batches(dataset).values()
        outcomes.append(grasps.outcome.tolist())
    assert outcomes[0] == outcomes[1]
    assert {Outcome.HELD, Outcome.COLLISION} <= {Outcome(o) for o in outcomes[0]}
