"""Writes WebDataset shards: the same data give the same bytes, and the index comes last, so that it never lists what is not there."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import orjson

from graspgen_cli.dataset.paths import GRASP_SUFFIX
from graspgen_cli.dataset.shards import INDEX_NAME
from graspgen_cli.files import atomic_file, write_atomically

_FOUND_AGAIN = re.compile(r"(?!__[^/]*__(/|$))(?:[^\n]*/)?[^./\n]+")
"""Names that the webdataset library gives back as the key of a sample: no dot behind the last slash, and none that it keeps for itself."""


def shard_uuids(object_ids: Iterable[str]) -> dict[str, str]:
    """Object id -> uuid. The id without the mesh file's ending, where that has no further dot and is no other object's; else with dots
    replaced and a digest of the id behind. The result does not depend on the order of the ids."""
    bare = {object_id: _bare(object_id) for object_id in object_ids}
    claims = Counter(bare.values())
    alone = {object_id: claims[name] == 1 and _FOUND_AGAIN.fullmatch(name) for object_id, name in bare.items()}
    return {object_id: name if alone[object_id] else _marked(object_id) for object_id, name in bare.items()}


def _bare(object_id: str) -> str:
    return object_id.removesuffix(PurePosixPath(object_id).suffix)


def _marked(object_id: str) -> str:
    stem = re.sub(r"\W", "_", PurePosixPath(_bare(object_id)).name)[:80].strip("_") or "object"
    return f"{stem}-{hashlib.sha256(object_id.encode()).hexdigest()[:12]}"


def write_shards(folder: Path, members: Iterable[tuple[str, bytes]], *, objects_per_shard: int) -> dict[str, int]:
    """Writes (uuid, content of the grasp file), in the order given, and the index; returns the index. Raises OutputError."""
    index: dict[str, int] = {}
    iterator = iter(members)
    number = 0
    while (first := next(iterator, None)) is not None:
        with atomic_file(folder / f"shard_{number:03d}.tar") as file, tarfile.open(fileobj=file, mode="w") as archive:
            for uuid, content in _some(first, iterator, objects_per_shard):
                archive.addfile(_header(uuid, len(content)), io.BytesIO(content))
                index[uuid] = number
        number += 1
    if index:
        write_atomically(folder / INDEX_NAME, orjson.dumps(index, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    return index


def _some(first: tuple[str, bytes], rest: Iterator[tuple[str, bytes]], count: int) -> Iterator[tuple[str, bytes]]:
    """The first and what follows it, `count` in all."""
    yield first
    for _ in range(count - 1):
        following = next(rest, None)
        if following is None:
            return
        yield following


def _header(uuid: str, size: int) -> tarfile.TarInfo:
    """A member's header without anything of this machine: no owner, and a fixed time."""
    info = tarfile.TarInfo(f"{uuid}{GRASP_SUFFIX}")
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info
