"""Datasets for the tests of analysis, made by hand: every number in them can be worked out on paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from graspgen_cli.dataset.object_map import write_object_map
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.formats.graspgen_json import encode
from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Outcome
from made_datasets import GRIPPER, OFFSET

HELD, COLLISION, DROPPED, UNSTABLE, UNVALIDATED = (
    Outcome.HELD,
    Outcome.COLLISION,
    Outcome.DROPPED,
    Outcome.UNSTABLE,
    Outcome.UNVALIDATED,
)
RECORD = {"digest": "0" * 64, "object_digest": "1" * 64, "gripper_digest": "2" * 64, "settings": {"fps": 250}, "versions": {}}
DOWN = np.diag([1.0, -1.0, -1.0])
"""Approach along -z."""


def row_of_poses(count: int, *, rotation: Floats = DOWN, step: float = 0.01) -> Floats:
    """(N, 4, 4): in a row along x, `step` m apart, above the object's origin."""
    places = np.zeros((count, 3))
    places[:, 0] = (np.arange(count) - (count - 1) / 2) * step
    places[:, 2] = 0.15
    return pose(rotation, places)


def made(
    object_id: str, outcomes: Sequence[Outcome], *, poses: Floats | None = None, width: float | Iterable[float] = 0.05, own: bool = True
) -> GraspDataset:
    """One object's grasps; by default a row of them from above, 50 mm open."""
    count = len(outcomes)
    widths = np.broadcast_to(np.asarray(width, np.float64), count).copy()
    poses = row_of_poses(count) if poses is None else poses
    grasps = GraspBatch(poses, widths, np.array([int(o) for o in outcomes], np.int8))
    return GraspDataset(object_id, 1.0, GRIPPER, 0.085, 0.13, grasps, {"guess": RECORD, "simulation": RECORD} if own else {})


def write_dataset(root: Path, datasets: Iterable[GraspDataset], *, gripper: str = GRIPPER) -> DatasetPaths:
    """The files and the map, without splits."""
    listed = list(datasets)
    paths = DatasetPaths(root, gripper)
    paths.grasps.mkdir(parents=True)
    names = grasp_file_names([(each.object_id, each.scale) for each in listed], {})
    for each in listed:
        (paths.grasps / names[each.object_id]).write_bytes(encode(each, OFFSET))
    write_object_map(paths, names)
    return paths


def hand_made() -> list[GraspDataset]:
    """Three objects: 9 held of 12 tested in all.

    mug: 6 held, 1 collision, 2 dropped. bowl: 3 held, 1 unstable, and 2 never tried. rod: 4 in collision.
    """
    return [
        made("mug.obj", [HELD] * 6 + [COLLISION] + [DROPPED] * 2, width=[0.011] * 6 + [0.02] * 3),
        made("bowl.obj", [HELD] * 3 + [UNSTABLE] + [UNVALIDATED] * 2, width=[0.051] * 3 + [0.02] * 3),
        made("rod.obj", [COLLISION] * 4),
    ]
