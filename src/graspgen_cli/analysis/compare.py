"""Two sets of grasps side by side: grasp by grasp where poses are equal, and object by object."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graspgen_cli.analysis.analyze import LOST_WORKER, worker
from graspgen_cli.analysis.counts import OutcomeCounts, count_grasps, rate_interval
from graspgen_cli.dataset.collection import Collection, open_collection, read_entry
from graspgen_cli.dataset.provenance import recorded_steps
from graspgen_cli.errors import GraspFileError, GripperError, SettingsError
from graspgen_cli.formats.format import Entry
from graspgen_cli.grippers.export import gripper_document
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.records import Floats, Outcome
from graspgen_cli.running.processes import run_in_chunks
from graspgen_cli.settings.commands import CompareCommand

SAME = 1e-5
"""Poses are equal if the root of the summed squared differences of their entries is smaller: 10 µm and 10 µrad. Files hold 10 nm; single
precision and quaternions are less exact."""

Confusion = NDArray[np.int64]
"""(5, 5): number of matched grasps by outcome in the first set (rows) and in the second (columns), in the order of `Outcome`."""


@dataclass(frozen=True)
class Agreement:
    """matched: grasps in both sets. tested: those with a trial in both. agreed: those whose trials both held, or both did not."""

    matched: int
    tested: int
    agreed: int

    @property
    def rate(self) -> float:
        """Share of the tested grasps that agreed, 0 to 1; NaN without any."""
        return self.agreed / self.tested if self.tested else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the rate."""
        return rate_interval(self.agreed, self.tested)


def agreement(confusion: Confusion) -> Agreement:
    """The agreement of the trials in a table of outcomes."""
    tried = [Outcome.HELD, Outcome.DROPPED, Outcome.UNSTABLE]
    both = confusion[np.ix_(tried, tried)]
    return Agreement(int(confusion.sum()), int(both.sum()), int(both[0, 0] + both[1:, 1:].sum()))


@dataclass(frozen=True, eq=False)
class ObjectComparison:
    """One object in both sets."""

    object_id: str
    first: OutcomeCounts
    second: OutcomeCounts
    gripper_first: str
    gripper_second: str
    confusion: Confusion

    @property
    def change(self) -> float:
        """Held rate in the second set less the rate in the first; NaN without a tested grasp in one of them."""
        return self.second.held_rate - self.first.held_rate

    @property
    def beyond_chance(self) -> bool:
        """Whether the 95 % intervals of the two rates do not overlap."""
        (low, high), (other_low, other_high) = (rate_interval(counts.held, counts.tested) for counts in (self.first, self.second))
        return high < other_low or other_high < low


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`. differing: differences of grippers and settings, as (name, first, second). broken: unreadable files."""

    objects: tuple[ObjectComparison, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    differing: tuple[tuple[str, str, str], ...]
    broken: tuple[str, ...]

    @property
    def confusion(self) -> Confusion:
        """The table of all objects."""
        return np.sum([_empty_confusion(), *(each.confusion for each in self.objects)], axis=0)

    @property
    def agreement(self) -> Agreement:
        """The agreement over all objects."""
        return agreement(self.confusion)

    @property
    def moved(self) -> list[ObjectComparison]:
        """The objects by change of the held rate, the largest first; objects without a rate in both sets last."""
        return sorted(self.objects, key=lambda each: (-abs(each.change) if not math.isnan(each.change) else 1.0, each.object_id))


def _empty_confusion() -> Confusion:
    return np.zeros((len(Outcome), len(Outcome)), np.int64)


class _Key(NamedTuple):
    """Entries with the same key are compared."""

    gripper: str
    object_id: str
    scale: float


def compare_datasets(settings: CompareCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> Comparison:
    """Compares the objects of both collections. on_start gets the number of files, on_object the name of each.

    Objects match by id and scale and, if a collection has several grippers, by gripper. Raises InputError for a path without grasps,
    SettingsError unless there are two paths.
    """
    paths, workers = settings.inputs.paths, settings.execution.workers
    if len(paths) != 2:
        raise SettingsError(f"compare takes two datasets, not {len(paths)}; name the first and the second")
    collections = open_collection(paths[0]), open_collection(paths[1])
    on_start(sum(len(each.entries) for each in collections))
    (keys, broken), (other_keys, other_broken) = (_keys(each, workers, on_object) for each in collections)
    if all(len({key.gripper for key in each}) == 1 for each in (keys, other_keys)):
        keys, other_keys = ({key._replace(gripper=""): entry for key, entry in each.items()} for each in (keys, other_keys))
    pairs = [(keys[key], other_keys[key]) for key in sorted(keys.keys() & other_keys.keys())]
    compared = {pair: result for pair, result in run_in_chunks(pairs, worker, (_compare,), workers=workers) if result is not None}
    return Comparison(
        objects=tuple(compared[pair] for pair in pairs if pair in compared),
        only_first=tuple(sorted(key.object_id for key in keys.keys() - other_keys.keys())),
        only_second=tuple(sorted(key.object_id for key in other_keys.keys() - keys.keys())),
        differing=_differing(*pairs[0]) if pairs else (),
        broken=(*broken, *other_broken),
    )


def _keys(collection: Collection, workers: int, on_object: Callable[[str], None]) -> tuple[dict[_Key, Entry], list[str]]:
    """The first file of each key, and the unreadable files."""
    keys: dict[_Key, Entry] = {}
    broken = [error.summary for error in collection.damaged]
    found = dict(run_in_chunks(collection.entries, worker, (_read_key,), workers=workers))
    for entry in collection.entries:
        key = found[entry] or f"{entry.shown}: {LOST_WORKER}"
        on_object(entry.name)
        if isinstance(key, _Key):
            keys.setdefault(key, entry)
        else:
            broken.append(key)
    return keys, broken


def _read_key(entry: Entry) -> _Key | str:
    """The key of an entry, or why the file cannot be read."""
    try:
        dataset = read_entry(entry).dataset
    except GraspFileError as error:
        return error.summary
    return _Key(entry.gripper or dataset.gripper_name, dataset.object_id, dataset.scale)


def _compare(pair: tuple[Entry, Entry]) -> ObjectComparison:
    found, other = (read_entry(entry) for entry in pair)
    left, right = match_poses(found.pose_graspgen_in_object, other.pose_graspgen_in_object)
    first, second = found.dataset, other.dataset
    return ObjectComparison(
        object_id=first.object_id,
        first=count_grasps(first.grasps),
        second=count_grasps(second.grasps),
        gripper_first=first.gripper_name,
        gripper_second=second.gripper_name,
        confusion=confusion_of(first.grasps.outcome[left], second.grasps.outcome[right]),
    )


def match_poses(first: Floats, second: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the equal poses of two sets (N, 4, 4) and (M, 4, 4); each pose is in one pair at most, copies are paired in order."""
    entries = [poses[:, :3].reshape(len(poses), 12) for poses in (first, second)]
    if not len(first) or not len(second):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    # Copies within a set become one place, so that the search meets each place once.
    (places, first_group), (others, second_group) = (_grouped(each) for each in entries)
    distance, nearest = cKDTree(others).query(places, distance_upper_bound=SAME)
    pairs = [
        (int(i), int(j))
        for group in np.argsort(distance, kind="stable")
        if np.isfinite(distance[group])
        for i, j in zip(first_group[group], second_group.pop(int(nearest[group]), ()), strict=False)
    ]
    pairs.sort()
    left, right = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(left, np.intp), np.array(right, np.intp)


def _grouped(entries: Floats) -> tuple[Floats, dict[int, Sequence[int]]]:
    """The distinct rows, and the indices of each."""
    distinct, where = np.unique(entries, axis=0, return_inverse=True)
    order = np.argsort(where.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(where.reshape(-1), minlength=len(distinct)))[:-1]
    return distinct, dict(enumerate(part.tolist() for part in np.split(order, ends)))


def confusion_of(first: NDArray[np.int8], second: NDArray[np.int8]) -> Confusion:
    """The table of two rows of outcomes (N,)."""
    table = _empty_confusion()
    np.add.at(table, (first, second), 1)
    return table


# --- differences of grippers and settings ------------------------------------------------------------------------------------------------

_Difference = tuple[str, str, str]
_UNKNOWN = "unknown"


def _differing(first: Entry, second: Entry) -> tuple[_Difference, ...]:
    """The differences between two files, which stand for all files."""
    one, other = read_entry(first).dataset, read_entry(second).dataset
    sizes = ("gripper_name", "gripper_width", "gripper_depth")
    found = _rows("", *({name.replace("_", " "): getattr(each, name) for name in sizes} for each in (one, other)))
    if one.gripper_name != other.gripper_name:
        found += _gripper_rows(one.gripper_name, other.gripper_name)
    for part in ("guess", "simulation"):
        steps = [recorded_steps(each).get(part) for each in (one, other)]
        found += sorted(_rows(f"{part}: ", *(step.settings if step else {} for step in steps)))
        found += sorted(_rows(f"{part}: ", *(step.versions if step else {} for step in steps)))
    return tuple(found)


def _gripper_rows(first: str, second: str) -> list[_Difference]:
    """The differences of two measured grippers, if both are known by name."""
    try:
        documents = [gripper_document(load_gripper(name)) for name in (first, second)]
    except GripperError:
        return []
    one, other = ({name.replace("_", " "): value for name, value in each.items() if isinstance(value, int | float)} for each in documents)
    return _rows("gripper: ", one, {name: other.get(name) for name in one})


def _rows(prefix: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[_Difference]:
    """The values that differ; NaN and None are both unknown."""
    pairs = {name: (first.get(name), second.get(name)) for name in {**first, **second}}
    shown = {name: (_shown(one), _shown(other)) for name, (one, other) in pairs.items() if one != other}
    return [(f"{prefix}{name}", *texts) for name, texts in shown.items() if texts != (_UNKNOWN, _UNKNOWN)]


def _shown(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return _UNKNOWN
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
