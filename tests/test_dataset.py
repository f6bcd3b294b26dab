"""Files of a dataset: what is written can be read, by us and by the trainer; names never clash; writes are whole."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graspgen_cli.dataset import index
from graspgen_cli.dataset.object_map import own_files, read_object_map, write_object_map
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.dataset.provenance import digest
from graspgen_cli.errors import GraspFileError, OutputError
from graspgen_cli.files import read_ahead, read_bounded, write_atomically
from graspgen_cli.formats.graspgen_json import encode, read_grasp_file
from graspgen_cli.objects.read import read_mesh
from graspgen_cli.records import GraspBatch, GraspDataset, Outcome
from limits import files_of_at_most
from made_datasets import change_unseen, document, grasp_dataset, make_dataset, make_older
from trainer import read_object

OBJECTS = Path(__file__).parents[1] / "objects"
OFFSET = ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])


def dataset(outcomes: list[int], *, object_id: str = "mug.obj", scale: float = 0.001) -> GraspDataset:
    count = len(outcomes)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = np.arange(count) * 0.1
    grasps = GraspBatch(poses, np.linspace(0, 0.08, count), np.array(outcomes, np.int8))
    return GraspDataset(object_id, scale, "jaw", 0.08, 0.11, grasps, {"tries": 3})


@given(st.lists(st.sampled_from([int(o) for o in Outcome]), min_size=1, max_size=20), st.floats(1e-4, 100))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, outcomes: list[int], scale: float) -> None:
    path = tmp_path_factory.mktemp("round") / "mug.grasps.json"
    original = dataset(outcomes, scale=scale)
    path.write_bytes(encode(original, OFFSET))
    read = read_grasp_file(path)
    np.testing.assert_array_equal(read.grasps.pose_gripper_in_object, original.grasps.pose_gripper_in_object)
    np.testing.assert_array_equal(read.grasps.opening_width, original.grasps.opening_width)
    np.testing.assert_array_equal(read.grasps.outcome, original.grasps.outcome)
    for name in ("object_id", "scale", "gripper_name", "gripper_width", "gripper_depth", "provenance"):
        assert getattr(read, name) == getattr(original, name)


def test_the_trainer_sees_held_and_untested_as_positive() -> None:
    document = json.loads(encode(dataset([int(o) for o in Outcome]), OFFSET))
    _, positive, negative = read_object(document, OBJECTS)
    np.testing.assert_allclose(positive[:, 0, 3], [0.0, 0.1])
    np.testing.assert_allclose(negative[:, 0, 3], [0.2, 0.3, 0.4])
    assert document["gripper"]["transform_offset_from_asset_to_graspgen_convention"] == [list(part) for part in OFFSET]


def test_a_file_without_grasps_is_never_written() -> None:
    with pytest.raises(ValueError, match="without grasps"):
        encode(dataset([]), OFFSET)


def test_a_file_of_another_tool_has_no_openings_and_no_outcomes(tmp_path: Path) -> None:
    document = {
        "object": {"file": "a/b.obj", "scale": 1},
        "grasps": {"transforms": [np.eye(4).tolist()] * 2, "object_in_gripper": [True, False]},
    }
    (tmp_path / "f.json").write_text(json.dumps(document))
    read = read_grasp_file(tmp_path / "f.json")
    assert np.isnan(read.grasps.opening_width).all()
    np.testing.assert_array_equal(read.grasps.outcome, [Outcome.HELD, Outcome.DROPPED])
    assert read.provenance == {}


good = {key: value for key, value in json.loads(encode(dataset([1, 3]), OFFSET)).items() if key not in ("checksum", "provenance")}


def changed(**grasps: object) -> str:
    return json.dumps({**good, "grasps": {**good["grasps"], **grasps}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        json.dumps({**good, "object": {"file": 3, "scale": 1.0}}),
        json.dumps({**good, "object": {"file": "a", "scale": "1"}}),
        json.dumps({**good, "object": {"file": "a", "scale": True}}),
        json.dumps({**good, "provenance": [1]}),
        changed(transforms=[[1, 2], [3, 4]]),
        changed(transforms="x"),
        changed(object_in_gripper=[1, 0]),
        changed(object_in_gripper=[True]),
        changed(object_in_gripper=None),
        changed(outcome=["held", "flown"]),
        changed(outcome=["held"]),
        changed(opening_width=[0.1]),
        changed(opening_width=["wide", 0.1]),
        changed(opening_width="12"),
        changed(opening_width=[float("inf"), 0.1]),
        changed(outcome="held"),
        changed(outcome=[["held"], {}]),
        changed(outcome=["dropped", "held"]),
        changed(transforms=[]),
        changed(transforms=[[["1.0"] * 4] * 4] * 2),
        changed(transforms=[[[None] * 4] * 4] * 2),
        changed(transforms=[[[True] * 4] * 4] * 2),
        changed(transforms=[[[float("nan")] * 4] * 4] * 2),
        changed(transforms=[[[10**400] * 4] * 4] * 2),
        changed(transforms={"0": []}),
        json.dumps({**good, "gripper": ["jaw"]}),
        json.dumps({**good, "grasps": []}),
        json.dumps({**good, "object": {"file": "", "scale": 1.0}}),
        json.dumps({**good, "object": {"file": "a\ud800", "scale": 1.0}}),
        json.dumps({**good, "object": {"file": "a", "scale": 0}}),
        json.dumps({**good, "object": {"file": "a", "scale": float("nan")}}),
        json.dumps({**good, "checksum": 3}),
        '{"a":' * 500_000,
    ],
)
def test_a_broken_grasp_file_is_named_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.grasps.json"
    path.write_text(text)
    with pytest.raises(GraspFileError) as caught:
        read_grasp_file(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# --- the checksum ---------------------------------------------------------------------------------------------------------------

ENCODED = encode(dataset([1, 2, 3, 0]), OFFSET)
FOREIGN = json.dumps({key: value for key, value in json.loads(ENCODED).items() if key not in ("checksum", "provenance")}).encode()


def equal(one: GraspDataset, other: GraspDataset) -> bool:
    numbers = ("pose_gripper_in_object", "opening_width", "outcome")
    plain = ("object_id", "scale", "gripper_name", "gripper_width", "gripper_depth", "provenance")
    return all(np.array_equal(getattr(one.grasps, n), getattr(other.grasps, n), equal_nan=True) for n in numbers) and all(
        getattr(one, name) == getattr(other, name) for name in plain
    )


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "mug.grasps.json"


def read_back(path: Path, content: bytes) -> GraspDataset | None:
    """What the reader makes of the content; None where it refuses it as it should."""
    path.write_bytes(content)
    try:
        return read_grasp_file(path)
    except GraspFileError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 600
        return None


def test_every_flipped_bit_is_found_or_harmless(scratch: Path) -> None:
    original = read_back(scratch, ENCODED)
    assert original is not None
    found = 0
    for place in range(0, len(ENCODED), 3):
        flipped = bytearray(ENCODED)
        flipped[place] ^= 1 << place % 8
        read = read_back(scratch, bytes(flipped))
        found += read is None
        assert read is None or equal(read, original), place
    assert found > len(ENCODED) / 3 * 0.98


pieces = st.one_of(st.binary(max_size=8), st.sampled_from([b"[" * 3000, b"NaN", b"1e999", b"null", b'"', b"{}", b"-", b"\\ud800", b"true"]))


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, len(ENCODED)), st.integers(0, 40), pieces), min_size=1, max_size=4), st.sampled_from([0, 1]))
def test_whatever_is_done_to_a_file_it_reads_the_same_or_is_refused(
    scratch: Path, edits: list[tuple[int, int, bytes]], foreign: int
) -> None:
    content = (ENCODED, FOREIGN)[foreign]
    for place, removed, inserted in edits:
        content = content[:place] + inserted + content[place + removed :]
    read = read_back(scratch, content)
    if read is None:
        return
    assert np.isfinite(read.grasps.pose_gripper_in_object).all()
    if not foreign:
        original = read_back(scratch, ENCODED)
        assert original is not None and equal(read, original)


@given(st.integers(0, len(ENCODED) - 2))
def test_a_file_cut_short_is_refused(scratch: Path, length: int) -> None:
    assert read_back(scratch, ENCODED[:length]) is None


def test_a_changed_number_is_called_damage(scratch: Path) -> None:
    assert b'"depth":0.11' in ENCODED
    scratch.write_bytes(ENCODED.replace(b'"depth":0.11', b'"depth":0.12'))
    with pytest.raises(GraspFileError, match="damaged: its checksum does not match; make it anew with --overwrite-grasps"):
        read_grasp_file(scratch)


def test_white_space_and_the_order_of_keys_are_no_damage(scratch: Path) -> None:
    assert read_back(scratch, json.dumps(json.loads(ENCODED), indent=2, sort_keys=True).encode()) is not None


def test_a_file_of_ours_that_lost_its_checksum_is_damaged(scratch: Path) -> None:
    assert read_back(scratch, ENCODED.replace(b'"checksum"', b'"checksun"')) is None
    assert read_back(scratch, FOREIGN) is not None


def test_the_same_grasps_give_the_same_bytes() -> None:
    assert encode(dataset([1, 2, 3, 0]), OFFSET) == ENCODED


def test_a_file_too_large_for_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.grasps.json"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(GraspFileError, match="is larger than 256 MiB"):
        read_grasp_file(path)
    path.write_bytes(b"[" + b"[]," * 4_000_000 + b"[]]")
    with pytest.raises(GraspFileError, match="holds more than 8000000 values"):
        read_grasp_file(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.grasps.json")
    with pytest.raises(GraspFileError, match="not a regular file"):
        read_grasp_file(tmp_path / "pipe.grasps.json")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_file_is_read_whole_that_is_longer_than_it_said() -> None:
    path = Path("/proc/self/status")
    assert path.stat().st_size == 0 and read_bounded(path).startswith(b"Name:") and read_bounded(path).endswith(b"\n")
    with pytest.raises(ValueError, match="is larger than 0 KiB"):
        read_bounded(path, largest=100)


def test_what_cannot_be_fetched_ahead_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for ever
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "none"):
        read_ahead(path)


# --- names ----------------------------------------------------------------------------------------------------------------------


def test_names_are_plain_while_they_are_unique() -> None:
    names = grasp_file_names([("a/mug.obj", 1.0), ("b/cup.stl", 0.001)], {})
    assert names == {"a/mug.obj": "mug.1.0.grasps.json", "b/cup.stl": "cup.0.001.grasps.json"}


ids = st.lists(st.text(min_size=1, max_size=200).filter(lambda s: s.strip("/\\ .")), unique=True, min_size=1, max_size=12)


@given(ids, st.floats(1e-5, 1e3), st.randoms())
def test_no_two_objects_share_a_file_whatever_they_are_called(ids: list[str], scale: float, random: object) -> None:
    pairs = [(object_id, scale) for object_id in ids]
    names = grasp_file_names(pairs, {})
    assert len({name.casefold() for name in names.values()}) == len(ids)
    assert grasp_file_names(list(reversed(pairs)), {}) == names
    for name in names.values():
        assert "/" not in name and "\\" not in name and "\0" not in name and not name.startswith(".") and len(name.encode()) < 255
        assert name.endswith(".grasps.json")


def test_a_name_of_dots_alone_is_not_hidden() -> None:
    (name,) = grasp_file_names([("...stl", 1.0)], {}).values()
    assert name.startswith("object.1.0.")


def test_an_object_keeps_its_name_when_another_of_that_name_comes() -> None:
    before = grasp_file_names([("a/mug.obj", 1.0)], {})
    after = grasp_file_names([("a/mug.obj", 1.0), ("b/mug.obj", 1.0)], before)
    assert after["a/mug.obj"] == before["a/mug.obj"] != after["b/mug.obj"]


def test_an_object_at_another_scale_has_another_file() -> None:
    assert grasp_file_names([("mug.obj", 2.0)], {}) == {"mug.obj": "mug.2.0.grasps.json"}


def test_only_files_of_the_same_scale_are_an_objects_own(paths: DatasetPaths) -> None:
    entries = read_object_map(paths)
    assert own_files(paths, [("a.obj", 0.001), ("b.obj", 2.0), ("c.obj", 1.0)], entries) == {"a.obj": "a.1.0.grasps.json"}


def test_a_file_of_another_name_is_an_objects_own_by_what_it_holds(paths: DatasetPaths) -> None:
    (paths.grasps / "any.grasps.json").write_bytes(encode(dataset([1], object_id="a.obj", scale=7.0), OFFSET))
    assert own_files(paths, [("a.obj", 7.0)], read_object_map(paths)) == {"a.obj": "any.grasps.json"}


def test_a_name_that_an_object_of_another_list_has_is_not_taken() -> None:
    names = grasp_file_names([("b/mug.obj", 1.0)], {"a/mug.obj": "mug.1.0.grasps.json"})
    assert names["b/mug.obj"] != "mug.1.0.grasps.json"


@pytest.fixture
def paths(tmp_path: Path) -> DatasetPaths:
    found = DatasetPaths(tmp_path, "jaw")
    found.grasps.mkdir(parents=True)
    for name in ("a", "b"):
        (found.grasps / f"{name}.1.0.grasps.json").write_bytes(encode(dataset([1], object_id=f"{name}.obj"), OFFSET))
    return found


EXPECTED = {"a.obj": "a.1.0.grasps.json", "b.obj": "b.1.0.grasps.json"}


@pytest.mark.parametrize("content", [None, "{", "[]", '{"a.obj": "gone.grasps.json"}', '{"a.obj": "../a.1.0.grasps.json"}', '{"a.obj": 3}'])
def test_the_map_heals(paths: DatasetPaths, content: str | None) -> None:
    if content is not None:
        paths.object_map.write_text(content)
    assert read_object_map(paths) == EXPECTED
    write_object_map(paths, read_object_map(paths))
    assert json.loads(paths.object_map.read_text()) == EXPECTED


def test_a_broken_grasp_file_is_left_out_of_the_map(paths: DatasetPaths) -> None:
    (paths.grasps / "c.1.0.grasps.json").write_text("{")
    assert read_object_map(paths) == EXPECTED


def test_the_map_is_not_written_again_when_nothing_changed(paths: DatasetPaths) -> None:
    write_object_map(paths, EXPECTED)
    before = paths.object_map.stat().st_mtime_ns
    write_object_map(paths, dict(reversed(EXPECTED.items())))
    assert paths.object_map.stat().st_mtime_ns == before


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    write_atomically(path, b"old")
    with pytest.raises(OutputError, match="File too large") as caught, files_of_at_most(2):
        write_atomically(path, b"new")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1.5]}) == digest({"b": [1.5], "a": 1}) != digest({"a": 1, "b": [1.25]})


# --- the index ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def indexed(tmp_path: Path) -> DatasetPaths:
    """Five objects whose files are old enough for the index, which is written."""
    return make_dataset(tmp_path, [f"{name}.obj" for name in "abcde"])


def test_what_the_index_knows_is_not_read_again(indexed: DatasetPaths) -> None:
    before = read_object_map(indexed)
    indexed.object_map.unlink()
    for path in indexed.grasps.glob("*.grasps.json"):
        change_unseen(path, b"x" * path.stat().st_size)
    assert read_object_map(indexed) == before


def test_only_a_file_that_changed_is_read_again(indexed: DatasetPaths) -> None:
    unchanged = index.load_index(indexed).grasps
    for path in indexed.grasps.glob("*.grasps.json"):
        change_unseen(path, b"x" * path.stat().st_size)
    path = indexed.grasps / "c.1.0.grasps.json"
    path.write_bytes(encode(grasp_dataset("c.obj", outcomes=[Outcome.HELD]), OFFSET))
    found = index.current_index(indexed).grasps
    assert found[path.name].counts == {"held": 1}
    assert {name: entry for name, entry in found.items() if name != path.name} == {
        name: entry for name, entry in unchanged.items() if name != path.name
    }


def test_a_file_that_changed_a_moment_ago_is_not_kept(indexed: DatasetPaths) -> None:
    path = indexed.grasps / "c.1.0.grasps.json"
    path.touch()
    assert path.name in index.current_index(indexed).grasps
    assert path.name not in index.load_index(indexed).grasps


def test_the_index_says_what_the_file_says(indexed: DatasetPaths) -> None:
    path = indexed.grasps / "a.1.0.grasps.json"
    entry = index.load_index(indexed).grasps[path.name]
    assert entry == index.grasp_entry(index.Stamp.of(path.stat()), read_grasp_file(path))
    assert (entry.object_id, entry.scale, entry.own, entry.guess) == ("a.obj", 1.0, True, "0" * 64)
    assert entry.counts == {"held": 6, "collision": 1, "dropped": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"format":1}',
        b'{"format":2,"grasps":{},"meshes":{}}',
        b'{"format":1,"grasps":[],"meshes":{}}',
    ]
    + [b'{"format":1,"grasps":{"a.1.0.grasps.json":%s},"meshes":{}}' % row for row in (b"3", b"{}", b'{"stamp":[1,2],"versions":[]}')],
)
def test_a_broken_index_is_made_anew(indexed: DatasetPaths, content: bytes) -> None:
    before = indexed.index.read_bytes()
    entries = read_object_map(indexed)
    indexed.index.write_bytes(content)
    indexed.object_map.unlink()
    assert read_object_map(indexed) == entries
    assert indexed.index.read_bytes() == before


def test_a_file_that_cannot_be_read_is_left_out_and_tried_each_time(indexed: DatasetPaths) -> None:
    path = indexed.grasps / "c.1.0.grasps.json"
    whole = path.read_bytes()
    path.write_bytes(b"{".ljust(len(whole)))
    make_older(path)
    assert path.name not in index.current_index(indexed).grasps
    change_unseen(path, whole)
    assert path.name in index.current_index(indexed).grasps


def test_an_index_that_cannot_be_written_is_done_without(indexed: DatasetPaths) -> None:
    indexed.index.unlink()
    indexed.index.parent.rmdir()
    indexed.index.parent.write_text("in the way")
    assert len(read_object_map(indexed)) == 5


def test_a_map_that_is_wrong_heals_but_that_of_another_tool_is_kept(indexed: DatasetPaths) -> None:
    right = read_object_map(indexed)
    indexed.object_map.write_text(json.dumps({**right, "a.obj": right["b.obj"], "b.obj": right["a.obj"]}))
    assert read_object_map(indexed) == right
    foreign = {key: value for key, value in document("named/otherwise.obj").items() if key not in ("checksum", "provenance")}
    (indexed.grasps / "theirs.grasps.json").write_text(json.dumps(foreign))
    indexed.object_map.write_text(json.dumps({"uuid-1": "theirs.grasps.json"}))
    assert read_object_map(indexed) == {**right, "uuid-1": "theirs.grasps.json"}


def test_meshes_are_read_once_for_each_scale(tmp_path: Path) -> None:
    mesh = tmp_path / "mug.obj"
    mesh.write_bytes((OBJECTS / "mug.obj").read_bytes())
    make_older(mesh)
    paths = DatasetPaths(tmp_path, "jaw")
    entries = index.mesh_entries(index.DatasetIndex(), [("mug.obj", 0.001), ("gone.obj", 1.0)], tmp_path)
    assert entries["mug.obj"].digest == read_mesh(mesh, 0.001).content_hash and "gone.obj" not in entries
    index.write_index(paths, index.updated(index.DatasetIndex(), meshes=entries))
    loaded = index.load_index(paths)
    assert loaded.meshes == entries
    change_unseen(mesh, mesh.read_bytes().replace(b"v ", b"v  ", 1)[:-1])
    assert index.mesh_entry(loaded, "mug.obj", 0.001, tmp_path) == entries["mug.obj"]
    other = index.mesh_entry(loaded, "mug.obj", 0.002, tmp_path)
    assert other is not None and other.digest == read_mesh(mesh, 0.002).content_hash
    mesh.touch()
    again = index.mesh_entry(loaded, "mug.obj", 0.001, tmp_path)
    assert again is not None and again.stamp != entries["mug.obj"].stamp


@pytest.mark.slow
def test_walking_over_all_of_graspgens_objects_takes_seconds(tmp_path: Path) -> None:
    object_ids = [f"{i:032x}.obj" for i in range(8454)]
    paths = make_dataset(tmp_path, object_ids)
    times = []
    for _ in range(3):
        paths.object_map.unlink()
        start = time.perf_counter()
        entries = read_object_map(paths)
        names = grasp_file_names([(i, 1.0) for i in object_ids], own_files(paths, [(i, 1.0) for i in object_ids], entries))
        write_object_map(paths, entries)
        times.append(time.perf_counter() - start)
        assert names == entries
    assert min(times) < 3.0
