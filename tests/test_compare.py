"""`graspgen compare`: agreement worked out by hand, and the laws of matching."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysed import COLLISION, DROPPED, HELD, UNSTABLE, UNVALIDATED, made, write_dataset
from foreign_files import random_poses, write_datagen
from graspgen_cli.analysis.compare import agreement, confusion_of, match_poses
from graspgen_cli.app import main
from graspgen_cli.errors import ExitCode
from graspgen_cli.geometry.poses import rounded
from graspgen_cli.records import Outcome

Streams = pytest.CaptureFixture[str]


@given(st.integers(0, 10_000), st.integers(0, 30), st.integers(0, 30))
def test_poses_are_found_again_in_any_order(seed: int, common: int, others: int) -> None:
    rng = np.random.default_rng(seed)
    poses = random_poses(common + others, seed) if common + others else np.zeros((0, 4, 4))
    order = rng.permutation(common)
    left, right = match_poses(poses, rounded(poses[:common][order]))
    assert left.tolist() == list(range(common))
    assert order[right].tolist() == left.tolist()


def test_copies_are_paired_one_to_one() -> None:
    poses = np.repeat(random_poses(2), [3, 1], axis=0)
    left, right = match_poses(poses, poses[[0, 1, 3]])
    assert left.tolist() == [0, 1, 3] and right.tolist() == [0, 1, 2]


def test_poses_that_are_a_millimetre_off_are_others() -> None:
    poses = random_poses(4)
    moved = poses.copy()
    moved[:, 0, 3] += 0.001
    assert [len(each) for each in match_poses(poses, moved)] == [0, 0]


def test_agreement_by_hand() -> None:
    first = np.array([HELD, HELD, HELD, DROPPED, UNSTABLE, COLLISION, UNVALIDATED], np.int8)
    second = np.array([HELD, HELD, DROPPED, UNSTABLE, HELD, COLLISION, HELD], np.int8)
    table = confusion_of(first, second)
    assert table.sum() == 7 and table[HELD, DROPPED] == 1 and table[UNVALIDATED, HELD] == 1
    found = agreement(table)
    # Five were tried in both: two held twice, one was lost twice.
    assert (found.matched, found.tested, found.agreed) == (7, 5, 3) and found.rate == 0.6
    assert math.isnan(agreement(confusion_of(first[:0], second[:0])).rate)


def test_two_runs_of_one_dataset(tmp_path: Path, capsys: Streams) -> None:
    first = [made("mug.obj", [HELD] * 30 + [DROPPED] * 10), made("rod.obj", [HELD] * 4), made("old.obj", [HELD] * 5)]
    second = [made("mug.obj", [HELD] * 10 + [DROPPED] * 30), made("rod.obj", [HELD] * 4), made("new.obj", [HELD] * 5)]
    changed = {"digest": "9" * 64, "settings": {"fps": 500}, "versions": {}}
    second = [replace(each, provenance={**each.provenance, "simulation": changed}) for each in second]
    write_dataset(tmp_path / "a", first)
    write_dataset(tmp_path / "b", second)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["only_first"], found["only_second"]) == (["old.obj"], ["new.obj"])
    assert (found["agreement"]["matched"], found["agreement"]["agreed"], found["agreement"]["tested"]) == (44, 24, 44)
    mug, rod = found["objects"]
    assert mug["object_id"] == "mug.obj" and mug["change"] == -0.5 and mug["beyond_chance"] is True
    assert rod["change"] == 0 and rod["beyond_chance"] is False
    assert found["differing"] == [{"what": "simulation: fps", "first": "250", "second": "500"}]
    labels = found["outcomes"]
    assert found["confusion"][labels.index("held")][labels.index("dropped")] == 20
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "44 poses are in both; of 44 tried in both 54.5% ended alike" in out and "-50.0 points" in out


def test_two_grippers_are_compared_by_object(tmp_path: Path, capsys: Streams) -> None:
    write_dataset(tmp_path / "a", [made("mug.obj", [HELD] * 6)])
    other = replace(made("mug.obj", [HELD] * 3 + [DROPPED] * 3, poses=random_poses(6)), gripper_name="franka_panda", gripper_width=0.08)
    write_dataset(tmp_path / "b", [other], gripper="franka_panda")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "no pose is in both" in out and "mug.obj" in out and "grip force" in out and "franka_panda" in out


def test_another_tools_files_are_compared_in_graspgens_frame(tmp_path: Path, capsys: Streams) -> None:
    write_datagen(tmp_path / "a", ["cups/mug.obj"])
    write_datagen(tmp_path / "b", ["cups/mug.obj"])
    main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    assert json.loads(capsys.readouterr().out)["agreement"]["matched"] == 8


def test_broken_files_are_named_and_the_rest_is_compared(tmp_path: Path, capsys: Streams) -> None:
    for name in ("a", "b"):
        paths = write_dataset(tmp_path / name, [made("mug.obj", [HELD] * 6)])
    (paths.grasps / "x.grasps.json").write_text("{")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == ExitCode.FAILED
    streams = capsys.readouterr()
    assert "x.grasps.json: cannot be read as JSON" in streams.err and "mug.obj" in streams.out


@pytest.mark.parametrize("paths", [[], ["a"], ["a", "b", "c"]])
def test_two_datasets_are_needed(paths: list[str], capsys: Streams) -> None:
    assert main(["compare", *paths]) == ExitCode.USAGE
    assert f"compare takes two datasets, not {len(paths)}" in capsys.readouterr().err


def test_outcomes_have_their_places() -> None:
    assert [outcome.value for outcome in Outcome] == list(range(5))  # the table is indexed by them
