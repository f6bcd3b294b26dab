"""The gripper shaken: its motion, the inertial forces of its frame, and when Coulomb's law lets go."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from examples import gripper_by_name
from graspgen_cli.app import main
from graspgen_cli.dataset.provenance import simulation_record
from graspgen_cli.geometry.poses import inverse, pose
from graspgen_cli.records import Floats, GraspBatch, Gripper, Outcome
from graspgen_cli.settings.trials import DEFAULT_TUGS, Shake, ShakeAxis, ShakeKind, SimulationSettings
from graspgen_cli.validate.engine import make_backend
from graspgen_cli.validate.judge import judge
from graspgen_cli.validate.protocols import STILL, Stage, motion_table, protocol_sequences, stage_title, stages
from graspgen_cli.validate.scene import build_scene, start_position
from graspgen_cli.validate.shaking import Bodies, displacement, inertial_wrench, shake_motion
from graspgen_cli.validate.trace import trace_trial
from shapes import box
from test_validate import grasp_at_origin

MASS, FRICTION = 5.0, 0.1
LINEAR: Shake = (2.0, ShakeKind.LINEAR, ShakeAxis.APPROACH, 0.3, 2.0)
TURNING: Shake = (2.0, ShakeKind.ROTATIONAL, ShakeAxis.CLOSING, 0.8, 2.0)
_, SHAKES = protocol_sequences("shake", DEFAULT_TUGS, ())
HELD = box(0.03, 0.02, 0.02)


@pytest.fixture(scope="module")
def panda() -> Gripper:
    return gripper_by_name("franka_panda").gripper


def settings_of(*shakes: Shake, **others: object) -> SimulationSettings:
    return SimulationSettings(tug_sequences=(), shake_sequences=shakes, **others)  # type: ignore[arg-type]


# --- the motion -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shake", [LINEAR, TURNING, (1.5, ShakeKind.LINEAR, ShakeAxis.BINORMAL, 2.0, 4.0)])
def test_a_shake_begins_and_ends_at_rest_and_has_the_acceleration_that_it_says(shake: Shake) -> None:
    duration, _, _, amplitude, frequency = shake
    time = np.linspace(0.0, duration, 200_001)
    place, speed = displacement(shake, time)
    np.testing.assert_allclose([place[0], place[-1], speed[0], speed[-1]], 0.0, atol=1e-9 * amplitude)
    np.testing.assert_allclose(np.gradient(place, time)[1:-1], speed[1:-1], atol=1e-6 * amplitude * frequency)
    acceleration = np.abs(np.gradient(speed, time))
    assert np.abs(place).max() == pytest.approx(amplitude, rel=1e-6)
    assert acceleration.max() == pytest.approx(amplitude * (2 * math.pi * frequency) ** 2, rel=0.003)
    assert acceleration[0] < 0.01 * acceleration.max() > acceleration[-1]


def test_the_table_has_a_row_for_rest_and_one_for_each_step_and_adds_up_to_the_speed(panda: Gripper) -> None:
    settings = settings_of(LINEAR, TURNING, fps=200)
    plan = stages(panda, settings, 1.0)
    table, first_row = motion_table(plan)
    assert [stage.steps for stage in plan] == [200, 400, 400] and first_row.tolist() == [STILL, 1, 401]
    assert table.shape == (801, 9) and not table[STILL].any()
    first, second = table[1:401], table[401:]
    assert not first[:, 3:].any() and not second[:, :3].any()
    _, speed = displacement(LINEAR, np.arange(401) / 200)
    np.testing.assert_allclose(np.cumsum(first[:, :3] @ panda.approach_axis_in_base) / 200, speed[1:], atol=1e-12)
    place, _ = displacement(TURNING, np.arange(401) / 200)
    np.testing.assert_allclose(np.cumsum(second[:, 3:6] @ panda.closing_axis_in_base) / 200, place[1:], atol=1e-12)


def test_pictures_name_the_stages() -> None:
    plan = (Stage("closing", 1), Stage("tug", 1, (1.0, 0.0, 0.0)), Stage("shake", 1), Stage("shake", 1))
    assert [stage_title(plan, k) for k in range(4)] == ["closing", "tug 1 of 1", "shake 1 of 2", "shake 2 of 2"]


# --- the forces -------------------------------------------------------------------------------------------------------------------

FREE = """
<mujoco><option timestep="{step}" gravity="0 0 0" integrator="RK4"/><worldbody><body pos="0.1 0.02 0.15"><freejoint/>
<inertial pos="0.02 0.01 0" mass="0.7" fullinertia="3e-4 5e-4 6e-4 1e-4 -5e-5 2e-5"/></body></worldbody></mujoco>
"""


@pytest.mark.slow
@pytest.mark.parametrize("shake", [LINEAR, TURNING], ids=["linear", "rotational"])
def test_seen_from_the_moving_gripper_a_free_body_goes_on_as_if_nothing_had_happened(panda: Gripper, shake: Shake) -> None:
    """It flies and tumbles past the gripper, which moves: its place in the world is that of a body of which nobody knows, the better the
    shorter the steps."""
    coarse, fine = (free_body_error(panda, shake, fps) for fps in (1250, 2500))
    assert (fine < [4e-3, 0.025]).all() and (fine <= 0.55 * coarse + 1e-9).all()


def free_body_error(gripper: Gripper, shake: Shake, fps: int) -> Floats:
    """(2,): largest difference of places (m) and of rotations."""
    model = mujoco.MjModel.from_xml_string(FREE.format(step=1.0 / fps))
    seen, alone, error = mujoco.MjData(model), mujoco.MjData(model), np.zeros(2)
    seen.qvel[:] = alone.qvel[:] = [0.05, -0.02, 0.01, 1.0, -2.0, 0.5]
    for step, motion in enumerate(shake_motion(gripper, shake, steps=round(shake[0] * fps), fps=fps)):
        mujoco.mj_forward(model, seen)
        seen.xfrc_applied[:] = inertial_wrench(motion[None], bodies_of(model, seen))[0]
        mujoco.mj_step(model, seen)
        mujoco.mj_step(model, alone)
        if step % 100 == 99:
            mujoco.mj_kinematics(model, seen)
            mujoco.mj_kinematics(model, alone)
            pose_gripper = place_of(gripper, shake, (step + 1) / fps)
            off = inverse(pose_gripper @ body_pose(seen)) @ body_pose(alone)
            error = np.maximum(error, [np.abs(off[:3, 3]).max(), np.abs(off[:3, :3] - np.eye(3)).max()])
    assert np.abs(displacement(shake, np.linspace(0, shake[0], 99))[0]).max() > 0.2
    return error


def bodies_of(model: mujoco.MjModel, data: mujoco.MjData) -> Bodies:
    speed = np.zeros((model.nbody, 6))
    for body in range(model.nbody):
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, body, speed[body], 0)
    axes = data.ximat.reshape(1, -1, 3, 3)
    return Bodies(model.body_mass[None], model.body_inertia[None], data.xipos[None], axes, speed[None, :, 3:], speed[None, :, :3])


def body_pose(data: mujoco.MjData) -> Floats:
    return pose(data.xmat[1].reshape(3, 3), data.xpos[1])


def place_of(gripper: Gripper, shake: Shake, time: float) -> Floats:
    """(4, 4) where the gripper is in the world."""
    [place], _ = displacement(shake, np.array([time]))
    if shake[1] is ShakeKind.LINEAR:
        return pose(np.eye(3), place * gripper.approach_axis_in_base)
    return pose(Rotation.from_rotvec(place * gripper.closing_axis_in_base).as_matrix(), np.zeros(3))


@pytest.mark.slow
def test_warp_applies_the_same_forces_in_its_precision() -> None:
    """Random bodies; a world in which the gripper stands still is left alone, and the motion goes on to its last row."""
    wp = pytest.importorskip("warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.kernels import apply_motion

    rng = np.random.Generator(np.random.Philox(3))
    count, worlds, motion = 4, 3, rng.normal(size=(5, 9))
    position, spin, origin, moving = (rng.normal(size=(worlds, count, 3)) for _ in range(4))
    axes = Rotation.random(worlds * count, rng=rng).as_matrix().reshape(worlds, count, 3, 3)
    mass, inertia, root = rng.random(count), rng.random((count, 3)), np.array([0, 1, 1, 3])
    velocity = moving + np.cross(spin, position - origin[:, root])
    row = wp.array(np.array([[2], [STILL], [4]], np.int32), device="cpu")

    def put(values: Floats, dtype: object) -> object:
        return wp.array(values.astype(np.float32), dtype=dtype, device="cpu")

    model = SimpleNamespace(
        nbody=count,
        body_rootid=wp.array(root.astype(np.int32), device="cpu"),
        body_mass=put(mass[None], wp.float32),
        body_inertia=put(inertia[None], wp.vec3),
    )
    data = SimpleNamespace(
        nworld=worlds,
        xipos=put(position, wp.vec3),
        ximat=put(axes, wp.mat33),
        cvel=put(np.concatenate([spin, moving], axis=2), wp.spatial_vector),
        subtree_com=put(origin, wp.vec3),
        xfrc_applied=put(np.full((worlds, count, 6), 7.0), wp.spatial_vector),
    )
    apply_motion(model, data, put(motion, wp.float32), row)
    found = data.xfrc_applied.numpy()
    expected = inertial_wrench(
        motion[[2, STILL, 4]], Bodies(*(np.stack([each] * worlds) for each in (mass, inertia)), position, axes, velocity, spin)
    )
    np.testing.assert_allclose(found[[0, 2], 1:], expected[[0, 2], 1:], rtol=1e-4, atol=1e-4)
    assert (found[1] == 7.0).all() and (found[:, 0] == 7.0).all()
    assert row.numpy().ravel().tolist() == [3, STILL, 4]
    data.nworld = 1
    apply_motion(model, data, put(motion, wp.float32), row)
    assert row.numpy().ravel().tolist() == [4, STILL, 4]


# --- Coulomb's law ----------------------------------------------------------------------------------------------------------------


def farthest_slide(shake: Shake, limit: float) -> float:
    """m: how far a block on a shaken table slides, at most, if friction can accelerate it by no more than `limit` (m/s²)."""
    time = np.linspace(0.0, shake[0], 40_001)
    step, (_, table) = time[1], displacement(shake, time)
    block = slid = farthest = 0.0
    for speed in table:
        block += float(np.clip(speed - block, -limit * step, limit * step))
        slid += step * (block - speed)
        farthest = max(farthest, abs(slid))
    return farthest


def shaken_at(share: float, axis: ShakeAxis, gripper: Gripper, *, frequency: float = 2.0) -> Shake:
    """Shaken so that the largest inertial force is a share of what both pads' friction can take."""
    return (4 / frequency, ShakeKind.LINEAR, axis, share * pads_limit(gripper) / (2 * math.pi * frequency) ** 2, frequency)


def pads_limit(gripper: Gripper) -> float:
    """m/s²."""
    return 2 * FRICTION * gripper.grip_force / MASS


def slide(gripper: Gripper, shake: Shake) -> float:
    """m: how far the box is away from where it was gripped, at most; it slides back as well."""
    trace = trace_trial(gripper, HELD, grasp_at_origin(gripper), settings_of(shake, friction=FRICTION, object_mass=MASS))
    assert trace.outcome is Outcome.HELD
    return float(np.nanmax(trace.slip[:, 0]))


@pytest.mark.parametrize("axis", [ShakeAxis.APPROACH, pytest.param(ShakeAxis.BINORMAL, marks=pytest.mark.slow)])
def test_a_shaken_box_slides_where_its_inertia_exceeds_the_friction_of_both_pads(panda: Gripper, axis: ShakeAxis) -> None:
    """m A (2 pi f)² against 2 mu N, and then as far as a block on a table."""
    assert slide(panda, shaken_at(0.98, axis, panda)) < 1e-5
    beyond = shaken_at(1.05, axis, panda)
    assert slide(panda, beyond) == pytest.approx(farthest_slide(beyond, pads_limit(panda)), rel=0.15)


@pytest.mark.slow
def test_a_turned_box_slides_where_its_inertia_exceeds_the_friction_of_both_pads(panda: Gripper) -> None:
    """About a line through the base, at the distance r: m A r (2 pi f)², the centrifugal force being small where the angle is."""
    lever = float(np.linalg.norm(grasp_at_origin(panda).pose_gripper_in_object[0, :3, 3]))

    def turned(share: float) -> Shake:
        duration, _, _, sway, frequency = shaken_at(share, ShakeAxis.BINORMAL, panda)
        return (duration, ShakeKind.ROTATIONAL, ShakeAxis.CLOSING, sway / lever, frequency)

    assert slide(panda, turned(0.98)) < 1e-5
    less, more = (farthest_slide(shaken_at(share, ShakeAxis.BINORMAL, panda), pads_limit(panda)) for share in (1.04, 1.06))
    assert less < slide(panda, turned(1.05)) < more


@pytest.mark.slow
def test_shaken_along_the_closing_axis_one_finger_bears_what_the_other_does_not(panda: Gripper) -> None:
    """The hand's fingers move together, so that each takes half of the box's inertia."""
    settings = settings_of((4.0, ShakeKind.LINEAR, ShakeAxis.CLOSING, 1.0, 1.0), friction=0.5, object_mass=0.5)
    force = trace_trial(panda, HELD, grasp_at_origin(panda), settings).finger_contact_force[400:]
    half = 0.5 * 0.5 * (2 * math.pi) ** 2
    np.testing.assert_allclose(force.min(axis=0), panda.grip_force - half, rtol=0.01)
    np.testing.assert_allclose(force.max(axis=0), panda.grip_force + half, rtol=0.01)


@pytest.mark.slow
def test_on_warp_it_slides_there_too(panda: Gripper) -> None:
    """One gripper, shaken alike; boxes that are 5 % too light and 5 % too heavy, side by side. Now and then the engine's single
    precision loses a contact for a step, which moves a box by a tenth of a millimetre."""
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.worlds import Worlds

    settings = settings_of(shaken_at(1.0, ShakeAxis.APPROACH, panda, frequency=1.0), friction=FRICTION)
    scenes = [build_scene(panda, HELD, settings.model_copy(update={"object_mass": share * MASS})) for share in (0.95, 1.05)]
    worlds, both = Worlds(panda, settings, count=2, pieces=1, device="cpu"), np.arange(2)
    worlds.add_objects(scenes)
    worlds.load(both, both, np.concatenate([start_position(scene, panda, grasp_at_origin(panda)) for scene in scenes]))
    worlds.step(settings.fps, both)
    closed, farthest = worlds.observe().pose_object_in_gripper[:, :3, 3], np.zeros(2)
    worlds.move_base(both, np.array([1, 1]))
    for _ in range(62):
        worlds.step(10, both)
        moved = worlds.observe().pose_object_in_gripper[:, :3, 3] - closed
        farthest = np.maximum(farthest, np.linalg.norm(moved, axis=1))
    expected = farthest_slide(shaken_at(1.05, ShakeAxis.APPROACH, panda, frequency=1.0), pads_limit(panda))
    assert farthest[0] < 2e-4 and farthest[1] == pytest.approx(expected, rel=0.2)


@pytest.mark.slow
def test_warp_ends_shaken_trials_as_the_reference_does_alone_and_in_a_batch(panda: Gripper) -> None:
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend

    settings, grasps = settings_of(*SHAKES, friction=0.06), off_centre(panda)[np.array([0, 2, 3])]
    warp, reference = MujocoWarpBackend(threads=1, device="cpu", worlds=6), make_backend("mujoco", threads=1)
    expected, found = reference.run(panda, HELD, grasps, settings), warp.run(panda, HELD, grasps, settings)
    alone = warp.run(panda, HELD, grasps[np.array([2])], settings)
    assert set(judge(expected)) == {Outcome.HELD, Outcome.DROPPED}
    np.testing.assert_array_equal(judge(found), judge(expected))
    np.testing.assert_allclose(found.slip[2], alone.slip[0], rtol=0.05, atol=1e-5)


@pytest.mark.slow
def test_a_shaken_trial_that_warp_moves_to_another_world_goes_on_as_it_would_have(panda: Gripper) -> None:
    """Once the other one is over, the engine has it in the first world, in which nothing was shaken. The box slides, so that every force
    counts."""
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.worlds import Worlds

    settings = settings_of((2.0, ShakeKind.ROTATIONAL, ShakeAxis.CLOSING, 0.3, 2.0), friction=FRICTION, object_mass=MASS)
    scene, both = build_scene(panda, HELD, settings), np.arange(2)
    grasps, ended = replace(off_centre(panda)[np.array([0, 3])], opening_width=np.full(2, 0.032)), []
    for running in (both, both[1:]):
        worlds = Worlds(panda, settings, count=2, pieces=1, device="cpu")
        worlds.add_objects([scene])
        worlds.load(both, np.zeros(2, np.intp), start_position(scene, panda, grasps))
        worlds.step(50, both)
        worlds.move_base(both[1:], np.array([1]))
        worlds.step(190, both)
        worlds.step(40, running)
        seen = worlds.observe()
        ended.append(np.concatenate([seen.pose_object_in_gripper[1].ravel(), seen.finger_contact_force[1]]))
    np.testing.assert_allclose(ended[1], ended[0], rtol=1e-5, atol=1e-7)


# --- stages -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_shake_is_never_cut_short(panda: Gripper) -> None:
    """So slow that the box hardly moves for a second at a time, and yet it is lost in the end."""
    strong, weak = (shaken_at(share, ShakeAxis.BINORMAL, panda, frequency=0.25) for share in (1.3, 0.5))
    plain = settings_of(strong, friction=FRICTION, object_mass=MASS, fps=100)
    eager, gentle = (plain.model_copy(update={"steady_motion": 0.05, "shake_sequences": (shake,)}) for shake in (strong, weak))
    plain = plain.model_copy(update={"steady_motion": 0.0})
    backend = make_backend("mujoco", threads=1)
    lost, sure, held = (backend.run(panda, HELD, grasp_at_origin(panda), settings) for settings in (eager, plain, gentle))
    assert judge(lost)[0] == judge(sure)[0] == Outcome.DROPPED and judge(held)[0] == Outcome.HELD
    assert held.steps[0] > 16 * 100 and lost.loss_time[0] == sure.loss_time[0]


@pytest.mark.slow
def test_a_shaken_trial_is_the_same_alone_and_in_any_batch(panda: Gripper) -> None:
    settings, grasps = settings_of(*SHAKES, friction=0.06, fps=100), off_centre(panda)
    backend = make_backend("mujoco", threads=2)
    together, rows = backend.run(panda, HELD, grasps, settings), np.array([4, 1])
    assert set(judge(together)) == {Outcome.HELD, Outcome.DROPPED}
    for settled in (settings, settings.model_copy(update={"max_num_envs": 1})):
        some = backend.run(panda, HELD, grasps[rows], settled)
        np.testing.assert_array_equal(some.pose_object_in_gripper, together.pose_object_in_gripper[rows])
        np.testing.assert_array_equal(some.smallest_force, together.smallest_force[rows])


def off_centre(gripper: Gripper) -> GraspBatch:
    """The box held more and more beside its middle."""
    grasps = grasp_at_origin(gripper, count=6)
    across = np.cross(gripper.approach_axis_in_base, gripper.closing_axis_in_base)
    poses = grasps.pose_gripper_in_object.copy()
    poses[:, :3, 3] += np.linspace(-0.012, 0.012, 6)[:, None] * across
    return replace(grasps, pose_gripper_in_object=poses)


@pytest.mark.slow
def test_tugs_come_first_and_leave_nothing_behind(panda: Gripper) -> None:
    """A shake after a tug ends as a shake alone, where neither moves the box for good."""
    shaken = settings_of(SHAKES[0])
    pulled = shaken.model_copy(update={"tug_sequences": ((0.5, (0.0, 0.0, 1.0), 1.0),)})
    backend = make_backend("mujoco", threads=1)
    first, second = (backend.run(panda, HELD, grasp_at_origin(panda), settings) for settings in (shaken, pulled))
    np.testing.assert_allclose(first.pose_object_in_gripper, second.pose_object_in_gripper, atol=1e-5)


# --- around it --------------------------------------------------------------------------------------------------------------------


def test_the_records_of_trials_without_shakes_do_not_speak_of_them() -> None:
    plain, shaken = (
        simulation_record(object_digest="a", gripper_digest="b", settings=settings, backend="mujoco").settings
        for settings in (SimulationSettings(), settings_of(SHAKES[1]))
    )
    assert "shake_sequences" not in plain
    assert shaken["shake_sequences"] == [[2.5, "rotational", "closing", 0.5, 2.0]]
    assert SimulationSettings(shake_sequences=shaken["shake_sequences"]).shake_sequences == SHAKES[1:]


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    scales = tmp_path / "scales.json"
    scales.write_text('{"a.obj": 1.0}')
    return ["validate", "--object-scales-json", str(scales), "--object-dataset", str(tmp_path), "--grasp-dataset", str(tmp_path / "o")]


@pytest.mark.parametrize("protocol", [["--protocol", "shake"], ["--tug-sequences", "[]"]])
def test_robustness_is_a_matter_of_tugs(arguments: list[str], protocol: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, *protocol, "--robustness"]) == 2
    assert "give it a protocol of tugs alone" in capsys.readouterr().err


def test_flags_and_protocol_exclude_each_other(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    shake = '[[2.0, "linear", "closing", 0.05, 2.0]]'
    assert main([*arguments, "--protocol", "shake", "--shake-sequences", shake]) == 2
    assert "--protocol and --shake-sequences exclude each other" in capsys.readouterr().err
    assert main([*arguments, "--shake-sequences", '[[1.0, "linear", "closing", 0.05, 2.0]]']) == 2
    assert "a shake has whole periods, 4 or more; 1.0 s at 2.0 Hz are 2" in capsys.readouterr().err
