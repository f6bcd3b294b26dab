"""Openings for grasps that come from a file: the exact mesh decides, whatever the file says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graspgen_cli.geometry.collision import GripperShape, ObjectShape, in_collision
from graspgen_cli.records import GraspBatch, Outcome


def fit_openings(shape: ObjectShape, gripper: GripperShape, grasps: GraspBatch) -> GraspBatch:
    """Snaps each known opening to the nearest measured one and gives each unknown one the widest at which the gripper is free.
    Grasps in collision at their opening, or at every opening, get the outcome `collision`; geometric negatives stay what they are."""
    widths = gripper.gripper.opening_width
    last = len(widths) - 1
    known = np.isfinite(grasps.opening_width)
    opening = np.where(known, gripper.gripper.nearest_opening(np.where(known, grasps.opening_width, 0.0)), last)
    colliding = np.zeros(len(grasps), bool)
    open_question = np.flatnonzero(grasps.outcome != Outcome.COLLISION)
    colliding[open_question] = in_collision(shape, gripper, grasps.pose_gripper_in_object[open_question], opening[open_question])
    for i in np.flatnonzero(colliding & ~known):
        opening[i], colliding[i] = _widest_free(shape, gripper, grasps, int(i))
    outcome = np.where(colliding, Outcome.COLLISION, grasps.outcome).astype(np.int8)
    return replace(grasps, opening_width=widths[opening], outcome=outcome)


def _widest_free(shape: ObjectShape, gripper: GripperShape, grasps: GraspBatch, i: int) -> tuple[int, bool]:
    """The widest opening index at which grasp i is free, and False; the widest of all and True where there is none."""
    last = len(gripper.gripper.opening_width) - 1
    for k in range(last, -1, -1):
        if not in_collision(shape, gripper, grasps.pose_gripper_in_object[i : i + 1], np.array([k]))[0]:
            return k, False
    return last, True
