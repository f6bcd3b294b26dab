"""What a conversion will do: which entries can be converted, to which gripper and object, and what is wrong with the others."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from graspgen_cli.dataset.collection import Collection, Entry, read_or_damage
from graspgen_cli.dataset.gripper_frames import in_frame_of
from graspgen_cli.dataset.object_grasps import DamagedFile, ObjectGrasps
from graspgen_cli.geometry.poses import is_rotation
from graspgen_cli.objects.scales import id_problem, scale_problem
from graspgen_cli.records import Gripper

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
