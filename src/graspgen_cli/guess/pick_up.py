"""The pick-up filter: which free guesses can be carried out on an object that stands on a table. Geometry only, and off by default:
GraspGen's own datasets hold grasps from all sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.guess.place import Placements, Verdict
from graspgen_cli.records import Floats
from graspgen_cli.settings.models import PickUpSettings

PICK_UP_VERDICTS = (Verdict.OUTSIDE_APPROACH_CONE, Verdict.WRIST_BELOW_PADS, Verdict.TOO_NEAR_TABLE)
"""The rules' verdicts; where a guess breaks several, the first counts."""
_ANGLE_ERROR = 1e-9
"""In a cosine: what rounding of the poses may add to an angle."""


def reject_for_pick_up(found: Placements, shape: ObjectShape, gripper: GripperShape, settings: PickUpSettings) -> Placements:
    """The placements with the verdict of the first rule broken for every free one that breaks any. The table is the plane across
    `up_axis` through the object's lowest point."""
    up = np.array(settings.up_axis) / np.linalg.norm(settings.up_axis)
    verdict = found.verdict.copy()
    for k in np.unique(found.opening[verdict == Verdict.FREE]):
        rows = np.flatnonzero((verdict == Verdict.FREE) & (found.opening == k))
        verdict[rows] = _judged(found.pose_gripper_in_object[rows], int(k), shape, gripper, settings, up)
    return replace(found, verdict=verdict)


def _judged(
    poses: Floats, opening: int, shape: ObjectShape, gripper: GripperShape, settings: PickUpSettings, up: Floats
) -> NDArray[np.int8]:
    """(N,) verdicts of free poses (N, 4, 4) at one opening."""
    model = gripper.gripper
    verdict = np.full(len(poses), Verdict.FREE, np.int8)
    up_in_gripper = np.swapaxes(poses[:, :3, :3], 1, 2) @ up  # (N, 3)
    if settings.bottom_clearance is not None:
        corners = np.concatenate([part.vertices for part in gripper.parts(opening)])
        lowest = (up_in_gripper @ corners.T).min(axis=1) + poses[:, :3, 3] @ up
        table = float((shape.mesh.vertices[np.unique(shape.mesh.faces)] @ up).min())
        verdict[lowest - table < settings.bottom_clearance] = Verdict.TOO_NEAR_TABLE
    if settings.wrist_up:
        pads = model.fingertip_in_base[opening].mean(axis=0)
        verdict[up_in_gripper @ pads > 0] = Verdict.WRIST_BELOW_PADS
    if settings.approach_cone is not None:
        downward = -up_in_gripper @ model.approach_axis_in_base
        verdict[downward < np.cos(np.deg2rad(settings.approach_cone)) - _ANGLE_ERROR] = Verdict.OUTSIDE_APPROACH_CONE
    return verdict
