"""The pick-up filter: what it lets through can be carried out on a table, what it turns down is counted, and off it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from examples import EXAMPLES, OBJECTS
from graspgen_cli.app import main
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.guess.loop import GuessResult, make_guesses
from graspgen_cli.guess.place import Verdict
from graspgen_cli.records import GraspBatch, Outcome, TargetObject
from graspgen_cli.settings.guesses import GuessSettings, PickUpSettings

GRIPPER = "franka_panda"
UPS = ((0.0, 0.0, 1.0), (0.0, 2.0, 0.0), (1.0, -1.0, 0.5))


@pytest.fixture(scope="module")
def bottle(example: Callable[..., TargetObject]) -> ObjectShape:
    return ObjectShape(example("bottle.obj"))


def guesses(shape: ObjectShape, gripper: GripperShape, pick_up: PickUpSettings | None, *, count: int = 40, tries: int = 60) -> GuessResult:
    options = {"object_id": "object", "num_free": count, "num_colliding": 8, "first_try": 0, "max_tries": tries}
    return make_guesses(shape, gripper, GuessSettings(), pick_up=pick_up, **options)  # type: ignore[arg-type]


def free(result: GuessResult) -> GraspBatch:
    return result.grasps[result.grasps.outcome == Outcome.UNVALIDATED]


@pytest.mark.parametrize("up_axis", UPS)
def test_the_approach_stays_in_the_cone(bottle: ObjectShape, gripper_shape: Callable[[str], GripperShape], up_axis: tuple) -> None:
    gripper = gripper_shape(GRIPPER)
    result = guesses(bottle, gripper, PickUpSettings(approach_cone=40.0, up_axis=up_axis))
    approach = free(result).pose_gripper_in_object[:, :3, :3] @ gripper.gripper.approach_axis_in_base
    angle = np.degrees(np.arccos(np.clip(-approach @ np.array(up_axis) / np.linalg.norm(up_axis), -1, 1)))
    assert len(angle) == 40
    assert angle.max() <= 40.0 + 1e-6
    assert angle.max() > 20.0  # or the filter would be stricter than it says
    assert result.verdicts[Verdict.OUTSIDE_APPROACH_CONE] > 0


def test_the_whole_gripper_keeps_clear_of_the_table(bottle: ObjectShape, gripper_shape: Callable[[str], GripperShape]) -> None:
    gripper = gripper_shape(GRIPPER)
    result = guesses(bottle, gripper, PickUpSettings(bottom_clearance=0.01))
    grasps = free(result)
    heights = []
    for pose, k in zip(grasps.pose_gripper_in_object, gripper.gripper.nearest_opening(grasps.opening_width), strict=True):
        corners = np.concatenate([part.vertices for part in gripper.parts(int(k))]) @ pose[:3, :3].T + pose[:3, 3]
        heights.append(corners[:, 2].min() - bottle.low[2])
    assert min(heights) >= 0.01 - 1e-9
    assert result.verdicts[Verdict.TOO_NEAR_TABLE] > 0


def test_the_wrist_is_not_below_the_pads(bottle: ObjectShape, gripper_shape: Callable[[str], GripperShape]) -> None:
    gripper = gripper_shape(GRIPPER)
    result = guesses(bottle, gripper, PickUpSettings(wrist_up=True))
    poses = free(result).pose_gripper_in_object
    pads = poses[:, :3, :3] @ gripper.gripper.fingertip_in_base[-1].mean(axis=0) + poses[:, :3, 3]
    assert (poses[:, 2, 3] >= pads[:, 2] - 1e-9).all()
    assert result.verdicts[Verdict.WRIST_BELOW_PADS] > 0


def test_off_it_changes_nothing(bottle: ObjectShape, gripper_shape: Callable[[str], GripperShape]) -> None:
    without, off = (guesses(bottle, gripper_shape(GRIPPER), pick_up) for pick_up in (None, PickUpSettings(up_axis=(1.0, 0.0, 0.0))))
    assert np.array_equal(without.grasps.pose_gripper_in_object, off.grasps.pose_gripper_in_object)
    assert without.verdicts == off.verdicts
    wide = guesses(bottle, gripper_shape(GRIPPER), PickUpSettings(approach_cone=180.0, bottom_clearance=-10.0))
    assert np.array_equal(without.grasps.pose_gripper_in_object, wide.grasps.pose_gripper_in_object)


def test_what_gets_through_is_what_would_have_been_found_anyway(bottle: ObjectShape, gripper_shape: Callable[[str], GripperShape]) -> None:
    """The filter only leaves out: every guess that it lets through stands in the unfiltered list, in the same order."""
    gripper = gripper_shape(GRIPPER)
    every = free(guesses(bottle, gripper, None, count=120)).pose_gripper_in_object
    some = free(guesses(bottle, gripper, PickUpSettings(approach_cone=90.0), count=10)).pose_gripper_in_object
    places = [int(np.flatnonzero((every == pose).all(axis=(1, 2)))[0]) for pose in some]
    assert places == sorted(places)


@pytest.mark.slow
def test_the_file_says_that_guesses_were_filtered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says nothing of the filter where it is off, so that files from before it existed are the same bytes."""
    (tmp_path / "s.json").write_text(json.dumps({"bottle.obj": EXAMPLES["bottle.obj"]}))
    common = ["--object-scales-json", str(tmp_path / "s.json"), "--object-dataset", str(OBJECTS), "--workers", "1"]
    few = ["--num-collision-free-grasps", "8", "--num-colliding-grasps", "0"]
    recorded = []
    for name, flags in (("on", ["--wrist-up"]), ("off", [])):
        assert main(["guess", "--grasp-dataset", str(tmp_path / name), *common, *few, *flags]) == 0
        (file,) = (tmp_path / name).rglob("*.grasps.json")
        recorded.append(json.loads(file.read_text())["provenance"]["guess"]["settings"])
    with_filter, without = capsys.readouterr().err.splitlines()
    assert "turned down: " in with_filter and " wrist below pads" in with_filter
    assert "turned down" not in without
    assert recorded[0]["wrist_up"] is True
    assert not recorded[1].keys() & set(PickUpSettings.model_fields)


def test_why_there_are_too_few(bottle: ObjectShape, gripper_shape: Callable[[str], GripperShape]) -> None:
    result = guesses(bottle, gripper_shape(GRIPPER), PickUpSettings(bottom_clearance=1.0), count=4, tries=4)
    assert len(free(result)) == 0
    assert result.verdicts[Verdict.FREE] == 0
    assert result.verdicts[Verdict.TOO_NEAR_TABLE] > 100


@pytest.mark.parametrize("flags", [["--approach-cone", "181"], ["--up-axis", "[0,0,0]"], ["--bottom-clearance", "nan"]])
def test_nonsense_is_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guess", *flags]) == 2
    assert flags[0] in capsys.readouterr().err
