"""What the commands call: each function takes settings and does one whole phase."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from graspgen_cli.analysis.counts import DatasetCounts, ObjectCounts, count_grasps, total_counts
from graspgen_cli.dataset.graspgen_json import read_grasp_file
from graspgen_cli.dataset.object_map import own_files, read_object_map, write_object_map
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.dataset.splits import SplitPlan, update_splits
from graspgen_cli.errors import GraspFileError, InputError
from graspgen_cli.execution.object_run import ObjectTask
from graspgen_cli.execution.pool import run_tasks
from graspgen_cli.execution.reports import ObjectReport, Phase, RunSummary, Status
from graspgen_cli.files import require_writable
from graspgen_cli.grippers.export import ConfigFile, write_graspgen_config
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.objects.scales import ScalesList, read_scales, resolve_object_paths
from graspgen_cli.settings.commands import AnalyzeCommand, GraspCommand, GripperConfigCommand, SplitsCommand
from graspgen_cli.settings.models import DatasetSettings, ObjectSettings


def run_objects(
    settings: GraspCommand, *, phase: Phase, on_start: Callable[[int], None], on_report: Callable[[ObjectReport], None]
) -> RunSummary:
    """Guesses and tries the grasps of every object of the list, as `phase` says, and brings the trainer's map up to date.

    Raises InputError, GripperError or OutputError if nothing can be done at all; one object's problem is in its report.
    """
    started = time.time()
    scales, root = _objects(settings)
    gripper = load_gripper(settings.gripper_config)
    paths = DatasetPaths(settings.grasp_dataset, gripper.name)
    require_writable(paths.grasps)
    entries = read_object_map(paths)
    names = grasp_file_names(scales.entries, own_files(paths, scales.entries, entries))
    if phase is Phase.FILL:
        phase, settings = Phase.ALL, settings.model_copy(update={"fill_grasps": True})
    if settings.guess_only:
        phase = Phase.GUESS
    tasks = [ObjectTask(object_id, scale, root, paths.grasps / names[object_id], phase, settings) for object_id, scale in scales.entries]
    on_start(len(tasks) + len(scales.problems))
    refused = [_refused(object_id, message) for object_id, message in scales.problems]
    for report in refused:
        on_report(report)
    reports = run_tasks(tasks, gripper, workers=settings.workers, on_report=on_report)
    written = {task.object_id: task.grasp_file.name for task in tasks if task.grasp_file.exists()}
    write_object_map(paths, {**entries, **written})
    summary = RunSummary(reports=(*refused, *reports))
    _log_run(paths, settings, phase, summary, started)
    return summary


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
        "settings": settings.model_dump(mode="json"),
    }
    with paths.run_log.open("ab") as file:
        file.write(orjson.dumps(line) + b"\n")


def update_dataset_splits(settings: SplitsCommand) -> SplitPlan:
    """Puts the objects that have grasps into the training and validation lists."""
    gripper = load_gripper(settings.gripper_config)
    paths = DatasetPaths(settings.grasp_dataset, gripper.name)
    scales, _ = _objects(settings)
    have = read_object_map(paths)
    listed = [object_id for object_id, _ in scales.entries if object_id in have]
    if not listed:
        raise InputError(f"{paths.grasps}: no grasps of any object in {settings.object_scales_json}; run `graspgen all` first")
    return update_splits(paths.splits, listed, fraction=settings.valid_set_percentage, seed=settings.seed)


def write_gripper_config(settings: GripperConfigCommand) -> tuple[ConfigFile, ...]:
    """Writes GraspGen's description of the gripper, into its source tree where that exists, else into the dataset."""
    gripper = load_gripper(settings.gripper_config)
    folder = gripper_config_folder(settings, settings)
    return write_graspgen_config(gripper, folder, overwrite=settings.overwrite_gripper_config)


def gripper_config_folder(source: GripperConfigCommand, dataset: DatasetSettings) -> Path:
    """Where the gripper config goes."""
    checkout = source.graspgen_source
    return checkout / "config" / "grippers" if checkout.is_dir() else DatasetPaths(dataset.grasp_dataset, "").config


@dataclass(frozen=True)
class DatasetAnalysis:
    """What `analyze` found.

    broken: what is wrong with the grasp files that cannot be read, a line each.
    """

    objects: tuple[ObjectCounts, ...]
    total: DatasetCounts
    broken: tuple[str, ...]


def analyze_dataset(settings: AnalyzeCommand) -> DatasetAnalysis:
    """Counts the outcomes in every grasp file of the gripper's dataset. Raises InputError where there is none."""
    gripper_name = load_gripper(settings.gripper_config).name
    paths = DatasetPaths(settings.grasp_dataset, gripper_name)
    entries = read_object_map(paths)
    if not entries:
        raise InputError(f"{paths.grasps}: no grasp files; run `graspgen all` first, or name another --grasp-dataset")
    counts: list[ObjectCounts] = []
    broken: list[str] = []
    for object_id, name in sorted(entries.items()):
        try:
            counts.append(count_grasps(object_id, name, read_grasp_file(paths.grasps / name).grasps))
        except GraspFileError as error:
            broken.append(str(error))
    return DatasetAnalysis(tuple(counts), total_counts(counts), tuple(broken))
