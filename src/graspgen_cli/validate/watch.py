"""What is measured of trials while they run, look by look; every backend reports it through this."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.records import Floats
from graspgen_cli.settings.models import SimulationSettings

Indices = NDArray[np.intp]

STILL_TIME = 0.2
"""s before the end of a trial over which the object's motion is measured."""


@dataclass(frozen=True, eq=False)
class Watched:
    """What was measured of N trials: the fields of `TrialState` of the same names."""

    smallest_force: Floats
    loss_time: Floats
    late_motion: Floats
    penetration: Floats


class Watch:
    """What the trials in S slots have shown so far.

    Times are on the protocol's clock: a stage that ended early, because the object moved no more, counts with its whole duration. So a
    time says in which stage something happened.
    """

    def __init__(self, stage_steps: tuple[int, ...], settings: SimulationSettings, *, interval: int, slots: int) -> None:
        """interval: simulation steps between two looks."""
        self._stage_ends, self._fps = np.cumsum(stage_steps), settings.fps
        looks = max(1, math.ceil(STILL_TIME * settings.fps / interval - 1e-9))
        self._recent = np.tile(np.eye(4), (looks + 1, slots, 1, 1))
        self._smallest, self._deepest = np.full(slots, np.inf), np.zeros(slots)
        self._lost_at = np.full(slots, np.nan)
        self._center, self._radius = np.zeros((slots, 3)), np.zeros(slots)

    def begin(self, slots: Indices, pose_object_in_gripper: Floats, center: Floats, radius: Floats) -> None:
        """Starts trials in `slots`. center: (len(slots), 3) m, the objects' centres of mass; radius: (len(slots),) m about them."""
        self._recent[:, slots] = pose_object_in_gripper
        self._smallest[slots], self._lost_at[slots], self._deepest[slots] = np.inf, np.nan, 0.0
        self._center[slots], self._radius[slots] = center, radius

    def look(
        self,
        pose_object_in_gripper: Floats,
        force: Floats,
        *,
        stage: Indices | int,
        left: Indices | int,
        closed: NDArray[np.bool_] | bool,
        overlap: Floats | float,
    ) -> None:
        """Takes note of poses (S, 4, 4) and finger forces (S, 2), `left` steps before the end of each trial's stage.

        closed: (S,) or one bool: whether the grip has closed, which is so from the end of the first stage on. overlap: (S,) or one number,
        m: of the object with the gripper; NaN where the engine cannot say."""
        weaker, now = force.min(axis=1), (self._stage_ends[stage] - left) / self._fps
        self._lost_at = np.where(weaker > 0, np.nan, np.where(np.isnan(self._lost_at), now, self._lost_at))
        self._smallest = np.where(closed, np.minimum(self._smallest, weaker), self._smallest)
        self._deepest = np.where(closed, np.maximum(self._deepest, overlap), self._deepest)
        self._recent = np.concatenate([self._recent[1:], pose_object_in_gripper[None]])

    def measured(self, slots: Indices) -> Watched:
        """Of the trials in `slots`, as they stand after the last look."""
        first, last = self._recent[0, slots], self._recent[-1, slots]
        smallest = np.where(np.isinf(self._smallest[slots]), 0.0, self._smallest[slots])
        motion = farthest_motion(first, last, self._center[slots], self._radius[slots])
        return Watched(smallest, self._lost_at[slots], motion, self._deepest[slots])


def farthest_motion(before: Floats, after: Floats, center: Floats, radius: Floats) -> Floats:
    """(N,) m that the farthest point of objects moved between poses (N, 4, 4), at most. center: (N, 3) m; radius: (N,) m about it."""
    motion = relative_motion(before, after, center)
    farthest: Floats = motion[:, 0] + radius * motion[:, 1]
    return farthest


def relative_motion(before: Floats, after: Floats, center: Floats) -> Floats:
    """(N, 2): distance (m) that the objects' centres (N, 3), in the objects' frames, moved, and angle (rad) between poses (N, 4, 4),
    the angle from the chord between the rotations: the Frobenius norm of their difference is 2 sqrt(2) sin(angle / 2)."""
    moved = after - before
    shift = np.einsum("nij,nj->ni", moved[:, :3, :3], center) + moved[:, :3, 3]
    chord = np.linalg.norm(moved[:, :3, :3], axis=(1, 2)) / math.sqrt(8.0)
    return np.stack([np.linalg.norm(shift, axis=1), 2.0 * np.arcsin(np.minimum(chord, 1.0))], axis=1)


def center_in_gripper(pose_object_in_gripper: Floats, center: Floats) -> Floats:
    """(N, 3) m: the objects' centres (N, 3), in the gripper's base frame."""
    return np.einsum("nij,nj->ni", pose_object_in_gripper[:, :3, :3], center) + pose_object_in_gripper[:, :3, 3]
