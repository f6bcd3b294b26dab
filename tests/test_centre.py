"""Where a mesh file has its origin and its axes is no part of a trial, whoever asks for the trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from backend_contract import grasps_at_origin
from examples import gripper_by_name
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.poses import inverse
from graspgen_cli.records import Floats, GraspBatch, Measure, TargetObject, TrialState
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import Backend, make_backend
from graspgen_cli.validate.judge import judge, measures
from graspgen_cli.validate.scene import in_body_frame, pose_object_in_body
from graspgen_cli.validate.trace import trace_trial
from graspgen_cli.validate.trials import run_trials
from shapes import box

SETTINGS = SimulationSettings()
FAR = (0.3, -0.2, 0.15)
"""m: where the box is in its file's frame."""


def far_box_and_grasps(gripper: GripperShape, count: int = 8) -> tuple[TargetObject, GraspBatch]:
    """A box far from its frame's origin and grasps along its edge, the last of which miss it."""
    near = grasps_at_origin(gripper.gripper, count=count)
    poses = near.pose_gripper_in_object.copy()
    poses[:, :3, 3] += FAR
    return box(0.03, 0.02, 0.02, FAR), replace(near, pose_gripper_in_object=poses)


def centred(target: TargetObject, grasps: GraspBatch) -> tuple[TargetObject, GraspBatch]:
    """The same trials in the object's body frame."""
    poses = pose_object_in_body(target) @ grasps.pose_gripper_in_object
    return in_body_frame(target), replace(grasps, pose_gripper_in_object=poses)


def assert_same_trials(state: TrialState, of_centred: TrialState, pose_object_in_body: Floats) -> None:
    """Bit by bit, but for the object's pose, which is in a frame of its own."""
    for name in TrialState.__dataclass_fields__:
        if name not in ("pose_object_in_gripper", "slip", "late_motion"):
            np.testing.assert_array_equal(getattr(state, name), getattr(of_centred, name), err_msg=name)
    np.testing.assert_array_equal(judge(state), judge(of_centred))
    np.testing.assert_allclose(state.slip, of_centred.slip, atol=1e-12)
    np.testing.assert_allclose(state.late_motion, of_centred.late_motion, atol=1e-12)
    own = of_centred.pose_object_in_gripper @ pose_object_in_body
    np.testing.assert_allclose(state.pose_object_in_gripper, own, atol=1e-12)


def check_engine(backend: Backend, shape: GripperShape) -> None:
    """The engine called directly, through `run_trials` and with a centred object."""
    target, grasps = far_box_and_grasps(shape)
    state = backend.run(shape.gripper, target, grasps, SETTINGS)
    result = run_trials(backend, shape.gripper, target, grasps, SETTINGS).grasps
    np.testing.assert_array_equal(judge(state), result.outcome)
    assert len(set(result.outcome.tolist())) == 2, "held and dropped ones"
    known = np.delete(result.measured, [Measure.OFFSET, Measure.OFFSET_TURN], axis=1)
    np.testing.assert_array_equal(np.delete(measures(state), [Measure.OFFSET, Measure.OFFSET_TURN], axis=1), known)
    assert_same_trials(state, backend.run(shape.gripper, *centred(target, grasps), SETTINGS), pose_object_in_body(target))


@pytest.mark.parametrize("name", ["franka_panda", "robotiq_2f_85"])
def test_an_engine_that_is_called_directly_makes_the_trials_of_a_run(gripper_shape: Callable[[str], GripperShape], name: str) -> None:
    check_engine(make_backend("mujoco", threads=1), gripper_shape(name))


@pytest.mark.slow
def test_so_does_the_gpu_engine() -> None:
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend

    check_engine(MujocoWarpBackend(threads=1, device="cpu", worlds=16), gripper_by_name("franka_panda"))


def test_a_trial_that_is_watched_is_that_of_a_run_and_its_poses_are_the_files(gripper_shape: Callable[[str], GripperShape]) -> None:
    shape = gripper_shape("franka_panda")
    target, grasps = far_box_and_grasps(shape)
    [outcome] = run_trials(make_backend("mujoco", threads=1), shape.gripper, target, grasps[:1], SETTINGS).grasps.outcome
    trace = trace_trial(shape.gripper, target, grasps[:1], SETTINGS)
    assert trace.outcome == outcome
    np.testing.assert_allclose(trace.pose_object_in_gripper[0], inverse(grasps.pose_gripper_in_object)[0], atol=1e-3)
    np.testing.assert_allclose(trace.pose_object_in_gripper[-1], trace.state.pose_object_in_gripper[0], atol=1e-12)
    np.testing.assert_allclose(trace.slip[-1], trace.state.slip[0], atol=1e-12)
