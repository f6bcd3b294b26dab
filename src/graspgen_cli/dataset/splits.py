"""Training and validation lists: ``splits/<gripper>/train.txt`` and ``valid.txt``, one object id a line, UTF-8.

GraspGen's data loader opens both files, strips each line and skips the blank ones; whatever else stands on a line is an object id
to it. The lists belong to the user as much as to this package: lines that are there stay as they are, new ones are appended.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from graspgen_cli.errors import InputError, OutputError

TRAIN_FILE = "train.txt"
VALID_FILE = "valid.txt"
COMMENT = "#"


@dataclass(frozen=True)
class SplitPlan:
    """What to append to the lists. All ids are distinct and sorted, so that the plan does not depend on the order of the objects."""

    new_train: tuple[str, ...]
    new_valid: tuple[str, ...]
    missing: tuple[str, ...]
    """Ids that are listed but belong to no known object."""


def assign_splits(
    object_ids: Sequence[str], *, existing_train: Sequence[str], existing_valid: Sequence[str], fraction: float, seed: int
) -> SplitPlan:
    """Divide the objects that are in neither list yet between training and validation.

    Every object has a fixed place in a row, given by SHA-256 of the seed and its id. Of the new objects the first in that row go to
    validation, as many as bring it to the nearest whole number to `fraction` (0 to 1) of all objects, listed or new; with
    0 < fraction < 1 and two objects or more, neither side is left empty where the new objects can prevent it. Listed objects never
    change sides: where the user has put more into validation than the fraction asks for, all new ones go to training.
    An object that is in both lists, as GraspGen allows, counts as validation.

    So lists made anew from a larger set differ from the old ones only in the objects at the boundary of that row, and lists that
    are kept do not change at all.
    """
    listed = {*existing_train, *existing_valid}
    row = sorted(set(object_ids) - listed, key=lambda object_id: _place(object_id, seed))
    count = len(listed) + len(row)
    wanted = round(fraction * count)
    if 0 < fraction < 1 and count >= 2:
        wanted = min(max(wanted, 1), count - 1)
    take = min(max(wanted - len(set(existing_valid)), 0), len(row))
    missing = listed - set(object_ids)
    return SplitPlan(tuple(sorted(row[take:])), tuple(sorted(row[:take])), tuple(sorted(missing)))


def _place(object_id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{object_id}".encode()).digest()


def update_splits(folder: Path, object_ids: Sequence[str], *, fraction: float, seed: int) -> SplitPlan:
    """Append the objects that are not listed yet to the lists in `folder`, and return what was done.

    A list that does not exist is made, if need be empty, because the trainer opens both. A list that gains nothing is not touched.
    Each list is replaced in one step, so a reader or a crash never meets half of one. Lines that begin with ``#`` are left
    alone and not counted as objects (the trainer knows no comments and will look for such an object).

    Raises InputError for a list that cannot be read or an id that a line cannot hold, OutputError for a list that cannot be written.
    """
    _check_ids(object_ids, folder)
    train, valid = _read(folder / TRAIN_FILE), _read(folder / VALID_FILE)
    plan = assign_splits(
        object_ids,
        existing_train=_listed_ids(train or "", known=object_ids),
        existing_valid=_listed_ids(valid or "", known=object_ids),
        fraction=fraction,
        seed=seed,
    )
    _append(folder / TRAIN_FILE, train, plan.new_train)
    _append(folder / VALID_FILE, valid, plan.new_valid)
    return plan


def _check_ids(object_ids: Iterable[str], folder: Path) -> None:
    for object_id in object_ids:
        line = object_id.encode(errors="replace").decode()
        if _listed_ids(line, known=[object_id]) != [object_id]:
            raise InputError(
                f"{folder}: a split file cannot hold the object id {object_id!a}: rename the object, without a line break and without "
                "spaces at its ends"
            )


def _read(path: Path) -> str | None:
    """The file's text with its line ends as they are, or None where there is no file."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from error


def _listed_ids(text: str, *, known: Sequence[str]) -> list[str]:
    """The ids on the lines of a list, as the trainer reads them, less the comments; an object may be named like a comment."""
    names = set(known)
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return [line for line in lines if line and (not line.startswith(COMMENT) or line in names)]


def _append(path: Path, text: str | None, new: Sequence[str]) -> None:
    if text is not None and not new:
        return
    text = text or ""
    end = "\r\n" if "\r\n" in text else "\n"
    glue = end if text and not text.endswith(("\n", "\r")) else ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, (text + glue + "".join(f"{line}{end}" for line in new)).encode())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}): check the folder's permissions and free space") from error


def _replace(path: Path, content: bytes) -> None:
    """Write through a temporary file beside the target, which keeps its permissions, and which a link goes on pointing to."""
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
