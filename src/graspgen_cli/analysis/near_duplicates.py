"""Near-duplicates among grasps: an exact search that is fast for any poses."""

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
_STEP, _LARGEST = 1.001, 1e9
"""Step between grids, and the largest coordinate at which the excess of the step over 1 exceeds the rounding error."""
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64).view(np.int64)
"""Odd multipliers of a hash of cells, which is the highest bits of the sum."""


def near_duplicates(pose_graspgen_in_object: Floats, *, symmetric: bool) -> NDArray[np.bool_]:
    """(N,) which poses (N, 4, 4) of GraspGen's frame have another pose with (d / NEAR)² + (angle / TURNED)² < 1.

    symmetric: a half turn about the approach axis gives the same grasp. Guesses are at least 1 mm or 1° apart, so they never count.
    """
    places = pose_graspgen_in_object[:, :3, 3] / NEAR
    candidates = np.flatnonzero(_may_have_neighbours(places))
    near = candidates[_have_neighbours(places[candidates])]
    result = np.zeros(len(pose_graspgen_in_object), bool)
    result[near] = _have_neighbours(_points(pose_graspgen_in_object[near], symmetric=symmetric))
    return result


def _may_have_neighbours(points: Floats) -> NDArray[np.bool_]:
    """(N,) which points (N, 3) share a cell with another point in one of four grids: every point with a neighbour within 1, and a few more.
    Takes a fifth of the time of a tree of all points.

    Cells are 4 wide, and each grid is shifted by 1 along all axes. At most one grid separates two such points along each axis, so that in
    one of the four grids they share a cell.
    """
    number = len(points)
    if number == 0 or np.abs(points).max() > _LARGEST:
        return np.ones(number, bool)
    bits = min(number.bit_length() + 5, 20)  # 1 of 50 lone cells shares its entry of the table
    last, order = np.empty(1 << bits, np.int32), np.arange(number, dtype=np.int32)
    result = np.zeros(number, bool)
    for shift in range(4):
        cells = np.floor(points / (4 * _STEP) + shift / 4).astype(np.int64)
        entry = (cells @ _FACTORS).view(np.uint64) >> np.uint64(64 - bits)
        last[entry] = order
        earlier = last[entry] != order
        result |= earlier
        result[last[entry[earlier]]] = True
    return result


def _have_neighbours(points: Floats) -> NDArray[np.bool_]:
    """(N,) which points (N, D) have another point within a distance of 1."""
    copies, copied = _equal_points(points)
    single = np.flatnonzero(~copies)
    result = copies | copied
    if len(single) > 1:
        # Only the nearest other point: the number of pairs could be the square of the number of grasps.
        tree = cKDTree(points[single], balanced_tree=False, compact_nodes=False)
        distance, _ = tree.query(points[single], k=2, distance_upper_bound=1.0)
        result[single] |= np.isfinite(distance[:, 1])
    return result


def _equal_points(points: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) which points equal an earlier point, and (N,) which have such a copy. No tree can divide equal points."""
    order = np.argsort(points @ np.sqrt(np.arange(2.0, 2.0 + points.shape[1])), kind="stable")
    row = points[order]
    same = (row[1:] == row[:-1]).all(axis=1)
    copies, copied = np.zeros((2, len(points)), bool)
    copies[order[1:]], copied[order[:-1]] = same, same
    return copies, copied


def _points(poses: Floats, *, symmetric: bool) -> Floats:
    """Poses as points whose distance is sqrt((d / NEAR)² + (angle / TURNED)²) for small angles.

    A rotation by a small angle moves the axes x, y, z, as one vector of nine numbers, by √2 times the angle. For a symmetric gripper x xᵀ
    and y yᵀ take their place, which a half turn about z leaves unchanged; together with √2 z they move by twice the angle.
    """
    x, y, z = (poses[:, :3, k] for k in range(3))
    place = poses[:, :3, 3] / NEAR
    if symmetric:
        return np.concatenate([place, _line(x) / (2 * TURNED), _line(y) / (2 * TURNED), z * (math.sqrt(0.5) / TURNED)], axis=1)
    return np.concatenate([place, *(axis / (math.sqrt(2.0) * TURNED) for axis in (x, y, z))], axis=1)


def _line(axis: Floats) -> Floats:
    """(N, 6): the matrix axis axisᵀ, with its off-diagonal entries times √2, since each occurs twice."""
    a, b, c = axis.T
    return np.stack([a * a, b * b, c * c, math.sqrt(2) * a * b, math.sqrt(2) * a * c, math.sqrt(2) * b * c], axis=1)
