"""The built-in Panda written as URDF and USD, from what was measured of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from graspgen_cli.geometry.poses import quaternion_wxyz
from graspgen_cli.records import Floats, Gripper, TriangleMesh


def write_urdf(gripper: Gripper, folder: Path, *, mesh_prefix: str = "meshes/", wrist: bool = False) -> Path:
    """URDF with a mesh a collision part; the second finger mimics the first. wrist: as the end of an arm of one joint."""
    (folder / "meshes").mkdir(parents=True)
    model = compiled(gripper)
    links = "".join(_urdf_link(gripper, model, body, folder, mesh_prefix) for body in range(len(gripper.body_names)))
    joints = "".join(_urdf_joint(model, joint) for joint in range(model.njnt))
    if wrist:
        links += (
            '<link name="upper_arm"><inertial><mass value="3"/><inertia ixx="1" iyy="1" izz="1"/></inertial>'
            '<collision><geometry><box size="0.1 0.1 0.3"/></geometry></collision></link>'
        )
        joints += (
            '<joint name="wrist" type="revolute"><parent link="upper_arm"/><child link="hand"/><origin xyz="0.1 0.2 0.3" rpy="1 2 3"/>'
            '<axis xyz="0 1 0"/><limit lower="-1" upper="1" effort="10" velocity="1"/></joint>'
        )
    path = folder / "panda.urdf"
    path.write_text(f'<robot name="panda">{links}{joints}</robot>')
    return path


def compiled(gripper: Gripper) -> mujoco.MjModel:
    """The gripper's model."""
    return mujoco.MjSpec.from_string(gripper.mjcf, assets=gripper.assets).compile()


def _urdf_link(gripper: Gripper, model: mujoco.MjModel, body: int, folder: Path, prefix: str) -> str:
    name, number = gripper.body_names[body], body + 1
    shapes = ""
    for index, part in enumerate(gripper.collision_parts[body]):
        (folder / "meshes" / f"{name}_{index}.obj").write_text(_obj(part))
        shapes += f'<collision><geometry><mesh filename="{prefix}{name}_{index}.obj"/></geometry></collision>'
    moments = model.body_inertia[number]
    return (
        f'<link name="{name}"><inertial><origin xyz="{_text(model.body_ipos[number])}"/><mass value="{model.body_mass[number]:.9g}"/>'
        f'<inertia ixx="{moments.max()}" iyy="{moments.max()}" izz="{moments.max()}" ixy="0" ixz="0" iyz="0"/></inertial>{shapes}</link>'
    )


def _urdf_joint(model: mujoco.MjModel, joint: int) -> str:
    body = int(model.jnt_bodyid[joint])
    low, high = model.jnt_range[joint]
    mimic = f'<mimic joint="{model.joint(0).name}" multiplier="1"/>' if joint else ""
    return (
        f'<joint name="{model.joint(joint).name}" type="prismatic"><parent link="{model.body(model.body_parentid[body]).name}"/>'
        f'<child link="{model.body(body).name}"/><origin xyz="{_text(model.body_pos[body])}"/><axis xyz="{_text(model.jnt_axis[joint])}"/>'
        f'<limit lower="{low}" upper="{high}" effort="70" velocity="0.05"/>{mimic}</joint>'
    )


def _obj(mesh: TriangleMesh) -> str:
    vertices = "".join(f"v {_text(vertex)}\n" for vertex in mesh.vertices)
    return vertices + "".join(f"f {a} {b} {c}\n" for a, b, c in mesh.faces + 1)


def _text(vector: Floats) -> str:
    return " ".join(f"{value:.12g}" for value in vector)


def write_usd(gripper: Gripper, path: Path, *, meters: float = 1.0, up: str = "Z", mimic: bool = True, turned_round: bool = False) -> Path:
    """A UsdPhysics articulation with a mesh a collision part, in units of `meters`.

    mimic: the second finger follows the first by PhysX's mimic joint, else the joints are uncoupled. turned_round: the joints lead from
    the fingers to the hand.
    """
    from pxr import Gf, Usd, UsdGeom, UsdPhysics

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageMetersPerUnit(stage, meters)
    UsdGeom.SetStageUpAxis(stage, up)
    root = UsdGeom.Xform.Define(stage, "/panda")
    stage.SetDefaultPrim(root.GetPrim())
    UsdPhysics.ArticulationRootAPI.Apply(root.GetPrim())
    if up == "Y":
        root.AddRotateXOp().Set(-90.0)
    model = compiled(gripper)
    for body, name in enumerate(gripper.body_names):
        prim = UsdGeom.Xform.Define(stage, f"/panda/{name}")
        prim.AddTranslateOp().Set(Gf.Vec3d(*(gripper.pose_body_in_base[0, body, :3, 3] / meters).tolist()))
        _usd_body(stage, prim, model, body + 1, meters)
        for index, part in enumerate(gripper.collision_parts[body]):
            _usd_mesh(stage, f"/panda/{name}/part_{index}", part, meters)
    for joint in range(model.njnt):
        _usd_joint(stage, model, joint, meters, mimic=mimic and joint > 0, turned_round=turned_round)
    stage.Save()
    return path


def _usd_body(stage: Any, prim: Any, model: mujoco.MjModel, body: int, meters: float) -> None:
    from pxr import Gf, UsdPhysics

    UsdPhysics.RigidBodyAPI.Apply(prim.GetPrim())
    mass = UsdPhysics.MassAPI.Apply(prim.GetPrim())
    mass.CreateMassAttr(float(model.body_mass[body]))
    moment = float(model.body_inertia[body].max()) / meters**2
    mass.CreateDiagonalInertiaAttr(Gf.Vec3f(moment, moment, moment))
    mass.CreateCenterOfMassAttr(Gf.Vec3f(*(model.body_ipos[body] / meters).tolist()))


def _usd_mesh(stage: Any, path: str, part: TriangleMesh, meters: float) -> None:
    from pxr import UsdGeom, UsdPhysics

    mesh = UsdGeom.Mesh.Define(stage, path)
    mesh.CreatePointsAttr([tuple(point) for point in (part.vertices / meters).tolist()])
    mesh.CreateFaceVertexCountsAttr([3] * len(part.faces))
    mesh.CreateFaceVertexIndicesAttr(part.faces.ravel().tolist())
    UsdPhysics.CollisionAPI.Apply(mesh.GetPrim())
    UsdPhysics.MeshCollisionAPI.Apply(mesh.GetPrim()).CreateApproximationAttr("convexHull")


def _usd_joint(stage: Any, model: mujoco.MjModel, joint: int, meters: float, *, mimic: bool, turned_round: bool) -> None:
    """The joint's own x axis lies along the joint; lengths in stage units."""
    from pxr import Gf, Sdf, UsdPhysics

    body = int(model.jnt_bodyid[joint])
    name, parent = model.joint(joint).name, model.body(model.body_parentid[body]).name
    # A joint that is turned round has its axis turned too: the same positions are the same motion.
    axis = -model.jnt_axis[joint] if turned_round else model.jnt_axis[joint]
    w, x, y, z = quaternion_wxyz(np.diag([axis[0], 1.0, axis[0]])[None])[0].tolist()
    prim = UsdPhysics.PrismaticJoint.Define(stage, f"/panda/{name}")
    ends = [(f"/panda/{parent}", model.body_pos[body] / meters), (f"/panda/{model.body(body).name}", np.zeros(3))]
    (first, at_first), (second, at_second) = reversed(ends) if turned_round else ends
    prim.CreateBody0Rel().SetTargets([first])
    prim.CreateBody1Rel().SetTargets([second])
    prim.CreateLocalPos0Attr(Gf.Vec3f(*at_first.tolist()))
    prim.CreateLocalPos1Attr(Gf.Vec3f(*at_second.tolist()))
    prim.CreateLocalRot0Attr(Gf.Quatf(w, x, y, z))
    prim.CreateLocalRot1Attr(Gf.Quatf(w, x, y, z))
    prim.CreateAxisAttr("X")
    prim.CreateLowerLimitAttr(float(model.jnt_range[joint, 0]) / meters)
    prim.CreateUpperLimitAttr(float(model.jnt_range[joint, 1]) / meters)
    if mimic:
        prim.GetPrim().AddAppliedSchema("PhysxMimicJointAPI:transX")
        prim.GetPrim().CreateAttribute("physxMimicJoint:transX:gearing", Sdf.ValueTypeNames.Float).Set(-1.0)
        prim.GetPrim().CreateRelationship("physxMimicJoint:transX:referenceJoint").SetTargets([f"/panda/{model.joint(0).name}"])
        return
    drive = UsdPhysics.DriveAPI.Apply(prim.GetPrim(), "linear")
    drive.CreateStiffnessAttr(1000.0)
    drive.CreateMaxForceAttr(140.0 / meters)
