"""New datasets with some of the grasps of others: a random choice (`balance`), or the grasps that meet conditions (`filter`)."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.analysis.analyze import open_inputs
from graspgen_cli.dataset.collection import Collection, read_entry
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.dataset.provenance import Provenance
from graspgen_cli.dataset.splits import TRAIN_FILE, VALID_FILE, listed_objects
from graspgen_cli.errors import GraspFileError, OutputError, SettingsError
from graspgen_cli.files import write_atomically, write_json_map
from graspgen_cli.formats.format import Entry, IsaacFields, ObjectGrasps
from graspgen_cli.formats.graspgen_json import content_of
from graspgen_cli.formats.json_text import PoseText
from graspgen_cli.objects.scales import id_problem
from graspgen_cli.records import Floats, GraspBatch, Outcome
from graspgen_cli.settings.commands import BalanceCommand, FilterCommand
from graspgen_cli.settings.datasets import BalanceSettings, FilterSettings

_RANGE = re.compile(r"\s*(?:(\d{1,9})|(\d{0,9})\s*:\s*(\d{0,9}))\s*")
"""A place or range of --indices: ``7``, ``7:``, ``7:9`` or ``:9``."""

Indices = NDArray[np.intp]
Condition = Callable[[GraspBatch, Floats], NDArray[np.bool_]]
"""(N,) which grasps meet the condition, of grasps and their approach axes (N, 3) in the object's frame."""
_Choose = Callable[[ObjectGrasps], Indices]
_FAILED = (Outcome.COLLISION, Outcome.DROPPED, Outcome.UNSTABLE)


@dataclass(frozen=True)
class KeptObject:
    """An object: its grasps before, and those that were kept. file: empty if none was kept."""

    gripper: str
    object_id: str
    before: int
    held: int
    failed: int
    unvalidated: int
    file: str

    @property
    def kept(self) -> int:
        """All kept grasps."""
        return self.held + self.failed + self.unvalidated


@dataclass(frozen=True)
class Subset:
    """The written objects, and the files that could not be read, a line each."""

    objects: tuple[KeptObject, ...]
    broken: tuple[str, ...]


def balance_dataset(settings: BalanceCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> Subset:
    """Copies a random choice of each object's grasps, which depends on the seed and the object only."""

    def choose(grasps: ObjectGrasps) -> Indices:
        seed = hashlib.sha256(f"{settings.balance.seed}\0{grasps.dataset.object_id}".encode()).digest()
        rng = np.random.Generator(np.random.Philox(int.from_bytes(seed[:16], "big")))
        return balanced(settings.balance, grasps.dataset.grasps, rng)

    return _copy(settings, choose, {"command": "balance", **settings.balance.model_dump()}, on_start, on_object)


def filter_dataset(settings: FilterCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> Subset:
    """Copies the grasps that meet the conditions. Raises SettingsError for malformed conditions."""
    wanted = conditions(settings.conditions)
    how = {"command": "filter", **settings.conditions.model_dump(mode="json")}
    return _copy(settings, lambda grasps: matching(wanted, grasps), how, on_start, on_object)


# --- choices -----------------------------------------------------------------------------------------------------------------------------


def balanced(settings: BalanceSettings, grasps: GraspBatch, rng: np.random.Generator) -> Indices:
    """A random choice of held and failed grasps, up to the numbers of the settings, in the file's order; no guesses without a trial.

    With a ratio: as many held grasps as possible, and their failed grasps.
    """
    held, failed = (np.flatnonzero(np.isin(grasps.outcome, outcomes)) for outcomes in ((Outcome.HELD,), _FAILED))
    most_held = len(held) if settings.num_held is None else min(len(held), settings.num_held)
    most_failed = len(failed) if settings.num_failed is None else min(len(failed), settings.num_failed)
    num_held, num_failed = _in_ratio(most_held, most_failed, settings.failed_per_held)
    return np.sort(np.concatenate([rng.permutation(held)[:num_held], rng.permutation(failed)[:num_failed]]))


def _in_ratio(most_held: int, most_failed: int, failed_per_held: float | None) -> tuple[int, int]:
    """The largest numbers of held and failed grasps in the ratio, the failed rounded to the nearest."""
    if failed_per_held is None:
        return most_held, most_failed
    held = most_held
    if failed_per_held * held > most_failed + 0.5:
        held = int((most_failed + 0.5) / failed_per_held)
    return held, min(most_failed, math.floor(failed_per_held * held + 0.5))


def matching(wanted: Sequence[Condition], found: ObjectGrasps) -> Indices:
    """The grasps that meet all conditions, in the file's order."""
    grasps, approach = found.dataset.grasps, found.pose_graspgen_in_object[:, :3, 2]
    return np.flatnonzero(np.all([np.ones(len(grasps), bool), *(condition(grasps, approach) for condition in wanted)], axis=0))


def conditions(settings: FilterSettings) -> list[Condition]:
    """The conditions of the settings. An unknown opening (NaN) meets no condition on openings. Raises SettingsError for malformed text."""
    found: list[Condition] = []
    if settings.indices is not None:
        ranges = [_range(part) for part in settings.indices.split(",")]
        found.append(lambda grasps, _: np.any([_between(np.arange(len(grasps)), first, end - 1) for first, end in ranges], axis=0))
    if settings.outcomes is not None:
        outcomes = [_outcome(name.strip()) for name in settings.outcomes.split(",")]
        found.append(lambda grasps, _: np.isin(grasps.outcome, outcomes))
    if settings.min_opening is not None or settings.max_opening is not None:
        low, high = settings.min_opening or 0.0, math.inf if settings.max_opening is None else settings.max_opening
        found.append(lambda grasps, _: _between(grasps.opening_width, low, high))
    if settings.approach_direction is not None:
        direction = np.array(settings.approach_direction) / math.hypot(*settings.approach_direction)
        least = math.cos(math.radians(settings.approach_angle)) - 1e-12
        found.append(lambda _, approach: approach @ direction >= least)
    return found


def _between(values: NDArray[Any], low: float, high: float) -> NDArray[np.bool_]:
    return np.asarray((values >= low) & (values <= high))


def _range(text: str) -> tuple[int, float]:
    """First place, and the place after the last."""
    match = _RANGE.fullmatch(text)
    if match is None or not any(match.groups()):
        raise SettingsError(f"--indices: {text!a} is no place and no range; give such as 0,5,10:20")
    place, first, end = match.groups()
    if place is not None:
        return int(place), int(place) + 1
    return int(first or 0), int(end) if end else math.inf


def _outcome(name: str) -> Outcome:
    known = {outcome.label: outcome for outcome in Outcome}
    if name not in known:
        raise SettingsError(f"--outcomes: {name!a} is no outcome; there is {', '.join(known)}")
    return known[name]


# --- the new dataset ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Writer:
    """Writes the kept grasps. how: goes on record. names: of the written files, by gripper, then object id and scale."""

    output: Path
    choose: _Choose
    how: Mapping[str, Any]
    names: dict[str, dict[str, str]] = field(default_factory=dict)

    def write(self, entry: Entry) -> KeptObject:
        """Writes the kept grasps of an entry. Raises GraspFileError if it cannot be read, or holds an object that was written before."""
        found = read_entry(entry)
        dataset = found.dataset
        gripper = entry.gripper or dataset.gripper_name or "unknown"
        problem = id_problem(dataset.object_id) or ("" if _is_name(gripper) else "is of a gripper without a usable name")
        names, key = self.names.setdefault(gripper, {}), f"{dataset.object_id}\0{dataset.scale!r}"
        if problem or key in names:
            reason = f"the object {ascii(dataset.object_id)[:80]} {problem or 'is there twice; only the first file was copied'}"
            raise GraspFileError(reason, path=entry.shown)
        index = self.choose(found)
        kept = dataset.grasps[index]
        if len(index):
            names[key] = grasp_file_names([(dataset.object_id, dataset.scale)], names)[dataset.object_id]
            write_atomically(DatasetPaths(self.output, gripper).grasps / names[key], content_of(_subset(found, index, self.how)))
        return KeptObject(
            gripper=gripper,
            object_id=dataset.object_id,
            before=len(dataset.grasps),
            held=kept.count(Outcome.HELD),
            failed=kept.count(*_FAILED),
            unvalidated=kept.count(Outcome.UNVALIDATED),
            file=names.get(key, ""),
        )


def _is_name(gripper: str) -> bool:
    """Whether a folder can have the name, which may come from a foreign file."""
    return Path(gripper).name == gripper and gripper not in ("", ".", "..") and gripper.isprintable()


def _copy(
    settings: BalanceCommand | FilterCommand,
    choose: _Choose,
    how: Mapping[str, Any],
    on_start: Callable[[int], None],
    on_object: Callable[[str], None],
) -> Subset:
    collections, output = open_inputs(settings), settings.copied.output_dataset
    if (output / "grasp_data").exists():
        raise OutputError("holds grasps already", path=output, advice="choose another --output-dataset")
    on_start(sum(len(collection.entries) for collection in collections))
    writer = _Writer(output, choose, how)
    broken = [error.summary for collection in collections for error in collection.damaged]
    objects: list[KeptObject] = []
    for entry in (entry for collection in collections for entry in collection.entries):
        try:
            objects.append(writer.write(entry))
        except GraspFileError as error:
            broken.append(error.summary)
        on_object(entry.name)
    for gripper in sorted({kept.gripper for kept in objects if kept.file}):
        listed = {kept.object_id: kept.file for kept in objects if kept.gripper == gripper and kept.file}
        write_json_map(DatasetPaths(output, gripper).object_map, listed)
    for collection in collections:
        _copy_lists(collection, output, objects)
    return Subset(tuple(objects), tuple(broken))


def _copy_lists(collection: Collection, output: Path, objects: Sequence[KeptObject]) -> None:
    """Copies the gripper configs of a dataset, and its splits without the objects that have no file."""
    for gripper in collection.grippers:
        source, target = DatasetPaths(collection.path, gripper), DatasetPaths(output, gripper)
        kept = {each.object_id for each in objects if each.gripper == gripper and each.file}
        train, valid = listed_objects(source.splits, known=sorted(kept))
        for name, listed in ((TRAIN_FILE, train), (VALID_FILE, valid)):
            if train or valid:
                write_atomically(target.splits / name, "".join(f"{line}\n" for line in listed if line in kept).encode())
        if source.config.is_dir():
            shutil.copytree(source.config, target.config, dirs_exist_ok=True)


def _subset(found: ObjectGrasps, index: Indices, how: Mapping[str, Any]) -> ObjectGrasps:
    """Some of an object's grasps, with all their values in the file. A file with a provenance records the choice."""
    count, rows = len(found.dataset.grasps), index.tolist()
    made = Provenance.of(found.dataset)
    provenance = {} if made is None else made.of_rows(rows, {**how, "of": count}).document()
    dataset = replace(found.dataset, grasps=found.dataset.grasps[index], provenance=provenance)
    isaac = found.isaac and IsaacFields(found.isaac.header, tuple(found.isaac.grasps[row] for row in rows))
    return replace(found, dataset=dataset, isaac=isaac, document=_chosen_lists(found.document, count, rows))


def _chosen_lists(document: Mapping[str, Any], count: int, rows: Sequence[int]) -> dict[str, Any]:
    """The document; each list in ``grasps`` with one item a grasp holds the kept grasps, also under foreign keys."""
    grasps = document.get("grasps")
    if not isinstance(grasps, dict):
        return dict(document)
    kept = {
        key: [value[row] for row in rows] if isinstance(value, list) and len(value) == count else value
        for key, value in grasps.items()
        if not isinstance(value, PoseText)
    }
    return {**document, "grasps": kept}
