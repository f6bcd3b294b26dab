"""Collision tests of a gripper against an object's true mesh: surfaces by bounding volume hierarchies (FCL), containment by points.

Chords, segments inside the gripper's convex parts, give a cheap first test: a chord that hits the object's surface proves a collision.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from graspgen_cli.geometry.gaps import Surface
from graspgen_cli.geometry.meshes import body_of_vertices, bounds, join_meshes, transform_mesh
from graspgen_cli.geometry.poses import inverse, transform_points
from graspgen_cli.geometry.rays import RayCaster, Segments
from graspgen_cli.geometry.reach import outer_surface
from graspgen_cli.geometry.touch import FingerReach, finger_reach
from graspgen_cli.records import Floats, Gripper, TargetObject, TriangleMesh
from graspgen_cli.settings.guesses import Reach

SHRINK = 0.999  # kept share of each chord, so that rounding never moves its ends out of the part
OFF_CENTRE = 0.98  # position of the outer chords as a share of the part's half extents

_OTHER_AXES = np.array([[1, 2], [0, 2], [0, 1]])
_GROUPS = (
    ((0, 0, 0),),
    ((1, 0, 0), (2, 0, 0)),
    tuple((axis, *shift) for axis in range(3) for shift in ((-1, 0), (1, 0), (0, -1), (0, 1))),
    tuple((axis, first, second) for axis in range(3) for first in (-1, 1) for second in (-1, 1)),
)
"""The lines of each group: principal axis, the longest first, and position along the two other axes as shares of the half extents."""


def part_chords(vertices: Floats, planes: Floats) -> tuple[Segments, ...]:
    """Chords of a convex part in groups, the most informative group first: along the longest principal axis through the centre; along the
    other two axes; through the middle of every side; near the edges.

    vertices: (V, 3) m; planes: (F, 4) outward half spaces, with n . x + d <= 0 inside.
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


def _clipped(point: Floats, direction: Floats, planes: Floats) -> Segments:
    """The segments of lines, through points (C, 3) along unit directions (C, 3), inside the half spaces; lines outside are dropped."""
    height = point @ planes[:, :3].T + planes[:, 3]
    slope = direction @ planes[:, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = -height / slope
    low = np.where(slope < -1e-12, meets, -np.inf).max(axis=1)
    high = np.where(slope > 1e-12, meets, np.inf).min(axis=1)
    outside = ((np.abs(slope) <= 1e-12) & (height > 0)).any(axis=1)
    keep = ~outside & (high - low > 1e-4)
    middle, length = (low + high)[keep] / 2, (high - low)[keep] * SHRINK
    return Segments(point[keep] + (middle - length / 2)[:, None] * direction[keep], direction[keep], length)


class ObjectShape:
    """An object's true mesh, ready for collision tests in the object's frame. outer: the surface without the parts known to be out of the
    gripper's reach; at least without bodies inside a closed surface."""

    def __init__(self, target: TargetObject) -> None:
        self.mesh = target.mesh
        self.rays, self.surface = RayCaster(target.mesh), Surface(target.mesh)
        self.outer = target.touchable or outer_surface(target.mesh)
        self.watertight = target.watertight
        self.low, self.high = bounds(target.mesh)
        used = np.unique(target.mesh.faces)
        self.point_of_each_body = target.mesh.vertices[used[np.unique(body_of_vertices(target.mesh)[used], return_index=True)[1]]]


def parts_in_base(gripper: Gripper, opening: int) -> list[TriangleMesh]:
    """The collision parts of all bodies at opening index `opening`, in the base frame, m."""
    bodies = zip(gripper.pose_body_in_base[opening], gripper.collision_parts, strict=True)
    return [transform_mesh(pose, part) for pose, parts in bodies for part in parts]


class GripperShape:
    """A gripper's collision parts at each measured opening, in the base frame. Derived shapes are made on first use and kept."""

    def __init__(self, gripper: Gripper) -> None:
        self.gripper = gripper
        self.part_planes = [[ConvexHull(part.vertices).equations for part in body] for body in gripper.collision_parts]
        self._whole: dict[int, Surface] = {}
        self._chords: dict[tuple[tuple[int, ...], int], tuple[Segments, ...]] = {}

    def reach(self, chosen: Reach) -> FingerReach | None:
        """The reach of the gripper's parts into openings; None for another choice than GRIPPER, or an unknown reach."""
        return self._finger_reach if chosen is Reach.GRIPPER else None

    @cached_property
    def _finger_reach(self) -> FingerReach | None:
        return finger_reach(self.gripper)

    def parts(self, opening: int) -> list[TriangleMesh]:
        """Every convex part at opening index `opening`, in the base frame."""
        return parts_in_base(self.gripper, opening)

    def whole(self, opening: int) -> Surface:
        """The surface of all parts at opening index `opening`, in the base frame."""
        if opening not in self._whole:
            self._whole[opening] = Surface(join_meshes(self.parts(opening)))
        return self._whole[opening]

    def chords(self, bodies: Sequence[int], opening: int) -> tuple[Segments, ...]:
        """The chords of all parts of some bodies (indices) at an opening index, in the base frame, in the groups of `part_chords`."""
        key = (tuple(bodies), opening)
        if key not in self._chords:
            groups = []
            for body in bodies:
                pose = self.gripper.pose_body_in_base[opening, body]
                for part, planes in zip(self.gripper.collision_parts[body], self.part_planes[body], strict=True):
                    groups.append([chords.transformed(pose) for chords in part_chords(part.vertices, planes)])
            self._chords[key] = tuple(map(Segments.join, zip(*groups, strict=True)))
        return self._chords[key]


def one_contains_other(
    shape: ObjectShape, gripper: GripperShape, pose_gripper_in_object: Floats, opening: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """(N,) whether a body of the object lies inside a gripper part, or a gripper part inside the object, at poses (N, 4, 4) and opening
    indices (N,) where the surfaces do not meet. The second case is tested for watertight meshes only."""
    swallowed = np.zeros(len(opening), bool)
    buried = np.zeros(len(opening), bool)
    for body, (parts, planes) in enumerate(zip(gripper.gripper.collision_parts, gripper.part_planes, strict=True)):
        if not parts:
            continue
        pose_body_in_object = pose_gripper_in_object @ gripper.gripper.pose_body_in_base[opening, body]
        in_body = transform_points(inverse(pose_body_in_object), shape.point_of_each_body[None])
        for outside in planes:
            swallowed |= (in_body @ outside[:, :3].T + outside[:, 3] <= 0).all(axis=2).any(axis=1)
        if shape.watertight:
            witness = transform_points(pose_body_in_object, np.stack([part.vertices[0] for part in parts])[None])  # (N, P, 3)
            near = ((witness > shape.low) & (witness < shape.high)).all(axis=2)
            near[near] = shape.rays.inside(witness[near])
            buried |= near.any(axis=1)
    return swallowed | buried


def in_collision(shape: ObjectShape, gripper: GripperShape, pose_gripper_in_object: Floats, opening: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(N,) whether the gripper at poses (N, 4, 4) and opening indices (N,) is in collision with the object: the surfaces meet, or one
    contains the other."""
    result = np.array(
        [shape.surface.meets(gripper.whole(int(k)), p) for p, k in zip(pose_gripper_in_object, opening, strict=True)], dtype=bool
    )
    apart = np.flatnonzero(~result)
    result[apart] = one_contains_other(shape, gripper, pose_gripper_in_object[apart], opening[apart])
    return result
