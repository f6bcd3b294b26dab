"""The two fingers: which bodies they are, along which axes they close and approach, and where their pads are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.meshes import face_crosses, face_normals
from graspgen_cli.geometry.poses import inverse, transform_points
from graspgen_cli.records import Floats, TriangleMesh

Parts = tuple[tuple[TriangleMesh, ...], ...]

_PAD_THICKNESS = 0.0005
"""m: whatever of a finger lies within it of the finger's innermost point belongs to the pad's surface."""
_MOVES = 1e-4
"""m: a body whose middle moves by less stands still."""
_MEET = 0.002
"""m: bodies that come as near as this are as near as any."""
_SNAP_APPROACH = np.radians(10.0)
_SNAP_SWING = np.radians(3.0)
_SNAP_SLIDE = 1e-5
"""rad: axes nearer than this to an axis of the base are that axis. The approach axis is known by about where the fingers are, the closing
axis of fingers that turn by their shapes; of fingers that do not turn it is as exact as the file's numbers."""
_TURNS = 1e-4
_FACES_INWARD = 0.7
"""Cosine of the angle to the closing axis under which a pad's surface counts as one."""


@dataclass(frozen=True)
class Pad:
    """The pad of one finger, in its finger body's frame.

    tip: (3,) m, the point of the pad's surface centred across it at the fingertip's end.
    size: length towards the tip and width across, m.
    along: (3,) unit, in the surface, towards the tip.
    """

    tip: Floats
    size: tuple[float, float]
    along: Floats


def find_fingers(parts: Parts, names: tuple[str, ...], poses: Floats, source: str) -> tuple[str, str]:
    """The names of the two bodies that are the fingers: of all that move towards each other and meet, the farthest out.

    parts: of each body, in its frame; poses: (2, B, 4, 4) of the bodies at both ends of the motion. The finger towards the negative
    side of the axis along which they lie comes first. Raises GripperError where the fingers are not clear.
    """
    clouds = {body: transform_points(poses[:, body], vertices(parts[body])) for body in range(len(names)) if parts[body]}
    moving = {body: cloud for body, cloud in clouds.items() if np.linalg.norm(_travel(cloud)) > _MOVES}
    pairs = [pair for first, second in combinations(moving, 2) if (pair := _facing(moving, first, second)) is not None]
    if not pairs:
        found = ", ".join(names[body] for body in moving) or "none"
        raise GripperError(
            f"{source}: the fingers are not clear: no two bodies move towards each other (moving: {found}); "
            "name two with --finger-colliders, or finger_bodies in a gripper .yaml"
        )
    nearest = min(pair.gap for pair in pairs)
    best = max((pair for pair in pairs if pair.gap <= nearest + _MEET), key=lambda pair: pair.reach)
    between = _between(clouds, best)
    swapped = between[np.abs(between).argmax()] < 0
    return (names[best.second], names[best.first]) if swapped else (names[best.first], names[best.second])


@dataclass(frozen=True)
class _Facing:
    """Two bodies that move oppositely. gap: m, between them where they are nearest; reach: m, how far out they go."""

    first: int
    second: int
    gap: float
    reach: float


def _facing(clouds: dict[int, Floats], first: int, second: int) -> _Facing | None:
    """Two bodies as a pair of fingers; None where they do not move towards each other."""
    a, b = clouds[first], clouds[second]
    travel = np.stack([_travel(a), _travel(b)])
    change = travel[1] - travel[0]
    length = np.linalg.norm(change)
    if length < _MOVES:
        return None
    axis = change / length
    if (travel[0] @ axis) * (travel[1] @ axis) >= 0 or np.abs(travel @ axis).min() < 0.2 * np.abs(travel @ axis).max():
        return None
    ahead = 1.0 if (b.mean(axis=1) - a.mean(axis=1)).sum(axis=0) @ axis > 0 else -1.0
    gap = ((ahead * (b @ axis)).min(axis=1) - (ahead * (a @ axis)).max(axis=1)).min()
    # Out of the base, at a right angle to the closing axis: as far as both go.
    both = np.concatenate([a, b], axis=1).reshape(-1, 3)
    across = both - np.outer(both @ axis, axis)
    middle = across.mean(axis=0)
    out = middle / max(float(np.linalg.norm(middle)), 1e-12)
    reach = min(float((cloud.reshape(-1, 3) @ out).max()) for cloud in (a, b))
    return _Facing(first, second, max(0.0, float(gap)), reach)


def _between(clouds: dict[int, Floats], pair: _Facing) -> Floats:
    """(3,) from the middle of the first body to that of the second, over both ends of the motion."""
    return np.asarray((clouds[pair.second].mean(axis=1) - clouds[pair.first].mean(axis=1)).mean(axis=0))


def _travel(cloud: Floats) -> Floats:
    """(3,) m, how the middle of a body's points (2, P, 3) moves."""
    return np.asarray(cloud[1].mean(axis=0) - cloud[0].mean(axis=0))


def closing_axis(parts: Parts, fingers: tuple[int, int], poses: Floats, source: str) -> Floats:
    """Unit vector (3,) from finger 0 to finger 1 along which they approach each other.

    poses: (2, B, 4, 4) of the bodies at both ends of the motion. Raises GripperError where the fingers keep their distance.
    """
    for finger in fingers:
        if not parts[finger]:
            raise GripperError(f"{source}: a finger body has no collision geometry")
    middle = [transform_points(poses[:, finger], vertices(parts[finger])).mean(axis=1) for finger in fingers]
    between = middle[1] - middle[0]  # (2, 3)
    change = between[1] - between[0]
    if np.linalg.norm(change) < _MOVES:
        raise GripperError(f"{source}: the fingers do not move towards each other")
    axis = change / np.linalg.norm(change)
    turned = np.abs(np.diff(poses[:, list(fingers), :3, :3], axis=0)).max() > _TURNS
    return snapped(axis if (between.sum(axis=0) @ axis) > 0 else -axis, _SNAP_SWING if turned else _SNAP_SLIDE)


def approach_axis(parts: Parts, fingers: tuple[int, int], pose: Floats, closing: Floats, source: str) -> tuple[Floats, str]:
    """Unit vector (3,) at a right angle to the closing axis from the base to the fingers, and what there is to say about it.

    pose: (B, 4, 4) of the bodies. Raises GripperError where the fingers do not stand out of the base.
    """
    middle = np.mean([transform_points(pose[finger], vertices(parts[finger])).mean(axis=0) for finger in fingers], axis=0)
    base = vertices(parts[0]).mean(axis=0) if parts[0] else np.zeros(3)
    out = middle - base
    out = out - (out @ closing) * closing
    length = float(np.linalg.norm(out))
    if length < _MOVES:
        raise GripperError(f"{source}: approach axis not found: the fingers do not stand out of the base; give approach_axis")
    axis = snapped(out / length, _SNAP_APPROACH)
    axis = axis - (axis @ closing) * closing
    axis = snapped(axis / np.linalg.norm(axis), _SNAP_SLIDE)
    note = "" if np.abs(axis).max() > 1 - 1e-9 else f"the approach axis {np.round(axis, 4).tolist()} is no axis of the base"
    return axis, note


def snapped(axis: Floats, angle: float) -> Floats:
    """The axis of the base that is within an angle (rad) of a unit vector (3,), or else the vector without its last bits."""
    index = int(np.abs(axis).argmax())
    nearest = np.zeros(3)
    nearest[index] = np.sign(axis[index])
    if np.linalg.norm(axis - nearest) <= angle:
        return nearest
    clean = np.round(axis, 9) + 0.0
    return np.asarray(clean / np.linalg.norm(clean))


def flush_pad(parts: tuple[TriangleMesh, ...], pose: Floats, approach: Floats, inward: Floats) -> Pad:
    """The pad of a finger whose pad faces the other one squarely: whatever lies at the innermost of the parts.

    parts: convex parts in the body's frame; pose: (4, 4) of the body in the base's frame; inward: (3,) unit, towards the other finger.
    """
    points = transform_points(pose, vertices(parts))
    return _pad(points, points @ inward > (points @ inward).max() - _PAD_THICKNESS, pose, approach, inward)


def largest_facet(parts: tuple[TriangleMesh, ...], pose: Floats, approach: Floats, inward: Floats) -> Pad:
    """The pad of a finger that swings: of the parts' flat sides that look inwards more than elsewhere, the one that covers the most.

    Arguments as for `flush_pad`.
    """
    best, largest = Pad(np.zeros(3), (0.0, 0.0), approach), -1.0
    for part in parts:
        points = transform_points(pose, part.vertices)
        crosses = face_crosses(points[part.faces])
        for normal in np.unique(np.round(face_normals(points[part.faces]), 3), axis=0):
            length = float(np.linalg.norm(normal))
            if length < 0.5 or normal @ inward < _FACES_INWARD * length:
                continue
            normal = normal / length
            covered = float((crosses @ inward)[crosses @ normal > 0.9999 * np.linalg.norm(crosses, axis=1)].sum())
            if covered > largest:
                surface = points @ normal > (points @ normal).max() - _PAD_THICKNESS
                best, largest = _pad(points, surface, pose, _unit(approach - (approach @ normal) * normal), normal), covered
    return best


def _pad(points: Floats, surface: NDArray[np.bool_], pose: Floats, along: Floats, normal: Floats) -> Pad:
    """The pad that some of the points (P, 3) of a finger make, in the base's frame, and its normal; both directions unit."""
    reach, depth, across = points[surface] @ along, (points @ normal).max(), points[surface] @ np.cross(along, normal)
    middle = (across.max() + across.min()) / 2
    tip = depth * normal + reach.max() * along + middle * np.cross(along, normal)
    return Pad(
        tip=transform_points(inverse(pose), tip[None])[0],
        size=(float(np.ptp(reach)), float(np.ptp(across))),
        along=pose[:3, :3].T @ along,
    )


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / np.linalg.norm(vector))


def vertices(parts: tuple[TriangleMesh, ...]) -> Floats:
    """(V, 3) m of all parts."""
    return np.concatenate([part.vertices for part in parts])
