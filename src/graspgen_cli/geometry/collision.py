"""Exact tests of a gripper against an object's true mesh: surfaces by BVH against BVH (FCL), containment by points."""

from __future__ import annotations

import fcl
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull

from graspgen_cli.geometry.chords import Chords, part_chords
from graspgen_cli.geometry.poses import inverse, transform_points
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.records import Floats, Gripper, TargetObject, TriangleMesh

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
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(mesh.vertices),) * 2)
    label = connected_components(graph, directed=False)[1]
    used = np.unique(mesh.faces)
    return mesh.vertices[used[np.unique(label[used], return_index=True)[1]]]


class ObjectShape:
    """An object's true mesh, ready for exact tests. The object's frame is the world of every test."""

    def __init__(self, target: TargetObject) -> None:
        self.mesh = target.mesh
        self.rays = RayCaster(target.mesh)
        self.watertight = target.watertight
        self.low, self.high = target.mesh.vertices.min(axis=0), target.mesh.vertices.max(axis=0)
        self.component_points = _one_vertex_per_component(target.mesh)
        self.bvh = _bvh([target.mesh])


class GripperShape:
    """A gripper's collision parts at each measured opening, in the base frame; BVHs are built when first asked for."""

    def __init__(self, gripper: Gripper) -> None:
        self.gripper = gripper
        self._finger_indices = [gripper.body_names.index(name) for name in gripper.finger_bodies]
        self._whole: dict[int, fcl.CollisionObject] = {}
        self._fingers: dict[tuple[int, int], fcl.CollisionObject] = {}
        self._planes: dict[int, list[Floats]] = {}
        self._chords: dict[int, tuple[Chords, Chords]] = {}
        self._finger_chords: dict[tuple[int, int], tuple[Chords, Chords]] = {}

    def parts(self, opening: int) -> list[TriangleMesh]:
        """Every convex part at opening index `opening`, in the base frame."""
        poses = self.gripper.pose_body_in_base[opening]
        return [moved(part, pose) for pose, body in zip(poses, self.gripper.collision_parts, strict=True) for part in body]

    def whole(self, opening: int) -> fcl.CollisionObject:
        """The whole gripper at an opening."""
        if opening not in self._whole:
            self._whole[opening] = _bvh(self.parts(opening))
        return self._whole[opening]

    def finger(self, finger: int, opening: int) -> fcl.CollisionObject:
        """One finger body (0 or 1) at an opening."""
        key = (finger, opening)
        if key not in self._fingers:
            body = self._finger_indices[finger]
            pose = self.gripper.pose_body_in_base[opening, body]
            self._fingers[key] = _bvh([moved(part, pose) for part in self.gripper.collision_parts[body]])
        return self._fingers[key]

    def part_planes(self, opening: int) -> list[Floats]:
        """For each convex part its outward half spaces (F, 4): inside where n . x + d <= 0."""
        if opening not in self._planes:
            self._planes[opening] = [ConvexHull(part.vertices).equations for part in self.parts(opening)]
        return self._planes[opening]

    def chords(self, opening: int) -> tuple[Chords, Chords]:
        """The longest chord of each part at an opening, and all the others."""
        if opening not in self._chords:
            pairs = [part_chords(p.vertices, f) for p, f in zip(self.parts(opening), self.part_planes(opening), strict=True)]
            self._chords[opening] = Chords.join([first for first, _ in pairs]), Chords.join([rest for _, rest in pairs])
        return self._chords[opening]

    def finger_chords(self, finger: int, opening: int) -> tuple[Chords, Chords]:
        """The longest chord of each part of one finger body at an opening, and all of its chords."""
        key = (finger, opening)
        if key not in self._finger_chords:
            body = self._finger_indices[finger]
            first = sum(len(parts) for parts in self.gripper.collision_parts[:body])
            numbers = range(first, first + len(self.gripper.collision_parts[body]))
            parts, planes = self.parts(opening), self.part_planes(opening)
            pairs = [part_chords(parts[n].vertices, planes[n]) for n in numbers]
            longest = Chords.join([chords for chords, _ in pairs])
            self._finger_chords[key] = longest, Chords.join([longest, *(rest for _, rest in pairs)])
        return self._finger_chords[key]


def surfaces_touch(shape: ObjectShape, body: fcl.CollisionObject, pose_gripper_in_object: Floats) -> bool:
    """Whether a gripper body's surface at the pose (4, 4) meets the object's surface."""
    body.setTransform(fcl.Transform(pose_gripper_in_object[:3, :3], pose_gripper_in_object[:3, 3]))
    return bool(fcl.collide(shape.bvh, body, _REQUEST, fcl.CollisionResult()))


def one_contains_other(shape: ObjectShape, gripper: GripperShape, opening: int, pose_gripper_in_object: Floats) -> NDArray[np.bool_]:
    """(N,) whether, at poses (N, 4, 4) where no surfaces meet, a body of the object lies inside a part of the gripper or a part of
    the gripper inside the object. The second needs a watertight mesh and is False for others."""
    in_gripper = transform_points(inverse(pose_gripper_in_object), shape.component_points[None])
    swallowed = np.zeros(len(pose_gripper_in_object), bool)
    for planes in gripper.part_planes(opening):
        inside = np.asarray((in_gripper @ planes[:, :3].T + planes[:, 3] <= 0).all(axis=2))
        swallowed |= inside.any(axis=1)
    if not shape.watertight:
        return swallowed
    witness = np.stack([part.vertices[0] for part in gripper.parts(opening)])
    in_object = transform_points(pose_gripper_in_object, witness[None])
    near = ((in_object > shape.low) & (in_object < shape.high)).all(axis=2)
    buried = np.zeros_like(near)
    buried[near] = shape.rays.inside(in_object[near])
    return swallowed | buried.any(axis=1)


def in_collision(shape: ObjectShape, gripper: GripperShape, pose_gripper_in_object: Floats, opening: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(N,) whether the gripper at poses (N, 4, 4) and opening indices (N,) is in collision with the object: surfaces meet, or one
    contains the other."""
    result = np.array(
        [surfaces_touch(shape, gripper.whole(int(k)), p) for p, k in zip(pose_gripper_in_object, opening, strict=True)], dtype=bool
    )
    for k in np.unique(opening[~result]):
        rows = np.flatnonzero(~result & (opening == k))
        result[rows] = one_contains_other(shape, gripper, int(k), pose_gripper_in_object[rows])
    return result
