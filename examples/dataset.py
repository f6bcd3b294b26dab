"""Makes a small dataset of your meshes and counts what is in it: `python examples/dataset.py SCALES.json MESHES OUTPUT`."""

from __future__ import annotations

import sys
from pathlib import Path

from graspgen_cli import GraspgenError, ObjectReport, analyze_grasps, make_dataset


def main(scales: Path, meshes: Path, output: Path) -> int:
    """Returns the number of objects that have too few good grasps to train on."""
    made = make_dataset(
        object_scales_json=scales,
        object_dataset=meshes,
        grasp_dataset=output,
        graspgen_source=output / "no_checkout",
        gripper_config="franka_panda",
        num_collision_free_grasps=8,
        num_colliding_grasps=4,
        workers=1,
        on_report=show,
    )
    print(f"{made.gripper.gripper.name}, opens {made.gripper.gripper.width * 1000:.0f} mm")
    analysis = analyze_grasps(grasp_dataset=output, gripper_config="franka_panda")
    print(f"{analysis.total.held} of {analysis.total.total} grasps held")
    return sum(not row.counts.usable for row in analysis.objects)


def show(report: ObjectReport) -> None:
    """Called as each object is done."""
    print(f"{report.object_id}: {report.status}, {report.held} held")


if __name__ == "__main__":  # worker processes import this file
    try:
        sys.exit(main(*(Path(word) for word in sys.argv[1:])))
    except GraspgenError as error:
        sys.exit(f"dataset.py: {error}")
