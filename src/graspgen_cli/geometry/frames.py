"""Frames that depend on the shape alone: a shape has the same coordinates there in any file frame. All lengths in m."""

from __future__ import annotations

import itertools

import numpy as np

from graspgen_cli.geometry.meshes import face_areas, face_normals, longest_side, transform_mesh, triangle_mesh
from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import Floats, TriangleMesh

ALIKE = 1e-6  # relative difference below which two distances are equal; the first point wins, independent of rounding
DECIMALS = 9  # decimals (nm) of compared numbers and of coordinates in an own frame, so that rounding errors cannot decide
FACINGS = 6  # number of the commonest normal directions that form candidate frames
WORTHWHILE = 0.01  # alignment that another frame must gain over the frame about the axis of symmetry
DISTINCT = 1e-3  # least difference between principal spreads with an axis of their own, as a share of the largest spread
MOST_FRAMES = 3  # frames to cut in, in turn, until the pieces keep the allowed gap
FINEST = 2.0**-28  # grid of coordinates as a share of the object's size: finer than any file, far coarser than rounding errors


def pose_in_own_frame(points: Floats, origin: Floats) -> Floats:
    """(4, 4) pose of the frame of points (P, 3) m in their own frame, which is the same for the same shape in any file frame.

    The own frame has its origin at `origin` (3,) m, its x axis towards the farthest point and its y axis, perpendicular to x, towards the
    point farthest from the x axis. The order of the points breaks ties. A rigid motion of points and origin changes the coordinates in
    the own frame by rounding errors only, which `in_own_frame` removes.
    """
    from_origin = points - origin
    x = _farthest_direction(from_origin, otherwise=np.array([1.0, 0.0, 0.0]))
    turn = np.stack([x, *_perpendicular_axes(x, from_origin)])
    return pose(turn, -turn @ origin)


def in_own_frame(points_in_own_frame: Floats) -> Floats:
    """The coordinates rounded to DECIMALS; minus zero becomes zero."""
    return np.round(points_in_own_frame, DECIMALS) + 0.0


def _perpendicular_axes(x: Floats, points: Floats) -> tuple[Floats, Floats]:
    """Unit vectors y and z (3,) that complete a unit vector x (3,) to a right-handed frame; y points to the point (P, 3) farthest from
    the x axis."""
    across = points - np.outer(points @ x, x)
    y = _farthest_direction(across, otherwise=np.eye(3)[np.abs(x).argmin()])
    z = np.cross(x, y)
    z /= np.linalg.norm(z)
    return np.cross(z, x), z


def _farthest_direction(points: Floats, *, otherwise: Floats) -> Floats:
    """(3,) unit vector to the point (P, 3) farthest from the origin, the first of ALIKE ones; `otherwise` if all points are the origin."""
    distance = np.linalg.norm(points, axis=1)
    farthest = distance.max(initial=0.0)
    if not farthest > 0.0:
        return otherwise
    first = int(np.argmax(distance >= (1.0 - ALIKE) * farthest))
    return np.asarray(points[first] / distance[first])


def snap_to_frame(mesh: TriangleMesh, pose_mesh_in_frame: Floats) -> TriangleMesh:
    """The mesh in another frame, with coordinates rounded to FINEST of its size: faces across an axis become exactly flat, and the result
    does not depend on the mesh's own frame."""
    moved = transform_mesh(pose_mesh_in_frame, mesh)
    unit = 2.0 ** np.ceil(np.log2(longest_side(moved))) * FINEST
    return triangle_mesh(np.round(moved.vertices / unit) * unit, mesh.faces)


def cutting_frames(mesh: TriangleMesh) -> list[Floats]:
    """Poses (4, 4) of the mesh's frame in at most MOST_FRAMES frames whose axes are normal to most of the surface, the best first.

    Candidates are a frame about the axis of symmetry, the principal axes, and pairs of the commonest normals. The score to minimise is
    the area-weighted mean of |normal|₁, which is 1 for an axis-aligned surface.
    """
    pose_mesh_in_own = pose_in_own_frame(mesh.vertices, mesh.vertices.mean(axis=0))
    own = transform_mesh(pose_mesh_in_own, mesh)
    triangles = own.vertices[own.faces]
    normals, areas = face_normals(triangles), face_areas(triangles)
    turns = [*_principal_frames(triangles.mean(axis=1), areas, own.vertices), *_facing_frames(normals, areas)]
    scores = np.array([(np.abs(normals @ turn.T).sum(axis=1) * areas).sum() / areas.sum() for turn in turns])
    scores[0] -= WORTHWHILE
    best = np.argsort(np.round(scores, DECIMALS), kind="stable")[:MOST_FRAMES]
    return [pose(turns[index] * np.sign(np.linalg.det(turns[index])), np.zeros(3)) @ pose_mesh_in_own for index in best]


def _principal_frames(points: Floats, weights: Floats, vertices: Floats) -> list[Floats]:
    """A frame (3, 3) about the axis of symmetry (the most distinct principal axis), then the principal axes. For equal spreads LAPACK's
    choice of axes depends on rounding errors; the vertices decide in its place."""
    spread, columns = np.linalg.eigh(np.cov(points.T, aweights=weights))
    low, high = np.diff(spread)
    if low + high < DISTINCT * spread[2]:
        return [np.eye(3)]
    axes = columns.T * _sign_of_largest(columns.T)
    axis = axes[0 if low > high else 2]
    about = np.stack([*_perpendicular_axes(axis, vertices - vertices.mean(axis=0)), axis])
    return [about, axes] if min(low, high) > DISTINCT * spread[2] else [about]


def _sign_of_largest(vectors: Floats) -> Floats:
    """(N, 1) sign of the component of largest magnitude of vectors (N, 3)."""
    rough = np.round(vectors, DECIMALS)
    return np.asarray(np.sign(rough[np.arange(len(rough)), np.abs(rough).argmax(axis=1)])[:, None])


def _facing_frames(normals: Floats, areas: Floats) -> list[Floats]:
    """Frames (3, 3) of pairs of perpendicular directions among the commonest normals by area, sign ignored. A direction is the normal of
    its largest triangle: exact, unlike an average."""
    areas = np.round(areas / areas.max(), DECIMALS)
    by_area = np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)]  # degenerate faces have no normal
    normals, areas = normals[by_area], areas[by_area]
    rough = np.round(normals, DECIMALS) * _sign_of_largest(normals)
    _, largest, kind = np.unique(np.round(rough, 2), axis=0, return_index=True, return_inverse=True)
    most = np.argsort(-np.round(np.bincount(kind.reshape(-1), weights=areas), DECIMALS), kind="stable")[:FACINGS]
    frames = []
    for first, second in itertools.product(normals[largest[most]], repeat=2):
        across = second - first * (first @ second)
        if abs(first @ second) < 0.05:
            across /= np.linalg.norm(across)
            frames.append(np.stack([across, np.cross(first, across), first]))
    return frames
