"""Rays against one triangle mesh: Embree finds the triangle in single precision, the distance is then computed in double.

The thread pools of the geometry libraries, which worker processes that fill the cores by themselves have no use for."""

from __future__ import annotations

import os
from dataclasses import dataclass

import manifold3d
import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh as EmbreeMesh
from numpy.typing import NDArray

from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.records import Floats, TriangleMesh


@dataclass(frozen=True, eq=False)
class Segments:
    """C segments, ready to be moved by many poses at once.

    starts: (12, 3 C) what takes a pose's rotation, row by row, and its translation to the moved starts, one after the other;
    directions: (9, 3 C) what takes the rotation to the moved unit directions. length: (C,) m.
    """

    starts: NDArray[np.float32]
    directions: NDArray[np.float32]
    length: Floats

    @staticmethod
    def between(start: Floats, direction: Floats, length: Floats) -> Segments:
        """Of starts and unit directions (C, 3) and lengths (C,), m."""
        return Segments(np.concatenate([_turning(start), np.tile(np.eye(3), len(start))]).astype(np.float32), _turning(direction), length)


def _turning(vectors: Floats) -> NDArray[np.float32]:
    """(9, 3 C) what takes a rotation, row by row, to the turned vectors (C, 3), one after the other."""
    matrix = np.zeros((3, 3, len(vectors), 3), np.float32)
    for axis in range(3):
        matrix[axis, :, :, axis] = vectors.T
    return matrix.reshape(9, -1)


class RayCaster:
    """Nearest hits of rays on a mesh."""

    def __init__(self, mesh: TriangleMesh) -> None:
        corner = mesh.vertices[mesh.faces]
        self._corner = corner[:, 0]
        self._normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        # Embree works in single precision: rays and mesh are moved near the origin and scaled to unit size for it.
        self._center = (mesh.vertices.max(axis=0) + mesh.vertices.min(axis=0)) / 2
        self._size = float(np.ptp(mesh.vertices, axis=0).max()) or 1.0
        self._scene = rtcore_scene.EmbreeScene()
        local = (mesh.vertices - self._center) / self._size
        self._mesh = EmbreeMesh(self._scene, local.astype(np.float32), np.ascontiguousarray(mesh.faces, np.int32))

    def first_hit(self, origin: Floats, direction: Floats) -> tuple[Floats, NDArray[np.int32]]:
        """Distances (N,) m to the first triangle along unit directions (N, 3) from origins (N, 3), and its index; inf and -1 where
        there is none."""
        if len(origin) == 0:
            return np.zeros(0), np.zeros(0, np.int32)
        local, toward = self._local(origin), direction.astype(np.float32)
        face = np.asarray(self._scene.run(local, toward, query="INTERSECT"), np.int32)
        found = np.flatnonzero(face >= 0)
        normal = self._normal[face[found]]
        height = np.einsum("ij,ij->i", normal, self._corner[face[found]] - origin[found])
        along = np.einsum("ij,ij->i", normal, direction[found])
        distance = np.full(len(origin), np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            distance[found] = height / along
        # A triangle seen edge-on has no well-defined distance along its plane: Embree's own is taken.
        steep = found[np.abs(along) < 1e-4 * np.linalg.norm(normal, axis=1)]
        if len(steep):
            distance[steep] = self._scene.run(local[steep], toward[steep], query="DISTANCE").astype(np.float64) * self._size
        return distance, face

    def between(self, start: Floats, end: Floats) -> NDArray[np.int32]:
        """A triangle that the way from starts (N, 3) to ends (N, 3) meets first, in single precision; -1 where it is free, (N,)."""
        if len(start) == 0:
            return np.zeros(0, np.int32)
        toward = end - start
        length = np.linalg.norm(toward, axis=1, keepdims=True)
        local, reach = self._local(start), (length[:, 0] / self._size).astype(np.float32)
        return np.asarray(self._scene.run(local, (toward / length).astype(np.float32), dists=reach, query="INTERSECT"), np.int32)

    def blocked(self, poses: Floats, segments: Segments) -> NDArray[np.bool_]:
        """(N, C) whether segments, moved by poses (N, 4, 4) into the mesh's frame, meet a triangle; in single precision throughout, so
        only good for refusing."""
        count, number = len(poses), len(segments.length)
        if count == 0 or number == 0:
            return np.zeros((count, number), bool)
        rotation = poses[:, :3, :3].reshape(count, 9)
        place = (poses[:, :3, 3] - self._center) / self._size
        # One product gives all rays, one after the other as Embree wants them.
        origin = np.concatenate([rotation / self._size, place], axis=1, dtype=np.float32) @ segments.starts
        toward = rotation.astype(np.float32) @ segments.directions
        reach = np.tile((segments.length / self._size).astype(np.float32), count)
        hit = self._scene.run(origin.reshape(-1, 3), toward.reshape(-1, 3), dists=reach, query="OCCLUDED")
        return np.asarray(hit).reshape(count, number) >= 0

    def _local(self, origin: Floats) -> NDArray[np.float32]:
        return ((origin - self._center) / self._size).astype(np.float32)

    def leaving(self, face: NDArray[np.int32], direction: Floats) -> NDArray[np.bool_]:
        """(N,) whether a ray along `direction` (N, 3) leaves the solid through `face` (N,); False where the face is -1."""
        return (face >= 0) & (np.einsum("ij,ij->i", self._normal[face], direction) > 0)

    def inside(self, point: Floats) -> NDArray[np.bool_]:
        """(N,) whether points (N, 3) lie inside a watertight mesh: the first face met is left, by the majority of three rays."""
        one, other = self._leave_along(point, _SKEW_DIRECTIONS[:2])
        torn = np.flatnonzero(one != other)
        if len(torn):
            one[torn] = self._leave_along(point[torn], _SKEW_DIRECTIONS[2:])[0]
        return one

    def _leave_along(self, point: Floats, axes: Floats) -> list[NDArray[np.bool_]]:
        """Of each of some directions (A, 3) whether the first face met from points (N, 3) along it is left, (N,)."""
        if len(point) == 0:
            return [np.zeros(0, bool) for _ in axes]
        toward = np.repeat(axes.astype(np.float32), len(point), axis=0)
        hit = np.asarray(self._scene.run(np.concatenate([self._local(point)] * len(axes)), toward, query="INTERSECT"), np.int32)
        faces = hit.reshape(len(axes), -1)
        return [(face >= 0) & (np.einsum("ij,j->i", self._normal[face], axis) > 0) for face, axis in zip(faces, axes, strict=True)]


# Directions along no symmetry of an ordinary mesh, so that rays seldom meet an edge or a vertex.
_SKEW_DIRECTIONS = np.array([[0.3618, 0.4472, 0.8180], [-0.7236, 0.5257, 0.4472], [0.2764, -0.8507, 0.4470]])
_SKEW_DIRECTIONS /= np.linalg.norm(_SKEW_DIRECTIONS, axis=1, keepdims=True)


ENOUGH_SEGMENTS = 64
"""Of a sphere that manifold3d takes its pool for."""


def keep_geometry_on_one_thread() -> None:
    """Has manifold3d and Embree start no threads of their own in this process, whatever they compute; for its main thread, before either
    has been used.

    Both come with oneTBB, which no setting reaches. It counts the cores that the process may run on when it is first used, once for all:
    for that moment there is one. Where a process cannot be bound to cores, as on macOS, nothing happens.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        manifold3d.Manifold.sphere(1.0, ENOUGH_SEGMENTS).volume()
        corners = np.concatenate([np.zeros((1, 3)), np.eye(3)])
        rays = RayCaster(triangle_mesh(corners, [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))
        rays.inside(np.full((1, 3), 0.1))
    finally:
        os.sched_setaffinity(0, cores)
