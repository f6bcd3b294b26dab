"""Writes files in one step, reads files of unknown origin within bounds, and names the cache folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import orjson

from graspgen_cli.errors import OutputError, one_line

LARGEST_FILE = 1 << 28
"""bytes: a larger JSON file is refused rather than read into memory."""
MOST_VALUES = 8_000_000
"""Values in a JSON file. A value takes 30 to 230 bytes of memory; a grasp has 25 values."""
CACHE_VARIABLE = "GRASPGEN_CACHE_DIR"
"""Environment variable that names another cache folder."""
DEEPEST = 8
"""Levels of nesting in a YAML file."""


def default_cache() -> Path:
    """The folder that CACHE_VARIABLE names, or the user's cache folder."""
    import platformdirs

    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else platformdirs.user_cache_path("graspgen")


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file in one step (see `atomic_file`). Raises OutputError."""
    with atomic_file(path) as file:
        file.write(content)


def write_json_map(path: Path, values: Mapping[str, Any]) -> None:
    """Writes `json_map` in one step. Raises OutputError."""
    write_atomically(path, json_map(values))


def json_map(values: Mapping[str, Any]) -> bytes:
    """A JSON object with sorted keys, one line a key."""
    return orjson.dumps(dict(sorted(values.items())), option=orjson.OPT_INDENT_2) + b"\n"


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that becomes `path` when the block ends without an error. A reader, also after a crash, sees the old or the new content.

    Writes a temporary file in the same folder, synchronises it and renames it. The new file has the permissions of the old one.
    Raises OutputError.
    """
    # The leading dot and the suffix keep readers of the folder from taking the file for data.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError, advice: str = "check the disk and the permissions") -> OutputError:
    return OutputError(f"cannot be written ({one_line(error)})", path=path, advice=advice)


def _sync_folder(folder: Path) -> None:
    """Makes a rename in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Placed(StrEnum):
    """What `place_file` did with a file."""

    WRITTEN = "written"
    KEPT = "kept"
    """The file had the same content."""
    DIFFERS = "differs"
    """The file had other content and was not changed."""


def place_file(path: Path, text: str, *, overwrite: bool, mode: int = 0o644) -> Placed:
    """Writes a file of the user with these permissions. Replaces other content only with `overwrite`. Raises OutputError."""
    content = text.encode()
    try:
        existing = path.read_bytes() if path.exists() else None
        if existing is not None and existing != content and not overwrite:
            return Placed.DIFFERS
        if existing != content:
            write_atomically(path, content)
        path.chmod(mode)
    except OSError as error:
        raise _unwritable(path, error, "check the permissions") from error
    return Placed.KEPT if existing == content else Placed.WRITTEN


def read_bounded(path: Path, *, largest: int = LARGEST_FILE) -> bytes:
    """The content of a file of JSON or text from an unknown source.

    Raises ValueError, with a reason that fits behind the file's name, for anything but a regular file, and for a file whose values would
    not fit in memory; OSError if the file cannot be read.
    """
    # Opening a pipe would block for ever, and a device may never end.
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file")
    content = b""
    if status.st_size <= largest:
        with path.open("rb") as file:
            # read(largest) would map that much memory for any file. A file that grows meanwhile is longer than its status says.
            content = file.read(status.st_size + 1)
            content += file.read(largest + 1 - len(content)) if len(content) > status.st_size else b""
    if max(len(content), status.st_size) > largest:
        raise ValueError(f"is larger than {largest >> 10} KiB" if largest < 1 << 20 else f"is larger than {largest >> 20} MiB")
    require_few_values(content)
    return content


def require_few_values(content: bytes) -> None:
    """Raises ValueError if a JSON text has more than MOST_VALUES values."""
    # Every value has a mark before it, so a text of fewer bytes needs no count.
    if len(content) > MOST_VALUES and sum(content.count(mark) for mark in (b"[", b"{", b",")) > MOST_VALUES:
        raise ValueError(f"holds more than {MOST_VALUES} values")


def read_json_map(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError if there is none, OSError if the file cannot be read."""
    try:
        values = orjson.loads(read_bounded(path))
    except (RecursionError, MemoryError) as error:
        raise ValueError("is nested too deep") from error
    if not isinstance(values, dict):
        raise ValueError("is not a JSON object")
    return values


def read_json_map_if_sound(path: Path) -> dict[str, Any]:
    """The JSON object in a file that can be made again; empty if the file is missing or broken."""
    try:
        return read_json_map(path)
    except (OSError, ValueError):
        return {}


def read_ahead(path: Path) -> None:
    """Asks the system to fetch a file that will be read soon. Ignores files that `read_bounded` refuses."""
    if not hasattr(os, "posix_fadvise"):
        return
    with contextlib.suppress(OSError):
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_FILE:
            with path.open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, status.st_size, os.POSIX_FADV_WILLNEED)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files of killed runs. No other process may write into the folder meanwhile."""
    for path in folder.glob(".*.tmp") if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            path.unlink()


def append_line(path: Path, line: bytes) -> None:
    """Appends a line to a log; lines of several processes stay whole. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            file.write(line + b"\n")
    except OSError as error:
        raise _unwritable(path, error) from error


def require_writable(folder: Path) -> None:
    """Makes the folder and checks that a file can be made in it. Raises OutputError."""
    probe = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise _unwritable(folder, error, "choose another --grasp-dataset") from error


def load_plain_yaml(content: bytes, *, deepest: int = DEEPEST) -> Any:
    """The values of a YAML text in UTF-8.

    Checks the text event by event before it builds a value: no references, which could stand for more than memory holds, a limited depth
    and number of values. Raises ValueError with a reason that fits behind the file's name.
    """
    import yaml

    # The C parser is ten times as fast; both refuse every tag that could build an object.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = content.decode("utf-8-sig")
        depth = 0
        for values, event in enumerate(yaml.parse(text, Loader=loader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"line {event.start_mark.line + 1} refers to another value (*{event.anchor}); write it out")
            if depth > deepest or values > MOST_VALUES:
                raise ValueError(f"nested more than {deepest} deep, or more than {MOST_VALUES} values")
        return loader(text).get_single_data()
    except (yaml.YAMLError, RecursionError, MemoryError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = f"line {mark.line + 1}: {getattr(error, 'problem', None)}" if mark else one_line(error, 160)
        raise ValueError(f"not valid YAML: {reason}") from error
