"""The index: facts about every grasp file and mesh, ``index/<gripper>.json``.

The index is derived. An entry counts while size and modification time match the file; otherwise that file is read again. So a walk over
thousands of finished objects asks for sizes and times, and reads one file.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from graspgen_cli import __version__
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.dataset.provenance import recorded_steps
from graspgen_cli.errors import GraspFileError, ObjectError, OutputError
from graspgen_cli.files import read_json_map, write_atomically
from graspgen_cli.formats.format import GRASP_SUFFIX
from graspgen_cli.formats.graspgen_json import read_grasp_file
from graspgen_cli.objects.read import content_hash
from graspgen_cli.objects.read_usd import USD_SUFFIXES
from graspgen_cli.records import GraspDataset, Outcome

SETTLED = 2.0
"""s: a younger file could change again within one tick of the file system's clock, so it is not indexed."""
_FORMAT = 1
_SEVERAL_FILES = (".gltf", *USD_SUFFIXES)
"""Meshes that name further files, which a stamp does not cover."""


class Stamp(NamedTuple):
    """Identifies a version of a file. size: bytes."""

    size: int
    mtime_ns: int

    @staticmethod
    def of(status: os.stat_result) -> Stamp:
        """The stamp of a file by its status."""
        return Stamp(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class GraspEntry:
    """One grasp file.

    guess, simulation: digests of how the guesses were made and tried. object_digest, gripper_digest: of mesh and gripper. All are None if
    the file has none: a file of another tool, or guesses without trials. versions: of this package, which made and tried the guesses.
    own: whether this package wrote the file. counts: grasps by the name of their outcome.
    """

    stamp: Stamp
    object_id: str
    scale: float
    guess: str | None
    simulation: str | None
    object_digest: str | None
    gripper_digest: str | None
    versions: tuple[str, ...]
    own: bool
    counts: Mapping[str, int]


@dataclass(frozen=True)
class MeshEntry:
    """One mesh file at one scale. digest: `TargetObject.content_hash`."""

    stamp: Stamp
    scale: float
    digest: str


@dataclass(frozen=True)
class DatasetIndex:
    """grasps: by file name. meshes: by object id."""

    grasps: Mapping[str, GraspEntry] = field(default_factory=dict)
    meshes: Mapping[str, MeshEntry] = field(default_factory=dict)


def load_index(paths: DatasetPaths) -> DatasetIndex:
    """The index on disk, not yet compared with the files; empty if it is missing or broken."""
    try:
        document = read_json_map(paths.index)
        if document["format"] != _FORMAT:
            return DatasetIndex()
        grasps = {name: _grasp_entry(row) for name, row in document["grasps"].items()}
        meshes = {name: MeshEntry(**{**row, "stamp": Stamp(*row["stamp"])}) for name, row in document["meshes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return DatasetIndex()
    return DatasetIndex(grasps, meshes)


def _grasp_entry(row: dict[str, Any]) -> GraspEntry:
    entry = GraspEntry(**{**row, "stamp": Stamp(*row["stamp"]), "versions": tuple(row["versions"])})
    if not isinstance(entry.object_id, str) or not isinstance(entry.scale, float) or not isinstance(entry.counts, dict):
        raise TypeError("not an entry")
    return entry


def current_index(paths: DatasetPaths) -> DatasetIndex:
    """The index of the grasp files as they are now, without files that cannot be read. Reads new and changed files, and writes the index if
    it can."""
    old = load_index(paths)
    grasps = {}
    for name, stamp in grasp_stamps(paths).items():
        entry = old.grasps.get(name)
        if entry is None or entry.stamp != stamp:
            entry = _read_entry(paths.grasps / name, stamp)
        if entry is not None:
            grasps[name] = entry
    index = DatasetIndex(grasps, old.meshes)
    if grasps != old.grasps:
        with contextlib.suppress(OutputError):
            write_index(paths, index)
    return index


def grasp_stamps(paths: DatasetPaths) -> dict[str, Stamp]:
    """The stamps of the grasp files, by name in order."""
    try:
        with os.scandir(paths.grasps) as found:
            files = [entry for entry in found if entry.name.endswith(GRASP_SUFFIX) and not entry.name.startswith(".")]
            return {entry.name: _stamp(entry) for entry in sorted(files, key=lambda entry: entry.name)}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _stamp(entry: os.DirEntry[str]) -> Stamp:
    try:
        return Stamp.of(entry.stat())
    except OSError:  # a broken link
        return Stamp.of(entry.stat(follow_symlinks=False))


def _read_entry(path: Path, stamp: Stamp) -> GraspEntry | None:
    try:
        return grasp_entry(stamp, read_grasp_file(path))
    except GraspFileError:
        return None


def grasp_entry(stamp: Stamp, dataset: GraspDataset) -> GraspEntry:
    """The entry of a file that was read. The stamp is older than the read, so that a change meanwhile shows."""
    steps = recorded_steps(dataset)
    latest_first = [steps[name] for name in ("simulation", "guess") if name in steps]
    versions = [step.versions.get("graspgen-cli") for step in latest_first]
    return GraspEntry(
        stamp=stamp,
        object_id=dataset.object_id,
        scale=dataset.scale,
        guess=steps["guess"].digest if "guess" in steps else None,
        simulation=steps["simulation"].digest if "simulation" in steps else None,
        object_digest=next((step.object_digest for step in latest_first if step.object_digest), None),
        gripper_digest=next((step.gripper_digest for step in latest_first if step.gripper_digest), None),
        versions=tuple(sorted({version for version in versions if isinstance(version, str)})),
        own=bool(dataset.provenance),
        counts={outcome.label: count for outcome in Outcome if (count := dataset.grasps.count(outcome))},
    )


def mesh_entries(index: DatasetIndex, scales: Iterable[tuple[str, float]], root: Path) -> dict[str, MeshEntry]:
    """The meshes (object id, scale) that can be read, by object id. Reads the meshes that the index does not know as they are now."""
    entries = {object_id: mesh_entry(index, object_id, scale, root) for object_id, scale in scales}
    return {object_id: entry for object_id, entry in entries.items() if entry is not None}


def mesh_entry(index: DatasetIndex, object_id: str, scale: float, root: Path) -> MeshEntry | None:
    """One mesh; None if it cannot be read."""
    path = root / object_id
    try:
        stamp = Stamp.of(path.stat())
        known = index.meshes.get(object_id)
        if known is not None and (known.stamp, known.scale) == (stamp, scale) and path.suffix.lower() not in _SEVERAL_FILES:
            return known
        return MeshEntry(stamp, scale, content_hash(path, scale))
    except (OSError, ValueError, ObjectError):
        return None


def updated(index: DatasetIndex, *, meshes: Mapping[str, MeshEntry]) -> DatasetIndex:
    """The index with more or newer meshes."""
    return DatasetIndex(index.grasps, {**index.meshes, **meshes})


def write_index(paths: DatasetPaths, index: DatasetIndex) -> None:
    """Writes the index without files that are younger than SETTLED. Raises OutputError."""
    newest = time.time_ns() - int(SETTLED * 1e9)

    def rows(entries: Mapping[str, GraspEntry | MeshEntry]) -> dict[str, dict[str, Any]]:
        return {
            name: {**vars(entry), "stamp": list(entry.stamp)} for name, entry in sorted(entries.items()) if entry.stamp.mtime_ns <= newest
        }

    document = {"format": _FORMAT, "version": __version__, "grasps": rows(index.grasps), "meshes": rows(index.meshes)}
    write_atomically(paths.index, orjson.dumps(document) + b"\n")
