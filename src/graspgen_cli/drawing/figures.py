"""What stands for a grasp in a picture: the gripper's own bodies at the grasp's opening, or a figure of four lines.

Either way it is one mesh in many places, which is what keeps thousands of grasps cheap to send and to draw.

What is drawn: one object with its grasps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.meshes import join_meshes, triangle_mesh
from graspgen_cli.geometry.poses import pose, transform_points
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Gripper, TriangleMesh
from graspgen_cli.settings.datasets import FigureKind

LINE = 0.0012
"""m: thickness of the lines."""
LINES = 4
"""Lines of one grasp, which follow each other."""
_CORNERS = [[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
_SIDES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
UNIT_BOX = triangle_mesh(_CORNERS, [(side[0], side[i], side[i + 1]) for side in _SIDES for i in (1, 2)])
"""A cube of edge 1 m about the origin."""


@dataclass(frozen=True, eq=False)
class Instances:
    """One mesh in M places.

    pose: (M, 4, 4) of the mesh in the object's frame; scale: (M, 3) by which it is stretched along its own axes before that.
    grasp: (M,) index of the grasp that each stands for. body: the gripper's body that this is; -1 for lines.
    """

    mesh: TriangleMesh
    pose: Floats
    scale: Floats
    grasp: NDArray[np.intp]
    body: int = -1

    def of(self, chosen: NDArray[np.bool_]) -> Instances:
        """Those of the grasps that are chosen, (N,)."""
        kept = chosen[self.grasp]
        return Instances(self.mesh, self.pose[kept], self.scale[kept], self.grasp[kept], self.body)


def gripper_figure(gripper: Gripper, grasps: GraspBatch) -> list[Instances]:
    """The gripper's bodies at each grasp, at the measured opening nearest to the grasp's; wide open where that is not known."""
    openings = nearest_openings(gripper, grasps)
    figure = []
    for body, parts in enumerate(gripper.collision_parts):
        if parts:
            poses = grasps.pose_gripper_in_object @ gripper.pose_body_in_base[openings, body]
            figure.append(Instances(join_meshes(list(parts)), poses, np.ones((len(grasps), 3)), np.arange(len(grasps)), body))
    return figure


def nearest_openings(gripper: Gripper, grasps: GraspBatch) -> NDArray[np.intp]:
    """(N,) index of the measured opening at which each grasp is drawn."""
    return gripper.nearest_opening(np.where(np.isnan(grasps.opening_width), gripper.width, grasps.opening_width))


def line_figure(dataset: GraspDataset, gripper: Gripper | None) -> list[Instances]:
    """Four lines a grasp: the wrist, the palm as wide as the opening, and two fingers that end at the fingertips.

    Of a gripper that is not known, the file's width and depth are drawn in GraspGen's convention: approach +Z, closing X.
    """
    grasps = dataset.grasps
    base = _unknown_lines(dataset) if gripper is None else _gripper_lines(gripper, nearest_openings(gripper, grasps))
    ends = transform_points(grasps.pose_gripper_in_object[:, None], base)  # (N, 4, 2, 3)
    poses, lengths = _along(ends.reshape(-1, 2, 3))
    scale = np.column_stack([np.full((len(lengths), 2), LINE), lengths + LINE])
    return [Instances(UNIT_BOX, poses, scale, np.repeat(np.arange(len(grasps)), LINES))]


def _gripper_lines(gripper: Gripper, openings: NDArray[np.intp]) -> Floats:
    """(N, 4, 2, 3) ends of the lines in the gripper's base."""
    return _lines(gripper.fingertip_in_base[openings], gripper.approach_axis_in_base, gripper.depth)


def _unknown_lines(dataset: GraspDataset) -> Floats:
    width = np.where(np.isnan(dataset.grasps.opening_width), dataset.gripper_width, dataset.grasps.opening_width)
    width = np.where(np.isfinite(width) & (width > 0), width, 0.08)
    depth = dataset.gripper_depth if np.isfinite(dataset.gripper_depth) and dataset.gripper_depth > 0 else 0.1
    x = np.stack([width, -width], axis=1) / 2
    return _lines(np.stack([x, np.zeros_like(x), np.full_like(x, depth)], axis=-1), np.array([0.0, 0.0, 1.0]), depth)


def _lines(fingertips: Floats, approach: Floats, depth: float) -> Floats:
    """(N, 4, 2, 3) lines to fingertips (N, 2, 3) that lie `depth` before the base along the approach axis."""
    knuckles = fingertips - depth / 2 * approach
    palm = knuckles.mean(axis=1)
    wrist = np.stack([palm - depth / 2 * approach, palm], axis=1)
    return np.stack([wrist, knuckles, *(np.stack([knuckles[:, i], fingertips[:, i]], axis=1) for i in (0, 1))], axis=1)


def _along(ends: Floats) -> tuple[Floats, Floats]:
    """Poses (S, 4, 4) in the middle of segments (S, 2, 3), z along them, and their lengths (S,)."""
    across = ends[:, 1] - ends[:, 0]
    length = np.linalg.norm(across, axis=1)
    z = np.where(length[:, None] > 0, across / np.maximum(length, 1e-12)[:, None], [0.0, 0.0, 1.0])
    helper = np.where(np.abs(z[:, :1]) < 0.9, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return pose(np.stack([x, np.cross(z, x), z], axis=-1), ends.mean(axis=1)), length


@dataclass(frozen=True, eq=False)
class GraspScene:
    """What one grasp file shows.

    grasp: (N,) index in the file of each grasp of `dataset`, which may be some of them.
    mesh: the object, m, in the frame of the grasps; None where it cannot be read. gripper: None where it is not known.
    notes: what is missing and why, a line each.
    """

    title: str
    dataset: GraspDataset
    grasp: np.ndarray[tuple[int], np.dtype[np.intp]]
    mesh: TriangleMesh | None
    gripper: Gripper | None
    notes: tuple[str, ...] = ()

    def figure(self, kind: FigureKind) -> list[Instances]:
        """What stands for the grasps; lines where the gripper is not known."""
        if kind is FigureKind.GRIPPER and self.gripper is not None:
            return gripper_figure(self.gripper, self.dataset.grasps)
        return line_figure(self.dataset, self.gripper)

    def corners(self, figure: list[Instances]) -> Floats:
        """(P, 3) m: points within whose hull everything lies."""
        boxes = [] if self.mesh is None else [self.mesh.vertices]
        for part in figure:
            low, high = part.mesh.vertices.min(axis=0), part.mesh.vertices.max(axis=0)
            box = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
            boxes.append(transform_points(part.pose, box * part.scale[:, None]).reshape(-1, 3))
        return np.concatenate(boxes) if boxes else np.zeros((1, 3))
