"""Scenes of grasps: an object with its grasps, and the figure that stands for each grasp.

A figure is the gripper's bodies at the grasp's opening, or four lines. Either way it is one mesh at many poses, so that thousands of grasps
are sent and drawn quickly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from graspgen_cli.dataset.collection import Collection, read_entry
from graspgen_cli.errors import InputError, ObjectError
from graspgen_cli.formats.format import Entry, ObjectGrasps
from graspgen_cli.geometry.meshes import bounds, join_meshes, triangle_mesh
from graspgen_cli.geometry.poses import pose, transform_points
from graspgen_cli.grippers.find import known_grippers, load_gripper
from graspgen_cli.objects.read import read_mesh
from graspgen_cli.objects.scales import id_problem, resolve_object_paths
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Gripper, Outcome, TriangleMesh
from graspgen_cli.settings.commands import ReplayCommand, ViewCommand
from graspgen_cli.settings.datasets import FigureKind
from graspgen_cli.settings.inputs import ObjectSettings

LINES = 4
"""Lines of a grasp, which follow each other in the instances."""
_THICKNESS = 0.0012  # m, of the lines
_CORNERS = [[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
_SIDES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
_UNIT_BOX = triangle_mesh(_CORNERS, [(side[0], side[i], side[i + 1]) for side in _SIDES for i in (1, 2)])  # edge 1 m, about the origin
_SAME_FRAME = 1e-6  # largest difference between the entries of two equal frames


@dataclass(frozen=True, eq=False)
class Instances:
    """A mesh at M poses.

    pose: (M, 4, 4) of the mesh in the object's frame; scale: (M, 3) along the mesh's own axes, applied before the pose.
    grasp: (M,) index of the grasp that an instance stands for. body: index of the gripper's body; -1 for lines.
    """

    mesh: TriangleMesh
    pose: Floats
    scale: Floats
    grasp: NDArray[np.intp]
    body: int = -1

    def of(self, chosen: NDArray[np.bool_]) -> Instances:
        """The instances of the chosen grasps (N,)."""
        kept = chosen[self.grasp]
        return Instances(self.mesh, self.pose[kept], self.scale[kept], self.grasp[kept], self.body)


def gripper_figure(gripper: Gripper, grasps: GraspBatch) -> list[Instances]:
    """The gripper's bodies at each grasp, at the measured opening nearest to the grasp's opening; open for an unknown opening."""
    openings = _nearest_openings(gripper, grasps)
    figure = []
    for body, parts in enumerate(gripper.collision_parts):
        if parts:
            poses = grasps.pose_gripper_in_object @ gripper.pose_body_in_base[openings, body]
            figure.append(Instances(join_meshes(list(parts)), poses, np.ones((len(grasps), 3)), np.arange(len(grasps)), body))
    return figure


def _nearest_openings(gripper: Gripper, grasps: GraspBatch) -> NDArray[np.intp]:
    return gripper.nearest_opening(np.where(np.isnan(grasps.opening_width), gripper.width, grasps.opening_width))


def line_figure(dataset: GraspDataset, gripper: Gripper | None) -> list[Instances]:
    """Four lines a grasp: the wrist, the palm as wide as the opening, and two fingers that end at the fingertips.

    An unknown gripper has the file's width and depth, in GraspGen's convention: approach +Z, closing X.
    """
    grasps = dataset.grasps
    if gripper is not None:
        fingertips = gripper.fingertip_in_base[_nearest_openings(gripper, grasps)]
        lines = _lines(fingertips, gripper.approach_axis_in_base, gripper.depth)
    else:
        width = np.where(np.isnan(grasps.opening_width), dataset.gripper_width, grasps.opening_width)
        width = np.where(np.isfinite(width) & (width > 0), width, 0.08)
        depth = dataset.gripper_depth if np.isfinite(dataset.gripper_depth) and dataset.gripper_depth > 0 else 0.1
        x = np.stack([width, -width], axis=1) / 2
        lines = _lines(np.stack([x, np.zeros_like(x), np.full_like(x, depth)], axis=-1), np.array([0.0, 0.0, 1.0]), depth)
    ends = transform_points(grasps.pose_gripper_in_object[:, None], lines).reshape(-1, 2, 3)
    across = ends[:, 1] - ends[:, 0]
    length = np.linalg.norm(across, axis=1)
    z = np.where(length[:, None] > 0, across / np.maximum(length, 1e-12)[:, None], [0.0, 0.0, 1.0])
    scale = np.column_stack([np.full((len(length), 2), _THICKNESS), length + _THICKNESS])
    return [Instances(_UNIT_BOX, pose(rotation_along(z), ends.mean(axis=1)), scale, np.repeat(np.arange(len(grasps)), LINES))]


def _lines(fingertips: Floats, approach: Floats, depth: float) -> Floats:
    """Ends of the lines, (N, 4, 2, 3) m, for fingertips (N, 2, 3) at `depth` from the base along the approach axis."""
    knuckles = fingertips - depth / 2 * approach
    palm = knuckles.mean(axis=1)
    wrist = np.stack([palm - depth / 2 * approach, palm], axis=1)
    return np.stack([wrist, knuckles, *(np.stack([knuckles[:, i], fingertips[:, i]], axis=1) for i in (0, 1))], axis=1)


def rotation_along(z: Floats) -> Floats:
    """Rotations (N, 3, 3) from the z axis to unit directions (N, 3)."""
    helper = np.where(np.abs(z[:, :1]) < 0.9, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=-1)


@dataclass(frozen=True, eq=False)
class GraspScene:
    """An object with grasps of one file.

    grasp: (N,) index in the file of each grasp of `dataset`, which may be a selection.
    mesh: the object, m, in the frame of the grasps; None if it cannot be read. gripper: None if unknown.
    notes: missing parts and the reasons, a line each.
    """

    title: str
    dataset: GraspDataset
    grasp: NDArray[np.intp]
    mesh: TriangleMesh | None
    gripper: Gripper | None
    notes: tuple[str, ...] = ()

    def figure(self, kind: FigureKind) -> list[Instances]:
        """The figures of the grasps; lines for an unknown gripper."""
        if kind is FigureKind.GRIPPER and self.gripper is not None:
            return gripper_figure(self.gripper, self.dataset.grasps)
        return line_figure(self.dataset, self.gripper)

    def outcome(self, grasp: int) -> Outcome:
        """The outcome of a grasp of `dataset`."""
        return Outcome(int(self.dataset.grasps.outcome[grasp]))

    def corners(self, figure: list[Instances]) -> Floats:
        """Points (P, 3) m whose hull contains the object and the figures."""
        boxes = [] if self.mesh is None else [self.mesh.vertices]
        for part in figure:
            box = trimesh.bounds.corners(bounds(part.mesh))
            boxes.append(transform_points(part.pose, box * part.scale[:, None]).reshape(-1, 3))
        return np.concatenate(boxes) if boxes else np.zeros((1, 3))


@dataclass(frozen=True)
class GraspSource:
    """The scenes of a collection. settings: which grasps, which gripper, and the folder of the objects."""

    collection: Collection
    settings: ViewCommand | ReplayCommand

    @property
    def titles(self) -> tuple[str, ...]:
        """The entries' names; with the gripper's name if the collection has several grippers."""
        several = len(self.collection.grippers) > 1
        return tuple(f"{entry.gripper}/{entry.name}" if several else entry.name for entry in self.collection.entries)

    def first(self) -> int:
        """Number of the first entry whose title contains the text of `object`. Raises InputError if there is none."""
        wanted, titles = self.settings.pick.object, self.titles
        if not self.collection.entries:
            raise InputError(self.collection.damaged[0].summary)
        if wanted is None:
            return 0
        if wanted in titles:
            return titles.index(wanted)
        found = [number for number, title in enumerate(titles) if wanted.lower() in title.lower()]
        if not found:
            some = ", ".join(titles[:5]) + (f" and {len(titles) - 5} more" if len(titles) > 5 else "")
            raise InputError(f"no object with {wanted!r} in its name; there are {some}", path=self.collection.path)
        return found[0]

    def scene(self, number: int) -> GraspScene:
        """The scene of an entry. Raises GraspFileError for an unreadable file, InputError if the settings leave no grasp."""
        entry = self.collection.entries[number]
        grasps = read_entry(entry)
        gripper, unknown = self.gripper(entry, grasps)
        mesh, problem = self._mesh(grasps)
        chosen = self.chosen(grasps, entry.shown)
        dataset = replace(grasps.dataset, grasps=in_base_frame(grasps, gripper)[chosen])
        missing = (("the object is not drawn", problem), ("grasps are drawn as lines", unknown))
        notes = (*(f"{consequence}: {reason}" for consequence, reason in missing if reason), *grasps.notes)
        title = f"{grasps.dataset.object_id}  ·  {grasps.dataset.gripper_name or 'unnamed gripper'}"
        return GraspScene(title, dataset, chosen, mesh, gripper, notes)

    def chosen(self, grasps: ObjectGrasps, path: Path) -> NDArray[np.intp]:
        """Indices of the grasps that the settings select. Raises InputError if there is none."""
        pick, outcome = self.settings.pick, grasps.dataset.grasps.outcome
        if pick.grasp is not None and pick.grasp >= len(outcome):
            raise InputError(f"there is no grasp {pick.grasp}; the last is {len(outcome) - 1}", path=path)
        if pick.grasp is not None:
            return np.array([pick.grasp])
        if pick.outcome is None:
            return np.arange(len(outcome))
        chosen = np.flatnonzero(outcome == Outcome[pick.outcome.name])
        if not len(chosen):
            raise InputError(f"none of its {len(outcome)} grasps is {pick.outcome}", path=path)
        return chosen

    def _mesh(self, grasps: ObjectGrasps) -> tuple[TriangleMesh | None, str]:
        """The object's mesh, or None and the reason."""
        dataset = grasps.dataset
        # A file of unknown origin must not name a path outside the folder.
        if problem := id_problem(dataset.object_id):
            return None, f"{dataset.object_id[:80]!r} {problem}"
        try:
            return read_mesh(object_root(self.settings.objects) / dataset.object_id, dataset.scale).mesh, ""
        except ObjectError as error:
            return None, str(error)

    def gripper(self, entry: Entry, grasps: ObjectGrasps) -> tuple[Gripper | None, str]:
        """The gripper of the settings, by default of the file, by default of the file's folder; or None and the reason."""
        options = self.settings.gripper
        if "gripper_config" in options.model_fields_set:
            return load_gripper(options.gripper_config, options=options), ""
        name = grasps.dataset.gripper_name or entry.gripper
        if name not in known_grippers():
            return None, f"no gripper called {name!r} is known; --gripper-config names one"
        return load_gripper(name, options=options), ""


def in_base_frame(grasps: ObjectGrasps, gripper: Gripper | None) -> GraspBatch:
    """The grasps as poses of our gripper's base, or of GraspGen's frame for an unknown gripper.

    A file of another tool may have another base frame; GraspGen's frame is common to both.
    """
    batch, offset = grasps.dataset.grasps, grasps.pose_graspgen_in_gripper
    if offset is None:
        return batch
    pose_ours_in_theirs = offset if gripper is None else offset @ gripper.pose_base_in_graspgen
    if np.abs(pose_ours_in_theirs - np.eye(4)).max() < _SAME_FRAME:
        return batch
    return replace(batch, pose_gripper_in_object=batch.pose_gripper_in_object @ pose_ours_in_theirs)


def object_root(settings: ObjectSettings) -> Path:
    """The folder of the object files."""
    return resolve_object_paths(object_scales_json=settings.object_scales_json, object_dataset=settings.object_dataset)[1]
