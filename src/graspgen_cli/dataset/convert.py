"""Grasps of any format as files of another format.

Every file is read twice: once to learn which objects there are, since file names must be unique, and once to write. In between the memory
holds one line an object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from graspgen_cli.dataset.collection import Collection, open_collection, read_entry
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.dataset.splits import TRAIN_FILE, VALID_FILE, translated_list
from graspgen_cli.errors import GraspFileError, InputError, OutputError, one_line
from graspgen_cli.files import read_json_map, write_atomically, write_json_map
from graspgen_cli.formats.format import GRASP_SUFFIX, MALFORMED, Entry, GraspFormat, ObjectGrasps, load_format
from graspgen_cli.formats.graspgen_json import ISAAC_KEY
from graspgen_cli.geometry.poses import inverse, is_rotation
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.objects.scales import id_problem, scale_problem
from graspgen_cli.records import Floats, Gripper
from graspgen_cli.settings.commands import ConvertCommand

SAME_FRAME = 1e-6
"""m, and in the entries of a rotation: frames that differ by less are the same, and poses stay as they are to the last bit."""
UUID_MAP = "map_uuid_to_path.json"
"""The trainer's map in the folder of the meshes, for ids that are no path: {uuid: path}."""
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class PlannedObject(NamedTuple):
    """An entry that can be converted."""

    entry: Entry
    gripper: str
    object_id: str
    scale: float
    grasps: int


@dataclass(frozen=True)
class ConversionPlan:
    """objects: can be converted; no two of one gripper have one id. damaged: cannot be converted. notes: assumptions, in words, each with
    the first file that it concerns."""

    objects: tuple[PlannedObject, ...]
    damaged: tuple[GraspFileError, ...]
    notes: tuple[str, ...]


class ConvertedObject(NamedTuple):
    """An object that was written. name: the trainer's name of the object. file: the file or archive."""

    gripper: str
    object_id: str
    scale: float
    grasps: int
    name: str
    file: Path


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion. notes: assumptions, in words. uuid_map: the file that the trainer needs in the folder of the meshes."""

    objects: tuple[ConvertedObject, ...]
    damaged: tuple[GraspFileError, ...]
    notes: tuple[str, ...]
    uuid_map: Path | None = None


def convert(settings: ConvertCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> Conversion:
    """Converts the grasps under the path of the dataset (see `open_collection`) into a folder without grasps of these grippers.

    on_start gets the number of entries, on_object the name of each entry that was read.
    Raises InputError if nothing can be read, OutputError if the output is not empty or cannot be written.
    """
    path = settings.dataset.grasp_dataset
    collection = open_collection(path)
    if settings.convert.for_gripper is not None and len(collection.grippers) > 1:
        reason = f"holds grasps of {', '.join(collection.grippers)}"
        raise InputError(reason, path=path, advice="name one folder of grasp_data with --for-gripper")
    gripper = None if settings.convert.for_gripper is None else load_gripper(settings.convert.for_gripper)
    on_start(len(collection.entries))
    plan = plan_conversion(collection, gripper, settings.meshes.object_dataset, on_object=on_object)
    format_, damaged = load_format(settings.convert.to), list(plan.damaged)
    by_gripper = {name: [one for one in plan.objects if one.gripper == name] for name in sorted({one.gripper for one in plan.objects})}
    output = settings.copied.output_dataset
    folders = {name: DatasetPaths(output, name).grasps if format_.trainer_reads else output / name for name in by_gripper}
    for folder in folders.values():
        _require_empty(folder)
    uuids = format_.archive.names(one.object_id for one in plan.objects) if format_.archive else {}
    objects: list[ConvertedObject] = []
    for name, planned in by_gripper.items():
        row = sorted(planned, key=lambda one: uuids[one.object_id]) if uuids else planned
        contents = _contents(row, settings, format_, gripper, damaged)
        written = _write(row, contents, folders[name], format_, uuids, settings.convert.objects_per_shard)
        if format_.trainer_reads:
            _write_lists(path, DatasetPaths(output, name), planned, written)
        objects += written
    uuid_map = _write_uuid_map(output, {one.name: one.object_id for one in objects}) if uuids and objects else None
    return Conversion(tuple(objects), tuple(damaged), plan.notes, uuid_map)


def plan_conversion(
    collection: Collection, gripper: Gripper | None, meshes: Path, *, on_object: Callable[[str], None] = lambda _: None
) -> ConversionPlan:
    """Reads every entry once as `read_converted` does; `on_object` gets the name of each."""
    planned: dict[tuple[str, str], PlannedObject] = {}
    damaged = list(collection.damaged)
    notes: dict[str, str] = {}
    for entry in collection.entries:
        try:
            found = read_converted(entry, gripper, meshes)
            dataset = found.dataset
            twin = planned.get((dataset.gripper_name, dataset.object_id))
            if twin is not None:
                reason = f"holds {dataset.object_id}, which {twin.entry.shown} holds as well; only that one is converted"
                raise GraspFileError(reason, path=entry.shown)
            one = PlannedObject(entry, dataset.gripper_name, dataset.object_id, dataset.scale, len(dataset.grasps))
            planned[one.gripper, one.object_id] = one
            for note in found.notes:
                notes.setdefault(note, f"{entry.shown}: {note}")
        except GraspFileError as error:
            damaged.append(error)
        on_object(entry.name)
    return ConversionPlan(tuple(planned.values()), tuple(damaged), tuple(notes.values()))


def read_converted(entry: Entry, gripper: Gripper | None, meshes: Path) -> ObjectGrasps:
    """The grasps of an entry, in the base frame of the gripper if it is given, else as the file has them.

    meshes: folder; absolute object ids below it become relative. Raises GraspFileError for a file that cannot be read or used.
    """
    try:
        found = read_entry(entry)
    except GraspFileError as error:
        raise GraspFileError(error.reason, path=error.path) from error  # the advice is for files that graspgen made
    dataset = replace(found.dataset, object_id=_relative(found.dataset.object_id, meshes))
    if problem := id_problem(dataset.object_id) or scale_problem(dataset.scale):
        raise GraspFileError(f"the object {ascii(dataset.object_id)[:80]} {problem}", path=entry.shown)
    bad = np.flatnonzero(~is_rotation(dataset.grasps.pose_gripper_in_object))
    if len(bad):
        raise GraspFileError(f"{len(bad)} poses are no rigid transforms, first that of grasp {bad[0]}", path=entry.shown)
    if gripper is not None:
        return in_frame_of(replace(found, dataset=dataset), gripper)
    name = entry.gripper or dataset.gripper_name
    if not _FOLDER_NAME.fullmatch(name):
        reason = f"names the gripper {ascii(name)[:60]}" if name else "names no gripper"
        raise GraspFileError(reason, path=entry.shown, advice="name the gripper with --for-gripper")
    return replace(found, dataset=replace(dataset, gripper_name=name))


def _relative(object_id: str, root: Path) -> str:
    path = PurePosixPath(object_id)
    absolute = root.absolute()
    return str(path.relative_to(absolute)) if path.is_absolute() and path.is_relative_to(absolute) else object_id


def in_frame_of(found: ObjectGrasps, gripper: Gripper) -> ObjectGrasps:
    """The grasps in the base frame of another model of the gripper; the trainer's poses stay the same.

    Without an offset in the file, its frame counts as the base frame of that model, and a note says so.
    """
    target = inverse(gripper.pose_base_in_graspgen)
    given = found.pose_graspgen_in_gripper
    if given is None:
        found = replace(found, notes=(*found.notes, f"does not say how the gripper's frame lies; taken for that of {gripper.name}"))
    elif not np.allclose(given, target, rtol=0.0, atol=SAME_FRAME):
        found = _turned(found, given @ gripper.pose_base_in_graspgen, gripper)
    dataset = replace(found.dataset, gripper_name=gripper.name, gripper_width=gripper.width, gripper_depth=gripper.depth)
    if found.dataset.gripper_name != gripper.name:
        dataset = replace(dataset, provenance={})
    return replace(found, dataset=dataset, gripper_frame=gripper.base_body, pose_graspgen_in_gripper=target)


def _turned(found: ObjectGrasps, pose_base_in_gripper: Floats, gripper: Gripper) -> ObjectGrasps:
    """The poses in another frame of the gripper, without the fields and the provenance that hold for the old frame."""
    grasps = found.dataset.grasps
    turned = replace(grasps, pose_gripper_in_object=grasps.pose_gripper_in_object @ pose_base_in_gripper)
    note = f"poses were turned from the frame {found.gripper_frame} to the base frame of {gripper.name}"
    document = {key: value for key, value in found.document.items() if key != ISAAC_KEY}
    dataset = replace(found.dataset, grasps=turned, provenance={})
    return replace(found, dataset=dataset, isaac=None, document=document, notes=(*found.notes, note))


def _require_empty(folder: Path) -> None:
    """Formats must not be mixed in a folder, and existing files belong to the user."""
    try:
        there = next((path for path in sorted(folder.iterdir()) if not path.name.startswith(".")), None) if folder.exists() else None
    except OSError as error:
        raise OutputError(f"cannot be read ({error.strerror})", path=folder, advice="choose another --output-dataset") from error
    if there is not None:
        advice = "choose another --output-dataset or move the folder away"
        raise OutputError(f"is not empty, it holds {there.name}", path=folder, advice=advice)


def _contents(
    planned: Sequence[PlannedObject], settings: ConvertCommand, format_: GraspFormat, gripper: Gripper | None, damaged: list[GraspFileError]
) -> Iterator[tuple[PlannedObject, bytes]]:
    """The content of each object's file; objects that cannot be read or written go to `damaged`."""
    assert format_.encode is not None
    for one in planned:
        try:
            found = read_converted(one.entry, gripper, settings.meshes.object_dataset)
            yield one, format_.encode(found, gripper)
        except GraspFileError as error:
            damaged.append(error)
        except MALFORMED as error:
            reason = f"holds what {settings.convert.to} files cannot hold ({one_line(error, 120)})"
            damaged.append(GraspFileError(reason, path=one.entry.shown))


def _write(
    planned: Sequence[PlannedObject],
    contents: Iterable[tuple[PlannedObject, bytes]],
    folder: Path,
    format_: GraspFormat,
    uuids: Mapping[str, str],
    objects_per_shard: int,
) -> list[ConvertedObject]:
    """Writes the objects of one gripper, in archives or in a file each."""
    files: dict[str, Path] = {}
    if format_.archive:
        members = ((uuids[one.object_id], content) for one, content in contents)
        files = format_.archive.write(folder, members, objects_per_shard)
    else:
        names = grasp_file_names([(one.object_id, one.scale) for one in planned], {})
        suffix = GRASP_SUFFIX if format_.trainer_reads else format_.suffixes[0]
        for one, content in contents:
            files[one.object_id] = folder / f"{names[one.object_id].removesuffix(GRASP_SUFFIX)}{suffix}"
            write_atomically(files[one.object_id], content)
    name_of = {one.object_id: uuids.get(one.object_id, one.object_id) for one in planned}
    return [ConvertedObject(*one[1:], name, files[name]) for one in planned if (name := name_of[one.object_id]) in files]


def _write_lists(path: Path, paths: DatasetPaths, planned: Sequence[PlannedObject], written: Sequence[ConvertedObject]) -> None:
    """Writes the map of a folder of JSON files, and the source's splits with the new names of the objects."""
    files = {one.object_id: one.file.name for one in written if one.file.name.endswith(GRASP_SUFFIX)}
    if files:
        write_json_map(paths.object_map, files)
    now = {one.object_id: one.name for one in written}
    before = {one.entry.name: now[one.object_id] for one in planned if one.object_id in now}
    source = DatasetPaths(path, planned[0].entry.gripper).splits
    for name in (TRAIN_FILE, VALID_FILE):
        if planned[0].entry.gripper and (source / name).is_file():
            write_atomically(paths.splits / name, translated_list(source / name, before | now))


def _write_uuid_map(output: Path, new: Mapping[str, str]) -> Path:
    """Adds to the map from uuids to meshes. Raises OutputError if the map is broken or names other objects."""
    path = output / "objects" / UUID_MAP
    try:
        known = read_json_map(path) if path.exists() else {}
        if any(known.get(uuid, object_id) != object_id for uuid, object_id in new.items()):
            raise ValueError("it names other objects")
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot be added to ({one_line(error, 80)})", path=path, advice="choose another --output-dataset") from error
    write_json_map(path, {**known, **new})
    return path
