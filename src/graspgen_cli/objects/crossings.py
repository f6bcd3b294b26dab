"""Whether a closed surface encloses what is behind its faces: one that crosses itself may enclose less than nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.gaps import spread_points
from graspgen_cli.geometry.meshes import extents, face_normals
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.records import Floats, TriangleMesh

TESTED_POINTS = 256
WRONG = 0.05
"""Share of the surface that may be wrong: small folds are common and harmless."""
STEP = 1e-5
"""Share of the size by which points stand off the surface: far above single precision, far below any wall."""
MOST_CROSSINGS = 32
DIRECTION = np.array([0.3618, 0.4472, 0.8180]) / np.linalg.norm([0.3618, 0.4472, 0.8180])
"""Along no symmetry of an ordinary mesh, so that rays seldom meet an edge."""


def encloses_its_inside(mesh: TriangleMesh) -> bool:
    """Whether a closed mesh with normals outwards winds at least once around what is just behind its faces, and not backwards around what
    is just before them.

    Where it runs through itself forwards, as a loop of tube does, it winds twice, which does no harm.
    """
    triangles = mesh.vertices[mesh.faces]
    points, face = spread_points(triangles, TESTED_POINTS)
    off = face_normals(triangles)[face] * STEP * float(extents(mesh).max())
    rays = RayCaster(mesh)
    step = STEP * float(extents(mesh).max())
    behind, before = (turns_around(rays, points + side * off, step) for side in (-1, 1))
    return float(((behind < 1) | (before < 0)).mean()) < WRONG


def turns_around(rays: RayCaster, points: Floats, step: float) -> NDArray[np.int64]:
    """How often a closed mesh winds around points (N, 3): the faces that a ray from each leaves through less those it enters, (N,).

    The ray goes on `step` (m) behind each face that it meets.
    """
    turns = np.zeros(len(points), np.int64)
    origin = points.copy()
    under_way = np.arange(len(points))
    for _ in range(MOST_CROSSINGS):
        direction = np.broadcast_to(DIRECTION, (len(under_way), 3))
        distance, face = rays.first_hit(origin[under_way], direction)
        turns[under_way] += np.where(face < 0, 0, np.where(rays.leaving(face, direction), 1, -1))
        under_way, distance = under_way[face >= 0], distance[face >= 0]
        if not len(under_way):
            break
        origin[under_way] += (distance[:, None] + step) * DIRECTION
    return turns
