"""What is known of every grasp file and mesh without reading it: `index/<gripper>.json`.

The index is derived and never needed: an entry is trusted while the file has the size and the time of change that the entry says,
else that file alone is read again. So walking over thousands of finished objects asks the file system for their sizes and times,
and reads one file.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from graspgen_cli import __version__
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.errors import GraspFileError, ObjectError, OutputError
from graspgen_cli.files import read_bounded, write_atomically
from graspgen_cli.formats.format import GRASP_SUFFIX
from graspgen_cli.formats.graspgen_json import read_grasp_file
from graspgen_cli.objects.read import content_hash
from graspgen_cli.objects.read_usd import USD_SUFFIXES
from graspgen_cli.records import GraspDataset, Outcome

SETTLED = 2.0
"""s: a file younger than that may change again within one tick of the file system's clock, so the index does not keep it."""
_FORMAT = 1
_SEVERAL_FILES = (".gltf", *USD_SUFFIXES)
"""Meshes that name further files."""


@dataclass(frozen=True)
class Stamp:
    """What tells that a file is the one that was read."""

    size: int
    """bytes."""
    mtime_ns: int

    @staticmethod
    def of(status: os.stat_result) -> Stamp:
        """The stamp of a file by its status."""
        return Stamp(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class GraspEntry:
    """One grasp file. A digest is None where the file has none: another tool's, or grasps that were never simulated."""

    stamp: Stamp
    object_id: str
    scale: float
    guess: str | None
    """Digest of how the guesses were made (provenance.guess)."""
    simulation: str | None
    """Digest of how they were tried (provenance.simulation)."""
    object_digest: str | None
    gripper_digest: str | None
    versions: tuple[str, ...]
    """Versions of this package that made the guesses and tried them."""
    own: bool
    """Whether this package wrote the file."""
    counts: Mapping[str, int]
    """Grasps of each outcome, by its name."""


@dataclass(frozen=True)
class MeshEntry:
    """One mesh file at one scale."""

    stamp: Stamp
    scale: float
    digest: str
    """As in TargetObject.content_hash."""


@dataclass(frozen=True)
class DatasetIndex:
    """grasps: by file name. meshes: by object id."""

    grasps: Mapping[str, GraspEntry] = field(default_factory=dict)
    meshes: Mapping[str, MeshEntry] = field(default_factory=dict)


def load_index(paths: DatasetPaths) -> DatasetIndex:
    """The index as it is on disk, not yet compared with the files; empty where there is none or it is broken."""
    try:
        document = orjson.loads(read_bounded(paths.index))
        if document["format"] != _FORMAT:
            return DatasetIndex()
        grasps = {name: _grasp_entry(row) for name, row in document["grasps"].items()}
        meshes = {name: MeshEntry(Stamp(*row["stamp"]), row["scale"], row["digest"]) for name, row in document["meshes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError):
        return DatasetIndex()
    return DatasetIndex(grasps, meshes)


def _grasp_entry(row: dict[str, Any]) -> GraspEntry:
    known = {**row, "stamp": Stamp(*row["stamp"]), "versions": tuple(row["versions"])}
    entry = GraspEntry(**known)
    if not isinstance(entry.object_id, str) or not isinstance(entry.scale, float) or not isinstance(entry.counts, dict):
        raise TypeError("not an entry")
    return entry


def current_index(paths: DatasetPaths) -> DatasetIndex:
    """The index of the grasp files as they are now. Reads those that it does not know, leaves out those that cannot be read, and keeps
    what it found for the next time where the folder can be written."""
    old = load_index(paths)
    stamps = grasp_stamps(paths)
    grasps = {}
    for name, stamp in stamps.items():
        entry = old.grasps.get(name)
        if entry is None or entry.stamp != stamp:
            entry = _read_entry(paths.grasps / name)
        if entry is not None:
            grasps[name] = entry
    index = DatasetIndex(grasps, old.meshes)
    if grasps != old.grasps:
        with contextlib.suppress(OutputError):
            write_index(paths, index)
    return index


def grasp_stamps(paths: DatasetPaths) -> dict[str, Stamp]:
    """The grasp files that are there, by name in order."""
    try:
        with os.scandir(paths.grasps) as found:
            files = [entry for entry in found if entry.name.endswith(GRASP_SUFFIX) and not entry.name.startswith(".")]
            return {entry.name: _stamp(entry) for entry in sorted(files, key=lambda entry: entry.name)}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _stamp(entry: os.DirEntry[str]) -> Stamp:
    try:
        return Stamp.of(entry.stat())
    except OSError:  # a link that leads nowhere
        return Stamp.of(entry.stat(follow_symlinks=False))


def _read_entry(path: Path) -> GraspEntry | None:
    """The entry of one grasp file, read now; None where it cannot be read."""
    try:
        stamp = Stamp.of(path.stat())
        return grasp_entry(stamp, read_grasp_file(path))
    except (OSError, GraspFileError):
        return None


def grasp_entry(stamp: Stamp, dataset: GraspDataset) -> GraspEntry:
    """The entry of a file that was read. The stamp is from before, so that a change meanwhile is seen the next time."""
    guess, simulation = (_record(dataset.provenance, part) for part in ("guess", "simulation"))
    versions = [_record(record, "versions").get("graspgen-cli") for record in (guess, simulation)]
    return GraspEntry(
        stamp=stamp,
        object_id=dataset.object_id,
        scale=dataset.scale,
        guess=_text(guess.get("digest")),
        simulation=_text(simulation.get("digest")),
        object_digest=_text(simulation.get("object_digest")) or _text(guess.get("object_digest")),
        gripper_digest=_text(simulation.get("gripper_digest")) or _text(guess.get("gripper_digest")),
        versions=tuple(sorted({version for version in versions if isinstance(version, str)})),
        own=bool(dataset.provenance),
        counts={outcome.label: count for outcome in Outcome if (count := dataset.grasps.count(outcome))},
    )


def _record(values: Mapping[str, object], name: str) -> dict[str, object]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def mesh_entries(index: DatasetIndex, scales: Iterable[tuple[str, float]], root: Path) -> dict[str, MeshEntry]:
    """The meshes (object id, scale), each read only where the index does not know it as it is now.

    A mesh that cannot be read, or is no mesh, is left out. A mesh of several files is read each time, for the stamp is of one file.
    """
    entries = {}
    for object_id, scale in scales:
        entry = mesh_entry(index, object_id, scale, root)
        if entry is not None:
            entries[object_id] = entry
    return entries


def mesh_entry(index: DatasetIndex, object_id: str, scale: float, root: Path) -> MeshEntry | None:
    """One mesh; None where it cannot be read."""
    path = root / object_id
    try:
        stamp = Stamp.of(path.stat())
        known = index.meshes.get(object_id)
        if known is not None and (known.stamp, known.scale) == (stamp, scale) and path.suffix.lower() not in _SEVERAL_FILES:
            return known
        return MeshEntry(stamp, scale, content_hash(path, scale))
    except (OSError, ValueError, ObjectError):
        return None


def updated(
    index: DatasetIndex, *, grasps: Mapping[str, GraspEntry] | None = None, meshes: Mapping[str, MeshEntry] | None = None
) -> DatasetIndex:
    """The index with these entries added or replaced."""
    return DatasetIndex({**index.grasps, **(grasps or {})}, {**index.meshes, **(meshes or {})})


def write_index(paths: DatasetPaths, index: DatasetIndex) -> None:
    """Writes the index, less the files that changed a moment ago. Raises OutputError."""
    newest = time.time_ns() - int(SETTLED * 1e9)
    document = {
        "format": _FORMAT,
        "version": __version__,
        "grasps": {name: _row(entry) for name, entry in sorted(index.grasps.items()) if entry.stamp.mtime_ns <= newest},
        "meshes": {name: _row(entry) for name, entry in sorted(index.meshes.items()) if entry.stamp.mtime_ns <= newest},
    }
    write_atomically(paths.index, orjson.dumps(document) + b"\n")


def _row(entry: GraspEntry | MeshEntry) -> dict[str, Any]:
    return {**vars(entry), "stamp": (entry.stamp.size, entry.stamp.mtime_ns)}
