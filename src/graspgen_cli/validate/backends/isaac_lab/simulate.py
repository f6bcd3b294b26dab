"""A trial in Isaac Lab, from the USD files to the end state. Runs in a process in which the Isaac Sim app has been started."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from graspgen_cli.geometry.poses import inverse, pose, quaternion_wxyz, rotation_from_wxyz
from graspgen_cli.records import Floats, GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.settings.models import SimulationSettings
from graspgen_cli.validate.backends.isaac_lab.mechanism import Mechanism, coupling_effort, mechanism
from graspgen_cli.validate.backends.isaac_lab.usd import body_name, joint_name, write_gripper_usd, write_object_usd
from graspgen_cli.validate.progress import bounds, look_steps
from graspgen_cli.validate.protocol import Stage, stages
from graspgen_cli.validate.states import join_states
from graspgen_cli.validate.watch import Watch, Watched, relative_motion

SPACING = 1.0
"""m between neighbouring environments."""
PARKED = (0.0, 0.0, 10.0)
"""m: where the object waits until the joints are set, for setting them makes PhysX push apart what overlaps."""
MOST_ENVIRONMENTS = 1024
"""Trials in flight at once where the settings do not say."""
POSITION_ITERATIONS = 64
PATCHES = 2**19
"""Contact patches that PhysX makes room for on the GPU."""
NO_LIMIT = 1e6
"""N, N m, m/s or rad/s: more than any gripper has. Lower limits would hold back joints that are being set."""


@dataclass(frozen=True, eq=False)
class Job:
    """What the process is asked for: trials of one object. pull: (N,) how many times a tug's force pulls in each trial."""

    gripper: Gripper
    target: TargetObject
    grasps: GraspBatch
    pull: Floats
    settings: SimulationSettings
    device: str
    render: bool


@dataclass(frozen=True, eq=False)
class _World:
    """A scene in play.

    gripper, target: Isaac Lab's articulation and rigid body; fingers: the contact sensors of both.
    columns: (J,) where Isaac Lab keeps each joint of `Gripper.joint_names`.
    step: s. pull: as the job has it.
    """

    simulation: Any
    scene: Any
    gripper: Any
    target: Any
    fingers: tuple[Any, Any]
    columns: np.ndarray[tuple[int], np.dtype[np.intp]]
    parts: Mechanism
    pull: Floats
    step: float
    device: str
    render: bool


def run_job(job: Job) -> TrialState:
    """The end states of the job's grasps, in their order. Started inside is left to the caller, who knows the geometry."""
    parts = mechanism(job.gripper)
    size = job.settings.max_num_envs or MOST_ENVIRONMENTS
    with tempfile.TemporaryDirectory(prefix="graspgen-") as name:
        folder = Path(name)
        write_gripper_usd(folder / "gripper.usd", job.gripper, parts, job.settings)
        write_object_usd(folder / "object.usd", job.target, job.settings, object_mass(job.target, job.settings))
        chunks = [slice(i, i + size) for i in range(0, len(job.grasps), size)]
        jobs = [replace(job, grasps=job.grasps[chunk], pull=job.pull[chunk]) for chunk in chunks]
        return join_states([_run_chunk(each, parts, folder) for each in jobs], len(job.gripper.joint_names))


def object_mass(target: TargetObject, settings: SimulationSettings) -> float:
    """kg."""
    return settings.object_mass if settings.object_density is None else settings.object_density * target.volume


def _run_chunk(job: Job, parts: Mechanism, folder: Path) -> TrialState:
    from isaaclab.scene import InteractiveScene
    from isaaclab.sim import build_simulation_context

    grasps = job.grasps
    with build_simulation_context(sim_cfg=_simulation(job)) as simulation:
        # Its callback would wait for ever for somebody to press play when the simulation is stopped.
        simulation._app_control_on_stop_handle = None
        scene = InteractiveScene(_scene(job.gripper, parts, folder, len(grasps)))
        simulation.reset()
        world = _world(job, parts, simulation, scene)
        _place(world, job.gripper, grasps)
        when_closed, every = _object_pose(world), np.arange(len(grasps))
        plan = stages(job.gripper, job.settings, object_mass(job.target, job.settings))
        watch, interval = _watch(job, tuple(stage.steps for stage in plan), when_closed)
        for number, stage in enumerate(plan):
            for left in _advance(world, stage, len(grasps), interval):
                closed = number > 0 or left == 0
                seen = _object_pose(world), _finger_force(world, len(grasps))
                watch.look(*seen, stage=number, left=left, closed=closed, overlap=np.nan)
            if number == 0:
                when_closed = _object_pose(world)
        return _end_state(
            world, when_closed, bounds(job.gripper, job.target).center_of_mass, sum(stage.steps for stage in plan), watch.measured(every)
        )


def _watch(job: Job, steps: tuple[int, ...], pose_object_in_gripper: Floats) -> tuple[Watch, int]:
    """What notes the measures, and after how many steps it is to look."""
    count, interval = len(pose_object_in_gripper), look_steps(steps, job.settings)
    watch, of = Watch(steps, job.settings, interval=interval, slots=count), bounds(job.gripper, job.target)
    watch.begin(np.arange(count), pose_object_in_gripper, np.tile(of.center_of_mass, (count, 1)), np.full(count, of.radius))
    return watch, interval


def _simulation(job: Job) -> Any:
    from isaaclab.sim import PhysxCfg, SimulationCfg

    physx = PhysxCfg(
        min_position_iteration_count=POSITION_ITERATIONS,
        # PhysX has it on the CPU only.
        enable_ccd=job.device == "cpu",
        gpu_max_rigid_patch_count=PATCHES,
    )
    return SimulationCfg(device=job.device, dt=1.0 / job.settings.fps, gravity=(0.0, 0.0, 0.0), physx=physx)


def _scene(gripper: Gripper, parts: Mechanism, folder: Path, count: int) -> Any:
    """The gripper, the object, and a sensor of the contact between each finger and the object, `count` times."""
    from isaaclab.scene import InteractiveSceneCfg

    scene = InteractiveSceneCfg(num_envs=count, env_spacing=SPACING)
    scene.gripper = _gripper(parts, folder / "gripper.usd")
    scene.target = _target(folder / "object.usd")
    for number, finger in enumerate(gripper.finger_bodies):
        setattr(scene, f"finger_{number}", _sensor(int(parts.model.body(finger).id)))
    return scene


def _gripper(parts: Mechanism, path: Path) -> Any:
    from isaaclab.actuators import ImplicitActuatorCfg
    from isaaclab.assets import ArticulationCfg
    from isaaclab.sim import ArticulationRootPropertiesCfg, UsdFileCfg

    names = [joint_name(joint) for joint in range(len(parts.effort))]
    drive = ImplicitActuatorCfg(
        joint_names_expr=[".*"],
        stiffness=0.0,
        damping=dict(zip(names, parts.damping.tolist(), strict=True)),
        armature=dict(zip(names, parts.armature.tolist(), strict=True)),
        friction=0.0,
        effort_limit_sim=NO_LIMIT,
        velocity_limit_sim=NO_LIMIT,
    )
    root = ArticulationRootPropertiesCfg(
        enabled_self_collisions=False, solver_position_iteration_count=POSITION_ITERATIONS, sleep_threshold=0.0
    )
    return ArticulationCfg(
        prim_path="{ENV_REGEX_NS}/Gripper",
        spawn=UsdFileCfg(usd_path=str(path), activate_contact_sensors=True, articulation_props=root),
        init_state=ArticulationCfg.InitialStateCfg(joint_pos={".*": 0.0}),
        actuators={"grip": drive},
    )


def _target(path: Path) -> Any:
    from isaaclab.assets import RigidObjectCfg
    from isaaclab.sim import RigidBodyPropertiesCfg, UsdFileCfg

    # An object that fell asleep would have no contact forces, and PhysX damps turning unless it is told not to.
    body = RigidBodyPropertiesCfg(
        disable_gravity=True,
        linear_damping=0.0,
        angular_damping=0.0,
        sleep_threshold=0.0,
        solver_position_iteration_count=POSITION_ITERATIONS,
    )
    return RigidObjectCfg(
        prim_path="{ENV_REGEX_NS}/Object",
        spawn=UsdFileCfg(usd_path=str(path), activate_contact_sensors=True, rigid_props=body),
        init_state=RigidObjectCfg.InitialStateCfg(pos=PARKED),
    )


def _sensor(finger: int) -> Any:
    from isaaclab.sensors import ContactSensorCfg

    return ContactSensorCfg(prim_path=f"{{ENV_REGEX_NS}}/Gripper/{body_name(finger)}", filter_prim_paths_expr=["{ENV_REGEX_NS}/Object"])


def _world(job: Job, parts: Mechanism, simulation: Any, scene: Any) -> _World:
    gripper = scene["gripper"]
    names = list(gripper.joint_names)
    columns = np.array([names.index(joint_name(joint)) for joint in range(len(parts.effort))])
    sensors = scene["finger_0"], scene["finger_1"]
    return _World(
        simulation, scene, gripper, scene["target"], sensors, columns, parts, job.pull, 1.0 / job.settings.fps, job.device, job.render
    )


def _place(world: _World, gripper: Gripper, grasps: GraspBatch) -> None:
    """Gripper at the grasps' openings, at rest; object at their poses, at rest."""
    joints = gripper.joint_position[gripper.nearest_opening(grasps.opening_width)] - world.parts.reference
    world.gripper.write_joint_position_to_sim(_to_device(world, _in_their_order(world, joints)))
    world.gripper.write_joint_velocity_to_sim(_to_device(world, np.zeros_like(joints)))
    pose_object_in_world = _base_pose(world) @ inverse(grasps.pose_gripper_in_object)
    seven = np.concatenate([pose_object_in_world[:, :3, 3], quaternion_wxyz(pose_object_in_world[:, :3, :3])], axis=1)
    world.target.write_root_link_pose_to_sim(_to_device(world, seven))
    world.target.write_root_com_velocity_to_sim(_to_device(world, np.zeros((len(grasps), 6))))


def _advance(world: _World, stage: Stage, count: int, interval: int) -> Iterator[int]:
    """Steps through one stage; yields the number of steps that are left every `interval` steps and at the end. The force on the object
    is given anew in each step: Isaac Lab turns it with the object else."""
    closing = np.tile(world.parts.effort, (count, 1))
    sprung = any(not coupling.rigid for coupling in world.parts.couplings)
    force = _force(world, stage, count)
    world.gripper.set_joint_effort_target(_to_device(world, _in_their_order(world, closing)))
    for made in range(1, stage.steps + 1):
        if sprung:
            spring = coupling_effort(world.parts, *_joint_motion(world), world.step)
            world.gripper.set_joint_effort_target(_to_device(world, _in_their_order(world, closing + spring)))
        if force is not None:
            world.target.instantaneous_wrench_composer.set_forces_and_torques(forces=force, is_global=True)
        world.scene.write_data_to_sim()
        world.simulation.step(render=world.render)
        world.scene.update(world.step)
        if made % interval == 0 or made == stage.steps:
            yield stage.steps - made


def _force(world: _World, stage: Stage, count: int) -> Any:
    """(N, 1, 3) N in the world's axes, on the centre of mass; None while the grip closes."""
    if stage.force_in_base is None:
        return None
    in_world = world.pull[:, None] * (_base_pose(world)[:, :3, :3] @ np.asarray(stage.force_in_base))
    return _to_device(world, in_world.reshape(count, 1, 3))


def _end_state(world: _World, when_closed: Floats, center: Floats, steps: int, watched: Watched) -> TrialState:
    """Nothing ends a trial early: all environments are stepped together."""
    ended = _object_pose(world)
    position, _ = _joint_motion(world)
    finite = np.asarray(np.isfinite(np.concatenate([_host(world.target.data.root_link_pose_w), position], axis=1)).all(axis=1))
    count = len(finite)
    force = _finger_force(world, count)
    lost = (force == 0).all(axis=1)
    slip = relative_motion(when_closed, ended, np.tile(center, (len(ended), 1)))
    slip[lost] = np.nan
    return TrialState(
        pose_object_in_gripper=ended,
        finger_contact_force=force,
        joint_position=position + world.parts.reference,
        finite=finite,
        slip=slip,
        smallest_force=watched.smallest_force,
        loss_time=watched.loss_time,
        late_motion=np.where(lost, np.nan, watched.late_motion),
        started_inside=np.zeros(count, bool),
        steps=np.full(count, steps, np.int32),
        penetration=watched.penetration,
    )


def _finger_force(world: _World, count: int) -> Floats:
    """(N, 2) N."""
    return np.stack([_net_force(finger, count) for finger in world.fingers], axis=1)


def _net_force(finger: Any, count: int) -> Floats:
    """(N,) N: magnitude of the net force between a finger and the object, as far as PhysX reports it: along the contacts' normals."""
    forces = _host(finger.data.force_matrix_w).reshape(count, -1, 3)
    return np.nan_to_num(np.linalg.norm(forces.sum(axis=1), axis=1))


def _joint_motion(world: _World) -> tuple[Floats, Floats]:
    """(N, J) positions and velocities in our order, from the reference."""
    data = world.gripper.data
    return _host(data.joint_pos)[:, world.columns], _host(data.joint_vel)[:, world.columns]


def _in_their_order(world: _World, values: Floats) -> Floats:
    """(N, J) values of our joints in Isaac Lab's columns."""
    result = np.zeros_like(values)
    result[:, world.columns] = values
    return result


def _object_pose(world: _World) -> Floats:
    """(N, 4, 4) object in the gripper's base."""
    return inverse(_base_pose(world)) @ _pose(_host(world.target.data.root_link_pose_w))


def _base_pose(world: _World) -> Floats:
    """(N, 4, 4) the gripper's base in the world."""
    return _pose(_host(world.gripper.data.root_link_pose_w))


def _pose(seven: Floats) -> Floats:
    """(N, 4, 4) of positions and quaternions (N, 7), scalar first; what diverged is turned by nothing."""
    quaternion = np.where(np.isfinite(seven[:, 3:]).all(axis=1, keepdims=True), seven[:, 3:], [1.0, 0.0, 0.0, 0.0])
    return pose(rotation_from_wxyz(quaternion), seven[:, :3])


def _to_device(world: _World, values: Floats) -> Any:
    import torch

    return torch.tensor(values, dtype=torch.float32, device=world.device)


def _host(tensor: Any) -> Floats:
    return np.asarray(tensor.detach().cpu().numpy(), np.float64)
