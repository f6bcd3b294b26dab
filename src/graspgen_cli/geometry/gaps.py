"""How far the surface of convex pieces stands off the mesh that they stand for."""

from __future__ import annotations

from collections.abc import Sequence

import fcl
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graspgen_cli.geometry.meshes import extents, face_areas, face_normals
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.records import Floats, TriangleMesh

MOST_SURFACE_SAMPLES = 200_000
MOST_CHECKED_SAMPLES = 1500
REPORTED_SAMPLES = 3000


def spread_points(triangles: Floats, count: int) -> tuple[Floats, NDArray[np.intp]]:
    """Points (N, 3) spread evenly over triangles (T, 3, 3) by area, always the same ones, and the triangle of each, (N,).

    Low-discrepancy steps of the golden ratio's two-dimensional kin (Roberts 2018, "R2"), folded into each triangle.
    """
    areas = face_areas(triangles)
    share = np.cumsum(areas)
    step = np.arange(count)
    chosen = np.searchsorted(share, (step + 0.5) / count * share[-1]).clip(max=len(areas) - 1)
    root = np.sqrt(step * 0.7548776662466927 % 1.0)[:, None]
    along = (step * 0.5698402909980532 % 1.0)[:, None]
    a, b, c = triangles[chosen].swapaxes(0, 1)
    return (1 - root) * a + root * (1 - along) * b + root * along * c, chosen


class GapBound:
    """Tells whether points stand farther than `bound` (m) off a closed mesh, outside of it."""

    def __init__(self, mesh: TriangleMesh, bound: float) -> None:
        triangles = mesh.vertices[mesh.faces]
        count = int(min(MOST_SURFACE_SAMPLES, face_areas(triangles).sum() / (bound / 2) ** 2)) + 1
        self._tree = cKDTree(np.concatenate([spread_points(triangles, count)[0], mesh.vertices]))
        self._rays = RayCaster(mesh)
        self._bound = bound

    def keeps(self, triangles: Floats, *, relaxed: float = 1.0) -> bool:
        """Whether triangles (T, 3, 3), the surface of a convex hull, stay inside the mesh or within `relaxed` times the bound of it.

        Judged at points as dense as the bound and by a distance that is up to a twentieth too large.
        """
        if not len(triangles):
            return True
        bound = self._bound * relaxed
        count = int(min(MOST_CHECKED_SAMPLES, face_areas(triangles).sum() / (0.7 * bound) ** 2)) + 1
        points = np.concatenate([spread_points(triangles, count)[0], triangles.mean(axis=1)])
        distance, _ = self._tree.query(points, distance_upper_bound=1.05 * bound)
        far = points[np.isinf(distance)]
        return not len(far) or bool(self._rays.inside(far).all())


def measure_gap(pieces: Sequence[TriangleMesh], mesh: TriangleMesh) -> tuple[float, float]:
    """Mean and largest distance, m, from the surface of the union of convex pieces to the mesh.

    Taken exactly at a few thousand points: spread by area for the mean, and the middle of every face for the largest as well. Points of
    a piece that lie inside another one are no surface of the union.
    """
    triangles = np.concatenate([piece.vertices[piece.faces] for piece in pieces])
    owner = np.repeat(np.arange(len(pieces)), [len(piece.faces) for piece in pieces])
    spread, face = spread_points(triangles, REPORTED_SAMPLES)
    points = np.concatenate([spread, triangles.mean(axis=1)])
    face = np.concatenate([face, np.arange(len(triangles))])
    outside = points + face_normals(triangles)[face] * 1e-6 * float(extents(mesh).max())
    bare = ~_inside_another(outside, owner[face], pieces)
    distance = distance_to_surface(points[bare], mesh)
    of_spread = distance[: int(bare[: len(spread)].sum())]
    return float(of_spread.mean()), float(distance.max())


def _inside_another(points: Floats, owner: NDArray[np.intp], pieces: Sequence[TriangleMesh]) -> NDArray[np.bool_]:
    """Whether each point (N, 3) lies in a convex piece other than its owner (N,), (N,)."""
    inside = np.zeros(len(points), np.bool_)
    for index, piece in enumerate(pieces):
        low, high = piece.vertices.min(axis=0), piece.vertices.max(axis=0)
        asked = np.flatnonzero(~inside & (owner != index) & (points >= low).all(axis=1) & (points <= high).all(axis=1))
        inside[asked] = depth_outside(points[asked], piece) < 0
    return inside


def depth_outside(points: Floats, piece: TriangleMesh) -> Floats:
    """How far each point (N, 3) lies beyond the farthest face plane of a convex piece, m; negative inside, (N,).

    A plane is taken at the piece's vertex that reaches farthest along the face's normal: the normal of a sliver is not to be trusted.
    """
    normals = face_normals(piece.vertices[piece.faces])
    offsets = (piece.vertices @ normals.T).max(axis=0)
    return np.asarray((points @ normals.T - offsets).max(axis=1, initial=-np.inf))


def distance_to_surface(points: Floats, mesh: TriangleMesh) -> Floats:
    """Exact distance of each point (N, 3) to the mesh's surface, m, (N,)."""
    model = fcl.BVHModel()
    model.beginModel(len(mesh.vertices), len(mesh.faces))
    model.addSubModel(mesh.vertices, mesh.faces)
    model.endModel()
    surface = fcl.CollisionObject(model)
    dot = fcl.CollisionObject(fcl.Sphere(1e-12))
    request = fcl.DistanceRequest()
    distances = np.empty(len(points))
    for index, point in enumerate(points):
        dot.setTranslation(point)
        distances[index] = fcl.distance(surface, dot, request, fcl.DistanceResult())
    return distances.clip(min=0.0)
