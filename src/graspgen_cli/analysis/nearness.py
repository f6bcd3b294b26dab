"""How many grasps are one grasp for every purpose: an exact search that stays quick whatever the poses are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graspgen_cli.records import Floats

NEAR = 0.001
"""m."""
TURNED = math.radians(1.0)
"""rad."""


def near_duplicates(pose_graspgen_in_object: Floats, *, symmetric: bool) -> NDArray[np.bool_]:
    """(N,) which grasps have another one so near that (d / NEAR)² + (angle / TURNED)² < 1, of poses (N, 4, 4) of GraspGen's frame.

    symmetric: a half turn about the approach axis gives the same grasp. Grasps that generating keeps apart, by 1 mm or by 1°, never count.
    """
    near = np.flatnonzero(_have_neighbours(pose_graspgen_in_object[:, :3, 3] / NEAR))
    result = np.zeros(len(pose_graspgen_in_object), bool)
    result[near] = _have_neighbours(_points(pose_graspgen_in_object[near], symmetric=symmetric))
    return result


def _have_neighbours(points: Floats) -> NDArray[np.bool_]:
    """(N,) which points (N, D) have another one within a distance of 1."""
    copies, copied = _equal_points(points)
    single = np.flatnonzero(~copies)
    result = copies | copied
    if len(single) > 1:
        # The nearest other point alone: pairs would be as many as the square of the grasps where all are near each other.
        tree = cKDTree(points[single], balanced_tree=False, compact_nodes=False)
        distance, _ = tree.query(points[single], k=2, distance_upper_bound=1.0)
        result[single] |= np.isfinite(distance[:, 1])
    return result


def _equal_points(points: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) which points equal one before them, and (N,) which have such a copy. No tree can divide equal points."""
    order = np.argsort(points @ np.sqrt(np.arange(2.0, 2.0 + points.shape[1])), kind="stable")
    row = points[order]
    same = (row[1:] == row[:-1]).all(axis=1)
    copies, copied = np.zeros((2, len(points)), bool)
    copies[order[1:]], copied[order[:-1]] = same, same
    return copies, copied


def _points(poses: Floats, *, symmetric: bool) -> Floats:
    """Poses as points whose distance is sqrt((d / NEAR)² + (angle / TURNED)²) for small angles.

    Turning the axes x, y, z by a small angle moves them, as one vector of nine numbers, by √2 times the angle. The matrices x xᵀ and y yᵀ
    do not know the sign of their axes, so that a half turn about z changes nothing; with √2 z beside them the distance is twice the angle.
    """
    x, y, z = (poses[:, :3, k] for k in range(3))
    place = poses[:, :3, 3] / NEAR
    if symmetric:
        return np.concatenate([place, _line(x) / (2 * TURNED), _line(y) / (2 * TURNED), z * (math.sqrt(0.5) / TURNED)], axis=1)
    return np.concatenate([place, *(axis / (math.sqrt(2.0) * TURNED) for axis in (x, y, z))], axis=1)


def _line(axis: Floats) -> Floats:
    """(N, 6): the matrix axis axisᵀ, its entries off the diagonal times √2 for standing twice in it."""
    a, b, c = axis.T
    return np.stack([a * a, b * b, c * c, math.sqrt(2) * a * b, math.sqrt(2) * a * c, math.sqrt(2) * b * c], axis=1)
