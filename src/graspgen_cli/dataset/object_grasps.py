"""What a file of any format says of one object's grasps, and the plain values that such files are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graspgen_cli.geometry.poses import is_rotation, pose, rotation_from_wxyz
from graspgen_cli.records import Floats, GraspDataset

Values = Mapping[str, Any]
"""Plain values, as JSON holds them."""


@dataclass(frozen=True)
class DamagedFile:
    """A file, or a part of one, that cannot be used.

    path: the file. reason: why, in one line, without the file's name.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class IsaacFields:
    """What an isaac_grasp file says besides poses and confidence as such, kept so that it can be written again without loss.

    header: the top level without ``grasps``.
    grasps: for each grasp, in order, its fields without ``position``; ``name`` is its key in the file.
    """

    header: Values
    grasps: tuple[Values, ...]


@dataclass(frozen=True, eq=False)
class ObjectGrasps:
    """One object's grasps as read from a file of any format.

    dataset: the grasps; ``pose_gripper_in_object`` takes the frame of the gripper that the file means (`gripper_frame`) to the frame of
    the scaled object, m.
    """

    dataset: GraspDataset
    gripper_frame: str
    """The gripper's frame in words: what the file calls it, else ``base``."""
    pose_graspgen_in_gripper: Floats | None = None
    """(4, 4): pose of GraspGen's frame (approach +Z, closing X) in `gripper_frame`, so that ``grasp @ it`` is what the trainer uses; None
    where the file does not say."""
    isaac: IsaacFields | None = None
    """Of isaac_grasp files, and of files that were converted from them."""
    notes: tuple[str, ...] = field(default=())
    """What was assumed because the file does not say it, in words."""


def offset_pose(value: object) -> Floats | None:
    """The pose (4, 4) that an offset in a file stands for: [[x, y, z], [qx, qy, qz, qw]], 16 numbers row by row, or 4 x 4; None where
    it is none of these or no rigid transform."""
    try:
        if isinstance(value, list | tuple) and len(value) == 2:
            translation, quaternion_xyzw = (np.asarray(part, np.float64) for part in value)
            matrix = pose(rotation_from_wxyz(np.roll(quaternion_xyzw, 1)), translation)
        else:
            matrix = np.asarray(value, np.float64).reshape(4, 4)
    except (TypeError, ValueError, OverflowError):
        return None
    return matrix if matrix.shape == (4, 4) and is_rotation(matrix[None])[0] else None


def finite(value: object, what: str) -> float:
    """The number that a file gives. Raises ValueError, naming `what`, where it is none or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} is not a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{what} is not finite")
    return number
