"""Walking over what is finished: the index tells, without a file being read, which objects need no work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graspgen_cli.dataset.index import GraspEntry, current_index, mesh_entries, updated, write_index
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.errors import OutputError
from graspgen_cli.execution.object_run import ObjectTask, current_records
from graspgen_cli.execution.reports import ObjectReport, Phase, Status
from graspgen_cli.execution.rounds import FAILED
from graspgen_cli.records import Gripper, Outcome


def finished_objects(tasks: Sequence[ObjectTask], gripper: Gripper, paths: DatasetPaths, root: Path) -> dict[str, ObjectReport]:
    """Object id -> report of every object whose file is just what this run would make of it, or full where it is to be filled. The
    others, and those about which there is something to say, are left to be looked at."""
    if not tasks or tasks[0].settings.load_guesses or tasks[0].settings.overwrite_grasps:
        return {}
    index = current_index(paths)
    there = [task for task in tasks if task.file_name in index.grasps]
    meshes = mesh_entries(index, [(task.object_id, task.scale) for task in there], root)
    reports = {}
    for task in there:
        entry, mesh = index.grasps[task.file_name], meshes.get(task.object_id)
        if mesh is not None and _same(task, entry, mesh.digest, gripper):
            reports[task.object_id] = _kept(task, entry)
    try:
        write_index(paths, updated(index, meshes=meshes))
    except OutputError:
        return reports  # only slower the next time; what matters will say that it cannot be written
    return reports


def _same(task: ObjectTask, entry: GraspEntry, object_digest: str, gripper: Gripper) -> bool:
    guess, simulation = current_records(task, object_digest, gripper)
    untested = entry.counts.get(Outcome.UNVALIDATED.label, 0)
    if task.phase is not Phase.GUESS and (untested or entry.simulation != simulation["digest"]):
        return False
    if task.phase is Phase.GUESS and entry.simulation not in (None, simulation["digest"]):
        return False
    if task.settings.fill_grasps and not _full(task, entry):
        return False
    return entry.object_id == task.object_id and entry.scale == task.scale and entry.guess == guess["digest"]


def _full(task: ObjectTask, entry: GraspEntry) -> bool:
    if task.settings.hard_negatives:
        return False  # only the file says which grasps are some
    have = entry.counts
    positive = have.get(Outcome.HELD.label, 0) + have.get(Outcome.UNVALIDATED.label, 0)
    failed = sum(have.get(outcome.label, 0) for outcome in FAILED)
    return positive >= task.settings.num_collision_free_grasps and failed >= task.settings.num_colliding_grasps


def _kept(task: ObjectTask, entry: GraspEntry) -> ObjectReport:
    return ObjectReport(
        object_id=task.object_id,
        status=Status.KEPT,
        held=entry.counts.get(Outcome.HELD.label, 0),
        failed=sum(entry.counts.get(outcome.label, 0) for outcome in FAILED),
        unvalidated=entry.counts.get(Outcome.UNVALIDATED.label, 0),
        tested=0,
        message="",
        seconds=0.0,
    )
