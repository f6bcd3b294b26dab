"""`map_uuid_to_path.json`: which file holds which object. The trainer trusts it, so it lists exactly the files that exist."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import orjson

from graspgen_cli.dataset.graspgen_json import read_grasp_file
from graspgen_cli.dataset.paths import GRASP_SUFFIX, DatasetPaths
from graspgen_cli.errors import GraspFileError
from graspgen_cli.files import write_atomically


def read_object_map(paths: DatasetPaths) -> dict[str, str]:
    """Object id -> file name, for every grasp file that exists: the map's own entries where their file is there, and files that the
    map does not know by their content. A missing or broken map is rebuilt that way."""
    present = sorted(p.name for p in paths.grasps.glob(f"*{GRASP_SUFFIX}")) if paths.grasps.is_dir() else []
    listed = {k: v for k, v in _listed(paths).items() if v in set(present)}
    known = set(listed.values())
    for name in present:
        if name not in known:
            try:
                listed.setdefault(read_grasp_file(paths.grasps / name).object_id, name)
            except GraspFileError:
                continue
    return listed


def _listed(paths: DatasetPaths) -> dict[str, str]:
    try:
        document = json.loads(paths.object_map.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    # A name with a folder in it could lead out of the dataset.
    return {k: v for k, v in document.items() if isinstance(v, str) and v.endswith(GRASP_SUFFIX) and "/" not in v and "\\" not in v}


def own_files(paths: DatasetPaths, scales: Iterable[tuple[str, float]], entries: Mapping[str, str]) -> dict[str, str]:
    """Those of the map's entries whose file is of the object at the scale of the list (object id, scale), whoever wrote and named it;
    an object whose scale has changed gets a file of its own. A file that cannot be read counts as the object's: it is reported."""
    own = {}
    for object_id, scale in scales:
        name = entries.get(object_id)
        if name is not None and (_names_scale(name, scale) or _holds_scale(paths, name, scale)):
            own[object_id] = name
    return own


def _names_scale(name: str, scale: float) -> bool:
    return f".{scale!r}." in name


def _holds_scale(paths: DatasetPaths, name: str, scale: float) -> bool:
    try:
        return read_grasp_file(paths.grasps / name).scale == scale
    except GraspFileError:
        return True


def write_object_map(paths: DatasetPaths, entries: dict[str, str]) -> None:
    """Writes the map, sorted by object id, unless it already says that."""
    content = orjson.dumps(dict(sorted(entries.items())), option=orjson.OPT_INDENT_2) + b"\n"
    if entries and (not paths.object_map.is_file() or paths.object_map.read_bytes() != content):
        write_atomically(paths.object_map, content)
