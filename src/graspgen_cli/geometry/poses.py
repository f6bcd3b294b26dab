"""Rigid transforms as 4 x 4 matrices, and all conversions of quaternions."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from graspgen_cli.records import Floats

DECIMALS = 8  # decimals (10 nm) of poses, rounded before the collision test: the tested pose is the pose in the file
STABLE_DECIMALS = 11  # of numbers that enter a simulation: the last bits of a sum differ between processors, and a trial amplifies them


def stable(values: Floats) -> Floats:
    """Values rounded to STABLE_DECIMALS: equal on every processor, except for rare ties. Minus zero becomes zero."""
    return np.round(values, STABLE_DECIMALS) + 0.0


def pose(rotation: Floats, translation: Floats) -> Floats:
    """Poses (..., 4, 4) from rotations (..., 3, 3) and translations (..., 3)."""
    batch = np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])
    result = np.zeros((*batch, 4, 4))
    result[..., :3, :3] = rotation
    result[..., :3, 3] = translation
    result[..., 3, 3] = 1.0
    return result


def inverse(poses: Floats) -> Floats:
    """Inverses (..., 4, 4) of rigid transforms (..., 4, 4)."""
    rotation = np.swapaxes(poses[..., :3, :3], -1, -2)
    return pose(rotation, -(rotation @ poses[..., :3, 3:])[..., 0])


def about(center: Floats, motion: Floats) -> Floats:
    """(N, 4, 4) motions (N, 4, 4) applied about centres (N, 3)."""
    there = pose(np.eye(3), center)
    moved: Floats = there @ motion @ inverse(there)
    return moved


def transform_points(poses: Floats, points: Floats) -> Floats:
    """Points (..., P, 3) transformed by poses (..., 4, 4)."""
    return points @ np.swapaxes(poses[..., :3, :3], -1, -2) + poses[..., None, :3, 3]


def rounded(poses: Floats) -> Floats:
    """Poses with every entry rounded to DECIMALS; minus zero becomes zero."""
    return np.round(poses, DECIMALS) + 0.0


def quaternion_wxyz(rotation: Floats) -> Floats:
    """Unit quaternions (N, 4), scalar first as in MuJoCo, of rotations (N, 3, 3)."""
    return np.roll(Rotation.from_matrix(rotation).as_quat(), 1, axis=-1)


def rotation_from_wxyz(quaternion: Floats) -> Floats:
    """Rotations (N, 3, 3) of quaternions (N, 4), scalar first."""
    return np.asarray(Rotation.from_quat(np.roll(quaternion, -1, axis=-1)).as_matrix())


def rotation_angle(rotation: Floats) -> Floats:
    """(N,) rad angles of rotations (N, 3, 3), accurate near 0 and near pi."""
    return np.linalg.norm(Rotation.from_matrix(rotation).as_rotvec(), axis=-1)


def is_rotation(matrices: Floats, tolerance: float = 1e-4) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(N,) whether poses (N, 4, 4) are rigid: a rotation in the upper left 3 x 3, a finite translation, the last row 0 0 0 1."""
    row = np.ascontiguousarray(np.moveaxis(matrices, 0, -1))  # (4, 4, N): row[i, j] is one entry of every pose
    a, b, c = row[:3, :3]
    with np.errstate(invalid="ignore", over="ignore"):
        skew = [np.abs((left * right).sum(axis=0) - (left is right)) for left, right in ((a, a), (a, b), (a, c), (b, b), (b, c), (c, c))]
        # NaN fails every comparison.
        near = [error < tolerance for error in (*skew, *np.abs(row[3] - [[0.0], [0.0], [0.0], [1.0]]))]
        normal = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
        right_handed = normal[0] * c[0] + normal[1] * c[1] + normal[2] * c[2] > 0
    return np.logical_and.reduce([*near, right_handed, *np.isfinite(row[:3, 3])])
