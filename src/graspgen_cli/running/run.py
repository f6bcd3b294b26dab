"""A run over the objects of a list, and the lists that follow from its files."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from graspgen_cli.dataset.collection import open_collection
from graspgen_cli.dataset.convert import plan_conversion
from graspgen_cli.dataset.index import current_index, mesh_entries, updated, write_index
from graspgen_cli.dataset.locks import object_lock, owned, remove_remains
from graspgen_cli.dataset.object_map import own_files, read_object_map, update_object_map
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.dataset.splits import SplitPlan, update_splits
from graspgen_cli.errors import InputError, OutputError, SettingsError
from graspgen_cli.files import append_line, require_writable
from graspgen_cli.formats.format import Entry
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.making.controls import require_controls
from graspgen_cli.making.gripper_config import PreparedGripper, write_gripper_config
from graspgen_cli.making.reports import ObjectReport, RunSummary, Status
from graspgen_cli.making.task import Existing, ObjectTask, OnFile, Plan, decide, report
from graspgen_cli.objects.scales import ScalesList, read_scales, resolve_object_paths
from graspgen_cli.records import Gripper
from graspgen_cli.running.engines import Engine, choose_engine
from graspgen_cli.running.pool import run_tasks
from graspgen_cli.settings.commands import AllCommand, FillCommand, GraspCommand, GuessCommand, SplitsCommand
from graspgen_cli.settings.fields import command_line
from graspgen_cli.settings.guesses import ReachSettings
from graspgen_cli.settings.inputs import GripperSettings, ObjectSettings
from graspgen_cli.settings.runs import ExecutionSettings, Executor
from graspgen_cli.validate.protocols import protocol_sequences

_NOT_DECIDING = {*GripperSettings.model_fields, *ReachSettings.model_fields, "run_controls"}
"""Settings of the work on an object that two runs at the same time may differ in: gripper and reach are compared file by file."""

OnStart = Callable[[int], None]
OnReport = Callable[[ObjectReport], None]


@dataclass(frozen=True)
class MadeDataset:
    """The result of `make_dataset`. splits: None for one shard of several, and if no object has grasps."""

    gripper: PreparedGripper
    summary: RunSummary
    splits: SplitPlan | None


def make_dataset(settings: AllCommand, *, on_start: OnStart, on_report: OnReport) -> MadeDataset:
    """Writes the gripper's files, makes the grasps of every object, and updates the splits.

    Raises the errors of `write_gripper_config`, `make_grasps` and `update_dataset_splits`.
    """
    choose_engine(settings.backend, settings.execution)  # An engine that cannot run is reported before anything is written.
    gripper = write_gripper_config(settings)
    summary = make_grasps(settings, on_start=on_start, on_report=on_report)
    done = [each for each in summary.reports if each.status is not Status.FAILED]
    has_grasps = any(each.held + each.failed + each.unvalidated for each in done)
    whole = settings.execution.shard is None
    return MadeDataset(gripper, summary, update_dataset_splits(settings) if whole and has_grasps else None)


def make_grasps(command: GuessCommand | FillCommand, *, on_start: OnStart, on_report: OnReport) -> RunSummary:
    """Guesses and tries the grasps of every object of the list, as the command says, and updates the trainer's map.

    on_start: gets the number of objects. on_report: gets the report of each object when that is done. Raises InputError, SettingsError,
    GripperError or OutputError if the run cannot start; the problem of an object is in its report.
    """
    started, settings = time.time(), command.grasp_command()
    engine = choose_engine(settings.backend, settings.execution)
    gripper = load_gripper(settings.gripper.gripper_config, options=settings.gripper)
    objects = _objects(settings, gripper)
    settings = _with_sequences(settings)
    plan = Plan.of(settings.mode, engine.name)
    if plan.simulates and settings.extras.run_controls:
        require_controls(gripper, settings.simulation)
    paths = DatasetPaths(settings.dataset.grasp_dataset, gripper.name)
    require_writable(paths.grasps)
    with owned(paths, _deciding(settings, plan), clean=partial(remove_remains, paths)):
        tasks = _tasks(objects, paths, plan, settings)
        refused = [
            ObjectReport(object_id=object_id, status=Status.FAILED, message=message)
            for object_id, message in objects.scales.problems
            if is_mine(object_id, settings.execution.shard)
        ]
        on_start(len(tasks) + len(refused))
        reports: dict[str, ObjectReport] = {}
        made = _reports(tasks, gripper, engine if plan.simulates else Engine(engine.name), settings.execution)
        try:
            for each in chain(refused, made):
                reports[each.object_id] = each
                if each.status is Status.FAILED:
                    _log_failure(paths, each)
                on_report(each)
        finally:
            made.close()
            # A run that is stopped leaves finished files, which the map has to list.
            update_object_map(paths, {task.object_id: task.file_name for task in tasks if task.grasp_file.exists()})
    summary = RunSummary(reports=(*refused, *(reports[task.object_id] for task in tasks)))
    _log_run(paths, settings, plan, summary, started)
    return summary


@dataclass(frozen=True)
class _Objects:
    """The objects of a run. root: folder of their meshes. sources: grasps of another tool, by object id."""

    scales: ScalesList
    root: Path
    sources: dict[str, Entry]


def _objects(settings: GraspCommand, gripper: Gripper) -> _Objects:
    """The objects of the scales file, or those of the grasps that the run has to try."""
    given = settings.mode.grasps
    if given is None:
        return _Objects(*_listed(settings.objects), {})
    _, root = resolve_object_paths(object_scales_json=settings.objects.object_scales_json, object_dataset=settings.objects.object_dataset)
    collection = open_collection(given)
    if gripper.name in collection.grippers:
        collection = open_collection(given, gripper=gripper.name)
    found = plan_conversion(collection, gripper, root)
    problems = tuple((str(error.path), error.summary) for error in found.damaged)
    scales = ScalesList(tuple((one.object_id, one.scale) for one in found.objects), problems)
    return _Objects(scales, root, {one.object_id: one.entry for one in found.objects})


def _listed(settings: ObjectSettings) -> tuple[ScalesList, Path]:
    scales_file, root = resolve_object_paths(object_scales_json=settings.object_scales_json, object_dataset=settings.object_dataset)
    return read_scales(scales_file), root


def _with_sequences(settings: GraspCommand) -> GraspCommand:
    """The settings with the tugs and shakes of their protocol."""
    tugs, shakes = protocol_sequences(settings.protocol.protocol, settings.simulation.tug_sequences, settings.simulation.shake_sequences)
    if settings.extras.robustness and (shakes or not tugs):
        raise SettingsError("--robustness is the force of the tugs that a grasp survives; give it a protocol of tugs alone")
    return settings.updated(tug_sequences=tugs, shake_sequences=shakes)


def _deciding(settings: GraspCommand, plan: Plan) -> dict[str, Any]:
    """The settings that decide the content of the files: runs that differ in them must not share a dataset at the same time."""
    deciding = {name: value for name, value in settings.making().flat().items() if name not in _NOT_DECIDING}
    return {**({"backend": plan.backend} if plan.simulates else {}), **deciding}


def _tasks(objects: _Objects, paths: DatasetPaths, plan: Plan, settings: GraspCommand) -> list[ObjectTask]:
    """The tasks of this shard. The names of the files come from the whole list, so that all shards choose the same names."""
    scales = objects.scales.entries
    names = grasp_file_names(scales, own_files(paths, scales, read_object_map(paths)))
    making = settings.making()
    return [
        ObjectTask(object_id, scale, objects.root, paths, names[object_id], plan, making, objects.sources.get(object_id))
        for object_id, scale in scales
        if is_mine(object_id, settings.execution.shard)
    ]


def is_mine(object_id: str, shard: str | None) -> bool:
    """Whether an object belongs to the shard ``i/n``, by a hash of its id, so that a longer list moves no object; always without a
    shard."""
    if shard is None:
        return True
    number, _, count = shard.partition("/")
    return int.from_bytes(hashlib.sha256(object_id.encode()).digest()[:8], "big") % int(count) == int(number)


def _reports(tasks: Sequence[ObjectTask], gripper: Gripper, engine: Engine, settings: ExecutionSettings) -> Generator[ObjectReport]:
    """The report of every task, in the order of completion. Objects that another run is making are tried again when that is done."""
    done = _done_by_index(tasks, gripper)
    yield from done.values()
    remaining = [task for task in tasks if task.object_id not in done]
    while remaining:
        busy = []
        for task, made in _executed(remaining, gripper, engine, settings):
            if made.status is Status.BUSY:
                busy.append(task)
            else:
                yield made
        remaining = busy
        if busy:
            with object_lock(busy[0].paths, busy[0].object_id, wait=True):
                pass


def _done_by_index(tasks: Sequence[ObjectTask], gripper: Gripper) -> dict[str, ObjectReport]:
    """Object id -> report of every object that is done by its entry in the index, without a read of its file."""
    if not tasks or tasks[0].plan.existing in (Existing.RETRY, Existing.REPLACE):
        return {}
    paths, root = tasks[0].paths, tasks[0].object_root
    index = current_index(paths)
    indexed = [(task, index.grasps[task.file_name]) for task in tasks if task.file_name in index.grasps]
    meshes = mesh_entries(index, [(task.object_id, task.scale) for task, _ in indexed], root)
    reports = {}
    for task, entry in indexed:
        mesh = meshes.get(task.object_id)
        found = OnFile.of_entry(task, entry, mesh.digest, gripper.content_hash) if mesh else None
        decision = decide(task, found)
        if found is not None and decision.status is not None:
            reports[task.object_id] = report(task, decision.status, found.counts, decision.message)
    try:
        write_index(paths, updated(index, meshes=meshes))
    except OutputError:
        return reports  # The next run is slower. A write that matters reports the error.
    return reports


def _executed(
    tasks: Sequence[ObjectTask], gripper: Gripper, engine: Engine, settings: ExecutionSettings
) -> Iterator[tuple[ObjectTask, ObjectReport]]:
    if settings.executor is Executor.LOCAL:
        return run_tasks(tasks, gripper, engine, settings)
    from graspgen_cli.running.ray_cluster import run_on_ray

    return run_on_ray(tasks, gripper, engine, settings)


def _log_failure(paths: DatasetPaths, report: ObjectReport) -> None:
    line = {
        "object_id": report.object_id,
        "reason": report.message,
        "traceback": report.traceback,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    append_line(paths.failures, orjson.dumps(line))


def _log_run(paths: DatasetPaths, settings: GraspCommand, plan: Plan, summary: RunSummary, started: float) -> None:
    """Adds a line to the run log, which holds what differs from run to run."""
    line = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "phase": "all" if plan.simulates else "guess",
        "objects": {status.value: summary.count(status) for status in Status},
        "tested": sum(report.tested for report in summary.reports),
        "settings": settings.flat(),
    }
    append_line(paths.run_log, orjson.dumps(line))


def update_dataset_splits(settings: SplitsCommand | AllCommand) -> SplitPlan:
    """Adds the objects that have grasps to the training and validation lists."""
    gripper = load_gripper(settings.gripper.gripper_config, options=settings.gripper)
    paths = DatasetPaths(settings.dataset.grasp_dataset, gripper.name)
    scales, _ = _listed(settings.objects)
    # Runs at the same time on a file system without locks may have lost each other's entries.
    have = update_object_map(paths, {}) if paths.grasps.is_dir() else {}
    listed = [object_id for object_id, _ in scales.entries if object_id in have]
    if not listed:
        reason = f"no grasps of any object in {settings.objects.object_scales_json}"
        raise InputError(reason, path=paths.grasps, advice=f"run `{command_line('all', settings)}` first")
    with object_lock(paths, "train.txt", wait=True):
        return update_splits(
            paths.splits,
            listed,
            fraction=settings.splits.valid_set_percentage,
            seed=settings.splits.seed,
            by_folder=settings.splits.by_folder,
            by_regex=settings.splits.by_regex,
        )
