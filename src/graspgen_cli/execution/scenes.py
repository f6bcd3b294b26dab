"""From what the user names to what is drawn: grasps of any format with their object and gripper, or a gripper alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from graspgen_cli.dataset.collection import Collection, Entry, open_collection, read_entry
from graspgen_cli.dataset.object_grasps import ObjectGrasps
from graspgen_cli.drawing.scene import GraspScene
from graspgen_cli.errors import InputError, ObjectError
from graspgen_cli.grippers.find import builtin_grippers, load_gripper
from graspgen_cli.grippers.saved import saved_grippers
from graspgen_cli.objects.read import read_mesh
from graspgen_cli.objects.scales import id_problem, resolve_object_paths
from graspgen_cli.records import GraspBatch, Gripper, Outcome, TriangleMesh
from graspgen_cli.settings.commands import SceneSettings
from graspgen_cli.settings.models import ObjectSettings

_MODELS = (".xml", ".mjcf", ".urdf", ".sdf", ".usd", ".usda", ".usdc", ".usdz")
_SAME_FRAME = 1e-6
"""Frames that differ by less in every entry are one."""
_HEADER = 4096
"""bytes of a YAML file in which an isaac_grasp file says what it is."""


@dataclass(frozen=True)
class GraspSource:
    """Where scenes come from: the entries of a collection, and the settings that say how to complete them."""

    collection: Collection
    settings: SceneSettings

    @property
    def titles(self) -> tuple[str, ...]:
        """What each entry is called in a list; with the gripper's name where there are several grippers."""
        several = len(self.collection.grippers) > 1
        return tuple(f"{entry.gripper}/{entry.name}" if several else entry.name for entry in self.collection.entries)

    def first(self) -> int:
        """Number of the entry to show first: that with the text of `object` in its title. Raises InputError where there is none."""
        wanted = self.settings.object
        if not self.collection.entries:
            first = self.collection.damaged[0]
            raise InputError(f"{first.path}: {first.reason}")
        if wanted is None:
            return 0
        found = [number for number, title in enumerate(self.titles) if wanted.lower() in title.lower()]
        exact = [number for number in found if self.titles[number] == wanted]
        if not found:
            raise InputError(f"{self.collection.path}: no object with {wanted!r} in its name; there are {_some(self.titles)}")
        return (exact or found)[0]

    def scene(self, number: int) -> GraspScene:
        """The scene of an entry. Raises GraspFileError where the file cannot be read, InputError where the settings leave no grasp."""
        entry = self.collection.entries[number]
        grasps = read_entry(entry)
        gripper, gripper_note = self.gripper(entry, grasps)
        mesh, mesh_note = self._mesh(grasps)
        chosen = self.chosen(grasps, entry.shown)
        dataset = replace(grasps.dataset, grasps=in_our_frame(grasps, gripper)[chosen])
        notes = tuple(note for note in (mesh_note, gripper_note, *grasps.notes) if note)
        title = f"{grasps.dataset.object_id}  ·  {grasps.dataset.gripper_name or 'unnamed gripper'}"
        return GraspScene(title, dataset, chosen, mesh, gripper, notes)

    def chosen(self, grasps: ObjectGrasps, path: Path) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Indices of the grasps that the settings ask for."""
        outcome, count = grasps.dataset.grasps.outcome, len(grasps.dataset.grasps)
        if self.settings.grasp is not None:
            if self.settings.grasp >= count:
                raise InputError(f"{path}: there is no grasp {self.settings.grasp}; the last is {count - 1}")
            return np.array([self.settings.grasp])
        if self.settings.outcome is None:
            return np.arange(count)
        chosen = np.flatnonzero(outcome == Outcome[self.settings.outcome.name])
        if not len(chosen):
            raise InputError(f"{path}: none of its {count} grasps is {self.settings.outcome}")
        return chosen

    def _mesh(self, grasps: ObjectGrasps) -> tuple[TriangleMesh | None, str]:
        """The object's mesh, or None and why."""
        dataset = grasps.dataset
        # The name comes from a file that anybody may have written.
        if problem := id_problem(dataset.object_id):
            return None, f"the object is not drawn: {dataset.object_id[:80]!r} {problem}"
        try:
            return read_mesh(object_root(self.settings) / dataset.object_id, dataset.scale).mesh, ""
        except ObjectError as error:
            return None, f"the object is not drawn: {error}"

    def gripper(self, entry: Entry, grasps: ObjectGrasps) -> tuple[Gripper | None, str]:
        """The gripper that the settings name, else the file, else the file's folder; or None and why."""
        if "gripper_config" in self.settings.model_fields_set:
            return named_gripper(self.settings), ""
        name = grasps.dataset.gripper_name or entry.gripper
        if name not in known_names():
            return None, f"grasps are drawn as lines: no gripper called {name!r} is known; --gripper-config names one"
        return named_gripper(self.settings.model_copy(update={"gripper_config": name})), ""


def in_our_frame(grasps: ObjectGrasps, gripper: Gripper | None) -> GraspBatch:
    """The grasps with poses of our gripper's base, or of GraspGen's frame where the gripper is not known. The file's frame may be
    another one: what both have in common is GraspGen's."""
    batch, offset = grasps.dataset.grasps, grasps.pose_graspgen_in_gripper
    if offset is None:
        return batch
    pose_ours_in_theirs = offset if gripper is None else offset @ gripper.pose_base_in_graspgen
    if np.abs(pose_ours_in_theirs - np.eye(4)).max() < _SAME_FRAME:
        return batch
    return replace(batch, pose_gripper_in_object=batch.pose_gripper_in_object @ pose_ours_in_theirs)


def open_source(settings: SceneSettings) -> GraspSource | Gripper:
    """What is to be shown: grasps under a path, or a gripper by name or file.

    Raises InputError where there is neither, GripperError where the gripper cannot be used.
    """
    path, source = settings.grasp_dataset, str(settings.grasp_dataset)
    if _is_gripper(source, path):
        return named_gripper(settings.model_copy(update={"gripper_config": source}))
    if not path.exists():
        raise InputError(f"{source}: no such dataset, grasp file or gripper; grippers are {', '.join(sorted(known_names()))}")
    return GraspSource(open_collection(path), settings)


def object_root(settings: ObjectSettings) -> Path:
    """The folder that the names of the objects start from."""
    return resolve_object_paths(object_scales_json=settings.object_scales_json, object_dataset=settings.object_dataset)[1]


def _is_gripper(source: str, path: Path) -> bool:
    if path.is_dir():
        return False
    if source in known_names() or path.suffix.lower() in _MODELS:
        return True
    return path.suffix.lower() in (".yaml", ".yml") and path.is_file() and not _says_isaac_grasp(path)


def _says_isaac_grasp(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"isaac_grasp" in file.read(_HEADER)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def known_names() -> frozenset[str]:
    """The grippers that have a name: built in or saved."""
    return frozenset((*builtin_grippers(), *saved_grippers()))


def named_gripper(settings: SceneSettings) -> Gripper:
    """The measured gripper of the settings."""
    return load_gripper(settings.gripper_config, options=settings)


def _some(titles: tuple[str, ...]) -> str:
    return ", ".join(titles[:5]) + (f" and {len(titles) - 5} more" if len(titles) > 5 else "")
