"""How long it takes to walk over a dataset of finished objects: without an index, with it, and without the map. Prints JSON.

Run as ``python benchmarks/walk.py [number of objects] [grasps an object]``; the number of objects is by default that of GraspGen's list.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from graspgen_cli.dataset.object_map import own_files, read_object_map, write_object_map
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.formats.graspgen_json import encode
from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import GraspBatch, GraspDataset, Outcome

OBJECTS = 8454
GRASPS = 80
OFFSET = ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])
PROVENANCE: dict[str, object] = {"guess": {"digest": "d" * 64, "object_digest": "o" * 64, "gripper_digest": "g" * 64}}


def object_scales(count: int) -> dict[str, float]:
    """Ids and scales like those of GraspGen's list."""
    return {f"{hashlib.sha256(str(i).encode()).hexdigest()[:32]}.obj": 0.03 + (i % 997) / 300 for i in range(count)}


def make_dataset(paths: DatasetPaths, scales: dict[str, float], grasps: int) -> None:
    """Grasp files of the real size, an hour old."""
    places = np.random.Generator(np.random.Philox(0)).normal(size=(grasps, 3))
    batch = GraspBatch(pose(np.eye(3), places), np.full(grasps, 0.05), np.full(grasps, Outcome.HELD, np.int8))
    paths.grasps.mkdir(parents=True)
    past = time.time() - 3600
    for object_id, name in grasp_file_names(scales.items(), {}).items():
        dataset = GraspDataset(object_id, scales[object_id], paths.gripper, 0.08, 0.11, batch, PROVENANCE)
        (paths.grasps / name).write_bytes(encode(dataset, OFFSET))
        os.utime(paths.grasps / name, (past, past))


def walk(paths: DatasetPaths, scales: dict[str, float]) -> None:
    """What a run does before it starts: which object has which file."""
    entries = read_object_map(paths)
    names = grasp_file_names(scales.items(), own_files(paths, scales.items(), entries))
    assert names == entries and len(names) == len(scales)
    write_object_map(paths, entries)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 3)


def main() -> None:
    """Makes the dataset and walks over it."""
    given = [int(word) for word in sys.argv[1:]]
    objects, grasps = (*given, *(OBJECTS, GRASPS)[len(given) :])
    scales = object_scales(objects)
    figures: dict[str, float] = {"objects": objects, "grasps_an_object": grasps}
    with tempfile.TemporaryDirectory() as folder:
        paths = DatasetPaths(Path(folder), "jaw")
        make_dataset(paths, scales, grasps)
        figures["first_walk_s"] = seconds(lambda: walk(paths, scales))
        figures["walk_s"] = seconds(lambda: walk(paths, scales))
        paths.object_map.unlink()
        figures["walk_without_map_s"] = seconds(lambda: walk(paths, scales))
        figures["index_bytes"] = paths.index.stat().st_size
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
