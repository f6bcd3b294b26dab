"""The one way in which files of a dataset are written and read, and the folder of what is kept from run to run.

YAML that anybody may have written, as plain values."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from graspgen_cli.errors import OutputError

LARGEST_FILE = 1 << 28
"""bytes: a larger JSON file is refused rather than read into memory."""
MOST_VALUES = 8_000_000
"""Values in a JSON file, which take 30 to 230 bytes of memory each. A grasp takes 25 of them."""
CACHE_VARIABLE = "GRASPGEN_CACHE_DIR"
"""Names the cache folder in the place of the user's."""


def default_cache() -> Path:
    """The user's cache folder, or what CACHE_VARIABLE names."""
    import platformdirs

    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else platformdirs.user_cache_path("graspgen")


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file in one step (see `atomic_file`). Raises OutputError naming the file."""
    with atomic_file(path) as file:
        _write_through(file, content)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into that becomes `path` where the block ends well, so that a reader, or a crash at any moment, sees the old
    content or the new, never a part: a temporary file in the same folder, synchronised, then renamed over the old one, whose
    permissions it has. Raises OutputError naming the file."""
    # The name starts with a dot and does not end in .json, so that no reader of the folder takes it for data.
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
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); check the disk and the permissions") from error


def read_bounded(path: Path, *, largest: int = LARGEST_FILE) -> bytes:
    """The content of a file of JSON or text that anybody may have written.

    Raises ValueError, in a few words to be put behind the file's name, for what is no file or would not fit in memory once it is
    parsed; OSError where it cannot be read.
    """
    # Opening a pipe would wait for ever, and a device may never end.
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file")
    content = b""
    if status.st_size <= largest:
        with path.open("rb") as file:
            # To ask for the largest size would have all that memory mapped, however small the file is. One that still grows is longer.
            content = file.read(status.st_size + 1)
            content += file.read(largest + 1 - len(content)) if len(content) > status.st_size else b""
    if max(len(content), status.st_size) > largest:
        raise ValueError(f"is larger than {largest >> 10} KiB" if largest < 1 << 20 else f"is larger than {largest >> 20} MiB")
    # Every value has a mark before it, so a file of fewer bytes than that need not be searched for them.
    if len(content) > MOST_VALUES and sum(content.count(mark) for mark in (b"[", b"{", b",")) > MOST_VALUES:
        raise ValueError(f"holds more than {MOST_VALUES} values")
    return content


def read_ahead(path: Path) -> None:
    """Asks the system to fetch a file that is read soon, so that nobody waits for the disk then. Does nothing where that cannot be asked,
    or the file is none that `read_bounded` would read."""
    if not hasattr(os, "posix_fadvise"):
        return
    with contextlib.suppress(OSError):
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_FILE:
            with path.open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, status.st_size, os.POSIX_FADV_WILLNEED)


def _write_through(file: IO[bytes], content: bytes) -> None:
    file.write(content)


def _sync_folder(folder: Path) -> None:
    """Makes a rename in the folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that a killed run left in the folder. Only for a folder in which nobody else writes."""
    for path in folder.glob(".*.tmp") if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            path.unlink()


def append_line(path: Path, line: bytes) -> None:
    """Adds a line to a log, whole even where several processes write at once. Raises OutputError naming the file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            file.write(line + b"\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); check the disk and the permissions") from error


def require_writable(folder: Path) -> None:
    """Makes the folder and proves that files can be made in it, before long work starts. Raises OutputError."""
    probe = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}); choose another --grasp-dataset") from error


DEEPEST = 8


def load_plain_yaml(content: bytes, *, deepest: int = DEEPEST) -> Any:
    """The values of a YAML text in UTF-8.

    It is looked at event by event before anything is built from it: no references, for they can stand for more than memory holds, no
    depth, and no more values than JSON may have. Raises ValueError, in a few words to be put behind the file's name.
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
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())[:160] or type(error).__name__}") from error
