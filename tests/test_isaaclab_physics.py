"""What the isaaclab backend is asked for beyond the usual trial, on the stand-in for Isaac Lab: overlap, draws, a shaken gripper.

The engine behind the stand-in is MuJoCo's, so what the backend makes of them must come out as it does on `mujoco`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from backend_contract import DEFAULT, PINCHED, grasps_at_origin
from examples import GRIPPERS, OBJECTS, example_object, gripper_by_name
from graspgen_cli import guess_on, read_grasp_file
from graspgen_cli.app import main
from graspgen_cli.records import GraspBatch, Gripper, Measure, Outcome, TargetObject, TrialState
from graspgen_cli.settings.trials import DEFAULT_TUGS, JudgeSettings, RandomizationSettings, Shake, ShakeAxis, ShakeKind, SimulationSettings
from graspgen_cli.validate.engine import Variation, make_backend
from graspgen_cli.validate.engines.isaaclab import description
from graspgen_cli.validate.judge import judge
from graspgen_cli.validate.protocols import protocol_sequences
from graspgen_cli.validate.scene import build_scene, pose_object_in_body, start_position
from graspgen_cli.validate.trials import drawn_trials
from isaac_stand_in import InProcess, needs_usd
from shapes import box
from test_randomization import check_that_all_counts, nominal
from test_shaking import off_centre, settings_of

pytestmark = needs_usd
_, SHAKES = protocol_sequences("shake", DEFAULT_TUGS, ())
OFF_CENTRE = box(0.03, 0.02, 0.02, (0.01, 0.0, 0.02))
HELD, DROPPED = Outcome.HELD, Outcome.DROPPED
BESIDE = box(0.02, 0.03, 0.05, (0.0, 0.5, 0.1))


@pytest.fixture
def panda() -> Gripper:
    return gripper_by_name("franka_panda").gripper


def both(
    gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
) -> tuple[TrialState, TrialState]:
    """On the stand-in, and on `mujoco`."""
    engines = InProcess(), make_backend("mujoco", threads=2)
    ours, theirs = (engine.run(gripper, target, grasps, settings, variation) for engine in engines)
    return ours, theirs


def real_trials() -> list[tuple[TargetObject, GraspBatch]]:
    gripper = gripper_by_name("franka_panda").gripper
    targets = [example_object(name, pieces=True) for name in ("mug.obj", "banana.obj", "box.stl")]
    return [(target, guess_on(target, gripper, num_collision_free_grasps=12)) for target in targets]


# --- overlap ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIPPERS)
def test_the_overlap_is_that_of_the_geometry(isaac_lab: Any, name: str) -> None:
    """Of a box that is held and pulled no further: where the trial ends, the engine's own collision detection finds as much."""
    gripper, grasps = gripper_by_name(name).gripper, grasps_at_origin(gripper_by_name(name).gripper, count=3)
    state = InProcess().run(gripper, PINCHED, grasps, SimulationSettings(tug_sequences=((0.02, (0.0, 0.0, 1.0), 0.01),)))
    assert judge(state).tolist()[::2] == [HELD, DROPPED] and state.penetration[2] == 0
    scene = build_scene(gripper, PINCHED, DEFAULT)
    data = mujoco.MjData(scene.model)
    ended = replace(grasps[:1], pose_gripper_in_object=np.linalg.inv(state.pose_object_in_gripper[:1]))
    data.qpos[:] = start_position(scene, gripper, ended)[0]
    data.qpos[scene.joint_qpos] = state.joint_position[0]
    mujoco.mj_fwdPosition(scene.model, data)
    deepest = -min(contact.dist for contact in data.contact[: data.ncon])
    assert deepest > 5e-4 and state.penetration[0] == pytest.approx(deepest, rel=0.01)


def test_every_part_of_the_gripper_is_looked_at(isaac_lab: Any, panda: Gripper) -> None:
    """An object that reaches into the palm, and that no finger touches."""
    palm = panda.collision_parts[0][0].vertices @ panda.approach_axis_in_base
    post = box(0.01, 0.01, 0.1)
    at = np.eye(4)
    at[:3, 3] = (palm.max() + 0.05 - 0.004) * panda.approach_axis_in_base
    grasps = GraspBatch(np.linalg.inv(at)[None], np.array([panda.width]), np.array([Outcome.UNVALIDATED], np.int8))
    settings = SimulationSettings(initial_grasp_duration=0.008, tug_sequences=((0.008, (0.0, 0.0, 1.0), 0.0),))
    ours, theirs = both(panda, post, grasps, settings)
    assert not ours.finger_contact_force.any()
    assert ours.penetration[0] > 0.001 and ours.penetration[0] == pytest.approx(theirs.penetration[0], rel=0.01)


@pytest.mark.slow
def test_where_contacts_have_no_room_the_overlap_is_not_known(isaac_lab: Any, panda: Gripper, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first trials' contacts fill the buffer; which is less than nothing known is in no limit."""
    grasps = grasps_at_origin(panda)[np.zeros(3, np.intp)]
    whole = InProcess().run(panda, PINCHED, grasps, DEFAULT)
    monkeypatch.setattr(description, "CONTACTS", 4)
    state = InProcess().run(panda, PINCHED, grasps, DEFAULT)
    assert np.isfinite(whole.penetration).all() and np.isnan(state.penetration).tolist() == [False, True, True]
    assert judge(state).tolist() == [HELD] * 3
    assert judge(state, JudgeSettings(max_penetration=1.0)).tolist() == [HELD, DROPPED, DROPPED]


@pytest.mark.slow
def test_real_objects_overlap_as_on_mujoco_and_get_its_labels(isaac_lab: Any, panda: Gripper) -> None:
    seen: set[int] = set()
    for target, grasps in real_trials():
        ours, theirs = both(panda, target, grasps, DEFAULT)
        held = (judge(ours) == HELD) & (judge(theirs) == HELD)
        np.testing.assert_allclose(np.median(ours.penetration[held]), np.median(theirs.penetration[held]), rtol=0.02)
        assert np.quantile(np.abs(ours.penetration - theirs.penetration)[held], 0.9) < 5e-5
        criterion = JudgeSettings(max_penetration=7e-4)
        labels = judge(ours, criterion), judge(theirs, criterion)
        seen |= set(labels[0].tolist())
        assert (labels[0] == labels[1]).mean() >= 0.9
    assert seen == {HELD, DROPPED}


# --- draws ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["franka_panda", pytest.param("robotiq_2f_85", marks=pytest.mark.slow)])
def test_each_part_of_a_draw_counts(isaac_lab: Any, name: str) -> None:
    check_that_all_counts(InProcess(), gripper_by_name(name).gripper)


def test_the_object_weighs_what_was_drawn(isaac_lab: Any, panda: Gripper) -> None:
    """Mass, inertia and centre of mass as `mujoco` has them, in the object's own axes, though those of its inertia are others."""
    turned = replace(OFF_CENTRE, unit_inertia=np.array([[3.0, 1.0, 0.2], [1.0, 2.0, 0.3], [0.2, 0.3, 4.0]]) * 1e-4)
    variation = replace(nominal(2), mass=np.array([1.0, 3.0]), center_offset=np.array([[0.0, 0, 0], [0.001, -0.002, 0.003]]))
    settings = SimulationSettings(initial_grasp_duration=0.004, tug_sequences=())
    InProcess().run(panda, turned, grasps_at_origin(panda, count=2), settings, variation)
    world, axes = isaac_lab._physics.worlds[-1], pose_object_in_body(turned)[:3, :3]
    np.testing.assert_allclose(world.masses([world.target])[:, 0], [1.0, 3.0], rtol=1e-6)
    np.testing.assert_allclose(axes.T @ world.centers(world.target)[1, :3], [0.001, -0.002, 0.003], atol=1e-7)
    inertia = axes.T @ world.inertias([world.target]).reshape(2, 3, 3) @ axes
    np.testing.assert_allclose(inertia, turned.unit_inertia * np.array([1.0, 3.0])[:, None, None], atol=1e-9)


@pytest.mark.slow
def test_a_batch_of_draws_is_its_trials_one_by_one(isaac_lab: Any, panda: Gripper) -> None:
    """In any chunks: nothing of a draw is left for the next."""
    trials, variation = drawn_trials(panda, "a.obj", grasps_at_origin(panda, count=2), RandomizationSettings(randomize_draws=2))
    settings = SimulationSettings(initial_grasp_duration=0.4, tug_sequences=((0.1, (1.0, 0.0, 1.0), 0.5),))
    together = InProcess().run(panda, PINCHED, trials, settings, variation)
    chunks = InProcess().run(panda, PINCHED, trials, settings.model_copy(update={"max_num_envs": 2}), variation)
    alone = [InProcess().run(panda, PINCHED, trials[k : k + 1], settings, variation[slice(k, k + 1)]) for k in range(len(trials))]
    for name in ("pose_object_in_gripper", "finger_contact_force", "penetration"):
        one_by_one = np.concatenate([getattr(each, name) for each in alone])
        scale = 1.0 if name != "finger_contact_force" else 200.0
        np.testing.assert_allclose(getattr(together, name), one_by_one, atol=2e-5 * scale)
        np.testing.assert_allclose(getattr(chunks, name), one_by_one, atol=2e-5 * scale)
    assert len(np.unique(np.round(together.finger_contact_force[:3, 0], 1))) == 3, "the draws differ"


def test_a_heavy_end_turns_the_object_as_on_mujoco(isaac_lab: Any, panda: Gripper) -> None:
    """A tug acts on the centre of mass, wherever that is."""
    offset = np.array([[0.0, 0.0, 0.0], [0.0, 0.01, 0.0], [0.01, 0.0, 0.0]])
    settings = SimulationSettings(tug_sequences=((0.3, (0.0, 0.0, 1.0), 2.0),), steady_motion=0.0)
    grasps = grasps_at_origin(panda)[np.zeros(3, np.intp)]
    ours, theirs = both(panda, PINCHED, grasps, settings, replace(nominal(3), center_offset=offset))
    assert theirs.slip[1:, 1].min() > 1e-4 > 1e-6 > theirs.slip[0, 1]
    np.testing.assert_allclose(ours.slip[1:, 1], theirs.slip[1:, 1], rtol=0.05)


@pytest.mark.slow
def test_real_objects_hold_as_many_draws_as_on_mujoco(isaac_lab: Any, panda: Gripper) -> None:
    outcomes = []
    for target, grasps in real_trials():
        trials, variation = drawn_trials(panda, target.object_id, grasps, RandomizationSettings(randomize_draws=4))
        ours, theirs = both(panda, target, trials, DEFAULT, variation)
        outcomes.append(np.stack([judge(ours), judge(theirs)]))
    labels = np.concatenate(outcomes, axis=1)
    assert set(labels[1].tolist()) == {HELD, DROPPED} and (labels[0] == labels[1]).mean() >= 0.95


# --- shakes -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_shaken_boxes_are_held_and_lost_as_on_mujoco(isaac_lab: Any, panda: Gripper) -> None:
    ours, theirs = both(panda, PINCHED, off_centre(panda)[np.array([0, 2, 3])], settings_of(*SHAKES, friction=0.06, fps=100))
    assert set(judge(theirs).tolist()) == {HELD, DROPPED}
    np.testing.assert_array_equal(judge(ours), judge(theirs))


def grip_lost(gripper: Gripper, shake: Shake, mass: float) -> tuple[float, float]:
    """N: by how much the smallest force of a finger is smaller while the gripper is shaken than while it stands still, on both engines."""
    shaken = settings_of(shake, friction=1.0, object_mass=mass, initial_grasp_duration=1.5, steady_motion=0.0)
    nothing = ((shake[0], (0.0, 0.0, 1.0), 0.0),)
    calm = shaken.model_copy(update={"shake_sequences": (), "tug_sequences": nothing})
    shaken_both, calm_both = (both(gripper, PINCHED, grasps_at_origin(gripper), settings) for settings in (shaken, calm))
    ours, theirs = (float(c.smallest_force[0] - s.smallest_force[0]) for c, s in zip(calm_both, shaken_both, strict=True))
    return ours, theirs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["franka_panda", pytest.param("robotiq_2f_85", marks=pytest.mark.slow)])
def test_each_finger_bears_half_of_the_object(isaac_lab: Any, name: str) -> None:
    """Shaken along the closing axis. A look does not quite meet the peak."""
    ours, theirs = grip_lost(gripper_by_name(name).gripper, (2.0, ShakeKind.LINEAR, ShakeAxis.CLOSING, 0.25, 2.0), 0.5)
    half = 0.5 * 0.5 * 0.25 * (2 * math.pi * 2.0) ** 2
    assert 0.9 * half < theirs < 1.05 * half and ours == pytest.approx(theirs, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIPPERS)
def test_the_fingers_feel_a_shake_themselves(isaac_lab: Any, name: str) -> None:
    """Turned about the approach axis, on which the object lies, they are drawn apart by what they weigh."""
    ours, theirs = grip_lost(gripper_by_name(name).gripper, (2.0, ShakeKind.ROTATIONAL, ShakeAxis.APPROACH, 4.0, 2.0), 0.1)
    assert theirs > 0.8 and ours == pytest.approx(theirs, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("axis", [ShakeAxis.APPROACH, ShakeAxis.CLOSING])
def test_what_nothing_holds_is_where_it_was_once_the_gripper_is_back(isaac_lab: Any, panda: Gripper, axis: ShakeAxis) -> None:
    """The object moved 0.25 m to either side of the gripper, which in truth moved alone; the better the shorter the steps."""
    grasps, error = grasps_at_origin(panda), []
    start, center = np.linalg.inv(grasps.pose_gripper_in_object[0]), np.append(BESIDE.center_of_mass, 1.0)
    for fps in (250, 500):
        state = InProcess().run(panda, BESIDE, grasps, settings_of((2.0, ShakeKind.ROTATIONAL, axis, 0.5, 2.0), fps=fps))
        off = state.pose_object_in_gripper[0] - start
        np.testing.assert_allclose(off[:3, :3], 0.0, atol=1e-4)
        error.append(np.linalg.norm((off @ center)[:3]))
    assert error[1] < 0.02 and error[1] < 0.5 * error[0]


@pytest.mark.slow
def test_a_long_thing_turns_in_the_grip_when_the_gripper_is_turned(isaac_lab: Any, panda: Gripper) -> None:
    """A rod's moments of inertia on a box: what it weighs would not slip. How far it turns depends on where the engine finds the points of
    contact of two flat faces, which the same box in another frame changes by half."""
    rod = replace(PINCHED, unit_inertia=np.diag([0.02, 0.024, 0.03]))
    shake: Shake = (2.0, ShakeKind.ROTATIONAL, ShakeAxis.CLOSING, 0.5, 2.0)
    ours, theirs = both(panda, rod, grasps_at_origin(panda), settings_of(shake, friction=0.1, object_mass=0.3))
    assert theirs.slip[0, 1] > 0.1 and ours.slip[0, 1] == pytest.approx(theirs.slip[0, 1], rel=0.5)


@pytest.mark.slow
def test_tugs_come_first_and_their_force_is_gone_when_the_gripper_is_shaken(isaac_lab: Any, panda: Gripper) -> None:
    """And draws weigh what they weigh in a shake as well: the heavy one feels twice the force."""
    shaken = settings_of((2.0, ShakeKind.LINEAR, ShakeAxis.CLOSING, 0.25, 2.0), friction=0.5, object_mass=0.5)
    pulled = shaken.model_copy(update={"tug_sequences": ((0.2, (0.0, 0.0, 1.0), 1.0),)})
    grasps, heavy = grasps_at_origin(panda)[np.zeros(2, np.intp)], replace(nominal(2), mass=np.array([1.0, 2.0]))
    first, second = (InProcess().run(panda, PINCHED, grasps, settings, heavy) for settings in (shaken, pulled))
    np.testing.assert_allclose(first.smallest_force, second.smallest_force, rtol=0.01)
    ours, theirs = both(panda, PINCHED, grasps, shaken, heavy)
    np.testing.assert_allclose(ours.smallest_force, theirs.smallest_force, rtol=0.01)
    assert ours.smallest_force[0] - ours.smallest_force[1] > 4.0


# --- a run ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "known"),
    [
        (["--protocol", "shake", "--max-penetration", "0.0015"], {Measure.PENETRATION}),
        (
            [
                *("--randomize", "--randomize-draws=2", "--robustness", "--hard-negatives=1"),
                *("--max-slip=0.02", "--min-contact-force=0.01", "--tug-sequences=[[0.2, [0, 0, 1], 1.0]]"),
            ],
            {Measure.PENETRATION, Measure.HELD_FRACTION, Measure.ROBUSTNESS},
        ),
    ],
    ids=["shake", "draws"],
)
def test_a_run_asks_for_all_of_it(isaac_lab: Any, flags: list[str], known: set[Measure], tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('{"box.stl": 0.001}')
    where = [f"--object-scales-json={tmp_path}/list.json", f"--object-dataset={OBJECTS}", f"--grasp-dataset={tmp_path}/out"]
    quotas = ["--num-collision-free-grasps=2", "--num-colliding-grasps=0", "--workers=1", "--do-not-run-controls"]
    engine = ["--backend=isaaclab", "--device=cpu", "--fps=100", "--gripper-config=franka_panda", "--quiet"]
    physics = ["--friction=0.15", "--object-mass=2"]
    assert main(["validate", *where, *quotas, *engine, *physics, *flags]) == 0
    (file,) = (tmp_path / "out" / "grasp_data" / "franka_panda").glob("*.grasps.json")
    dataset = read_grasp_file(file)
    held = dataset.grasps.outcome == HELD
    assert held.sum() == 2
    for measure in (Measure.SLIP, Measure.TURN, Measure.SMALLEST_FORCE, Measure.MOTION, *known):
        assert np.isfinite(dataset.grasps.measured[held, measure]).all(), measure
    if "--hard-negatives=1" in flags:
        assert np.isfinite(dataset.grasps.measured[dataset.grasps.outcome == DROPPED, Measure.OFFSET]).any()
