"""``map_uuid_to_path.json``: object id -> file name. The trainer trusts the map, so it lists exactly the existing files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graspgen_cli.dataset.index import DatasetIndex, current_index, grasp_stamps
from graspgen_cli.dataset.locks import object_lock
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.files import json_map, read_json_map_if_sound, write_atomically
from graspgen_cli.formats.format import GRASP_SUFFIX


def read_object_map(paths: DatasetPaths) -> dict[str, str]:
    """The map as it should be: entries on disk whose file exists and holds no other object, and the other files by their content."""
    return object_map(current_index(paths), listed_entries(paths), present=grasp_stamps(paths))


def object_map(index: DatasetIndex, listed: Mapping[str, str], *, present: Iterable[str]) -> dict[str, str]:
    """The map as it should be. listed: the map now, which decides if several files hold one object, and which keeps its unreadable files.
    present: names of the existing files."""
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
    """Whether the map can be right. Maps of other tools have names of their own for objects."""
    entry = index.grasps.get(name)
    return entry is None or not entry.own or entry.object_id == object_id


def listed_entries(paths: DatasetPaths) -> dict[str, str]:
    """The entries of the map on disk whose value can be the name of a grasp file; empty for a missing or broken map."""
    entries = read_json_map_if_sound(paths.object_map)
    # A name with a folder could lead out of the dataset.
    return {k: v for k, v in entries.items() if isinstance(v, str) and v.endswith(GRASP_SUFFIX) and "/" not in v and "\\" not in v}


def own_files(paths: DatasetPaths, scales: Iterable[tuple[str, float]], entries: Mapping[str, str]) -> dict[str, str]:
    """The existing file of each object (object id, scale) of the list at that scale: the file in the map, else another file that holds it.

    An object with a new scale has none. An unreadable file counts as that of its object in the map, and is reported later.
    """
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


def update_object_map(paths: DatasetPaths, made: Mapping[str, str]) -> dict[str, str]:
    """Adds all grasp files to the map, whichever run wrote them, and returns it. made: object id -> name of the file that counts if the
    object has files at several scales. Raises OutputError."""
    with object_lock(paths, paths.object_map.name, wait=True):
        entries = {**read_object_map(paths), **made}
        write_object_map(paths, entries)
    return entries


def write_object_map(paths: DatasetPaths, entries: Mapping[str, str]) -> bool:
    """Writes the map, sorted by object id, unless the file is the same or the map is empty; returns whether it did. Raises OutputError."""
    path, content = paths.object_map, json_map(entries)
    if not entries or (path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content):
        return False
    write_atomically(path, content)
    return True
