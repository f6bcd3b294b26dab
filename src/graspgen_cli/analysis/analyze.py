"""Reads and analyses every object of collections on all cores."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from graspgen_cli.analysis.dataset_facts import DatasetAnalysis, rate_findings
from graspgen_cli.analysis.object_facts import ObjectFacts, object_facts, with_surface
from graspgen_cli.dataset.collection import Collection, fetch_entry, open_collection, read_entry
from graspgen_cli.dataset.health import Finding, FindingKind, ObjectFile, SplitFacts, check_splits, duplicate_findings, unread_finding
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.dataset.provenance import recorded_steps
from graspgen_cli.errors import GraspFileError, GripperError, InputError, ObjectError
from graspgen_cli.formats.format import Entry, ObjectGrasps
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.objects.load import load_object
from graspgen_cli.objects.scales import id_problem, resolve_object_paths
from graspgen_cli.records import TargetObject
from graspgen_cli.running.processes import run_in_chunks
from graspgen_cli.settings.commands import AnalyzeCommand, BalanceCommand, FilterCommand
from graspgen_cli.settings.fields import command_line
from graspgen_cli.settings.inputs import GripperSettings

LOST_WORKER = "its worker process died; out of memory?"
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class EntryResult:
    """The result for one entry. facts: None for an unreadable file. record: settings that made the file, empty for other tools."""

    facts: ObjectFacts | None
    findings: tuple[Finding, ...]
    record: dict[str, Any]


@dataclass(frozen=True)
class Analyzer:
    """Analyses entries. meshes: folder, None to leave meshes out. given: the gripper that the user named. grippers: cache by name; None for
    an unknown gripper."""

    meshes: Path | None
    given: GripperSettings | None
    grippers: dict[str, GripperShape | None] = field(default_factory=dict)

    def analyze(self, entry: Entry) -> EntryResult:
        """Reads and analyses one entry; an unreadable file is a finding."""
        try:
            grasps = read_entry(entry)
        except GraspFileError as error:
            return EntryResult(None, (unread_finding(error, gripper=entry.gripper),), {})
        name = entry.gripper or grasps.dataset.gripper_name or "unknown"
        gripper = self._gripper(name)
        facts, found = object_facts(grasps, entry=entry, gripper=name, symmetric=gripper is None or gripper.gripper.symmetric)
        if self.meshes is not None:
            try:
                facts, found = with_surface(facts, found, grasps, _read_target(facts, self.meshes), gripper)
            except ObjectError as error:
                found.append(Finding(FindingKind.MESH_MISSING, facts.path, str(error), name, facts.object_id))
        return EntryResult(facts, tuple(found), _record(grasps))

    def _gripper(self, name: str) -> GripperShape | None:
        if name not in self.grippers:
            try:
                found = load_gripper(self.given.gripper_config, options=self.given) if self.given else load_gripper(name)
                self.grippers[name] = GripperShape(found)
            except GripperError:
                self.grippers[name] = None
        return self.grippers[name]


def worker(handle: Callable[[Task], Result]) -> Callable[[Task], Result]:
    """The function of a worker process that reads grasp files.

    Reference counts free the lists of a file; a search of 100,000 objects for cycles would take as long as parsing them.
    """
    gc.set_threshold(1_000_000)
    return handle


def _read_target(facts: ObjectFacts, meshes: Path) -> TargetObject:
    if problem := id_problem(facts.object_id):
        raise ObjectError(f"{facts.object_id} {problem}")
    return load_object(facts.object_id, facts.scale, root=meshes, approximation=None, cache=None)


def _record(grasps: ObjectGrasps) -> dict[str, Any]:
    """The records of guesses and trials, without the digest of the object."""
    documents = {name: step.document() for name, step in recorded_steps(grasps.dataset).items()}
    return {name: {key: value for key, value in document.items() if key != "object_digest"} for name, document in documents.items()}


def open_inputs(settings: AnalyzeCommand | BalanceCommand | FilterCommand) -> list[Collection]:
    """The collections under the given paths, or the dataset of the gripper; of datasets only the gripper that the user named, if any.

    Raises InputError for a path without grasps, GripperError for a gripper that cannot be read.
    """
    paths, dataset = settings.inputs.paths, settings.dataset.grasp_dataset
    named = "gripper_config" in settings.gripper.model_fields_set
    gripper = load_gripper(settings.gripper.gripper_config, options=settings.gripper).name if named or not paths else None
    if not paths and not dataset.exists():
        raise InputError("no such dataset", path=dataset, advice=f"run `{command_line('all', settings)}` first, or name another")
    return [open_collection(path, gripper=gripper) for path in paths or (dataset,)]


def analyze_collections(settings: AnalyzeCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> DatasetAnalysis:
    """Analyses every object. on_start gets the number of objects, on_object the name of each. Raises as `open_inputs` does."""
    collections = open_inputs(settings)
    entries = list(dict.fromkeys(entry for collection in collections for entry in collection.entries))
    on_start(len(entries))
    objects, geometry = settings.objects, settings.analyze.geometry
    _, root = resolve_object_paths(object_scales_json=objects.object_scales_json, object_dataset=objects.object_dataset)
    given = settings.gripper if "gripper_config" in settings.gripper.model_fields_set else None
    analyzer, workers = Analyzer(root if geometry else None, given), settings.execution.workers
    results = []
    for entry, result in run_in_chunks(entries, worker, (analyzer.analyze,), workers=workers, slow=geometry, fetch=fetch_entry):
        lost = Finding(FindingKind.UNREADABLE, entry.shown, LOST_WORKER, entry.gripper)
        results.append(result or EntryResult(None, (lost,), {}))
        on_object(entry.name)
    return _joined(settings, collections, results)


def _joined(settings: AnalyzeCommand, collections: Sequence[Collection], results: Sequence[EntryResult]) -> DatasetAnalysis:
    objects = sorted((each.facts for each in results if each.facts), key=lambda facts: (facts.gripper, facts.object_id, facts.path))
    files = [ObjectFile(facts.gripper, facts.object_id, facts.scale, facts.path) for facts in objects]
    splits, split_findings = _splits(collections, objects)
    findings = [
        *(unread_finding(error) for each in collections for error in each.damaged),
        *(finding for each in results for finding in each.findings),
        *duplicate_findings(files, each_scale=True),
        *rate_findings(objects),
        *split_findings,
    ]
    return DatasetAnalysis(
        paths=tuple(str(collection.path) for collection in collections),
        objects=tuple(objects),
        findings=tuple(sorted(findings, key=lambda finding: (not finding.is_fault, finding.kind, finding.path, finding.object_id))),
        splits=splits,
        settings=_settings(results),
        thresholds=settings.analyze,
    )


def _settings(results: Sequence[EntryResult]) -> dict[str, dict[str, object]]:
    """Digest -> its record and the number of files, by number."""
    times: dict[str, int] = {}
    records: dict[str, dict[str, Any]] = {}
    for each in results:
        if each.facts is not None and each.facts.settings:
            times[each.facts.settings] = times.get(each.facts.settings, 0) + 1
            records.setdefault(each.facts.settings, each.record)
    return {digest: {"files": times[digest], **records[digest]} for digest in sorted(times, key=lambda key: (-times[key], key))}


def _splits(collections: Sequence[Collection], objects: Sequence[ObjectFacts]) -> tuple[tuple[SplitFacts, ...], list[Finding]]:
    """The lists of every dataset among the collections."""
    every, findings = list[SplitFacts](), list[Finding]()
    for paths in (DatasetPaths(collection.path, gripper) for collection in collections for gripper in collection.grippers):
        facts, found = check_splits(paths, sorted({each.object_id for each in objects if each.path.is_relative_to(paths.grasps)}))
        every += [] if facts is None else [facts]
        findings += found
    return tuple(every), findings
