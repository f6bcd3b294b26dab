"""The convex parts that stand for a collision mesh of a gripper.

Links and joints as URDF, SDF and USD describe them, and the MuJoCo model that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import mujoco
import numpy as np
from scipy.spatial import ConvexHull, QhullError

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.cutting import CutLimits, cut
from graspgen_cli.geometry.gaps import GapBound
from graspgen_cli.geometry.merging import merge, share_out, single_groups
from graspgen_cli.geometry.meshes import extents, is_closed, mesh_from_solid, signed_volume, solid_from_mesh, triangle_mesh
from graspgen_cli.geometry.poses import inverse, quaternion_wxyz
from graspgen_cli.grippers.model import Draft, Drive
from graspgen_cli.records import Floats, TriangleMesh

CONCAVE = 1.5
"""A mesh whose hull has more than this many times its volume is cut into convex parts."""
_CUT_GAP, _LARGEST_GAP = 0.001, 0.003
"""m: mean gap under which a part is not cut further, and the gap that a hull of joined parts may leave. A gripper needs less than an
object: its parts are many, and only its pads touch."""
_SMALLEST_PART = 0.005
_MOST_PARTS = 60
_THINNEST = 1e-4
"""m: flat meshes are made this thick, because a hull needs a volume."""


def mesh_parts(mesh: TriangleMesh, *, convex: bool = False) -> tuple[tuple[TriangleMesh, ...], str]:
    """Convex parts of a mesh, and what there is to say about them: its hull, or several parts where it is very concave.

    convex: the hull, whatever the mesh. Raises GripperError where the mesh has no three points apart.
    """
    hull = convex_hull(mesh.vertices)
    if convex:
        return (hull,), ""
    merged = _merged(mesh)
    volume = abs(signed_volume(merged)) if is_closed(merged) else 0.0
    if volume <= 0 or volume * CONCAVE > signed_volume(hull):
        return (hull,), ""
    solid = solid_from_mesh(merged if signed_volume(merged) > 0 else triangle_mesh(merged.vertices, merged.faces[:, ::-1]))
    if solid.is_empty():
        return (hull,), "a very concave collision mesh is not closed: its convex hull stands in for it"
    bound = GapBound(mesh_from_solid(solid), _LARGEST_GAP)
    groups = merge(single_groups(cut(solid, CutLimits(_CUT_GAP, _SMALLEST_PART, _MOST_PARTS), bound)), _LARGEST_GAP, bound)
    parts = tuple(mesh_from_solid(group.part.hull) for group in share_out(groups, _LARGEST_GAP, bound))
    return parts, f"a very concave collision mesh was cut into {len(parts)} convex parts"


def convex_hull(points: Floats) -> TriangleMesh:
    """The convex hull of points (P, 3), its faces counter-clockwise seen from outside; flat sets get a little thickness."""
    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError) as error:  # a flat set, or too few points
        if len(points) < 3 or np.linalg.matrix_rank(points - points[0], tol=1e-9) < 2:
            raise GripperError("a collision mesh has no three points apart") from error
        _, _, directions = np.linalg.svd(points - points.mean(axis=0), full_matrices=True)
        hull = ConvexHull(np.concatenate([points - _THINNEST / 2 * directions[2], points + _THINNEST / 2 * directions[2]]))
    corners = hull.points[hull.vertices]
    faces = np.searchsorted(hull.vertices, hull.simplices)
    triangles = corners[faces]
    inward = (
        np.einsum("fi,fi->f", np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), hull.equations[:, :3]) < 0
    )
    faces[inward] = faces[inward][:, ::-1]
    return triangle_mesh(corners, faces)


def mesh_bytes(mesh: TriangleMesh) -> bytes:
    """The mesh as a Wavefront file."""
    vertices = "".join(f"v {x:.9g} {y:.9g} {z:.9g}\n" for x, y, z in mesh.vertices)
    faces = "".join(f"f {a} {b} {c}\n" for a, b, c in mesh.faces + 1)
    return (vertices + faces).encode()


def _merged(mesh: TriangleMesh) -> TriangleMesh:
    """Corners that lie within a millionth of the mesh's size are one vertex, as files without shared vertices need."""
    grid = float(extents(mesh).max()) * 1e-6
    _, first, index = np.unique(np.round(mesh.vertices / grid), axis=0, return_index=True, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces]
    proper = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return triangle_mesh(mesh.vertices[first], faces[proper])


class Form(StrEnum):
    """The shape of a geom, by MuJoCo's names."""

    BOX = "box"
    SPHERE = "sphere"
    CYLINDER = "cylinder"
    CAPSULE = "capsule"
    MESH = "mesh"


class Motion(StrEnum):
    """How a joint lets its child move."""

    FIXED = "fixed"
    HINGE = "hinge"
    SLIDE = "slide"


@dataclass(frozen=True, eq=False)
class Shape:
    """A shape of a link.

    size: MuJoCo's half sizes, m: box (x, y, z), sphere (radius), cylinder and capsule (radius, half length), along their own z.
    mesh: m, in the shape's frame. collides: False for what is only looks. convex: the file asks for the mesh's convex hull.
    """

    form: Form
    pose_shape_in_link: Floats
    size: tuple[float, ...] = ()
    mesh: TriangleMesh | None = None
    collides: bool = True
    convex: bool = False


@dataclass(frozen=True, eq=False)
class Link:
    """A rigid body. mass: kg; pose_inertia_in_link: frame of `inertia` (3, 3) kg m², at the centre of mass; None: from the shapes."""

    name: str
    shapes: tuple[Shape, ...] = ()
    mass: float | None = None
    pose_inertia_in_link: Floats = field(default_factory=lambda: np.eye(4))
    inertia: Floats | None = None


@dataclass(frozen=True)
class Mimic:
    """The joint's position is multiplier x that of joint + offset, m or rad."""

    joint: str
    multiplier: float
    offset: float


@dataclass(frozen=True, eq=False)
class Joint:
    """A joint between two links.

    pose_joint_in_parent, pose_joint_in_child: the joint's frame in both links' frames; both coincide at position 0.
    axis: (3,) unit, in the joint's frame. lower, upper: m or rad; None where there is no limit.
    drive: what the file says of its motor; None where it has none. closes_loop: not part of the tree.
    stiffness, rest: N/m or N m/rad, and the position at which the spring is at rest.
    """

    name: str
    motion: Motion
    parent: str
    child: str
    pose_joint_in_parent: Floats
    pose_joint_in_child: Floats
    axis: Floats
    lower: float | None = None
    upper: float | None = None
    drive: Drive | None = None
    mimic: Mimic | None = None
    closes_loop: bool = False
    stiffness: float = 0.0
    rest: float = 0.0


_JOINTS = {Motion.HINGE: mujoco.mjtJoint.mjJNT_HINGE, Motion.SLIDE: mujoco.mjtJoint.mjJNT_SLIDE}
_GEOMS = {
    Form.BOX: mujoco.mjtGeom.mjGEOM_BOX,
    Form.SPHERE: mujoco.mjtGeom.mjGEOM_SPHERE,
    Form.CYLINDER: mujoco.mjtGeom.mjGEOM_CYLINDER,
    Form.CAPSULE: mujoco.mjtGeom.mjGEOM_CAPSULE,
}


def draft_from_links(
    links: Sequence[Link], joints: Sequence[Joint], *, source: str, notes: Sequence[str] = (), files: Sequence[Path] = ()
) -> Draft:
    """The MuJoCo model of links and joints. Raises GripperError where the joints do not make trees."""
    builder = _Builder({link.name: link for link in links}, source)
    joints, freed = _with_followers_free(joints)
    tree = [joint for joint in joints if not joint.closes_loop]
    children = _check_tree(builder.links, tree, source)
    for name in builder.links:
        if name not in children:
            builder.add_root(name, tree)
    for joint in joints:
        if joint.closes_loop:
            builder.close_loop(joint)
        elif joint.mimic is not None and joint.motion is not Motion.FIXED:
            builder.couple(joint, joint.mimic)
    drives = {joint.name: joint.drive for joint in joints if joint.drive is not None}
    return Draft(builder.spec, source, builder.assets, drives, (*notes, *freed, *builder.notes()), tuple(files))


def _with_followers_free(joints: Sequence[Joint]) -> tuple[list[Joint], list[str]]:
    """The joints, and what is to say: a joint that follows another, and whose own limits leave the other no room, has none of its own.

    Many files give both sides of a gripper the same limits although one side turns the other way; the tools that show URDF ignore the
    limits of joints that follow.
    """
    leaders = {joint.name: joint for joint in joints}
    freed = [joint for joint in joints if joint.mimic is not None and _no_room(joint, joint.mimic, leaders.get(joint.mimic.joint))]
    names = {joint.name for joint in freed}
    note = f"limits of joints that follow others and that these cannot keep do not count: {', '.join(sorted(names))}"
    return [replace(j, lower=None, upper=None) if j.name in names else j for j in joints], [note] if names else []


def _no_room(joint: Joint, mimic: Mimic, leader: Joint | None) -> bool:
    if leader is None or leader.lower is None or leader.upper is None or joint.lower is None or joint.upper is None:
        return False
    low, high = sorted(mimic.multiplier * end + mimic.offset for end in (leader.lower, leader.upper))
    return min(high, joint.upper) - max(low, joint.lower) < 1e-6 * (high - low)


def _check_tree(links: dict[str, Link], joints: Sequence[Joint], source: str) -> set[str]:
    """The links that hang on another one."""
    children: set[str] = set()
    for joint in joints:
        for name in (joint.parent, joint.child):
            if name not in links:
                raise GripperError(f"{source}: joint {joint.name} names a link {name} that is not there")
        if joint.child in children:
            raise GripperError(f"{source}: link {joint.child} hangs on two joints; mark one of them as closing a loop")
        children.add(joint.child)
    return children


class _Builder:
    """Puts links and joints into a MuJoCo model."""

    def __init__(self, links: dict[str, Link], source: str) -> None:
        self.links = links
        self.source = source
        self.spec = mujoco.MjSpec()
        self.spec.compiler.degree = False
        self.spec.compiler.balanceinertia = True  # files give inertia in rounded numbers
        self.assets: dict[str, bytes] = {}
        self.cut: list[str] = []
        self.only_looks: list[str] = []

    def add_root(self, name: str, joints: Sequence[Joint]) -> None:
        """A link that hangs on nothing, and what hangs on it."""
        waiting = [(self.spec.worldbody, name, np.eye(4))]
        while waiting:
            parent, name, pose_in_parent = waiting.pop()
            body = parent.add_body(name=_body_name(name), **_place(pose_in_parent))
            self._fill(body, self.links[name])
            for joint in joints:
                if joint.child == name:
                    self._move(body, joint)
            below = [joint for joint in joints if joint.parent == name]
            waiting += [(body, j.child, j.pose_joint_in_parent @ inverse(j.pose_joint_in_child)) for j in reversed(below)]

    def _fill(self, body: mujoco.MjsBody, link: Link) -> None:
        """Mass and shapes. A link without a colliding shape collides with those for looks."""
        if link.mass is not None and link.inertia is not None:
            rotation = link.pose_inertia_in_link[:3, :3]
            inertia = rotation @ link.inertia @ rotation.T
            body.explicitinertial = True
            body.mass = link.mass
            body.ipos = link.pose_inertia_in_link[:3, 3]
            body.fullinertia = [inertia[0, 0], inertia[1, 1], inertia[2, 2], inertia[0, 1], inertia[0, 2], inertia[1, 2]]
        colliding = [shape for shape in link.shapes if shape.collides]
        if link.shapes and not colliding:
            self.only_looks.append(link.name)
        for number, shape in enumerate(colliding or link.shapes):
            self._add_shape(body, shape, f"{link.name}_{number}")

    def _add_shape(self, body: mujoco.MjsBody, shape: Shape, name: str) -> None:
        place = _place(shape.pose_shape_in_link)
        if shape.mesh is None:
            size = [*shape.size, 0.0, 0.0][:3]
            body.add_geom(type=_GEOMS[shape.form], size=size, **place)
            return
        parts, note = mesh_parts(shape.mesh, convex=shape.convex)
        if note:
            self.cut.append(f"link {body.name}: {note}")
        for number, part in enumerate(parts):
            key = f"{name}_{number}"
            self.assets[f"{key}.obj"] = mesh_bytes(part)
            mesh = self.spec.add_mesh(name=key, file=f"{key}.obj")
            mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=key, **place)

    def _move(self, body: mujoco.MjsBody, joint: Joint) -> None:
        if joint.motion is Motion.FIXED:
            return
        limited = joint.lower is not None and joint.upper is not None
        body.add_joint(
            name=joint.name,
            type=_JOINTS[joint.motion],
            pos=joint.pose_joint_in_child[:3, 3],
            axis=joint.pose_joint_in_child[:3, :3] @ joint.axis,
            limited=limited,
            range=[joint.lower, joint.upper] if limited else [0.0, 0.0],
            stiffness=[joint.stiffness, 0.0, 0.0],
            springref=joint.rest,
        )

    def notes(self) -> list[str]:
        """What was assumed."""
        looks = ", ".join(self.only_looks)
        return [*([f"without collision shapes, so that their visual shapes stand in: {looks}"] if looks else []), *self.cut]

    def couple(self, joint: Joint, mimic: Mimic) -> None:
        """The joint follows another."""
        if self.spec.joint(mimic.joint) is None:
            raise GripperError(f"{self.source}: joint {joint.name} follows a joint {mimic.joint} that is not there")
        self.spec.add_equality(
            type=mujoco.mjtEq.mjEQ_JOINT, name1=joint.name, name2=mimic.joint, data=[mimic.offset, mimic.multiplier, *[0.0] * 10]
        )

    def close_loop(self, joint: Joint) -> None:
        """A joint between two links of the tree: its frames' origins meet; fixed ones keep their directions too."""
        names = [f"{joint.name}_on_parent", f"{joint.name}_on_child"]
        for link, frame, name in zip(
            (joint.parent, joint.child), (joint.pose_joint_in_parent, joint.pose_joint_in_child), names, strict=True
        ):
            self.spec.body(_body_name(link)).add_site(name=name, **_place(frame))
        kind = mujoco.mjtEq.mjEQ_WELD if joint.motion is Motion.FIXED else mujoco.mjtEq.mjEQ_CONNECT
        self.spec.add_equality(type=kind, name1=names[0], name2=names[1], objtype=mujoco.mjtObj.mjOBJ_SITE)


def _body_name(link: str) -> str:
    """MuJoCo keeps the name `world` for itself."""
    return "world_link" if link == "world" else link


def _place(frame: Floats) -> dict[str, list[float]]:
    return {"pos": frame[:3, 3].tolist(), "quat": quaternion_wxyz(frame[None, :3, :3])[0].tolist()}
