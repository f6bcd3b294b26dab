"""A trial that is watched is the trial that was judged, step for step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from examples import GRIPPERS
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import GraspBatch, Gripper, Outcome, TargetObject, TrialState
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import make_backend
from graspgen_cli.validate.judge import judge
from graspgen_cli.validate.trace import TrialTrace, touching_bodies, trace_trial
from shapes import box

SETTINGS = SimulationSettings()
BOXES = {
    "between the pads": box(0.03, 0.02, 0.02),
    "beside them": box(0.02, 0.02, 0.02, (0.0, 0.08, 0.0)),
    "at their edge": box(0.03, 0.02, 0.02, (0.0, 0.0, 0.012)),
}


@pytest.fixture(params=GRIPPERS)
def gripper(request: pytest.FixtureRequest, gripper_shape: Callable[[str], GripperShape]) -> Gripper:
    return gripper_shape(request.param).gripper


def grasps_at_origin(gripper: Gripper, count: int = 1) -> GraspBatch:
    """Wide open around the origin; each grasp a little farther along the pads than the one before."""
    k = int(gripper.nearest_opening(np.array([0.03]))[0])
    middle = gripper.fingertip_in_base[k].mean(axis=0) - gripper.bite * gripper.approach_axis_in_base
    moved = -middle + 0.002 * np.arange(count)[:, None] * gripper.approach_axis_in_base
    return GraspBatch(pose(np.eye(3), moved), np.full(count, gripper.width), np.zeros(count, np.int8))


def trace_of(gripper: Gripper, target: TargetObject, settings: SimulationSettings = SETTINGS) -> TrialTrace:
    return trace_trial(gripper, target, grasps_at_origin(gripper), settings)


def numbers(state: TrialState, row: int) -> list[bytes]:
    return [np.ascontiguousarray(getattr(state, name)[row]).tobytes() for name in TrialState.__dataclass_fields__]


@pytest.mark.parametrize("where", BOXES)
def test_watching_changes_no_bit_of_the_end_state(gripper: Gripper, where: str) -> None:
    grasps = grasps_at_origin(gripper, count=3)
    among_others = make_backend("mujoco", threads=2).run(gripper, BOXES[where], grasps, SETTINGS)
    for row in range(len(grasps)):
        trace = trace_trial(gripper, BOXES[where], grasps[row : row + 1], SETTINGS)
        assert numbers(trace.state, 0) == numbers(among_others, row)
        assert trace.outcome == judge(among_others)[row]
        assert len(trace.time) == among_others.steps[row]


@pytest.mark.parametrize("steady_motion", [0.0, SETTINGS.steady_motion])
def test_a_held_box_is_pressed_to_the_end_and_slips_as_much_as_its_end_state_says(gripper: Gripper, steady_motion: float) -> None:
    trace = trace_of(gripper, BOXES["between the pads"], SimulationSettings(steady_motion=steady_motion))
    assert trace.outcome is Outcome.HELD and trace.failed_at is None
    assert set(touching_bodies(trace)) == set(gripper.finger_bodies)
    assert trace.pressed[-1] and trace.time[-1] == pytest.approx(sum(stage.steps for stage in trace.stages) / SETTINGS.fps)
    assert trace.time[-1] == pytest.approx(3.5) if steady_motion == 0 else trace.time[-1] < 3.0
    assert np.isnan(trace.slip[trace.time < trace.closed_at - 1e-9]).all()
    assert trace.slip[-1] == pytest.approx(trace.state.slip[0], abs=1e-12)
    assert trace.finger_contact_force[-1] == pytest.approx(trace.state.finger_contact_force[0])


def test_before_the_tugs_both_pads_press_with_the_grip_force(gripper: Gripper) -> None:
    trace = trace_of(gripper, BOXES["between the pads"])
    before = trace.finger_contact_force[np.searchsorted(trace.time, trace.closed_at) - 1]
    assert before == pytest.approx([gripper.grip_force] * 2, rel=0.1)


def test_a_box_that_is_pulled_out_fails_in_the_tug_that_pulls(gripper: Gripper) -> None:
    """Two pads at a friction of a half resist a grip force along the approach axis; the second tug alone is stronger than that."""
    weak, strong = (0.5, (0.0, 0.0, 1.0), 0.1), (0.5, (0.0, 0.0, 1.0), 3.0)
    settings = SimulationSettings(tug_sequences=(weak, strong), friction=0.5, force_magnitude=gripper.grip_force / 9.81)
    trace = trace_of(gripper, BOXES["between the pads"], settings)
    assert trace.outcome is Outcome.DROPPED
    began = sum(stage.steps for stage in trace.stages[:2]) / settings.fps
    assert trace.failed_at is not None and began < trace.failed_at < began + 0.5
    assert not trace.pressed[trace.time > trace.failed_at].any()


def test_what_is_never_gripped_fails_from_the_start(gripper: Gripper) -> None:
    trace = trace_of(gripper, BOXES["beside them"])
    assert trace.failed_at == 0.0 and touching_bodies(trace) == ()


def test_a_trial_that_diverges_fails_where_it_ends(gripper: Gripper) -> None:
    trace = trace_of(gripper, BOXES["between the pads"], SimulationSettings(force_magnitude=1e300))
    assert trace.outcome is Outcome.UNSTABLE
    assert trace.failed_at == trace.time[-1] < 3.5
    assert np.isfinite(trace.pose_object_in_gripper[:, :3, :3]).all()
