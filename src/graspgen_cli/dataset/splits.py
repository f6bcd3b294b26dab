"""Which objects belong together, so that variants of one object do not stand on both sides of a split.

Training and validation lists: ``splits/<gripper>/train.txt`` and ``valid.txt``, one object id a line, UTF-8.

GraspGen's data loader opens both files, strips each line and skips the blank ones; whatever else stands on a line is an object id
to it. The lists belong to the user as much as to this package: lines that are there stay as they are, new ones are appended."""

from __future__ import annotations

import hashlib
import multiprocessing
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from graspgen_cli.errors import InputError, SettingsError
from graspgen_cli.files import read_bounded, write_atomically

PATIENCE = 10.0
"""s that a regular expression may take over all object ids: a badly made one would run for years."""
_MARK = "\0"
"""No object id has it, so no group is called like an object that is a group of its own."""


def group_objects(object_ids: Sequence[str], *, by_folder: bool = False, by_regex: str | None = None) -> dict[str, str]:
    """Object id -> name of its group. Objects without a group, and all where neither way is asked for, are groups of their own.

    by_folder: objects in one folder are a group; those at the top, in no folder, are not.
    by_regex: objects of which the expression finds the same text are a group: its first group in parentheses, else all that it finds.
    Raises SettingsError where the expression takes too long.
    """
    if by_folder:
        return {object_id: _folder(object_id) for object_id in object_ids}
    if by_regex is not None:
        found = _found_in_time(by_regex, list(object_ids))
        return {object_id: _MARK + text if text else object_id for object_id, text in zip(object_ids, found, strict=True)}
    return {object_id: object_id for object_id in object_ids}


def _folder(object_id: str) -> str:
    folder = PurePosixPath(object_id).parent
    return _MARK + str(folder) if folder.parts else object_id


def _found_in_time(pattern: str, object_ids: list[str]) -> list[str]:
    """What the expression finds in each id. In a process of its own, for nothing else can stop Python's matching."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            return pool.apply_async(find_texts, (pattern, object_ids)).get(PATIENCE)
        except multiprocessing.TimeoutError:
            raise SettingsError(
                f"--by-regex: {pattern!a} takes more than {PATIENCE:g} s on the names of {len(object_ids)} objects; "
                "make it simpler, without a repetition within a repetition"
            ) from None


def find_texts(pattern: str, object_ids: Iterable[str]) -> list[str]:
    """For each id the first group of the expression, or all that it finds where it has no group; empty where it finds nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expression = re.compile(pattern)
    matches = (expression.search(object_id) for object_id in object_ids)
    return [(match[1] or match[0] if expression.groups else match[0]) if match else "" for match in matches]


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
    object_ids: Sequence[str],
    *,
    existing_train: Sequence[str],
    existing_valid: Sequence[str],
    fraction: float,
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> SplitPlan:
    """Divide the objects that are in neither list yet between training and validation.

    groups: object id -> name of its group, for every object, listed or new; by default each object is a group of its own. What is
    new of a group goes where the group's listed members are.

    Every other group has a fixed place in a row, given by SHA-256 of the seed and its name. In that order each goes to validation if
    this brings validation nearer to `fraction` (0 to 1) of all objects, listed or new, rounded to a whole number; with
    0 < fraction < 1 and two objects or more, neither side is left empty where the new groups can prevent it. Listed objects never
    change sides: where the user has put more into validation than the fraction asks for, all new ones go to training.
    An object that is in both lists, as GraspGen allows, counts as validation.

    So without groups, lists made anew from a larger set differ from the old ones only in the objects at the boundary of that row, and
    lists that are kept do not change at all.
    """
    train, valid = set(existing_train) - set(existing_valid), set(existing_valid)
    listed = train | valid
    names = groups or {}
    members: dict[str, list[str]] = {}
    for object_id in set(object_ids) - listed:
        members.setdefault(names.get(object_id, object_id), []).append(object_id)
    known = {names.get(object_id, object_id): True for object_id in valid} | {names.get(object_id, object_id): False for object_id in train}
    for name in members.keys() & known.keys():
        (valid if known[name] else train).update(members.pop(name))
    chosen = _choose({name: len(ids) for name, ids in members.items()}, len(valid), len(train), fraction=fraction, seed=seed)
    for name, ids in members.items():
        (valid if name in chosen else train).update(ids)
    return SplitPlan(tuple(sorted(train - listed)), tuple(sorted(valid - listed)), tuple(sorted(listed - set(object_ids))))


def _choose(sizes: Mapping[str, int], in_valid: int, in_train: int, *, fraction: float, seed: int) -> set[str]:
    """The groups (name -> number of objects) that go to validation, where `in_valid` and `in_train` objects are placed already."""
    row = sorted(sizes, key=lambda name: _place(name, seed))
    count = in_valid + in_train + sum(sizes.values())
    both = 0 < fraction < 1 and count >= 2
    wanted = round(fraction * count)
    if both:
        wanted = min(max(wanted, 1), count - 1)
    chosen = []
    total = in_valid
    for name in row:
        if abs(total + sizes[name] - wanted) < abs(total - wanted):
            chosen.append(name)
            total += sizes[name]
    if both and total == 0 and len(row) > (0 if in_train else 1):
        return {min(row, key=sizes.__getitem__)}
    if both and total == count and len(chosen) > (0 if in_valid else 1):
        chosen.remove(min(reversed(chosen), key=sizes.__getitem__))
    return set(chosen)


def _place(object_id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{object_id}".encode()).digest()


def update_splits(
    folder: Path, object_ids: Sequence[str], *, fraction: float, seed: int, by_folder: bool = False, by_regex: str | None = None
) -> SplitPlan:
    """Append the objects that are not listed yet to the lists in `folder`, and return what was done.

    A list that does not exist is made, if need be empty, because the trainer opens both. A list that gains nothing is not touched.
    Each list is replaced in one step, so a reader or a crash never meets half of one. Lines that begin with ``#`` are left
    alone and not counted as objects (the trainer knows no comments and will look for such an object).

    Raises InputError for a list that cannot be read or an id that a line cannot hold, OutputError for a list that cannot be written.
    """
    _check_ids(object_ids, folder)
    train, valid = _read(folder / TRAIN_FILE), _read(folder / VALID_FILE)
    in_train, in_valid = (_listed_ids(text or "", known=object_ids) for text in (train, valid))
    every_id = sorted({*object_ids, *in_train, *in_valid})
    plan = assign_splits(
        object_ids,
        existing_train=in_train,
        existing_valid=in_valid,
        fraction=fraction,
        seed=seed,
        groups=group_objects(every_id, by_folder=by_folder, by_regex=by_regex),
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
        return read_bounded(path).decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from error
    except ValueError as error:
        raise InputError(f"{path}: cannot be read (it {error}): a list has one object id a line") from error


def listed_objects(folder: Path, *, known: Sequence[str]) -> tuple[list[str], list[str]]:
    """The ids in the training and the validation list, as the trainer reads them; none where there is no list. Raises InputError."""
    train, valid = (_listed_ids(_read(folder / name) or "", known=known) for name in (TRAIN_FILE, VALID_FILE))
    return train, valid


def _listed_ids(text: str, *, known: Sequence[str]) -> list[str]:
    """The ids on the lines of a list, as the trainer reads them, less the comments; an object may be named like a comment."""
    names = set(known)
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return [line for line in lines if line and (not line.startswith(COMMENT) or line in names)]


def translated_list(path: Path, names: Mapping[str, str]) -> bytes:
    """The content of a list with every id replaced by its name in `names`, where it has one; everything else stays. Raises InputError."""
    text = _read(path) or ""
    return "".join(_translated(line, names) for line in text.splitlines(keepends=True)).encode()


def _translated(line: str, names: Mapping[str, str]) -> str:
    end = line[len(line.rstrip("\r\n")) :]
    return names.get(line.strip(), line.removesuffix(end)) + end


def _append(path: Path, text: str | None, new: Sequence[str]) -> None:
    if text is not None and not new:
        return
    text = text or ""
    end = "\r\n" if "\r\n" in text else "\n"
    glue = end if text and not text.endswith(("\n", "\r")) else ""
    content = (text + glue + "".join(f"{line}{end}" for line in new)).encode()
    # A link goes on pointing to the file.
    write_atomically(path.resolve(), content)
