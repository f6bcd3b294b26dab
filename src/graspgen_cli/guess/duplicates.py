"""Near-duplicates: two poses that are one grasp for every purpose.

The metric: the grippers' base origins are less than `NEAR` apart and one orientation is turned into the other by less than `TURNED`;
for a symmetric gripper a half turn about its approach axis counts as no turn. Openings do not count.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from graspgen_cli.geometry.poses import rotation_angle
from graspgen_cli.records import Floats, Gripper

NEAR = 0.001
"""m."""
TURNED = math.radians(1.0)
"""rad."""


def near_duplicates(gripper: Gripper, known: Floats, new: Floats) -> NDArray[np.bool_]:
    """(N,) which of the poses `new` (N, 4, 4) are near-duplicates of a pose of `known` (M, 4, 4) or of an earlier one of `new` that is
    none itself."""
    poses = np.concatenate([known, new])
    duplicate = np.zeros(len(poses), bool)
    if len(new) == 0:
        return duplicate[len(known) :]
    pairs = cKDTree(poses[:, :3, 3]).query_pairs(NEAR, output_type="ndarray")
    pairs = pairs[pairs[:, 1] >= len(known)]
    same = _turn(gripper, poses[pairs[:, 0], :3, :3], poses[pairs[:, 1], :3, :3]) < TURNED
    for first, second in sorted(map(tuple, pairs[same].tolist()), key=lambda pair: (pair[1], pair[0])):
        duplicate[second] |= not duplicate[first]
    return duplicate[len(known) :]


def _turn(gripper: Gripper, first: Floats, second: Floats) -> Floats:
    """(P,) rad between orientations (P, 3, 3), the smaller of both ways for a symmetric gripper."""
    if len(first) == 0:
        return np.zeros(0)
    between = np.swapaxes(first, 1, 2) @ second
    if not gripper.symmetric:
        return rotation_angle(between)
    half_turn = Rotation.from_rotvec(np.pi * gripper.approach_axis_in_base).as_matrix()
    return np.minimum(rotation_angle(between), rotation_angle(between @ half_turn))
