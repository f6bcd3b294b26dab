"""A scene of Isaac Lab in play: what it tells about the trials, and what is done to them, in our frames, orders and arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.poses import inverse, pose, quaternion_wxyz, rotation_from_wxyz
from graspgen_cli.records import Floats, GraspBatch, Gripper
from graspgen_cli.validate.engines.isaaclab.mechanism import Mechanism
from graspgen_cli.validate.engines.isaaclab.usd import joint_name

Wrench = tuple[Any, Any]
"""Forces (N) and torques (N m), tensors (N, B, 3) in the world's axes where the simulation runs."""


@dataclass(frozen=True, eq=False)
class World:
    """N environments, each with one trial.

    gripper, target: Isaac Lab's articulation and rigid body. fingers: the contact sensors of both. touch: that of the object.
    columns: (J,) where Isaac Lab keeps each joint of `Gripper.joint_names`. step: s.
    """

    simulation: Any
    scene: Any
    gripper: Any
    target: Any
    fingers: tuple[Any, Any]
    touch: Any
    columns: NDArray[np.intp]
    parts: Mechanism
    step: float
    device: str
    render: bool


def in_play(simulation: Any, scene: Any, parts: Mechanism, *, step: float, device: str, render: bool) -> World:
    """The scene as it is described in `description`, after the simulation was reset."""
    gripper = scene["gripper"]
    names = list(gripper.joint_names)
    columns = np.array([names.index(joint_name(joint)) for joint in range(len(parts.effort))])
    fingers = scene["finger_0"], scene["finger_1"]
    return World(simulation, scene, gripper, scene["target"], fingers, scene["touch"], columns, parts, step, device, render)


def place(world: World, gripper: Gripper, grasps: GraspBatch) -> None:
    """Gripper at the grasps' openings, at rest; object at their poses, at rest."""
    joints = gripper.joint_position[gripper.nearest_opening(grasps.opening_width)] - world.parts.reference
    world.gripper.write_joint_position_to_sim(to_device(world, _in_their_order(world, joints)))
    world.gripper.write_joint_velocity_to_sim(to_device(world, np.zeros_like(joints)))
    pose_object_in_world = base_pose(world) @ inverse(grasps.pose_gripper_in_object)
    seven = np.concatenate([pose_object_in_world[:, :3, 3], quaternion_wxyz(pose_object_in_world[:, :3, :3])], axis=1)
    world.target.write_root_link_pose_to_sim(to_device(world, seven))
    world.target.write_root_com_velocity_to_sim(to_device(world, np.zeros((len(grasps), 6))))


def make_step(world: World) -> None:
    """One step of the simulation, with the efforts and forces that were given."""
    world.scene.write_data_to_sim()
    world.simulation.step(render=world.render)
    world.scene.update(world.step)


def set_effort(world: World, effort: Floats) -> None:
    """effort: (N, J) N or N m on the joints, until another is set."""
    world.gripper.set_joint_effort_target(to_device(world, _in_their_order(world, effort)))


def wrench_in_world(world: World, wrench_in_base: Floats) -> Wrench:
    """Of forces (N) and torques (N m), (N, B, 6) in the base's axes."""
    to_world = base_pose(world)[:, None, :3, :3]
    force, torque = ((to_world @ wrench_in_base[:, :, k : k + 3, None])[..., 0] for k in (0, 3))
    return to_device(world, force), to_device(world, torque)


def apply_wrench(body: Any, wrench: Wrench) -> None:
    """Puts forces on the centres of mass of the bodies of gripper or object, and torques, for one step; if Isaac Lab kept them, it would
    turn them with the bodies."""
    force, torque = wrench
    body.instantaneous_wrench_composer.set_forces_and_torques(forces=force, torques=torque, is_global=True)


def object_pose(world: World) -> Floats:
    """(N, 4, 4) object in the gripper's base."""
    return inverse(base_pose(world)) @ poses_of(to_host(world.target.data.root_link_pose_w))


def base_pose(world: World) -> Floats:
    """(N, 4, 4) the gripper's base in the world."""
    return poses_of(to_host(world.gripper.data.root_link_pose_w))


def joint_motion(world: World) -> tuple[Floats, Floats]:
    """(N, J) positions and velocities in our order, from the reference."""
    data = world.gripper.data
    return to_host(data.joint_pos)[:, world.columns], to_host(data.joint_vel)[:, world.columns]


def is_finite(world: World) -> NDArray[np.bool_]:
    """(N,) whether object and joints are anywhere."""
    position, _ = joint_motion(world)
    return np.asarray(np.isfinite(np.concatenate([to_host(world.target.data.root_link_pose_w), position], axis=1)).all(axis=1))


def finger_force(world: World) -> Floats:
    """(N, 2) N: magnitude of the net force between each finger and the object, as far as PhysX reports it: along the contacts' normals."""
    return np.stack([_net_force(finger) for finger in world.fingers], axis=1)


def _net_force(finger: Any) -> Floats:
    forces = to_host(finger.data.force_matrix_w)
    return np.nan_to_num(np.linalg.norm(forces.reshape(len(forces), -1, 3).sum(axis=1), axis=1))


def overlap(world: World) -> Floats:
    """(N,) m, at least 0: how deep the object was in the gripper when the last step began, where that is deepest. NaN where PhysX found
    more contacts than there was room for."""
    _, _, _, separation, counts, starts = map(to_host, world.touch.contact_physx_view.get_contact_data(dt=world.step))
    # The contacts of an environment lie behind one another, from body to body of the gripper.
    of_environment = counts.sum(axis=1).astype(int)
    found = np.repeat(np.arange(len(counts)), of_environment)[: len(separation)]
    deepest = np.zeros(len(counts))
    np.minimum.at(deepest, found, separation[: len(found), 0])
    deepest[starts[:, 0] + of_environment > len(separation)] = np.nan
    return -deepest


def poses_of(seven: Floats) -> Floats:
    """(N, 4, 4) of positions and quaternions (N, 7), scalar first; what diverged is turned by nothing."""
    quaternion = np.where(np.isfinite(seven[:, 3:]).all(axis=1, keepdims=True), seven[:, 3:], [1.0, 0.0, 0.0, 0.0])
    return pose(rotation_from_wxyz(quaternion), seven[:, :3])


def _in_their_order(world: World, values: Floats) -> Floats:
    """(N, J) values of our joints in Isaac Lab's columns."""
    result = np.zeros_like(values)
    result[:, world.columns] = values
    return result


def to_device(world: World, values: Floats) -> Any:
    """Values as a tensor where the simulation runs."""
    import torch

    return torch.tensor(values, dtype=torch.float32, device=world.device)


def to_host(tensor: Any) -> Floats:
    """A copy of a tensor's values."""
    return np.array(tensor.detach().cpu().numpy(), np.float64)
