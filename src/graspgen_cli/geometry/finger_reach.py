"""How narrow an opening lets a gripper in, and how far its parts reach beyond what fits through it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog, nnls
from scipy.spatial import ConvexHull

from graspgen_cli.records import Floats, Gripper, TriangleMesh

CORE = 0.9
"""Share of the inradius of the thinnest part by which all parts are eroded: near the whole of it, what is left of a wedge or a pyramid lies
far from its edges."""
PENETRATION = 0.0005
"""m that a part may press into the object on its way. It comes on top of the rest of the inradius: a part as thick as 7 mm needs to press
0.85 mm deep on both sides to pass where it counts as not fitting."""
PLANES_ALIKE = 9
"""Decimals to which the planes of a part's faces are told apart: the triangles of one face have one plane."""


@dataclass(frozen=True)
class FingerReach:
    """What all collision parts of a gripper have in common, m. Every part is convex, and has come from outside to whatever it touches: so
    have the balls of radius `clearance` inside it, and every point of the part is within `length` of the centre of one."""

    clearance: float
    length: float


def finger_reach(gripper: Gripper) -> FingerReach | None:
    """That of a gripper's collision parts; None where there are none, or one is thinner than what parts press into an object.

    A part eroded by a radius is what lies at least so deep inside all its planes; the point of the part farthest from that is a vertex,
    because the distance from a convex set is a convex function.
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
    """(P, 4): unit normal, outwards, and minus the offset, m, of each plane of a convex part."""
    return np.asarray(np.unique(ConvexHull(part.vertices).equations.round(PLANES_ALIKE), axis=0))


def _inradius(planes: Floats) -> float:
    """m: radius of the largest ball inside all planes (P, 4)."""
    inside = np.concatenate([planes[:, :3], np.ones((len(planes), 1))], axis=1)
    found = linprog([0, 0, 0, -1], A_ub=inside, b_ub=-planes[:, 3], bounds=[(None, None)] * 3 + [(0, None)])
    return float(found.x[3])


def _distance(point: Floats, planes: Floats, depth: float) -> float:
    """m from a point (3,) to what lies at least `depth` inside all planes (P, 4): Lawson and Hanson's least distance programming."""
    beyond = planes[:, :3] @ point + planes[:, 3] + depth
    if (beyond <= 0).all():
        return 0.0
    matrix = np.concatenate([-planes[:, :3].T, beyond[None]])
    goal = np.array([0.0, 0.0, 0.0, 1.0])
    residual = matrix @ nnls(matrix, goal)[0] - goal
    return float(np.linalg.norm(residual[:3] / residual[3]))
