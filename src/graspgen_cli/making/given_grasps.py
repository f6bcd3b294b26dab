"""Grasps that another tool made, of any format that can be read, as what a run tries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graspgen_cli.dataset.collection import open_collection
from graspgen_cli.dataset.convert import plan_conversion, read_converted
from graspgen_cli.formats.format import Entry
from graspgen_cli.objects.scales import ScalesList
from graspgen_cli.records import GraspDataset, Gripper


@dataclass(frozen=True)
class GivenGrasps:
    """scales: the objects that the files name, and the files that cannot be used. entries: where each object's grasps are, by its id."""

    scales: ScalesList
    entries: dict[str, Entry]


def given_grasps(path: Path, gripper: Gripper, meshes: Path) -> GivenGrasps:
    """What there is under a path: of a dataset with several grippers, what is this gripper's.

    meshes: folder that the objects' absolute paths become relative to. Raises InputError where there is nothing to read.
    """
    collection = open_collection(path)
    if gripper.name in collection.grippers:
        collection = open_collection(path, gripper=gripper.name)
    plan = plan_conversion(collection, gripper, meshes)
    problems = tuple((str(error.path), error.summary) for error in plan.damaged)
    objects = tuple((one.object_id, one.scale) for one in plan.objects)
    return GivenGrasps(ScalesList(objects, problems), {one.object_id: one.entry for one in plan.objects})


def read_given(entry: Entry, gripper: Gripper, meshes: Path) -> GraspDataset:
    """One object's grasps, in the frame of the gripper's base. Raises GraspFileError naming the file."""
    return read_converted(entry, gripper, meshes).dataset
