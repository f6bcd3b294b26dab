"""What the cores have to do for an object when a GPU tries its grasps: core-seconds of each phase, and of a whole run whose simulator
answers at once.

    python benchmarks/varied_objects.py FOLDER --count 64
    python benchmarks/cpu_work.py FOLDER/object_scales.json [--gripper robotiq_2f_85] [--workers N] [--no-phases] [--no-run]

The phases are taken one object after the other in this process: prepare (read, mend, cut into pieces; nothing kept from before), guess
(search trees and first guesses for the default quotas), write. The whole run is `graspgen all` with the pipeline's own processes and all
that they need to start; its stand-in for a simulator calls nine of ten grasps held without trying them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from graspgen_cli.files import CACHE_VARIABLE, write_atomically
from graspgen_cli.formats.graspgen_json import encode
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.grippers.export import graspgen_offset
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.making.rounds import ObjectState, ObjectWork, guess_missing
from graspgen_cli.objects.load import load_object
from graspgen_cli.objects.scales import read_scales
from graspgen_cli.records import GraspBatch, GraspDataset, Gripper, TrialState
from graspgen_cli.running.machine import usable_cores
from graspgen_cli.running.run import make_grasps
from graspgen_cli.settings.commands import GraspCommand, MakingSettings
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.tables import ENGINES, EngineRow
from graspgen_cli.validate.engine import More, ObjectResults, ObjectTrials

HELD = 0.9
STAND_IN = "mujoco"
"""The engine whose place the stand-in takes."""


class InstantSimulator:
    """Calls nine of ten grasps held, at once."""

    takes_more = False

    def run(self, trials: Sequence[ObjectTrials], more: More) -> Iterator[ObjectResults]:
        """See `Simulator.run`."""
        for each in trials:
            yield ObjectResults(each.number, self._state(len(each.grasps)))

    def _state(self, count: int) -> TrialState:
        held = np.arange(count) % 10 < 10 * HELD
        zeros, never = np.zeros(count), np.full(count, np.nan)
        return TrialState(
            pose_object_in_gripper=np.tile(np.eye(4), (count, 1, 1)),
            finger_contact_force=np.repeat(held[:, None] * 10.0, 2, axis=1),
            joint_position=np.zeros((count, 1)),
            finite=np.ones(count, bool),
            slip=np.zeros((count, 2)),
            smallest_force=held * 10.0,
            loss_time=np.where(held, never, 0.0),
            late_motion=zeros,
            started_inside=np.zeros(count, bool),
            steps=np.ones(count, np.int32),
        )


class InstantEngine:
    """What the pipeline asks of an engine that tries many objects at once."""

    @staticmethod
    def open_simulator(gripper: Gripper, settings: SimulationSettings, *, device: str) -> InstantSimulator:
        """See `running.devices`."""
        return InstantSimulator()


def phases(scales: Path, gripper: Gripper) -> dict[str, Any]:
    """Mean core-seconds an object of each phase, and the mean number of pieces."""
    settings, shape, rows = MakingSettings.of(), GripperShape(gripper), []
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1, user_api="blas"):
        for object_id, scale in read_scales(scales).entries:
            clock = [time.process_time()]
            reach = shape.reach(settings.reach.reach)
            approximation = settings.simulation.collision_approximation
            target = load_object(object_id, scale, root=scales.parent, approximation=approximation, cache=None, reach=reach)
            clock.append(time.process_time())
            work = ObjectWork(target, ObjectShape(target), shape, None, settings)
            grasps = guess_missing(work, ObjectState(GraspBatch.empty(), 0)).grasps
            clock.append(time.process_time())
            dataset = GraspDataset(object_id, scale, gripper.name, gripper.width, gripper.depth, grasps, {})
            write_atomically(Path(folder) / "grasps.json", encode(dataset, graspgen_offset(gripper)))
            clock.append(time.process_time())
            rows.append([*np.diff(clock), len(target.pieces)])
    prepare, guess, write, pieces = np.mean(rows, axis=0)
    return {
        "prepare_core_s_per_object": round(float(prepare), 4),
        "guess_core_s_per_object": round(float(guess), 4),
        "write_core_s_per_object": round(float(write), 4),
        "pieces_per_object": round(float(pieces), 2),
    }


def whole_run(scales: Path, gripper_name: str, workers: int) -> dict[str, Any]:
    """Core-seconds an object of all processes of a run, from start to end."""
    ENGINES[STAND_IN] = EngineRow(place="cpu_work:InstantEngine", first_device="cpu", has_our_contacts=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_VARIABLE] = str(Path(folder) / "cache")
        settings = GraspCommand.of(
            object_scales_json=scales,
            object_dataset=scales.parent,
            grasp_dataset=Path(folder) / "dataset",
            gripper_config=gripper_name,
            backend=STAND_IN,
            device="cpu",
            workers=workers,
            run_controls=False,
        )
        busy, start = _core_seconds(), time.perf_counter()
        summary = make_grasps(settings, on_start=lambda _: None, on_report=lambda _: None)
        seconds, busy = time.perf_counter() - start, _core_seconds() - busy
    count = len(summary.reports)
    return {
        "run_workers": workers,
        "run_objects_per_s": round(count / seconds, 2),
        "run_core_s_per_object": round(busy / count, 4),
        "run_core_share": round(busy / seconds / usable_cores(), 3),
    }


def _core_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    """Reads the flags, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scales", type=Path, help="object_scales.json beside the meshes")
    parser.add_argument("--gripper", default="robotiq_2f_85")
    parser.add_argument("--workers", type=int, default=usable_cores())
    parser.add_argument("--no-phases", dest="phases", action="store_false")
    parser.add_argument("--no-run", dest="run", action="store_false")
    options = parser.parse_args()
    found: dict[str, Any] = {"objects": len(read_scales(options.scales).entries), "cores": usable_cores()}
    if options.phases:
        found |= phases(options.scales, load_gripper(options.gripper))
    if options.run:
        found |= whole_run(options.scales, options.gripper, options.workers)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
