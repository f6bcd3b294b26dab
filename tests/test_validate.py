"""Trials whose end is known before they start, and laws that every trial obeys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mujoco
import numpy as np
import pytest

from examples import EXAMPLES, GRIPPERS, example_object
from graspgen_cli.errors import SettingsError
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.geometry.poses import pose
from graspgen_cli.guess.loop import make_guesses
from graspgen_cli.records import GraspBatch, Gripper, Outcome, TargetObject, TrialState
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import make_backend
from graspgen_cli.validate.judge import judge
from graspgen_cli.validate.protocols import stages
from graspgen_cli.validate.scene import build_scene
from graspgen_cli.validate.trials import run_trials
from shapes import box, sphere

DEFAULT = SimulationSettings()


@pytest.fixture(params=GRIPPERS)
def gripper(request: pytest.FixtureRequest, gripper_shape: Callable[[str], GripperShape]) -> Gripper:
    return gripper_shape(request.param).gripper


def grasp_at_origin(gripper: Gripper, *, count: int = 1) -> GraspBatch:
    """Wide open, the object's frame at the middle of the pads' bite points once they are closed on 30 mm."""
    k = int(gripper.nearest_opening(np.array([0.03]))[0])
    middle = gripper.fingertip_in_base[k].mean(axis=0) - gripper.bite * gripper.approach_axis_in_base
    poses = np.tile(pose(np.eye(3), -middle), (count, 1, 1))
    return GraspBatch(poses, np.full(count, gripper.width), np.full(count, Outcome.UNVALIDATED, np.int8))


def outcome_of(gripper: Gripper, target: TargetObject, settings: SimulationSettings = DEFAULT) -> Outcome:
    result = run_trials(make_backend("mujoco", threads=1), gripper, target, grasp_at_origin(gripper), settings)
    return Outcome(int(result.grasps.outcome[0]))


def test_a_box_between_the_pads_is_held(gripper: Gripper) -> None:
    assert outcome_of(gripper, box(0.03, 0.02, 0.02)) is Outcome.HELD


def test_a_box_beside_the_pads_is_not(gripper: Gripper) -> None:
    assert outcome_of(gripper, box(0.02, 0.02, 0.02, (0.0, 0.08, 0.0))) is Outcome.DROPPED


def test_a_box_in_front_of_the_fingertips_is_not(gripper: Gripper) -> None:
    assert outcome_of(gripper, box(0.02, 0.02, 0.02, (0.0, 0.0, 0.06))) is Outcome.DROPPED


def test_without_friction_a_tug_pulls_the_box_out(gripper: Gripper) -> None:
    assert outcome_of(gripper, box(0.03, 0.02, 0.02), SimulationSettings(friction=0.0)) is Outcome.DROPPED


def test_a_tug_beyond_coulombs_limit_pulls_the_box_out_and_half_of_it_does_not(gripper: Gripper) -> None:
    """Two pads resist 2 x friction x grip force along the approach axis."""
    tug = ((0.5, (0.0, 0.0, 1.0), 1.0),)
    limit = 2 * 0.5 * gripper.grip_force / 9.81
    held = SimulationSettings(tug_sequences=tug, friction=0.5, force_magnitude=0.5 * limit)
    lost = SimulationSettings(tug_sequences=tug, friction=0.5, force_magnitude=2.0 * limit)
    assert outcome_of(gripper, box(0.03, 0.02, 0.02), held) is Outcome.HELD
    assert outcome_of(gripper, box(0.03, 0.02, 0.02), lost) is Outcome.DROPPED


def test_a_lost_object_ends_its_trial_early(gripper: Gripper) -> None:
    backend = make_backend("mujoco", threads=1)
    whole = sum(stage.steps for stage in stages(gripper, DEFAULT, 1.0))
    assert whole == 875
    lost = backend.run(gripper, box(0.02, 0.02, 0.02, (0.0, 0.08, 0.0)), grasp_at_origin(gripper), DEFAULT)
    assert lost.steps[0] < 500


def test_a_stage_ends_where_the_object_moves_no_more_unless_told_otherwise(gripper: Gripper) -> None:
    backend, target = make_backend("mujoco", threads=1), box(0.03, 0.02, 0.02)
    short = backend.run(gripper, target, grasp_at_origin(gripper), DEFAULT)
    whole = backend.run(gripper, target, grasp_at_origin(gripper), DEFAULT.model_copy(update={"steady_motion": 0.0}))
    assert whole.steps[0] == 875 and 250 < short.steps[0] < 700
    assert np.abs(short.slip - whole.slip)[0, 0] < 5 * DEFAULT.steady_motion
    np.testing.assert_allclose(short.finger_contact_force, whole.finger_contact_force, rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIPPERS)
def test_ending_steady_stages_changes_hardly_any_label(name: str, gripper_shape: Callable[[str], GripperShape]) -> None:
    shape, backend = gripper_shape(name), make_backend("mujoco", threads=2)
    changed = tried = 0
    for object_id in EXAMPLES:
        target = example_object(object_id, pieces=True)
        grasps = make_guesses(
            ObjectShape(target), shape, GuessSettings(), object_id=object_id, num_free=24, num_colliding=0, first_try=0, max_tries=100
        ).grasps
        short = judge(backend.run(shape.gripper, target, grasps, DEFAULT))
        whole = judge(backend.run(shape.gripper, target, grasps, DEFAULT.model_copy(update={"steady_motion": 0.0})))
        changed, tried = changed + int((short != whole).sum()), tried + len(grasps)
    assert tried == 13 * 24 and changed <= 0.01 * tried


def test_a_held_object_hardly_slips_and_a_lost_one_has_no_slip(gripper: Gripper) -> None:
    backend = make_backend("mujoco", threads=1)
    held = backend.run(gripper, box(0.03, 0.02, 0.02), grasp_at_origin(gripper), DEFAULT)
    assert held.slip[0, 0] < 0.001 and held.slip[0, 1] < 0.02
    assert (held.finger_contact_force[0] > 0.7 * gripper.grip_force).all()
    lost = backend.run(gripper, box(0.02, 0.02, 0.02, (0.0, 0.08, 0.0)), grasp_at_origin(gripper), DEFAULT)
    assert np.isnan(lost.slip[0]).all() and (lost.finger_contact_force[0] == 0).all()


def test_an_object_inside_the_gripper_at_the_start_is_counted(gripper: Gripper) -> None:
    backend = make_backend("mujoco", threads=1)
    wide = box(gripper.width + 0.02, 0.02, 0.02)
    states = [backend.run(gripper, target, grasp_at_origin(gripper), DEFAULT) for target in (wide, box(0.03, 0.02, 0.02))]
    assert [bool(state.started_inside[0]) for state in states] == [True, False]


@pytest.mark.parametrize("threads", [2, *(pytest.param(threads, marks=pytest.mark.slow) for threads in (1, 3))])
def test_a_grasps_trial_does_not_depend_on_the_others(threads: int, gripper_shape: Callable[[str], GripperShape]) -> None:
    """Alone, in a batch, in chunks, on any number of threads: the same bits."""
    shape, target = gripper_shape("robotiq_2f_85"), sphere(0.02)
    grasps = make_guesses(
        ObjectShape(target), shape, GuessSettings(), object_id="ball", num_free=7, num_colliding=0, first_try=0, max_tries=10
    ).grasps
    backend = make_backend("mujoco", threads=threads)
    together = backend.run(shape.gripper, target, grasps, DEFAULT)
    chunks = backend.run(shape.gripper, target, grasps, DEFAULT.model_copy(update={"max_num_envs": 3}))
    alone = backend.run(shape.gripper, target, grasps[4:5], DEFAULT)
    np.testing.assert_array_equal(together.pose_object_in_gripper, chunks.pose_object_in_gripper)
    np.testing.assert_array_equal(together.pose_object_in_gripper[4], alone.pose_object_in_gripper[0])
    np.testing.assert_array_equal(together.finger_contact_force[4], alone.finger_contact_force[0])


def test_no_grasps_no_trials(gripper: Gripper) -> None:
    state = make_backend("mujoco", threads=1).run(gripper, sphere(0.02), GraspBatch.empty(), DEFAULT)
    assert judge(state).shape == (0,)


def test_only_the_first_grasps_are_tried_where_there_is_a_limit(gripper: Gripper) -> None:
    grasps = replace(grasp_at_origin(gripper, count=4), outcome=np.array([2, 0, 0, 0], np.int8))
    settings = SimulationSettings(max_num_grasps=2)
    result = run_trials(make_backend("mujoco", threads=1), gripper, box(0.03, 0.02, 0.02), grasps, settings)
    np.testing.assert_array_equal(result.tested, [False, True, True, False])
    np.testing.assert_array_equal(result.grasps.outcome, [Outcome.COLLISION, Outcome.HELD, Outcome.HELD, Outcome.UNVALIDATED])


def state(force: list[list[float]], finite: list[bool]) -> TrialState:
    count = len(force)
    return TrialState(
        pose_object_in_gripper=np.tile(np.eye(4), (count, 1, 1)),
        finger_contact_force=np.array(force),
        joint_position=np.zeros((count, 2)),
        finite=np.array(finite),
        slip=np.zeros((count, 2)),
        smallest_force=np.zeros(count),
        loss_time=np.zeros(count),
        late_motion=np.zeros(count),
        started_inside=np.zeros(count, bool),
        steps=np.zeros(count, np.int32),
        penetration=np.zeros(count),
    )


def test_the_judge_wants_both_fingers_and_a_finite_state() -> None:
    verdict = judge(state([[5, 4], [5, 0], [0, 3], [0, 0], [5, 5]], [True, True, True, True, False]))
    np.testing.assert_array_equal(verdict, [Outcome.HELD, Outcome.DROPPED, Outcome.DROPPED, Outcome.DROPPED, Outcome.UNSTABLE])


def test_forces_are_in_g_and_their_directions_have_no_length(gripper: Gripper) -> None:
    plan = stages(gripper, SimulationSettings(force_magnitude=2.0), 0.5)
    assert not any(plan[0].force_in_base)
    strength = [np.linalg.norm(stage.force_in_base) for stage in plan[1:]]
    np.testing.assert_allclose(strength, 2.0 * 9.81 * 0.5)
    np.testing.assert_allclose(plan[1].force_in_base, [0, 0, 2.0 * 9.81 * 0.5], atol=1e-12)


def test_the_scene_weighs_what_it_should(gripper: Gripper) -> None:
    target = box(0.03, 0.02, 0.01, (0.1, 0.0, -0.2))
    scene = build_scene(gripper, target, SimulationSettings(object_mass=2.5))
    assert scene.model.body_mass[scene.object_body] == pytest.approx(2.5)
    np.testing.assert_allclose(scene.model.body_ipos[scene.object_body], 0.0, atol=1e-9)
    np.testing.assert_allclose(scene.center_of_mass, [0.1, 0.0, -0.2], atol=1e-9)
    expected = 2.5 / 12 * np.array([0.02**2 + 0.01**2, 0.03**2 + 0.01**2, 0.03**2 + 0.02**2])
    np.testing.assert_allclose(np.sort(scene.model.body_inertia[scene.object_body]), np.sort(expected), rtol=1e-6)
    by_density = build_scene(gripper, target, SimulationSettings(object_density=1000.0))
    assert by_density.mass == pytest.approx(1000 * 0.03 * 0.02 * 0.01)


def test_the_gripper_meets_the_object_and_never_itself(gripper: Gripper) -> None:
    model = build_scene(gripper, sphere(0.02), DEFAULT).model
    own = np.array([model.geom_bodyid[g] != model.body("graspgen_object").id for g in range(model.ngeom)])
    for first in range(model.ngeom):
        for second in range(model.ngeom):
            meets = bool(model.geom_contype[first] & model.geom_conaffinity[second])
            assert meets == (own[first] != own[second])
    assert not model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_MULTICCD
    assert model.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC


def test_an_unknown_backend_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match="mujoco"):
        make_backend("unreal", threads=1)
