"""The scene of PhysX trials as a USD file: one environment that holds the gripper and the object, in metres and kilograms, z up.

USD's own physics schemas come with every installation of USD. PhysX's schemas are applied by name, so that writing and reading a file needs
no PhysX (PhysX USD schemas, https://docs.omniverse.nvidia.com/kit/docs/omni_usd_schema_physics).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from graspgen_cli.geometry.poses import inverse, pose, quaternion_wxyz, rotation_from_wxyz
from graspgen_cli.records import Floats, Gripper, TargetObject, TriangleMesh
from graspgen_cli.settings.trials import CollisionApproximation, SimulationSettings
from graspgen_cli.validate.engines.physx.mechanism import Mechanism

SCENE = "/World/physics"
ENVIRONMENTS = "/World/envs"
"""Parent of the environments env0, env1, …; the file holds env0, PhysX clones the others."""
GRIPPER, OBJECT = "gripper", "object"
"""Prims in each environment."""
POSITION_ITERATIONS = 64
"""Solver iterations for positions in each step, as GraspDataGen sets them."""
PARKED = (0.0, 0.0, 10.0)
"""m: where the object waits until it is placed. PhysX pushes apart bodies that overlap in the first step."""
_HOME = f"{ENVIRONMENTS}/env0"


def body_name(body: int) -> str:
    """Prim of a body by its number in the model: USD allows fewer characters in names than models use."""
    return f"body_{body}"


def joint_name(joint: int) -> str:
    """Prim of a joint by its number among `Gripper.joint_names`."""
    return f"joint_{joint}"


def write_scene(
    path: Path, gripper: Gripper, target: TargetObject, parts: Mechanism, settings: SimulationSettings, mass: float, *, on_gpu: bool
) -> None:
    """Writes the scene. The gripper is an articulation fixed at the environment's origin; its joints count from the open position. The
    object is one rigid body of `mass` kg, whose frame is the object's and whose colliders are the convex pieces."""
    from pxr import Usd, UsdGeom, UsdPhysics

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    stage.SetDefaultPrim(stage.DefinePrim("/World", "Xform"))
    _add_physics(stage, settings, on_gpu=on_gpu)
    _add_gripper(stage, gripper, parts)
    _add_object(stage, target, settings, mass)
    stage.GetRootLayer().Save()


def _add_physics(stage: Any, settings: SimulationSettings, *, on_gpu: bool) -> None:
    from pxr import Gf, UsdPhysics

    scene = UsdPhysics.Scene.Define(stage, SCENE)
    scene.CreateGravityDirectionAttr(Gf.Vec3f(0, 0, -1))
    scene.CreateGravityMagnitudeAttr(0.0)
    _apply(
        scene.GetPrim(),
        "PhysxSceneAPI",
        "physxScene",
        {
            "timeStepsPerSecond": ("UInt", settings.fps),
            "solverType": ("Token", "TGS"),
            "enableGPUDynamics": ("Bool", on_gpu),
            "broadphaseType": ("Token", "GPU" if on_gpu else "MBP"),
            "minPositionIterationCount": ("UInt", POSITION_ITERATIONS),
            **({"gpuMaxRigidPatchCount": ("UInt", 1 << 20), "gpuMaxRigidContactCount": ("UInt", 1 << 23)} if on_gpu else {}),
        },
    )


def _add_object(stage: Any, target: TargetObject, settings: SimulationSettings, mass: float) -> None:
    from pxr import Gf, UsdGeom

    path = f"{_HOME}/{OBJECT}"
    xform = UsdGeom.Xform.Define(stage, path)
    xform.AddTranslateOp().Set(Gf.Vec3d(*PARKED))
    prim = xform.GetPrim()
    _make_rigid(prim)
    _set_mass(prim, mass, target.center_of_mass, mass * target.unit_inertia)
    kind = "sdf" if settings.collision_approximation is CollisionApproximation.SDF else "convexHull"
    for number, piece in enumerate(target.pieces):
        collider = _add_collider(stage, f"{path}/piece_{number}", piece, kind)
        # The radius of the patch that resists turning, however deep the contact is (PhysX, PxShape::setMinTorsionalPatchRadius).
        _apply(collider, "PhysxCollisionAPI", "physxCollision", {"minTorsionalPatchRadius": ("Float", settings.contact_patch)})
    _bind_friction(stage, path, settings.friction)


def _add_gripper(stage: Any, gripper: Gripper, parts: Mechanism) -> None:
    from pxr import UsdGeom, UsdPhysics

    path = f"{_HOME}/{GRIPPER}"
    root = UsdGeom.Xform.Define(stage, path).GetPrim()
    UsdPhysics.ArticulationRootAPI.Apply(root)
    settings = {"solverPositionIterationCount": ("Int", POSITION_ITERATIONS), "sleepThreshold": ("Float", 0.0)}
    _apply(root, "PhysxArticulationAPI", "physxArticulation", {"enabledSelfCollisions": ("Bool", False), **settings})
    poses = _body_poses(gripper, parts)
    for body, pose_body in poses.items():
        _add_body(stage, gripper, parts, body, pose_body)
    base = min(poses)
    anchor = UsdPhysics.FixedJoint.Define(stage, f"{path}/anchor")
    # The gripper's own prim is no body: so the base is fixed to the world where the environment is.
    _connect(anchor, path, poses[base], f"{path}/{body_name(base)}", np.eye(4))
    for body in poses:
        if body != base:
            _add_joint(stage, parts, poses, body)
    _bind_friction(stage, path, 0.0)


def _apply(prim: Any, schema: str, prefix: str, values: dict[str, tuple[str, Any]]) -> None:
    """Applies a schema of PhysX. values: attribute to its type in `Sdf.ValueTypeNames` and its value."""
    from pxr import Sdf

    prim.AddAppliedSchema(schema)
    for name, (kind, value) in values.items():
        prim.CreateAttribute(f"{prefix}:{name}", getattr(Sdf.ValueTypeNames, kind), custom=False).Set(value)


def _make_rigid(prim: Any) -> None:
    """A rigid body that reports its contacts, never sleeps (a sleeping body has no contact forces) and is not damped."""
    from pxr import UsdPhysics

    UsdPhysics.RigidBodyAPI.Apply(prim)
    _apply(prim, "PhysxContactReportAPI", "physxContactReport", {"threshold": ("Float", 0.0)})
    values = dict.fromkeys(("linearDamping", "angularDamping", "sleepThreshold", "stabilizationThreshold"), ("Float", 0.0))
    _apply(prim, "PhysxRigidBodyAPI", "physxRigidBody", {**values, "solverPositionIterationCount": ("Int", POSITION_ITERATIONS)})


def _body_poses(gripper: Gripper, parts: Mechanism) -> dict[int, Floats]:
    """Pose of every body of the model in the base's frame with the gripper open, by its number."""
    numbers = [parts.model.body(name).id for name in gripper.body_names]
    return {int(number): gripper.pose_body_in_base[-1, row] for row, number in enumerate(numbers)}


def _add_body(stage: Any, gripper: Gripper, parts: Mechanism, body: int, pose_body: Floats) -> None:
    from pxr import Gf, UsdGeom

    model, name = parts.model, parts.model.body(body).name
    xform = UsdGeom.Xform.Define(stage, f"{_HOME}/{GRIPPER}/{body_name(body)}")
    xform.AddTranslateOp().Set(Gf.Vec3d(*pose_body[:3, 3].tolist()))
    xform.AddOrientOp().Set(_quaternion(pose_body[:3, :3]))
    prim = xform.GetPrim()
    prim.SetDisplayName(name)
    _make_rigid(prim)
    if model.body_mass[body] > 0:
        axes = rotation_from_wxyz(model.body_iquat[body][None])[0]
        _set_mass(prim, float(model.body_mass[body]), model.body_ipos[body], axes @ np.diag(model.body_inertia[body]) @ axes.T)
    for number, part in enumerate(gripper.collision_parts[gripper.body_names.index(name)]):
        _add_collider(stage, f"{prim.GetPath()}/part_{number}", part, "convexHull")


def _add_joint(stage: Any, parts: Mechanism, poses: dict[int, Floats], body: int) -> None:
    """What carries a body: its joint, or where it has none a fixed one."""
    from pxr import UsdPhysics

    model, parent = parts.model, int(parts.model.body_parentid[body])
    ends = f"{_HOME}/{GRIPPER}/{body_name(parent)}", f"{_HOME}/{GRIPPER}/{body_name(body)}"
    pose_body_in_parent = inverse(poses[parent]) @ poses[body]
    if model.body_jntnum[body] == 0:
        _connect(UsdPhysics.FixedJoint.Define(stage, f"{_HOME}/{GRIPPER}/fixed_{body}"), ends[0], pose_body_in_parent, ends[1], np.eye(4))
        return
    number = int(model.body_jntadr[body])
    hinge = _is_hinge(parts, number)
    kind = UsdPhysics.RevoluteJoint if hinge else UsdPhysics.PrismaticJoint
    joint = kind.Define(stage, f"{_HOME}/{GRIPPER}/{joint_name(number)}")
    joint.CreateAxisAttr("X")
    frame = pose(_x_along(model.jnt_axis[number]), model.jnt_pos[number])
    _connect(joint, ends[0], pose_body_in_parent @ frame, ends[1], frame)
    lower, upper = _limits(parts, number) * (180.0 / np.pi if hinge else 1.0)
    joint.CreateLowerLimitAttr(float(lower))
    joint.CreateUpperLimitAttr(float(upper))
    joint.GetPrim().SetDisplayName(model.joint(number).name)
    drive = UsdPhysics.DriveAPI.Apply(joint.GetPrim(), "angular" if hinge else "linear")
    drive.CreateTypeAttr("force")  # Its damping, in SI units, is set when the scene runs.
    drive.CreateStiffnessAttr(0.0)
    drive.CreateDampingAttr(0.0)
    _apply(joint.GetPrim(), "PhysxJointAPI", "physxJoint", {"jointFriction": ("Float", 0.0)})
    _couple(joint.GetPrim(), parts, number)


def _is_hinge(parts: Mechanism, joint: int) -> bool:
    return bool(parts.model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE)


def _limits(parts: Mechanism, joint: int) -> Floats:
    """(2,) m or rad from the reference. A joint without limits gets wide ones, since one that follows another must have some."""
    if joint in parts.held:
        return np.zeros(2)
    model = parts.model
    wide = np.array([-np.pi, np.pi]) if _is_hinge(parts, joint) else np.array([-1.0, 1.0])
    limits = model.jnt_range[joint] - parts.reference[joint] if model.jnt_limited[joint] else wide
    # The open gripper stands at its limit, give or take a rounding error.
    return np.array([min(limits[0], 0.0), max(limits[1], 0.0)])


def _couple(prim: Any, parts: Mechanism, joint: int) -> None:
    """Makes a joint follow its leader: position + gearing * position of the leader + offset = 0 (PhysxMimicJointAPI)."""
    for coupling in parts.couplings:
        if coupling.follower == joint:
            values = {"gearing": ("Float", -coupling.ratio), "offset": ("Float", 0.0), "referenceJointAxis": ("Token", "rotX")}
            _apply(prim, "PhysxMimicJointAPI:rotX", "physxMimicJoint:rotX", values)
            leader = f"{_HOME}/{GRIPPER}/{joint_name(coupling.leader)}"
            prim.CreateRelationship("physxMimicJoint:rotX:referenceJoint", custom=False).SetTargets([leader])


def _connect(joint: Any, parent: str, frame_in_parent: Floats, child: str, frame_in_child: Floats) -> None:
    from pxr import Gf

    joint.CreateBody0Rel().SetTargets([parent])
    joint.CreateBody1Rel().SetTargets([child])
    for end, frame in ((0, frame_in_parent), (1, frame_in_child)):
        getattr(joint, f"CreateLocalPos{end}Attr")(Gf.Vec3f(*frame[:3, 3].tolist()))
        getattr(joint, f"CreateLocalRot{end}Attr")(_quaternion(frame[:3, :3]))


def _set_mass(prim: Any, mass: float, center: Floats, inertia: Floats) -> None:
    """inertia: (3, 3) kg m² about the centre of mass, in the body's axes."""
    from pxr import Gf, UsdPhysics

    moments, axes = np.linalg.eigh(inertia)
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    api = UsdPhysics.MassAPI.Apply(prim)
    api.CreateMassAttr(mass)
    api.CreateCenterOfMassAttr(Gf.Vec3f(*np.asarray(center).tolist()))
    api.CreateDiagonalInertiaAttr(Gf.Vec3f(*moments.tolist()))
    api.CreatePrincipalAxesAttr(_quaternion(axes))


def _add_collider(stage: Any, path: str, mesh: TriangleMesh, approximation: str) -> Any:
    """The prim of a mesh that collides."""
    from pxr import UsdGeom, UsdPhysics

    mesh_prim = UsdGeom.Mesh.Define(stage, path)
    mesh_prim.CreatePointsAttr(mesh.vertices.astype(np.float32))
    mesh_prim.CreateFaceVertexIndicesAttr(mesh.faces.ravel())
    mesh_prim.CreateFaceVertexCountsAttr(np.full(len(mesh.faces), 3, np.int32))
    mesh_prim.CreateSubdivisionSchemeAttr("none")
    prim = mesh_prim.GetPrim()
    UsdPhysics.CollisionAPI.Apply(prim)
    UsdPhysics.MeshCollisionAPI.Apply(prim).CreateApproximationAttr(approximation)
    return prim


def _bind_friction(stage: Any, root: str, friction: float) -> None:
    """The larger coefficient of the two sides counts. The gripper has 0, so the object's coefficient is the one of every contact."""
    from pxr import UsdPhysics, UsdShade

    material = UsdShade.Material.Define(stage, f"{root}/friction")
    api = UsdPhysics.MaterialAPI.Apply(material.GetPrim())
    api.CreateStaticFrictionAttr(friction)
    api.CreateDynamicFrictionAttr(friction)
    api.CreateRestitutionAttr(0.0)
    _apply(material.GetPrim(), "PhysxMaterialAPI", "physxMaterial", {"frictionCombineMode": ("Token", "max")})
    binding = UsdShade.MaterialBindingAPI.Apply(stage.GetPrimAtPath(root))
    binding.Bind(material, UsdShade.Tokens.strongerThanDescendants, "physics")


def _quaternion(rotation: Floats) -> Any:
    from pxr import Gf

    w, x, y, z = quaternion_wxyz(rotation[None])[0].tolist()
    return Gf.Quatf(w, x, y, z)


def _x_along(axis: Floats) -> Floats:
    """(3, 3) a rotation that takes x to the axis."""
    x = np.asarray(axis) / np.linalg.norm(axis)
    aside = np.eye(3)[np.argmin(np.abs(x))]
    y = np.cross(aside, x)
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)
