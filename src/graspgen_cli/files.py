"""The one way in which files of a dataset are written and read."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from graspgen_cli.errors import OutputError

LARGEST_FILE = 1 << 30
"""bytes: a larger JSON file is refused rather than read into memory."""


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a crash at any moment, sees the old content or the new, never a part: a temporary file in
    the same folder, synchronised, then renamed over the old one. Raises OutputError naming the file."""
    # The name starts with a dot and does not end in .json, so that no reader of the folder takes it for data.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); check the disk and the permissions") from error


def _sync_folder(folder: Path) -> None:
    """Makes a rename in the folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_writable(folder: Path) -> None:
    """Makes the folder and proves that files can be made in it, before long work starts. Raises OutputError."""
    probe = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}); choose another --grasp-dataset") from error
