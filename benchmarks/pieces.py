"""How far the convex pieces of the example objects stand off their meshes, as a table.

python benchmarks/pieces.py [OBJECT_SCALES.json] [--max-surface-gap M] [--gripper NAME] [--page docs/label_study.md]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from label_tables import table, write_into_page

from graspgen_cli.geometry.convex import allowed_gap
from graspgen_cli.geometry.touch import FingerReach, finger_reach
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.objects.load import load_object
from graspgen_cli.objects.scales import read_scales, resolve_object_paths
from graspgen_cli.records import TargetObject
from graspgen_cli.settings.inputs import ObjectSettings
from graspgen_cli.settings.trials import CollisionApproximation

SETTINGS = ObjectSettings()
HEAD = ["object", "pieces", "mean gap (mm)", "95 % within (mm)", "largest gap (mm)", "allowed (mm)"]


def cut_objects(scales_file: Path, max_surface_gap: float | None, reach: FingerReach | None) -> list[TargetObject]:
    """Every object of the list with its pieces, made anew; without what a gripper of that reach cannot touch."""
    scales, root = resolve_object_paths(object_scales_json=scales_file, object_dataset=SETTINGS.object_dataset)
    approximation = CollisionApproximation.CONVEX_DECOMPOSITION
    return [
        load_object(object_id, scale, root=root, approximation=approximation, cache=None, max_surface_gap=max_surface_gap, reach=reach)
        for object_id, scale in read_scales(scales).entries
    ]


def markdown(targets: list[TargetObject], max_surface_gap: float | None) -> str:
    """A row an object, and the mean number of pieces."""
    rows = []
    for target in targets:
        gaps = (target.mean_gap, target.gap_95, target.largest_gap, allowed_gap(target.mesh, max_surface_gap))
        rows.append([target.object_id, str(len(target.pieces)), *[f"{gap * 1e3:.2f}" for gap in gaps]])
    average = sum(len(target.pieces) for target in targets) / len(targets)
    return f"{table(HEAD, rows)}\n\n{average:.1f} pieces on average.\n"


def main() -> None:
    """Reads the flags, cuts the objects, writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("objects", type=Path, nargs="?", default=SETTINGS.object_scales_json, help="object scales file")
    parser.add_argument("--max-surface-gap", type=float, help="m; default: as graspgen")
    parser.add_argument("--gripper", help="leave out what it cannot touch; default: what lies inside closed surfaces")
    parser.add_argument("--page", type=Path, help="put the table into this page, between its two comments")
    options = parser.parse_args()
    reach = finger_reach(load_gripper(options.gripper)) if options.gripper else None
    text = markdown(cut_objects(options.objects, options.max_surface_gap, reach), options.max_surface_gap)
    if options.page:
        write_into_page(options.page, "pieces", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
