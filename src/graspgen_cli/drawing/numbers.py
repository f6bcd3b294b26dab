"""What is known of one grasp, in words and numbers."""

from __future__ import annotations

import numpy as np

from graspgen_cli.drawing.scene import GraspScene
from graspgen_cli.geometry.poses import quaternion_wxyz
from graspgen_cli.records import Floats, Outcome


def grasp_numbers(scene: GraspScene, row: int) -> list[tuple[str, str]]:
    """What and how much, a row each, of the scene's grasp `row`."""
    grasps = scene.dataset.grasps
    pose, width = grasps.pose_gripper_in_object[row], float(grasps.opening_width[row])
    rows = [
        ("index in the file", str(int(scene.grasp[row]))),
        ("outcome", Outcome(int(grasps.outcome[row])).label),
        ("opening", "not given" if np.isnan(width) else f"{1000 * width:.1f} mm"),
        ("position", f"{_vector(1000 * pose[:3, 3], 1)} mm"),
        ("quaternion wxyz", _vector(quaternion_wxyz(pose[None, :3, :3])[0], 4)),
    ]
    if scene.gripper is not None:
        rows.append(("approach direction", _vector(pose[:3, :3] @ scene.gripper.approach_axis_in_base, 3)))
        rows.append(("closing direction", _vector(pose[:3, :3] @ scene.gripper.closing_axis_in_base, 3)))
    return rows


def _vector(values: Floats, decimals: int) -> str:
    return ", ".join(f"{value + 0.0:.{decimals}f}" for value in np.round(values, decimals))
