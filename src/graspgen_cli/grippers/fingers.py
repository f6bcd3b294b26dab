"""The two fingers of a gripper: their bodies, the closing and approach axes, and the pads."""

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
"""For each body its convex collision parts, m, in the body's frame."""

_PAD_THICKNESS = 0.0005  # m: depth behind a finger's innermost point that counts as the pad's surface
_MOVES = 1e-4  # m: a body whose centre moves by less stands still
_MEET = 0.002  # m: tolerance on the smallest gap between a pair of bodies
_SNAP_APPROACH, _SNAP_SWING, _SNAP_SLIDE = np.radians(10.0), np.radians(3.0), 1e-5
"""rad: an axis this near to an axis of the base becomes that axis. The fingers' positions give the approach axis roughly; swinging fingers'
shapes give the closing axis better; sliding fingers give it exactly."""
_TURNS = 1e-4  # of an entry of a rotation matrix: fingers that turn by less slide
_FACES_INWARD = 0.7  # least cosine between the normal of a pad's surface and the closing direction


@dataclass(frozen=True)
class Pad:
    """The pad of a finger, in the finger body's frame.

    tip: (3,) m, on the pad's surface, centred across the pad, at the fingertip's end.
    size: length towards the tip and width across, m. along: (3,) unit, in the surface, towards the tip.
    """

    tip: Floats
    size: tuple[float, float]
    along: Floats


@dataclass(frozen=True)
class _Pair:
    """Two bodies that move towards each other. gap: smallest distance, m; reach: distance from the base out of the base, m."""

    first: int
    second: int
    gap: float
    reach: float


def find_fingers(parts: Parts, names: tuple[str, ...], poses: Floats, source: str) -> tuple[int, int]:
    """The bodies of the two fingers: of the pairs that move towards each other and meet, the pair farthest from the base.

    The finger on the negative side of the closing axis comes first. poses: (2, B, 4, 4) of the bodies at both ends of the motion.
    Raises GripperError if no pair of bodies moves towards each other.
    """
    clouds = {body: transform_points(poses[:, body], vertices(parts[body])) for body in range(len(names)) if parts[body]}
    moving = {body: cloud for body, cloud in clouds.items() if np.linalg.norm(_travel(cloud)) > _MOVES}
    pairs = [pair for first, second in combinations(moving, 2) if (pair := _pair(moving, first, second)) is not None]
    if not pairs:
        found = ", ".join(names[body] for body in moving) or "none"
        raise GripperError(
            f"{source}: the fingers are not clear: no two bodies move towards each other (moving: {found}); "
            "name two with --finger-colliders, or finger_bodies in a gripper .yaml"
        )
    nearest = min(pair.gap for pair in pairs)
    best = max((pair for pair in pairs if pair.gap <= nearest + _MEET), key=lambda pair: pair.reach)
    between = (clouds[best.second].mean(axis=1) - clouds[best.first].mean(axis=1)).mean(axis=0)
    return (best.second, best.first) if between[np.abs(between).argmax()] < 0 else (best.first, best.second)


def _pair(clouds: dict[int, Floats], first: int, second: int) -> _Pair | None:
    """Two bodies as a pair of fingers; None if the bodies do not move towards each other.

    clouds: (2, P, 3) m points of each body at both ends of the motion.
    """
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
    # The direction out of the base, perpendicular to the closing axis; the reach is that of the shorter finger.
    both = np.concatenate([a, b], axis=1).reshape(-1, 3)
    middle = (both - np.outer(both @ axis, axis)).mean(axis=0)
    out = middle / max(float(np.linalg.norm(middle)), 1e-12)
    return _Pair(first, second, max(0.0, float(gap)), min(float((cloud.reshape(-1, 3) @ out).max()) for cloud in (a, b)))


def _travel(cloud: Floats) -> Floats:
    """(3,) m, motion of the centre of a body's points (2, P, 3)."""
    return np.asarray(cloud[1].mean(axis=0) - cloud[0].mean(axis=0))


def closing_axis(parts: Parts, fingers: tuple[int, int], poses: Floats, source: str) -> Floats:
    """Unit vector (3,) from finger 0 to finger 1, along which the fingers approach each other.

    poses: (2, B, 4, 4) of the bodies at both ends of the motion. Raises GripperError if the fingers keep their distance.
    """
    if not all(parts[finger] for finger in fingers):
        raise GripperError(f"{source}: a finger body has no collision geometry")
    middle = [transform_points(poses[:, finger], vertices(parts[finger])).mean(axis=1) for finger in fingers]
    between = middle[1] - middle[0]  # (2, 3)
    change = between[1] - between[0]
    if np.linalg.norm(change) < _MOVES:
        raise GripperError(f"{source}: the fingers do not move towards each other")
    axis = change / np.linalg.norm(change)
    turned = np.abs(np.diff(poses[:, list(fingers), :3, :3], axis=0)).max() > _TURNS
    return _snapped(axis if (between.sum(axis=0) @ axis) > 0 else -axis, _SNAP_SWING if turned else _SNAP_SLIDE)


def approach_axis(parts: Parts, fingers: tuple[int, int], poses: Floats, closing: Floats, source: str) -> tuple[Floats, str]:
    """Unit vector (3,) from the base to the fingers, perpendicular to the closing axis, and a note if it is no axis of the base.

    poses: (B, 4, 4) of the bodies. Raises GripperError if the fingers do not stand out of the base.
    """
    middle = np.mean([transform_points(poses[finger], vertices(parts[finger])).mean(axis=0) for finger in fingers], axis=0)
    out = middle - (vertices(parts[0]).mean(axis=0) if parts[0] else np.zeros(3))
    out = out - (out @ closing) * closing
    length = float(np.linalg.norm(out))
    if length < _MOVES:
        raise GripperError(f"{source}: approach axis not found: the fingers do not stand out of the base; give approach_axis")
    axis = _snapped(out / length, _SNAP_APPROACH)
    axis = axis - (axis @ closing) * closing
    axis = _snapped(axis / np.linalg.norm(axis), _SNAP_SLIDE)
    note = "" if np.abs(axis).max() > 1 - 1e-9 else f"the approach axis {np.round(axis, 4).tolist()} is no axis of the base"
    return axis, note


def _snapped(axis: Floats, angle: float) -> Floats:
    """The axis of the base within an angle (rad) of a unit vector (3,); without one, the vector without its last bits."""
    index = int(np.abs(axis).argmax())
    nearest = np.zeros(3)
    nearest[index] = np.sign(axis[index])
    if np.linalg.norm(axis - nearest) <= angle:
        return nearest
    clean = np.round(axis, 9) + 0.0
    return np.asarray(clean / np.linalg.norm(clean))


def flush_pad(parts: tuple[TriangleMesh, ...], pose: Floats, approach: Floats, inward: Floats) -> Pad:
    """The pad of a finger whose pad squarely faces the other finger: the innermost points of the parts.

    parts: convex, in the body's frame; pose: (4, 4) of the body in the base's frame; inward: (3,) unit, towards the other finger.
    """
    points = transform_points(pose, vertices(parts))
    return _pad(points, points @ inward > (points @ inward).max() - _PAD_THICKNESS, pose, approach, inward)


def largest_facet(parts: tuple[TriangleMesh, ...], pose: Floats, approach: Floats, inward: Floats) -> Pad:
    """The pad of a swinging finger: the flat side of the parts that faces inward and covers most across the closing axis.

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
                along = approach - (approach @ normal) * normal
                best, largest = _pad(points, surface, pose, np.asarray(along / np.linalg.norm(along)), normal), covered
    return best


def _pad(points: Floats, surface: NDArray[np.bool_], pose: Floats, along: Floats, normal: Floats) -> Pad:
    """The pad made of some of a finger's points (P, 3). points, along, normal: in the base's frame; the directions are unit."""
    reach, depth, across = points[surface] @ along, (points @ normal).max(), points[surface] @ np.cross(along, normal)
    middle = (across.max() + across.min()) / 2
    tip = depth * normal + reach.max() * along + middle * np.cross(along, normal)
    size = float(np.ptp(reach)), float(np.ptp(across))
    return Pad(transform_points(inverse(pose), tip[None])[0], size, pose[:3, :3].T @ along)


def vertices(parts: tuple[TriangleMesh, ...]) -> Floats:
    """(V, 3) m of all parts."""
    return np.concatenate([part.vertices for part in parts])
