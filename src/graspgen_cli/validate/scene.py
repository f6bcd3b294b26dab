"""The one scene that both MuJoCo engines simulate: the gripper fixed at the origin, the object free, no gravity.

In the scene the object has a body frame of its own: about the centre of mass and turned as the shape says (`geometry.own_frame`). The
engines integrate the motion of the frame's origin; far from the centre of mass that costs precision. And trials are chaotic at the edge
of holding: were the last bits of a scene those of the file's frame, a label would depend on where the mesh file happens to have its
origin and its axes. Everything that goes in and comes out, `start_position` and `object_pose`, is in the object's frame, the file's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import mujoco
import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.meshes import in_own_frame, pose_in_own_frame
from graspgen_cli.geometry.poses import inverse, pose, quaternion_wxyz, rotation_from_wxyz, stable, transform_points
from graspgen_cli.records import Floats, GraspBatch, Gripper, TargetObject, TriangleMesh
from graspgen_cli.settings.trials import CollisionApproximation, SimulationSettings
from graspgen_cli.validate.contact import DEFAULT_CONTACT, ContactModel, Integrator

OBJECT = "graspgen_object"
_DISTANCE = "graspgen_distance"
_GRIPPER_BIT, _OBJECT_BIT = 1, 2
_INTEGRATORS = {
    Integrator.EULER: mujoco.mjtIntegrator.mjINT_EULER,
    Integrator.IMPLICIT: mujoco.mjtIntegrator.mjINT_IMPLICIT,
    Integrator.IMPLICITFAST: mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
    Integrator.RK4: mujoco.mjtIntegrator.mjINT_RK4,
}


@dataclass(frozen=True, eq=False)
class Scene:
    """A compiled scene and where to find things in it.

    mass: kg. pose_object_in_body: (4, 4) the object's frame in the scene's body frame of it.
    object_qpos, object_qvel: first index of the free joint; joint_qpos, joint_dof: (J,) indices of the gripper's joints.
    effort: (nv,) N or N m: the constant generalized force that closes the gripper.
    contact_sensor: for each finger the first index of its contact sensor in sensordata: found, then force xyz.
    distance_sensor: index of the distance (m) of the deepest contact in sensordata; None where the scene has no such sensor.
    """

    model: mujoco.MjModel
    mass: float
    pose_object_in_body: Floats
    object_body: int
    object_qpos: int
    joint_qpos: NDArray[np.intp]
    joint_dof: NDArray[np.intp]
    effort: Floats
    contact_sensor: tuple[int, int]
    distance_sensor: int | None

    @property
    def center_of_mass(self) -> Floats:
        """(3,) m, in the object's frame: where the body frame has its origin."""
        return inverse(self.pose_object_in_body)[:3, 3]


def build_scene(
    gripper: Gripper,
    target: TargetObject,
    settings: SimulationSettings,
    contact: ContactModel = DEFAULT_CONTACT,
    *,
    sees_distance: bool = True,
) -> Scene:
    """Compiles the scene of one gripper and one object. sees_distance: whether it has the sensor of the deepest contact."""
    spec = mujoco.MjSpec.from_string(gripper.mjcf, assets=gripper.assets)
    _strip(spec)
    _set_options(spec, settings, contact)
    _set_drive(spec, gripper)
    mass = settings.object_mass if settings.object_density is None else settings.object_density * target.volume
    _add_object(spec, in_body_frame(target), settings, contact, mass)
    for finger in gripper.finger_bodies:
        _add_contact_sensor(spec, finger)
    if sees_distance:
        _add_distance_sensor(spec)
    return _scene(spec.compile(), gripper, mass, pose_object_in_body(target))


def pose_object_in_body(target: TargetObject) -> Floats:
    """(4, 4): an object's frame in its body frame, whose origin is the centre of mass."""
    return pose_in_own_frame(target.mesh.vertices, target.center_of_mass)


def in_body_frame(target: TargetObject) -> TargetObject:
    """The same object in its body frame."""
    pose = pose_object_in_body(target)
    turn = pose[:3, :3]

    def moved(mesh: TriangleMesh) -> TriangleMesh:
        return TriangleMesh(in_own_frame(transform_points(pose, mesh.vertices)), mesh.faces)

    inertia = turn @ target.unit_inertia @ turn.T
    pieces = tuple(map(moved, target.pieces))
    return replace(target, mesh=moved(target.mesh), pieces=pieces, center_of_mass=np.zeros(3), unit_inertia=inertia)


def _strip(spec: mujoco.MjSpec) -> None:
    """Removes what the trial does not use: the file's own actuators, sensors, keyframes, and geoms that are only looks."""
    for element in [*spec.actuators, *spec.sensors, *spec.keys, *spec.lights, *spec.cameras]:
        spec.delete(element)
    for geom in spec.geoms:
        if geom.contype == 0 and geom.conaffinity == 0:
            spec.delete(geom)
        else:
            # The gripper meets the object and never itself.
            geom.contype, geom.conaffinity = _GRIPPER_BIT, _OBJECT_BIT


def _set_options(spec: mujoco.MjSpec, settings: SimulationSettings, contact: ContactModel) -> None:
    option = spec.option
    option.timestep = 1.0 / settings.fps
    option.gravity = [0.0, 0.0, 0.0]
    option.integrator = _INTEGRATORS[contact.integrator]
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC if contact.elliptic else mujoco.mjtCone.mjCONE_PYRAMIDAL
    option.impratio = contact.friction_stiffness
    option.tolerance = contact.tolerance
    # Several contact points for each pair of flat faces (MULTICCD) stay on, so that a pad resists turning, whatever the gripper's file
    # says; a diverged trial must stay diverged to be seen; and looking for islands is work for nothing where all is one.
    option.disableflags = mujoco.mjtDisableBit.mjDSBL_AUTORESET | mujoco.mjtDisableBit.mjDSBL_ISLAND
    option.enableflags = 0


def _set_drive(spec: mujoco.MjSpec, gripper: Gripper) -> None:
    """Each driven joint closes against an implicit damper, effort / speed: the finger moves at its real speed and presses with its
    real force, and cannot jump as a stiff position servo does."""
    for name, damping in zip(gripper.joint_names, gripper.joint_damping, strict=True):
        joint = spec.joint(name)
        joint.damping = [float(stable(damping)), 0.0, 0.0]
        joint.frictionloss = 0.0


def _add_object(spec: mujoco.MjSpec, target: TargetObject, settings: SimulationSettings, contact: ContactModel, mass: float) -> None:
    body = spec.worldbody.add_body(name=OBJECT)
    body.add_freejoint()
    inertia = mass * stable(target.unit_inertia)
    body.explicitinertial = True
    # What the engine assumes of a body whose centre of mass is its origin would not hold once that is varied.
    body.simple = 0
    body.mass = mass
    body.ipos = stable(target.center_of_mass)
    body.fullinertia = [inertia[0, 0], inertia[1, 1], inertia[2, 2], inertia[0, 1], inertia[0, 2], inertia[1, 2]]
    sdf = settings.collision_approximation is CollisionApproximation.SDF
    for number, piece in enumerate(target.pieces):
        name = f"{OBJECT}_{number}"
        mesh = spec.add_mesh(name=name, uservert=piece.vertices.ravel(), userface=piece.faces.ravel())
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
        body.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_SDF if sdf else mujoco.mjtGeom.mjGEOM_MESH,
            meshname=name,
            contype=_OBJECT_BIT,
            conaffinity=_GRIPPER_BIT,
            condim=4 if settings.contact_patch else 3,
            friction=[settings.friction, settings.friction * turning_arm(settings.contact_patch), 0.0],
            # The object's coefficient counts, whatever the gripper's file says.
            priority=1,
            mass=0.0,
            solref=[contact.time_constant, contact.damping_ratio],
            solimp=list(contact.impedance),
        )


def turning_arm(patch_radius: float) -> float:
    """m: the moment about its normal that a contact resists, over friction coefficient and normal force, of a round patch under even
    pressure: two thirds of its radius (Coulomb friction integrated over the disc; K. L. Johnson, Contact Mechanics, 1985, section 3.9)."""
    return 2.0 / 3.0 * patch_radius


def _add_contact_sensor(spec: mujoco.MjSpec, finger: str) -> None:
    found, force = 1 << int(mujoco.mjtConDataField.mjCONDATA_FOUND), 1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE)
    net_force = 3  # reduction of all contacts to one (XML reference, sensor/contact, reduce)
    spec.add_sensor(
        name=f"{finger}_contact",
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        objname=finger,
        reftype=mujoco.mjtObj.mjOBJ_BODY,
        refname=OBJECT,
        intprm=[found | force, net_force, 1],
    )


def _add_distance_sensor(spec: mujoco.MjSpec) -> None:
    smallest_distance = 1  # reduction of all contacts to one, as above
    spec.add_sensor(
        name=_DISTANCE,
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        objname=OBJECT,
        intprm=[1 << int(mujoco.mjtConDataField.mjCONDATA_DIST), smallest_distance, 1],
    )


def _scene(model: mujoco.MjModel, gripper: Gripper, mass: float, pose_object_in_body: Floats) -> Scene:
    joints = [model.joint(name) for name in gripper.joint_names]
    joint_dof = np.array([j.dofadr[0] for j in joints])
    effort = np.zeros(model.nv)
    effort[joint_dof] = stable(gripper.joint_effort)
    body = model.body(OBJECT)
    first, second = (int(model.sensor(f"{finger}_contact").adr[0]) for finger in gripper.finger_bodies)
    return Scene(
        model=model,
        mass=mass,
        pose_object_in_body=pose_object_in_body,
        object_body=int(body.id),
        object_qpos=int(model.jnt_qposadr[body.jntadr[0]]),
        joint_qpos=np.array([j.qposadr[0] for j in joints]),
        joint_dof=joint_dof,
        effort=effort,
        contact_sensor=(first, second),
        distance_sensor=next((int(model.sensor(i).adr[0]) for i in range(model.nsensor) if model.sensor(i).name == _DISTANCE), None),
    )


def start_position(scene: Scene, gripper: Gripper, grasps: GraspBatch) -> Floats:
    """(N, nq) positions of a scene in which the trials begin."""
    pose_body_in_gripper = inverse(scene.pose_object_in_body @ grasps.pose_gripper_in_object)
    qpos = np.tile(scene.model.qpos0, (len(grasps), 1))
    qpos[:, scene.joint_qpos] = stable(gripper.joint_position[gripper.nearest_opening(grasps.opening_width)])
    at = scene.object_qpos
    qpos[:, at : at + 3] = stable(pose_body_in_gripper[:, :3, 3])
    qpos[:, at + 3 : at + 7] = stable(quaternion_wxyz(pose_body_in_gripper[:, :3, :3]))
    return qpos


def object_pose(scene: Scene, qpos: Floats, pose_object_in_body: Floats) -> Floats:
    """(N, 4, 4) object in the gripper's base, of positions (N, nq); a quaternion that is not finite counts as one that is.

    pose_object_in_body: (4, 4) or (N, 4, 4), of the object that each row is of."""
    at = scene.object_qpos
    quaternion = np.where(np.isfinite(qpos[:, at + 3 : at + 7]), qpos[:, at + 3 : at + 7], 1.0)
    turn, shift = rotation_from_wxyz(quaternion), qpos[:, at : at + 3]
    # Not as one product of poses: a shift that is not finite would spoil the rotation.
    return pose(turn @ pose_object_in_body[..., :3, :3], (turn @ pose_object_in_body[..., :3, 3:])[..., 0] + shift)


def contacts(scene: Scene, sensordata: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """(N, 2) whether each finger touches the object, and with what force (N), of sensor readings (N, nsensordata)."""
    touching = np.stack([sensordata[:, at] > 0 for at in scene.contact_sensor], axis=1)
    force = np.stack([np.linalg.norm(sensordata[:, at + 1 : at + 4], axis=1) for at in scene.contact_sensor], axis=1)
    return touching, force


def overlap(scene: Scene, sensordata: Floats) -> Floats:
    """(N,) m, at least 0: how deep the object is in the gripper, of readings (N, nsensordata) of a scene that sees distances."""
    assert scene.distance_sensor is not None
    return np.maximum(-sensordata[:, scene.distance_sensor], 0.0)


def started_inside(scene: Scene, gripper: Gripper, target: TargetObject, grasps: GraspBatch) -> NDArray[np.bool_]:
    """(N,): the object's pieces begin deeper in the gripper than their own error explains; by geometry, the same for every engine."""
    data, deepest = mujoco.MjData(scene.model), np.zeros(len(grasps))
    for i, qpos in enumerate(start_position(scene, gripper, grasps)):
        data.qpos[:] = qpos
        mujoco.mj_fwdPosition(scene.model, data)
        deepest[i] = min((contact.dist for contact in data.contact), default=0.0)
    return deepest < deepest_allowed(target)


def deepest_allowed(target: TargetObject) -> float:
    """m, not positive: distance of contacts at the start that the pieces' error and rounding explain."""
    return -(target.largest_gap + 1e-3)
