"""The USD files of a trial: the object and the gripper, in metres and kilograms, z up, as PhysX reads them.

They are written with what every USD installation has; what only PhysX knows is set by name. So they can be written, and read back,
where there is no Isaac Sim.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from graspgen_cli.geometry.poses import inverse, pose, quaternion_wxyz, rotation_from_wxyz
from graspgen_cli.records import Floats, Gripper, TargetObject, TriangleMesh
from graspgen_cli.settings.trials import CollisionApproximation, SimulationSettings
from graspgen_cli.validate.engines.isaaclab.mechanism import Mechanism

OBJECT, GRIPPER = "/Object", "/Gripper"


def body_name(body: int) -> str:
    """Prim of a body, by its number in the model: names in models may hold what USD does not allow."""
    return f"body_{body}"


def joint_name(joint: int) -> str:
    """Prim of a joint, by its number among `Gripper.joint_names`; Isaac Lab knows the joint by it."""
    return f"joint_{joint}"


def write_object_usd(path: Path, target: TargetObject, settings: SimulationSettings, mass: float) -> None:
    """The object as one rigid body: its frame is the object's, its colliders are the pieces that stand for it, its mass is in kg."""
    from pxr import UsdGeom, UsdPhysics

    stage = _stage(path, OBJECT)
    body = UsdGeom.Xform.Define(stage, OBJECT).GetPrim()
    UsdPhysics.RigidBodyAPI.Apply(body)
    _set_mass(body, mass, target.center_of_mass, mass * target.unit_inertia)
    kind = "sdf" if settings.collision_approximation is CollisionApproximation.SDF else "convexHull"
    for number, piece in enumerate(target.pieces):
        _add_collider(stage, f"{OBJECT}/piece_{number}", piece, kind)
        _set_contact_patch(stage.GetPrimAtPath(f"{OBJECT}/piece_{number}"), settings.contact_patch)
    _bind_friction(stage, OBJECT, settings.friction)
    stage.GetRootLayer().Save()


def write_gripper_usd(path: Path, gripper: Gripper, parts: Mechanism, settings: SimulationSettings) -> None:
    """The gripper as an articulation that stands still at its base, open; joints count from there."""
    from pxr import UsdGeom, UsdPhysics

    stage = _stage(path, GRIPPER)
    root = UsdGeom.Xform.Define(stage, GRIPPER).GetPrim()
    UsdPhysics.ArticulationRootAPI.Apply(root)
    poses = _body_poses(gripper, parts)
    for body, pose_body in poses.items():
        _add_body(stage, gripper, parts, body, pose_body)
    base = min(poses)
    anchor = UsdPhysics.FixedJoint.Define(stage, f"{GRIPPER}/anchor")
    # Its other end is the gripper's own prim, which is no body: so the base stands wherever the gripper is put.
    _connect(anchor, GRIPPER, poses[base], f"{GRIPPER}/{body_name(base)}", np.eye(4))
    for body in poses:
        if body != base:
            _add_joint(stage, parts, poses, body)
    _bind_friction(stage, GRIPPER, settings.friction)
    stage.GetRootLayer().Save()


def _stage(path: Path, root: str) -> Any:
    from pxr import Usd, UsdGeom, UsdPhysics

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    stage.SetDefaultPrim(stage.DefinePrim(root, "Xform"))
    return stage


def _body_poses(gripper: Gripper, parts: Mechanism) -> dict[int, Floats]:
    """Pose of every body of the model in the base's frame with the gripper open, by its number."""
    numbers = [parts.model.body(name).id for name in gripper.body_names]
    return {int(number): gripper.pose_body_in_base[-1, row] for row, number in enumerate(numbers)}


def _add_body(stage: Any, gripper: Gripper, parts: Mechanism, body: int, pose_body: Floats) -> None:
    from pxr import Gf, UsdGeom, UsdPhysics

    model, name = parts.model, parts.model.body(body).name
    xform = UsdGeom.Xform.Define(stage, f"{GRIPPER}/{body_name(body)}")
    xform.AddTranslateOp().Set(Gf.Vec3d(*pose_body[:3, 3].tolist()))
    xform.AddOrientOp().Set(_quaternion(pose_body[:3, :3]))
    prim = xform.GetPrim()
    prim.SetDisplayName(name)
    UsdPhysics.RigidBodyAPI.Apply(prim)
    if model.body_mass[body] > 0:
        axes = rotation_from_wxyz(model.body_iquat[body][None])[0]
        _set_mass(prim, float(model.body_mass[body]), model.body_ipos[body], axes @ np.diag(model.body_inertia[body]) @ axes.T)
    for number, part in enumerate(gripper.collision_parts[gripper.body_names.index(name)]):
        _add_collider(stage, f"{prim.GetPath()}/part_{number}", part, "convexHull")


def _add_joint(stage: Any, parts: Mechanism, poses: dict[int, Floats], body: int) -> None:
    """What carries a body: its joint, or where it has none a fixed one."""
    from pxr import UsdPhysics

    model, parent = parts.model, int(parts.model.body_parentid[body])
    ends = f"{GRIPPER}/{body_name(parent)}", f"{GRIPPER}/{body_name(body)}"
    pose_body_in_parent = inverse(poses[parent]) @ poses[body]
    if model.body_jntnum[body] == 0:
        _connect(UsdPhysics.FixedJoint.Define(stage, f"{GRIPPER}/fixed_{body}"), ends[0], pose_body_in_parent, ends[1], np.eye(4))
        return
    number = int(model.body_jntadr[body])
    hinge = _is_hinge(parts, number)
    kind = UsdPhysics.RevoluteJoint if hinge else UsdPhysics.PrismaticJoint
    joint = kind.Define(stage, f"{GRIPPER}/{joint_name(number)}")
    joint.CreateAxisAttr("X")
    frame = pose(_x_along(model.jnt_axis[number]), model.jnt_pos[number])
    _connect(joint, ends[0], pose_body_in_parent @ frame, ends[1], frame)
    lower, upper = _limits(parts, number) * (180.0 / np.pi if hinge else 1.0)
    joint.CreateLowerLimitAttr(float(lower))
    joint.CreateUpperLimitAttr(float(upper))
    joint.GetPrim().SetDisplayName(model.joint(number).name)
    drive = UsdPhysics.DriveAPI.Apply(joint.GetPrim(), "angular" if hinge else "linear")
    drive.CreateTypeAttr("force")
    drive.CreateStiffnessAttr(0.0)
    drive.CreateDampingAttr(0.0)
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
    """position + gearing x the leader's position + offset = 0, in PhysX's terms."""
    from pxr import Sdf

    for coupling in parts.couplings:
        if coupling.follower == joint and coupling.rigid:
            prim.AddAppliedSchema("PhysxMimicJointAPI:rotX")
            key = "physxMimicJoint:rotX"
            prim.CreateAttribute(f"{key}:gearing", Sdf.ValueTypeNames.Float, custom=False).Set(-coupling.ratio)
            prim.CreateAttribute(f"{key}:offset", Sdf.ValueTypeNames.Float, custom=False).Set(0.0)
            axis = prim.CreateAttribute(f"{key}:referenceJointAxis", Sdf.ValueTypeNames.Token, False, Sdf.VariabilityUniform)
            axis.Set("rotX")
            prim.CreateRelationship(f"{key}:referenceJoint", custom=False).SetTargets([f"{GRIPPER}/{joint_name(coupling.leader)}"])


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


def _add_collider(stage: Any, path: str, mesh: TriangleMesh, approximation: str) -> None:
    from pxr import UsdGeom, UsdPhysics

    prim = UsdGeom.Mesh.Define(stage, path)
    prim.CreatePointsAttr(mesh.vertices.astype(np.float32))
    prim.CreateFaceVertexIndicesAttr(mesh.faces.ravel())
    prim.CreateFaceVertexCountsAttr(np.full(len(mesh.faces), 3, np.int32))
    prim.CreateSubdivisionSchemeAttr("none")
    UsdPhysics.CollisionAPI.Apply(prim.GetPrim())
    UsdPhysics.MeshCollisionAPI.Apply(prim.GetPrim()).CreateApproximationAttr(approximation)


def _set_contact_patch(collider: Any, radius: float) -> None:
    """radius: m, of the patch that resists turning however deep the contact is (PhysX, PxShape::setMinTorsionalPatchRadius)."""
    from pxr import Sdf

    collider.AddAppliedSchema("PhysxCollisionAPI")
    collider.CreateAttribute("physxCollision:minTorsionalPatchRadius", Sdf.ValueTypeNames.Float).Set(radius)


def _bind_friction(stage: Any, root: str, friction: float) -> None:
    """One coefficient on both sides of every contact, so that PhysX's average of the two is the one asked for."""
    from pxr import UsdPhysics, UsdShade

    material = UsdShade.Material.Define(stage, f"{root}/friction")
    api = UsdPhysics.MaterialAPI.Apply(material.GetPrim())
    api.CreateStaticFrictionAttr(friction)
    api.CreateDynamicFrictionAttr(friction)
    api.CreateRestitutionAttr(0.0)
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
