"""Films of a trial: a video, or a strip of moments, above the plot of contact force and slip.

A picture shows the gripper, the object and the disturbing force on the object after a step of the trial.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import mujoco
import numpy as np
import trimesh
from PIL import Image, ImageDraw

from graspgen_cli.drawing.colours import INK, OBJECT, OUTCOMES, PAPER, Colour, body_colour, letters, png
from graspgen_cli.drawing.plot import PlotStrip
from graspgen_cli.drawing.render import Camera, Renderer, Solid, camera_around, renderer
from graspgen_cli.drawing.scenes import rotation_along
from graspgen_cli.errors import OutputError, install_command
from graspgen_cli.geometry.meshes import bounds, extents, join_meshes, triangle_mesh
from graspgen_cli.geometry.poses import pose, transform_points
from graspgen_cli.records import Floats, Gripper, Outcome, TargetObject, TriangleMesh
from graspgen_cli.validate.protocols import stage_title
from graspgen_cli.validate.trace import TrialTrace

_RATE = {".mp4": 30, ".gif": 15}  # pictures a second; GIF files are large
_SIZE = {".mp4": (960, 600), ".gif": (640, 400)}
_REST = 1.0  # s for which the last picture stays
_PLOT_SHARE = 0.35  # height of the plot, as a share of the picture's height
_MOMENTS, _MOMENT_SIZE = 6, (360, 400)
_BEFORE = 0.3  # s before a failure that a strip shows in detail
_COLOURS = 128
_TOWARDS, _UP = np.array([0.35, 1.0, 0.3]), np.array([0.0, 0.0, -1.0])
"""Viewing direction and upwards in GraspGen's axes: the gripper's approach points down."""
_MARGIN = 1.3  # of the picture around the gripper and the object, for an object that leaves
_FORCE: Colour = (192, 38, 60)
_FORCE_LENGTH = 0.35  # of the arrow of the strongest force, as a share of the gripper's depth


def trial_film(trace: TrialTrace, gripper: Gripper, target: TargetObject, *, title: str, form: str, slow_motion: float) -> bytes:
    """The trial as the content of a file: .mp4 or .gif, a video above the plot; .png, a strip of moments above the plot.

    Raises OutputError without a working OpenGL, and if a package is missing.
    """
    if form == ".png":
        return _strip(trace, gripper, target)
    width, height = _SIZE[form]
    rate = _RATE[form] * slow_motion  # pictures a second of the trial
    times = np.arange(0.0, float(trace.time[-1]), 1 / rate)
    last = len(trace.time) - 1
    steps = [*np.minimum(np.searchsorted(trace.time, times), last).tolist(), *([last] * max(1, round(_REST * rate)))]
    plot = PlotStrip(trace, (width, 2 * round(height * _PLOT_SHARE / 2)))  # video codecs need an even height
    with trial_drawing(trace, gripper, target, title=title, size=(width, height)) as drawing:
        frames = _frames(drawing, plot, steps)
        return _mp4(frames, _RATE[form]) if form == ".mp4" else _gif(list(frames), _RATE[form])


def _frames(drawing: TrialDrawing, plot: PlotStrip, steps: Sequence[int]) -> Iterator[Image.Image]:
    """A picture for each step; equal steps in a row are drawn once."""
    for step, same in groupby(steps):
        frame = _stacked([drawing.at(step)], plot.at(float(drawing.trace.time[step])))
        for _ in same:
            yield frame


def _stacked(row: Sequence[Image.Image], below: Image.Image) -> Image.Image:
    """Pictures side by side, and a picture below."""
    width, height = sum(image.width for image in row), row[0].height
    whole = Image.new("RGB", (width, height + below.height), (255, 255, 255))
    for number, image in enumerate(row):
        whole.paste(image, (number * image.width, 0))
    whole.paste(below, (0, height))
    return whole


def _strip(trace: TrialTrace, gripper: Gripper, target: TargetObject) -> bytes:
    steps = _moments(trace)
    plot = PlotStrip(trace, (_MOMENT_SIZE[0] * len(steps), round(_MOMENT_SIZE[1] * 0.7)))
    with trial_drawing(trace, gripper, target, title="", size=_MOMENT_SIZE) as drawing:
        pictures = [drawing.at(step) for step in steps]
    return png(_stacked(pictures, plot.at(*(float(trace.time[step]) for step in steps))))


def _moments(trace: TrialTrace) -> list[int]:
    """Steps of a strip, ascending: start, end, and moments before a failure; evenly spaced without a failure or if it is early."""
    last = len(trace.time) - 1
    if not trace.failed_at or trace.failed_at < _BEFORE:
        return sorted({int(step) for step in np.linspace(0, last, _MOMENTS)})
    times = trace.failed_at - np.linspace(_BEFORE, 0.0, _MOMENTS - 2)
    return sorted({0, *(int(step) for step in np.searchsorted(trace.time, times - 1e-9)), last})


def _gif(frames: list[Image.Image], rate: int) -> bytes:
    # The palette of the last frame serves all frames: only this frame is sure to have the outcome's colour.
    palette = frames[-1].quantize(_COLOURS, method=Image.Quantize.MEDIANCUT)
    reduced = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    content = io.BytesIO()
    reduced[0].save(content, "GIF", save_all=True, append_images=reduced[1:], duration=round(1000 / rate), loop=0, optimize=False)
    return content.getvalue()


def _mp4(frames: Iterator[Image.Image], rate: int) -> bytes:
    try:
        import imageio_ffmpeg
    except ModuleNotFoundError:
        raise OutputError(f"a video needs imageio-ffmpeg; run {install_command('replay')}, or write a .gif or .png") from None
    first = next(frames)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trial.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(file), first.size, fps=rate, codec="libx264", macro_block_size=2, output_params=["-crf", "20", "-movflags", "+faststart"]
        )
        writer.send(None)
        for frame in (first, *frames):
            writer.send(frame.tobytes())
        writer.close()
        return file.read_bytes()


@contextmanager
def trial_drawing(
    trace: TrialTrace, gripper: Gripper, target: TargetObject, *, title: str, size: tuple[int, int]
) -> Iterator[TrialDrawing]:
    """Pictures of a trial of a size (width, height). Raises OutputError without a working OpenGL."""
    meshes = [join_meshes(list(parts)) for parts in gripper.collision_parts if parts] + [target.mesh, _arrow_mesh()]
    upright = gripper.pose_base_in_graspgen[:3, :3]
    # The gripper at both ends of the trial, and the object at its start, in the base's frame.
    points = [transform_points(trace.pose_object_in_gripper[0], target.mesh.vertices)]
    for bodies in (_body_poses(trace, gripper, 0), _body_poses(trace, gripper, len(trace.time) - 1)):
        points += [transform_points(bodies[b], part.vertices) for b, parts in enumerate(gripper.collision_parts) for part in parts]
    corners = np.concatenate(points)
    camera = camera_around(corners, towards=_TOWARDS @ upright, up=_UP @ upright, aspect=size[0] / size[1], margin=_MARGIN)
    radius = float(np.linalg.norm(corners, axis=1).max()) + _FORCE_LENGTH * gripper.depth + float(extents(target.mesh).max())
    with renderer(meshes, size, radius=radius) as drawing:
        yield TrialDrawing(trace, gripper, target, title, drawing, camera)


@dataclass(frozen=True, eq=False)
class TrialDrawing:
    """Draws moments of a trial. Made by `trial_drawing`."""

    trace: TrialTrace
    gripper: Gripper
    target: TargetObject
    title: str
    _renderer: Renderer
    _camera: Camera

    def at(self, step: int) -> Image.Image:
        """The picture after a step, with time, stage, and the outcome from the moment that decides it."""
        picture = Image.fromarray(self._renderer.picture(self._solids(step), self._camera))
        drawing, size = ImageDraw.Draw(picture), max(15, picture.height // 28)
        doing = stage_title(self.trace.stages, self._stage(step))
        # The outline keeps the text readable in front of the scene.
        for y, text in ((size, self.title), (picture.height - 2 * size, f"{self.trace.time[step]:.2f} s   {doing}")):
            drawing.text((size, y), text, INK, letters(size), stroke_width=size // 6, stroke_fill=PAPER)
        failed = self.trace.failed_at
        if step == len(self.trace.time) - 1 or (failed is not None and self.trace.time[step] >= failed > 0):
            _draw_badge(drawing, picture.width - size, size, self.trace.outcome, size)
        return picture

    def _solids(self, step: int) -> list[Solid]:
        bodies = _body_poses(self.trace, self.gripper, step)
        numbers = [body for body, parts in enumerate(self.gripper.collision_parts) if parts]
        solids = [Solid(n, bodies[body], body_colour(self.gripper, body)) for n, body in enumerate(numbers)]
        solids.append(Solid(len(solids), self.trace.pose_object_in_gripper[step], OBJECT))
        arrow = self._arrow(step)
        return solids if arrow is None else [*solids, Solid(len(solids), arrow[0], _FORCE, np.full(3, arrow[1]))]

    def _arrow(self, step: int) -> tuple[Floats, float] | None:
        """Pose (4, 4) in the base's frame and length (m) of the force's arrow; None without a force.

        The arrow starts where the force's line through the centre of mass leaves the object's bounding box.
        """
        forces = [stage.force_in_base for stage in self.trace.stages]
        strongest = max(np.linalg.norm(force) for force in forces)
        force = forces[self._stage(step)]
        if not any(force):
            return None
        arrow = np.asarray(force) / strongest * _FORCE_LENGTH * self.gripper.depth
        length = float(np.linalg.norm(arrow))
        z = arrow / length
        place = self.trace.pose_object_in_gripper[step]
        low, high = bounds(self.target.mesh) - self.target.center_of_mass
        direction = place[:3, :3].T @ z
        with np.errstate(divide="ignore"):
            outside = float(np.where(direction > 0, high / direction, np.where(direction < 0, low / direction, np.inf)).min())
        start = transform_points(place, self.target.center_of_mass[None])[0] + outside * z
        return pose(rotation_along(z[None])[0], start), length

    def _stage(self, step: int) -> int:
        """Number of the stage of a step; 0 is the closing."""
        ends = np.cumsum([stage.steps for stage in self.trace.stages])
        return min(int(np.searchsorted(ends, step, side="right")), len(ends) - 1)


def _draw_badge(drawing: ImageDraw.ImageDraw, right: float, top: float, outcome: Outcome, size: int) -> None:
    """Draw the outcome in its colour, with the upper right corner at a place."""
    font, colour = letters(round(1.3 * size)), OUTCOMES[outcome]
    width = drawing.textlength(outcome.label, font) + 2 * size
    drawing.rounded_rectangle((right - width, top, right, top + 2.2 * size), size / 2, colour)
    dark = sum(colour) < 380
    drawing.text((right - width / 2, top + 1.1 * size), outcome.label, PAPER if dark else INK, font, anchor="mm")


def _body_poses(trace: TrialTrace, gripper: Gripper, step: int) -> Floats:
    """(B, 4, 4) poses of the gripper's bodies in its base after a step."""
    data = mujoco.MjData(trace.scene.model)
    data.qpos[:] = np.nan_to_num(trace.position[step])
    mujoco.mj_kinematics(trace.scene.model, data)
    bodies = [data.body(name) for name in gripper.body_names]
    return pose(np.array([body.xmat.reshape(3, 3) for body in bodies]), np.array([body.xpos for body in bodies]))


def _arrow_mesh() -> TriangleMesh:
    """An arrow along z, 1 m long, from the origin."""
    shaft = trimesh.creation.cylinder(radius=0.05, segment=[[0.0, 0.0, 0.0], [0.0, 0.0, 0.75]])
    head = trimesh.creation.cone(radius=0.13, height=0.25, transform=trimesh.transformations.translation_matrix([0.0, 0.0, 0.75]))
    return join_meshes([triangle_mesh(part.vertices, part.faces) for part in (shaft, head)])
