"""A trial as pictures: the gripper as it closes, the object as it stays or goes, and the tug that pulls at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mujoco
import numpy as np
import trimesh
from PIL import Image, ImageDraw

from graspgen_cli.drawing.colours import INK, OBJECT, OUTCOMES, PAPER, Colour, body_colour, letters
from graspgen_cli.drawing.render import Camera, Renderer, Solid, camera_around, renderer
from graspgen_cli.geometry.meshes import bounds, extents, join_meshes, triangle_mesh
from graspgen_cli.geometry.poses import pose, transform_points
from graspgen_cli.records import Floats, Gripper, Outcome, TargetObject, TriangleMesh
from graspgen_cli.validate.protocols import stage_title
from graspgen_cli.validate.trace import TrialTrace

_TOWARDS = np.array([0.35, 1.0, 0.3])
"""In GraspGen's axes: along y, a little from the left and from above; the gripper comes from above, so that its approach points down."""
_UP = np.array([0.0, 0.0, -1.0])
_MARGIN = 1.3
"""Room for an object that leaves."""
_TUG: Colour = (192, 38, 60)
_TUG_LENGTH = 0.35
"""Of the arrow of the strongest tug, as a share of the gripper's depth."""


@dataclass(frozen=True, eq=False)
class TrialDrawing:
    """Draws moments of one trial. Made by `trial_drawing`."""

    trace: TrialTrace
    gripper: Gripper
    target: TargetObject
    title: str
    _renderer: Renderer
    _camera: Camera

    def at(self, step: int) -> Image.Image:
        """The picture after a step, with its time and what is going on; the outcome from the moment that decides it."""
        picture = Image.fromarray(self._renderer.picture(self._solids(step), self._camera))
        return self._written(picture, step)

    def _solids(self, step: int) -> list[Solid]:
        bodies = _body_poses(self.trace, self.gripper, step)
        numbers = [body for body, parts in enumerate(self.gripper.collision_parts) if parts]
        solids = [Solid(n, bodies[body], body_colour(self.gripper, body)) for n, body in enumerate(numbers)]
        solids.append(Solid(len(solids), self.trace.pose_object_in_gripper[step], OBJECT))
        force = self._force(step)
        if force is not None:
            solids.append(Solid(len(solids), self._arrow(step, force), _TUG, np.full(3, np.linalg.norm(force))))
        return solids

    def _force(self, step: int) -> Floats | None:
        """The tug after a step as an arrow (3,) m, in the base; None where nothing pulls."""
        strongest = max(np.linalg.norm(stage.force_in_base) for stage in self.trace.stages)
        force = self.trace.stages[self.stage(step)].force_in_base
        if not any(force):
            return None
        return np.asarray(force) / strongest * _TUG_LENGTH * self.gripper.depth

    def _arrow(self, step: int, force: Floats) -> Floats:
        """Pose (4, 4) of the arrow, which starts where the line of the force leaves the box around the object."""
        z = force / np.linalg.norm(force)
        x = np.cross([1.0, 0.0, 0.0] if abs(z[0]) < 0.9 else [0.0, 1.0, 0.0], z)
        x /= np.linalg.norm(x)
        place = self.trace.pose_object_in_gripper[step]
        start = transform_points(place, self.target.center_of_mass[None])[0] + _way_out(self.target, place[:3, :3].T @ z) * z
        return pose(np.stack([x, np.cross(z, x), z], axis=-1), start)

    def stage(self, step: int) -> int:
        """Number of the stage to which a step belongs; 0 is the closing."""
        ends = np.cumsum([stage.steps for stage in self.trace.stages])
        return min(int(np.searchsorted(ends, step, side="right")), len(ends) - 1)

    def _written(self, picture: Image.Image, step: int) -> Image.Image:
        drawing, size = ImageDraw.Draw(picture), max(15, picture.height // 28)
        stage, time = self.stage(step), float(self.trace.time[step])
        doing = stage_title(self.trace.stages, stage)
        # The outline keeps the text readable where something is drawn behind it.
        for y, text in ((size, self.title), (picture.height - 2 * size, f"{time:.2f} s   {doing}")):
            drawing.text((size, y), text, INK, letters(size), stroke_width=size // 6, stroke_fill=PAPER)
        outcome = self._known_outcome(step)
        if outcome is not None:
            _badge(drawing, picture.width - size, size, outcome, size)
        return picture

    def _known_outcome(self, step: int) -> Outcome | None:
        """What is decided after a step: a failure from its moment on, a hold at the end."""
        last = step == len(self.trace.time) - 1
        failed = self.trace.failed_at
        return self.trace.outcome if last or (failed is not None and self.trace.time[step] >= failed > 0) else None


def _badge(drawing: ImageDraw.ImageDraw, right: float, top: float, outcome: Outcome, size: int) -> None:
    """The outcome in its colour, with its right upper corner at a place."""
    font, colour = letters(round(1.3 * size)), OUTCOMES[outcome]
    width = drawing.textlength(outcome.label, font) + 2 * size
    drawing.rounded_rectangle((right - width, top, right, top + 2.2 * size), size / 2, colour)
    dark = sum(colour) < 380
    drawing.text((right - width / 2, top + 1.1 * size), outcome.label, PAPER if dark else INK, font, anchor="mm")


@contextmanager
def trial_drawing(
    trace: TrialTrace, gripper: Gripper, target: TargetObject, *, title: str, size: tuple[int, int]
) -> Iterator[TrialDrawing]:
    """Draws a trial in pictures of a size (width, height). Raises OutputError where no OpenGL works."""
    meshes = [join_meshes(list(parts)) for parts in gripper.collision_parts if parts] + [target.mesh, _arrow_mesh()]
    upright = gripper.pose_base_in_graspgen[:3, :3]
    corners = _corners(trace, gripper, target)
    camera = camera_around(corners, towards=_TOWARDS @ upright, up=_UP @ upright, aspect=size[0] / size[1], margin=_MARGIN)
    radius = float(np.linalg.norm(corners, axis=1).max()) + _TUG_LENGTH * gripper.depth + float(extents(target.mesh).max())
    with renderer(meshes, size, radius=radius) as drawing:
        yield TrialDrawing(trace, gripper, target, title, drawing, camera)


def _corners(trace: TrialTrace, gripper: Gripper, target: TargetObject) -> Floats:
    """(P, 3) m, in the base: the gripper at both ends of the trial, and the object at its start."""
    points = [transform_points(trace.pose_object_in_gripper[0], target.mesh.vertices)]
    for step in (0, len(trace.time) - 1):
        bodies = _body_poses(trace, gripper, step)
        points += [transform_points(bodies[b], part.vertices) for b, parts in enumerate(gripper.collision_parts) for part in parts]
    return np.concatenate(points)


def _body_poses(trace: TrialTrace, gripper: Gripper, step: int) -> Floats:
    """(B, 4, 4) poses of the gripper's bodies in its base after a step."""
    data = mujoco.MjData(trace.scene.model)
    data.qpos[:] = np.nan_to_num(trace.position[step])
    mujoco.mj_kinematics(trace.scene.model, data)
    bodies = [data.body(name) for name in gripper.body_names]
    return pose(np.array([body.xmat.reshape(3, 3) for body in bodies]), np.array([body.xpos for body in bodies]))


def _way_out(target: TargetObject, direction: Floats) -> float:
    """Distance, m, from the object's centre of mass to the side of its box in a direction, in its frame."""
    low, high = bounds(target.mesh) - target.center_of_mass
    with np.errstate(divide="ignore"):
        return float(np.where(direction > 0, high / direction, np.where(direction < 0, low / direction, np.inf)).min())


def _arrow_mesh() -> TriangleMesh:
    """An arrow along z, 1 m long, from the origin."""
    shaft = trimesh.creation.cylinder(radius=0.05, segment=[[0.0, 0.0, 0.0], [0.0, 0.0, 0.75]])
    head = trimesh.creation.cone(radius=0.13, height=0.25, transform=trimesh.transformations.translation_matrix([0.0, 0.0, 0.75]))
    return join_meshes([triangle_mesh(part.vertices, part.faces) for part in (shaft, head)])
