"""`map_uuid_to_path.json`: which file holds which object. The trainer trusts it, so it lists exactly the files that exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson

from graspgen_cli.dataset.index import DatasetIndex, current_index, grasp_stamps
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.files import read_bounded, write_atomically
from graspgen_cli.formats.format import GRASP_SUFFIX


def read_object_map(paths: DatasetPaths) -> dict[str, str]:
    """Object id -> file name, for every grasp file that exists: the map's own entries where their file is there and holds no other
    object, and files that the map does not know by their content. A missing or broken map is rebuilt that way."""
    return object_map(current_index(paths), listed_entries(paths), present=grasp_stamps(paths))


def object_map(index: DatasetIndex, listed: Mapping[str, str], *, present: Iterable[str]) -> dict[str, str]:
    """The map as it should be.

    listed: what the map says now. It decides where several files hold one object. A file that cannot be read stays where it is listed,
    for it is its object's all the same. present: the names of the files that are there.
    """
    there = set(present)
    entries: dict[str, str] = {}
    claimed: set[str] = set()
    for object_id, name in listed.items():
        if name in there and name not in claimed and _may_hold(index, name, object_id):
            entries[object_id] = name
            claimed.add(name)
    for name, entry in sorted(index.grasps.items()):
        if name in there and name not in claimed:
            entries.setdefault(entry.object_id, name)
    return entries


def _may_hold(index: DatasetIndex, name: str, object_id: str) -> bool:
    """Whether the map may be right. Maps of other tools name objects as they like."""
    entry = index.grasps.get(name)
    return entry is None or not entry.own or entry.object_id == object_id


def listed_entries(paths: DatasetPaths) -> dict[str, str]:
    """What the map says, less what cannot be a grasp file's name; nothing where it is missing or broken."""
    try:
        document = orjson.loads(read_bounded(paths.object_map))
    except (OSError, ValueError, RecursionError, MemoryError):
        return {}
    if not isinstance(document, dict):
        return {}
    # A name with a folder in it could lead out of the dataset.
    return {k: v for k, v in document.items() if isinstance(v, str) and v.endswith(GRASP_SUFFIX) and "/" not in v and "\\" not in v}


def own_files(paths: DatasetPaths, scales: Iterable[tuple[str, float]], entries: Mapping[str, str]) -> dict[str, str]:
    """The file of each object of the list (object id, scale) that has one at that scale, whoever wrote and named it: the map's, else
    another that holds it. An object whose scale has changed gets a file of its own. A file that cannot be read counts as that of the
    object for which the map lists it: it is reported."""
    files = current_index(paths).grasps
    held = {(entry.object_id, entry.scale): name for name, entry in sorted(files.items(), reverse=True)}
    own = {}
    for object_id, scale in scales:
        name = entries.get(object_id)
        if name is None or (name in files and files[name].scale != scale):
            name = held.get((object_id, scale))
        if name is not None:
            own[object_id] = name
    return own


def write_object_map(paths: DatasetPaths, entries: Mapping[str, str]) -> bool:
    """Writes the map, sorted by object id, unless it already says that or would be empty; returns whether it did. Raises OutputError."""
    content = orjson.dumps(dict(sorted(entries.items())), option=orjson.OPT_INDENT_2) + b"\n"
    if not entries or _holds(paths.object_map, content):
        return False
    write_atomically(paths.object_map, content)
    return True


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content
