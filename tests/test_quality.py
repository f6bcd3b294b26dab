"""What trials measure, and that it travels with the grasps into the file and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import orjson
import pytest
from scipy.spatial.transform import Rotation

from graspgen_cli.errors import GraspFileError
from graspgen_cli.formats.graspgen_json import decode, encode, parse_document, read_grasp_file
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import Floats, GraspBatch, Gripper, Measure, Outcome
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import make_backend
from graspgen_cli.validate.judge import judge, measures
from graspgen_cli.validate.progress import Bounds, Observation, Progress, farthest_motion
from graspgen_cli.validate.protocols import Stage
from graspgen_cli.validate.trace import trace_trial
from graspgen_cli.validate.trials import run_trials
from made_datasets import OFFSET, document, grasp_dataset, signed
from shapes import box
from test_validate import grasp_at_origin

DEFAULT = SimulationSettings()
TUGS = ((0.5, (0.0, 0.0, 1.0), 0.5), (0.5, (0.0, 0.0, 1.0), 2.0))


@pytest.fixture
def panda(gripper_shape: Callable[[str], GripperShape]) -> Gripper:
    return gripper_shape("franka_panda").gripper


def trial(gripper: Gripper, settings: SimulationSettings = DEFAULT, *, aside: float = 0.0) -> tuple[Outcome, Floats]:
    target = box(0.03, 0.02, 0.02, (0.0, aside, 0.0))
    grasps = run_trials(make_backend("mujoco", threads=1), gripper, target, grasp_at_origin(gripper), settings).grasps
    return Outcome(int(grasps.outcome[0])), grasps.measured[0]


def test_a_held_box_has_its_slip_its_force_and_no_loss(panda: Gripper) -> None:
    outcome, measured = trial(panda)
    assert outcome is Outcome.HELD
    assert 0 < measured[Measure.SLIP] < 0.001 and measured[Measure.TURN] < 0.02 and measured[Measure.MOTION] < 0.001
    assert measured[Measure.SMALLEST_FORCE] == pytest.approx(panda.grip_force, rel=0.3)
    assert np.isnan(measured[Measure.LOSS_TIME])


def test_a_box_beside_the_pads_is_lost_while_the_grip_closes(panda: Gripper) -> None:
    outcome, measured = trial(panda, aside=0.08)
    assert outcome is Outcome.DROPPED
    assert measured[Measure.LOSS_TIME] == 0.1 and measured[Measure.SMALLEST_FORCE] == 0
    assert np.isnan(measured[[Measure.SLIP, Measure.TURN, Measure.MOTION]]).all()


def test_the_time_of_loss_says_which_tug_pulled_the_box_out(panda: Gripper) -> None:
    """Friction resists 2 x 0.5 x the grip force: the first tug pulls with half of that, the second with twice."""
    settings = SimulationSettings(tug_sequences=TUGS, friction=0.5, force_magnitude=panda.grip_force / 9.81)
    outcome, measured = trial(panda, settings)
    assert outcome is Outcome.DROPPED and 1.5 < measured[Measure.LOSS_TIME] <= 2.0


@pytest.mark.slow
@pytest.mark.parametrize("friction", [0.3, 1.0])
def test_the_overlap_is_that_of_the_contacts_while_the_grip_is_closed(panda: Gripper, friction: float) -> None:
    """Against distances that the engine's collision finds anew at every step of the watched trial; the looks see some of the steps."""
    trace = trace_trial(panda, box(0.03, 0.02, 0.02), grasp_at_origin(panda), SimulationSettings(friction=friction, steady_motion=0.0))
    assert trace.outcome is Outcome.HELD
    data = mujoco.MjData(trace.scene.model)
    depth = []
    for position in trace.position[trace.time > trace.closed_at - 0.01]:
        data.qpos[:] = position
        mujoco.mj_fwdPosition(trace.scene.model, data)
        depth.append(-min(contact.dist for contact in data.contact))
    found = measures(trace.state)[0, Measure.PENETRATION]
    assert 0 < np.median(depth) <= found <= max(depth) + 1e-6


def test_what_never_touches_overlaps_by_nothing(panda: Gripper) -> None:
    assert trial(panda, aside=0.08)[1][Measure.PENETRATION] == 0


def test_no_loss_is_held_and_held_is_no_loss(panda: Gripper) -> None:
    """What the file says of the time of loss is enough to judge again."""
    rng = np.random.Generator(np.random.Philox(3))
    start = grasp_at_origin(panda, count=24)
    places = rng.normal(0, 0.012, (24, 3))
    grasps = replace(start, pose_gripper_in_object=start.pose_gripper_in_object @ pose(np.eye(3), places))
    state = make_backend("mujoco", threads=2).run(panda, box(0.03, 0.02, 0.02), grasps, DEFAULT)
    held = judge(state) == Outcome.HELD
    assert 4 <= held.sum() <= 20
    np.testing.assert_array_equal(np.isnan(measures(state)[:, Measure.LOSS_TIME]), held)


def progress_of(gripper: Gripper, slots: int, *stages: int, steady_motion: float = 0.0) -> Progress:
    """Trials with stages of these steps, 100 steps a second, of an object of 0.1 m about its origin, at the gripper's origin."""
    settings = SimulationSettings(fps=100, steady_motion=steady_motion)
    progress = Progress(gripper, tuple(Stage("tug", steps) for steps in stages), settings, slots)
    progress.begin(np.arange(slots), np.tile(np.eye(4), (slots, 1, 1)), [Bounds(np.zeros(3), 0.1, 1.0)] * slots)
    return progress


def seen_at(gripper: Gripper, x: Floats | float, force: Floats, overlap: Floats | float = 0.0) -> Observation:
    """N objects, moved by x (N,) m, with finger forces (N, 2), in the open gripper."""
    count = len(force)
    poses, joints = np.tile(np.eye(4), (count, 1, 1)), np.tile(gripper.joint_position[-1], (count, 1))
    poses[:, 0, 3] = x
    return Observation(poses, force, force > 0, joints, np.ones(count, bool), np.broadcast_to(np.asarray(overlap), count))


def test_the_measures_by_hand(panda: Gripper) -> None:
    """A grip of 20 steps and a tug of 20, a look every 10 steps."""
    progress = progress_of(panda, 2, 20, 20)
    for number, force in enumerate([[[0, 0], [3, 0]], [[5, 4], [3, 3]], [[5, 2], [3, 0]], [[5, 3], [3, 0]]]):
        seen = seen_at(panda, 0.001 * number, np.array(force, float), np.array([1, 4 - number]) * 1e-4)
        ended, entered = progress.look(seen, progress.interval)
        assert (len(ended), len(entered)) == (2 * (number == 3), 2 * (number == 1))
    measured = progress.state(ended, seen, np.zeros(2, bool))
    np.testing.assert_array_equal(measured.smallest_force, [2, 0])
    np.testing.assert_array_equal(measured.loss_time, [np.nan, 0.3])
    np.testing.assert_allclose(measured.late_motion, 0.002)
    np.testing.assert_allclose(measured.penetration, [1e-4, 3e-4])


@pytest.mark.parametrize(("steady_motion", "ended"), [(0.001, [0, 1, 3]), (0.0003, [3]), (0.0, [])])
def test_a_stage_ends_where_motion_does_not_grow_and_the_rest_is_short(panda: Gripper, steady_motion: float, ended: list[int]) -> None:
    """Two looks of six: no finger touches at the first, so no stage ends; at the second four intervals are left."""
    progress = progress_of(panda, 4, 60, steady_motion=steady_motion)
    first, second = np.array([1e-4, 1e-4, 1e-4, 0.0]), np.array([1e-4, 1.01e-4, 1.1e-4, 0.0])
    assert not progress.look(seen_at(panda, first, np.zeros((4, 2))), 10)[0].size
    np.testing.assert_array_equal(progress.look(seen_at(panda, first + second, np.ones((4, 2))), 10)[0], ended)


def test_the_first_interval_of_a_stage_may_be_steady(panda: Gripper) -> None:
    progress = progress_of(panda, 2, 60, steady_motion=0.001)
    assert progress.look(seen_at(panda, np.array([1e-4, 3e-4]), np.ones((2, 2))), 10)[0].tolist() == [0]


def test_the_farthest_point_moves_by_the_shift_and_the_turn() -> None:
    before, turned = np.eye(4)[None], pose(Rotation.from_rotvec([0.0, 0.0, 0.1]).as_matrix(), np.array([0.0, 0.0, 0.01]))[None]
    np.testing.assert_allclose(farthest_motion(before, turned, np.zeros((1, 3)), np.array([0.05])), 0.01 + 0.005)
    about_center = pose(turned[0, :3, :3], np.array([1.0, 0, 0]) - turned[0, :3, :3] @ np.array([1.0, 0, 0]))[None]
    np.testing.assert_allclose(farthest_motion(before, about_center, np.array([[1.0, 0, 0]]), np.array([0.05])), 0.005, atol=1e-9)


def quality(count: int) -> Floats:
    values = np.arange(count * len(Measure), dtype=np.float64).reshape(count, len(Measure)) / 1000
    unknown = [Measure.LOSS_TIME, Measure.OFFSET, Measure.OFFSET_TURN, Measure.ROBUSTNESS, Measure.HELD_FRACTION]
    values[:, unknown] = np.nan
    values[1] = np.nan
    return values


def test_quality_goes_into_the_file_and_comes_back(tmp_path: Path) -> None:
    made = grasp_dataset("a.obj")
    grasps = replace(made.grasps, quality=quality(len(made.grasps)))
    (tmp_path / "a.json").write_bytes(encode(replace(made, grasps=grasps), OFFSET))
    read = read_grasp_file(tmp_path / "a.json").grasps
    assert read.quality is not None
    np.testing.assert_array_equal(read.quality, grasps.measured)
    written = orjson.loads((tmp_path / "a.json").read_bytes())["grasps"]["quality"]
    assert set(written) == {"slip", "turn", "smallest_force", "motion", "penetration"} and written["slip"][1] is None


def test_a_file_without_trials_is_as_it_was_before_there_was_quality() -> None:
    assert b"quality" not in encode(grasp_dataset("a.obj"), OFFSET)


def test_quality_travels_with_its_grasps() -> None:
    batch = grasp_dataset("a.obj").grasps
    measured = replace(batch, quality=quality(len(batch)))
    np.testing.assert_array_equal(measured[np.array([3, 0])].measured, quality(len(batch))[[3, 0]])
    joined = GraspBatch.join([batch, measured])
    np.testing.assert_array_equal(joined.measured[len(batch) :], quality(len(batch)))
    assert np.isnan(joined.measured[: len(batch)]).all()
    assert GraspBatch.join([batch, batch]).quality is None


@pytest.mark.parametrize("broken", [{"slip": [1.0]}, {"slip": "x"}, {"turn": [True] * 8}, {"motion": [1e400] * 8}])
def test_broken_quality_is_one_line(tmp_path: Path, broken: object) -> None:
    content = document()
    content["grasps"]["quality"] = broken
    path = tmp_path / "a.json"
    with pytest.raises(GraspFileError, match=r"a\.json: not a grasp file \(.*quality"):
        decode(path, content)


@pytest.mark.parametrize("foreign", [None, [1, 2], "good", {"stars": 5}])
def test_what_another_tool_calls_quality_is_not_read(tmp_path: Path, foreign: object) -> None:
    content = document()
    content["grasps"]["quality"] = foreign
    assert decode(tmp_path / "a.json", parse_document(tmp_path / "a.json", signed(content))).grasps.quality is None


def test_measures_of_other_grasps_are_not_taken_over() -> None:
    """What a file says beside its grasps is written again; the measures of grasps that are no longer there are not."""
    made = grasp_dataset("a.obj")
    old = orjson.loads(encode(replace(made, grasps=replace(made.grasps, quality=quality(len(made.grasps)))), OFFSET))
    few = replace(made, grasps=made.grasps[:2])
    again = orjson.loads(encode(few, OFFSET, beside={**old, "grasps": {**old["grasps"], "note": "mine"}}))
    assert "quality" not in again["grasps"] and again["grasps"]["note"] == "mine"
    foreign = orjson.loads(encode(few, OFFSET, beside={"grasps": {"quality": "good"}}))
    assert foreign["grasps"]["quality"] == "good"
