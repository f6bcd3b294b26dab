"""The physx engine on the real PhysX (ovphysx), on a CPU: `nox -s physx`. The USD scene that the engine writes needs USD only."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend_contract import DEFAULT, PINCHED, BackendContract, grasps_at_origin
from examples import OBJECTS, example_object, gripper_by_name
from graspgen_cli import guess_on, read_grasp_file
from graspgen_cli.app import main
from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.poses import pose
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.records import Gripper, Outcome
from graspgen_cli.settings.trials import CollisionApproximation, ShakeAxis, ShakeKind, SimulationSettings
from graspgen_cli.validate.engine import Backend, ObjectResults, ObjectTrials, Variation, make_backend
from graspgen_cli.validate.engines.physx.engine import PhysxBackend
from graspgen_cli.validate.engines.physx.mechanism import mechanism
from graspgen_cli.validate.engines.physx.usd import write_scene
from graspgen_cli.validate.judge import judge
from graspgen_cli.validate.protocols import STANDARD_GRAVITY
from graspgen_cli.validate.trials import run_trials
from shapes import box

needs_physx = pytest.mark.skipif(importlib.util.find_spec("ovphysx") is None, reason="ovphysx is not installed: nox -s physx")
needs_usd = pytest.mark.skipif(importlib.util.find_spec("pxr") is None, reason="usd-core is not installed")
STEADY = DEFAULT.model_copy(update={"steady_motion": 0.0})
ONE = np.ones(1)


@needs_physx
class TestContract(BackendContract):
    tolerance = 1e-4  # single precision, at several metres from the origin

    @pytest.fixture
    def backend(self) -> Backend:
        return make_backend("physx", threads=1)


@pytest.fixture
def panda(gripper_shape: Callable[[str], GripperShape]) -> Gripper:
    return gripper_shape("franka_panda").gripper


@needs_physx
@pytest.mark.parametrize("name", ["robotiq_2f_85", "robotiq_2f_140", "franka_panda"])
def test_a_grip_at_rest_presses_as_in_mujoco(name: str) -> None:
    """The mimic joints pass on what the drives press; nothing pulls at the object."""
    gripper = gripper_by_name(name).gripper
    still = STEADY.model_copy(update={"tug_sequences": ()})
    ours, theirs = (
        engine.run(gripper, PINCHED, grasps_at_origin(gripper), still) for engine in (PhysxBackend(), make_backend("mujoco", threads=1))
    )
    np.testing.assert_allclose(ours.finger_contact_force, theirs.finger_contact_force, rtol=0.03)
    np.testing.assert_allclose(ours.joint_position, theirs.joint_position, atol=0.03)


@needs_physx
@pytest.mark.parametrize("friction", [0.3, 0.5])
@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0)])
def test_a_box_slips_at_coulombs_force(panda: Gripper, friction: float, direction: tuple[float, float, float]) -> None:
    """At friction 1 PhysX lets go at 0.95 of the law along the approach axis and at 0.80 across it (docs/physx.md)."""
    limit = 2 * friction * panda.grip_force / STANDARD_GRAVITY
    held = []
    for share in (0.95, 1.05):
        settings = STEADY.model_copy(
            update={"tug_sequences": ((1.0, direction, 1.0),), "friction": friction, "force_magnitude": share * limit}
        )
        held.append(judge(PhysxBackend().run(panda, PINCHED, grasps_at_origin(panda), settings))[0] == Outcome.HELD)
    assert held == [True, False]


@needs_physx
def test_shakes_go_on_after_the_first_trial_has_ended(panda: Gripper) -> None:
    """Two boxes are held to the end of the shake, which begins later for the box that comes to rest later."""
    shakes = ((1.0, ShakeKind.LINEAR, ShakeAxis.BINORMAL, 0.005, 4.0),)
    aside = pose(np.eye(3), np.random.Generator(np.random.Philox(3)).normal(0, 0.012, (12, 3)))
    start = grasps_at_origin(panda, count=12)
    grasps = replace(start, pose_gripper_in_object=start.pose_gripper_in_object @ aside)[np.array([0, 2])]
    state = PhysxBackend().run(panda, PINCHED, grasps, SimulationSettings(tug_sequences=(), shake_sequences=shakes))
    assert (judge(state) == Outcome.HELD).all() and state.steps[0] < state.steps[1]


def shaken(panda: Gripper, kind: ShakeKind, axis: ShakeAxis, amplitude: float) -> float:
    """m: slip of a box of 5 kg under friction 0.2 after a shake of 2 Hz; NaN where the box is lost."""
    settings = STEADY.model_copy(
        update={"tug_sequences": (), "shake_sequences": ((2.0, kind, axis, amplitude, 2.0),), "friction": 0.2, "object_mass": 5.0}
    )
    return float(PhysxBackend().run(panda, PINCHED, grasps_at_origin(panda), settings).slip[0, 0])


@needs_physx
@pytest.mark.parametrize("axis", [ShakeAxis.APPROACH, ShakeAxis.BINORMAL])
def test_a_shaken_box_slides_where_its_inertia_exceeds_the_friction_of_both_pads(panda: Gripper, axis: ShakeAxis) -> None:
    """m A (2 pi f)² against 2 mu N."""
    limit = 2 * 0.2 * panda.grip_force / 5.0 / (2 * math.pi * 2.0) ** 2
    assert shaken(panda, ShakeKind.LINEAR, axis, 0.95 * limit) < 2e-4
    assert not shaken(panda, ShakeKind.LINEAR, axis, 2.0 * limit) < 2e-3


@needs_physx
def test_a_turned_box_slides_where_its_inertia_exceeds_the_friction_of_both_pads(panda: Gripper) -> None:
    """About a line through the base at the distance r: m A r (2 pi f)² against 2 mu N."""
    lever = float(np.linalg.norm(grasps_at_origin(panda).pose_gripper_in_object[0, :3, 3]))
    limit = 2 * 0.2 * panda.grip_force / 5.0 / (2 * math.pi * 2.0) ** 2 / lever
    assert shaken(panda, ShakeKind.ROTATIONAL, ShakeAxis.CLOSING, 0.9 * limit) < 5e-4
    assert not shaken(panda, ShakeKind.ROTATIONAL, ShakeAxis.CLOSING, 2.0 * limit) < 2e-3


@needs_physx
def test_each_trial_has_physics_of_its_own(panda: Gripper) -> None:
    """One tug at half of Coulomb's limit: less friction, more mass or a weaker grip, each alone, lose the box."""
    limit = 2 * 0.5 * panda.grip_force / STANDARD_GRAVITY
    settings = STEADY.model_copy(update={"tug_sequences": ((0.5, (0.0, 0.0, 1.0), 1.0),), "friction": 0.5, "force_magnitude": 0.5 * limit})
    factor = np.array([[1, 1, 1, 1], [0.2, 1, 1, 1], [1, 4, 1, 1], [1, 1, 0.2, 1], [1, 1, 1, 4]], np.float64)
    variation = Variation(*factor.T, np.zeros((5, 3)))
    grasps = grasps_at_origin(panda)[np.zeros(5, np.intp)]
    outcome = judge(PhysxBackend().run(panda, PINCHED, grasps, settings, variation))
    assert (outcome == Outcome.HELD).tolist() == [True, False, False, False, False]


@needs_physx
def test_a_centre_of_mass_beside_the_pads_turns_the_box(panda: Gripper) -> None:
    offset = np.array([[0.0, 0.0, 0.0], [0.0, 0.008, 0.0]])
    ones = np.ones(2)
    grasps = grasps_at_origin(panda)[np.zeros(2, np.intp)]
    state = PhysxBackend().run(
        panda, PINCHED, grasps, STEADY.model_copy(update={"contact_patch": 0.0}), Variation(ones, ones, ones, ones, offset)
    )
    assert state.slip[0, 1] < 0.1 * max(state.slip[1, 1], 1e-3)


@needs_physx
def test_labels_of_real_objects_agree_with_mujoco() -> None:
    """The two engines differ in contacts and solver; nine labels in ten are the same all the same."""
    same = []
    for name in ("franka_panda", "robotiq_2f_85"):
        for object_id in ("mug.obj", "bottle.obj", "box.stl"):
            gripper, target = gripper_by_name(name).gripper, example_object(object_id, pieces=True)
            grasps = guess_on(target, gripper, num_collision_free_grasps=16)
            ours, theirs = (
                run_trials(engine, gripper, target, grasps, STEADY).grasps.outcome
                for engine in (PhysxBackend(), make_backend("mujoco", threads=1))
            )
            same += (ours == theirs).tolist()
    assert np.mean(same) >= 0.85


@needs_physx
def test_a_simulator_gives_each_object_its_results_or_a_reason(panda: Gripper) -> None:
    simulator = PhysxBackend.open_simulator(panda, STEADY, device="cpu")
    short = grasps_at_origin(panda)
    flat = replace(PINCHED, pieces=())
    results = list(simulator.run([ObjectTrials(0, PINCHED, short), ObjectTrials(1, flat, short), ObjectTrials(2, PINCHED, short)], list))
    assert [result.number for result in results] == [0, 1, 2]
    assert isinstance(results[0], ObjectResults) and isinstance(results[2], ObjectResults)
    assert judge(results[2].state)[0] == Outcome.HELD


@needs_physx
def test_a_run_records_the_engine_and_its_version(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.json").write_text('{"box.stl": 0.001, "ring.ply": 1.0}')
    where = [f"--object-scales-json={tmp_path}/list.json", f"--object-dataset={OBJECTS}", f"--grasp-dataset={tmp_path}/out"]
    quotas = ["--num-collision-free-grasps=2", "--num-colliding-grasps=1", "--max-guess-tries=4", "--workers=1"]
    assert main(["all", *where, *quotas, "--backend=physx", "--gripper-config=franka_panda", "--quiet"]) == 0
    files = sorted((tmp_path / "out" / "grasp_data" / "franka_panda").glob("*.grasps.json"))
    assert len(files) == 2
    for file in files:
        dataset = read_grasp_file(file)
        assert b'"backend":"physx"' in file.read_bytes() and b'"ovphysx"' in file.read_bytes()
        assert dataset.grasps.count(Outcome.HELD) == 2
    captured = capfd.readouterr()
    assert "ovphysx" not in captured.out + captured.err and "Warp" not in captured.out + captured.err


# --- the scene and the mechanism ----------------------------------------------------------------------------------------------------


@needs_usd
def test_the_object_in_the_scene_has_its_mass_friction_and_pieces(tmp_path: Path, panda: Gripper) -> None:
    from pxr import Usd, UsdGeom, UsdPhysics, UsdShade

    target = box(0.03, 0.02, 0.01, (0.1, 0.0, -0.2))
    write_scene(tmp_path / "trial.usda", panda, target, mechanism(panda), SimulationSettings(friction=0.4), 2.5, on_gpu=False)
    stage = Usd.Stage.Open(str(tmp_path / "trial.usda"))
    root = stage.GetPrimAtPath("/World/envs/env0/object")
    mass = UsdPhysics.MassAPI(root)
    assert mass.GetMassAttr().Get() == pytest.approx(2.5)
    np.testing.assert_allclose(mass.GetCenterOfMassAttr().Get(), [0.1, 0.0, -0.2], atol=1e-7)
    expected = 2.5 / 12 * np.array([0.02**2 + 0.01**2, 0.03**2 + 0.01**2, 0.03**2 + 0.02**2])
    np.testing.assert_allclose(np.sort(mass.GetDiagonalInertiaAttr().Get()), np.sort(expected), rtol=1e-5)
    piece = stage.GetPrimAtPath(f"{root.GetPath()}/piece_0")
    assert UsdPhysics.MeshCollisionAPI(piece).GetApproximationAttr().Get() == "convexHull"
    assert piece.GetAttribute("physxCollision:minTorsionalPatchRadius").Get() == pytest.approx(SimulationSettings().contact_patch)
    points = np.array(UsdGeom.Mesh(piece).GetPointsAttr().Get())
    np.testing.assert_allclose([points.min(axis=0), points.max(axis=0)], [[0.085, -0.01, -0.205], [0.115, 0.01, -0.195]], atol=1e-6)
    material, _ = UsdShade.MaterialBindingAPI(piece).ComputeBoundMaterial("physics")
    assert UsdPhysics.MaterialAPI(material).GetDynamicFrictionAttr().Get() == pytest.approx(0.4)


@needs_usd
def test_an_sdf_keeps_the_mesh(tmp_path: Path, panda: Gripper) -> None:
    from pxr import Usd, UsdPhysics

    settings = SimulationSettings(collision_approximation=CollisionApproximation.SDF)
    write_scene(tmp_path / "trial.usda", panda, PINCHED, mechanism(panda), settings, 1.0, on_gpu=True)
    stage = Usd.Stage.Open(str(tmp_path / "trial.usda"))
    piece = UsdPhysics.MeshCollisionAPI(stage.GetPrimAtPath("/World/envs/env0/object/piece_0"))
    assert piece.GetApproximationAttr().Get() == "sdf"
    assert stage.GetPrimAtPath("/World/physics").GetAttribute("physxScene:enableGPUDynamics").Get()


def test_every_mimic_joint_follows_an_independent_joint() -> None:
    gripper = load_gripper("robotiq_2f_85")
    couplings = mechanism(gripper).couplings
    assert len(couplings) == 5 and len({coupling.leader for coupling in couplings}) == 1
    moved = gripper.joint_position[0] - gripper.joint_position[-1]
    for coupling in couplings:
        assert moved[coupling.follower] == pytest.approx(coupling.ratio * moved[coupling.leader], abs=1e-4)


LOOP = """<mujoco><worldbody><body name="base"><geom size="0.02"/>
  <body name="a" pos="0.03 0 0.05"><joint name="a" type="slide" axis="1 0 0" range="-0.02 0"/><geom size="0.01"/></body>
  <body name="b" pos="-0.03 0 0.05"><joint name="b" type="slide" axis="1 0 0" range="0 0.02"{spring}/><geom size="0.01"/></body>
</body></worldbody>{extra}</mujoco>"""


@pytest.mark.parametrize(
    ("spring", "extra", "named"),
    [
        ("", '<equality><connect body1="a" body2="b" anchor="0 0 0"/></equality>', "closed by <connect>"),
        ("", '<equality><joint joint1="a" joint2="b" polycoef="0 -1 3 0 0"/></equality>', "by a curve"),
        (' stiffness="3"', "", "springs"),
        ("", '<tendon><fixed><joint joint="a" coef="1"/></fixed></tendon>', "tendons"),
    ],
)
def test_a_mechanism_that_physx_cannot_have_is_refused_in_a_line(spring: str, extra: str, named: str) -> None:
    gripper = replace(load_gripper("franka_panda"), mjcf=LOOP.format(spring=spring, extra=extra), assets={})
    with pytest.raises(GripperError, match=named) as caught:
        mechanism(gripper)
    assert "--backend mujoco" in str(caught.value) and "\n" not in str(caught.value)
