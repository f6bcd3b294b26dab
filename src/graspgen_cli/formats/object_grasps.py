"""What a file of any format says of one object's grasps, and the plain values that such files are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from graspgen_cli.geometry.poses import is_rotation, pose, quaternion_wxyz, rotation_from_wxyz
from graspgen_cli.records import Floats, GraspDataset

GRASP_SUFFIX = ".grasps.json"
"""Suffix of the grasp files of a GraspGen dataset."""
Values = Mapping[str, Any]
"""Plain values, as JSON holds them."""
FRAMES_KEY = "frames"
"""Key of converted JSON files under which they say, in words, which frames the poses are in."""
ISAAC_KEY = "isaac_grasp"
"""Key of converted JSON files that keeps the fields of an isaac_grasp file."""


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
    document: Values = field(default_factory=dict)
    """All that a JSON file says, so that what is not ours can be written again."""
    notes: tuple[str, ...] = ()
    """What was assumed because the file does not say it, in words."""


def offset_pose(value: object) -> Floats | None:
    """The pose (4, 4) that an offset in a file stands for: [[x, y, z], [qx, qy, qz, qw]], 16 numbers row by row, or 4 x 4; None where
    it is none of these or no rigid transform."""
    try:
        if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(part, list | tuple) for part in value):
            return _rigid_pose(*map(tuple, value))
        matrix = np.asarray(value, np.float64).reshape(4, 4)
    except (TypeError, ValueError, OverflowError):
        return None
    return matrix if is_rotation(matrix[None])[0] else None


@lru_cache(maxsize=64)
def _rigid_pose(translation: tuple[float, ...], quaternion_xyzw: tuple[float, ...]) -> Floats | None:
    """The same for the usual form, which nearly every file of a dataset repeats; the array is shared and cannot be written to."""
    turned = rotation_from_wxyz(np.roll(np.asarray(quaternion_xyzw, np.float64), 1))
    matrix = pose(turned, np.asarray(translation, np.float64))
    matrix.flags.writeable = False
    return matrix if matrix.shape == (4, 4) and is_rotation(matrix[None])[0] else None


def finite(value: object, what: str) -> float:
    """The number that a file gives. Raises ValueError, naming `what`, where it is none or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} is not a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{what} is not finite")
    return number


def offset_values(offset: Floats) -> tuple[list[float], list[float]]:
    """An offset's pose (4, 4) as files give it: [x, y, z] m and [qx, qy, qz, qw]."""
    w, x, y, z = (quaternion_wxyz(offset[None, :3, :3])[0] + 0.0).tolist()
    return (offset[:3, 3] + 0.0).tolist(), [x, y, z, w]
