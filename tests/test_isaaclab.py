"""The isaaclab backend on a fake Isaac Lab: see tests/fake_isaac/isaaclab. The real one is not run here."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from backend_contract import DEFAULT, PINCHED, BackendContract, grasps_at_origin
from examples import OBJECTS, example_object, gripper_by_name
from graspgen_cli import guess_on, read_grasp_file
from graspgen_cli.app import main
from graspgen_cli.errors import GraspgenError, GripperError, InputError
from graspgen_cli.grippers.find import builtin_grippers, load_gripper
from graspgen_cli.records import GraspBatch, Outcome, TrialState
from graspgen_cli.settings.trials import CollisionApproximation, SimulationSettings
from graspgen_cli.validate.engine import ObjectTrials, make_backend
from graspgen_cli.validate.engines.isaaclab.backend import IsaacLabBackend, require_isaac_lab
from graspgen_cli.validate.engines.isaaclab.mechanism import coupling_effort, mechanism
from graspgen_cli.validate.engines.isaaclab.simulate import Job
from graspgen_cli.validate.engines.isaaclab.usd import write_gripper_usd, write_object_usd
from graspgen_cli.validate.trials import run_trials
from isaac_stand_in import InProcess, needs_usd
from shapes import box
from test_imports import loaded_after

real_isaac_lab = importlib.util.find_spec("isaaclab") is not None


@needs_usd
@pytest.mark.slow
class TestContract(BackendContract):
    tolerance = 1e-5  # single precision, at several metres from the origin

    @pytest.fixture
    def backend(self, isaac_lab: Any) -> IsaacLabBackend:
        return InProcess(device="cuda:0")


def trial(count: int = 2, *, gripper: str = "robotiq_2f_85", settings: SimulationSettings = DEFAULT) -> tuple[Any, ...]:
    hand = gripper_by_name(gripper).gripper
    return hand, PINCHED, grasps_at_origin(hand, count=count), settings


@needs_usd
@pytest.mark.slow
def test_real_objects_get_the_labels_that_mujoco_gives_them(isaac_lab: Any) -> None:
    """The engine is the same here, so what differs is what the backend makes of gripper and object: single precision, and the spring
    or the moved efforts in the place of couplings."""
    agree = []
    for name in ("franka_panda", "robotiq_2f_85"):
        for object_id in ("mug.obj", "banana.obj"):
            gripper, target = gripper_by_name(name).gripper, example_object(object_id, pieces=True)
            grasps = guess_on(target, gripper, num_collision_free_grasps=24)
            ours, theirs = (
                run_trials(b, gripper, target, grasps, DEFAULT).grasps for b in (InProcess(), make_backend("mujoco", threads=2))
            )
            agree.append(float((ours.outcome == theirs.outcome).mean()))
    assert min(agree) >= 0.95


SHORT = SimulationSettings(initial_grasp_duration=0.02, tug_sequences=((0.02, (0.0, 0.0, 1.0), 1.0),))
"""10 steps."""


@needs_usd
def test_the_calls_in_their_order(isaac_lab: Any) -> None:
    InProcess(device="cuda:0").run(*trial(settings=SHORT))
    names = [name for name, _ in isaac_lab.calls]
    assert names[:2] == ["build_simulation_context", "InteractiveScene"]
    assert names[2:6] == [
        "write_joint_position_to_sim",
        "write_joint_velocity_to_sim",
        "write_root_link_pose_to_sim",
        "write_root_com_velocity_to_sim",
    ]
    # A constant grip needs one call a stage; the tug is given in each of its 5 steps, the closing has none.
    assert names[6:] == ["set_joint_effort_target", "set_joint_effort_target", *["set_forces_and_torques"] * 5, "stopped"]


@needs_usd
@pytest.mark.parametrize(("device", "ccd"), [("cuda:0", False), ("cpu", True)])
def test_the_settings_that_graspdatagen_used(isaac_lab: Any, device: str, ccd: bool) -> None:
    InProcess(device=device).run(*trial(settings=SHORT))
    (simulation,) = [content for name, content in isaac_lab.calls if name == "build_simulation_context"]
    assert simulation.physx.min_position_iteration_count == 64
    assert simulation.physx.enable_ccd is ccd
    assert simulation.device == device and simulation.dt == 1 / 250 and simulation.gravity == (0.0, 0.0, 0.0)
    (scene,) = [content for name, content in isaac_lab.calls if name == "InteractiveScene"]
    assert scene.num_envs == 2
    assert scene.finger_0.filter_prim_paths_expr == ["{ENV_REGEX_NS}/Object"]
    assert scene.gripper.spawn.activate_contact_sensors and scene.target.spawn.activate_contact_sensors


@pytest.mark.slow
@needs_usd
@pytest.mark.parametrize("name", builtin_grippers())
def test_the_gripper_in_usd_is_the_gripper(name: str, tmp_path: Path) -> None:
    """Read back by the reader of grippers and measured anew: the same openings, fingertips and poses of every body."""
    original = load_gripper(name)
    write_gripper_usd(tmp_path / "gripper.usda", original, mechanism(original), DEFAULT)
    names = {body: f"body_{number}" for number, body in enumerate(original.body_names, start=1)}
    described = tmp_path / "gripper.yaml"
    lines = {
        "name": "copy",
        "model": "gripper.usda",
        "base_body": "body_1",
        "finger_bodies": [names[body] for body in original.finger_bodies],
        "approach_axis": original.approach_axis_in_base.tolist(),
        "grip_force": original.grip_force,
        "closing_speed": original.closing_speed,
    }
    described.write_text(yaml.safe_dump(lines))
    copy = load_gripper(str(described))
    np.testing.assert_allclose(copy.opening_width[[0, -1]], original.opening_width[[0, -1]], atol=2e-4)
    assert [copy.body_names[copy.body_names.index(names[body])] for body in original.body_names] == list(names.values())
    rows = [copy.body_names.index(names[body]) for body in original.body_names]
    np.testing.assert_allclose(copy.pose_body_in_base[-1][rows], original.pose_body_in_base[-1], atol=2e-4)
    np.testing.assert_allclose(copy.pose_body_in_base[0][rows], original.pose_body_in_base[0], atol=2e-3)


@needs_usd
def test_the_object_in_usd_weighs_and_rubs_as_it_should(tmp_path: Path) -> None:
    from pxr import Usd, UsdGeom, UsdPhysics, UsdShade

    target = box(0.03, 0.02, 0.01, (0.1, 0.0, -0.2))
    write_object_usd(tmp_path / "object.usda", target, SimulationSettings(friction=0.4), 2.5)
    stage = Usd.Stage.Open(str(tmp_path / "object.usda"))
    root = stage.GetDefaultPrim()
    mass = UsdPhysics.MassAPI(root)
    assert mass.GetMassAttr().Get() == pytest.approx(2.5)
    np.testing.assert_allclose(mass.GetCenterOfMassAttr().Get(), [0.1, 0.0, -0.2], atol=1e-7)
    expected = 2.5 / 12 * np.array([0.02**2 + 0.01**2, 0.03**2 + 0.01**2, 0.03**2 + 0.02**2])
    np.testing.assert_allclose(np.sort(mass.GetDiagonalInertiaAttr().Get()), np.sort(expected), rtol=1e-5)
    piece = stage.GetPrimAtPath("/Object/piece_0")
    assert UsdPhysics.MeshCollisionAPI(piece).GetApproximationAttr().Get() == "convexHull"
    assert piece.GetAttribute("physxCollision:minTorsionalPatchRadius").Get() == pytest.approx(SimulationSettings().contact_patch)
    points = np.array(UsdGeom.Mesh(piece).GetPointsAttr().Get())
    np.testing.assert_allclose([points.min(axis=0), points.max(axis=0)], [[0.085, -0.01, -0.205], [0.115, 0.01, -0.195]], atol=1e-6)
    material, _ = UsdShade.MaterialBindingAPI(piece).ComputeBoundMaterial("physics")
    assert UsdPhysics.MaterialAPI(material).GetDynamicFrictionAttr().Get() == pytest.approx(0.4)


@needs_usd
def test_a_mesh_stays_a_mesh_where_an_sdf_stands_for_the_object(tmp_path: Path) -> None:
    from pxr import Usd, UsdPhysics

    settings = SimulationSettings(collision_approximation=CollisionApproximation.SDF)
    write_object_usd(tmp_path / "object.usda", PINCHED, settings, 1.0)
    stage = Usd.Stage.Open(str(tmp_path / "object.usda"))
    assert UsdPhysics.MeshCollisionAPI(stage.GetPrimAtPath("/Object/piece_0")).GetApproximationAttr().Get() == "sdf"


def test_efforts_of_followers_do_the_same_work_on_their_leaders() -> None:
    gripper = load_gripper("robotiq_2f_85")
    parts = mechanism(gripper)
    rigid = [coupling for coupling in parts.couplings if coupling.rigid]
    assert len(rigid) == 5 and len({coupling.leader for coupling in rigid}) == 1
    assert (parts.effort != 0).sum() == 1
    velocity = np.zeros(6)
    velocity[rigid[0].leader] = 1.0
    for coupling in rigid:
        velocity[coupling.follower] = coupling.ratio
    assert parts.effort @ velocity == pytest.approx(gripper.joint_effort @ velocity)
    assert parts.damping @ velocity**2 == pytest.approx(gripper.joint_damping @ velocity**2)


def test_the_spring_between_slides_pulls_them_together_and_does_no_work_where_they_move_together() -> None:
    parts = mechanism(load_gripper("franka_panda"))
    (coupling,) = parts.couplings
    assert not coupling.rigid
    at_rest = np.zeros((1, 2))
    apart = coupling_effort(parts, np.array([[0.0, 0.001]]), at_rest, 1 / 250)
    assert apart[0, 1] < 0 < apart[0, 0] and apart.sum() == pytest.approx(0.0)
    together = coupling_effort(parts, np.array([[-0.01, -0.01]]), np.array([[-0.05, -0.05]]), 1 / 250)
    np.testing.assert_array_equal(together, at_rest)


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


# --- the process ---------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(real_isaac_lab, reason="Isaac Lab is installed")
def test_without_isaac_lab_one_line_says_what_is_missing_and_how_to_get_it() -> None:
    with pytest.raises(InputError, match=r"Isaac Lab and Isaac Sim not installed.*pip install.*--backend mujoco") as caught:
        make_backend("isaaclab", threads=1)
    assert "\n" not in str(caught.value)


def test_isaac_lab_without_isaac_sim_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graspgen_cli.validate.engines.isaaclab.backend.find_spec", lambda name: None if name == "isaacsim" else object())
    with pytest.raises(InputError, match="isaaclab: Isaac Sim not installed"):
        require_isaac_lab()


@pytest.mark.parametrize(("found", "fine"), [("2.3.2.post1", True), ("0.54.2", True), ("2.2.0", False), ("3.0.0", False)])
def test_another_version_is_refused(isaac_lab: Any, monkeypatch: pytest.MonkeyPatch, found: str, fine: bool) -> None:
    monkeypatch.setattr("graspgen_cli.validate.engines.isaaclab.backend.version", lambda name: found)
    if fine:
        require_isaac_lab()
    else:
        with pytest.raises(InputError, match=f"Isaac Lab {found} is installed, 2.3 is needed"):
            require_isaac_lab()


@needs_usd
@pytest.mark.slow
def test_the_process_answers_as_the_function_does_and_keeps_stdout_clean(isaac_lab: Any, capfd: pytest.CaptureFixture[str]) -> None:
    backend = IsaacLabBackend(device="cpu")
    state, expected = backend.run(*trial(settings=SHORT)), InProcess(device="cpu").run(*trial(settings=SHORT))
    np.testing.assert_array_equal(state.pose_object_in_gripper, expected.pose_object_in_gripper)
    process = backend._process
    assert process is not None and "Kit prints" in process.log.read_text()
    backend.close()
    assert not process.log.exists()
    assert capfd.readouterr().out == ""


class CountedProcess:
    """Stands for the process: answers at once."""

    def __init__(self, device: str, *, headed: bool) -> None:
        self.stopped, self.headed = False, headed

    def ask(self, job: Job) -> TrialState:
        count = len(job.grasps)
        flags = np.zeros(count, bool)
        pairs, numbers = np.zeros((count, 2)), np.zeros(count)
        poses = np.tile(np.eye(4), (count, 1, 1))
        ends = poses, pairs, np.zeros((count, 6)), flags, pairs
        return TrialState(*ends, numbers, numbers, numbers, flags, numbers.astype(np.int32), numbers)

    def stop(self) -> None:
        self.stopped = True


def test_the_process_is_replaced_after_so_many_objects(isaac_lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graspgen_cli.validate.engines.isaaclab.backend._Process", CountedProcess)
    backend = IsaacLabBackend(device="cpu", objects_per_worker=2)
    gripper, _, grasps, settings = trial(1)
    processes: list[Any] = []
    for edge in (0.02, 0.02, 0.021, 0.022, 0.022):
        backend.run(gripper, replace(box(edge, 0.02, 0.02), content_hash=f"{edge}"), grasps, settings)
        processes.append(backend._process)
    first, third = processes[0], processes[3]
    assert processes == [first, first, first, third, third]
    assert first.stopped and not third.stopped


def test_a_runs_settings_say_whether_there_is_a_window_and_how_long_a_process_lives(
    isaac_lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graspgen_cli.validate.engines.isaaclab.backend._Process", CountedProcess)
    gripper, _, grasps, _ = trial(1)
    trials = [
        ObjectTrials(n, replace(box(edge, 0.02, 0.02), content_hash=f"{edge}"), grasps) for n, edge in enumerate((0.02, 0.021, 0.022))
    ]
    simulator: Any = IsaacLabBackend.open_simulator(gripper, SHORT, device="cpu", headed=True, objects_per_worker=2)
    processes = []
    for result in simulator.run(trials, list):
        assert result.number == len(processes)
        processes.append(simulator._backend._process)
    assert processes[0] is processes[1] is not processes[2] and processes[0].headed
    windowless: Any = IsaacLabBackend.open_simulator(gripper, SHORT, device="cpu")
    list(windowless.run(trials[:1], list))
    assert not windowless._backend._process.headed


@needs_usd
@pytest.mark.slow
def test_a_run_tries_its_grasps_in_isaac_lab_and_records_that(isaac_lab: Any, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('{"box.stl": 0.001, "ring.ply": 1.0}')
    where = [f"--object-scales-json={tmp_path}/list.json", f"--object-dataset={OBJECTS}", f"--grasp-dataset={tmp_path}/out"]
    quotas = ["--num-collision-free-grasps=2", "--num-colliding-grasps=0", "--max-guess-tries=2", "--workers=1"]
    engine = ["--backend=isaaclab", "--device=cpu", "--fps=100", "--tug-sequences=[[0.1, [0, 0, 1], 0.5]]"]
    assert main(["validate", *where, *quotas, *engine, "--gripper-config=franka_panda", "--quiet"]) == 0
    for file in (tmp_path / "out" / "grasp_data" / "franka_panda").glob("*.grasps.json"):
        dataset = read_grasp_file(file)
        assert dataset.provenance["simulation"]["settings"]["backend"] == "isaaclab"
        assert dataset.grasps.count(Outcome.HELD) == 2


@needs_usd
@pytest.mark.slow
def test_a_process_that_dies_is_one_line_and_the_next_object_gets_a_new_one(isaac_lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = IsaacLabBackend(device="cpu")
    with monkeypatch.context() as patch:
        patch.setenv("GRASPGEN_FAKE_DIES", "1")
        with pytest.raises(GraspgenError, match=r"Isaac Sim ended before its answer; .*\.log has what it printed") as caught:
            backend.run(*trial(1, settings=SHORT))
    log = Path(str(caught.value).partition("; ")[2].partition(" has")[0])
    assert log.exists()
    log.unlink()
    assert backend.run(*trial(1, settings=SHORT)).finite.all()
    backend.close()


@needs_usd
@pytest.mark.slow
def test_an_error_within_isaac_lab_is_one_line_with_the_log(isaac_lab: Any) -> None:
    backend = IsaacLabBackend(device="cpu")
    gripper, target, grasps, settings = trial(1, settings=SHORT)
    broken = GraspBatch(np.full((1, 4, 4), np.nan), grasps.opening_width, grasps.outcome)
    with pytest.raises(GraspgenError, match=r"Isaac Lab: unexpected .*; .*\.log has what it printed") as caught:
        backend.run(gripper, target, broken, settings)
    assert "\n" not in str(caught.value)
    assert backend.run(gripper, target, grasps, settings).finite.all()
    backend.close()


OWNER = """
import os, signal, sys
from graspgen_cli.validate.engines.isaaclab.backend import _Process
process = _Process("cpu", headed=False)
process._pipe.recv()
print(process._child.pid, process.log, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@needs_usd
@pytest.mark.slow
def test_the_process_ends_with_its_owner(isaac_lab: Any) -> None:
    done = subprocess.run([sys.executable, "-c", OWNER], capture_output=True, text=True)
    pid, log = done.stdout.split()
    ended = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < ended:
        time.sleep(0.05)
    assert done.returncode == -signal.SIGKILL and not Path(f"/proc/{pid}").exists()
    Path(log).unlink(missing_ok=True)


@pytest.mark.slow
def test_nothing_heavy_is_loaded_before_the_process_runs() -> None:
    modules = ", ".join(f"graspgen_cli.validate.engines.isaaclab.{name}" for name in ("backend", "server", "simulate", "usd"))
    assert loaded_after(f"import {modules}") & {"isaaclab", "isaacsim", "pxr", "torch"} == set()
