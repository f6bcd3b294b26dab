"""Files in folders that belong to the user: nothing that differs is replaced unasked."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from graspgen_cli.errors import OutputError
from graspgen_cli.files import write_atomically


class Placed(StrEnum):
    """What was done with a file."""

    WRITTEN = "written"
    KEPT = "kept"
    """It was there already, with the same content."""
    DIFFERS = "differs"
    """It was there with other content, and was left alone."""


def place_file(path: Path, text: str, *, overwrite: bool, mode: int = 0o644) -> Placed:
    """Writes a file, with these permissions; one that is there with other content only where `overwrite` says so. Raises OutputError."""
    content = text.encode()
    try:
        existing = path.read_bytes() if path.exists() else None
        if existing is not None and existing != content and not overwrite:
            return Placed.DIFFERS
        if existing != content:
            write_atomically(path, content)
        path.chmod(mode)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); check the permissions") from error
    return Placed.KEPT if existing == content else Placed.WRITTEN
