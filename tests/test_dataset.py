"""Files of a dataset: what is written can be read, by us and by the trainer; names never clash; writes are whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graspgen_cli.dataset.graspgen_json import encode, read_grasp_file
from graspgen_cli.dataset.object_map import own_files, read_object_map, write_object_map
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.dataset.provenance import digest
from graspgen_cli.errors import GraspFileError, OutputError
from graspgen_cli.files import write_atomically
from graspgen_cli.records import GraspBatch, GraspDataset, Outcome
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


good = json.loads(encode(dataset([1, 3]), OFFSET))


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
    ],
)
def test_a_broken_grasp_file_is_named_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.grasps.json"
    path.write_text(text)
    with pytest.raises(GraspFileError) as caught:
        read_grasp_file(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


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


def test_an_object_keeps_its_name_when_another_of_that_name_comes() -> None:
    before = grasp_file_names([("a/mug.obj", 1.0)], {})
    after = grasp_file_names([("a/mug.obj", 1.0), ("b/mug.obj", 1.0)], before)
    assert after["a/mug.obj"] == before["a/mug.obj"] != after["b/mug.obj"]


def test_an_object_at_another_scale_has_another_file() -> None:
    assert grasp_file_names([("mug.obj", 2.0)], {}) == {"mug.obj": "mug.2.0.grasps.json"}


def test_only_files_of_the_same_scale_are_an_objects_own(paths: DatasetPaths) -> None:
    entries = read_object_map(paths)
    assert own_files(paths, [("a.obj", 0.001), ("b.obj", 2.0), ("c.obj", 1.0)], entries) == {"a.obj": "a.1.0.grasps.json"}


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


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.json"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("graspgen_cli.files.os.fsync", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        write_atomically(path, b"new")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1.5]}) == digest({"b": [1.5], "a": 1}) != digest({"a": 1, "b": [1.25]})
