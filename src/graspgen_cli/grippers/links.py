"""Links and joints as URDF, SDF and USD describe them, and the MuJoCo model that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import mujoco
import numpy as np
from scipy.spatial import QhullError

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.cutting import CutLimits, cut
from graspgen_cli.geometry.gaps import GapBound
from graspgen_cli.geometry.merging import dissolve_small, merge, single_groups
from graspgen_cli.geometry.meshes import is_closed, longest_side, mesh_from_solid, qhull, signed_volume, solid_from_mesh, triangle_mesh
from graspgen_cli.geometry.poses import inverse, quaternion_wxyz
from graspgen_cli.grippers.model import Draft, Drive
from graspgen_cli.records import Floats, TriangleMesh

_CONCAVE = 1.5  # a mesh is cut into convex parts if its hull has more than this many times its volume
_CUT_GAP, _LARGEST_GAP = 0.001, 0.003
"""m: mean gap at which cutting stops; gap that the hull of merged parts may leave. Coarser than for objects: a gripper has many parts, and
only its pads touch the object."""
_SMALLEST_PART = 0.005  # m
_MOST_PARTS = 60
_THINNEST = 1e-4  # m: thickness given to flat meshes, because a hull needs a volume


class Motion(StrEnum):
    """Kind of a joint, by MuJoCo's name."""

    FIXED = "fixed"
    HINGE = "hinge"
    SLIDE = "slide"


@dataclass(frozen=True, eq=False)
class Shape:
    """A shape of a link.

    kind: box, sphere, cylinder, capsule or mesh.
    size: MuJoCo's half sizes, m: box (x, y, z), sphere (radius), cylinder and capsule (radius, half length along z).
    mesh: m, in the shape's frame. convex: the file asks for the mesh's convex hull.
    """

    kind: mujoco.mjtGeom
    pose_shape_in_link: Floats
    size: tuple[float, ...] = ()
    mesh: TriangleMesh | None = None
    convex: bool = False


@dataclass(frozen=True, eq=False)
class Link:
    """A rigid body.

    shapes: collision shapes, or, with `visual`, the visual shapes of a link without collision shapes.
    mass: kg; inertia: (3, 3) kg m² about the centre of mass; if either is None, MuJoCo derives both from the shapes.
    pose_inertia_in_link: (4, 4) frame of `inertia`, its origin at the centre of mass.
    """

    name: str
    shapes: tuple[Shape, ...] = ()
    visual: bool = False
    mass: float | None = None
    pose_inertia_in_link: Floats = field(default_factory=lambda: np.eye(4))
    inertia: Floats | None = None


@dataclass(frozen=True)
class Mimic:
    """Coupling of a mimic joint: position = multiplier x position of `joint` + offset, m or rad."""

    joint: str
    multiplier: float
    offset: float


@dataclass(frozen=True, eq=False)
class Joint:
    """A joint between two links.

    pose_joint_in_parent, pose_joint_in_child: (4, 4) the joint's frame in both links' frames; both coincide at position 0.
    axis: (3,) unit, in the joint's frame. lower, upper: m or rad; None without a limit.
    drive: None without a motor. closes_loop: the joint is outside the kinematic tree.
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


_JOINTS = {Motion.HINGE: mujoco.mjtJoint.mjJNT_HINGE, Motion.SLIDE: mujoco.mjtJoint.mjJNT_SLIDE}


def draft_from_links(
    links: Sequence[Link], joints: Sequence[Joint], *, source: str, notes: Sequence[str] = (), files: Sequence[Path] = ()
) -> Draft:
    """The MuJoCo model of links and joints. Raises GripperError if the joints do not form trees."""
    builder = _Builder({link.name: link for link in links}, source)
    joints, freed = _with_free_followers(joints)
    tree = [joint for joint in joints if not joint.closes_loop]
    children = _children(builder.links, tree, source)
    for name in builder.links:
        if name not in children:
            builder.add_tree(name, tree)
    for joint in joints:
        if joint.closes_loop:
            builder.close_loop(joint)
        elif joint.mimic is not None and joint.motion is not Motion.FIXED:
            builder.couple(joint, joint.mimic)
    drives = {joint.name: joint.drive for joint in joints if joint.drive is not None}
    return Draft(builder.spec, source, builder.assets, drives, (*notes, *freed, *builder.notes()), tuple(files))


def _with_free_followers(joints: Sequence[Joint]) -> tuple[list[Joint], list[str]]:
    """The joints, without the limits of mimic joints whose limits block the joint that they follow; notes.

    Many files give both fingers the same limits although one finger turns the other way, and tools that show URDF ignore the limits of
    mimic joints.
    """
    leaders = {joint.name: joint for joint in joints}
    freed = {joint.name for joint in joints if joint.mimic is not None and _blocks(joint, joint.mimic, leaders.get(joint.mimic.joint))}
    note = f"limits of mimic joints that contradict the joint that they follow do not count: {', '.join(sorted(freed))}"
    return [replace(j, lower=None, upper=None) if j.name in freed else j for j in joints], [note] if freed else []


def _blocks(joint: Joint, mimic: Mimic, leader: Joint | None) -> bool:
    if leader is None or leader.lower is None or leader.upper is None or joint.lower is None or joint.upper is None:
        return False
    low, high = sorted(mimic.multiplier * end + mimic.offset for end in (leader.lower, leader.upper))
    return min(high, joint.upper) - max(low, joint.lower) < 1e-6 * (high - low)


def _children(links: dict[str, Link], joints: Sequence[Joint], source: str) -> set[str]:
    """Names of the links with a parent. Raises GripperError for a missing link and for a link with two parents."""
    children: set[str] = set()
    for joint in joints:
        for name in (joint.parent, joint.child):
            if name not in links:
                raise GripperError(f"joint {joint.name} names a link {name} that is not there", path=source)
        if joint.child in children:
            raise GripperError(f"link {joint.child} hangs on two joints", path=source, advice="mark one of them as closing a loop")
        children.add(joint.child)
    return children


class _Builder:
    """Adds links and joints to a MuJoCo spec."""

    def __init__(self, links: dict[str, Link], source: str) -> None:
        self.links = links
        self.source = source
        self.spec = mujoco.MjSpec()
        self.spec.compiler.degree = False
        self.spec.compiler.balanceinertia = True  # inertias in files are rounded
        self.assets: dict[str, bytes] = {}
        self.cut: list[str] = []
        self.visual: list[str] = []

    def add_tree(self, name: str, joints: Sequence[Joint]) -> None:
        """Add a root link and its descendants."""
        waiting = [(self.spec.worldbody, name, np.eye(4))]
        while waiting:
            parent, name, pose_in_parent = waiting.pop()
            body = parent.add_body(name=_body_name(name), **_place(pose_in_parent))
            self._fill(body, self.links[name])
            for joint in joints:
                if joint.child == name:
                    self._add_joint(body, joint)
            below = [joint for joint in joints if joint.parent == name]
            waiting += [(body, j.child, j.pose_joint_in_parent @ inverse(j.pose_joint_in_child)) for j in reversed(below)]

    def _fill(self, body: mujoco.MjsBody, link: Link) -> None:
        """Set a body's mass and shapes."""
        if link.mass is not None and link.inertia is not None:
            rotation = link.pose_inertia_in_link[:3, :3]
            inertia = rotation @ link.inertia @ rotation.T
            body.explicitinertial = True
            body.mass = link.mass
            body.ipos = link.pose_inertia_in_link[:3, 3]
            body.fullinertia = [inertia[0, 0], inertia[1, 1], inertia[2, 2], inertia[0, 1], inertia[0, 2], inertia[1, 2]]
        if link.shapes and link.visual:
            self.visual.append(link.name)
        for number, shape in enumerate(link.shapes):
            self._add_shape(body, shape, f"{link.name}_{number}")

    def _add_shape(self, body: mujoco.MjsBody, shape: Shape, name: str) -> None:
        place = _place(shape.pose_shape_in_link)
        if shape.mesh is None:
            body.add_geom(type=shape.kind, size=[*shape.size, 0.0, 0.0][:3], **place)
            return
        parts, note = _convex_parts(shape.mesh, convex=shape.convex)
        if note:
            self.cut.append(f"link {body.name}: {note}")
        for number, part in enumerate(parts):
            key = f"{name}_{number}"
            self.assets[f"{key}.obj"] = _obj_bytes(part)
            mesh = self.spec.add_mesh(name=key, file=f"{key}.obj")
            mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
            body.add_geom(type=shape.kind, meshname=key, **place)

    def _add_joint(self, body: mujoco.MjsBody, joint: Joint) -> None:
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
        )

    def notes(self) -> list[str]:
        """Assumptions, a line each."""
        visual = ", ".join(self.visual)
        return [*([f"links without collision shapes, whose visual shapes are used instead: {visual}"] if visual else []), *self.cut]

    def couple(self, joint: Joint, mimic: Mimic) -> None:
        """Add the equality of a mimic joint."""
        if self.spec.joint(mimic.joint) is None:
            raise GripperError(f"joint {joint.name} follows a joint {mimic.joint} that is not there", path=self.source)
        self.spec.add_equality(
            type=mujoco.mjtEq.mjEQ_JOINT, name1=joint.name, name2=mimic.joint, data=[mimic.offset, mimic.multiplier, *[0.0] * 10]
        )

    def close_loop(self, joint: Joint) -> None:
        """Add the equality of a joint between two links of the tree: the joint's origins coincide; its axes too if the joint is fixed."""
        ends = ((joint.parent, joint.pose_joint_in_parent, "parent"), (joint.child, joint.pose_joint_in_child, "child"))
        for link, frame, side in ends:
            self.spec.body(_body_name(link)).add_site(name=f"{joint.name}_on_{side}", **_place(frame))
        kind = mujoco.mjtEq.mjEQ_WELD if joint.motion is Motion.FIXED else mujoco.mjtEq.mjEQ_CONNECT
        sites = {"name1": f"{joint.name}_on_parent", "name2": f"{joint.name}_on_child", "objtype": mujoco.mjtObj.mjOBJ_SITE}
        self.spec.add_equality(type=kind, **sites)


def _body_name(link: str) -> str:
    """MuJoCo reserves the name `world`."""
    return "world_link" if link == "world" else link


def _place(frame: Floats) -> dict[str, list[float]]:
    return {"pos": frame[:3, 3].tolist(), "quat": quaternion_wxyz(frame[None, :3, :3])[0].tolist()}


def _convex_parts(mesh: TriangleMesh, *, convex: bool) -> tuple[tuple[TriangleMesh, ...], str]:
    """Convex parts of a mesh, and a note about them: the hull, or several parts if the mesh is very concave.

    convex: always the hull. Raises GripperError for a mesh without three separate points.
    """
    hull = convex_hull(mesh.vertices)
    if convex:
        return (hull,), ""
    merged = _with_shared_vertices(mesh)
    volume = abs(signed_volume(merged)) if is_closed(merged) else 0.0
    if volume <= 0 or volume * _CONCAVE > signed_volume(hull):
        return (hull,), ""
    solid = solid_from_mesh(merged if signed_volume(merged) > 0 else triangle_mesh(merged.vertices, merged.faces[:, ::-1]))
    if solid.is_empty():
        return (hull,), "a very concave collision mesh is not closed: its convex hull is used instead"
    bound = GapBound(mesh_from_solid(solid), _LARGEST_GAP)
    groups = merge(single_groups(cut(solid, CutLimits(_CUT_GAP, _SMALLEST_PART, _MOST_PARTS), bound)), _LARGEST_GAP, bound)
    parts = tuple(mesh_from_solid(group.part.hull) for group in dissolve_small(groups, _LARGEST_GAP, bound))
    return parts, f"a very concave collision mesh was cut into {len(parts)} convex parts"


def convex_hull(points: Floats) -> TriangleMesh:
    """Convex hull of points (P, 3) by Qhull, made of some of the points; a flat set gets a little thickness.

    Raises GripperError for fewer than three separate points.
    """
    try:
        return qhull(points)
    except (QhullError, ValueError) as error:  # a flat set, or too few points
        if len(points) < 3 or np.linalg.matrix_rank(points - points[0], tol=1e-9) < 2:
            raise GripperError("a collision mesh has no three points apart") from error
        normal = np.linalg.svd(points - points.mean(axis=0), full_matrices=True)[2][2]
        return qhull(np.concatenate([points - _THINNEST / 2 * normal, points + _THINNEST / 2 * normal]))


def _obj_bytes(mesh: TriangleMesh) -> bytes:
    """The mesh as a Wavefront OBJ file, m."""
    vertices = "".join(f"v {x:.9g} {y:.9g} {z:.9g}\n" for x, y, z in mesh.vertices)
    faces = "".join(f"f {a} {b} {c}\n" for a, b, c in mesh.faces + 1)
    return (vertices + faces).encode()


def _with_shared_vertices(mesh: TriangleMesh) -> TriangleMesh:
    """The mesh with vertices merged that lie within a millionth of its size, because some formats store no shared vertices."""
    grid = longest_side(mesh) * 1e-6
    _, first, index = np.unique(np.round(mesh.vertices / grid), axis=0, return_index=True, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces]
    proper = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return triangle_mesh(mesh.vertices[first], faces[proper])
