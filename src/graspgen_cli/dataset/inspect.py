"""Everything that can be wrong with a dataset, file by file and between the files. Reads every grasp file, whatever the index says.

Each file is read, checked and dropped again; what stays in memory is an index entry a file.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

import numpy as np

from graspgen_cli import __version__
from graspgen_cli.dataset.index import DatasetIndex, GraspEntry, Stamp, grasp_entry, grasp_stamps, mesh_entry
from graspgen_cli.dataset.object_map import listed_entries, object_map
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.dataset.splits import listed_objects
from graspgen_cli.errors import DamagedFileError, GraspFileError, InputError, MalformedFileError
from graspgen_cli.formats.graspgen_json import read_grasp_file
from graspgen_cli.geometry.poses import is_rotation, rounded
from graspgen_cli.records import TRAINER_MINIMUM_POSITIVES, GraspBatch, Outcome

ABANDONED = 3600.0
"""s after which a temporary file is taken for the rest of a run that was killed."""
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


class Kind(StrEnum):
    """What is wrong. The value is what the table and the JSON show."""

    UNREADABLE = "unreadable"
    DAMAGED = "damaged"
    MALFORMED = "malformed"
    NOT_RIGID = "not rigid"
    WRONG_GRIPPER = "wrong gripper"
    DUPLICATE_POSES = "duplicate poses"
    FEW_POSITIVES = "few positives"
    OLD_VERSION = "old version"
    MESH_CHANGED = "mesh changed"
    MESH_MISSING = "mesh missing"
    DUPLICATE_OBJECT = "duplicate object"
    SHARED_FILE = "shared file"
    MAP_BROKEN = "map broken"
    MAP_DANGLING = "not there"
    MAP_LACKS = "not in map"
    MAP_WRONG = "wrong in map"
    SPLIT_BROKEN = "split broken"
    SPLIT_DANGLING = "no grasps"
    SPLIT_BOTH = "in both splits"
    SPLIT_LACKS = "in no split"
    TEMPORARY = "temporary file"
    ARCHIVE = "tar archive"


BROKEN = (Kind.UNREADABLE, Kind.DAMAGED, Kind.MALFORMED, Kind.NOT_RIGID)
"""What makes a grasp file unfit for use; `repair` moves it aside."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    gripper: str
    """Empty where it concerns the dataset as a whole."""
    path: Path
    """The file."""
    kind: Kind
    detail: str


@dataclass(frozen=True)
class FileResult:
    """One grasp file. entry: None where it cannot be used."""

    entry: GraspEntry | None
    findings: tuple[Finding, ...]


def grippers_of(root: Path) -> list[str]:
    """The grippers that the dataset has grasps or lists of. Raises InputError where it is no dataset."""
    folders = [root / "grasp_data", root / "splits"]
    try:
        names = {entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir() if entry.is_dir()}
    except OSError as error:
        raise InputError(f"{root}: cannot be read ({error.strerror}); check the path and its permissions") from error
    if not names:
        raise InputError(f"{root}: no dataset, it has no folder grasp_data/<gripper>; name the folder that --grasp-dataset named")
    return sorted(name for name in names if not name.startswith("."))


def inspect_files(paths: DatasetPaths, *, meshes: Path | None, on_file: Callable[[str, FileResult], None]) -> dict[str, GraspEntry]:
    """Reads every grasp file of the gripper and tells `on_file` of each by name; returns the entries of those that can be used."""
    entries = {}
    for name in grasp_stamps(paths):
        result = inspect_file(paths, name, meshes=meshes)
        on_file(name, result)
        if result.entry is not None:
            entries[name] = result.entry
    return entries


def inspect_file(paths: DatasetPaths, name: str, *, meshes: Path | None) -> FileResult:
    """Checks one grasp file by its content, and against its mesh where the folder of the meshes is given."""
    path = paths.grasps / name
    try:
        stamp = Stamp.of(path.stat())
        dataset = read_grasp_file(path)
    except GraspFileError as error:
        kind = (
            Kind.DAMAGED
            if isinstance(error, DamagedFileError)
            else Kind.MALFORMED
            if isinstance(error, MalformedFileError)
            else Kind.UNREADABLE
        )
        return FileResult(None, (Finding(paths.gripper, path, kind, error.reason),))
    except OSError as error:
        return FileResult(None, (Finding(paths.gripper, path, Kind.UNREADABLE, str(error)),))
    entry = grasp_entry(stamp, dataset)
    problems = [*_grasp_problems(dataset.grasps), *_entry_problems(entry)]
    if entry.own and dataset.gripper_name != paths.gripper:
        problems.append((Kind.WRONG_GRIPPER, f"holds grasps of the gripper {dataset.gripper_name}"))
    if meshes is not None:
        problems += _mesh_problems(entry, meshes)
    findings = tuple(Finding(paths.gripper, path, kind, detail) for kind, detail in problems)
    return FileResult(None if any(finding.kind in BROKEN for finding in findings) else entry, findings)


Problem = tuple[Kind, str]


def _grasp_problems(grasps: GraspBatch) -> Iterator[Problem]:
    poses = grasps.pose_gripper_in_object
    bad = np.flatnonzero(~is_rotation(poses))
    if len(bad):
        yield Kind.NOT_RIGID, f"{len(bad)} poses are no rigid transforms, first that of grasp {bad[0]}"
    distinct = len(np.unique(rounded(poses).reshape(len(poses), 16), axis=0))
    if distinct < len(poses):
        yield Kind.DUPLICATE_POSES, f"{len(poses) - distinct} poses are there more than once"
    positives = grasps.count(Outcome.HELD, Outcome.UNVALIDATED)
    if positives < TRAINER_MINIMUM_POSITIVES:
        yield Kind.FEW_POSITIVES, f"{positives} good grasps; the trainer skips objects with fewer than {TRAINER_MINIMUM_POSITIVES}"


def _entry_problems(entry: GraspEntry) -> Iterator[Problem]:
    others = [version for version in entry.versions if version != __version__]
    if others:
        yield Kind.OLD_VERSION, f"made by version {', '.join(others)}; this is {__version__}"


def _mesh_problems(entry: GraspEntry, meshes: Path) -> Iterator[Problem]:
    parts = PurePosixPath(entry.object_id).parts
    if ".." in parts or parts[:1] == ("/",):
        yield Kind.MESH_MISSING, f"{entry.object_id} leads out of the folder of the meshes"
        return
    mesh = mesh_entry(DatasetIndex(), entry.object_id, entry.scale, meshes)
    if mesh is None:
        yield Kind.MESH_MISSING, f"{meshes / entry.object_id} cannot be read"
    elif entry.object_digest not in (None, mesh.digest):
        yield Kind.MESH_CHANGED, f"{meshes / entry.object_id} is not the mesh that the grasps were made on"


def inspect_lists(paths: DatasetPaths, entries: Mapping[str, GraspEntry]) -> list[Finding]:
    """What is wrong between the files: the map, the splits and the usable grasp files, whose entries are given by file name."""
    listed = listed_entries(paths)
    return [
        Finding(paths.gripper, path, kind, detail)
        for path, kind, detail in (
            *_object_findings(paths, entries),
            *_map_findings(paths, entries, listed),
            *_split_findings(paths, entries),
        )
    ]


Located = tuple[Path, Kind, str]


def _object_findings(paths: DatasetPaths, entries: Mapping[str, GraspEntry]) -> Iterator[Located]:
    names = defaultdict(list)
    for name, entry in entries.items():
        names[entry.object_id].append(name)
    for object_id, several in names.items():
        if len(several) > 1:
            scales = ", ".join(f"{name} at scale {entries[name].scale:g}" for name in several)
            yield paths.grasps / several[-1], Kind.DUPLICATE_OBJECT, f"{object_id} has {len(several)} files: {scales}; delete all but one"


def _map_findings(paths: DatasetPaths, entries: Mapping[str, GraspEntry], listed: Mapping[str, str]) -> Iterator[Located]:
    path = paths.object_map
    if not listed:
        if entries:
            yield path, Kind.MAP_BROKEN, "is missing, empty or no map"
        return
    holders = defaultdict(list)
    for object_id, name in listed.items():
        holders[name].append(object_id)
    for name, object_ids in holders.items():
        if len(object_ids) > 1:
            yield path, Kind.SHARED_FILE, f"{name} stands for {len(object_ids)} objects: {', '.join(object_ids[:3])}"
        if name not in entries:
            there = "cannot be used" if (paths.grasps / name).exists() else "does not exist"
            yield path, Kind.MAP_DANGLING, f"lists {object_ids[0]}, whose file {name} {there}"
    right = object_map(DatasetIndex(entries), listed, present=entries)
    for object_id, name in right.items():
        if object_id not in listed:
            yield path, Kind.MAP_LACKS, f"does not list {object_id}, which {name} holds"
        elif listed[object_id] != name and listed[object_id] in entries:
            yield path, Kind.MAP_WRONG, f"says that {listed[object_id]} holds {object_id}; it is in {name}"
    for object_id, name in listed.items():
        if name in entries and len(holders[name]) == 1 and object_id not in right:
            yield path, Kind.MAP_WRONG, f"says that {name} holds {object_id}; it holds {entries[name].object_id}"


def _split_findings(paths: DatasetPaths, entries: Mapping[str, GraspEntry]) -> Iterator[Located]:
    known = set(object_map(DatasetIndex(entries), listed_entries(paths), present=entries))
    try:
        train, valid = listed_objects(paths.splits, known=sorted(known))
    except InputError as error:
        path, _, detail = str(error).partition(": ")
        yield Path(path), Kind.SPLIT_BROKEN, detail
        return
    for name, ids in (("train.txt", train), ("valid.txt", valid)):
        for object_id in dict.fromkeys(ids):
            if object_id not in known:
                yield paths.splits / name, Kind.SPLIT_DANGLING, f"lists {object_id}, which has no grasps; delete the line"
    for object_id in sorted(set(train) & set(valid)):
        yield paths.splits / "valid.txt", Kind.SPLIT_BOTH, f"{object_id} is in train.txt as well; delete one of the lines"
    missing = sorted(known - {*train, *valid})
    if missing and (train or valid):
        which = f"{missing[0]} is" if len(missing) == 1 else f"{len(missing)} objects (such as {missing[0]}) are"
        yield paths.splits, Kind.SPLIT_LACKS, f"{which} in neither list; run `graspgen splits`"


def inspect_folders(root: Path, grippers: Sequence[str]) -> list[Finding]:
    """Files that should not be there: temporary ones of runs that were killed, and archives that make the trainer read the folder as
    WebDataset."""
    found = []
    for path, gripper in _leftovers(root, grippers):
        found.append(Finding(gripper, path, Kind.TEMPORARY, "the rest of a run that was killed"))
    for gripper in grippers:
        for path in sorted(DatasetPaths(root, gripper).grasps.glob("*.tar")):
            found.append(Finding(gripper, path, Kind.ARCHIVE, "makes the trainer read the folder as WebDataset; move it elsewhere"))
    return found


def _leftovers(root: Path, grippers: Iterable[str]) -> Iterator[tuple[Path, str]]:
    folders = {root: "", root / "index": "", root / "config" / "grippers": "", root / "failures": ""}
    for gripper in grippers:
        paths = DatasetPaths(root, gripper)
        folders |= {paths.grasps: gripper, paths.splits: gripper}
    oldest = time.time() - ABANDONED
    for folder, gripper in folders.items():
        for path in sorted(folder.glob(".*.tmp")) if folder.is_dir() else ():
            if _TEMPORARY.fullmatch(path.name) and path.lstat().st_mtime < oldest:
                yield path, gripper
