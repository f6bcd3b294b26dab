"""What every simulation backend has to do. A test module makes a class of its own from BackendContract, with a `backend` fixture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from examples import GRIPPERS
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.poses import is_rotation, pose
from graspgen_cli.records import GraspBatch, Gripper, Outcome, TargetObject
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import Backend
from graspgen_cli.validate.judge import judge
from graspgen_cli.validate.protocols import stages
from graspgen_cli.validate.trials import run_trials
from shapes import box

DEFAULT = SimulationSettings()
PINCHED = box(0.03, 0.02, 0.02)
"""Between the pads of `grasps_at_origin`."""
BESIDE = box(0.02, 0.02, 0.02, (0.0, 0.08, 0.0))


def grasps_at_origin(gripper: Gripper, *, count: int = 1) -> GraspBatch:
    """Wide open, the object's frame at the middle of the pads' bite points once they are closed on 30 mm; each grasp turned by
    another angle about the approach axis, and the last ones moved away along it."""
    k = int(gripper.nearest_opening(np.array([0.03]))[0])
    middle = gripper.fingertip_in_base[k].mean(axis=0) - gripper.bite * gripper.approach_axis_in_base
    poses = np.tile(pose(np.eye(3), -middle), (count, 1, 1))
    poses[:, :3, 3] -= np.linspace(0.0, 0.1, count)[:, None] * gripper.approach_axis_in_base
    return GraspBatch(poses, np.full(count, gripper.width), np.full(count, Outcome.UNVALIDATED, np.int8))


class BackendContract:
    """The laws. `tolerance`, m: how far one grasp's end may depend on its neighbours in the batch; 0 for the same bits."""

    tolerance = 0.0

    @pytest.fixture(params=GRIPPERS)
    def gripper(self, request: pytest.FixtureRequest, gripper_shape: Callable[[str], GripperShape]) -> Gripper:
        return gripper_shape(request.param).gripper

    @staticmethod
    def outcome(backend: Backend, gripper: Gripper, target: TargetObject, settings: SimulationSettings = DEFAULT) -> Outcome:
        return Outcome(int(run_trials(backend, gripper, target, grasps_at_origin(gripper), settings).grasps.outcome[0]))

    def test_a_box_between_the_pads_is_held(self, backend: Backend, gripper: Gripper) -> None:
        assert self.outcome(backend, gripper, PINCHED) is Outcome.HELD

    def test_a_box_beside_the_pads_is_not(self, backend: Backend, gripper: Gripper) -> None:
        assert self.outcome(backend, gripper, BESIDE) is Outcome.DROPPED

    def test_without_friction_a_tug_pulls_the_box_out(self, backend: Backend, gripper: Gripper) -> None:
        assert self.outcome(backend, gripper, PINCHED, SimulationSettings(friction=0.0)) is Outcome.DROPPED

    @pytest.mark.parametrize(("share", "expected"), [(0.5, Outcome.HELD), (2.0, Outcome.DROPPED)])
    def test_friction_holds_up_to_coulombs_limit(self, backend: Backend, gripper: Gripper, share: float, expected: Outcome) -> None:
        """Two pads resist 2 x friction x grip force along the approach axis."""
        limit = 2 * 0.5 * gripper.grip_force / 9.81
        settings = SimulationSettings(tug_sequences=((0.5, (0.0, 0.0, 1.0), 1.0),), friction=0.5, force_magnitude=share * limit)
        assert self.outcome(backend, gripper, PINCHED, settings) is expected

    def test_the_end_state_of_a_held_object(self, backend: Backend, gripper: Gripper) -> None:
        state = backend.run(gripper, PINCHED, grasps_at_origin(gripper), DEFAULT.model_copy(update={"steady_motion": 0.0}))
        whole = sum(stage.steps for stage in stages(gripper, DEFAULT, DEFAULT.object_mass))
        assert state.steps[0] == whole and state.finite[0] and not state.started_inside[0]
        assert is_rotation(state.pose_object_in_gripper).all()
        assert state.slip[0, 0] < 0.002 and state.slip[0, 1] < 0.05
        assert (state.finger_contact_force[0] > 0.7 * gripper.grip_force).all()
        np.testing.assert_allclose(self.width_of(gripper, state.joint_position[0]), 0.03, atol=0.004)

    @staticmethod
    def width_of(gripper: Gripper, joints: np.ndarray) -> float:
        """Opening (m) at which the measured joints are nearest."""
        distance = np.linalg.norm(gripper.joint_position - joints, axis=1)
        return float(gripper.opening_width[distance.argmin()])

    def test_a_lost_object_has_no_force_and_no_slip(self, backend: Backend, gripper: Gripper) -> None:
        state = backend.run(gripper, BESIDE, grasps_at_origin(gripper), DEFAULT)
        assert (state.finger_contact_force[0] == 0).all() and np.isnan(state.slip[0]).all()

    def test_an_object_inside_the_gripper_at_the_start_is_counted(self, backend: Backend, gripper: Gripper) -> None:
        wide = box(gripper.width + 0.02, 0.02, 0.02)
        states = [backend.run(gripper, target, grasps_at_origin(gripper), DEFAULT) for target in (wide, PINCHED)]
        assert [bool(state.started_inside[0]) for state in states] == [True, False]

    def test_grasps_come_back_in_their_order_whatever_the_chunks(self, backend: Backend, gripper: Gripper) -> None:
        grasps = grasps_at_origin(gripper, count=5)
        together = backend.run(gripper, PINCHED, grasps, DEFAULT)
        chunks = backend.run(gripper, PINCHED, grasps, DEFAULT.model_copy(update={"max_num_envs": 2}))
        alone = backend.run(gripper, PINCHED, grasps[4:5], DEFAULT)
        np.testing.assert_array_equal(judge(together), judge(chunks))
        assert judge(together)[0] == Outcome.HELD and judge(together)[4] == Outcome.DROPPED
        for other, rows in ((chunks, slice(0, 1)), (alone, slice(4, 5))):
            np.testing.assert_allclose(
                together.pose_object_in_gripper[rows], other.pose_object_in_gripper[: rows.stop - rows.start], atol=self.tolerance, rtol=0
            )

    def test_no_grasps_no_trials(self, backend: Backend, gripper: Gripper) -> None:
        assert judge(backend.run(gripper, PINCHED, GraspBatch.empty(), DEFAULT)).shape == (0,)
