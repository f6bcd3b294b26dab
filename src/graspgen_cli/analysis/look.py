"""A worker of `analyze`: one entry read and looked at, with its mesh where that is asked for.

What `analyze` does: every object of the collections read and looked at on all cores, one at a time in each."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from graspgen_cli.analysis.dataset_facts import (
    DatasetAnalysis,
    Thresholds,
    rate_findings,
)
from graspgen_cli.analysis.object_facts import ObjectFacts, object_facts
from graspgen_cli.analysis.surface import SurfaceFacts, out_of_reach, surface_facts
from graspgen_cli.dataset.collection import Collection, fetch_entry, open_collection, read_entry
from graspgen_cli.dataset.health import (
    Finding,
    FindingKind,
    ObjectFile,
    SplitFacts,
    check_splits,
    duplicate_findings,
    unread_finding,
)
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.errors import GraspFileError, GripperError, InputError, ObjectError
from graspgen_cli.formats.format import Entry, ObjectGrasps
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.geometry.poses import transform_points
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.objects.load import load_object
from graspgen_cli.objects.scales import id_problem, resolve_object_paths
from graspgen_cli.records import Floats, TargetObject
from graspgen_cli.running.processes import run_in_chunks
from graspgen_cli.settings.commands import AnalyzeCommand
from graspgen_cli.settings.datasets import InputSettings
from graspgen_cli.settings.inputs import GripperSettings


@dataclass(frozen=True)
class Looked:
    """What came of one entry: facts is None where it cannot be read. record: how it was made, for files of ours."""

    facts: ObjectFacts | None
    findings: tuple[Finding, ...]
    record: dict[str, Any]


@dataclass(frozen=True)
class Look:
    """How to look at an entry. meshes: folder of the meshes, where they are to be looked at as well. gripper: settings that say which
    gripper it is, where the user did; else the file does."""

    meshes: Path | None
    gripper: GripperSettings | None


@dataclass(frozen=True)
class Looker:
    """Looks at entries, and remembers the grippers that it has met."""

    look: Look
    grippers: dict[str, GripperShape | None] = field(default_factory=dict)

    def known(self, name: str) -> GripperShape | None:
        """The gripper of that name, or the one that the user says it is; None where nothing is known of it."""
        if name not in self.grippers:
            given = self.look.gripper
            try:
                found = load_gripper(given.gripper_config, options=given) if given else load_gripper(name)
                self.grippers[name] = GripperShape(found)
            except GripperError:
                self.grippers[name] = None
        return self.grippers[name]


def make_looker(look: Look) -> Callable[[Entry], Looked]:
    """What looks at entries, in this process or in a worker."""
    spare_the_collector()
    looker = Looker(look)
    return lambda entry: look_at(entry, looker)


def spare_the_collector() -> None:
    """Lists of grasps are freed by counting references; to search their 100,000 objects for cycles would take as long as parsing them."""
    gc.set_threshold(1_000_000)


def look_at(entry: Entry, looker: Looker) -> Looked:
    """Reads one entry and finds out about it; whatever is wrong with it is in the findings."""
    path = entry.shown
    try:
        grasps = read_entry(entry)
    except GraspFileError as error:
        return Looked(None, (unread_finding(error, gripper=entry.gripper),), {})
    gripper = entry.gripper or grasps.dataset.gripper_name or "unknown"
    known = looker.known(gripper)
    facts, found = object_facts(
        grasps.dataset,
        path=path,
        gripper=gripper,
        pose_graspgen_in_gripper=grasps.trainer_frame,
        symmetric=known is None or known.gripper.symmetric,
    )
    if looker.look.meshes is not None:
        surface, more = _surface(grasps, path, known, looker.look.meshes)
        facts, found = replace(facts, surface=surface), _without_guesses(found, surface) + more
    return Looked(facts, tuple(found), _record(grasps))


def _without_guesses(found: list[Finding], surface: SurfaceFacts | None) -> list[Finding]:
    """Where the mesh was there to say it, what was concluded from the grasps alone is left out."""
    return [finding for finding in found if surface is None or finding.kind is not FindingKind.FAR_AWAY]


def _record(grasps: ObjectGrasps) -> dict[str, Any]:
    """How a file says that it was made, without what differs from object to object."""
    provenance = grasps.dataset.provenance
    parts = {name: dict(record) for name in ("guess", "simulation") if isinstance(record := provenance.get(name), dict)}
    for record in parts.values():
        record.pop("object_digest", None)
    return parts


def _surface(grasps: ObjectGrasps, path: Path, gripper: GripperShape | None, meshes: Path) -> tuple[SurfaceFacts | None, list[Finding]]:
    """What the mesh says, and what is wrong by it."""
    dataset = grasps.dataset
    try:
        target = read_target(dataset.object_id, dataset.scale, meshes)
    except ObjectError as error:
        return None, [Finding(FindingKind.MESH_MISSING, path, str(error), dataset.gripper_name, dataset.object_id)]
    frame = grasps.pose_graspgen_in_gripper
    if gripper is None or frame is None:
        facts = _without_gripper(grasps, target)
    else:
        to_base = frame @ gripper.gripper.pose_base_in_graspgen
        batch = replace(dataset.grasps, pose_gripper_in_object=dataset.grasps.pose_gripper_in_object @ to_base)
        facts = surface_facts(ObjectShape(target), gripper, batch, _generator(dataset.object_id))
    counts = ((FindingKind.FAR_AWAY, facts.unreachable, "grasps cannot touch the object"),
              (FindingKind.IN_COLLISION, facts.colliding or 0, "good grasps are in collision with the mesh"))  # fmt: skip
    total = len(dataset.grasps)
    return facts, [
        Finding(kind, path, f"{n} of {total} {what}", dataset.gripper_name, dataset.object_id, n) for kind, n, what in counts if n
    ]


def _without_gripper(grasps: ObjectGrasps, target: TargetObject) -> SurfaceFacts:
    """What can be said of a gripper of which only width and depth are known."""
    dataset = grasps.dataset
    depth, width = np.nan_to_num([dataset.gripper_depth, dataset.gripper_width])
    tip: Floats = np.array([[0.0, 0.0, depth]])
    points = transform_points(dataset.grasps.pose_gripper_in_object @ grasps.trainer_frame, tip)[:, 0]
    return SurfaceFacts(None, None, int(out_of_reach(target.mesh, points, max(float(width), 0.1)).sum()))


def read_target(object_id: str, scale: float, meshes: Path) -> TargetObject:
    """The object's mesh. Raises ObjectError where there is none, or the file names one outside the folder."""
    if problem := id_problem(object_id):
        raise ObjectError(f"{object_id} {problem}")
    return load_object(object_id, scale, root=meshes, approximation=None, cache=None)


def _generator(object_id: str) -> np.random.Generator:
    """The same points of an object's surface in every run."""
    return np.random.Generator(np.random.Philox(int.from_bytes(hashlib.sha256(object_id.encode()).digest()[:8], "big")))


@dataclass(frozen=True)
class Analyzed:
    """What was found, and where each object of it was read. entries: by source."""

    analysis: DatasetAnalysis
    entries: dict[Path, Entry]


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
    named = "gripper_config" in settings.gripper.model_fields_set
    gripper = load_gripper(settings.gripper.gripper_config, options=settings.gripper).name if named or not settings.inputs.paths else None
    collections = open_inputs(settings.inputs, dataset=settings.dataset.grasp_dataset, gripper=gripper)
    entries = list(dict.fromkeys(entry for collection in collections for entry in collection.entries))
    on_start(len(entries))
    meshes = _meshes(settings) if settings.analyze.geometry else None
    look = Look(meshes, settings.gripper if named else None)
    looked = []
    for entry, result in run_in_chunks(
        entries, make_looker, (look,), workers=settings.execution.workers, slow=meshes is not None, fetch=fetch_entry
    ):
        looked.append(result or _lost(entry))
        on_object(entry.name)
    objects = sorted((each.facts for each in looked if each.facts), key=lambda facts: (facts.gripper, facts.counts.object_id, facts.path))
    found = [unread_finding(error) for each in collections for error in each.damaged]
    found += [finding for each in looked for finding in each.findings]
    splits, split_problems = _splits(collections, objects)
    found += [*_duplicates(objects), *rate_findings(objects), *split_problems]
    analysis = DatasetAnalysis(
        paths=tuple(str(collection.path) for collection in collections),
        objects=tuple(objects),
        findings=tuple(sorted(found, key=lambda finding: (not finding.is_fault, finding.kind, finding.path, finding.object_id))),
        splits=splits,
        settings=_settings(looked),
        thresholds=Thresholds(**settings.analyze.model_dump(include=set(Thresholds.__dataclass_fields__))),
    )
    return Analyzed(analysis, {entry.shown: entry for entry in entries})


def _meshes(settings: AnalyzeCommand) -> Path:
    return resolve_object_paths(object_scales_json=settings.objects.object_scales_json, object_dataset=settings.objects.object_dataset)[1]


def _settings(looked: Sequence[Looked]) -> dict[str, dict[str, object]]:
    """Digest -> the first record with it and the number of files, by number."""
    times: dict[str, int] = {}
    records: dict[str, dict[str, Any]] = {}
    for each in looked:
        if each.facts is not None and each.facts.settings:
            times[each.facts.settings] = times.get(each.facts.settings, 0) + 1
            records.setdefault(each.facts.settings, each.record)
    return {digest: {"files": times[digest], **records[digest]} for digest in sorted(times, key=lambda key: (-times[key], key))}


def _duplicates(objects: Sequence[ObjectFacts]) -> Iterator[Finding]:
    files = [ObjectFile(facts.gripper, facts.counts.object_id, facts.scale, facts.path) for facts in objects]
    return duplicate_findings(files, each_scale=True)


def _splits(collections: Sequence[Collection], objects: Sequence[ObjectFacts]) -> tuple[tuple[SplitFacts, ...], list[Finding]]:
    """The lists of every dataset among the collections."""
    every, findings = [], list[Finding]()
    for collection in collections:
        for gripper in collection.grippers:
            paths = DatasetPaths(collection.path, gripper)
            known = sorted({each.counts.object_id for each in objects if each.path.is_relative_to(paths.grasps)})
            facts, found = check_splits(paths, known)
            every += [] if facts is None else [facts]
            findings += found
    return tuple(every), findings


def _lost(entry: Entry) -> Looked:
    return Looked(None, (Finding(FindingKind.UNREADABLE, entry.shown, "its worker process died; out of memory?", entry.gripper),), {})
