"""WebDataset shards as GraspGen reads them: ``shard_000.tar``, …, each with members ``<uuid>.grasps.json``, and ``uuid_index.json``.

GraspGen looks a uuid up in the index ({uuid: number of the shard}) and goes through that shard until a sample has the uuid as its key.
The webdataset library cuts a member's name at the first dot behind the last slash, so a uuid with a dot there is never found.

Writes WebDataset shards: the same data give the same bytes, and the index comes last, so that it never lists what is not there."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from graspgen_cli.errors import GraspFileError
from graspgen_cli.files import LARGEST_FILE, MOST_VALUES, atomic_file, read_bounded, write_atomically
from graspgen_cli.formats.graspgen_json import decode, parse_document, require_intact
from graspgen_cli.formats.object_grasps import GRASP_SUFFIX, DamagedFile
from graspgen_cli.records import GraspDataset

INDEX_NAME = "uuid_index.json"
_SHARD_NAME = re.compile(r"shard_(\d{3,})\.tar")
_MOST_MEMBERS = 1_000_000


@dataclass(frozen=True)
class Member:
    """One object's grasps within a shard: where the bytes are, so that they can be read without going through the shard.

    uuid: the member's name without the ending. offset, size: bytes.
    """

    shard: Path
    uuid: str
    offset: int
    size: int

    @property
    def path(self) -> Path:
        """The member as if the shard were a folder, for messages."""
        return self.shard / f"{self.uuid}{GRASP_SUFFIX}"


def list_shard(shard: Path) -> tuple[list[Member], list[DamagedFile]]:
    """The members that hold grasps, in the shard's order, and what is wrong with the shard. Nothing is unpacked: names of members are
    never used as paths."""
    members: list[Member] = []
    try:
        for member in _members(shard):
            if len(members) == _MOST_MEMBERS:
                raise ValueError(f"more than {_MOST_MEMBERS} members")
            members.append(member)
    except (OSError, tarfile.TarError, ValueError, OverflowError, RecursionError, MemoryError, EOFError) as error:
        problem = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        return members, [DamagedFile(shard, f"not a readable tar archive ({problem[:120]})")]
    return members, []


def _members(shard: Path) -> Iterator[Member]:
    if not shard.is_file():
        raise ValueError("not a regular file")
    with tarfile.open(shard, "r:") as archive:
        for info in archive:
            if info.isreg() and info.name.endswith(GRASP_SUFFIX):
                yield Member(shard, info.name.removesuffix(GRASP_SUFFIX), info.offset_data, -1 if info.issparse() else info.size)


def list_shards(folder: Path) -> tuple[list[Member], list[DamagedFile]]:
    """The members of all shards of a folder, by uuid, and what is wrong: shards that cannot be read, and where the index and the shards
    disagree."""
    members: list[Member] = []
    damaged: list[DamagedFile] = []
    for shard in sorted(folder.glob("*.tar")):
        found, wrong = list_shard(shard)
        members += found
        damaged += wrong
    if (folder / INDEX_NAME).exists():
        damaged += _index_problems(folder / INDEX_NAME, members)
    return sorted(members, key=lambda member: (member.uuid, member.shard)), damaged


def _index_problems(path: Path, members: Iterable[Member]) -> Iterator[DamagedFile]:
    try:
        index: Any = orjson.loads(read_bounded(path))
        if not isinstance(index, dict) or not all(type(number) is int for number in index.values()):
            raise ValueError("not {uuid: number of the shard}")
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        yield DamagedFile(path, f"no index of shards ({getattr(error, 'strerror', None) or ' '.join(str(error).split())[:120]})")
        return
    held = {(member.uuid, int(found[1])) for member in members if (found := _SHARD_NAME.fullmatch(member.shard.name))}
    for uuid, number in index.items():
        if (uuid, number) not in held:
            yield DamagedFile(path, f"lists {ascii(uuid)[:80]} in shard {number}, which does not hold it")


def read_member(member: Member) -> tuple[GraspDataset, dict[str, Any]]:
    """The grasps of a member, and the document that holds them. Raises GraspFileError."""
    document = parse_document(member.path, _content(member))
    require_intact(member.path, document)
    return decode(member.path, document), document


def _content(member: Member) -> bytes:
    if not 0 <= member.size <= LARGEST_FILE:
        raise GraspFileError(f"{member.path}: is sparse or larger than {LARGEST_FILE >> 20} MiB")
    try:
        with member.shard.open("rb") as file:
            file.seek(member.offset)
            content = file.read(member.size)
    except OSError as error:
        raise GraspFileError(f"{member.path}: cannot be read ({error.strerror})") from error
    if len(content) != member.size:
        raise GraspFileError(f"{member.path}: the shard ends in the middle of it")
    if sum(content.count(mark) for mark in (b"[", b"{", b",")) > MOST_VALUES:
        raise GraspFileError(f"{member.path}: holds more than {MOST_VALUES} values")
    return content


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
