"""Exact tests of a gripper against an object's true mesh: surfaces by BVH against BVH (FCL), containment by points."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import fcl
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from graspgen_cli.geometry.chords import Chords, part_chords
from graspgen_cli.geometry.finger_reach import FingerReach, finger_reach
from graspgen_cli.geometry.meshes import body_of_vertices
from graspgen_cli.geometry.poses import inverse, transform_points
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.geometry.reach import outer_surface
from graspgen_cli.records import Floats, Gripper, TargetObject, TriangleMesh
from graspgen_cli.settings.reach_models import Reach

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
