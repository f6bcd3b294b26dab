"""Which grasps of an object to keep: so many of each kind, or those that meet conditions. Indices come in the file's order.

What `balance` and `filter` do: a new dataset with some of the grasps of others, which stay as they are."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from graspgen_cli.analysis.look import open_inputs
from graspgen_cli.dataset.collection import Collection, read_entry
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.dataset.splits import TRAIN_FILE, VALID_FILE, listed_objects
from graspgen_cli.errors import GraspFileError, OutputError, SettingsError
from graspgen_cli.files import write_atomically
from graspgen_cli.formats.format import Entry, IsaacFields, ObjectGrasps
from graspgen_cli.formats.graspgen_json import content_of
from graspgen_cli.formats.json_text import PoseText
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.objects.scales import id_problem
from graspgen_cli.records import Floats, GraspBatch, Outcome
from graspgen_cli.settings.commands import BalanceCommand, FilterCommand
from graspgen_cli.settings.datasets import BalanceSettings, FilterSettings

_PLACES = re.compile(r"\s*(?:(\d{1,9})\s*(:)?\s*(\d{1,9})?|(:)\s*(\d{1,9}))\s*")
"""One place or range of --indices: ``7``, ``7:``, ``7:9`` or ``:9``."""

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Conditions:
    """What grasps must meet, read from the settings once. ranges: (first, end) of places. outcomes: values of Outcome.
    direction: unit vector."""

    ranges: tuple[tuple[int, float], ...] | None
    outcomes: tuple[int, ...] | None
    openings: tuple[float, float] | None
    direction: tuple[float, float, float] | None
    angle: float
    """rad."""


def conditions(settings: FilterSettings) -> Conditions:
    """The conditions that the settings say. Raises SettingsError for places or names that are none."""
    narrow, wide = settings.min_opening, settings.max_opening
    length = math.hypot(*settings.approach_direction) if settings.approach_direction else 1.0
    return Conditions(
        ranges=_ranges(settings.indices) if settings.indices is not None else None,
        outcomes=_outcomes(settings.outcomes) if settings.outcomes is not None else None,
        openings=None if narrow is None and wide is None else (narrow or 0.0, math.inf if wide is None else wide),
        direction=_unit(settings.approach_direction, length),
        angle=math.radians(settings.approach_angle),
    )


def _unit(vector: tuple[float, float, float] | None, length: float) -> tuple[float, float, float] | None:
    return None if vector is None else (vector[0] / length, vector[1] / length, vector[2] / length)


def _ranges(text: str) -> tuple[tuple[int, float], ...]:
    found = []
    for part in text.split(","):
        match = _PLACES.fullmatch(part)
        if match is None:
            raise SettingsError(f"--indices: {part!a} is no place and no range; give such as 0,5,10:20")
        first, colon, end, open_start, only_end = match.groups()
        if open_start:
            found.append((0, float(only_end)))
        elif colon:
            found.append((int(first), float(end) if end else math.inf))
        elif end:
            raise SettingsError(f"--indices: {part!a} is no place and no range; give such as 0,5,10:20")
        else:
            found.append((int(first), float(int(first) + 1)))
    return tuple(found)


def _outcomes(text: str) -> tuple[int, ...]:
    known = {outcome.label: int(outcome) for outcome in Outcome}
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise SettingsError(f"--outcomes: {name!a} is no outcome; there is {', '.join(known)}")
    return tuple(known[name] for name in names)


def matching(wanted: Conditions, grasps: GraspBatch, pose_graspgen_in_gripper: Floats) -> Indices:
    """The grasps that meet all conditions; one whose opening is not known meets none about openings.

    pose_graspgen_in_gripper: (4, 4), GraspGen's frame, whose z is the approach, in the frame of the poses.
    """
    kept = np.ones(len(grasps), bool)
    if wanted.ranges is not None:
        place = np.arange(len(grasps))
        kept &= np.any([(place >= first) & (place < end) for first, end in wanted.ranges], axis=0)
    if wanted.outcomes is not None:
        kept &= np.isin(grasps.outcome, wanted.outcomes)
    if wanted.openings is not None:
        kept &= (grasps.opening_width >= wanted.openings[0]) & (grasps.opening_width <= wanted.openings[1])
    if wanted.direction is not None:
        approach = (grasps.pose_gripper_in_object @ pose_graspgen_in_gripper)[:, :3, 2]
        kept &= approach @ np.array(wanted.direction) >= math.cos(wanted.angle) - 1e-12
    return np.flatnonzero(kept)


def balanced(settings: BalanceSettings, grasps: GraspBatch, rng: np.random.Generator) -> Indices:
    """A random choice of held and failed grasps, as many as the settings say and there are; guesses that were not tested are left out.

    With a ratio the side that there is too much of is cut: as many held grasps as possible, whose failed ones there are.
    """
    held = np.flatnonzero(grasps.outcome == Outcome.HELD)
    failed = np.flatnonzero(np.isin(grasps.outcome, (Outcome.COLLISION, Outcome.DROPPED, Outcome.UNSTABLE)))
    most_held = min(len(held), math.inf if settings.num_held is None else settings.num_held)
    most_failed = min(len(failed), math.inf if settings.num_failed is None else settings.num_failed)
    counts = _in_ratio(int(most_held), int(most_failed), settings.failed_per_held)
    chosen = [rng.permutation(rows)[:count] for rows, count in zip((held, failed), counts, strict=True)]
    return np.sort(np.concatenate(chosen))


def _in_ratio(most_held: int, most_failed: int, failed_per_held: float | None) -> tuple[int, int]:
    """The largest numbers of held and failed grasps in the ratio, the failed rounded to the nearest."""
    if failed_per_held is None:
        return most_held, most_failed
    held = most_held
    if failed_per_held * held > most_failed + 0.5:
        held = int((most_failed + 0.5) / failed_per_held)
    return held, min(most_failed, math.floor(failed_per_held * held + 0.5))


Choose = Callable[[ObjectGrasps], Indices]
"""The indices of the grasps to keep of an object."""


@dataclass(frozen=True)
class KeptObject:
    """One object: how many grasps it had, how many of the kept ones are held and failed; no file where none was kept."""

    gripper: str
    object_id: str
    before: int
    held: int
    failed: int
    unvalidated: int
    file: str

    @property
    def kept(self) -> int:
        """All that were kept."""
        return self.held + self.failed + self.unvalidated


@dataclass(frozen=True)
class Subset:
    """What was written, and what could not be read, a line each."""

    objects: tuple[KeptObject, ...]
    broken: tuple[str, ...]


def balance_dataset(settings: BalanceCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> Subset:
    """Copies a random choice of each object's grasps; which ones depends on the seed and the object alone."""

    def choose(grasps: ObjectGrasps) -> Indices:
        seed = hashlib.sha256(f"{settings.balance.seed}\0{grasps.dataset.object_id}".encode()).digest()
        rng = np.random.Generator(np.random.Philox(int.from_bytes(seed[:16], "big")))
        return balanced(settings.balance, grasps.dataset.grasps, rng)

    how = {"command": "balance", **settings.balance.model_dump()}
    return _copy(settings, choose, how, on_start, on_object)


def filter_dataset(settings: FilterCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> Subset:
    """Copies the grasps that meet the conditions. Raises SettingsError for conditions that are none."""
    wanted = conditions(settings.conditions)

    def choose(grasps: ObjectGrasps) -> Indices:
        return matching(wanted, grasps.dataset.grasps, grasps.trainer_frame)

    how = {"command": "filter", **settings.conditions.model_dump(mode="json")}
    return _copy(settings, choose, how, on_start, on_object)


def _copy(
    settings: BalanceCommand | FilterCommand,
    choose: Choose,
    how: Mapping[str, Any],
    on_start: Callable[[int], None],
    on_object: Callable[[str], None],
) -> Subset:
    named = "gripper_config" in settings.gripper.model_fields_set
    gripper = load_gripper(settings.gripper.gripper_config, options=settings.gripper).name if named or not settings.inputs.paths else None
    collections = open_inputs(settings.inputs, dataset=settings.dataset.grasp_dataset, gripper=gripper)
    _require_empty(settings.copied.output_dataset)
    on_start(sum(len(collection.entries) for collection in collections))
    writer = _Writer(settings.copied.output_dataset, choose, how)
    broken = [error.summary for collection in collections for error in collection.damaged]
    objects: list[KeptObject] = []
    for collection in collections:
        for entry in collection.entries:
            try:
                objects.append(writer.write(entry))
            except GraspFileError as error:
                broken.append(error.summary)
            on_object(entry.name)
    _write_maps(settings.copied.output_dataset, objects)
    for collection in collections:
        _copy_lists(collection, settings.copied.output_dataset, objects)
    return Subset(tuple(objects), tuple(broken))


def _require_empty(output: Path) -> None:
    if (output / "grasp_data").exists():
        raise OutputError(f"{output}: holds grasps already; choose another --output-dataset")


@dataclass(frozen=True)
class _Writer:
    output: Path
    choose: Choose
    how: Mapping[str, Any]

    def write(self, entry: Entry) -> KeptObject:
        """Writes what is kept of an entry. Raises GraspFileError where it cannot be read, or holds an object that was written already."""
        found = read_entry(entry)
        dataset = found.dataset
        gripper = entry.gripper or dataset.gripper_name or "unknown"
        problem = id_problem(dataset.object_id) or ("" if _is_name(gripper) else "is of a gripper without a usable name")
        if problem:
            raise GraspFileError(f"the object {ascii(dataset.object_id)[:80]} {problem}", path=entry.shown)
        index = self.choose(found)
        name = grasp_file_names([(dataset.object_id, dataset.scale)], {})[dataset.object_id]
        file = _free(DatasetPaths(self.output, gripper).grasps, name, dataset.object_id, dataset.scale)
        if len(index):
            write_atomically(file, content_of(subset(found, index, self.how)))
        kept = dataset.grasps[index]
        failed = kept.count(Outcome.COLLISION, Outcome.DROPPED, Outcome.UNSTABLE)
        return KeptObject(
            gripper=gripper,
            object_id=dataset.object_id,
            before=len(dataset.grasps),
            held=kept.count(Outcome.HELD),
            failed=failed,
            unvalidated=kept.count(Outcome.UNVALIDATED),
            file=file.name if len(index) else "",
        )


def _is_name(gripper: str) -> bool:
    """Whether a folder may be called so: a file from elsewhere may name its gripper anything."""
    return Path(gripper).name == gripper and gripper not in ("", ".", "..") and gripper.isprintable()


def _free(folder: Path, name: str, object_id: str, scale: float) -> Path:
    """The file for an object: under the name with a digest in it where another object of that name was written before."""
    if not (folder / name).exists():
        return folder / name
    twin = [(object_id, scale), (f"{object_id}\0", scale)]
    marked = grasp_file_names(twin, {})[object_id]
    if marked == name or (folder / marked).exists():
        raise GraspFileError(f"{object_id} is there twice; only the first file was copied", path=folder / name)
    return folder / marked


def subset(found: ObjectGrasps, index: Indices, how: Mapping[str, Any]) -> ObjectGrasps:
    """Some of an object's grasps, with everything that the file says of them. how: goes on record where the file has a record."""
    count, rows = len(found.dataset.grasps), index.tolist()
    provenance = dict(found.dataset.provenance)
    if provenance:
        earlier = provenance.get("earlier")
        if isinstance(earlier, list):
            provenance["earlier"] = [_chosen_outcomes(record, rows) for record in earlier]
        provenance["subset"] = [*_listed(provenance.get("subset")), {**how, "of": count}]
    dataset = replace(found.dataset, grasps=found.dataset.grasps[index], provenance=provenance)
    isaac = found.isaac and IsaacFields(found.isaac.header, tuple(found.isaac.grasps[row] for row in rows))
    return replace(found, dataset=dataset, isaac=isaac, document=_chosen_lists(found.document, count, rows))


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _chosen_outcomes(record: object, rows: Sequence[int]) -> object:
    """A record of earlier trials with the outcomes of the grasps that are kept; grasps that came later have none."""
    outcomes = record.get("outcome") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(outcomes, list):
        return record
    return {**record, "outcome": [outcomes[row] for row in rows if row < len(outcomes)]}


def _chosen_lists(document: Mapping[str, Any], count: int, rows: Sequence[int]) -> dict[str, Any]:
    """The document with each list in ``grasps`` that has an item a grasp cut to those that are kept, other tools' keys among them."""
    grasps = document.get("grasps")
    if not isinstance(grasps, dict):
        return dict(document)
    kept = {
        key: [value[row] for row in rows] if isinstance(value, list) and len(value) == count else value
        for key, value in grasps.items()
        if not isinstance(value, PoseText)
    }
    return {**document, "grasps": kept}


# --- what belongs to the files -------------------------------------------------------------------------------------------------------


def _write_maps(output: Path, objects: Sequence[KeptObject]) -> None:
    for gripper in sorted({kept.gripper for kept in objects}):
        listed = {kept.object_id: kept.file for kept in objects if kept.gripper == gripper and kept.file}
        if listed:
            content = orjson.dumps(dict(sorted(listed.items())), option=orjson.OPT_INDENT_2) + b"\n"
            write_atomically(DatasetPaths(output, gripper).object_map, content)


def _copy_lists(collection: Collection, output: Path, objects: Sequence[KeptObject]) -> None:
    """The splits, less the objects of which nothing was kept, and the gripper configs of a dataset."""
    for gripper in collection.grippers:
        source, target = DatasetPaths(collection.path, gripper), DatasetPaths(output, gripper)
        kept = sorted(each.object_id for each in objects if each.gripper == gripper and each.file)
        train, valid = listed_objects(source.splits, known=kept)
        for name, listed in ((TRAIN_FILE, train), (VALID_FILE, valid)):
            if train or valid:
                lines = [object_id for object_id in listed if object_id in set(kept)]
                write_atomically(target.splits / name, "".join(f"{line}\n" for line in lines).encode())
        if source.config.is_dir():
            shutil.copytree(source.config, target.config, dirs_exist_ok=True)
