"""WebDataset shards as GraspGen reads them: ``shard_000.tar``, … with members ``<uuid>.grasps.json``, and ``uuid_index.json``.

GraspGen looks a uuid up in the index ({uuid: number of the shard}) and reads that shard until a sample has the uuid as its key. The
webdataset library cuts a member's name at the first dot behind the last slash, so it never finds a uuid with a dot there.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice
from pathlib import Path, PurePosixPath

from graspgen_cli.errors import GraspFileError, one_line
from graspgen_cli.files import LARGEST_FILE, atomic_file, read_json_map, require_few_values, write_json_map
from graspgen_cli.formats.format import GRASP_SUFFIX, Archive, Entry, GraspFormat, Listing, ObjectGrasps
from graspgen_cli.formats.graspgen_json import INDEX_NAME, content_of, object_grasps, parse_document

_SHARD_NAME = re.compile(r"shard_(\d{3,})\.tar")
_MOST_MEMBERS = 1_000_000
_NOT_TAR = (OSError, tarfile.TarError, ValueError, OverflowError, RecursionError, MemoryError, EOFError)
"""The errors to which an arbitrary file can lead tarfile."""


def _list_shards(shards: Sequence[Path]) -> Listing:
    """The members that hold grasps, by uuid, and the problems: shards that cannot be read, and an index that contradicts the shards.

    Nothing is unpacked: names of members are never used as paths.
    """
    entries: list[Entry] = []
    problems: list[GraspFileError] = []
    for shard in sorted(shards):
        try:
            entries.extend(_members(shard))
        except _NOT_TAR as error:
            problems.append(GraspFileError(f"not a readable tar archive ({one_line(error, 120)})", path=shard))
    index = shards[0].parent / INDEX_NAME
    if index.exists() and {*index.parent.glob("*.tar")} <= {*shards}:
        problems += _index_problems(index, entries)
    return sorted(entries, key=lambda entry: (entry.name, entry.path)), problems


def _members(shard: Path) -> Iterator[Entry]:
    if not shard.is_file():
        raise ValueError("not a regular file")
    with tarfile.open(shard, "r:") as archive:
        for number, info in enumerate(archive):
            if number == _MOST_MEMBERS:
                raise ValueError(f"more than {_MOST_MEMBERS} members")
            if info.isreg() and info.name.endswith(GRASP_SUFFIX):
                span = (info.offset_data, -1 if info.issparse() else info.size)
                yield Entry(shard, info.name.removesuffix(GRASP_SUFFIX), span=span)


def _index_problems(path: Path, entries: Iterable[Entry]) -> Iterator[GraspFileError]:
    try:
        index = read_json_map(path)
        if not all(type(number) is int for number in index.values()):
            raise ValueError("not {uuid: number of the shard}")
    except (OSError, ValueError) as error:
        yield GraspFileError(f"no index of shards ({one_line(error, 120)})", path=path)
        return
    held = {(entry.name, int(found[1])) for entry in entries if (found := _SHARD_NAME.fullmatch(entry.path.name))}
    for uuid, number in index.items():
        if (uuid, number) not in held:
            yield GraspFileError(f"lists {ascii(uuid)[:80]} in shard {number}, which does not hold it", path=path)


def _read_member(entry: Entry) -> ObjectGrasps:
    return object_grasps(entry.shown, parse_document(entry.shown, _content(entry)))


def _content(entry: Entry) -> bytes:
    offset, size = entry.span or (0, -1)
    if not 0 <= size <= LARGEST_FILE:
        raise GraspFileError(f"is sparse or larger than {LARGEST_FILE >> 20} MiB", path=entry.shown)
    try:
        with entry.path.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) != size:
            raise ValueError("the shard ends in the middle of it")
        require_few_values(content)
    except (OSError, ValueError) as error:
        raise GraspFileError(f"cannot be read ({one_line(error)})", path=entry.shown) from error
    return content


_FOUND_AGAIN = re.compile(r"(?!__[^/]*__(/|$))(?:[^\n]*/)?[^./\n]+")
"""Names that the webdataset library returns as the key of a sample: no dot behind the last slash, and none of its own keys."""


def shard_uuids(object_ids: Iterable[str]) -> dict[str, str]:
    """Object id -> uuid: the id without suffix if the library finds that name and no other object has it, else the base name without dots,
    and a digest of the id. The order of the ids does not matter."""
    bare = {object_id: _bare(object_id) for object_id in object_ids}
    claims = Counter(bare.values())
    alone = {object_id: claims[name] == 1 and _FOUND_AGAIN.fullmatch(name) for object_id, name in bare.items()}
    return {object_id: name if alone[object_id] else _marked(object_id) for object_id, name in bare.items()}


def _bare(object_id: str) -> str:
    return object_id.removesuffix(PurePosixPath(object_id).suffix)


def _marked(object_id: str) -> str:
    stem = re.sub(r"\W", "_", PurePosixPath(_bare(object_id)).name)[:80].strip("_") or "object"
    return f"{stem}-{hashlib.sha256(object_id.encode()).hexdigest()[:12]}"


def _write_shards(folder: Path, members: Iterable[tuple[str, bytes]], objects_per_shard: int) -> dict[str, Path]:
    """Writes (uuid, content) in the given order, and the index last, so that the index never lists a missing member."""
    index: dict[str, int] = {}
    iterator = iter(members)
    for number in count():
        first = next(iterator, None)
        if first is None:
            break
        with atomic_file(_shard(folder, number)) as file, tarfile.open(fileobj=file, mode="w") as archive:
            for uuid, content in chain((first,), islice(iterator, objects_per_shard - 1)):
                archive.addfile(_header(uuid, len(content)), io.BytesIO(content))
                index[uuid] = number
    if index:
        write_json_map(folder / INDEX_NAME, index)
    return {uuid: _shard(folder, number) for uuid, number in index.items()}


def _shard(folder: Path, number: int) -> Path:
    return folder / f"shard_{number:03d}.tar"


def _header(uuid: str, size: int) -> tarfile.TarInfo:
    """A member's header without owner and with a fixed time, so that the same data give the same bytes."""
    info = tarfile.TarInfo(f"{uuid}{GRASP_SUFFIX}")
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info


FORMAT = GraspFormat(
    suffixes=(".tar",),
    read=_read_member,
    list_files=_list_shards,
    encode=content_of,
    trainer_reads=True,
    archive=Archive(names=shard_uuids, write=_write_shards),
)
