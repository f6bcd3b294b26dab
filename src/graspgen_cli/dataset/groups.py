"""Which objects belong together, so that variants of one object do not stand on both sides of a split."""

from __future__ import annotations

import multiprocessing
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from graspgen_cli.errors import SettingsError

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
