"""Dropped grasps next to held ones: found where they should be, recorded, the same every time."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from examples import EXAMPLES, OBJECTS, gripper_by_name
from graspgen_cli.app import main
from graspgen_cli.formats.graspgen_json import read_grasp_file
from graspgen_cli.geometry.collision import ObjectShape
from graspgen_cli.geometry.poses import inverse, rotation_angle
from graspgen_cli.making.extras import STEP, STEP_TURN, STEPS, add_hard_negatives
from graspgen_cli.making.rounds import ObjectState, ObjectWork, guess_missing
from graspgen_cli.records import GraspBatch, Measure, Outcome
from graspgen_cli.settings.commands import MakingSettings
from graspgen_cli.validate.judge import judge
from shapes import box
from test_validate import grasp_at_origin

QUOTAS = ["--num-collision-free-grasps", "8", "--num-colliding-grasps", "2"]
HOW = ["--fps", "100", "--gripper-config", "franka_panda", "--workers", "1", "--quiet"]


def run(command: str, folder: Path, *flags: str) -> Path:
    """The grasp file that a run over one box makes."""
    scales = folder / "scales.json"
    folder.mkdir(parents=True, exist_ok=True)
    scales.write_text(json.dumps({"box.stl": EXAMPLES["box.stl"]}))
    places = ["--object-scales-json", str(scales), "--object-dataset", str(OBJECTS), "--grasp-dataset", str(folder / "out")]
    assert main([command, *places, *QUOTAS, *HOW, *flags]) == 0
    [file] = (folder / "out" / "grasp_data" / "franka_panda").glob("*.grasps.json")
    return file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run("validate", tmp_path_factory.mktemp("hard"), "--hard-negatives", "3")


def hard(grasps: GraspBatch) -> NDArray[np.bool_]:
    return ~np.isnan(grasps.measured[:, Measure.OFFSET])


@pytest.mark.slow
def test_there_are_as_many_as_were_asked_for_and_all_were_dropped(made: Path) -> None:
    grasps = read_grasp_file(made).grasps
    assert hard(grasps).sum() == 3 and (grasps.outcome[hard(grasps)] == Outcome.DROPPED).all()
    assert grasps.count(Outcome.HELD) == 8
    document = json.loads(made.read_bytes())
    assert document["provenance"]["hard_negatives"] == {"seed": 0, "step": STEP, "step_turn": STEP_TURN}


@pytest.mark.slow
def test_each_lies_as_far_as_it_says_from_a_held_grasp(made: Path) -> None:
    grasps = read_grasp_file(made).grasps
    held = grasps.pose_gripper_in_object[grasps.outcome == Outcome.HELD]
    for pose, measured in zip(grasps.pose_gripper_in_object[hard(grasps)], grasps.measured[hard(grasps)], strict=True):
        angle = rotation_angle((inverse(held) @ pose)[:, :3, :3])
        steps = measured[Measure.OFFSET] / STEP
        assert round(steps) == pytest.approx(steps) and 1 <= steps <= STEPS
        assert measured[Measure.OFFSET_TURN] == pytest.approx(steps * STEP_TURN, abs=1e-5)
        assert np.abs(angle - measured[Measure.OFFSET_TURN]).min() < 1e-4


@pytest.mark.slow
def test_the_same_every_time(made: Path, tmp_path: Path) -> None:
    assert run("validate", tmp_path, "--hard-negatives", "3").read_bytes() == made.read_bytes()


@pytest.mark.slow
def test_without_the_flag_nothing_changes_and_fill_adds_them(made: Path, tmp_path: Path) -> None:
    file = run("validate", tmp_path)
    before = read_grasp_file(file).grasps
    assert "hard_negatives" not in read_grasp_file(file).provenance and b'"offset"' not in file.read_bytes()
    after = read_grasp_file(run("fill", tmp_path, "--hard-negatives", "3")).grasps
    np.testing.assert_array_equal(after.pose_gripper_in_object[: len(before)], before.pose_gripper_in_object)
    assert hard(after).sum() == 3
    np.testing.assert_array_equal(after.pose_gripper_in_object, read_grasp_file(made).grasps.pose_gripper_in_object)
    more = read_grasp_file(run("fill", tmp_path, "--hard-negatives", "5")).grasps
    assert hard(more).sum() == 5
    assert len(np.unique(more.pose_gripper_in_object.round(5), axis=0)) == len(more)


def test_they_do_not_count_when_it_is_estimated_how_many_guesses_will_hold() -> None:
    """Of the guesses all held, so that one more held grasp takes one more guess, however many hard negatives there are."""
    shape, target = gripper_by_name("franka_panda"), box(0.03, 0.02, 0.02)
    grasps = grasp_at_origin(shape.gripper, count=12)
    quality = np.full((12, len(Measure)), np.nan)
    quality[4:, Measure.OFFSET] = STEP
    outcome = np.array([Outcome.HELD] * 4 + [Outcome.DROPPED] * 8, np.int8)
    settings = MakingSettings.of(num_collision_free_grasps=5, num_colliding_grasps=0)
    work = ObjectWork(target, ObjectShape(target), shape, None, settings)
    state = guess_missing(work, ObjectState(replace(grasps, outcome=outcome, quality=quality), 0))
    assert state.grasps.count(Outcome.UNVALIDATED) == 1


@pytest.mark.slow
def test_warp_finds_them_too_and_drops_them_again_alone() -> None:
    """What the reference says of them is another matter: the engines agree least at the boundary, which is where they are looked for."""
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend

    shape, target, outcome = gripper_by_name("franka_panda"), box(0.03, 0.02, 0.02), np.array([Outcome.HELD], np.int8)
    held = replace(grasp_at_origin(shape.gripper), opening_width=np.array([0.04]), outcome=outcome)
    settings = MakingSettings.of(hard_negatives=1, initial_grasp_duration=0.2, tug_sequences=((0.3, (0.0, 1.0, 0.0), 1.0),), friction=0.07)
    backend = MujocoWarpBackend(threads=1, device="cpu", worlds=2)
    found = add_hard_negatives(ObjectWork(target, ObjectShape(target), shape, backend, settings), ObjectState(held, 0))
    made = found.grasps[hard(found.grasps)]
    assert len(made) == 1 and made.outcome[0] == Outcome.DROPPED and found.tested > 1
    assert judge(backend.run(shape.gripper, target, made, settings.updated(max_num_grasps=0).simulation))[0] == Outcome.DROPPED


@pytest.mark.slow
def test_trying_the_file_again_keeps_what_is_known_of_its_origin(made: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "grasp_data" / "franka_panda").mkdir(parents=True)
    copy = tmp_path / "out" / "grasp_data" / "franka_panda" / made.name
    copy.write_bytes(made.read_bytes())
    again = read_grasp_file(run("validate", tmp_path, "--load-guesses", "--hard-negatives", "3")).grasps
    assert hard(again).sum() == 3 and (again.outcome[hard(again)] == Outcome.DROPPED).all()
    assert math.isclose(np.nanmin(again.measured[:, Measure.OFFSET]), np.nanmin(read_grasp_file(made).grasps.measured[:, Measure.OFFSET]))


def test_what_cannot_be_found_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without friction nothing is held, so there is nothing to walk from."""
    scales = tmp_path / "scales.json"
    scales.write_text(json.dumps({"box.stl": EXAMPLES["box.stl"]}))
    places = ["--object-scales-json", str(scales), "--object-dataset", str(OBJECTS), "--grasp-dataset", str(tmp_path / "out")]
    main(["validate", *places, *QUOTAS, *HOW[:-1], "--friction", "0", "--max-guess-tries", "2", "--hard-negatives", "3"])
    assert "0 of 3 hard negatives" in capsys.readouterr().err
