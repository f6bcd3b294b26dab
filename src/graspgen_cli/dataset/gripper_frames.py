"""Grasps of one model of a gripper as those of another model of it, whose base frame lies elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graspgen_cli.dataset.object_grasps import ISAAC_KEY, ObjectGrasps
from graspgen_cli.geometry.poses import inverse
from graspgen_cli.records import Floats, Gripper

_SAME_FRAME = 1e-6
"""m, and in the entries of a rotation: frames that differ by less are the same, and poses stay as they are to the last bit."""


def in_frame_of(found: ObjectGrasps, gripper: Gripper) -> ObjectGrasps:
    """The grasps as those of another model of the gripper: in the frame of its base. What the trainer sees stays the same. Where the
    file does not say how its frame lies to GraspGen's, it is taken for the base's."""
    target = inverse(gripper.pose_base_in_graspgen)
    given = found.pose_graspgen_in_gripper
    if given is None:
        found = replace(found, notes=(*found.notes, f"does not say how the gripper's frame lies; taken for that of {gripper.name}"))
    elif not np.allclose(given, target, rtol=0.0, atol=_SAME_FRAME):
        found = _turned(found, given @ gripper.pose_base_in_graspgen, gripper)
    dataset = replace(found.dataset, gripper_name=gripper.name, gripper_width=gripper.width, gripper_depth=gripper.depth)
    if found.dataset.gripper_name != gripper.name:
        dataset = replace(dataset, provenance={})
    return replace(found, dataset=dataset, gripper_frame=gripper.base_body, pose_graspgen_in_gripper=target)


def _turned(found: ObjectGrasps, pose_base_in_gripper: Floats, gripper: Gripper) -> ObjectGrasps:
    """The poses of another frame of the gripper. What an isaac_grasp file says besides holds for the old frame and is left out, as is
    the record of how the poses were made."""
    grasps = found.dataset.grasps
    turned = replace(grasps, pose_gripper_in_object=grasps.pose_gripper_in_object @ pose_base_in_gripper)
    note = f"poses were turned from the frame {found.gripper_frame} to the base frame of {gripper.name}"
    document = {key: value for key, value in found.document.items() if key != ISAAC_KEY}
    dataset = replace(found.dataset, grasps=turned, provenance={})
    return replace(found, dataset=dataset, isaac=None, document=document, notes=(*found.notes, note))
