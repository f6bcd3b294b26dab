"""Walking over what is finished: the index tells, without a file being read, which objects need no work.

Which objects a run does, and what does them: shards of a list, and executors.

What the commands call: each function takes settings and does one whole phase."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from graspgen_cli.dataset.index import GraspEntry, current_index, mesh_entries, updated, write_index
from graspgen_cli.dataset.locks import object_lock, owned
from graspgen_cli.dataset.object_map import own_files, read_object_map, write_object_map
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.dataset.splits import SplitPlan, update_splits
from graspgen_cli.errors import InputError, OutputError, SettingsError
from graspgen_cli.files import append_line, remove_leftovers, require_writable
from graspgen_cli.formats.format import Entry
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.making.controls import require_controls
from graspgen_cli.making.given_grasps import given_grasps
from graspgen_cli.making.gripper_config import PreparedGripper, write_gripper_config
from graspgen_cli.making.make_object import ObjectTask, current_records
from graspgen_cli.making.reports import ObjectReport, Phase, RunSummary, Status
from graspgen_cli.making.rounds import FAILED
from graspgen_cli.objects.scales import ScalesList, read_scales, resolve_object_paths
from graspgen_cli.records import Gripper, Outcome
from graspgen_cli.running.engines import Engine, choose_engine
from graspgen_cli.running.pool import run_tasks
from graspgen_cli.settings.commands import AllCommand, FillCommand, GraspCommand, GuessCommand, SplitsCommand
from graspgen_cli.settings.fields import command_line
from graspgen_cli.settings.guesses import ReachSettings
from graspgen_cli.settings.inputs import GripperSettings, ObjectSettings
from graspgen_cli.settings.runs import ExecutionSettings, Executor
from graspgen_cli.validate.protocols import protocol_sequences


def finished_objects(tasks: Sequence[ObjectTask], gripper: Gripper, paths: DatasetPaths, root: Path) -> dict[str, ObjectReport]:
    """Object id -> report of every object whose file is just what this run would make of it, or full where it is to be filled. The
    others, and those about which there is something to say, are left to be looked at."""
    if not tasks or tasks[0].settings.mode.load_guesses or tasks[0].settings.mode.overwrite_grasps:
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
    if task.settings.mode.fill_grasps and not _full(task, entry):
        return False
    return entry.object_id == task.object_id and entry.scale == task.scale and entry.guess == guess["digest"]


def _full(task: ObjectTask, entry: GraspEntry) -> bool:
    if task.settings.extras.hard_negatives:
        return False  # only the file says which grasps are some
    have = entry.counts
    positive = have.get(Outcome.HELD.label, 0) + have.get(Outcome.UNVALIDATED.label, 0)
    failed = sum(have.get(outcome.label, 0) for outcome in FAILED)
    return positive >= task.settings.quotas.num_collision_free_grasps and failed >= task.settings.quotas.num_colliding_grasps


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


def is_mine(object_id: str, shard: str | None) -> bool:
    """Whether an object is of the shard ``i/n``: by a hash of its id, so that each object is of just one shard and stays there however
    the list grows. Without a shard, every object is."""
    if shard is None:
        return True
    number, _, count = shard.partition("/")
    return int.from_bytes(hashlib.sha256(object_id.encode()).digest()[:8], "big") % int(count) == int(number)


def spread_tasks(
    tasks: Sequence[ObjectTask],
    gripper: Gripper,
    engine: Engine,
    settings: ExecutionSettings,
    *,
    on_report: Callable[[ObjectReport], None],
) -> list[ObjectReport]:
    """Does all tasks and returns their reports in the order of the tasks; `on_report` sees them as they come. What a task makes does
    not depend on where it is done, or in which order. Objects that another run has in hand are looked at again when it is done with
    them.

    Raises InputError or SettingsError where the executor or the engine's device cannot be used.
    """
    by_id: dict[str, ObjectReport] = {}
    remaining = list(tasks)
    while remaining:
        busy = []
        for task, report in _executed(remaining, gripper, engine, settings):
            if report.status is Status.BUSY:
                busy.append(task)
                continue
            by_id[task.object_id] = report
            on_report(report)
        remaining = busy
        if busy:
            with object_lock(busy[0].paths, busy[0].object_id, wait=True):
                pass
    return [by_id[task.object_id] for task in tasks]


def _executed(
    tasks: Sequence[ObjectTask], gripper: Gripper, engine: Engine, settings: ExecutionSettings
) -> Iterator[tuple[ObjectTask, ObjectReport]]:
    if settings.executor is Executor.LOCAL:
        return run_tasks(tasks, gripper, engine, settings)
    from graspgen_cli.running.ray_cluster import run_on_ray

    return run_on_ray(tasks, gripper, engine, settings)


@dataclass(frozen=True)
class MadeDataset:
    """What `make_dataset` made. splits: None for one shard of several, and if no object has grasps."""

    gripper: PreparedGripper
    summary: RunSummary
    splits: SplitPlan | None


def make_dataset(settings: AllCommand, *, on_start: Callable[[int], None], on_report: Callable[[ObjectReport], None]) -> MadeDataset:
    """Writes the gripper's files, makes the grasps of every object, and updates the splits.

    Raises as `write_gripper_config`, `run_objects` and `update_dataset_splits` do.
    """
    gripper = write_gripper_config(settings)
    phase = Phase.GUESS if settings.mode.guess_only else Phase.ALL
    summary = run_objects(settings, phase=phase, on_start=on_start, on_report=on_report)
    done = [report for report in summary.reports if report.status is not Status.FAILED]
    has_grasps = any(report.held + report.failed + report.unvalidated for report in done)
    whole = settings.execution.shard is None
    return MadeDataset(gripper, summary, update_dataset_splits(settings) if whole and has_grasps else None)


def make_grasps(
    settings: GuessCommand | FillCommand, *, on_start: Callable[[int], None], on_report: Callable[[ObjectReport], None]
) -> RunSummary:
    """Does `guess`, `validate` or `fill`, as the settings are those of. Raises as `run_objects` does."""
    command = settings.grasp_command()
    phases = {GuessCommand: Phase.GUESS, GraspCommand: Phase.VALIDATE, FillCommand: Phase.FILL}
    return run_objects(command, phase=phases[type(settings)], on_start=on_start, on_report=on_report)


def run_objects(
    settings: GraspCommand,
    *,
    phase: Phase,
    on_start: Callable[[int], None],
    on_report: Callable[[ObjectReport], None],
) -> RunSummary:
    """Guesses and tries the grasps of every object of the list, as `phase` says, and brings the trainer's map up to date.

    Raises InputError, GripperError or OutputError if nothing can be done at all; one object's problem is in its report.
    """
    started = time.time()
    engine = choose_engine(settings.backend, settings.execution)
    gripper = load_gripper(settings.gripper.gripper_config, options=settings.gripper)
    scales, root, sources = _objects_and_sources(settings, gripper)
    paths = DatasetPaths(settings.dataset.grasp_dataset, gripper.name)
    phase, settings = _effective(phase, settings)
    if phase is Phase.GUESS:
        engine = Engine(engine.name)  # no device is needed
    if phase is not Phase.GUESS and settings.extras.run_controls:
        require_controls(gripper, settings.simulation)
    require_writable(paths.grasps)
    with owned(paths, _deciding(phase, settings, engine), clean=partial(_clean, paths)):
        tasks = [replace(task, source=sources.get(task.object_id)) for task in _tasks(scales, root, paths, phase, settings, engine)]
        problems = [problem for problem in scales.problems if is_mine(problem[0], settings.execution.shard)]
        on_start(len(tasks) + len(problems))

        def report_one(report: ObjectReport) -> None:
            if report.status is Status.FAILED:
                _log_failure(paths, report)
            on_report(report)

        refused = [_refused(object_id, message) for object_id, message in problems]
        finished = finished_objects(tasks, gripper, paths, root)
        for report in (*refused, *finished.values()):
            report_one(report)
        left = [task for task in tasks if task.object_id not in finished]
        try:
            made_now = spread_tasks(left, gripper, engine, settings.execution, on_report=report_one)
        finally:
            # Also when the run is stopped: what was finished is to be found.
            _update_map(paths, {task.object_id: task.file_name for task in tasks if task.grasp_file.exists()})
    by_id = finished | {report.object_id: report for report in made_now}
    summary = RunSummary(reports=(*refused, *(by_id[task.object_id] for task in tasks)))
    _log_run(paths, settings, phase, summary, started)
    return summary


def _objects_and_sources(settings: GraspCommand, gripper: Gripper) -> tuple[ScalesList, Path, dict[str, Entry]]:
    """The objects, the folder of their meshes, and where the grasps are that another tool made, if those are to be tried: these then say
    which objects there are."""
    if settings.mode.grasps is None:
        return *_objects(settings.objects), {}
    _, root = resolve_object_paths(object_scales_json=settings.objects.object_scales_json, object_dataset=settings.objects.object_dataset)
    given = given_grasps(settings.mode.grasps, gripper, root)
    return given.scales, root, given.entries


def _clean(paths: DatasetPaths) -> None:
    """Removes what killed runs left."""
    for folder in (paths.grasps, paths.splits, paths.config, paths.index.parent):
        remove_leftovers(folder)


def _update_map(paths: DatasetPaths, made: Mapping[str, str]) -> dict[str, str]:
    """Brings the trainer's map up to date with all files that are there, whoever made them, and returns it. made: object id -> name of
    the file that counts where an object has files at several scales."""
    with object_lock(paths, _MAP, wait=True):
        entries = {**read_object_map(paths), **made}
        write_object_map(paths, entries)
    return entries


_MAP = "map_uuid_to_path.json"
"""Stands for the map among the objects that can be locked."""

_NOT_DECIDING = {*GripperSettings.model_fields, *ReachSettings.model_fields, "run_controls"}
"""Settings of the work on an object that two runs may differ in; the gripper's and the reach are compared file by file."""


def _effective(phase: Phase, settings: GraspCommand) -> tuple[Phase, GraspCommand]:
    """`fill` is `all` with --fill-grasps, --guess-only makes any phase stop after the guesses, and a protocol is its tugs and
    shakes."""
    tugs, shakes = protocol_sequences(settings.protocol.protocol, settings.simulation.tug_sequences, settings.simulation.shake_sequences)
    settings = settings.updated(tug_sequences=tugs, shake_sequences=shakes)
    if settings.extras.robustness and (shakes or not tugs):
        raise SettingsError("--robustness is the force of the tugs that a grasp survives; give it a protocol of tugs alone")
    if settings.mode.grasps is not None:
        settings = settings.updated(load_guesses=True)
    if phase is Phase.FILL:
        phase, settings = Phase.ALL, settings.updated(fill_grasps=True)
    return Phase.GUESS if settings.mode.guess_only else phase, settings


def _deciding(phase: Phase, settings: GraspCommand, engine: Engine) -> dict[str, Any]:
    """What decides what is in the files: two runs that differ in it must not share a dataset."""
    deciding = {name: value for name, value in settings.making().flat().items() if name not in _NOT_DECIDING}
    simulated = {} if phase is Phase.GUESS else {"backend": engine.name}
    return {"phase": phase.value, **simulated, **deciding}


def _tasks(scales: ScalesList, root: Path, paths: DatasetPaths, phase: Phase, settings: GraspCommand, engine: Engine) -> list[ObjectTask]:
    """The tasks of this shard. The files' names come from the whole list, so that all shards choose the same."""
    names = grasp_file_names(scales.entries, own_files(paths, scales.entries, read_object_map(paths)))
    making = settings.making()
    return [
        ObjectTask(object_id, scale, root, paths, names[object_id], phase, making, engine.name)
        for object_id, scale in scales.entries
        if is_mine(object_id, settings.execution.shard)
    ]


def _log_failure(paths: DatasetPaths, report: ObjectReport) -> None:
    line = {
        "object_id": report.object_id,
        "reason": report.message,
        "traceback": report.traceback,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    append_line(paths.failures, orjson.dumps(line))


def _objects(settings: ObjectSettings) -> tuple[ScalesList, Path]:
    scales_file, root = resolve_object_paths(object_scales_json=settings.object_scales_json, object_dataset=settings.object_dataset)
    return read_scales(scales_file), root


def _refused(object_id: str, message: str) -> ObjectReport:
    return ObjectReport(object_id=object_id, status=Status.FAILED, held=0, failed=0, unvalidated=0, tested=0, message=message, seconds=0.0)


def _log_run(paths: DatasetPaths, settings: GraspCommand, phase: Phase, summary: RunSummary, started: float) -> None:
    """Adds a line to the run log: what is kept out of the grasp files because it differs from run to run."""
    counts = {status.value: sum(r.status is status for r in summary.reports) for status in Status}
    line = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "phase": phase.value,
        "objects": counts,
        "tested": sum(r.tested for r in summary.reports),
        "settings": settings.flat(),
    }
    append_line(paths.run_log, orjson.dumps(line))


def update_dataset_splits(settings: SplitsCommand | AllCommand) -> SplitPlan:
    """Puts the objects that have grasps into the training and validation lists."""
    gripper = load_gripper(settings.gripper.gripper_config, options=settings.gripper)
    paths = DatasetPaths(settings.dataset.grasp_dataset, gripper.name)
    scales, _ = _objects(settings.objects)
    # Runs at the same time on a file system without locks may have left each other's files out.
    have = _update_map(paths, {}) if paths.grasps.is_dir() else {}
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
