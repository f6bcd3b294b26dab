"""Chords: segments inside convex parts. A chord that meets the object's surface proves a collision, far cheaper than the exact test
that has to confirm what no chord refutes.

Exact tests of a gripper against an object's true mesh: surfaces by BVH against BVH (FCL), containment by points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import fcl
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from graspgen_cli.geometry.finger_reach import FingerReach, finger_reach
from graspgen_cli.geometry.meshes import body_of_vertices
from graspgen_cli.geometry.poses import inverse, transform_points
from graspgen_cli.geometry.rays import RayCaster, Segments
from graspgen_cli.geometry.reach import outer_surface
from graspgen_cli.records import Floats, Gripper, TargetObject, TriangleMesh
from graspgen_cli.settings.guesses import Reach

SHRINK = 0.999
"""Share of each chord that is kept, so that rounding never carries its ends out of the part."""
OFF_CENTRE = 0.98
"""Where the outer chords lie, as a share of the part's half extents."""

_OTHER_AXES = np.array([[1, 2], [0, 2], [0, 1]])
_GROUPS = (
    ((0, 0, 0),),
    ((1, 0, 0), (2, 0, 0)),
    tuple((axis, *shift) for axis in range(3) for shift in ((-1, 0), (1, 0), (0, -1), (0, 1))),
    tuple((axis, first, second) for axis in range(3) for first in (-1, 1) for second in (-1, 1)),
)
"""The lines of each group: along which principal axis, the longest first, and where on the other two, as shares of the half extents."""


@dataclass(frozen=True, eq=False)
class Chords:
    """C segments in one frame. start, direction: (C, 3) m, unit; length: (C,) m."""

    start: Floats
    direction: Floats
    length: Floats

    @cached_property
    def segments(self) -> Segments:
        """The same for the ray caster."""
        return Segments.between(self.start, self.direction, self.length)

    @staticmethod
    def join(chords: list[Chords]) -> Chords:
        """All chords, in order."""
        return Chords(*(np.concatenate([getattr(c, name) for c in chords]) for name in ("start", "direction", "length")))

    def moved(self, pose: Floats) -> Chords:
        """The chords taken by a pose (4, 4)."""
        rotation = pose[:3, :3]
        return Chords(self.start @ rotation.T + pose[:3, 3], self.direction @ rotation.T, self.length)


def part_chords(vertices: Floats, planes: Floats) -> tuple[Chords, ...]:
    """Chords of a convex part in groups, those that tell most for their number first: the longest along a principal axis through the
    middle; the two shorter ones; along every side, those through its middle; four near the edges along every axis.

    vertices: (V, 3) m; planes: (F, 4) outward half spaces of the part, inside where n . x + d <= 0.
    """
    center = vertices.mean(axis=0)
    axes = np.linalg.svd(vertices - center, full_matrices=False)[2]
    local = (vertices - center) @ axes.T
    order = np.argsort(-np.ptp(local, axis=0))
    axes, half = axes[order], np.ptp(local, axis=0)[order] / 2 * OFF_CENTRE
    center = center + ((local.max(axis=0) + local.min(axis=0)) / 2)[order] @ axes
    chords = []
    for group in _GROUPS:
        along = np.array([axis for axis, _, _ in group])
        first, second = _OTHER_AXES[along].T
        shift = np.array([shift for _, *shift in group])
        start = center + shift[:, :1] * half[first, None] * axes[first] + shift[:, 1:] * half[second, None] * axes[second]
        chords.append(_clipped(start, axes[along], planes))
    return tuple(chords)


def _clipped(point: Floats, direction: Floats, planes: Floats) -> Chords:
    """The parts of lines, through points (C, 3) along unit directions (C, 3), that lie inside the half spaces; lines that miss them
    are left out."""
    height = point @ planes[:, :3].T + planes[:, 3]
    slope = direction @ planes[:, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = -height / slope
    low = np.where(slope < -1e-12, meets, -np.inf).max(axis=1)
    high = np.where(slope > 1e-12, meets, np.inf).min(axis=1)
    outside = ((np.abs(slope) <= 1e-12) & (height > 0)).any(axis=1)
    keep = ~outside & (high - low > 1e-4)
    middle, length = (low + high)[keep] / 2, (high - low)[keep] * SHRINK
    start = point[keep] + (middle - length / 2)[:, None] * direction[keep]
    return Chords(start, direction[keep], length)


def meet(rays: RayCaster, poses: Floats, chords: Chords) -> NDArray[np.bool_]:
    """(N,) whether, at poses (N, 4, 4) of the base in the object, any chord meets the object's surface."""
    return np.asarray(rays.blocked(poses, chords.segments).any(axis=1))


_REQUEST = fcl.CollisionRequest(num_max_contacts=1, enable_contact=False)


def _bvh(meshes: list[TriangleMesh]) -> fcl.CollisionObject:
    vertices = np.concatenate([m.vertices for m in meshes])
    offsets = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    faces = np.concatenate([m.faces + offset for m, offset in zip(meshes, offsets, strict=True)])
    model = fcl.BVHModel()
    model.beginModel(len(vertices), len(faces))
    model.addSubModel(vertices, faces)
    model.endModel()
    return fcl.CollisionObject(model)


def moved(mesh: TriangleMesh, pose: Floats) -> TriangleMesh:
    """The mesh taken by a pose (4, 4)."""
    return TriangleMesh(transform_points(pose, mesh.vertices), mesh.faces)


def _one_vertex_per_component(mesh: TriangleMesh) -> Floats:
    """(C, 3): a vertex of each connected component of the surface."""
    used = np.unique(mesh.faces)
    return mesh.vertices[used[np.unique(body_of_vertices(mesh)[used], return_index=True)[1]]]


class ObjectShape:
    """An object's true mesh, ready for exact tests. The object's frame is the world of every test. outer: the mesh without what is known
    to be out of a gripper's reach, at least what lies inside a closed surface."""

    def __init__(self, target: TargetObject) -> None:
        self.mesh = target.mesh
        self.rays = RayCaster(target.mesh)
        self.outer = target.touchable or outer_surface(target.mesh)
        self.watertight = target.watertight
        self.low, self.high = target.mesh.vertices.min(axis=0), target.mesh.vertices.max(axis=0)
        self.component_points = _one_vertex_per_component(target.mesh)
        self.bvh = _bvh([target.mesh])


class GripperShape:
    """A gripper's collision parts at each measured opening, in the base frame; what is derived from them is made when first asked for."""

    def __init__(self, gripper: Gripper) -> None:
        self.gripper = gripper
        self.part_planes = [[ConvexHull(part.vertices).equations for part in body] for body in gripper.collision_parts]
        self._whole: dict[int, fcl.CollisionObject] = {}
        self._chords: dict[tuple[tuple[int, ...], int], tuple[Chords, ...]] = {}

    def reach(self, chosen: Reach) -> FingerReach | None:
        """How its parts get into openings; None where that is not to count, or not known."""
        return self._finger_reach if chosen is Reach.GRIPPER else None

    @cached_property
    def _finger_reach(self) -> FingerReach | None:
        return finger_reach(self.gripper)

    def parts(self, opening: int) -> list[TriangleMesh]:
        """Every convex part at opening index `opening`, in the base frame."""
        poses = self.gripper.pose_body_in_base[opening]
        return [moved(part, pose) for pose, body in zip(poses, self.gripper.collision_parts, strict=True) for part in body]

    def whole(self, opening: int) -> fcl.CollisionObject:
        """The whole gripper at an opening."""
        if opening not in self._whole:
            self._whole[opening] = _bvh(self.parts(opening))
        return self._whole[opening]

    def chords(self, bodies: Sequence[int], opening: int) -> tuple[Chords, ...]:
        """The chords of all parts of some bodies (by index) at an opening, in the base frame, group by group as `part_chords` makes
        them."""
        key = (tuple(bodies), opening)
        if key not in self._chords:
            groups = []
            for body in bodies:
                pose = self.gripper.pose_body_in_base[opening, body]
                for part, planes in zip(self.gripper.collision_parts[body], self.part_planes[body], strict=True):
                    groups.append([chords.moved(pose) for chords in part_chords(part.vertices, planes)])
            self._chords[key] = tuple(Chords.join(list(group)) for group in zip(*groups, strict=True))
        return self._chords[key]


def surfaces_touch(shape: ObjectShape, body: fcl.CollisionObject, pose_gripper_in_object: Floats) -> bool:
    """Whether a gripper body's surface at the pose (4, 4) meets the object's surface."""
    body.setTransform(fcl.Transform(pose_gripper_in_object[:3, :3], pose_gripper_in_object[:3, 3]))
    return bool(fcl.collide(shape.bvh, body, _REQUEST, fcl.CollisionResult()))


def one_contains_other(
    shape: ObjectShape, gripper: GripperShape, pose_gripper_in_object: Floats, opening: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """(N,) whether, at poses (N, 4, 4) and opening indices (N,) where no surfaces meet, a body of the object lies inside a part of the
    gripper or a part of the gripper inside the object. The second needs a watertight mesh and is False for others."""
    swallowed = np.zeros(len(opening), bool)
    buried = np.zeros(len(opening), bool)
    for body, (parts, planes) in enumerate(zip(gripper.gripper.collision_parts, gripper.part_planes, strict=True)):
        if not parts:
            continue
        pose_body_in_object = pose_gripper_in_object @ gripper.gripper.pose_body_in_base[opening, body]
        in_body = transform_points(inverse(pose_body_in_object), shape.component_points[None])
        for outside in planes:
            swallowed |= (in_body @ outside[:, :3].T + outside[:, 3] <= 0).all(axis=2).any(axis=1)
        if shape.watertight:
            witness = np.stack([part.vertices[0] for part in parts])
            buried |= _any_inside(shape, transform_points(pose_body_in_object, witness[None]))
    return swallowed | buried


def _any_inside(shape: ObjectShape, points: Floats) -> NDArray[np.bool_]:
    """(N,) whether one of points (N, P, 3) lies inside a watertight object."""
    near = ((points > shape.low) & (points < shape.high)).all(axis=2)
    inside = np.zeros_like(near)
    inside[near] = shape.rays.inside(points[near])
    return np.asarray(inside.any(axis=1))


def in_collision(shape: ObjectShape, gripper: GripperShape, pose_gripper_in_object: Floats, opening: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(N,) whether the gripper at poses (N, 4, 4) and opening indices (N,) is in collision with the object: surfaces meet, or one
    contains the other."""
    result = np.array(
        [surfaces_touch(shape, gripper.whole(int(k)), p) for p, k in zip(pose_gripper_in_object, opening, strict=True)], dtype=bool
    )
    apart = np.flatnonzero(~result)
    result[apart] = one_contains_other(shape, gripper, pose_gripper_in_object[apart], opening[apart])
    return result
