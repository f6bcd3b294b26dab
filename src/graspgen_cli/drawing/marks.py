"""Where a gripper's axes, pads and bite point are at one of its openings."""

from __future__ import annotations

import numpy as np

from graspgen_cli.records import Floats, Gripper

_BEFORE = 2e-4
"""m."""


def contact_points(gripper: Gripper, opening: int) -> Floats:
    """(2, 3) m: the point of each pad that meets the object, in the base."""
    return gripper.fingertip_in_base[opening] - gripper.bite * gripper.approach_axis_in_base


def pad_corners(gripper: Gripper, opening: int) -> Floats:
    """(2, 4, 3) m: the corners of both pads in the base: from the fingertip back along the approach axis, and as wide as a pad is; a
    little before the fingers, so that they are seen."""
    across = np.cross(gripper.approach_axis_in_base, gripper.closing_axis_in_base)
    back = gripper.pad_size[0] * gripper.approach_axis_in_base
    half = gripper.pad_size[1] / 2 * across
    before = _BEFORE * np.stack([gripper.closing_axis_in_base, -gripper.closing_axis_in_base])
    tips = gripper.fingertip_in_base[opening] + before
    return np.stack([tips - half, tips + half, tips + half - back, tips - half - back], axis=1)
