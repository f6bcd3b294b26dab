"""Every finding of `analyze` is planted once, and is found there and nowhere else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysed import COLLISION, DROPPED, HELD, UNVALIDATED, made, row_of_poses, write_dataset
from examples import EXAMPLES, OBJECTS, example_object, gripper_by_name
from foreign_files import isaac_document, write_acronym, write_shard, write_webdataset, write_yaml
from graspgen_cli.analysis.object_facts import between_pads, out_of_reach, surface_points
from graspgen_cli.app import main
from graspgen_cli.dataset.health import FAULTS, FindingKind
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.formats.graspgen_json import encode
from graspgen_cli.formats.json_text import CHECKSUM
from graspgen_cli.geometry.collision import ObjectShape, in_collision
from graspgen_cli.grippers.export import graspgen_offset
from graspgen_cli.records import GraspDataset
from made_datasets import GRIPPER, OFFSET
from test_analysis import analysed

GOOD = [HELD] * 6 + [COLLISION, DROPPED]


def kinds(*paths: Path, **settings: object) -> dict[str, str]:
    """What was found: kind -> object."""
    return {str(found.kind): found.object_id for found in analysed(*paths, **settings).findings}


def sound() -> list[GraspDataset]:
    return [made("well.obj", GOOD), made("fine.obj", GOOD)]


def document(dataset: GraspDataset) -> dict[str, object]:
    """As another tool would write it: no provenance, no checksum."""
    content = json.loads(encode(replace(dataset, provenance={}), OFFSET))
    return {key: value for key, value in content.items() if key not in (CHECKSUM, "provenance")}


def with_file(root: Path, name: str, content: str | bytes) -> Path:
    paths = write_dataset(root, sound())
    (paths.grasps / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def test_a_sound_dataset_has_no_findings(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", sound())
    assert kinds(tmp_path / "d") == {}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("size", [1e160, *(pytest.param(size, marks=pytest.mark.slow) for size in (-1.7e308, 1e306, 1.7e308))])
@pytest.mark.parametrize("place", ["pose", "rotation", "opening", "depth", "width"])
def test_no_number_is_too_large_to_be_looked_at(tmp_path: Path, place: str, size: float) -> None:
    pytest.importorskip("plotly", reason="plotly is not installed")
    content: dict[str, Any] = document(made("x.obj", GOOD))
    grasps, gripper = content["grasps"], content["gripper"]
    if place in ("depth", "width"):
        gripper[place] = size
    elif place == "opening":
        grasps["opening_width"][3] = size
    else:
        grasps["transforms"][3][0][3 if place == "pose" else 0] = size
    with_file(tmp_path / "d", "x.grasps.json", json.dumps(content))
    expected = {"pose": {"far from the object": "x.obj"}, "rotation": {"not rigid": "x.obj"}}
    assert kinds(tmp_path / "d") == expected.get(place, {})
    assert main(["analyze", str(tmp_path / "d"), "--quiet", "--output", str(tmp_path / "report.html")]) == (place in expected)


Plant = Callable[[Path], object]


def plant_unreadable(root: Path) -> None:
    with_file(root, "x.grasps.json", "{")


def plant_malformed(root: Path) -> None:
    with_file(root, "x.grasps.json", '{"object": 3}')


def plant_damaged(root: Path) -> None:
    content = encode(made("x.obj", GOOD), OFFSET).replace(b'"held"', b'"dropped"', 1)
    with_file(root, "x.grasps.json", content)


def plant_not_finite(root: Path) -> None:
    content = json.dumps(document(made("x.obj", GOOD))).replace("0.15", "NaN", 1)
    with_file(root, "x.grasps.json", content)


def plant_not_rigid(root: Path) -> None:
    poses = row_of_poses(8)
    poses[3, 0, 0] = 2.0
    write_dataset(root, [*sound(), made("x.obj", GOOD, poses=poses)])


def plant_far_away(root: Path) -> None:
    poses = row_of_poses(8)
    poses[3, 0, 3] = 40.0
    write_dataset(root, [*sound(), made("x.obj", GOOD, poses=poses)])


def plant_duplicate_object(root: Path) -> None:
    with_file(root, "copy.grasps.json", encode(made("well.obj", GOOD), OFFSET))


def plant_few(root: Path) -> None:
    write_dataset(root, [*sound(), made("x.obj", [HELD] * 4 + [DROPPED])])


def plant_near_duplicates(root: Path) -> None:
    poses = row_of_poses(8)
    poses[1] = poses[0]
    poses[1, 0, 3] += 0.0005
    write_dataset(root, [*sound(), made("x.obj", GOOD, poses=poses)])


def plant_low_rate(root: Path) -> None:
    write_dataset(root, [*sound(), made("x.obj", [HELD] * 12 + [DROPPED] * 52)])


def plant_overlap(root: Path) -> None:
    splits(root, train="well.obj\nfine.obj\n", valid="fine.obj\n")


def plant_dangling(root: Path) -> None:
    splits(root, train="well.obj\nfine.obj\n", valid="gone.obj\n")


def plant_unlisted(root: Path) -> None:
    splits(root, train="well.obj\n", valid="")


def plant_split_broken(root: Path) -> None:
    splits(root, train="well.obj\nfine.obj\n", valid="")
    (DatasetPaths(root, GRIPPER).splits / "valid.txt").write_bytes(b"\xff\xfe\x00")


def splits(root: Path, *, train: str, valid: str) -> None:
    paths = write_dataset(root, sound())
    paths.splits.mkdir(parents=True)
    (paths.splits / "train.txt").write_text(train)
    (paths.splits / "valid.txt").write_text(valid)


PLANTED: list[tuple[Plant, FindingKind, str]] = [
    (plant_unreadable, FindingKind.UNREADABLE, ""),
    (plant_malformed, FindingKind.MALFORMED, ""),
    (plant_damaged, FindingKind.DAMAGED, ""),
    (plant_not_finite, FindingKind.NOT_FINITE, ""),
    (plant_not_rigid, FindingKind.NOT_RIGID, "x.obj"),
    (plant_far_away, FindingKind.FAR_AWAY, "x.obj"),
    (plant_duplicate_object, FindingKind.DUPLICATE_OBJECT, "well.obj"),
    (plant_few, FindingKind.FEW_POSITIVES, "x.obj"),
    (plant_near_duplicates, FindingKind.NEAR_DUPLICATES, "x.obj"),
    (plant_low_rate, FindingKind.LOW_RATE, "x.obj"),
    (plant_overlap, FindingKind.SPLIT_OVERLAP, "fine.obj"),
    (plant_dangling, FindingKind.SPLIT_DANGLING, "gone.obj"),
    (plant_unlisted, FindingKind.SPLIT_LACKS, "fine.obj"),
    (plant_split_broken, FindingKind.SPLIT_BROKEN, ""),
]
OF_DOCTOR = {
    FindingKind.WRONG_GRIPPER,
    FindingKind.DUPLICATE_POSES,
    FindingKind.OLD_VERSION,
    FindingKind.MESH_CHANGED,
    FindingKind.SHARED_FILE,
    FindingKind.MAP_BROKEN,
    FindingKind.MAP_DANGLING,
    FindingKind.MAP_LACKS,
    FindingKind.MAP_WRONG,
    FindingKind.TEMPORARY,
    FindingKind.ARCHIVE,
}
"""Planted in test_doctor.py."""
WITH_MESHES = {FindingKind.IN_COLLISION, FindingKind.MESH_MISSING}


@pytest.mark.parametrize(("plant", "kind", "object_id"), PLANTED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_what_is_planted_is_found_alone(tmp_path: Path, plant: Plant, kind: FindingKind, object_id: str) -> None:
    plant(tmp_path / "d")
    found = analysed(tmp_path / "d")
    assert [(each.kind, each.object_id) for each in found.findings] == [(kind, object_id)]
    assert found.passed is (kind not in FAULTS)
    # What cannot be read is left out, everything else is counted.
    assert {facts.object_id for facts in found.objects} >= {"well.obj", "fine.obj"}


def test_every_kind_of_finding_is_planted() -> None:
    assert {kind for _, kind, _ in PLANTED} | WITH_MESHES | OF_DOCTOR == set(FindingKind)


# --- with the meshes -------------------------------------------------------------------------------------------------------------


def on_box(poses_from_above: float) -> GraspDataset:
    """Eight grasps of the example box by the Panda, its fingertips `poses_from_above` m over the box's top, 80 mm open."""
    top = example_object("box.stl").mesh.vertices.max(axis=0)[2]
    gripper = gripper_by_name("franka_panda").gripper
    poses = row_of_poses(8, step=0.0005)
    poses[:, 2, 3] = top + gripper.depth + poses_from_above
    dataset = made("box.stl", [HELD] * 8, poses=poses, width=0.08, own=False)
    return replace(dataset, scale=EXAMPLES["box.stl"], gripper_name="franka_panda", gripper_width=0.08, gripper_depth=gripper.depth)


def analysed_on_meshes(root: Path, dataset: GraspDataset) -> dict[str, str]:
    paths = DatasetPaths(root, "franka_panda")
    paths.grasps.mkdir(parents=True)
    offset = graspgen_offset(gripper_by_name("franka_panda").gripper)
    (paths.grasps / "a.grasps.json").write_bytes(encode(dataset, offset))
    return kinds(root, geometry=True, object_dataset=OBJECTS)


def test_grasps_over_the_object_are_well(tmp_path: Path) -> None:
    assert FindingKind.IN_COLLISION not in analysed_on_meshes(tmp_path / "d", on_box(0.02))


def test_grasps_in_the_object_are_in_collision(tmp_path: Path) -> None:
    assert analysed_on_meshes(tmp_path / "d", on_box(-0.2))[FindingKind.IN_COLLISION] == "box.stl"


def test_grasps_that_cannot_touch_the_object_are_far(tmp_path: Path) -> None:
    assert analysed_on_meshes(tmp_path / "d", on_box(0.5)).keys() >= {FindingKind.FAR_AWAY}


def test_a_missing_mesh_is_named(tmp_path: Path) -> None:
    dataset = replace(on_box(0.02), object_id="no/such.obj")
    assert analysed_on_meshes(tmp_path / "d", dataset)[FindingKind.MESH_MISSING] == "no/such.obj"


def test_no_mesh_outside_the_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret.obj").write_text("v 0 0 0\n")
    assert analysed_on_meshes(tmp_path / "d", replace(on_box(0.02), object_id="../secret.obj"))[FindingKind.MESH_MISSING]


def test_the_collisions_are_those_of_the_exact_test(tmp_path: Path) -> None:
    gripper, shape = gripper_by_name("franka_panda"), ObjectShape(example_object("box.stl"))
    for height in (0.02, -0.2):
        grasps = on_box(height).grasps
        opening = gripper.gripper.nearest_opening(grasps.opening_width)
        assert bool(in_collision(shape, gripper, grasps.pose_gripper_in_object, opening).all()) is (height < 0)


def test_points_between_the_pads_are_covered_and_no_others() -> None:
    gripper = gripper_by_name("franka_panda").gripper
    opening = np.array([len(gripper.opening_width) - 1])
    tip = gripper.fingertip_in_base[-1].mean(axis=0)
    approach, closing = gripper.approach_axis_in_base, gripper.closing_axis_in_base
    beside = np.cross(approach, closing)
    half, (length, width) = gripper.width / 2, gripper.pad_size
    inside = [tip - 0.001 * approach, tip - 0.9 * length * approach + 0.9 * half * closing, tip - 0.001 * approach - 0.4 * width * beside]
    outside = [tip + 0.01 * approach, tip - (length + 0.01) * approach, tip + (half + 0.01) * closing, tip + (width / 2 + 0.001) * beside]
    covered = between_pads(gripper, np.eye(4)[None], opening, np.array([*inside, *outside]))
    assert covered.tolist() == [True] * 3 + [False] * 4
    assert not between_pads(gripper, np.zeros((0, 4, 4)), opening[:0], np.array(inside)).any()


def test_more_grasps_never_cover_less() -> None:
    gripper, rng = gripper_by_name("franka_panda").gripper, np.random.default_rng(0)
    points = surface_points(example_object("box.stl").mesh, 256, rng)
    poses = on_box(-0.03).grasps.pose_gripper_in_object
    opening = np.full(8, len(gripper.opening_width) - 1)
    shares = [between_pads(gripper, poses[:count], opening[:count], points).mean() for count in range(9)]
    assert shares == sorted(shares) and shares[0] == 0 < shares[-1] < 1


def test_surface_points_lie_on_the_surface_evenly() -> None:
    mesh = example_object("box.stl").mesh
    points = surface_points(mesh, 2000, np.random.default_rng(0))
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    on_face = np.isclose(points, low, atol=1e-9) | np.isclose(points, high, atol=1e-9)
    assert on_face.any(axis=1).all()
    size = high - low
    top = np.isclose(points[:, 2], high[2], atol=1e-9).mean()
    share = size[0] * size[1] / (2 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2]))
    assert top == pytest.approx(share, abs=0.03)


def test_out_of_reach_is_measured_from_the_bounding_box() -> None:
    mesh = example_object("box.stl").mesh
    high = mesh.vertices.max(axis=0)
    points = np.array([high * [0, 0, 1] + [0, 0, 0.079], high * [0, 0, 1] + [0, 0, 0.081], [0.0, 0.0, 0.0]])
    assert out_of_reach(mesh, points, 0.08).tolist() == [False, True, False]


# --- other formats, and hostile files ---------------------------------------------------------------------------------------------


def test_all_formats_are_counted_together(tmp_path: Path) -> None:
    write_dataset(tmp_path / "json", sound())
    write_yaml(tmp_path / "yaml" / "mug.yaml", isaac_document())
    write_webdataset(tmp_path / "shards", ["cups/a.obj", "cups/b.obj"])
    pytest.importorskip("h5py", reason="h5py is not installed; pip install h5py")
    write_acronym(tmp_path / "a.h5")
    found = analysed(tmp_path / "json", tmp_path / "yaml", tmp_path / "shards", tmp_path / "a.h5")
    assert {facts.object_id: (facts.counts.held, facts.counts.dropped) for facts in found.objects} == {
        "well.obj": (6, 1),
        "fine.obj": (6, 1),
        "cups/mug.obj": (4, 1),
        "cups/a.obj": (6, 2),
        "cups/b.obj": (6, 2),
        "meshes/Mug/10f6.obj": (5, 5),
    }
    assert not found.unread


def test_a_path_given_twice_is_counted_once(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", sound())
    assert len(analysed(tmp_path / "d", tmp_path / "d").objects) == 2


HOSTILE = {
    "deep.grasps.json": b"[" * 100_000,
    "binary.grasps.json": bytes(range(256)),
    "empty.grasps.json": b"",
    "nothing.grasps.json": b'{"object":{"file":"x.obj","scale":1.0},"grasps":{"transforms":[],"object_in_gripper":[]}}',
    "huge_number.grasps.json": b'{"object":{"file":"x","scale":1},"grasps":{"transforms":[[['
    + b"1e999,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]],"
    + b'"object_in_gripper":[true]}}',
    "surrogate.grasps.json": b'{"object":{"file":"\\ud800","scale":1},"grasps":{"transforms":[],"object_in_gripper":[]}}',
    "bomb.yaml": b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nformat: isaac_grasp\ngrasps: [*b,*b,*b,*b,*b]\n",
    "code.yaml": b"!!python/object/apply:os.system ['touch /tmp/never']\n",
}


def test_hostile_files_are_named_skipped_and_counted(tmp_path: Path) -> None:
    paths = write_dataset(tmp_path / "d", sound())
    for name, content in HOSTILE.items():
        (paths.grasps / name).write_bytes(content)
    os.mkfifo(paths.grasps / "pipe.grasps.json")
    (paths.grasps / "folder.grasps.json").mkdir()
    (paths.grasps / "loop.grasps.json").symlink_to("loop.grasps.json")
    found = analysed(tmp_path / "d")
    assert {each.path.name for each in found.unread} == {*HOSTILE, "pipe.grasps.json", "loop.grasps.json"}
    assert {facts.object_id for facts in found.objects} == {"well.obj", "fine.obj"} and not found.passed


def test_a_broken_shard_leaves_the_others(tmp_path: Path) -> None:
    write_shard(tmp_path / "s" / "shard_000.tar", {"good.grasps.json": json.dumps(document(made("good.obj", GOOD))).encode()})
    write_shard(tmp_path / "s" / "shard_001.tar", {"bad.grasps.json": b"{"})
    (tmp_path / "s" / "shard_002.tar").write_bytes(b"no archive")
    found = analysed(tmp_path / "s")
    assert [facts.object_id for facts in found.objects] == ["good.obj"] and len(found.unread) == 2


def test_guesses_without_trials_have_no_rate_and_no_verdict(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", [made("a.obj", [UNVALIDATED] * 8)])
    found = analysed(tmp_path / "d")
    assert found.findings == () and np.isnan(found.total.held_rate) and found.total.unvalidated == 8
