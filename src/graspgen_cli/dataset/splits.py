"""Training and validation lists: ``splits/<gripper>/train.txt`` and ``valid.txt``, one object id a line, UTF-8.

GraspGen's data loader opens both files, strips each line and skips the blank ones; every other line is an object id to it. The lists also
belong to the user: existing lines stay, new lines are appended.
"""

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

TRAIN_FILE = "train.txt"
VALID_FILE = "valid.txt"
PATIENCE = 10.0
"""s that a regular expression may take over all object ids: a bad one would take years."""
_COMMENT = "#"
_MARK = "\0"
"""Begins the name of a group; no object id has it."""


def group_objects(object_ids: Sequence[str], *, by_folder: bool = False, by_regex: str | None = None) -> dict[str, str]:
    """Object id -> name of its group. An object outside any group is a group of its own.

    by_folder: the objects of one folder are a group, except at the top. by_regex: objects with the same found text are a group: the first
    parenthesised group of the expression, else the whole match. Raises SettingsError for an expression that takes too long.
    """
    found = [""] * len(object_ids)
    if by_folder:
        found = [str(folder) if (folder := PurePosixPath(object_id).parent).parts else "" for object_id in object_ids]
    elif by_regex is not None:
        found = _find_in_time(by_regex, list(object_ids))
    return {object_id: _MARK + text if text else object_id for object_id, text in zip(object_ids, found, strict=True)}


def _find_in_time(pattern: str, object_ids: list[str]) -> list[str]:
    """`find_texts` in a process of its own, since nothing else can stop Python's matching."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            return pool.apply_async(find_texts, (pattern, object_ids)).get(PATIENCE)
        except multiprocessing.TimeoutError:
            reason = f"--by-regex: {pattern!a} takes more than {PATIENCE:g} s on the names of {len(object_ids)} objects"
            raise SettingsError(reason, advice="make it simpler, without a repetition within a repetition") from None


def find_texts(pattern: str, object_ids: Iterable[str]) -> list[str]:
    """The first group of the expression in each id, or the whole match if the group or the expression has none; empty without a match."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expression = re.compile(pattern)
    matches = (expression.search(object_id) for object_id in object_ids)
    return [(match[1] or match[0] if expression.groups else match[0]) if match else "" for match in matches]


@dataclass(frozen=True)
class SplitPlan:
    """The lines to append, and the listed ids without a known object (`missing`); all distinct and sorted."""

    new_train: tuple[str, ...]
    new_valid: tuple[str, ...]
    missing: tuple[str, ...]


def assign_splits(
    object_ids: Sequence[str],
    *,
    existing_train: Sequence[str],
    existing_valid: Sequence[str],
    fraction: float,
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> SplitPlan:
    """Divides the unlisted objects between training and validation; listed objects never change sides.

    groups: object id -> name of its group, of listed and new objects; default: each object is a group. New members of a group follow its
    listed members. Every other group has its place in a row, by SHA-256 of the seed and its name; in that order a group goes to validation
    if this brings validation closer to `fraction` (0 to 1) of all objects, rounded. With 0 < fraction < 1 and two objects or more, new
    groups leave neither side empty if they can prevent it. An object in both lists, as GraspGen allows, counts as validation.

    So lists of a larger set differ from earlier lists only at the boundary in that row.
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
    """The groups (name -> number of objects) for validation, beside objects with a fixed side."""
    row = sorted(sizes, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())
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


def update_splits(
    folder: Path, object_ids: Sequence[str], *, fraction: float, seed: int, by_folder: bool = False, by_regex: str | None = None
) -> SplitPlan:
    """Appends the unlisted objects to the lists in `folder`, each in one step.

    Makes missing lists, since the trainer opens both; leaves a list without new lines alone. Lines that start with ``#`` are no objects,
    although the trainer takes them for some.

    Raises InputError for a list that cannot be read or an id that a line cannot hold, OutputError for a list that cannot be written.
    """
    for object_id in object_ids:
        line = object_id.encode(errors="replace").decode()
        if _listed_ids(line, known=[object_id]) != [object_id]:
            reason = f"a split file cannot hold the object id {object_id!a}"
            raise InputError(reason, path=folder, advice="rename the object, without a line break and without spaces at its ends")
    train, valid = _read(folder / TRAIN_FILE), _read(folder / VALID_FILE)
    in_train, in_valid = (_listed_ids(text or "", known=object_ids) for text in (train, valid))
    groups = group_objects(sorted({*object_ids, *in_train, *in_valid}), by_folder=by_folder, by_regex=by_regex)
    plan = assign_splits(object_ids, existing_train=in_train, existing_valid=in_valid, fraction=fraction, seed=seed, groups=groups)
    _append(folder / TRAIN_FILE, train, plan.new_train)
    _append(folder / VALID_FILE, valid, plan.new_valid)
    return plan


def _read(path: Path) -> str | None:
    """The text with its line ends, or None without a file."""
    try:
        return read_bounded(path).decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", path=path, advice="save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=path, advice="check the path and its permissions") from error
    except ValueError as error:
        raise InputError(f"cannot be read (it {error})", path=path, advice="a list has one object id a line") from error


def listed_objects(folder: Path, *, known: Sequence[str]) -> tuple[list[str], list[str]]:
    """The ids in both lists, as the trainer reads them; empty without a list. known: object ids, which may start with ``#``.

    Raises InputError for a list that cannot be read.
    """
    train, valid = (_listed_ids(_read(folder / name) or "", known=known) for name in (TRAIN_FILE, VALID_FILE))
    return train, valid


def _listed_ids(text: str, *, known: Sequence[str]) -> list[str]:
    names = set(known)
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return [line for line in lines if line and (not line.startswith(_COMMENT) or line in names)]


def translated_list(path: Path, names: Mapping[str, str]) -> bytes:
    """The content of a list with new names of objects; other lines stay. Raises InputError for a list that cannot be read."""
    lines = (_read(path) or "").splitlines(keepends=True)
    texts = [line.rstrip("\r\n") for line in lines]
    return "".join(names.get(line.strip(), text) + line[len(text) :] for line, text in zip(lines, texts, strict=True)).encode()


def _append(path: Path, text: str | None, new: Sequence[str]) -> None:
    if text is not None and not new:
        return
    text = text or ""
    end = "\r\n" if "\r\n" in text else "\n"
    glue = end if text and not text.endswith(("\n", "\r")) else ""
    content = (text + glue + "".join(f"{line}{end}" for line in new)).encode()
    # Through a link, to its target.
    write_atomically(path.resolve(), content)
