"""Reader of USD files: UsdPhysics articulations (https://openusd.org/release/api/usd_physics_page_front.html), read with usd-core.

Rigid bodies become links, physics joints become joints; drives, joint limits and mimic joints of PhysX and Newton are read from their
attributes. The result is in metres and radians; USD has stage units and degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mujoco import mjtGeom
from scipy.spatial.transform import Rotation

from graspgen_cli.errors import GripperError, install_command
from graspgen_cli.geometry.meshes import triangle_mesh, triangulate_polygons
from graspgen_cli.geometry.poses import inverse, pose
from graspgen_cli.grippers.links import Joint, Link, Mimic, Motion, Shape, draft_from_links
from graspgen_cli.grippers.model import Draft, Drive
from graspgen_cli.records import Floats

_AXES = {"X": (1.0, 0.0, 0.0), "Y": (0.0, 1.0, 0.0), "Z": (0.0, 0.0, 1.0)}
_Z_TO_AXIS = {
    "X": np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]),
    "Y": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
    "Z": np.eye(3),
}
"""Rotations from z, the axis of MuJoCo's cylinders and capsules, to the axis that USD names."""
_CONVEX = ("convexHull", "boundingCube", "boundingSphere")
_UNLIMITED = 1e9


def read_usd(path: Path, *, base: str | None = None, package_root: Path | None = None) -> Draft:
    """Read the physics of a USD stage; with a base, only that body and its descendants; package_root has no effect.

    The stage's up axis does not turn the gripper: a body's frame is its prim's frame. Raises GripperError if usd-core is missing or the
    stage cannot be used.
    """
    try:
        from pxr import Tf, Usd, UsdUtils
    except ImportError:
        raise GripperError("reading USD needs usd-core", path=path, advice=f"run {install_command('usd')}") from None
    listener = UsdUtils.CoalescingDiagnosticDelegate()  # catches the warnings that USD would print
    try:
        stage = Usd.Stage.Open(str(path))
        missing = stage.GetCompositionErrors()
        if missing:
            raise GripperError(f"a referenced file cannot be composed ({_last_clause(missing[0])})", path=path, advice="put it back")
        return _Stage(stage, path).draft(base)
    except (Tf.ErrorException, ValueError, OSError) as error:
        raise GripperError(f"cannot be read as USD ({_last_clause(error)})", path=path, advice="export the stage again") from None
    finally:
        listener.TakeUncoalescedDiagnostics()


class _Stage:
    """An open stage. meters: the stage unit, m; bodies: the prims of the rigid bodies by name."""

    def __init__(self, stage: Any, path: Path) -> None:
        from pxr import Usd, UsdGeom

        self.stage, self.path, self.source = stage, path, str(path)
        self.transforms, self.meters = UsdGeom.XformCache(), UsdGeom.GetStageMetersPerUnit(stage)
        self.prims = list(Usd.PrimRange.Stage(stage, Usd.TraverseInstanceProxies()))  # active prims and those of instances
        bodies = [prim for prim in self.prims if _has_api(prim, "PhysicsRigidBodyAPI")]
        names = [prim.GetName() for prim in bodies]
        # Bodies that share a name are named by their paths.
        unique = [n if names.count(n) == 1 else str(p.GetPath()).strip("/").replace("/", "_") for n, p in zip(names, bodies, strict=True)]
        self.bodies = dict(zip(unique, bodies, strict=True))

    def draft(self, wanted: str | None) -> Draft:
        if not self.bodies:
            raise GripperError("no prim has the UsdPhysics rigid body API", path=self.source, advice="export the gripper with its physics")
        joints = [joint for prim in self.prims if (joint := self._joint(prim)) is not None]
        tree, names = joint_tree(self._pick_base(joints, wanted), joints)
        links = [self._link(name) for name in names]
        notes = [f"lengths in the file are in units of {self.meters:g} m"] if self.meters != 1.0 else []
        layers = {Path(layer.realPath) for layer in self.stage.GetUsedLayers() if layer.realPath}
        others = sorted(path for path in layers if path.is_file() and path.resolve() != self.path.resolve())
        return draft_from_links(links, tree, source=self.source, notes=notes, files=[self.path, *others])

    def _pick_base(self, joints: Sequence[Joint], wanted: str | None) -> str:
        """The wanted base, or the only body that is in no joint the second body."""
        if wanted is not None:
            if wanted not in self.bodies:
                raise GripperError(f"no body is called {wanted}", path=self.source, advice=f"there are {', '.join(self.bodies)}")
            return wanted
        ends = {joint.parent for joint in joints} | {joint.child for joint in joints}
        hanging = {joint.child for joint in joints if not joint.closes_loop}
        roots = [body for body in self.bodies if body in ends and body not in hanging]
        if len(roots) != 1:
            names = ", ".join(self.bodies)
            raise GripperError(
                f"{len(roots)} bodies hang on no joint", path=self.source, advice=f"name the base with --base-frame: {names}"
            )
        return roots[0]

    def _matrix(self, prim: Any) -> Floats:
        """(4, 4) from the prim's space, with its scale, to the stage's, in stage units; for column vectors."""
        return np.asarray(self.transforms.GetLocalToWorldTransform(prim), np.float64).T

    def _pose(self, prim: Any) -> Floats:
        """(4, 4) pose of the prim's frame in the stage, m, without scale."""
        matrix = self._matrix(prim)
        return pose(_rotation(matrix[:3, :3]), matrix[:3, 3] * self.meters)

    def _unit(self, motion: Motion) -> float:
        """Unit of a joint position: m of a stage unit, rad of a degree."""
        return np.pi / 180 if motion is Motion.HINGE else self.meters

    def _joint(self, prim: Any) -> Joint | None:
        """The joint of a prim; None for other prims, disabled joints, and joints to the world."""
        from pxr import UsdPhysics

        if not prim.IsA(UsdPhysics.Joint):
            return None
        joint = UsdPhysics.Joint(prim)
        if joint.GetJointEnabledAttr().Get() is False:
            return None
        relations = joint.GetBody0Rel(), joint.GetBody1Rel()
        parent, child = (self._body(relation.GetTargets()) for relation in relations)
        if parent is None or child is None:
            return None
        motion, axis = self._motion(prim)
        lower, upper = self._limits(prim, motion)
        return Joint(
            name=prim.GetName(),
            motion=motion,
            parent=parent,
            child=child,
            pose_joint_in_parent=self._joint_pose(relations[0], joint.GetLocalPos0Attr(), joint.GetLocalRot0Attr(), parent),
            pose_joint_in_child=self._joint_pose(relations[1], joint.GetLocalPos1Attr(), joint.GetLocalRot1Attr(), child),
            axis=axis,
            lower=lower,
            upper=upper,
            drive=self._drive(prim, motion),
            mimic=self._mimic(prim, motion),
            closes_loop=bool(joint.GetExcludeFromArticulationAttr().Get()),
        )

    def _body(self, targets: Any) -> str | None:
        """Name of the body at an end of a joint: the target prim, or its nearest ancestor that is a body."""
        names = {str(prim.GetPath()): name for name, prim in self.bodies.items()}
        path = str(targets[0]) if targets else ""
        while path and path not in names:
            path = path.rpartition("/")[0]
        return names.get(path)

    def _joint_pose(self, relation: Any, position: Any, rotation: Any, body: str) -> Floats:
        """(4, 4) pose of the joint's frame in the body's frame, m; USD gives it in the scaled space of the target prim."""
        matrix = self._matrix(self.stage.GetPrimAtPath(relation.GetTargets()[0]))
        local = np.array([*(position.Get() or (0.0, 0.0, 0.0)), 1.0])
        joint_in_stage = pose(_rotation(matrix[:3, :3]) @ _from_quaternion(rotation.Get()), (matrix @ local)[:3] * self.meters)
        return inverse(self._pose(self.bodies[body])) @ joint_in_stage

    def _motion(self, prim: Any) -> tuple[Motion, Floats]:
        from pxr import UsdPhysics

        for kind, motion in ((UsdPhysics.RevoluteJoint, Motion.HINGE), (UsdPhysics.PrismaticJoint, Motion.SLIDE)):
            if prim.IsA(kind):
                return motion, np.array(_AXES[kind(prim).GetAxisAttr().Get() or "X"])
        if prim.IsA(UsdPhysics.FixedJoint):
            return Motion.FIXED, np.array(_AXES["X"])
        raise GripperError(
            f"joint {prim.GetName()} is a {prim.GetTypeName()}",
            path=self.source,
            advice="a gripper's joints are revolute, prismatic or fixed",
        )

    def _limits(self, prim: Any, motion: Motion) -> tuple[float | None, float | None]:
        """m or rad."""
        low, high = (_attribute(prim, f"physics:{end}Limit") for end in ("lower", "upper"))
        if motion is Motion.FIXED or low is None or high is None or not np.isfinite([low, high]).all():
            return None, None
        return low * self._unit(motion), high * self._unit(motion)

    def _drive(self, prim: Any, motion: Motion) -> Drive | None:
        """The joint's motor; None without a drive, or for a drive without strength. Unlimited forces are infinite in USD."""
        name = "angular" if motion is Motion.HINGE else "linear"
        if motion is Motion.FIXED or not _has_api(prim, f"PhysicsDriveAPI:{name}"):
            return None
        force = _attribute(prim, f"drive:{name}:physics:maxForce")
        gains = [_attribute(prim, f"drive:{name}:physics:{gain}") or 0.0 for gain in ("stiffness", "damping")]
        if force == 0 or not any(gains):
            return None
        # PhysX has torques in mass x length² / time², lengths in stage units; forces in mass x length / time².
        effort = _limited(force, self.meters ** (2 if motion is Motion.HINGE else 1))
        return Drive(effort, _limited(_attribute(prim, "physxJoint:maxJointVelocity"), self._unit(motion)))

    def _mimic(self, prim: Any, motion: Motion) -> Mimic | None:
        """PhysX's mimic joint, position + gearing x reference position + offset = 0; or Newton's, offset + multiplier x position."""
        for axis in ("rotX", "rotY", "rotZ", "transX", "transY", "transZ"):
            key = f"physxMimicJoint:{axis}"
            targets = _targets(prim, f"{key}:referenceJoint")
            if targets:
                gearing, offset = _attribute(prim, f"{key}:gearing"), _attribute(prim, f"{key}:offset") or 0.0
                return Mimic(targets[0].rpartition("/")[2], -(1.0 if gearing is None else gearing), -offset * self._unit(motion))
        targets = _targets(prim, "newton:mimicJoint")
        if targets:
            multiplier, offset = _attribute(prim, "newton:mimicCoef1"), _attribute(prim, "newton:mimicCoef0") or 0.0
            return Mimic(targets[0].rpartition("/")[2], 1.0 if multiplier is None else multiplier, offset)
        return None

    def _link(self, name: str) -> Link:
        """A body's mass, and the collision shapes of the prims below it; visible prims if none of them collides."""
        from pxr import UsdGeom

        body = self.bodies[name]
        own = [prim for prim in self.prims if prim.IsA(UsdGeom.Gprim) and _nearest_body(prim) == body]
        colliding = [prim for prim in own if _collider(prim) is not None]
        stage_in_body = inverse(self._pose(body))
        shapes = [self._shape(prim, stage_in_body) for prim in colliding or filter(_is_visible, own)]
        return Link(name, tuple(shape for shape in shapes if shape is not None), not colliding, *self._mass(body))

    def _shape(self, prim: Any, stage_in_body: Floats) -> Shape | None:
        """The shape of a prim in its body's frame; None for prims without a surface and for unevenly scaled round shapes."""
        from pxr import UsdGeom

        matrix = self._matrix(prim)
        scale = np.linalg.norm(matrix[:3, :3], axis=0) * self.meters
        even = float(np.ptp(scale)) < 1e-6 * float(scale.max())
        frame = stage_in_body @ self._pose(prim)
        if prim.IsA(UsdGeom.Cube):
            half = float(UsdGeom.Cube(prim).GetSizeAttr().Get()) / 2
            return Shape(mjtGeom.mjGEOM_BOX, frame, tuple((half * scale).tolist()))
        if even and prim.IsA(UsdGeom.Sphere):
            return Shape(mjtGeom.mjGEOM_SPHERE, frame, (float(UsdGeom.Sphere(prim).GetRadiusAttr().Get() * scale[0]),))
        for schema, kind in ((UsdGeom.Cylinder, mjtGeom.mjGEOM_CYLINDER), (UsdGeom.Capsule, mjtGeom.mjGEOM_CAPSULE)):
            if even and prim.IsA(schema):
                shape = schema(prim)
                size = (float(shape.GetRadiusAttr().Get() * scale[0]), float(shape.GetHeightAttr().Get() / 2 * scale[0]))
                turn = pose(_Z_TO_AXIS[shape.GetAxisAttr().Get() or "Z"], np.zeros(3))
                return Shape(kind, frame @ turn, size)
        if not prim.IsA(UsdGeom.Mesh):
            return None
        points = np.asarray(UsdGeom.Mesh(prim).GetPointsAttr().Get() or [], np.float64).reshape(-1, 3)
        in_stage = (points @ matrix[:3, :3].T + matrix[:3, 3]) * self.meters
        faces = _faces(prim, in_stage, mirrored=np.linalg.det(matrix[:3, :3]) < 0)
        if len(faces) == 0:
            return None
        vertices = in_stage @ stage_in_body[:3, :3].T + stage_in_body[:3, 3]
        collider = _collider(prim)
        attribute = collider.GetAttribute("physics:approximation") if collider else None
        convex = bool(attribute and attribute.IsValid() and str(attribute.Get()) in _CONVEX)
        return Shape(mjtGeom.mjGEOM_MESH, np.eye(4), mesh=triangle_mesh(vertices, faces), convex=convex)

    def _mass(self, body: Any) -> tuple[float | None, Floats, Floats | None]:
        """Mass (kg), pose of the inertia's frame in the body's frame, inertia (3, 3) kg m²; None for values that the file omits."""
        from pxr import UsdPhysics

        api = UsdPhysics.MassAPI(body)
        mass, diagonal = api.GetMassAttr().Get(), api.GetDiagonalInertiaAttr().Get()
        if not mass or diagonal is None or not any(diagonal):
            return None, np.eye(4), None
        unit = UsdPhysics.GetStageKilogramsPerUnit(self.stage)
        scale = np.linalg.norm(self._matrix(body)[:3, :3], axis=0)
        center = np.asarray(api.GetCenterOfMassAttr().Get() or (0.0, 0.0, 0.0), np.float64)
        center = center * scale * self.meters if np.isfinite(center).all() else np.zeros(3)
        turn = api.GetPrincipalAxesAttr().Get()
        is_set = turn is not None and any([turn.GetReal(), *turn.GetImaginary()])  # USD's fallback is zero
        rotation = _from_quaternion(turn if is_set else None)
        inertia = np.diag(np.asarray(diagonal, np.float64)) * unit * self.meters**2
        return float(mass) * unit, pose(rotation, center), inertia


def joint_tree(base: str, joints: Sequence[Joint]) -> tuple[list[Joint], list[str]]:
    """The joints below the base, each with the parent nearer to the base, and the names of the links, the base first.

    A joint that leads towards the base in the file is reversed. A joint that is outside the articulation, or leads to a link that another
    joint leads to, closes a loop.
    """
    tree: list[Joint] = []
    reached, waiting = [base], [base]
    used: set[int] = set()
    while waiting:
        link = waiting.pop(0)
        for index, joint in enumerate(joints):
            if index in used or joint.closes_loop or link not in (joint.parent, joint.child):
                continue
            used.add(index)
            ahead = joint if joint.parent == link else _reversed(joint)
            if ahead.child in reached:
                tree.append(replace(joint, closes_loop=True))
                continue
            tree.append(ahead)
            reached.append(ahead.child)
            waiting.append(ahead.child)
    loops = [joint for joint in joints if joint.closes_loop and joint.parent in reached and joint.child in reached]
    return [*tree, *loops], reached


def _reversed(joint: Joint) -> Joint:
    """The joint with parent and child exchanged: with the opposite axis, the same motion has the same position."""
    return replace(
        joint,
        parent=joint.child,
        child=joint.parent,
        pose_joint_in_parent=joint.pose_joint_in_child,
        pose_joint_in_child=joint.pose_joint_in_parent,
        axis=-joint.axis,
    )


def _nearest_body(prim: Any) -> Any:
    while prim and not _has_api(prim, "PhysicsRigidBodyAPI"):
        prim = prim.GetParent()
    return prim


def _collider(prim: Any) -> Any:
    """The prim or its nearest ancestor in its body with an enabled collision API; None if there is none."""
    while prim:
        if _has_api(prim, "PhysicsCollisionAPI"):
            enabled = prim.GetAttribute("physics:collisionEnabled")
            return None if enabled and enabled.Get() is False else prim
        if _has_api(prim, "PhysicsRigidBodyAPI"):
            return None
        prim = prim.GetParent()
    return None


def _is_visible(prim: Any) -> bool:
    from pxr import UsdGeom

    image = UsdGeom.Imageable(prim)
    purposes = (UsdGeom.Tokens.default_, UsdGeom.Tokens.render)
    return image.ComputeVisibility() != UsdGeom.Tokens.invisible and image.ComputePurpose() in purposes


def _faces(prim: Any, points: Floats, *, mirrored: bool) -> Any:
    """Triangles (T, 3) of a mesh prim, counter-clockwise seen from outside. Raises ValueError for indices of missing points."""
    from pxr import UsdGeom

    mesh = UsdGeom.Mesh(prim)
    corners = np.asarray(mesh.GetFaceVertexIndicesAttr().Get() or [], np.int64)
    counts = np.asarray(mesh.GetFaceVertexCountsAttr().Get() or [], np.int64)
    if corners.size != counts.sum() or (corners.size and not 0 <= corners.min() <= corners.max() < len(points)):
        raise ValueError(f"{prim.GetPath()}: its faces name points that do not exist")
    triangles = [np.zeros((0, 3), np.int64)]
    for loop in np.split(corners, np.cumsum(counts)[:-1]):
        if len(loop) >= 3:
            triangles.append(loop[None] if len(loop) == 3 else loop[triangulate_polygons([points[loop]])])
    faces = np.concatenate(triangles)
    left_handed = mesh.GetOrientationAttr().Get() == UsdGeom.Tokens.leftHanded
    return faces[:, ::-1] if mirrored != left_handed else faces


def _has_api(prim: Any, name: str) -> bool:
    return name in prim.GetAppliedSchemas()


def _attribute(prim: Any, name: str) -> float | None:
    attribute = prim.GetAttribute(name)
    value = attribute.Get() if attribute and attribute.IsValid() else None
    return None if value is None else float(value)


def _targets(prim: Any, name: str) -> list[str]:
    relationship = prim.GetRelationship(name)
    return [str(target) for target in relationship.GetTargets()] if relationship and relationship.IsValid() else []


def _limited(value: float | None, unit: float) -> float | None:
    """The value in SI units; None if it is absent, unlimited or negative."""
    return None if value is None or not 0 <= value <= _UNLIMITED else value * unit


def _from_quaternion(turn: Any) -> Floats:
    """Rotation (3, 3) of a USD quaternion; the identity for None."""
    quaternion_wxyz = [1.0, 0.0, 0.0, 0.0] if turn is None else [turn.GetReal(), *turn.GetImaginary()]
    return np.asarray(Rotation.from_quat(quaternion_wxyz, scalar_first=True).as_matrix())


def _rotation(matrix: Floats) -> Floats:
    """The rotation (3, 3) nearest to a matrix with scale."""
    left, _, right = np.linalg.svd(matrix)
    rotation: Floats = left @ right
    return rotation if np.linalg.det(rotation) > 0 else -rotation


def _last_clause(error: object) -> str:
    """The last clause of USD's message, on one line, shortened."""
    return " ".join(str(error).split()).split(" : ")[-1][:120]
