"""Measures an NVIDIA GPU: trials a second of many objects in one launch, and whether its labels are those of the CPU's engine.

    python benchmarks/gpu.py OBJECT_SCALES.json [--gripper robotiq_2f_85] [--grasps 2048] [--compare 256] [--worlds 8192] [--output FILE]

Objects are prepared and guesses made beforehand by all cores, and are not in the rate of validated grasps. The first launch compiles or
loads kernels and is timed by itself. `--compare N` tries the first N grasps of each object on the CPU too, and all of them twice on the
GPU.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.guess.loop import make_guesses
from graspgen_cli.objects.load import load_object
from graspgen_cli.objects.scales import read_scales
from graspgen_cli.records import GraspBatch, Outcome, TargetObject
from graspgen_cli.settings.commands import GraspCommand
from graspgen_cli.validate.engine import ObjectTrials, make_backend
from graspgen_cli.validate.judge import judge

SETTINGS = GraspCommand.of()
Labels = NDArray[np.int8]


def prepare(entry: tuple[str, float], *, root: Path, gripper_name: str, grasps: int) -> tuple[TargetObject, GraspBatch]:
    """An object with its pieces, and guesses."""
    with threadpool_limits(1, user_api="blas"):
        shape = GripperShape(load_gripper(gripper_name))
        reach = shape.reach(SETTINGS.reach.reach)
        target = load_object(
            entry[0], entry[1], root=root, approximation=SETTINGS.simulation.collision_approximation, cache=None, reach=reach
        )
        made = make_guesses(
            ObjectShape(target), shape, SETTINGS.guess, object_id=entry[0], num_free=grasps, num_colliding=0, first_try=0, max_tries=1000
        )
    return target, made.grasps


def on_the_cpu(prepared: tuple[TargetObject, GraspBatch], *, gripper_name: str, steady_motion: float) -> Labels:
    """Labels of the reference backend."""
    settings = SETTINGS.simulation.model_copy(update={"steady_motion": steady_motion})
    with threadpool_limits(1, user_api="blas"):
        return judge(make_backend("mujoco", threads=1).run(load_gripper(gripper_name), *prepared, settings))


def on_the_gpu(backend: Any, gripper_name: str, trials: list[ObjectTrials]) -> tuple[dict[int, Labels], float, int]:
    """Labels by object, seconds, steps."""
    start = time.perf_counter()
    labels, steps = {}, 0
    for result in backend.run_many(load_gripper(gripper_name), trials, SETTINGS.simulation):
        labels[result.number] = judge(result.state)
        steps += int(result.state.steps.sum())
    return labels, time.perf_counter() - start, steps


def compared(labels: dict[int, Labels], others: dict[int, Labels]) -> dict[str, Any]:
    """Agreement, and how the labels that differ lie."""
    mine = np.concatenate([labels[i][: len(others[i])] for i in sorted(others)])
    theirs = np.concatenate([others[i] for i in sorted(others)])
    held, held_theirs = mine == Outcome.HELD, theirs == Outcome.HELD
    return {
        "grasps": len(mine),
        "agreement": round(float((held == held_theirs).mean()), 5),
        "held_here_only": int((held & ~held_theirs).sum()),
        "held_there_only": int((~held & held_theirs).sum()),
        "least_agreement_of_an_object": round(float(min((labels[i][: len(o)] == o).mean() for i, o in others.items())), 4),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything."""
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend

    entries = read_scales(options.scales).entries
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        start = time.perf_counter()
        make = partial(prepare, root=options.scales.parent, gripper_name=options.gripper, grasps=options.grasps)
        prepared = list(pool.map(make, entries))
        preparing = time.perf_counter() - start
        trials = [ObjectTrials(i, target, grasps) for i, (target, grasps) in enumerate(prepared)]
        backend = MujocoWarpBackend(threads=os.cpu_count() or 1, device=options.device, worlds=options.worlds)
        start = time.perf_counter()
        on_the_gpu(backend, options.gripper, [ObjectTrials(t.number, t.target, t.grasps[:2]) for t in trials])
        first = time.perf_counter() - start
        labels, seconds, steps = on_the_gpu(backend, options.gripper, trials)
        tried = sum(len(each.grasps) for each in trials)
        found: dict[str, Any] = {
            "gripper": options.gripper,
            "objects": len(trials),
            "grasps": tried,
            "worlds": options.worlds,
            "preparing_and_guessing_s": round(preparing, 1),
            "first_launch_s": round(first, 1),
            "trials_s": round(seconds, 2),
            "validated_grasps_per_s": round(tried / seconds),
            "world_steps_per_s": round(steps / seconds),
            "held_fraction": round(float(np.mean([(label == Outcome.HELD).mean() for label in labels.values()])), 4),
            "unstable": int(sum((label == Outcome.UNSTABLE).sum() for label in labels.values())),
        }
        if options.compare:
            again, seconds, _ = on_the_gpu(backend, options.gripper, trials)
            found["validated_grasps_per_s_again"] = round(tried / seconds)
            found["gpu_again"] = compared(labels, again)
            firsts = [(target, grasps[: options.compare]) for target, grasps in prepared]
            for name, steady in (("cpu", SETTINGS.simulation.steady_motion), ("cpu_whole_stages", 0.0)):
                start = time.perf_counter()
                cpu = list(pool.map(partial(on_the_cpu, gripper_name=options.gripper, steady_motion=steady), firsts))
                found[name] = compared(labels, dict(enumerate(cpu)))
                found[name]["validated_grasps_per_s"] = round(sum(map(len, cpu)) / (time.perf_counter() - start))
                found[name]["cores"] = os.cpu_count()
    return found


def main() -> None:
    """Reads the flags, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scales", type=Path, help="object_scales.json beside the meshes")
    parser.add_argument("--gripper", default="robotiq_2f_85")
    parser.add_argument("--grasps", type=int, default=2048)
    parser.add_argument("--compare", type=int, default=0)
    parser.add_argument("--worlds", type=int, default=8192)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    text = json.dumps(measure(options), indent=2)
    if options.output:
        options.output.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
