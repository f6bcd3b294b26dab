"""The scene that both MuJoCo engines simulate: the gripper fixed at the origin, the object free, no gravity.

The object has a body frame of its own: its origin is the centre of mass, its axes follow from the shape
(`geometry.meshes.pose_in_own_frame`). The engines integrate the motion of that origin, and lose precision if the centre of mass is far from
it. Also, trials at the edge of holding
are chaotic: in the frame of the mesh file, a label would depend on the origin and the axes that the file happens to have. The inputs and
results of this module, such as `start_position` and `object_pose`, are in the object's frame, that of the file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.frames import in_own_frame, pose_in_own_frame
from graspgen_cli.geometry.poses import inverse, pose, quaternion_wxyz, rotation_from_wxyz, stable, transform_points
from graspgen_cli.records import Floats, GraspBatch, Gripper, TargetObject, TriangleMesh
from graspgen_cli.settings.trials import CollisionApproximation, SimulationSettings
from graspgen_cli.tables import ENGINES

OBJECT = "graspgen_object"
_DISTANCE = "graspgen_distance"
_GRIPPER_BIT, _OBJECT_BIT = 1, 2
_SMALLEST_DISTANCE, _NET_FORCE = 1, 3
"""Reductions of a contact sensor (MuJoCo's XML reference, sensor/contact, reduce)."""


@dataclass(frozen=True)
class ContactModel:
    """The stiffness of the object's surface and the solution of its contacts. Every command uses the defaults; docs/judging.md has the
    reasons.

    MuJoCo softens contacts if a time step exceeds half of the time constant. So finer steps of one model converge, and coarser ones do not.
    """

    time_constant: float = 0.03
    """s (solref): time in which a contact pushes the bodies apart; seven and a half steps at 250 Hz, so that an impact is resolved. A grip
    of 70 to 125 N then presses 0.5 to 0.8 mm deep, as into a rubber pad."""
    damping_ratio: float = 1.0
    impedance: tuple[float, float, float, float, float] = (0.95, 0.99, 0.001, 0.5, 2.0)
    """solimp: smallest and largest share of a constraint's force, the depth (m) over which the share grows, midpoint and power of the
    growth."""
    friction_stiffness: float = 100.0
    """impratio: stiffness of a contact against sliding over its stiffness against pressing. A high ratio keeps grips from creeping."""
    elliptic: bool = True
    """Whether the friction cone is elliptic. A pyramidal cone changes more than twice as many labels and costs no less."""
    integrator: str = "implicitfast"
    """euler, implicit, implicitfast or rk4 (MuJoCo's documentation, Computation, numerical integration)."""
    tolerance: float = 1e-8
    """The solver stops once a step improves the cost by less, in MuJoCo's scale."""


DEFAULT_CONTACT = ContactModel()


def recorded_contact(engine: str) -> dict[str, Any] | None:
    """The contact model as plain values, for the provenance of trials on an engine; None for an engine with its own contacts."""
    if not ENGINES[engine].has_our_contacts:
        return None
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(DEFAULT_CONTACT).items()}


@dataclass(frozen=True, eq=False)
class Scene:
    """A compiled scene and the indices of its parts.

    mass: kg. pose_object_in_body: (4, 4) the object's frame in the object's body frame.
    object_qpos: first index of the free joint; joint_qpos: (J,) indices of the gripper's joints.
    effort: (nv,) N or N m: constant generalized force that closes the gripper.
    contact_sensor: for each finger the first index of its contact sensor in sensordata: number of contacts, then force xyz.
    distance_sensor: index of the distance (m) of the deepest contact in sensordata; None for a scene without that sensor.
    """

    model: mujoco.MjModel
    mass: float
    pose_object_in_body: Floats
    object_body: int
    object_qpos: int
    joint_qpos: NDArray[np.intp]
    effort: Floats
    contact_sensor: tuple[int, int]
    distance_sensor: int | None

    @property
    def center_of_mass(self) -> Floats:
        """(3,) m, in the object's frame: the origin of the body frame."""
        return inverse(self.pose_object_in_body)[:3, 3]


def build_scene(
    gripper: Gripper,
    target: TargetObject,
    settings: SimulationSettings,
    contact: ContactModel = DEFAULT_CONTACT,
    *,
    sees_distance: bool = True,
) -> Scene:
    """Compiles the scene of one gripper and one object. sees_distance: whether to add the sensor of the deepest contact."""
    spec = mujoco.MjSpec.from_string(gripper.mjcf, assets=gripper.assets)
    _strip(spec)
    _set_options(spec, settings, contact)
    _set_drive(spec, gripper)
    mass = object_mass(target, settings)
    _add_object(spec, in_body_frame(target), settings, contact, mass)
    for finger in gripper.finger_bodies:
        fields = [mujoco.mjtConDataField.mjCONDATA_FOUND, mujoco.mjtConDataField.mjCONDATA_FORCE]
        _add_contact_sensor(spec, f"{finger}_contact", finger, fields, _NET_FORCE, reftype=mujoco.mjtObj.mjOBJ_BODY, refname=OBJECT)
    if sees_distance:
        _add_contact_sensor(spec, _DISTANCE, OBJECT, [mujoco.mjtConDataField.mjCONDATA_DIST], _SMALLEST_DISTANCE)
    return _scene(spec.compile(), gripper, mass, pose_object_in_body(target))


def object_mass(target: TargetObject, settings: SimulationSettings) -> float:
    """kg."""
    return settings.object_mass if settings.object_density is None else settings.object_density * target.volume


def pose_object_in_body(target: TargetObject) -> Floats:
    """(4, 4): an object's frame in the object's body frame."""
    return pose_in_own_frame(target.mesh.vertices, target.center_of_mass)


def in_body_frame(target: TargetObject) -> TargetObject:
    """The object with its geometry in its body frame."""
    pose = pose_object_in_body(target)
    turn = pose[:3, :3]

    def moved(mesh: TriangleMesh) -> TriangleMesh:
        return TriangleMesh(in_own_frame(transform_points(pose, mesh.vertices)), mesh.faces)

    inertia = turn @ target.unit_inertia @ turn.T
    pieces = tuple(map(moved, target.pieces))
    return replace(target, mesh=moved(target.mesh), pieces=pieces, center_of_mass=np.zeros(3), unit_inertia=inertia)


def _strip(spec: mujoco.MjSpec) -> None:
    """Removes the parts of the gripper's file that a trial does not use: actuators, sensors, keyframes, and geoms without collision."""
    for element in [*spec.actuators, *spec.sensors, *spec.keys, *spec.lights, *spec.cameras]:
        spec.delete(element)
    for geom in spec.geoms:
        if geom.contype == 0 and geom.conaffinity == 0:
            spec.delete(geom)
        else:
            # The gripper collides with the object and never with itself.
            geom.contype, geom.conaffinity = _GRIPPER_BIT, _OBJECT_BIT


def _set_options(spec: mujoco.MjSpec, settings: SimulationSettings, contact: ContactModel) -> None:
    option = spec.option
    option.timestep = 1.0 / settings.fps
    option.gravity = [0.0, 0.0, 0.0]
    option.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{contact.integrator.upper()}")
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC if contact.elliptic else mujoco.mjtCone.mjCONE_PYRAMIDAL
    option.impratio = contact.friction_stiffness
    option.tolerance = contact.tolerance
    # Replaces the flags of the gripper's file. MULTICCD stays on: several contact points for each pair of flat faces make a pad resist
    # turning. AUTORESET is off, so that a diverged trial stays diverged. ISLAND is off: the scene is a single island.
    option.disableflags = mujoco.mjtDisableBit.mjDSBL_AUTORESET | mujoco.mjtDisableBit.mjDSBL_ISLAND
    option.enableflags = 0


def _set_drive(spec: mujoco.MjSpec, gripper: Gripper) -> None:
    """Each driven joint closes with constant effort against an implicit damper (effort / speed). The finger moves at its real speed and
    presses with its real force; a stiff position servo would let the finger jump."""
    for name, damping in zip(gripper.joint_names, gripper.joint_damping, strict=True):
        joint = spec.joint(name)
        joint.damping = [float(stable(damping)), 0.0, 0.0]
        joint.frictionloss = 0.0


def _add_object(spec: mujoco.MjSpec, target: TargetObject, settings: SimulationSettings, contact: ContactModel, mass: float) -> None:
    body = spec.worldbody.add_body(name=OBJECT)
    body.add_freejoint()
    inertia = mass * stable(target.unit_inertia)
    body.explicitinertial = True
    # MuJoCo's shortcut for a body whose centre of mass is its origin would be wrong once the centre of mass is varied.
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
            # The object's coefficients replace those of the gripper's file.
            priority=1,
            mass=0.0,
            solref=[contact.time_constant, contact.damping_ratio],
            solimp=list(contact.impedance),
        )


def turning_arm(patch_radius: float) -> float:
    """m: largest moment about the normal of a round contact patch under even pressure, over friction coefficient and normal force: two
    thirds of the radius (Coulomb friction integrated over the disc; K. L. Johnson, Contact Mechanics, 1985, section 3.9)."""
    return 2.0 / 3.0 * patch_radius


def _add_contact_sensor(spec: mujoco.MjSpec, name: str, body: str, fields: list[mujoco.mjtConDataField], reduce: int, **other: Any) -> None:
    """Adds a sensor of the contacts of a body, reduced to one (MuJoCo's XML reference, sensor/contact). other: the other body."""
    bits = sum(1 << int(field) for field in fields)
    kind, of_body = mujoco.mjtSensor.mjSENS_CONTACT, mujoco.mjtObj.mjOBJ_BODY
    spec.add_sensor(name=name, type=kind, objtype=of_body, objname=body, intprm=[bits, reduce, 1], **other)


def _scene(model: mujoco.MjModel, gripper: Gripper, mass: float, pose_object_in_body: Floats) -> Scene:
    joints = [model.joint(name) for name in gripper.joint_names]
    effort = np.zeros(model.nv)
    effort[[j.dofadr[0] for j in joints]] = stable(gripper.joint_effort)
    body = model.body(OBJECT)
    first, second = (int(model.sensor(f"{finger}_contact").adr[0]) for finger in gripper.finger_bodies)
    return Scene(
        model=model,
        mass=mass,
        pose_object_in_body=pose_object_in_body,
        object_body=int(body.id),
        object_qpos=int(model.jnt_qposadr[body.jntadr[0]]),
        joint_qpos=np.array([j.qposadr[0] for j in joints]),
        effort=effort,
        contact_sensor=(first, second),
        distance_sensor=next((int(model.sensor(i).adr[0]) for i in range(model.nsensor) if model.sensor(i).name == _DISTANCE), None),
    )


def start_position(scene: Scene, gripper: Gripper, grasps: GraspBatch) -> Floats:
    """(N, nq) generalized positions in which the trials of the grasps begin."""
    pose_body_in_gripper = inverse(scene.pose_object_in_body @ grasps.pose_gripper_in_object)
    qpos = np.tile(scene.model.qpos0, (len(grasps), 1))
    qpos[:, scene.joint_qpos] = stable(gripper.joint_position[gripper.nearest_opening(grasps.opening_width)])
    at = scene.object_qpos
    qpos[:, at : at + 3] = stable(pose_body_in_gripper[:, :3, 3])
    qpos[:, at + 3 : at + 7] = stable(quaternion_wxyz(pose_body_in_gripper[:, :3, :3]))
    return qpos


def object_pose(scene: Scene, qpos: Floats, pose_object_in_body: Floats) -> Floats:
    """(N, 4, 4) object in the gripper's base, for positions (N, nq). A value of a quaternion that is not finite is replaced by 1.

    pose_object_in_body: (4, 4), or (N, 4, 4) if the rows are of different objects.
    """
    at = scene.object_qpos
    quaternion = np.where(np.isfinite(qpos[:, at + 3 : at + 7]), qpos[:, at + 3 : at + 7], 1.0)
    turn, shift = rotation_from_wxyz(quaternion), qpos[:, at : at + 3]
    # Not as a product of poses: a shift that is not finite would spoil the rotation.
    return pose(turn @ pose_object_in_body[..., :3, :3], (turn @ pose_object_in_body[..., :3, 3:])[..., 0] + shift)


def contacts(scene: Scene, sensordata: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """(N, 2) whether each finger touches the object, and (N, 2) the force (N), from sensor readings (N, nsensordata)."""
    touching = np.stack([sensordata[:, at] > 0 for at in scene.contact_sensor], axis=1)
    force = np.stack([np.linalg.norm(sensordata[:, at + 1 : at + 4], axis=1) for at in scene.contact_sensor], axis=1)
    return touching, force


def overlap(scene: Scene, sensordata: Floats) -> Floats:
    """(N,) m, at least 0: largest depth of the object in the gripper, from readings (N, nsensordata) of a scene that sees distances."""
    assert scene.distance_sensor is not None
    return np.maximum(-sensordata[:, scene.distance_sensor], 0.0)


def started_inside(scene: Scene, gripper: Gripper, target: TargetObject, grasps: GraspBatch) -> NDArray[np.bool_]:
    """(N,): the object's pieces begin deeper in the gripper than their own error explains. By geometry, so the same for every engine."""
    data, deepest = mujoco.MjData(scene.model), np.zeros(len(grasps))
    for i, qpos in enumerate(start_position(scene, gripper, grasps)):
        data.qpos[:] = qpos
        mujoco.mj_fwdPosition(scene.model, data)
        deepest[i] = min((contact.dist for contact in data.contact), default=0.0)
    return deepest < deepest_allowed(target)


def deepest_allowed(target: TargetObject) -> float:
    """m, not positive: least contact distance at the start that the pieces' error and rounding explain."""
    return -(target.largest_gap + 1e-3)
