"""Grasps of any format under one path, object by object.

`open_collection` reads names of files, maps and headers of archives; `read_entry` reads the grasps of one object, in any process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from graspgen_cli.dataset.paths import gripper_names
from graspgen_cli.errors import GraspFileError, InputError
from graspgen_cli.files import read_ahead
from graspgen_cli.formats.format import Entry, GraspFormat, Listing, ObjectGrasps, formats_by_suffix

_MOST_FILES = 2_000_000


@dataclass(frozen=True)
class Collection:
    """The grasps under a path. entries: by gripper, then name, then path. damaged: files and archives that cannot be listed."""

    path: Path
    entries: tuple[Entry, ...]
    damaged: tuple[GraspFileError, ...] = ()

    @property
    def grippers(self) -> tuple[str, ...]:
        """The folders of the grippers, if the path is a dataset."""
        return tuple(sorted({entry.gripper for entry in self.entries} - {""}))


def open_collection(path: Path, *, gripper: str | None = None) -> Collection:
    """The grasps under a path: a dataset (``grasp_data/<gripper>``, of all grippers or of `gripper`), a folder of files of any format with
    its subfolders, or a single file.

    Raises InputError if there is nothing to read.
    """
    formats = formats_by_suffix()
    if path.is_dir():
        folders = _gripper_folders(path, gripper) if (path / "grasp_data").is_dir() else {"": path}
        listings = [_in_folder(folder, name, formats) for name, folder in folders.items()]
    else:
        listings = [_in_file(path, formats)]
    listed = [entry for entries, _ in listings for entry in entries]
    damaged = tuple(problem for _, problems in listings for problem in problems)
    if not listed and not damaged:
        raise InputError("no grasps found", path=path, advice=f"name a dataset, or a folder or file of {_named(formats)}")
    return Collection(path, tuple(sorted(listed, key=lambda entry: (entry.gripper, entry.name, str(entry.shown)))), damaged)


def read_entry(entry: Entry) -> ObjectGrasps:
    """The grasps of one object. Raises GraspFileError; InputError for a missing package."""
    return formats_by_suffix()[entry.path.suffix.lower()].read(entry)


def fetch_entry(entry: Entry) -> None:
    """Asks the system to fetch the file of an entry that will be read soon. Archives are read in order, which systems detect."""
    if entry.span is None:
        read_ahead(entry.path)


def _gripper_folders(root: Path, gripper: str | None) -> dict[str, Path]:
    names = gripper_names(root, "grasp_data")
    if gripper is not None and gripper not in names:
        raise InputError(f"no grasps of the gripper {gripper}; there is {', '.join(names) or 'none'}", path=root)
    return {name: root / "grasp_data" / name for name in names if gripper in (None, name)}


def _in_folder(root: Path, gripper: str, formats: dict[str, GraspFormat]) -> Listing:
    """The objects in a folder and its subfolders. Does not follow links to folders, which could form a circle."""
    entries: list[Entry] = []
    damaged: list[GraspFileError] = []
    seen = 0
    for name, folders, files in os.walk(root):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        seen += len(files)
        if seen > _MOST_FILES:
            raise InputError(f"more than {_MOST_FILES} files", path=root, advice="name a folder that holds grasps only")
        listed, problems = _listed([Path(name) / file for file in files if not file.startswith(".")], formats)
        entries += [replace(entry, gripper=gripper) for entry in listed]
        damaged += problems
    return entries, damaged


def _listed(paths: Iterable[Path], formats: dict[str, GraspFormat]) -> Listing:
    """The objects in the files of one folder, or in its archives if it has any."""
    by_format: dict[GraspFormat, list[Path]] = {}
    for path in paths:
        format_ = formats.get(path.suffix.lower())
        if format_ is not None:
            by_format.setdefault(format_, []).append(path)
    archives = {format_: files for format_, files in by_format.items() if format_.archive is not None}
    listings = [format_.list_files(files) for format_, files in (archives or by_format).items()]
    return [entry for entries, _ in listings for entry in entries], [problem for _, problems in listings for problem in problems]


def _in_file(path: Path, formats: dict[str, GraspFormat]) -> Listing:
    if not path.exists():
        raise InputError("no such file or folder", path=path, advice="name a dataset, or a folder or file of grasps")
    if path.suffix.lower() not in formats:
        raise InputError(f"not a file of grasps; there is {_named(formats)}", path=path)
    return _listed([path], formats)


def _named(formats: dict[str, GraspFormat]) -> str:
    *most, last = formats
    return f"{', '.join(most)} and {last}"
