"""Measures this machine on the example objects and prints one JSON object.

    python benchmarks/measure.py [--gripper robotiq_2f_85] [--grasps 64] [--workers 0] [--output FILE]

Preparation is timed without a cache. Guessing is timed on one core. Validation runs the full protocol of guesses that were made
before, an object a task, on all workers; what it counts is grasps tried to their end or to the object's loss.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.guess.loop import make_guesses
from graspgen_cli.objects.load import load_object
from graspgen_cli.objects.scales import read_scales, resolve_object_paths
from graspgen_cli.records import GraspBatch, Outcome, TargetObject
from graspgen_cli.settings.commands import GraspCommand
from graspgen_cli.validate.backend import make_backend
from graspgen_cli.validate.trials import run_trials

SETTINGS = GraspCommand()
Prepared = tuple[TargetObject, GraspBatch]


def machine() -> dict[str, Any]:
    """What a reader needs to know about the machine."""
    model = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    packages = ("graspgen-cli", "mujoco-core", "numpy", "manifold3d", "python-fcl", "embreex")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def prepare(object_id: str, scale: float, root: Path) -> tuple[TargetObject, float]:
    """The object with its pieces, and the seconds that it took without a cache."""
    start = time.perf_counter()
    approximation = SETTINGS.collision_approximation
    target = load_object(object_id, scale, root=root, approximation=approximation, cache=None)
    return target, time.perf_counter() - start


def guess(target: TargetObject, gripper: GripperShape, count: int) -> tuple[GraspBatch, float]:
    """`count` guesses free of collision and the best of three times, s."""
    shape = ObjectShape(target)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        result = make_guesses(
            shape, gripper, SETTINGS, object_id=target.object_id, num_free=count, num_colliding=0, first_try=0, max_tries=0
        )
        best = min(best, time.perf_counter() - start)
    return result.grasps, best


def validate(prepared: Prepared, *, gripper_name: str) -> tuple[int, int, int, float]:
    """Tried, held, steps, seconds of one object's trials."""
    target, grasps = prepared
    gripper = load_gripper(gripper_name)
    with threadpool_limits(1, user_api="blas"):
        start = time.perf_counter()
        result = run_trials(make_backend("mujoco", threads=1), gripper, target, grasps, SETTINGS)
    return len(grasps), result.grasps.count(Outcome.HELD), result.steps, time.perf_counter() - start


def measure(gripper_name: str, grasps: int, workers: int) -> dict[str, Any]:
    """Everything, for every example object."""
    about = machine()
    scales_file, root = resolve_object_paths(object_scales_json=SETTINGS.object_scales_json, object_dataset=SETTINGS.object_dataset)
    gripper = GripperShape(load_gripper(gripper_name))
    objects: dict[str, dict[str, Any]] = {}
    prepared: list[Prepared] = []
    for object_id, scale in read_scales(scales_file).entries:
        target, seconds = prepare(object_id, scale, root)
        many, guess_seconds = guess(target, gripper, 1000)
        prepared.append((target, many[:grasps]))
        objects[object_id] = {
            "faces": len(target.mesh.faces),
            "pieces": len(target.pieces),
            "mean_gap_mm": round(target.mean_gap * 1e3, 3),
            "largest_gap_mm": round(target.largest_gap * 1e3, 3),
            "preparation_s": round(seconds, 3),
            "accepted_guesses_per_s": round(len(many) / guess_seconds),
        }
    rate = _validate_all(prepared, gripper_name, workers or about["cores"], objects)
    return {"machine": about, "gripper": gripper_name, **_summary(objects), **rate, "objects": objects}


def _validate_all(prepared: list[Prepared], gripper_name: str, workers: int, objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    task = partial(validate, gripper_name=gripper_name)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(task, [(target, grasps[:1]) for target, grasps in prepared]))  # starts and warms the workers
        start = time.perf_counter()
        results = list(pool.map(task, prepared))
        wall = time.perf_counter() - start
    for row, (tried, held, steps, seconds) in zip(objects.values(), results, strict=True):
        row |= {
            "held_fraction": round(held / tried, 3),
            "trial_ms": round(seconds / tried * 1e3, 2),
            "step_us": round(seconds / steps * 1e6, 2),
        }
    tried = sum(r[0] for r in results)
    return {
        "workers": workers,
        "validated_grasps_per_s": round(tried / wall, 1),
        "world_steps_per_s": round(sum(r[2] for r in results) / wall),
        "held_fraction": round(sum(r[1] for r in results) / tried, 3),
    }


def _summary(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "preparation_s_per_object_median": statistics.median(row["preparation_s"] for row in objects.values()),
        "preparation_s_per_object_max": max(row["preparation_s"] for row in objects.values()),
        "accepted_guesses_per_s_on_mug": objects["mug.obj"]["accepted_guesses_per_s"],
        "accepted_guesses_per_s_median": statistics.median(row["accepted_guesses_per_s"] for row in objects.values()),
    }


def main() -> None:
    """Reads the flags, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gripper", default="robotiq_2f_85")
    parser.add_argument("--grasps", type=int, default=64, help="grasps tried of each object")
    parser.add_argument("--workers", type=int, default=0, help="worker processes; 0 = one a core")
    parser.add_argument("--output", type=Path, help="also write the JSON here")
    options = parser.parse_args()
    with threadpool_limits(1, user_api="blas"):
        text = json.dumps(measure(options.gripper, options.grasps, options.workers), indent=2)
    if options.output:
        options.output.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
