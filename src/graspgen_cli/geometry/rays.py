"""Rays against one triangle mesh. Embree finds the triangle in single precision; the distance is then computed in double precision."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import manifold3d
import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh as EmbreeMesh
from numpy.typing import NDArray

from graspgen_cli.geometry.meshes import bounds, face_crosses, longest_side, mesh_from_solid
from graspgen_cli.records import Floats, TriangleMesh

SKEW_DIRECTIONS = np.array([[0.3618, 0.4472, 0.8180], [-0.7236, 0.5257, 0.4472], [0.2764, -0.8507, 0.4470]])
"""(3, 3) unit vectors along no symmetry axis of common shapes, so that rays seldom hit an edge or a vertex."""
SKEW_DIRECTIONS /= np.linalg.norm(SKEW_DIRECTIONS, axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Segments:
    """C line segments in one frame. start: (C, 3) m; direction: (C, 3) unit; length: (C,) m."""

    start: Floats
    direction: Floats
    length: Floats

    @cached_property
    def matrices(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(12, 3 C) from a pose's rotation, row by row, and translation to the transformed starts, concatenated; (9, 3 C) from the
        rotation to the transformed directions."""
        starts = np.concatenate([_rotating(self.start), np.tile(np.eye(3), len(self.start))])
        return starts.astype(np.float32), _rotating(self.direction)

    def transformed(self, pose: Floats) -> Segments:
        """The segments transformed by a pose (4, 4)."""
        rotation = pose[:3, :3]
        return Segments(self.start @ rotation.T + pose[:3, 3], self.direction @ rotation.T, self.length)

    @staticmethod
    def join(segments: Sequence[Segments]) -> Segments:
        """All segments, in order."""
        return Segments(*(np.concatenate([getattr(each, name) for each in segments]) for name in ("start", "direction", "length")))


def _rotating(vectors: Floats) -> NDArray[np.float32]:
    """(9, 3 C) matrix from a rotation, row by row, to the rotated vectors (C, 3), concatenated."""
    matrix = np.zeros((3, 3, len(vectors), 3), np.float32)
    for axis in range(3):
        matrix[axis, :, :, axis] = vectors.T
    return matrix.reshape(9, -1)


class RayCaster:
    """Ray queries against a mesh."""

    def __init__(self, mesh: TriangleMesh) -> None:
        corner = mesh.vertices[mesh.faces]
        self._corner = corner[:, 0]
        self._normal = face_crosses(corner)
        # Embree works in single precision, so rays and mesh are centred at the origin and scaled to unit size.
        self._center = bounds(mesh).sum(axis=0) / 2
        self._size = longest_side(mesh) or 1.0
        self._scene = rtcore_scene.EmbreeScene()
        self._mesh = EmbreeMesh(self._scene, self._local(mesh.vertices), np.ascontiguousarray(mesh.faces, np.int32))

    def first_hit(self, origin: Floats, direction: Floats) -> tuple[Floats, NDArray[np.int32]]:
        """(N,) m distances along unit directions (N, 3) from origins (N, 3) to the first triangle, and its index (N,); a miss is inf,
        -1."""
        local, toward = self._local(origin), direction.astype(np.float32)
        face = self._intersect(local, toward)
        found = np.flatnonzero(face >= 0)
        normal = self._normal[face[found]]
        height = np.einsum("ij,ij->i", normal, self._corner[face[found]] - origin[found])
        along = np.einsum("ij,ij->i", normal, direction[found])
        distance = np.full(len(origin), np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            distance[found] = height / along
        # The plane of a triangle seen edge-on gives no accurate distance; Embree's is used.
        steep = found[np.abs(along) < 1e-4 * np.linalg.norm(normal, axis=1)]
        if len(steep):
            distance[steep] = self._scene.run(local[steep], toward[steep], query="DISTANCE").astype(np.float64) * self._size
        return distance, face

    def first_between(self, start: Floats, end: Floats) -> NDArray[np.int32]:
        """(N,) first triangle on the way from starts (N, 3) to ends (N, 3), in single precision; -1 for a free way."""
        toward = end - start
        length = np.linalg.norm(toward, axis=1, keepdims=True)
        reach = (length[:, 0] / self._size).astype(np.float32)
        return self._intersect(self._local(start), (toward / length).astype(np.float32), dists=reach)

    def blocked(self, poses: Floats, segments: Segments) -> NDArray[np.bool_]:
        """(N,) whether any segment, transformed by poses (N, 4, 4) into the mesh's frame, hits a triangle. In single precision: a hit can
        reject a pose, a miss proves nothing."""
        count, number = len(poses), len(segments.length)
        if count == 0 or number == 0:
            return np.zeros(count, bool)
        rotation = poses[:, :3, :3].reshape(count, 9)
        place = (poses[:, :3, 3] - self._center) / self._size
        starts, directions = segments.matrices
        # One matrix product writes all rays in Embree's memory order.
        origin = np.concatenate([rotation / self._size, place], axis=1, dtype=np.float32) @ starts
        toward = rotation.astype(np.float32) @ directions
        reach = np.tile((segments.length / self._size).astype(np.float32), count)
        hit = self._scene.run(origin.reshape(-1, 3), toward.reshape(-1, 3), dists=reach, query="OCCLUDED")
        return np.asarray((np.asarray(hit).reshape(count, number) >= 0).any(axis=1))

    def leaving(self, face: NDArray[np.int32], direction: Floats) -> NDArray[np.bool_]:
        """(N,) whether a ray along `direction` (N, 3) leaves the solid through `face` (N,); False for face -1."""
        return (face >= 0) & (np.einsum("ij,ij->i", self._normal[face], direction) > 0)

    def inside(self, point: Floats) -> NDArray[np.bool_]:
        """(N,) whether points (N, 3) lie inside a watertight mesh: a majority of three rays leaves the solid at its first hit."""
        one, other = self._leave_along(point, SKEW_DIRECTIONS[:2])
        torn = np.flatnonzero(one != other)
        if len(torn):
            one[torn] = self._leave_along(point[torn], SKEW_DIRECTIONS[2:])[0]
        return one

    def _leave_along(self, point: Floats, axes: Floats) -> list[NDArray[np.bool_]]:
        """For each direction (A, 3), whether rays along it from points (N, 3) leave the solid at their first hit, (N,)."""
        toward = np.repeat(axes.astype(np.float32), len(point), axis=0)
        faces = self._intersect(np.concatenate([self._local(point)] * len(axes)), toward).reshape(len(axes), -1)
        return [(face >= 0) & (np.einsum("ij,j->i", self._normal[face], axis) > 0) for face, axis in zip(faces, axes, strict=True)]

    def _intersect(self, origin: NDArray[np.float32], direction: NDArray[np.float32], **limits: NDArray[np.float32]) -> NDArray[np.int32]:
        """(N,) first triangle along rays in Embree's coordinates; -1 for a miss. Embree accepts no empty arrays."""
        return np.asarray(self._scene.run(origin, direction, query="INTERSECT", **limits) if len(origin) else [], np.int32)

    def _local(self, points: Floats) -> NDArray[np.float32]:
        return ((points - self._center) / self._size).astype(np.float32)


ENOUGH_SEGMENTS = 64  # segments of a sphere at which manifold3d uses its thread pool


def keep_geometry_on_one_thread() -> None:
    """Makes manifold3d and Embree run without threads of their own in this process. Call on the main thread, before either is used.

    Both use oneTBB, which no setting controls: on first use it counts the cores that the process may run on, so the process is bound to
    one core at that moment. Does nothing where processes cannot be bound to cores (macOS).
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        sphere = manifold3d.Manifold.sphere(1.0, ENOUGH_SEGMENTS)
        RayCaster(mesh_from_solid(sphere)).inside(np.zeros((1, 3)))
    finally:
        os.sched_setaffinity(0, cores)
