"""What is wrong with a dataset: the kinds of findings, and the checks that `doctor` and `analyze` share.

A check returns findings. No check keeps grasps in memory; of a file its index entry stays.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from graspgen_cli import __version__
from graspgen_cli.dataset.index import DatasetIndex, GraspEntry, Stamp, grasp_entry, mesh_entry
from graspgen_cli.dataset.object_map import listed_entries, object_map
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.dataset.splits import TRAIN_FILE, VALID_FILE, listed_objects
from graspgen_cli.errors import DamagedFileError, GraspFileError, InputError, MalformedFileError, NotFiniteError
from graspgen_cli.formats.graspgen_json import read_grasp_file
from graspgen_cli.geometry.poses import is_rotation, rounded
from graspgen_cli.objects.scales import id_problem
from graspgen_cli.records import TRAINER_MINIMUM_POSITIVES, GraspDataset, Outcome

ABANDONED = 3600.0
"""s after which a temporary file belongs to a killed run."""
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


class FindingKind(StrEnum):
    """The value is the text in tables, reports and JSON."""

    UNREADABLE = "unreadable"
    DAMAGED = "damaged"
    MALFORMED = "malformed"
    NOT_FINITE = "not finite"
    NOT_RIGID = "not rigid"
    FAR_AWAY = "far from the object"
    IN_COLLISION = "in collision"
    WRONG_GRIPPER = "wrong gripper"
    DUPLICATE_OBJECT = "duplicate object"
    DUPLICATE_POSES = "duplicate poses"
    NEAR_DUPLICATES = "near-duplicates"
    FEW_POSITIVES = "few positives"
    LOW_RATE = "low held rate"
    OLD_VERSION = "old version"
    MESH_CHANGED = "mesh changed"
    MESH_MISSING = "mesh missing"
    SHARED_FILE = "shared file"
    MAP_BROKEN = "map broken"
    MAP_DANGLING = "not there"
    MAP_LACKS = "not in map"
    MAP_WRONG = "wrong in map"
    SPLIT_BROKEN = "split broken"
    SPLIT_OVERLAP = "in both splits"
    SPLIT_DANGLING = "split without grasps"
    SPLIT_LACKS = "in no split"
    TEMPORARY = "temporary file"
    ARCHIVE = "tar archive"


UNREAD = frozenset({FindingKind.UNREADABLE, FindingKind.DAMAGED, FindingKind.MALFORMED, FindingKind.NOT_FINITE})
"""A file that cannot be read; its grasps are not counted."""
UNUSABLE = UNREAD | {FindingKind.NOT_RIGID}
"""A file that `doctor --repair` moves aside."""
FAULTS = UNUSABLE | {
    FindingKind.FAR_AWAY,
    FindingKind.IN_COLLISION,
    FindingKind.MESH_MISSING,
    FindingKind.DUPLICATE_OBJECT,
    FindingKind.SPLIT_BROKEN,
    FindingKind.SPLIT_OVERLAP,
}
"""Wrong data: `analyze` ends with exit code 1. The other findings are for people to judge."""


@dataclass(frozen=True)
class Finding:
    """One finding. path: the file. gripper, object_id: empty if the finding concerns no single one. count: of grasps, or of objects."""

    kind: FindingKind
    path: Path
    detail: str
    gripper: str = ""
    object_id: str = ""
    count: int = 0

    @property
    def is_fault(self) -> bool:
        """Whether the data are wrong."""
        return self.kind in FAULTS


_ERRORS = {
    NotFiniteError: FindingKind.NOT_FINITE,
    MalformedFileError: FindingKind.MALFORMED,
    DamagedFileError: FindingKind.DAMAGED,
}


def unread_finding(error: GraspFileError, *, gripper: str = "") -> Finding:
    """Why a file or an archive cannot be read."""
    return Finding(_ERRORS.get(type(error), FindingKind.UNREADABLE), Path(error.path or ""), error.reason, gripper)


# --- one file ----------------------------------------------------------------------------------------------------------------------------


def check_grasps(dataset: GraspDataset, path: Path, gripper: str) -> Iterator[Finding]:
    """Poses that are no rigid transforms, and too few positives for the trainer."""
    grasps = dataset.grasps
    bad = np.flatnonzero(~is_rotation(grasps.pose_gripper_in_object))
    if len(bad):
        detail = f"{len(bad)} of {len(grasps)} poses are no rigid transforms, first that of grasp {bad[0]}"
        yield Finding(FindingKind.NOT_RIGID, path, detail, gripper, dataset.object_id, len(bad))
    positives = grasps.count(Outcome.HELD, Outcome.UNVALIDATED)
    if positives < TRAINER_MINIMUM_POSITIVES:
        detail = f"{positives} good grasps; the trainer skips an object with fewer than {TRAINER_MINIMUM_POSITIVES}"
        yield Finding(FindingKind.FEW_POSITIVES, path, detail, gripper, dataset.object_id, positives)


def check_file(paths: DatasetPaths, name: str, stamp: Stamp, *, meshes: Path | None) -> tuple[GraspEntry | None, list[Finding]]:
    """The index entry of a grasp file, None for an unusable file, and the findings. meshes: folder, to compare the mesh with the file."""
    path = paths.grasps / name
    try:
        dataset = read_grasp_file(path)
    except GraspFileError as error:
        return None, [unread_finding(error, gripper=paths.gripper)]
    entry = grasp_entry(stamp, dataset)
    found = list(check_grasps(dataset, path, paths.gripper))
    unusable = any(finding.kind in UNUSABLE for finding in found)
    problems = [*_file_problems(dataset, entry, paths.gripper), *([] if meshes is None else _mesh_problems(entry, meshes))]
    found += [Finding(kind, path, detail, paths.gripper, dataset.object_id) for kind, detail in problems]
    return None if unusable else entry, found


_Problem = tuple[FindingKind, str]


def _file_problems(dataset: GraspDataset, entry: GraspEntry, gripper: str) -> Iterator[_Problem]:
    poses = dataset.grasps.pose_gripper_in_object
    copies = len(poses) - len(np.unique(rounded(poses).reshape(len(poses), 16), axis=0))
    if copies:
        yield FindingKind.DUPLICATE_POSES, f"{copies} poses occur more than once"
    if others := [version for version in entry.versions if version != __version__]:
        yield FindingKind.OLD_VERSION, f"made by version {', '.join(others)}; this is {__version__}"
    if entry.own and dataset.gripper_name != gripper:
        yield FindingKind.WRONG_GRIPPER, f"holds grasps of the gripper {dataset.gripper_name}"


def _mesh_problems(entry: GraspEntry, meshes: Path) -> Iterator[_Problem]:
    if problem := id_problem(entry.object_id):
        yield FindingKind.MESH_MISSING, f"{entry.object_id} {problem}"
        return
    mesh = mesh_entry(DatasetIndex(), entry.object_id, entry.scale, meshes)
    if mesh is None:
        yield FindingKind.MESH_MISSING, f"{meshes / entry.object_id} cannot be read"
    elif entry.object_digest not in (None, mesh.digest):
        yield FindingKind.MESH_CHANGED, f"{meshes / entry.object_id} is not the mesh that the grasps were made on"


# --- between the files -------------------------------------------------------------------------------------------------------------------


class ObjectFile(NamedTuple):
    """A file that holds an object."""

    gripper: str
    object_id: str
    scale: float
    path: Path


def duplicate_findings(files: Iterable[ObjectFile], *, each_scale: bool = False) -> Iterator[Finding]:
    """The objects of a gripper that several files hold; with `each_scale` at one scale."""
    holders = defaultdict(list)
    for file in files:
        holders[file.gripper, file.object_id, file.scale if each_scale else 0.0].append(file)
    for (gripper, object_id, _), several in holders.items():
        if len(several) > 1:
            names = ", ".join(f"{file.path.name} at scale {file.scale:g}" for file in several)
            detail = f"{object_id} has {len(several)} files: {names}; delete all but one"
            yield Finding(FindingKind.DUPLICATE_OBJECT, several[-1].path, detail, gripper, object_id, len(several))


def check_map(paths: DatasetPaths, entries: Mapping[str, GraspEntry]) -> Iterator[Finding]:
    """Where the map contradicts the usable files. entries: by file name."""
    for kind, detail in _map_problems(paths, entries, listed_entries(paths)):
        yield Finding(kind, paths.object_map, detail, paths.gripper)


def _map_problems(paths: DatasetPaths, entries: Mapping[str, GraspEntry], listed: Mapping[str, str]) -> Iterator[_Problem]:
    if not listed:
        if entries:
            yield FindingKind.MAP_BROKEN, "is missing, empty or no map"
        return
    holders = defaultdict(list)
    for object_id, name in listed.items():
        holders[name].append(object_id)
    for name, object_ids in holders.items():
        if len(object_ids) > 1:
            yield FindingKind.SHARED_FILE, f"names {name} for {len(object_ids)} objects: {', '.join(object_ids[:3])}"
        if name not in entries:
            there = "cannot be used" if (paths.grasps / name).exists() else "does not exist"
            yield FindingKind.MAP_DANGLING, f"lists {object_ids[0]}, whose file {name} {there}"
    right = object_map(DatasetIndex(entries), listed, present=entries)
    for object_id, name in right.items():
        if object_id not in listed:
            yield FindingKind.MAP_LACKS, f"does not list {object_id}, which {name} holds"
        elif listed[object_id] != name and listed[object_id] in entries:
            yield FindingKind.MAP_WRONG, f"names {listed[object_id]} for {object_id}, which {name} holds"
    for object_id, name in listed.items():
        if name in entries and len(holders[name]) == 1 and object_id not in right:
            yield FindingKind.MAP_WRONG, f"names {name} for {object_id}; the file holds {entries[name].object_id}"


@dataclass(frozen=True)
class SplitFacts:
    """The lists of one gripper. train, valid: number of objects. overlap: in both lists. dangling: listed, without grasps. unlisted: with
    grasps, in neither list."""

    gripper: str
    folder: str
    train: int
    valid: int
    overlap: tuple[str, ...]
    dangling: tuple[str, ...]
    unlisted: tuple[str, ...]


def check_splits(paths: DatasetPaths, known: Sequence[str]) -> tuple[SplitFacts | None, list[Finding]]:
    """Compares the lists with the objects that have grasps. No facts if a list cannot be read; no findings without lists."""
    try:
        train, valid = listed_objects(paths.splits, known=known)
    except InputError as error:
        return None, [Finding(FindingKind.SPLIT_BROKEN, Path(error.path or paths.splits), error.reason, paths.gripper)]
    overlap, dangling, unlisted = {*train} & {*valid}, {*train, *valid} - {*known}, {*known} - {*train, *valid}
    facts = SplitFacts(
        gripper=paths.gripper,
        folder=str(paths.splits),
        train=len({*train}),
        valid=len({*valid}),
        overlap=tuple(sorted(overlap)),
        dangling=tuple(sorted(dangling)),
        unlisted=tuple(sorted(unlisted)),
    )
    return facts, list(_split_findings(paths, facts, {TRAIN_FILE: train, VALID_FILE: valid}))


def _split_findings(paths: DatasetPaths, facts: SplitFacts, lists: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    for object_id in facts.overlap:
        detail = f"{object_id} is in train.txt and valid.txt; delete one of the lines"
        yield Finding(FindingKind.SPLIT_OVERLAP, paths.splits / VALID_FILE, detail, paths.gripper, object_id, 1)
    dangling = set(facts.dangling)
    for name, listed in lists.items():
        for object_id in (each for each in dict.fromkeys(listed) if each in dangling):
            detail = f"{object_id} is listed and without grasps; delete the line"
            yield Finding(FindingKind.SPLIT_DANGLING, paths.splits / name, detail, paths.gripper, object_id, 1)
    count = len(facts.unlisted)
    if count and any(lists.values()):
        one = facts.unlisted[0] if count == 1 else ""
        which = f"{one} is" if one else f"{count} objects (such as {facts.unlisted[0]}) are"
        detail = f"{which} in neither list, with grasps; the command splits adds them"
        yield Finding(FindingKind.SPLIT_LACKS, paths.splits, detail, paths.gripper, one, count)


def check_folders(root: Path, grippers: Sequence[str]) -> Iterator[Finding]:
    """Temporary files of killed runs, and archives, for which the trainer reads the folder as WebDataset."""
    folders = {root: "", root / "index": "", root / "config" / "grippers": "", root / "failures": ""}
    for paths in (DatasetPaths(root, gripper) for gripper in grippers):
        folders |= {paths.grasps: paths.gripper, paths.splits: paths.gripper}
        for path in sorted(paths.grasps.glob("*.tar")):
            detail = "makes the trainer read the folder as WebDataset; move it elsewhere"
            yield Finding(FindingKind.ARCHIVE, path, detail, paths.gripper)
    oldest = time.time() - ABANDONED
    for folder, gripper in folders.items():
        for path in sorted(folder.glob(".*.tmp")) if folder.is_dir() else ():
            if _TEMPORARY.fullmatch(path.name) and path.lstat().st_mtime < oldest:
                yield Finding(FindingKind.TEMPORARY, path, "the rest of a run that was killed", gripper)
