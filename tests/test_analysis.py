"""The numbers of an analysis against datasets worked out by hand, and against slow ways to the same result."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from analysed import DROPPED, HELD, hand_made, made, row_of_poses, write_dataset
from graspgen_cli.analysis.analyze import analyze_collections
from graspgen_cli.analysis.counts import OutcomeCounts, ReferenceRate, compared_rate, rate_interval, reference_rates
from graspgen_cli.analysis.dataset_facts import DatasetAnalysis, analysis_document, csv_text
from graspgen_cli.analysis.object_facts import NEAR, TURNED, ObjectFacts, far_outliers, near_duplicates, object_facts
from graspgen_cli.dataset.health import check_splits
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.formats.format import Entry, ObjectGrasps
from graspgen_cli.formats.graspgen_json import encode, parse_document, read_document, read_grasp_file
from graspgen_cli.formats.json_text import PoseText, checksum
from graspgen_cli.geometry.poses import is_rotation, pose, rotation_angle
from graspgen_cli.grippers.find import builtin_grippers
from graspgen_cli.records import GraspDataset
from graspgen_cli.settings.commands import AnalyzeCommand
from graspgen_cli.settings.datasets import AnalyzeSettings
from made_datasets import OFFSET


def analysed(*paths: Path, **settings: object) -> DatasetAnalysis:
    command = AnalyzeCommand.of(paths=paths, **settings)
    return analyze_collections(command, on_start=lambda _: None, on_object=lambda _: None)


def facts_of(dataset: GraspDataset, *, symmetric: bool = True) -> ObjectFacts:
    facts, _ = object_facts(ObjectGrasps(dataset, "base"), entry=Entry(Path("a"), "a"), gripper="g", symmetric=symmetric)
    return facts


# --- a dataset worked out by hand ------------------------------------------------------------------------------------------------


def test_every_number_of_a_dataset_made_by_hand(tmp_path: Path) -> None:
    write_dataset(tmp_path / "made", hand_made())
    found = analysed(tmp_path / "made")
    bowl, mug, rod = found.objects
    assert [facts.object_id for facts in found.objects] == ["bowl.obj", "mug.obj", "rod.obj"]
    assert (mug.counts.held, mug.counts.collision, mug.counts.dropped, mug.counts.total) == (6, 1, 2, 9)
    assert (bowl.counts.held, bowl.counts.unstable, bowl.counts.unvalidated) == (3, 1, 2)
    assert math.isnan(rod.counts.held_rate)
    total = found.total
    assert (total.held, total.tested, total.collision, total.unvalidated, total.total) == (9, 12, 5, 2, 19)
    assert total.held_rate == 0.75
    assert (len(found.objects), found.usable_objects) == (3, 2)
    # Good grasps: six open to 11 mm, three to 51 mm, two untested ones to 20 mm; classes of 5 mm.
    assert {k: n for k, n in enumerate(found.openings) if n} == {2: 6, 10: 3, 4: 2}
    assert mug.opening_mean == pytest.approx(0.0125)
    # All from above: one cell of the lowest band.
    assert sum(found.directions) == 11 and max(found.directions) == 11
    assert mug.spread == pytest.approx(0.0) and mug.direction_share == pytest.approx(1 / 48)
    assert math.isnan(rod.spread)
    assert [facts.near_duplicates for facts in found.objects] == [0, 0, 0]


def test_the_json_and_csv_say_the_same(tmp_path: Path) -> None:
    write_dataset(tmp_path / "made", hand_made())
    found = analysed(tmp_path / "made")
    document = json.loads(orjson.dumps(analysis_document(found)))
    header, *rows = csv_text(found).splitlines()
    assert [row.split(",")[0] for row in rows] == [row["object_id"] for row in document["objects"]]
    assert list(document["objects"][0]) == header.split(",")
    assert document["total"]["held_rate"] == 0.75 and document["objects"][2]["held_rate"] is None
    (settings,) = document["settings"].values()
    assert settings["files"] == 3 and settings["guess"]["settings"] == {"fps": 250}


def test_thresholds_say_how_far_each_object_is(tmp_path: Path) -> None:
    write_dataset(tmp_path / "made", hand_made())
    found = analysed(tmp_path / "made", min_success=4, min_failed=2, min_total=7)
    assert [(row.object_id, row.what, row.found, row.missing) for row in found.short] == [
        ("bowl.obj", "held", 3, 1),
        ("bowl.obj", "failed", 1, 1),
        ("bowl.obj", "total", 6, 1),
        ("rod.obj", "held", 0, 4),
        ("rod.obj", "total", 4, 3),
    ]
    assert not found.passed


@pytest.mark.parametrize(("least", "under"), [(0.0, False), (0.75, False), (0.76, True)])
def test_fail_under_is_the_share_of_all_tested(tmp_path: Path, least: float, under: bool) -> None:
    write_dataset(tmp_path / "made", hand_made())
    assert analysed(tmp_path / "made", fail_under=least).under is under


def test_nothing_tested_is_under_any_share() -> None:
    assert DatasetAnalysis(paths=(), objects=(), thresholds=AnalyzeSettings(fail_under=0.1)).under


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_processes(tmp_path: Path) -> None:
    write_dataset(tmp_path / "made", [made(f"{k}.obj", [HELD] * (5 + k % 3) + [DROPPED] * 2) for k in range(70)])
    one, two = analysed(tmp_path / "made", workers=1), analysed(tmp_path / "made", workers=2)
    assert analysis_document(one) == analysis_document(two) and len(one.objects) == 70


# --- near-duplicates -------------------------------------------------------------------------------------------------------------

HALF_TURN = np.diag([-1.0, -1.0, 1.0])


def slow_near_duplicates(poses: np.ndarray, *, symmetric: bool) -> list[bool]:
    first, second = (poses[index] for index in np.divmod(np.arange(len(poses) ** 2), len(poses)))
    between = np.swapaxes(first[:, :3, :3], 1, 2) @ second[:, :3, :3]
    angle = np.minimum(rotation_angle(between), rotation_angle(between @ HALF_TURN)) if symmetric else rotation_angle(between)
    distance = np.linalg.norm(first[:, :3, 3] - second[:, :3, 3], axis=1)
    near = ((distance / NEAR) ** 2 + (angle / TURNED) ** 2 < 1).reshape(len(poses), -1)
    return list((near & ~np.eye(len(poses), dtype=bool)).any(axis=1))


@given(st.integers(0, 10_000), st.booleans())
def test_near_duplicates_are_those_that_a_search_of_all_pairs_finds(seed: int, symmetric: bool) -> None:
    rng = np.random.default_rng(seed)
    base = pose(Rotation.random(3, random_state=seed).as_matrix(), rng.normal(size=(3, 3)))
    shifted = base[rng.integers(0, 3, 8)].copy()
    shifted[:, :3, 3] += rng.normal(size=(8, 3)) * NEAR * 0.4
    shifted[:, :3, :3] = shifted[:, :3, :3] @ Rotation.from_rotvec(rng.normal(size=(8, 3)) * TURNED * 0.4).as_matrix()
    flipped = rng.random(8) < 0.5
    shifted[flipped, :3, :3] = shifted[flipped, :3, :3] @ HALF_TURN
    assert near_duplicates(shifted, symmetric=symmetric).tolist() == slow_near_duplicates(shifted, symmetric=symmetric)


def test_a_half_turn_counts_only_for_symmetric_grippers() -> None:
    poses = np.repeat(row_of_poses(1), 2, axis=0)
    poses[1, :3, :3] = poses[1, :3, :3] @ HALF_TURN
    dataset = made("a.obj", [HELD, HELD], poses=poses)
    assert facts_of(dataset, symmetric=True).near_duplicates == 2
    assert facts_of(dataset, symmetric=False).near_duplicates == 0


def test_thousands_of_equal_poses_take_no_time() -> None:
    poses = np.repeat(row_of_poses(1), 20_000, axis=0)
    assert near_duplicates(poses, symmetric=True).all()


@pytest.mark.parametrize(("span", "apart"), [(0.0, 0.9), (0.2, 0.9), (30.0, 0.999), (1e8, 0.5)], ids=str)
def test_a_neighbour_is_found_wherever_it_lies(span: float, apart: float) -> None:
    """Pairs all over a space of `span` m, each `apart` of the limit from each other, in every direction."""
    rng = np.random.default_rng(4)
    poses = np.tile(np.eye(4), (1000, 1, 1))
    poses[:500, :3, 3] = rng.uniform(-span, span, (500, 3))
    away = rng.normal(size=(500, 3))
    poses[500:, :3, 3] = poses[:500, :3, 3] + apart * NEAR * away / np.linalg.norm(away, axis=1, keepdims=True)
    assert near_duplicates(poses, symmetric=True).all()


def test_poses_that_are_farther_apart_are_no_neighbours() -> None:
    poses = np.tile(np.eye(4), (1000, 1, 1))
    poses[:, :3, 3] = np.stack(np.meshgrid(*[np.arange(10)] * 3), axis=-1).reshape(-1, 3) * NEAR * 1.01
    assert not near_duplicates(poses, symmetric=True).any()


# --- rates -----------------------------------------------------------------------------------------------------------------------


def counts(held: int, dropped: int) -> OutcomeCounts:
    return OutcomeCounts(held=held, dropped=dropped)


def test_the_interval_is_wilsons() -> None:
    # Agresti and Coull 1998 use these: 0 of 10 and 5 of 10.
    assert rate_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert rate_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert rate_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_interval_holds_the_share(held: int, dropped: int) -> None:
    low, high = rate_interval(held, held + dropped)
    assert 0 <= low <= high <= 1
    if held + dropped:
        assert low - 1e-12 <= held / (held + dropped) <= high + 1e-12


@pytest.mark.parametrize(
    ("held", "dropped", "said"), [(12, 52, "low"), (60, 4, "usual"), (1, 1, "usual"), (0, 0, ""), (300, 0, "high"), (3, 0, "usual")]
)
def test_a_rate_is_unusual_only_where_chance_is_no_explanation(held: int, dropped: int, said: str) -> None:
    reference = ReferenceRate(held_rate=0.8, lowest=0.6, lower_quartile=0.7, median=0.8, upper_quartile=0.9, highest=0.95, objects=13)
    assert compared_rate(counts(held, dropped), reference) == said
    assert compared_rate(counts(held, dropped), None) == ""


def test_every_builtin_gripper_has_its_reference() -> None:
    assert set(reference_rates()) == set(builtin_grippers())
    for rate in reference_rates().values():
        row = (rate.lowest, rate.lower_quartile, rate.median, rate.upper_quartile, rate.highest)
        assert list(row) == sorted(row) and 0 <= rate.lowest <= rate.held_rate <= rate.highest <= 1


# --- far away --------------------------------------------------------------------------------------------------------------------


def test_an_outlier_is_far_from_what_the_others_are_around() -> None:
    points = np.array([[0.1, 0, 0], [-0.1, 0, 0], [0, 0.1, 0], [0, -0.1, 0], [0, 0, 0.1], [0, 0, -0.1]])
    assert len(far_outliers(points)) == 0
    assert far_outliers(np.concatenate([points, [[0, 0, 3.0]]])).tolist() == [6]
    assert len(far_outliers(np.zeros((3, 3)))) == 0
    assert len(far_outliers(np.concatenate([np.zeros((9, 3)), [[0, 0, 0.05]]]))) == 0  # all at one place and one 5 cm off


# --- splits ----------------------------------------------------------------------------------------------------------------------


def lists(root: Path, *, train: str, valid: str) -> DatasetPaths:
    paths = DatasetPaths(root, "g")
    paths.splits.mkdir(parents=True, exist_ok=True)
    (paths.splits / "train.txt").write_text("\n".join(train))
    (paths.splits / "valid.txt").write_text("\n".join(valid))
    return paths


def test_splits_are_compared_with_the_objects(tmp_path: Path) -> None:
    facts, findings = check_splits(lists(tmp_path, train="abb", valid="bx"), ["a", "b", "new"])
    assert facts is not None and (facts.train, facts.valid) == (2, 2)
    assert (facts.overlap, facts.dangling, facts.unlisted) == (("b",), ("x",), ("new",))
    assert [(found.kind, found.path.name, found.object_id, found.is_fault) for found in findings] == [
        ("in both splits", "valid.txt", "b", True),
        ("split without grasps", "valid.txt", "x", False),
        ("in no split", "g", "new", False),
    ]
    assert check_splits(lists(tmp_path, train="", valid=""), ["a"])[1] == []


def test_findings_of_splits_count_in_words(tmp_path: Path) -> None:
    paths = lists(tmp_path, train="a", valid="a")
    one, more = (check_splits(paths, ["a", *others])[1] for others in ("b", "cd"))
    assert [found.detail for found in one] == [
        "a is in train.txt and valid.txt; delete one of the lines",
        "b is in neither list, with grasps; the command splits adds them",
    ]
    assert more[1].detail == "2 objects (such as c) are in neither list, with grasps; the command splits adds them"


# --- reading: the quick way and the plain one ------------------------------------------------------------------------------------


def test_the_quick_way_reads_what_the_plain_one_reads(tmp_path: Path) -> None:
    for dataset in hand_made():
        content = encode(dataset, OFFSET)
        quick = parse_document(tmp_path, content)
        slow = json.loads(content)
        text = quick["grasps"]["transforms"]
        assert isinstance(text, PoseText) and text.poses.tolist() == slow["grasps"]["transforms"]
        assert checksum(quick) == checksum(quick, pose_text=True) == checksum(slow) == quick["checksum"]
        quick["grasps"]["transforms"] = slow["grasps"]["transforms"]
        assert quick == slow


def test_a_document_that_was_laid_out_anew_is_still_intact(tmp_path: Path) -> None:
    (dataset, *_) = hand_made()
    file = tmp_path / "a.grasps.json"
    file.write_text(json.dumps(json.loads(encode(dataset, OFFSET)), indent=1))
    assert np.array_equal(read_grasp_file(file).grasps.pose_gripper_in_object, dataset.grasps.pose_gripper_in_object)


@pytest.mark.parametrize("text", [
    '{"grasps":{"transforms":[[[1,0,0,-1e-3],[0,1E0,0,25],[0,0,1,1e+2],[0,0,0,1]]]}}',
    '{"grasps":{"transforms":[[[1,0,0,-0.001] ,\n[0,1, 0,25.0],\t[0,0,1,100],[0,0,0,1] ] ]}}',
    '{"grasps":{"transforms":[[[1,0,0,-0.001],[0,1,0,25],[0,0,1,100],[0,0,0,1]]],"other":[[[2]]]},"third":[[[3]]]}',
])  # fmt: skip
def test_poses_are_read_however_they_are_written(tmp_path: Path, text: str) -> None:
    read = parse_document(tmp_path, text.encode())
    poses = read["grasps"]["transforms"]
    poses = poses.poses.tolist() if isinstance(poses, PoseText) else poses
    assert poses == [[[1, 0, 0, -0.001], [0, 1, 0, 25], [0, 0, 1, 100], [0, 0, 0, 1]]]
    assert read | {"grasps": read["grasps"] | {"transforms": poses}} == json.loads(text)


@pytest.mark.parametrize(
    "poses",
    [
        "[[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0]]]",
        "[[[1,0,0,0],[0,1,0,0],[0,0,1,0,0],[0,0,1]]]",
        "[[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,,1]]]",
        "[[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1,1]]]",
        "[[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,true]]]",
        "[[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]],[]]",
        "[[[1-,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]]",
        "[[[1 1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]]",
    ],
)
def test_what_is_no_pose_is_left_to_the_plain_way(tmp_path: Path, poses: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(f'{{"grasps":{{"transforms":{poses}}}}}')
    try:
        assert isinstance(read_document(file)["grasps"]["transforms"], list)
    except Exception as error:
        assert "cannot be read as JSON" in str(error)


def test_poses_that_stand_elsewhere_than_they_seem_are_read_as_they_are_meant(tmp_path: Path) -> None:
    pose_text = json.dumps(np.eye(4)[None].tolist(), separators=(",", ":"))
    file = tmp_path / "a.json"
    file.write_text(f'{{"note":{{"transforms":{pose_text}}},"grasps":{{"transforms":[[1]]}}}}')
    assert read_document(file)["grasps"]["transforms"] == [[1]]


def test_rotations_are_told_from_what_is_none() -> None:
    rotations = pose(Rotation.random(50, random_state=0).as_matrix(), np.zeros((50, 3)))
    assert is_rotation(rotations).all()
    for wrong in (rotations * [-1, 1, 1, 1], rotations * 1.001, rotations + np.eye(4) * 1e-3, np.full_like(rotations, np.nan)):
        assert not is_rotation(wrong).any()


def test_facts_are_small_enough_to_keep_for_every_object() -> None:
    facts = facts_of(made("a.obj", [HELD] * 300))
    assert len(orjson.dumps(dataclasses.asdict(facts), default=str)) < 2000
