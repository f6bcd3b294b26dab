"""What is drawn: one object with its grasps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graspgen_cli.drawing.figures import Instances, gripper_figure, line_figure
from graspgen_cli.geometry.poses import transform_points
from graspgen_cli.records import Floats, GraspDataset, Gripper, TriangleMesh
from graspgen_cli.settings.view_models import FigureKind


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
