"""What was measured of a gripper, in words and as a document."""

from __future__ import annotations

import numpy as np

from graspgen_cli.geometry.poses import inverse, rotation_angle
from graspgen_cli.grippers.export import graspgen_offset
from graspgen_cli.records import Floats, Gripper

_STRAIGHT = 5e-5
"""m: fingertips that leave a straight line by less are said to move straight."""


def gripper_table(gripper: Gripper) -> list[tuple[str, str]]:
    """What and how much, a row each, for people."""
    along, beside, forward = (1000 * size for size in (*gripper.pad_size, fingertip_advance(gripper)))
    driven = [name for name, effort in zip(gripper.joint_names, gripper.joint_effort, strict=True) if effort]
    translation, quaternion_xyzw = graspgen_offset(gripper)
    rows = [
        ("gripper", gripper.name),
        ("opening width", f"{gripper.opening_width[0] * 1000:.1f} to {gripper.width * 1000:.1f} mm"),
        ("depth, base to fingertips", f"{gripper.depth * 1000:.1f} mm, open"),
        ("pads, length x width", f"{along:.1f} x {beside:.1f} mm"),
        ("bite, fingertip to contact", f"{gripper.bite * 1000:.1f} mm"),
        ("fingertips as it closes", f"{forward:+.1f} mm along the approach axis" if abs(forward) > 1000 * _STRAIGHT else "straight"),
        ("fingers as it closes", f"turn by {np.degrees(finger_turn(gripper)):.1f}°" if finger_turn(gripper) > 1e-3 else "stay parallel"),
        ("approach axis in base", _vector(gripper.approach_axis_in_base)),
        ("closing axis in base", _vector(gripper.closing_axis_in_base)),
        ("symmetric by a half turn", "yes" if gripper.symmetric else "no"),
        ("grip force, each pad", f"{gripper.grip_force:g} N"),
        ("closing speed", f"{gripper.closing_speed * 1000:g} mm/s"),
        ("base, fingers", f"{gripper.base_body}, {gripper.finger_bodies[0]}, {gripper.finger_bodies[1]}"),
        ("joints", f"{len(gripper.joint_names)}, driven: {', '.join(driven)}"),
        ("collision parts", f"{sum(map(len, gripper.collision_parts))} in {len(gripper.body_names)} bodies"),
        ("GraspGen's frame in base", f"{_vector(translation)} m, quaternion xyzw {_vector(quaternion_xyzw)}"),
    ]
    return rows + [("note", note) for note in gripper.notes]


def gripper_document(gripper: Gripper) -> dict[str, object]:
    """The same for programs: SI units, angles in rad."""
    translation, quaternion_xyzw = graspgen_offset(gripper)
    return {
        "name": gripper.name,
        "content_hash": gripper.content_hash,
        "width": gripper.width,
        "narrowest_width": float(gripper.opening_width[0]),
        "depth": gripper.depth,
        "pad_size": gripper.pad_size.tolist(),
        "bite": gripper.bite,
        "fingertip_advance": fingertip_advance(gripper),
        "finger_turn": finger_turn(gripper),
        "approach_axis": gripper.approach_axis_in_base.tolist(),
        "closing_axis": gripper.closing_axis_in_base.tolist(),
        "symmetric": gripper.symmetric,
        "grip_force": gripper.grip_force,
        "closing_speed": gripper.closing_speed,
        "base_body": gripper.base_body,
        "finger_bodies": list(gripper.finger_bodies),
        "joint_effort": dict(zip(gripper.joint_names, gripper.joint_effort.tolist(), strict=True)),
        "graspgen_offset": [translation, quaternion_xyzw],
        "notes": list(gripper.notes),
    }


def fingertip_advance(gripper: Gripper) -> float:
    """How far the fingertips move along the approach axis from open to closed, m."""
    path = (gripper.fingertip_in_base @ gripper.approach_axis_in_base).mean(axis=1)
    return float(path[0] - path[-1])


def finger_turn(gripper: Gripper) -> float:
    """The angle by which finger 0 turns in the base's frame from open to closed, rad."""
    poses = gripper.pose_body_in_base[:, gripper.body_names.index(gripper.finger_bodies[0])]
    turned = inverse(poses[:1]) @ poses[-1:]
    return float(rotation_angle(turned[:, :3, :3])[0])


def _vector(values: Floats | list[float]) -> str:
    return "[" + ", ".join(f"{value + 0.0:.4g}" for value in np.round(values, 6)) + "]"
