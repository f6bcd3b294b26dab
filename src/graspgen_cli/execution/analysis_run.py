"""What `analyze` does: every object of the collections read and looked at on all cores, one at a time in each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graspgen_cli.analysis.dataset_facts import (
    DatasetAnalysis,
    SplitFacts,
    Thresholds,
    duplicate_findings,
    rate_findings,
    split_facts,
    split_findings,
)
from graspgen_cli.analysis.findings import Finding, FindingKind
from graspgen_cli.analysis.object_facts import ObjectFacts
from graspgen_cli.dataset.collection import Collection, Entry, fetch_entry, open_collection
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.dataset.splits import listed_objects
from graspgen_cli.errors import InputError
from graspgen_cli.execution.file_pool import spread
from graspgen_cli.execution.looking import Look, Looked, make_looker
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.objects.scales import resolve_object_paths
from graspgen_cli.settings.analysis_models import InputSettings
from graspgen_cli.settings.commands import AnalyzeCommand
from graspgen_cli.settings.models import GripperSettings


@dataclass(frozen=True)
class Analyzed:
    """What was found, and where each object of it was read. entries: by source."""

    analysis: DatasetAnalysis
    entries: dict[str, Entry]


def open_inputs(settings: InputSettings, *, dataset: Path, gripper: str | None) -> list[Collection]:
    """The collections under the paths that were given, else the dataset's. gripper: the only one to be read, if there is one.

    Raises InputError where one of them is nothing that holds grasps.
    """
    if not settings.paths:
        if not dataset.exists():
            raise InputError(f"{dataset}: no such dataset; run `graspgen all` first, or name another")
        return [open_collection(dataset, gripper=gripper)]
    datasets = gripper is not None
    return [open_collection(path, gripper=gripper if datasets and (path / "grasp_data").is_dir() else None) for path in settings.paths]


def analyze_collections(settings: AnalyzeCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> Analyzed:
    """Looks at every object. on_start is told how many there are, on_object of each by name.

    Raises InputError where there is nothing to read, GripperError where the gripper that was named cannot be read.
    """
    named = "gripper_config" in settings.model_fields_set
    gripper = load_gripper(settings.gripper_config, options=settings).name if named or not settings.paths else None
    collections = open_inputs(settings, dataset=settings.grasp_dataset, gripper=gripper)
    entries = list(dict.fromkeys(entry for collection in collections for entry in collection.entries))
    on_start(len(entries))
    meshes = _meshes(settings) if settings.geometry else None
    look = Look(meshes, GripperSettings(**settings.model_dump(include=set(GripperSettings.model_fields))) if named else None)
    looked = []
    for entry, result in spread(entries, make_looker, (look,), workers=settings.workers, slow=meshes is not None, fetch=fetch_entry):
        looked.append(result or _lost(entry))
        on_object(entry.name)
    objects = sorted((each.facts for each in looked if each.facts), key=lambda facts: (facts.gripper, facts.counts.object_id, facts.source))
    found = [Finding(FindingKind.UNREADABLE, str(bad.path), "", bad.reason) for each in collections for bad in each.damaged]
    found += [finding for each in looked for finding in each.findings]
    splits, split_problems = _splits(collections, objects)
    found += [*duplicate_findings(objects), *rate_findings(objects), *split_problems]
    analysis = DatasetAnalysis(
        paths=tuple(str(collection.path) for collection in collections),
        objects=tuple(objects),
        findings=tuple(sorted(found, key=lambda finding: (not finding.is_fault, finding.kind, finding.source, finding.object_id))),
        splits=splits,
        settings=_settings(looked),
        thresholds=Thresholds(**settings.model_dump(include=set(Thresholds.__dataclass_fields__))),
    )
    return Analyzed(analysis, {str(entry.shown): entry for entry in entries})


def _meshes(settings: AnalyzeCommand) -> Path:
    return resolve_object_paths(object_scales_json=settings.object_scales_json, object_dataset=settings.object_dataset)[1]


def _settings(looked: Sequence[Looked]) -> dict[str, dict[str, object]]:
    """Digest -> the first record with it and the number of files, by number."""
    times: dict[str, int] = {}
    records: dict[str, dict[str, Any]] = {}
    for each in looked:
        if each.facts is not None and each.facts.settings:
            times[each.facts.settings] = times.get(each.facts.settings, 0) + 1
            records.setdefault(each.facts.settings, each.record)
    return {digest: {"files": times[digest], **records[digest]} for digest in sorted(times, key=lambda key: (-times[key], key))}


def _splits(collections: Sequence[Collection], objects: Sequence[ObjectFacts]) -> tuple[tuple[SplitFacts, ...], list[Finding]]:
    """The training and validation lists of every dataset among the collections."""
    facts, found = [], list[Finding]()
    for collection in collections:
        for gripper in collection.grippers:
            folder = DatasetPaths(collection.path, gripper).splits
            root = str(DatasetPaths(collection.path, gripper).grasps) + os.sep
            known = sorted({each.counts.object_id for each in objects if each.source.startswith(root)})
            try:
                train, valid = listed_objects(folder, known=known)
            except InputError as error:
                found.append(Finding(FindingKind.SPLIT_BROKEN, str(folder), "", str(error)))
                continue
            facts.append(split_facts(gripper, str(folder), train=train, valid=valid, known=known))
            found += split_findings(facts[-1])
    return tuple(facts), found


def _lost(entry: Entry) -> Looked:
    return Looked(None, (Finding(FindingKind.UNREADABLE, str(entry.shown), "", "its worker process died; out of memory?"),), {})
