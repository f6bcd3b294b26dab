"""Grasps of any format under one path: what is found, what it means, and that one broken file is one broken file."""

from __future__ import annotations

import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreign_files import (
    datagen_document,
    isaac_document,
    random_poses,
    write_acronym,
    write_datagen,
    write_shard,
    write_webdataset,
    write_yaml,
)
from graspgen_cli.dataset.collection import Collection, open_collection, read_entry
from graspgen_cli.errors import GraspFileError, InputError
from graspgen_cli.formats.format import ObjectGrasps
from graspgen_cli.records import Outcome
from made_datasets import make_dataset

OBJECTS = ["cups/mug.obj", "box.stl", "cups/bowl.obj"]


def grasps(collection: Collection) -> dict[str, ObjectGrasps]:
    found = [read_entry(entry) for entry in collection.entries]
    return {each.dataset.object_id: each for each in found}


def names(collection: Collection) -> list[str]:
    return [entry.name for entry in collection.entries]


def only(path: Path) -> ObjectGrasps:
    (found,) = grasps(open_collection(path)).values()
    return found


def reason(path: Path) -> str:
    """Why the only entry cannot be read."""
    (entry,) = open_collection(path).entries
    with pytest.raises(GraspFileError, match=r"^[^\n]*$") as caught:
        read_entry(entry)
    assert caught.value.path == entry.shown
    return caught.value.reason


def test_our_own_dataset(tmp_path: Path) -> None:
    make_dataset(tmp_path, OBJECTS)
    make_dataset(tmp_path, ["only.obj"], gripper="franka_panda")
    collection = open_collection(tmp_path)
    assert collection.grippers == ("franka_panda", "robotiq_2f_85")
    assert names(collection) == ["only.obj", "box.stl", "cups/bowl.obj", "cups/mug.obj"]
    assert all(found.dataset.object_id == name and found.dataset.provenance for name, found in grasps(collection).items())
    assert names(open_collection(tmp_path, gripper="franka_panda")) == ["only.obj"]
    with pytest.raises(InputError, match="no grasps of the gripper other; there is franka_panda, robotiq_2f_85"):
        open_collection(tmp_path, gripper="other")


def test_what_graspdatagen_wrote(tmp_path: Path) -> None:
    folder = write_datagen(tmp_path, OBJECTS)
    found = grasps(open_collection(tmp_path))
    assert set(found) == set(OBJECTS) == set(grasps(open_collection(folder)))
    mug = found["cups/mug.obj"]
    document = datagen_document("cups/mug.obj")
    assert mug.dataset.grasps.pose_gripper_in_object.tolist() == document["grasps"]["transforms"]
    assert [Outcome(o) for o in mug.dataset.grasps.outcome] == 2 * [Outcome.HELD, Outcome.HELD, Outcome.HELD, Outcome.DROPPED]
    assert np.isnan(mug.dataset.grasps.opening_width).all()
    assert mug.pose_graspgen_in_gripper is not None
    assert np.allclose(mug.pose_graspgen_in_gripper[:3, 0], [0, 1, 0], atol=1e-12)  # a quarter turn about z takes x to y


@pytest.mark.parametrize("spelling", ["gripper_frame", "gripper_frame_link"])
@pytest.mark.parametrize("version", ["1.0", 1.0])
def test_isaac_grasp(tmp_path: Path, spelling: str, version: object) -> None:
    found = only(write_yaml(tmp_path / "mug.yaml", isaac_document(spelling=spelling, version=version)))
    assert (found.dataset.object_id, found.dataset.scale, found.dataset.gripper_name) == ("cups/mug.obj", 0.5, "onrobot_rg6")
    assert found.gripper_frame == "base_frame"
    assert np.allclose(found.dataset.grasps.pose_gripper_in_object, random_poses(5, seed=3), atol=1e-14)
    assert [Outcome(o).label for o in found.dataset.grasps.outcome] == ["held", "held", "dropped", "held", "held"]
    assert found.isaac is not None
    assert found.isaac.grasps[1]["cspace_position"] == {"finger_joint": 0.1, "other_joint": -0.2}


def test_isaac_grasp_by_hand(tmp_path: Path) -> None:
    """The short form of the specification: frames instead of files, numbers of YAML 1.2, no confidence on one grasp."""
    path = tmp_path / "cup.yaml"
    path.write_text(
        "format: isaac_grasp\nformat_version: 1.0\nobject_frame: /World/mug\ngripper_frame: /World/panda_hand\ngrasps:\n"
        "  g: {confidence: 0.5, position: [1e-2, 0, -2E-3], orientation: {w: 1, xyz: [0, 0, 0]}}\n"
        "  h: {position: [0, 0, 0.1], orientation: {w: 0.00332, xyz: [0.98453, 0.16837, 0.04837]}}\n"
    )
    found = only(path)
    assert (found.dataset.object_id, found.dataset.scale, found.gripper_frame) == ("cup", 1.0, "/World/panda_hand")
    assert len(found.notes) == 2
    assert found.dataset.grasps.pose_gripper_in_object[0, :3, 3].tolist() == [0.01, 0.0, -0.002]
    assert found.dataset.grasps.outcome.tolist() == [Outcome.HELD, Outcome.UNVALIDATED]


def test_guesses_of_graspdatagen_were_never_tried(tmp_path: Path) -> None:
    found = only(write_yaml(tmp_path / "mug.yaml", isaac_document(created_with="grasp_guess")))
    assert {Outcome(o) for o in found.dataset.grasps.outcome} == {Outcome.UNVALIDATED, Outcome.COLLISION}


def test_webdataset(tmp_path: Path) -> None:
    collection = open_collection(write_webdataset(tmp_path, OBJECTS))
    assert names(collection) == ["bowl", "box", "mug"]
    assert collection.damaged == ()
    assert set(grasps(collection)) == set(OBJECTS)
    assert only(tmp_path / "shard_001.tar").dataset.object_id == "box.stl"


def test_acronym(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    found = only(write_acronym(tmp_path / "mug.h5"))
    assert (found.dataset.object_id, found.dataset.scale) == ("meshes/Mug/10f6.obj", 0.25)
    assert np.array_equal(found.dataset.grasps.pose_gripper_in_object, random_poses(10))
    assert found.dataset.grasps.outcome.tolist() == 5 * [Outcome.DROPPED, Outcome.HELD]
    assert found.pose_graspgen_in_gripper is not None and np.array_equal(found.pose_graspgen_in_gripper, np.eye(4))


def test_all_formats_in_one_folder_in_a_stable_order(tmp_path: Path) -> None:
    write_yaml(tmp_path / "deep" / "b.yaml", isaac_document())
    (tmp_path / "a.grasps.json").write_text(json.dumps(datagen_document("a.obj")))
    write_webdataset(tmp_path / "shards", ["c.obj"])
    collection = open_collection(tmp_path)
    assert [entry.path.suffix for entry in collection.entries] == [".json", ".yaml", ".tar"]
    assert names(collection) == ["a", "b", "c"]


def test_entries_can_be_read_elsewhere(tmp_path: Path) -> None:
    write_webdataset(tmp_path, OBJECTS)
    for entry in open_collection(tmp_path).entries:
        sent = pickle.dumps(entry)
        assert len(sent) < 1000
        assert read_entry(pickle.loads(sent)).dataset.object_id in OBJECTS


def test_one_broken_file_is_one_broken_file(tmp_path: Path) -> None:
    folder = write_datagen(tmp_path, OBJECTS)
    (folder / "box.0.5.grasps.json").write_text('{"object": ')
    box, *others = open_collection(tmp_path).entries
    with pytest.raises(GraspFileError) as caught:
        read_entry(box)
    assert caught.value.path == folder / "box.0.5.grasps.json"
    assert [read_entry(entry).dataset.object_id for entry in others] == ["cups/bowl.obj", "cups/mug.obj"]


def test_nothing_to_read(tmp_path: Path) -> None:
    for path, message in ((tmp_path, "no grasps found"), (tmp_path / "x", "no such file"), (Path(__file__), "not a file of grasps")):
        with pytest.raises(InputError, match=message):
            open_collection(path)


def test_broken_isaac_grasps(tmp_path: Path) -> None:
    def broken(**changed: Any) -> str:
        document = isaac_document()
        document["grasps"]["grasp_1_7"] |= changed
        return reason(write_yaml(tmp_path / "x.yaml", document))

    assert "position is not 3 numbers" in broken(position=[0, 0])
    assert "position is not finite" in broken(position=[0, 0, 1e999])
    assert "not an isaac_grasp file" in broken(position=[0, 0, 10**400])
    assert "not a unit quaternion" in broken(orientation={"w": 0, "xyz": [0, 0, 0]})
    assert "no 'w'" in broken(orientation={"xyz": [0, 0, 0]})
    assert "confidence is not a number" in broken(confidence=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x]\nb: [*a, *a]\n", "refers to another value"),
        ("a: " + "[" * 9 + "]" * 9, "nested more than 8 deep"),
        ("a: " + "[" * 1000, "cannot be read as YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("format: isaac_grasp\nformat_version: 2.0\n", "format_version 2.0"),
        ("format: isaac_grasp\ngrasps: {}\n", "holds no grasps"),
        ("format: other\n", "does not say `format: isaac_grasp`"),
        ("- 1\n", "does not say `format: isaac_grasp`"),
        ("\x00", "not valid YAML"),
        ("format: isaac_grasp\ngrasps: {a: 1}\n", "grasp a is no mapping"),
        ("format: isaac_grasp\nx: !!binary aaaa\ngrasps: {a: {}}\n", "a value of the type bytes"),
    ],
)
def test_hostile_yaml(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert message in reason(path)


def test_hostile_shards(tmp_path: Path) -> None:
    good = json.dumps(datagen_document()).encode()
    shard = write_shard(tmp_path / "shard_000.tar", {"../../evil.grasps.json": good, "/abs.grasps.json": b"{}", "mug.grasps.json": good})
    with tarfile.open(shard, "a") as archive:
        link = tarfile.TarInfo("link.grasps.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = set(tmp_path.rglob("*"))
    first, broken, last = open_collection(shard).entries
    assert [read_entry(entry).dataset.object_id for entry in (first, last)] == ["cups/mug.obj"] * 2
    with pytest.raises(GraspFileError):
        read_entry(broken)
    assert set(tmp_path.rglob("*")) == before


def test_shards_that_are_none(tmp_path: Path) -> None:
    whole = write_shard(tmp_path / "shard_000.tar", {"mug.grasps.json": json.dumps(datagen_document()).encode()}).read_bytes()
    (tmp_path / "shard_000.tar").write_bytes(whole[:2000])
    (tmp_path / "shard_001.tar").write_bytes(b"no tar at all" * 100)
    (tmp_path / "uuid_index.json").write_text('{"mug": 0, "gone": 1}')
    collection = open_collection(tmp_path)
    assert {Path(str(error.path)).name for error in collection.damaged} >= {"shard_001.tar", "uuid_index.json"}
    (entry,) = collection.entries
    with pytest.raises(GraspFileError, match="ends in the middle"):
        read_entry(entry)
    (tmp_path / "uuid_index.json").write_text("[1]")
    assert any("no index of shards" in damaged.reason for damaged in open_collection(tmp_path).damaged)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"grasps/transforms": None}, "transforms"),
        ({"grasps/transforms": np.zeros((10, 4, 4))}, "no rigid transform"),
        ({"grasps/transforms": np.full((10, 4, 4), np.nan)}, "no rigid transform"),
        ({"grasps/transforms": "text"}, "transforms"),
        ({"grasps/qualities/flex/object_in_gripper": np.arange(9)}, "flags of shape"),
        ({"grasps/qualities/flex/object_in_gripper": np.arange(10)}, "not 0 or 1"),
        ({"object/scale": -1.0}, "not positive"),
        ({"object/scale": np.ones(3)}, "not one value"),
        ({"object/file": 3}, "not the name of a file"),
    ],
)
def test_broken_acronym(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    assert message in reason(write_acronym(tmp_path / "x.h5", **changed))


def test_hdf5_that_leads_to_other_files(tmp_path: Path) -> None:
    """HDF5 can take a dataset's bytes from any file, and a name can stand for a dataset elsewhere."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    write_acronym(tmp_path / "other.h5")
    (tmp_path / "secret").write_bytes(np.tile(np.eye(4), (10, 1, 1)).tobytes())
    for break_it in ("external", "link", "virtual"):
        path = write_acronym(tmp_path / "x" / f"{break_it}.h5", **{"grasps/transforms": None})
        with h5py.File(path, "a") as file:
            if break_it == "external":
                file.create_dataset("grasps/transforms", (10, 4, 4), "f8", external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)])
            elif break_it == "link":
                file["grasps/transforms"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "grasps/transforms")
            else:
                layout = h5py.VirtualLayout((10, 4, 4), "f8")
                layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "grasps/transforms", (10, 4, 4))
                file.create_virtual_dataset("grasps/transforms", layout)
        assert "lies in another file" in reason(path)


def test_hdf5_that_unpacks_to_more_than_memory_holds(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    path = write_acronym(tmp_path / "x.h5", **{"grasps/transforms": None})
    with h5py.File(path, "a") as file:
        shape = {"shape": (10, 4, 4), "maxshape": (None, 4, 4), "chunks": (10_000_000, 4, 4)}
        file.create_dataset("grasps/transforms", dtype="f8", compression="gzip", **shape)
    assert "stored in chunks of" in reason(path)


def test_hdf5_junk(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    whole = write_acronym(tmp_path / "whole.h5").read_bytes()
    for content in (b"", b"junk" * 1000, whole[: len(whole) // 2], whole[:600] + bytes(len(whole) - 600)):
        (tmp_path / "x.h5").write_bytes(content)
        assert "not an ACRONYM file" in reason(tmp_path / "x.h5")
