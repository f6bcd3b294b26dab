"""How long `graspgen analyze` takes over a dataset of GraspGen's size, and how much memory. Prints JSON.

Run as ``python benchmarks/analyze.py FOLDER [number of objects] [grasps an object]``. The folder is filled with real files first, 5 GB of
them by default, and kept: the next run uses them again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from graspgen_cli.dataset.object_map import write_object_map
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.formats.graspgen_json import encode
from graspgen_cli.geometry.poses import pose, rounded
from graspgen_cli.records import GraspBatch, GraspDataset, Outcome

OBJECTS, GRASPS = 8454, 3072
OFFSET = ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])
GRIPPER = "robotiq_2f_85"
SHARES = {Outcome.HELD: 0.66, Outcome.COLLISION: 0.17, Outcome.DROPPED: 0.16, Outcome.UNSTABLE: 0.01}
RECORD = {"digest": "d" * 64, "object_digest": "o" * 64, "gripper_digest": "g" * 64, "versions": {}}


def grasps_of(object_id: str, count: int) -> GraspBatch:
    """Grasps around an object of some 10 cm, as many digits as real ones have."""
    rng = np.random.Generator(np.random.Philox(int(hashlib.sha256(object_id.encode()).hexdigest()[:16], 16)))
    turned = Rotation.from_rotvec(rng.normal(size=(count, 3)) * 2).as_matrix()
    outcome = rng.choice([int(o) for o in SHARES], size=count, p=list(SHARES.values())).astype(np.int8)
    poses = rounded(pose(turned, 0.05 * rng.normal(size=(count, 3)) - 0.13 * turned[:, :, 2]))
    return GraspBatch(poses, np.round(rng.uniform(0.005, 0.085, count), 8), outcome)


def write_file(paths: DatasetPaths, count: int, item: tuple[str, str]) -> None:
    """One grasp file, unless it is there."""
    object_id, name = item
    if not (paths.grasps / name).exists():
        dataset = GraspDataset(object_id, 1.0, GRIPPER, 0.085, 0.13, grasps_of(object_id, count), {"guess": RECORD, "simulation": RECORD})
        (paths.grasps / name).write_bytes(encode(dataset, OFFSET))


def make_dataset(paths: DatasetPaths, objects: int, grasps: int) -> None:
    """The files that are not there yet, on all cores."""
    ids = [f"{hashlib.sha256(str(i).encode()).hexdigest()[:32]}.obj" for i in range(objects)]
    names = grasp_file_names([(object_id, 1.0) for object_id in ids], {})
    paths.grasps.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool() as pool:
        pool.map(partial(write_file, paths, grasps), sorted(names.items()), chunksize=32)
    write_object_map(paths, names)


def measured(command: list[str]) -> dict[str, float]:
    """Wall time, processor time of all its processes and the largest process's memory of a command."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "exit_code": code,
        "wall_s": round(time.perf_counter() - start, 1),
        "processor_s": round(busy, 1),
        "largest_process_mb": round(after.ru_maxrss / 1024, 1),
    }


def main() -> None:
    """Makes the dataset where it is not there, then analyses it."""
    root, *given = sys.argv[1:]
    objects, grasps = (*map(int, given), *(OBJECTS, GRASPS)[len(given) :])
    paths = DatasetPaths(Path(root), GRIPPER)
    make_dataset(paths, objects, grasps)
    size = sum(file.stat().st_size for file in paths.grasps.iterdir())
    figures = measured([sys.executable, "-m", "graspgen_cli", "analyze", root, "--json", "--quiet"])
    cores = len(os.sched_getaffinity(0))
    print(json.dumps({"objects": objects, "grasps_an_object": grasps, "bytes": size, "cores": cores, **figures}))


if __name__ == "__main__":
    main()
