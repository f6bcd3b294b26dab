"""Two sets of grasps side by side: grasp by grasp where the poses are the same, by object where they are not.

What `compare` does: the objects of two collections paired, and each pair compared on all cores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graspgen_cli.analysis.counts import ObjectCounts, count_grasps, rate_interval
from graspgen_cli.analysis.look import spare_the_collector
from graspgen_cli.dataset.collection import Collection, open_collection, read_entry
from graspgen_cli.errors import GraspFileError, GripperError
from graspgen_cli.formats.format import Entry, ObjectGrasps
from graspgen_cli.grippers.export import gripper_document
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.records import Floats, Outcome
from graspgen_cli.running.processes import run_in_chunks

SAME = 1e-5
"""Poses are the same grasp where the root of the summed squares of the differences of their entries is below this: 10 µm and 10 µrad.
Files hold 10 nm; tools that write single precision, or quaternions, lose some of that."""

Confusion = NDArray[np.int64]
"""(5, 5): number of matched grasps by outcome in the first set (rows) and in the second (columns), in the order of `Outcome`."""


@dataclass(frozen=True, eq=False)
class ObjectComparison:
    """One object in both sets."""

    first: ObjectCounts
    second: ObjectCounts
    gripper_first: str
    gripper_second: str
    confusion: Confusion

    @property
    def change(self) -> float:
        """Held rate in the second set less that in the first; NaN where one of them was not tested."""
        return self.second.held_rate - self.first.held_rate

    @property
    def beyond_chance(self) -> bool:
        """Whether the 95 % intervals of the two rates do not overlap."""
        (low, high), (other_low, other_high) = (rate_interval(counts.held, counts.tested) for counts in (self.first, self.second))
        return high < other_low or other_high < low


@dataclass(frozen=True)
class Agreement:
    """How often the trial of one and the same grasp ended alike. tested: matched grasps that were tried in both sets."""

    matched: int
    tested: int
    agreed: int

    @property
    def rate(self) -> float:
        """Share of the tested ones, 0 to 1; NaN without any."""
        return self.agreed / self.tested if self.tested else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return rate_interval(self.agreed, self.tested)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. differing: what is not the same of grippers and settings, as (what, first, second)."""

    objects: tuple[ObjectComparison, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    differing: tuple[tuple[str, str, str], ...]
    broken: tuple[str, ...]

    @property
    def confusion(self) -> Confusion:
        """Of all objects."""
        return np.sum([each.confusion for each in self.objects], axis=0) if self.objects else empty_confusion()

    @property
    def agreement(self) -> Agreement:
        """Of all objects."""
        return agreement(self.confusion)

    @property
    def moved(self) -> list[ObjectComparison]:
        """The objects by how much their held rate changed, the most first; those without a rate in both sets last."""
        return sorted(self.objects, key=lambda each: (-abs(each.change) if not math.isnan(each.change) else 1.0, each.first.object_id))


def empty_confusion() -> Confusion:
    """No grasps."""
    return np.zeros((len(Outcome), len(Outcome)), np.int64)


def agreement(confusion: Confusion) -> Agreement:
    """Held against not held (dropped, unstable), of the grasps that were tried in both sets."""
    tried = np.array([outcome in (Outcome.HELD, Outcome.DROPPED, Outcome.UNSTABLE) for outcome in Outcome])
    both = confusion[np.ix_(tried, tried)]
    held = int(confusion[Outcome.HELD, Outcome.HELD])
    lost = int(both.sum() - both[0].sum() - both[:, 0].sum() + both[0, 0])
    return Agreement(int(confusion.sum()), int(both.sum()), held + lost)


def match_poses(first: Floats, second: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the poses (N, 4, 4) and (M, 4, 4) that are the same; each pose is in one pair at most.

    Where a set holds a pose several times, its copies are paired in their order.
    """
    entries = [poses[:, :3].reshape(len(poses), 12) for poses in (first, second)]
    if not len(first) or not len(second):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    # Copies within a set become one place with a number of copies, so that the search meets each place once.
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
    """The distinct rows, and for each of them where it stands."""
    distinct, where = np.unique(entries, axis=0, return_inverse=True)
    order = np.argsort(where.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(where.reshape(-1), minlength=len(distinct)))[:-1]
    return distinct, dict(enumerate(part.tolist() for part in np.split(order, ends)))


def confusion_of(first: NDArray[np.int8], second: NDArray[np.int8]) -> Confusion:
    """The table of two rows of outcomes (N,)."""
    table = empty_confusion()
    np.add.at(table, (first, second), 1)
    return table


@dataclass(frozen=True)
class Key:
    """What makes two entries comparable."""

    gripper: str
    object_id: str
    scale: float


@dataclass(frozen=True)
class Failure:
    """Why an entry cannot be read, in one line that names the file."""

    message: str


Pair = tuple[Entry, Entry]


def compare_collections(
    first: Path, second: Path, *, workers: int, on_start: Callable[[int], None], on_object: Callable[[str], None]
) -> Comparison:
    """Compares all objects that both have. on_start is told how many files there are, on_object of each by name.

    Objects belong together by id and scale and, where a collection has several grippers, by gripper. Raises InputError where one of the
    paths holds no grasps.
    """
    collections = open_collection(first), open_collection(second)
    on_start(sum(len(each.entries) for each in collections))
    (keys, broken), (other_keys, other_broken) = (_keys(each, workers, on_object) for each in collections)
    if all(len({key.gripper for key in each}) == 1 for each in (keys, other_keys)):
        keys, other_keys = ({Key("", key.object_id, key.scale): entry for key, entry in each.items()} for each in (keys, other_keys))
    common = sorted(keys.keys() & other_keys.keys(), key=lambda key: (key.gripper, key.object_id, key.scale))
    pairs = [(keys[key], other_keys[key]) for key in common]
    compared = {pair: result for pair, result in run_in_chunks(pairs, make_comparer, (), workers=workers) if result is not None}
    return Comparison(
        objects=tuple(compared[pair] for pair in pairs if pair in compared),
        only_first=_names(keys, other_keys),
        only_second=_names(other_keys, keys),
        differing=_differing(*pairs[0]) if pairs else (),
        broken=(*broken, *other_broken),
    )


def _names(these: Mapping[Key, Entry], others: Mapping[Key, Entry]) -> tuple[str, ...]:
    return tuple(sorted(key.object_id for key in these.keys() - others.keys()))


def _keys(collection: Collection, workers: int, on_object: Callable[[str], None]) -> tuple[dict[Key, Entry], list[str]]:
    """Which object each file holds, and what cannot be read; of several files with one object the first one counts."""
    keys: dict[Key, Entry] = {}
    broken = [error.summary for error in collection.damaged]
    found = dict(run_in_chunks(collection.entries, make_key_reader, (), workers=workers))
    for entry in collection.entries:
        key = found[entry]
        on_object(entry.name)
        if isinstance(key, Key):
            keys.setdefault(key, entry)
        else:
            broken.append(key.message if key else f"{entry.shown}: its worker process died; out of memory?")
    return keys, broken


def make_key_reader() -> Callable[[Entry], Key | Failure]:
    """What tells which object an entry holds."""
    spare_the_collector()
    return read_key


def read_key(entry: Entry) -> Key | Failure:
    """Which object an entry holds, or why it cannot be read."""
    try:
        dataset = read_entry(entry).dataset
    except GraspFileError as error:
        return Failure(error.summary)
    return Key(entry.gripper or dataset.gripper_name, dataset.object_id, dataset.scale)


def make_comparer() -> Callable[[Pair], ObjectComparison]:
    """What compares two entries that can be read."""
    spare_the_collector()
    return compare_entries


def compare_entries(pair: Pair) -> ObjectComparison:
    """One object in both."""
    first, second = (read_entry(entry) for entry in pair)
    left, right = match_poses(_poses(first), _poses(second))
    outcomes = first.dataset.grasps.outcome[left], second.dataset.grasps.outcome[right]
    counts = [
        count_grasps(each.dataset.object_id, entry.path.name, each.dataset.grasps)
        for each, entry in zip((first, second), pair, strict=True)
    ]
    return ObjectComparison(counts[0], counts[1], first.dataset.gripper_name, second.dataset.gripper_name, confusion_of(*outcomes))


def _poses(grasps: ObjectGrasps) -> Floats:
    """In GraspGen's frame, in which grippers can be compared."""
    return grasps.dataset.grasps.pose_gripper_in_object @ grasps.trainer_frame


# --- what is not the same ------------------------------------------------------------------------------------------------------------


def _differing(first: Entry, second: Entry) -> tuple[tuple[str, str, str], ...]:
    """How the grippers and the making of two files differ: what one pair shows is taken to hold for all."""
    one, other = read_entry(first).dataset, read_entry(second).dataset
    sizes = ("gripper_name", "gripper_width", "gripper_depth")
    rows = [(name.replace("_", " "), _shown(getattr(one, name)), _shown(getattr(other, name))) for name in sizes]
    found = [row for row in rows if row[1] != row[2]]
    if one.gripper_name != other.gripper_name:
        found += _gripper_rows(one.gripper_name, other.gripper_name)
    for part in ("guess", "simulation"):
        found += _record_rows(part, _part(one.provenance, part), _part(other.provenance, part))
    return tuple(found)


def _gripper_rows(first: str, second: str) -> list[tuple[str, str, str]]:
    """What the measured grippers differ in, where both are known by name."""
    try:
        one, other = (gripper_document(load_gripper(name)) for name in (first, second))
    except GripperError:
        return []
    names = [name for name, value in one.items() if isinstance(value, int | float | bool) and value != other.get(name)]
    return [(f"gripper: {name.replace('_', ' ')}", _shown(one[name]), _shown(other[name])) for name in names]


def _record_rows(part: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for section in ("settings", "versions"):
        one, other = _part(first, section), _part(second, section)
        names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
        rows += [(f"{part}: {name}", _shown(one.get(name)), _shown(other.get(name))) for name in names]
    return rows


def _part(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of a record; a file may hold anything in its place."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _shown(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "not said"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
