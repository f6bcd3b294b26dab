"""Grasps of any format under one path, object by object.

`open_collection` looks only at names and at the headers of archives; grasps are read one entry at a time, by `read_entry`, in whatever
process. Whatever the format, poses come as ``pose_gripper_in_object`` (N, 4, 4), m: the gripper's frame, which the record names, in the
frame of the scaled object.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from graspgen_cli.errors import GraspFileError, InputError
from graspgen_cli.files import read_ahead, read_bounded
from graspgen_cli.formats.acronym import read_acronym
from graspgen_cli.formats.graspgen_json import decode, read_document, require_intact
from graspgen_cli.formats.isaac_grasp import read_isaac_grasps
from graspgen_cli.formats.object_grasps import FRAMES_KEY, GRASP_SUFFIX, ISAAC_KEY, DamagedFile, IsaacFields, ObjectGrasps, offset_pose
from graspgen_cli.formats.webdataset import INDEX_NAME, Member, list_shard, list_shards, read_member
from graspgen_cli.records import GraspDataset

_LISTS = ("map_uuid_to_path.json", "map_uuid_to_path_simplified.json", INDEX_NAME)
"""JSON files that lie among grasp files and hold none."""
_MOST_FILES = 2_000_000


class Format(StrEnum):
    """What grasps are stored as."""

    GRASPGEN = "graspgen"
    ISAAC_GRASP = "isaac-grasp"
    WEBDATASET = "webdataset"
    ACRONYM = "acronym"


_SUFFIXES = {
    ".json": Format.GRASPGEN,
    ".yaml": Format.ISAAC_GRASP,
    ".yml": Format.ISAAC_GRASP,
    ".h5": Format.ACRONYM,
    ".hdf5": Format.ACRONYM,
}


@dataclass(frozen=True)
class Entry:
    """Where one object's grasps are; small, and the same in every process.

    name: what the object is called as far as that is known without reading: its id from the folder's map, its uuid in an archive, else
    the file's name without its ending. The record that is read says which object it is.
    gripper: name of the gripper's folder in a dataset; empty elsewhere.
    member: where in an archive.
    """

    path: Path
    format: Format
    name: str
    gripper: str = ""
    member: Member | None = None

    @property
    def shown(self) -> Path:
        """The file for messages; within an archive as if that were a folder."""
        return self.path if self.member is None else self.member.path


@dataclass(frozen=True)
class Collection:
    """What lies under a path. Iterating reads one entry after the other.

    entries: by gripper, then name, then path. damaged: what could not even be listed.
    """

    path: Path
    entries: tuple[Entry, ...]
    damaged: tuple[DamagedFile, ...] = field(default=())

    @property
    def object_ids(self) -> tuple[str, ...]:
        """What the objects are called, entry by entry, as far as that is known without reading (see `Entry.name`)."""
        return tuple(entry.name for entry in self.entries)

    @property
    def grippers(self) -> tuple[str, ...]:
        """The grippers' folders, where the path is a dataset."""
        return tuple(sorted({entry.gripper for entry in self.entries} - {""}))

    def __iter__(self) -> Iterator[tuple[str, ObjectGrasps | DamagedFile]]:
        """(object id, grasps) of every entry in order; an entry that cannot be read comes with its name and why."""
        for entry in self.entries:
            found = read_or_damage(entry)
            yield (found.dataset.object_id if isinstance(found, ObjectGrasps) else entry.name), found


def open_collection(path: Path, *, gripper: str | None = None) -> Collection:
    """What grasps there are under a path: a dataset (``grasp_data/<gripper>``, ours, GraspGen's or GraspDataGen's; all its grippers, or
    only `gripper`), a folder of files of any of the formats, with folders in it, a folder of WebDataset shards, or a single file.

    Raises InputError where there is nothing to read.
    """
    if path.is_dir():
        listed, damaged = _dataset(path, gripper) if (path / "grasp_data").is_dir() else _folder(path, "")
    else:
        listed, damaged = _single(path)
    entries = tuple(sorted(listed, key=lambda entry: (entry.gripper, entry.name, str(entry.shown))))
    if not entries and not damaged:
        raise InputError(f"{path}: no grasps found; name a dataset, or a folder or file of .json, .yaml, .h5 or .tar")
    return Collection(path, entries, tuple(damaged))


def read_or_damage(entry: Entry) -> ObjectGrasps | DamagedFile:
    """The grasps of an entry, or why they cannot be read."""
    try:
        return read_entry(entry)
    except GraspFileError as error:
        reason = str(error).removeprefix(f"{entry.shown}: ").partition("; make it anew")[0]
        return DamagedFile(entry.shown, reason)


def read_entry(entry: Entry) -> ObjectGrasps:
    """The grasps of one object. Raises GraspFileError naming the file; InputError where a package is missing."""
    if entry.member is not None:
        return _from_json(*read_member(entry.member))
    if entry.format is Format.ISAAC_GRASP:
        return read_isaac_grasps(entry.path)
    if entry.format is Format.ACRONYM:
        return read_acronym(entry.path)
    document = read_document(entry.path)
    require_intact(entry.path, document)
    return _from_json(decode(entry.path, document), document)


def fetch_entry(entry: Entry) -> None:
    """Has the file of an entry fetched that is read soon. Archives are read in order, which systems see by themselves."""
    if entry.member is None:
        read_ahead(entry.path)


def _from_json(dataset: GraspDataset, document: dict[str, Any]) -> ObjectGrasps:
    gripper = document.get("gripper")
    gripper = gripper if isinstance(gripper, dict) else {}
    return ObjectGrasps(
        dataset=dataset,
        gripper_frame=_frame_name(document.get(FRAMES_KEY)),
        pose_graspgen_in_gripper=offset_pose(gripper.get("transform_offset_from_asset_to_graspgen_convention")),
        isaac=_isaac_fields(document.get(ISAAC_KEY), len(dataset.grasps)),
        document=document,
    )


def _frame_name(frames: object) -> str:
    return str(frames.get("gripper") or "base") if isinstance(frames, dict) else "base"


def _isaac_fields(kept: object, count: int) -> IsaacFields | None:
    """What `convert` kept of an isaac_grasp file; None where that no longer fits the grasps."""
    header, grasps = (kept.get("header"), kept.get("grasps")) if isinstance(kept, dict) else (None, None)
    if not isinstance(header, dict) or not isinstance(grasps, list) or len(grasps) != count:
        return None
    if not all(isinstance(grasp, dict) and isinstance(grasp.get("name"), str) for grasp in grasps):
        return None
    if len({grasp["name"] for grasp in grasps}) != count:  # they are keys of a mapping
        return None
    return IsaacFields(header, tuple(grasps))


Listing = tuple[list[Entry], list[DamagedFile]]


def _dataset(root: Path, gripper: str | None) -> Listing:
    folders = [folder for folder in _sorted(root / "grasp_data") if folder.is_dir() and not folder.name.startswith(".")]
    if gripper is not None and gripper not in {folder.name for folder in folders}:
        there = ", ".join(folder.name for folder in folders) or "none"
        raise InputError(f"{root}: no grasps of the gripper {gripper}; there is {there}")
    entries: list[Entry] = []
    damaged: list[DamagedFile] = []
    for folder in folders:
        if gripper in (None, folder.name):
            found, wrong = _folder(folder, folder.name)
            entries += found
            damaged += wrong
    return entries, damaged


def _folder(root: Path, gripper: str) -> Listing:
    """The entries of a folder and of those in it. Links to folders are not followed, for they may lead round in a circle."""
    entries: list[Entry] = []
    damaged: list[DamagedFile] = []
    seen = 0
    for name, folders, files in os.walk(root):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        folder = Path(name)
        seen += len(files)
        if seen > _MOST_FILES:
            raise InputError(f"{root}: more than {_MOST_FILES} files; name a folder that holds grasps only")
        if any(file.endswith(".tar") for file in files):
            members, wrong = list_shards(folder)
            entries += [_archived(member, gripper) for member in members]
            damaged += wrong
            continue
        entries += _files(folder, files, gripper)
    return entries, damaged


def _files(folder: Path, names: Iterable[str], gripper: str) -> Iterator[Entry]:
    listed = _object_names(folder / _LISTS[0])
    for name in names:
        format_ = _SUFFIXES.get(Path(name).suffix.lower())
        if format_ is not None and name not in _LISTS and not name.startswith("."):
            yield Entry(folder / name, format_, listed.get(name) or _stem(name), gripper)


def _object_names(path: Path) -> dict[str, str]:
    """File name -> object id, as the folder's map says; nothing where there is none or it is broken."""
    try:
        content = orjson.loads(read_bounded(path))
    except (OSError, ValueError, RecursionError, MemoryError):
        return {}
    pairs = content.items() if isinstance(content, dict) else ()
    return {name: object_id for object_id, name in pairs if isinstance(name, str)}


def _stem(name: str) -> str:
    return name.removesuffix(GRASP_SUFFIX) if name.endswith(GRASP_SUFFIX) else Path(name).stem


def _archived(member: Member, gripper: str) -> Entry:
    return Entry(member.shard, Format.WEBDATASET, member.uuid, gripper, member)


def _single(path: Path) -> Listing:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; name a dataset, or a folder or file of grasps")
    if path.suffix.lower() == ".tar":
        members, damaged = list_shard(path)
        return [_archived(member, "") for member in members], damaged
    format_ = _SUFFIXES.get(path.suffix.lower())
    if format_ is None:
        raise InputError(f"{path}: not a file of grasps; there is .json, .yaml, .h5 and .tar")
    return [Entry(path, format_, _stem(path.name))], []


def _sorted(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check the path and its permissions") from error
