"""The two fingers: which bodies they are, along which axis they close, and where their pads are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import inverse, transform_points
from graspgen_cli.records import Floats, TriangleMesh

_PAD_THICKNESS = 0.0005
"""m: whatever of a finger lies within it of the finger's innermost point belongs to the pad's surface."""
_MOVES = 1e-4
"""m: a body whose middle moves by less stands still."""


@dataclass(frozen=True)
class Pad:
    """The pad of one finger, in its finger body's frame.

    tip: (3,) m, the point of the pad's surface centred across it at the fingertip's end.
    size: length along the approach axis and width across, m.
    """

    tip: Floats
    size: tuple[float, float]


def find_fingers(parts: tuple[tuple[TriangleMesh, ...], ...], names: tuple[str, ...], poses: Floats, source: str) -> tuple[str, str]:
    """The names of the two bodies that move oppositely, where there are just two.

    poses: (2, B, 4, 4) of the bodies at both ends of the motion. Raises GripperError where the fingers are not clear.
    """
    moving: list[tuple[str, Floats]] = []
    for body, name in enumerate(names):
        if parts[body]:
            middles = transform_points(poses[:, body], _vertices(parts[body])).mean(axis=1)
            if np.linalg.norm(middles[1] - middles[0]) > _MOVES:
                moving.append((name, middles))
    if len(moving) != 2:
        found = ", ".join(name for name, _ in moving) or "none"
        raise GripperError(f"{source}: the fingers are not clear (moving bodies: {found}); write a gripper .yaml that names finger_bodies")
    (first, a), (second, b) = moving
    if (a[1] - a[0]) @ (b[1] - b[0]) >= 0:
        raise GripperError(f"{source}: {first} and {second} do not move oppositely; write a gripper .yaml that names finger_bodies")
    # The one towards the negative side of the axis along which they lie is finger 0.
    between = (b - a).mean(axis=0)
    return (first, second) if between[np.abs(between).argmax()] > 0 else (second, first)


def closing_axis(
    parts: tuple[tuple[TriangleMesh, ...], ...], fingers: tuple[int, int], poses: Floats, approach: Floats, source: str
) -> Floats:
    """Unit vector (3,) from finger 0 to finger 1 along which they approach each other, at a right angle to the approach axis.

    poses: (2, B, 4, 4) of the bodies at both ends of the motion. Raises GripperError where the fingers keep their distance.
    """
    for finger in fingers:
        if not parts[finger]:
            raise GripperError(f"{source}: a finger body has no collision geometry")
    middle = [transform_points(poses[:, finger], _vertices(parts[finger])).mean(axis=1) for finger in fingers]
    between = middle[1] - middle[0]  # (2, 3)
    change = between[1] - between[0]
    change = change - (change @ approach) * approach
    if np.linalg.norm(change) < _MOVES:
        raise GripperError(f"{source}: the fingers do not move towards each other")
    axis = change / np.linalg.norm(change)
    axis = axis if (between.sum(axis=0) @ axis) > 0 else -axis
    clean = np.round(axis, 9) + 0.0
    return np.asarray(clean / np.linalg.norm(clean))


def find_pad(parts: tuple[TriangleMesh, ...], pose: Floats, approach: Floats, inward: Floats) -> Pad:
    """The pad of a finger: the flat that faces the other finger.

    parts: the finger's convex parts in its body's frame; pose: (4, 4) of the body in the base's frame; inward: (3,) unit, towards
    the other finger.
    """
    points = transform_points(pose, _vertices(parts))
    along, depth, across_axis = points @ approach, points @ inward, np.cross(approach, inward)
    surface = depth > depth.max() - _PAD_THICKNESS
    across = points[surface] @ across_axis
    top, bottom = along[surface].max(), along[surface].min()
    tip = depth.max() * inward + top * approach + (across.max() + across.min()) / 2 * across_axis
    return Pad(tip=transform_points(inverse(pose), tip[None])[0], size=(float(top - bottom), float(np.ptp(across))))


def _vertices(parts: tuple[TriangleMesh, ...]) -> Floats:
    return np.concatenate([part.vertices for part in parts])
