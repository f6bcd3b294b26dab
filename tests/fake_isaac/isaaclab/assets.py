from dataclasses import dataclass, field

from isaaclab import calls
from isaaclab._views import ArticulationView, RigidBodyView


@dataclass
class ArticulationCfg:
    @dataclass
    class InitialStateCfg:
        joint_pos: dict

    prim_path: str
    spawn: object
    init_state: object
    actuators: dict


@dataclass
class RigidObjectCfg:
    @dataclass
    class InitialStateCfg:
        pos: tuple = field(default=(0.0, 0.0, 0.0))

    prim_path: str
    spawn: object
    init_state: object


class ArticulationData:
    def __init__(self, world):
        self._world, self._bodies = world, world.gripper_bodies

    @property
    def root_link_pose_w(self):
        return self._world.base_pose()

    @property
    def body_link_pose_w(self):
        return self._world.link_poses(self._bodies)

    @property
    def body_com_pose_w(self):
        return self._world.center_poses(self._bodies)

    @property
    def body_com_vel_w(self):
        return self._world.center_velocities(self._bodies)

    @property
    def joint_pos(self):
        return self._world.joints("qpos")

    @property
    def joint_vel(self):
        return self._world.joints("qvel")


class RigidObjectData:
    def __init__(self, world):
        self._world, self._bodies = world, [world.target]

    @property
    def root_link_pose_w(self):
        return self._world.object_pose()

    @property
    def body_link_pose_w(self):
        return self._world.link_poses(self._bodies)

    @property
    def body_com_pose_w(self):
        return self._world.center_poses(self._bodies)

    @property
    def body_com_vel_w(self):
        return self._world.center_velocities(self._bodies)


class WrenchComposer:
    def __init__(self, world, bodies):
        self._world, self._bodies = world, bodies

    def set_forces_and_torques(self, forces=None, torques=None, *, is_global=False):
        calls.append(("set_forces_and_torques", is_global))
        assert is_global, "the fake turns no forces"
        self._world.set_wrench(self._bodies, forces, torques)


class Articulation:
    def __init__(self, world):
        self._world = world
        self._data = ArticulationData(world)
        self._composer = WrenchComposer(world, world.gripper_bodies)
        self._view = ArticulationView(world, world.gripper_bodies)

    @property
    def data(self):
        return self._data

    @property
    def instantaneous_wrench_composer(self):
        return self._composer

    @property
    def root_physx_view(self):
        return self._view

    @property
    def joint_names(self):
        return self._world.joint_names

    def write_joint_position_to_sim(self, position):
        calls.append(("write_joint_position_to_sim", None))
        self._world.set_joints("qpos", position)

    def write_joint_velocity_to_sim(self, velocity):
        calls.append(("write_joint_velocity_to_sim", None))
        self._world.set_joints("qvel", velocity)

    def set_joint_effort_target(self, target):
        calls.append(("set_joint_effort_target", None))
        self._world.effort = self._world.fetched(target)


class RigidObject:
    def __init__(self, world):
        self._world = world
        self._data = RigidObjectData(world)
        self._composer = WrenchComposer(world, [world.target])
        self._view = RigidBodyView(world, [world.target])

    @property
    def data(self):
        return self._data

    @property
    def instantaneous_wrench_composer(self):
        return self._composer

    @property
    def root_physx_view(self):
        return self._view

    def write_root_link_pose_to_sim(self, root_pose):
        calls.append(("write_root_link_pose_to_sim", None))
        self._world.set_object_pose(root_pose)

    def write_root_com_velocity_to_sim(self, root_velocity):
        calls.append(("write_root_com_velocity_to_sim", None))
        self._world.set_object_velocity(root_velocity)
