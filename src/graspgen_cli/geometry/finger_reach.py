"""The reach of a gripper: the width of the openings that admit its parts, and the depth that the parts reach beyond the opening."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog, nnls
from scipy.spatial import ConvexHull

from graspgen_cli.records import Floats, Gripper, TriangleMesh

CORE = 0.9
"""Share of the thinnest part's inradius by which all parts are eroded. The full inradius would leave a wedge a core far from its edges."""
PENETRATION = 0.0005
"""m by which a part may press into the object on its way. The rest of the inradius adds to this: a part 7 mm thick must press 0.85 mm
deep on both sides to pass an opening that counts as too narrow."""
PLANE_DECIMALS = 9  # Decimals to which face planes are compared: the triangles of one flat face share a plane


@dataclass(frozen=True)
class FingerReach:
    """What all convex collision parts of a gripper have in common.

    A part that touches the object came from outside, and so did the balls of radius `clearance` (m) inside the part. Every point of the
    part is within `length` (m) of the centre of such a ball.
    """

    clearance: float
    length: float


def finger_reach(gripper: Gripper) -> FingerReach | None:
    """The reach of a gripper's collision parts; None for a gripper without parts, or with a part thinner than PENETRATION allows.

    A part eroded by a radius is the set of points at least that deep inside all its planes. The farthest point of the part from this set
    is a vertex, since the distance from a convex set is a convex function.
    """
    parts = [part for body in gripper.collision_parts for part in body]
    if not parts:
        return None
    planes = [_planes(part) for part in parts]
    core = CORE * min(_inradius(each) for each in planes)
    if core <= PENETRATION:
        return None
    farthest = max(_distance(vertex, each, core) for part, each in zip(parts, planes, strict=True) for vertex in part.vertices)
    return FingerReach(core - PENETRATION, farthest)


def _planes(part: TriangleMesh) -> Floats:
    """(P, 4) face planes of a convex part: outward unit normal n and d (m), with n . x + d <= 0 inside."""
    return np.asarray(np.unique(ConvexHull(part.vertices).equations.round(PLANE_DECIMALS), axis=0))


def _inradius(planes: Floats) -> float:
    """Radius of the largest ball inside planes (P, 4), m."""
    inside = np.concatenate([planes[:, :3], np.ones((len(planes), 1))], axis=1)
    found = linprog([0, 0, 0, -1], A_ub=inside, b_ub=-planes[:, 3], bounds=[(None, None)] * 3 + [(0, None)])
    return float(found.x[3])


def _distance(point: Floats, planes: Floats, depth: float) -> float:
    """Distance (m) of a point (3,) to the set at least `depth` (m) inside planes (P, 4): Lawson and Hanson's least distance programming."""
    beyond = planes[:, :3] @ point + planes[:, 3] + depth
    if (beyond <= 0).all():
        return 0.0
    matrix = np.concatenate([-planes[:, :3].T, beyond[None]])
    goal = np.array([0.0, 0.0, 0.0, 1.0])
    residual = matrix @ nnls(matrix, goal)[0] - goal
    return float(np.linalg.norm(residual[:3] / residual[3]))
