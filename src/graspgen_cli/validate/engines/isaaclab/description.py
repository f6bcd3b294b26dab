"""The scene in the terms that Isaac Lab has: what is spawned in each environment, how PhysX is set, and what is sensed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graspgen_cli.records import Gripper
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engines.isaaclab.mechanism import Mechanism
from graspgen_cli.validate.engines.isaaclab.usd import body_name, joint_name

SPACING = 1.0
"""m between neighbouring environments."""
PARKED = (0.0, 0.0, 10.0)
"""m: where the object waits until the joints are set, for setting them makes PhysX push apart what overlaps."""
POSITION_ITERATIONS = 64
PATCHES = 2**19
"""Contact patches that PhysX makes room for on the GPU."""
CONTACTS = 512
"""Contact points of gripper and object that can be read, as an average over the environments: 16 kB of an environment's memory."""
NO_LIMIT = 1e6
"""N, N m, m/s or rad/s: more than any gripper has. Lower limits would hold back joints that are being set."""


def simulation_of(settings: SimulationSettings, device: str) -> Any:
    """How PhysX is set."""
    from isaaclab.sim import PhysxCfg, SimulationCfg

    physx = PhysxCfg(
        min_position_iteration_count=POSITION_ITERATIONS,
        # PhysX has it on the CPU only.
        enable_ccd=device == "cpu",
        gpu_max_rigid_patch_count=PATCHES,
    )
    return SimulationCfg(device=device, dt=1.0 / settings.fps, gravity=(0.0, 0.0, 0.0), physx=physx)


def scene_of(gripper: Gripper, parts: Mechanism, folder: Path, count: int) -> Any:
    """The gripper, the object, a sensor of the contact between each finger and the object, and one of the contacts between the object and
    every part of the gripper, `count` times."""
    from isaaclab.scene import InteractiveSceneCfg

    scene = InteractiveSceneCfg(num_envs=count, env_spacing=SPACING)
    scene.gripper = _gripper(parts, folder / "gripper.usd")
    scene.target = _target(folder / "object.usd")
    for number, finger in enumerate(gripper.finger_bodies):
        setattr(scene, f"finger_{number}", _finger_sensor(int(parts.model.body(finger).id)))
    scene.touch = _touch_sensor(gripper, parts)
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


def _finger_sensor(finger: int) -> Any:
    from isaaclab.sensors import ContactSensorCfg

    return ContactSensorCfg(prim_path=_in_gripper(finger), filter_prim_paths_expr=["{ENV_REGEX_NS}/Object"])


def _touch_sensor(gripper: Gripper, parts: Mechanism) -> Any:
    """Of the object, since Isaac Lab tells the contacts of one body with many, not those of many with one."""
    from isaaclab.sensors import ContactSensorCfg

    solid = [name for name, pieces in zip(gripper.body_names, gripper.collision_parts, strict=True) if len(pieces)]
    return ContactSensorCfg(
        prim_path="{ENV_REGEX_NS}/Object",
        filter_prim_paths_expr=[_in_gripper(int(parts.model.body(name).id)) for name in solid],
        max_contact_data_count_per_prim=CONTACTS,
    )


def _in_gripper(body: int) -> str:
    return f"{{ENV_REGEX_NS}}/Gripper/{body_name(body)}"
