"""The frame that a shape has of its own: the same for the same shape, wherever a file puts it and however it is turned there."""

from __future__ import annotations

import numpy as np

from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import Floats

ALIKE = 1e-6
"""Points whose distances differ by less than this share are equally far: the first of them is taken, whatever rounding says."""
DECIMALS = 9
"""Decimals (nm) of coordinates in an own frame: rounding hides which frame they came from."""


def pose_in_own_frame(points: Floats, origin: Floats) -> Floats:
    """(4, 4): the frame in which points (P, 3) m are given, in the points' own frame.

    That has its origin at `origin` (3,) m, its x axis towards the farthest point and its y axis, at a right angle, towards the point
    farthest from that axis. Where symmetry leaves a choice, the order of the points decides. A rigid motion of points and origin changes
    nothing but the last bits of what is then found in the own frame, which `in_own_frame` rounds away.
    """
    from_origin = points - origin
    x = farthest_direction(from_origin, otherwise=np.array([1.0, 0.0, 0.0]))
    across = from_origin - np.outer(from_origin @ x, x)
    y = farthest_direction(across, otherwise=np.eye(3)[np.abs(x).argmin()])
    z = np.cross(x, y)
    z /= np.linalg.norm(z)
    turn = np.stack([x, np.cross(z, x), z])
    return pose(turn, -turn @ origin)


def in_own_frame(points_in_own_frame: Floats) -> Floats:
    """Coordinates as they are used: rounded to DECIMALS."""
    return np.round(points_in_own_frame, DECIMALS) + 0.0


def farthest_direction(points: Floats, *, otherwise: Floats) -> Floats:
    """The unit vector (3,) towards the point (P, 3) farthest from the origin, the first of those ALIKE; `otherwise` where all are there."""
    distance = np.linalg.norm(points, axis=1)
    farthest = distance.max(initial=0.0)
    if not farthest > 0.0:
        return otherwise
    first = int(np.argmax(distance >= (1.0 - ALIKE) * farthest))
    return np.asarray(points[first] / distance[first])
