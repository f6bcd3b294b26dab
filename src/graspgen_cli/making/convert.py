"""Grasps of one model of a gripper as those of another model of it, whose base frame lies elsewhere.

What a conversion will do: which entries can be converted, to which gripper and object, and what is wrong with the others.

Grasps of any format to another one: a dataset as GraspGen reads it, isaac_grasp files, or WebDataset shards.

Everything is read twice, once to learn which objects there are, for their files' names must not clash, and once to write; in between
only a line an object is in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import orjson

from graspgen_cli.dataset.collection import Collection, Entry, open_collection, read_or_damage
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.dataset.splits import TRAIN_FILE, VALID_FILE, translated_list
from graspgen_cli.errors import InputError, OutputError
from graspgen_cli.files import read_bounded, write_atomically
from graspgen_cli.formats.graspgen_json import encode
from graspgen_cli.formats.isaac_grasp import isaac_text
from graspgen_cli.formats.object_grasps import FRAMES_KEY, GRASP_SUFFIX, ISAAC_KEY, DamagedFile, ObjectGrasps, offset_values
from graspgen_cli.formats.webdataset import shard_uuids, write_shards
from graspgen_cli.geometry.poses import inverse, is_rotation
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.objects.scales import id_problem, scale_problem
from graspgen_cli.records import Floats, Gripper
from graspgen_cli.settings.commands import ConvertCommand
from graspgen_cli.settings.handoff_models import ConvertFormat

_SAME_FRAME = 1e-6
"""m, and in the entries of a rotation: frames that differ by less are the same, and poses stay as they are to the last bit."""


def in_frame_of(found: ObjectGrasps, gripper: Gripper) -> ObjectGrasps:
    """The grasps as those of another model of the gripper: in the frame of its base. What the trainer sees stays the same. Where the
    file does not say how its frame lies to GraspGen's, it is taken for the base's."""
    target = inverse(gripper.pose_base_in_graspgen)
    given = found.pose_graspgen_in_gripper
    if given is None:
        found = replace(found, notes=(*found.notes, f"does not say how the gripper's frame lies; taken for that of {gripper.name}"))
    elif not np.allclose(given, target, rtol=0.0, atol=_SAME_FRAME):
        found = _turned(found, given @ gripper.pose_base_in_graspgen, gripper)
    dataset = replace(found.dataset, gripper_name=gripper.name, gripper_width=gripper.width, gripper_depth=gripper.depth)
    if found.dataset.gripper_name != gripper.name:
        dataset = replace(dataset, provenance={})
    return replace(found, dataset=dataset, gripper_frame=gripper.base_body, pose_graspgen_in_gripper=target)


def _turned(found: ObjectGrasps, pose_base_in_gripper: Floats, gripper: Gripper) -> ObjectGrasps:
    """The poses of another frame of the gripper. What an isaac_grasp file says besides holds for the old frame and is left out, as is
    the record of how the poses were made."""
    grasps = found.dataset.grasps
    turned = replace(grasps, pose_gripper_in_object=grasps.pose_gripper_in_object @ pose_base_in_gripper)
    note = f"poses were turned from the frame {found.gripper_frame} to the base frame of {gripper.name}"
    document = {key: value for key, value in found.document.items() if key != ISAAC_KEY}
    dataset = replace(found.dataset, grasps=turned, provenance={})
    return replace(found, dataset=dataset, isaac=None, document=document, notes=(*found.notes, note))


_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class GraspSource:
    """What to read how. gripper: whose frame the poses are to be in. meshes: what absolute paths of meshes start with."""

    gripper: Gripper | None
    meshes: Path

    def read(self, entry: Entry) -> ObjectGrasps | DamagedFile:
        """The grasps of an entry in the frame that they are to be in, or why they cannot be used."""
        found = read_or_damage(entry)
        if isinstance(found, DamagedFile):
            return found
        found = replace(found, dataset=replace(found.dataset, object_id=_relative(found.dataset.object_id, self.meshes)))
        if self.gripper is not None:
            return in_frame_of(found, self.gripper)
        name = entry.gripper or found.dataset.gripper_name
        if not _FOLDER_NAME.fullmatch(name):
            reason = f"names the gripper {ascii(name)[:60]}" if name else "names no gripper"
            return DamagedFile(entry.shown, f"{reason}; say whose grasps they are with --for-gripper")
        return replace(found, dataset=replace(found.dataset, gripper_name=name))


@dataclass(frozen=True)
class PlannedObject:
    """One entry that can be converted."""

    entry: Entry
    gripper: str
    object_id: str
    scale: float
    grasps: int


@dataclass(frozen=True)
class ConversionPlan:
    """objects: what can be converted; no two of one gripper have the same id. damaged: what cannot. notes: what has to be assumed, in
    words, each once, with the first file that it holds for."""

    objects: tuple[PlannedObject, ...]
    damaged: tuple[DamagedFile, ...]
    notes: tuple[str, ...]


def plan_conversion(collection: Collection, source: GraspSource, *, on_object: Callable[[str], None]) -> ConversionPlan:
    """Reads every entry once; `on_object` is told the name of each."""
    planned: dict[tuple[str, str], PlannedObject] = {}
    damaged = list(collection.damaged)
    notes: dict[str, str] = {}
    for entry in collection.entries:
        found = source.read(entry)
        problem = found if isinstance(found, DamagedFile) else _problem(entry, found, planned)
        if problem is not None:
            damaged.append(problem)
        elif isinstance(found, ObjectGrasps):
            dataset = found.dataset
            one = PlannedObject(entry, dataset.gripper_name, dataset.object_id, dataset.scale, len(dataset.grasps))
            planned[one.gripper, one.object_id] = one
            for note in found.notes:
                notes.setdefault(note, f"{entry.shown}: {note}")
        on_object(entry.name)
    return ConversionPlan(tuple(planned.values()), tuple(damaged), tuple(notes.values()))


def _problem(entry: Entry, found: ObjectGrasps, planned: dict[tuple[str, str], PlannedObject]) -> DamagedFile | None:
    dataset = found.dataset
    wrong = id_problem(dataset.object_id) or scale_problem(dataset.scale)
    if wrong:
        return DamagedFile(entry.shown, f"the object {ascii(dataset.object_id)[:80]} {wrong}")
    bad = np.flatnonzero(~is_rotation(dataset.grasps.pose_gripper_in_object))
    if len(bad):
        return DamagedFile(entry.shown, f"{len(bad)} poses are no rigid transforms, first that of grasp {bad[0]}")
    other = planned.get((dataset.gripper_name, dataset.object_id))
    if other is not None:
        return DamagedFile(entry.shown, f"holds {dataset.object_id}, which {other.entry.shown} holds as well; only that one is converted")
    return None


def _relative(object_id: str, root: Path) -> str:
    """The id relative to the folder of the meshes, where it is an absolute path in it."""
    path = PurePosixPath(object_id)
    absolute = root.absolute()
    return str(path.relative_to(absolute)) if path.is_absolute() and path.is_relative_to(absolute) else object_id


UUID_MAP = "map_uuid_to_path.json"
"""What the trainer looks for in the folder of the meshes where an id is no path in it: {uuid: path}."""
_NOT_WRITTEN = (TypeError, ValueError, OverflowError, RecursionError, MemoryError)
"""What values that a hostile file holds beside its grasps can lead the writers to."""


@dataclass(frozen=True)
class ConvertedObject:
    """One object that was written. name: what the trainer calls it there; file: where it is."""

    gripper: str
    object_id: str
    scale: float
    grasps: int
    name: str
    file: Path


@dataclass(frozen=True)
class Conversion:
    """What was converted and what was not. notes: what was assumed, in words, each once."""

    objects: tuple[ConvertedObject, ...]
    damaged: tuple[DamagedFile, ...]
    notes: tuple[str, ...]
    uuid_map: Path | None = None
    """What the trainer needs in the folder of the meshes to find them by uuid."""


def convert(settings: ConvertCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> Conversion:
    """Converts all grasps of the dataset, or whatever is named in its place (see `open_collection`), into an output folder that holds
    no grasps of these grippers yet.

    on_start, on_object: told the number of entries, then the name of each that was looked at.
    Raises InputError where nothing can be read, OutputError where the output is not empty or cannot be written.
    """
    path = settings.grasp_dataset
    collection = open_collection(path)
    if settings.for_gripper is not None and len(collection.grippers) > 1:
        raise InputError(f"{path}: holds grasps of {', '.join(collection.grippers)}; name one folder of grasp_data with --for-gripper")
    gripper = None if settings.for_gripper is None else load_gripper(settings.for_gripper)
    source = GraspSource(gripper, settings.object_dataset)
    on_start(len(collection.entries))
    plan = plan_conversion(collection, source, on_object=on_object)
    grippers = sorted({one.gripper for one in plan.objects})
    for name in grippers:
        _require_empty(_folder(settings, name))
    uuids = shard_uuids(one.object_id for one in plan.objects) if settings.to is ConvertFormat.WEBDATASET else {}
    objects: list[ConvertedObject] = []
    damaged = list(plan.damaged)
    for name in grippers:
        objects += _write_gripper([one for one in plan.objects if one.gripper == name], source, settings, uuids, damaged)
    uuid_map = _write_uuid_map(settings.output_dataset, {one.name: one.object_id for one in objects}) if uuids and objects else None
    return Conversion(tuple(objects), tuple(damaged), plan.notes, uuid_map)


def _write_gripper(
    planned: Sequence[PlannedObject],
    source: GraspSource,
    settings: ConvertCommand,
    uuids: Mapping[str, str],
    damaged: list[DamagedFile],
) -> list[ConvertedObject]:
    """Writes the objects of one gripper, and their lists. uuids: by object id, where archives are written."""
    gripper = planned[0].gripper
    folder = _folder(settings, gripper)
    if uuids:
        ordered = sorted(planned, key=lambda one: uuids[one.object_id])
        written = _write_shards(_contents(ordered, source, settings.to, damaged), folder, uuids, settings.objects_per_shard)
    else:
        written = _write_files(_contents(planned, source, settings.to, damaged), planned, folder, settings.to)
    if settings.to is not ConvertFormat.ISAAC_GRASP:
        _write_lists(settings.grasp_dataset, DatasetPaths(settings.output_dataset, gripper), planned, written)
    return written


def _folder(settings: ConvertCommand, gripper: str) -> Path:
    output = settings.output_dataset
    return output / gripper if settings.to is ConvertFormat.ISAAC_GRASP else DatasetPaths(output, gripper).grasps


def _require_empty(folder: Path) -> None:
    """Formats must not be mixed in a folder, and files that are there belong to somebody."""
    try:
        there = next((path for path in sorted(folder.iterdir()) if not path.name.startswith(".")), None) if folder.exists() else None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be read ({error.strerror}); choose another --output-dataset") from error
    if there is not None:
        raise OutputError(f"{folder}: is not empty, it holds {there.name}; choose another --output-dataset or move the folder away")


def _contents(
    planned: Sequence[PlannedObject], source: GraspSource, to: ConvertFormat, damaged: list[DamagedFile]
) -> Iterator[tuple[PlannedObject, bytes]]:
    """What is to be written of each object; `damaged` gets those of which nothing can be."""
    for one in planned:
        found = source.read(one.entry)
        if isinstance(found, DamagedFile):
            damaged.append(found)
            continue
        try:
            content = isaac_text(found, source.gripper) if to is ConvertFormat.ISAAC_GRASP else graspgen_content(found)
        except _NOT_WRITTEN as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            damaged.append(DamagedFile(one.entry.shown, f"holds what {to} files cannot hold ({reason})"))
            continue
        yield one, content


Contents = Iterator[tuple[PlannedObject, bytes]]


def _write_files(contents: Contents, planned: Sequence[PlannedObject], folder: Path, to: ConvertFormat) -> list[ConvertedObject]:
    """A file an object."""
    names = grasp_file_names([(one.object_id, one.scale) for one in planned], {})
    suffix = GRASP_SUFFIX if to is ConvertFormat.GRASPGEN else ".yaml"
    written = []
    for one, content in contents:
        file = folder / f"{names[one.object_id].removesuffix(GRASP_SUFFIX)}{suffix}"
        write_atomically(file, content)
        written.append(_converted(one, one.object_id, file))
    return written


def _write_shards(contents: Contents, folder: Path, uuids: Mapping[str, str], objects_per_shard: int) -> list[ConvertedObject]:
    """Archives of several objects each, and their index."""
    written: list[PlannedObject] = []

    def members() -> Iterator[tuple[str, bytes]]:
        for one, content in contents:
            yield uuids[one.object_id], content
            written.append(one)

    index = write_shards(folder, members(), objects_per_shard=objects_per_shard)
    return [_converted(one, uuids[one.object_id], folder / f"shard_{index[uuids[one.object_id]]:03d}.tar") for one in written]


def _converted(one: PlannedObject, name: str, file: Path) -> ConvertedObject:
    return ConvertedObject(one.gripper, one.object_id, one.scale, one.grasps, name, file)


def graspgen_content(found: ObjectGrasps) -> bytes:
    """The content of a GraspGen JSON file, with all that the format does not know beside it."""
    offset = found.pose_graspgen_in_gripper
    beside = {key: value for key, value in found.document.items() if key != FRAMES_KEY}
    if found.isaac is not None:
        beside[ISAAC_KEY] = {"header": found.isaac.header, "grasps": found.isaac.grasps}
    frames = {
        "grasps.transforms": "pose of the gripper's frame in the frame of the object's mesh after scaling, row by row, m",
        "gripper": found.gripper_frame,
        "gripper.transform_offset_from_asset_to_graspgen_convention": "pose of GraspGen's frame (approach +Z, closing X) in the gripper's",
    }
    return encode(found.dataset, None if offset is None else offset_values(offset), beside={**beside, FRAMES_KEY: frames})


def _write_lists(path: Path, paths: DatasetPaths, planned: Sequence[PlannedObject], written: Sequence[ConvertedObject]) -> None:
    """The map of a folder of JSON files, and the source's splits with the names that the objects have now."""
    files = {one.object_id: one.file.name for one in written if one.file.name.endswith(GRASP_SUFFIX)}
    if files:
        write_atomically(paths.object_map, orjson.dumps(dict(sorted(files.items())), option=orjson.OPT_INDENT_2) + b"\n")
    now = {one.object_id: one.name for one in written}
    before = {one.entry.name: now[one.object_id] for one in planned if one.object_id in now}
    source = DatasetPaths(path, planned[0].entry.gripper).splits
    for name in (TRAIN_FILE, VALID_FILE):
        if planned[0].entry.gripper and (source / name).is_file():
            write_atomically(paths.splits / name, translated_list(source / name, before | now))


def _write_uuid_map(output: Path, new: Mapping[str, str]) -> Path:
    """Adds to the map from uuids to meshes. Raises OutputError where it says otherwise already, or is none."""
    path = output / "objects" / UUID_MAP
    try:
        known = orjson.loads(read_bounded(path)) if path.exists() else {}
        if not isinstance(known, dict) or any(known.get(uuid, object_id) != object_id for uuid, object_id in new.items()):
            raise ValueError("it names other objects")
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise OutputError(f"{path}: cannot be added to ({' '.join(str(error).split())[:80]}); choose another --output-dataset") from error
    write_atomically(path, orjson.dumps({**known, **new}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    return path
