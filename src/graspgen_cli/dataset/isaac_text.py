"""Grasps as the text of an isaac_grasp file: what was read from one comes out again as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graspgen_cli import __version__
from graspgen_cli.dataset.isaac_grasp import FORMAT, OWN_FIELD, frame, is_guessed, stated_outcome
from graspgen_cli.dataset.object_grasps import ObjectGrasps, Values, finite, offset_values
from graspgen_cli.geometry.poses import is_rotation, quaternion_wxyz, rotation_from_wxyz
from graspgen_cli.records import Floats, Gripper, Outcome

_HEAD = (
    "# position (m) and orientation (w, xyz): pose of the gripper's frame in the frame of the object's mesh,"
    " after scaling by object_scale.\n"
    "# confidence 0 is a failed grasp; joint positions in rad or m.\n"
)
_POSITIVE = (Outcome.HELD, Outcome.UNVALIDATED)
_DERIVED = ("name", "position", "confidence", "outcome", "orientation", "opening_width")
"""Fields that are written from the grasps."""
_SAME = 1e-9
"""A quaternion that was read is written again where it gives the same rotation to within this."""


def isaac_text(found: ObjectGrasps, gripper: Gripper | None) -> bytes:
    """The file's content, UTF-8.

    gripper: where it is given, grasps with a known opening get ``pregrasp_cspace_position``, the joints at that opening, and
    ``cspace_position``, those of the closed gripper, unless they were read from a file.
    Raises ValueError for a pose that is no rigid transform, which a quaternion cannot say.
    """
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    document = {**_header(found), "grasps": dict(_grasps(found, gripper))}
    text = yaml.dump(document, Dumper=dumper, sort_keys=False, default_flow_style=None, width=1 << 20, allow_unicode=True)
    return (_HEAD + text).encode()


def _header(found: ObjectGrasps) -> dict[str, Any]:
    dataset = found.dataset
    if found.isaac is not None:
        header = {**found.isaac.header, "format": FORMAT}
    else:
        header = {"format": FORMAT, "format_version": "1.0", "created_with": f"graspgen-cli {__version__}"}
    if header.get("object_file") != dataset.object_id:
        header["object_file"] = dataset.object_id
    if header.get("object_scale") != dataset.scale:
        header["object_scale"] = dataset.scale
    if dataset.gripper_name:
        header.setdefault("gripper_file", dataset.gripper_name)
    if (frame(header, "gripper") or "base") != found.gripper_frame:
        header = {key: value for key, value in header.items() if key not in ("gripper_frame", "gripper_frame_link")}
        header["gripper_frame_link"] = found.gripper_frame
    own = _own(found)
    return {**header, OWN_FIELD: own} if own else header


def _own(found: ObjectGrasps) -> dict[str, Any]:
    """What the format has no field for; nothing where nothing is known."""
    dataset = found.dataset
    sizes = {"width": dataset.gripper_width, "depth": dataset.gripper_depth}
    known = {key: value for key, value in sizes.items() if np.isfinite(value)}
    own: dict[str, Any] = {"gripper": {"name": dataset.gripper_name, **known}} if known else {}
    if found.pose_graspgen_in_gripper is not None:
        own["transform_offset"] = [list(part) for part in offset_values(found.pose_graspgen_in_gripper)]
    if dataset.provenance:
        own["provenance"] = dataset.provenance
    return own


def _grasps(found: ObjectGrasps, gripper: Gripper | None) -> Iterator[tuple[str, dict[str, Any]]]:
    grasps = found.dataset.grasps
    poses = grasps.pose_gripper_in_object
    wrong = np.flatnonzero(~is_rotation(poses))
    if len(wrong):
        raise ValueError(f"grasp {wrong[0]} is no rigid transform")
    quaternions = quaternion_wxyz(poses[:, :3, :3])
    guessed = found.isaac is not None and is_guessed(found.isaac.header)
    read = found.isaac.grasps if found.isaac is not None else tuple({"name": f"grasp_{i}"} for i in range(len(grasps)))
    joints = _joints(gripper, grasps.opening_width) if gripper is not None else [{}] * len(read)
    for i, fields in enumerate(read):
        stated = _stated(fields, Outcome(grasps.outcome[i]), guessed=guessed)
        where = {"position": poses[i, :3, 3].tolist(), "orientation": _orientation(fields.get("orientation"), poses[i], quaternions[i])}
        width = {"opening_width": float(grasps.opening_width[i])} if np.isfinite(grasps.opening_width[i]) else {}
        rest = {key: value for key, value in fields.items() if key not in _DERIVED}
        yield str(fields["name"]), {**stated, **where, **width, **joints[i], **rest}


def _stated(fields: Values, outcome: Outcome, *, guessed: bool) -> dict[str, Any]:
    """Confidence, and the outcome where the confidence alone would not bring it back."""
    confidence, positive = fields.get("confidence"), outcome in _POSITIVE
    if confidence is None and outcome is Outcome.UNVALIDATED:
        return {}
    stated = {"confidence": confidence if _means(confidence, positive) else float(positive)}
    needed = "outcome" in fields or stated_outcome(stated, guessed=guessed) is not outcome
    return {**stated, "outcome": outcome.label} if needed else stated


def _means(confidence: object, positive: bool) -> bool:
    """Whether a confidence that was read says just that; what is no number says nothing."""
    try:
        return (finite(confidence, "confidence") > 0) is positive
    except (ValueError, OverflowError):
        return False


def _orientation(read: object, pose: Floats, quaternion_wxyz: Floats) -> dict[str, Any]:
    """The orientation as it was read, where that is still the pose's; both signs of a quaternion mean the same."""
    if isinstance(read, dict):
        try:
            given = rotation_from_wxyz(np.array([[float(read["w"]), *map(float, read["xyz"])]]))[0]
            same = bool(np.abs(given - pose[:3, :3]).max() < _SAME)
        except (KeyError, TypeError, ValueError):
            same = False
        if same:
            return read
    return {"w": float(quaternion_wxyz[0]), "xyz": quaternion_wxyz[1:].tolist()}


def _joints(gripper: Gripper, widths: Floats) -> list[dict[str, dict[str, float]]]:
    """For each opening (N,) m the joints at it and those of the closed gripper; nothing where the opening is not known."""
    nearest = gripper.nearest_opening(np.nan_to_num(widths))
    closed = dict(zip(gripper.joint_names, gripper.joint_position[0].tolist(), strict=True))
    found: list[dict[str, dict[str, float]]] = []
    for width, k in zip(widths, nearest, strict=True):
        at_opening = dict(zip(gripper.joint_names, gripper.joint_position[k].tolist(), strict=True))
        found.append({"cspace_position": dict(closed), "pregrasp_cspace_position": at_opening} if np.isfinite(width) else {})
    return found
