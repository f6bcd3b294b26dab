"""Picture of a gripper: open, half open and closed, with axes, bite point and opening width. Drawn without OpenGL and without a display."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from graspgen_cli.geometry.collision import parts_in_base
from graspgen_cli.geometry.meshes import face_normals
from graspgen_cli.geometry.poses import inverse
from graspgen_cli.grippers.export import STRAIGHT, contact_points
from graspgen_cli.records import Floats, Gripper

PANEL = (360, 400)
"""Pixels, width and height, of each of the three panels."""
_CAPTION = 44  # pixels at the bottom of a panel, for text
_BACKGROUND, _INK, _EDGE = (255, 255, 255), (40, 44, 52), (52, 58, 68)
_BASE, _LINK, _FINGERS = (176, 184, 195), (212, 217, 224), ((118, 170, 226), (240, 176, 108))
_AXES = (("x", (205, 60, 60)), ("y", (60, 150, 70)), ("z", (60, 95, 210)))
_BITE, _WIDTH = (200, 40, 120), (30, 34, 42)
_FINER = 2  # a pixel is the mean of this many pixels squared
_MARGIN = 34  # pixels around the gripper
_TURN, _TILT = np.radians(24.0), np.radians(16.0)  # of the view from the front: about the approach axis, and upwards
_LIGHT = np.array([-0.3, 0.5, 0.8]) / np.linalg.norm([-0.3, 0.5, 0.8])  # direction to the light: right, up, towards the viewer
_AMBIENT = 0.58
_COLOURS = 256
_COPLANAR = 1e-6  # m: of faces in a plane, the first one is visible
_SHARP = 0.9  # cosine of the angle between faces below which their common edge is drawn
_STEP = 6.0  # pixels of depth between neighbours above which an edge is drawn

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _View:
    """Projection from the base's frame to the pixels of a panel.

    rotation: (3, 3) from the base's axes to right, up and towards the viewer. scale: pixels a metre. origin: (2,) m, centre of the
    picture.
    """

    rotation: Floats
    scale: float
    origin: Floats
    size: tuple[int, int]

    def pixels(self, points: Floats) -> Floats:
        """(..., 3): x to the right and y down in pixels, and nearness in metres."""
        seen = points @ self.rotation.T
        x = (seen[..., 0] - self.origin[0]) * self.scale + self.size[0] / 2
        y = self.size[1] / 2 - (seen[..., 1] - self.origin[1]) * self.scale
        return np.stack([x, y, seen[..., 2]], axis=-1)


def gripper_picture(gripper: Gripper) -> bytes:
    """A PNG of three panels: open, half open and closed."""
    last = len(gripper.opening_width) - 1
    half = int(gripper.nearest_opening(np.array([gripper.opening_width[[0, -1]].mean()]))[0])
    panels = [panel(gripper, k, name) for k, name in ((last, "open"), (half, "half open"), (0, "closed"))]
    picture = Image.new("RGB", (PANEL[0] * len(panels), PANEL[1]), _BACKGROUND)
    for number, image in enumerate(panels):
        picture.paste(image, (number * PANEL[0], 0))
    content = io.BytesIO()
    # This method of choosing a palette keeps the colours of small marks.
    picture.quantize(_COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return content.getvalue()


def panel(gripper: Gripper, opening: int, name: str) -> Image.Image:
    """The gripper at an opening index; all openings have the same view and scale."""
    view = _view(gripper)
    drawing = Image.fromarray(_solid_parts(gripper, opening, view))
    _draw_marks(ImageDraw.Draw(drawing), gripper, opening, view)
    image = drawing.resize(PANEL, Image.Resampling.BOX)
    forward = float((gripper.fingertip_in_base[opening] - gripper.fingertip_in_base[-1]).mean(axis=0) @ gripper.approach_axis_in_base)
    moved = f"{forward * 1000:+.1f} mm along the approach axis" if abs(forward) > STRAIGHT else "straight"
    captions = (f"{name}, {gripper.opening_width[opening] * 1000:.1f} mm", gripper.name if name == "open" else f"fingertips {moved}")
    for caption, height, size in zip(captions, (30, 10), (16, 12), strict=True):
        ImageDraw.Draw(image).text((PANEL[0] / 2, PANEL[1] - height), caption, _INK, _font(size), anchor="ms")
    return image


def _view(gripper: Gripper) -> _View:
    """The view in which the gripper fills the panel at every opening: closing to the right, approach up."""
    turn = np.array([[np.cos(_TURN), np.sin(_TURN), 0.0], [-np.sin(_TURN), np.cos(_TURN), 0.0], [0.0, 0.0, 1.0]])
    # Right, up and towards the viewer in GraspGen's axes, seen from the front, -y.
    front = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    tilt = np.array([[1.0, 0.0, 0.0], [0.0, np.cos(_TILT), -np.sin(_TILT)], [0.0, np.sin(_TILT), np.cos(_TILT)]])
    rotation: Floats = tilt @ front @ turn @ gripper.pose_base_in_graspgen[:3, :3]
    parts = [part.vertices for k in (0, len(gripper.opening_width) // 2, -1) for part in parts_in_base(gripper, k)]
    seen = np.concatenate(parts) @ rotation.T
    low, high = seen[:, :2].min(axis=0), seen[:, :2].max(axis=0)
    size = (PANEL[0] * _FINER, PANEL[1] * _FINER)
    room = np.array([size[0] - 2 * _MARGIN * _FINER, size[1] - (2 * _MARGIN + _CAPTION) * _FINER])
    scale = float((room / (high - low)).min())
    return _View(rotation, scale, (low + high) / 2 - np.array([0.0, _CAPTION * _FINER / 2 / scale]), size)


def _solid_parts(gripper: Gripper, opening: int, view: _View) -> Pixels:
    """The shaded parts with lines at the ends of faces and parts: pixels (H, W, 3)."""
    width, height = view.size
    nearness = np.full((height, width), -np.inf)
    face_drawn = np.full((height, width), -1, np.int32)
    normals, colours = [np.zeros((0, 3))], [np.zeros((0, 3))]
    count = 0
    bodies = [body for body, parts in enumerate(gripper.collision_parts) for _ in parts]
    for body, mesh in zip(bodies, parts_in_base(gripper, opening), strict=True):
        triangles = mesh.vertices[mesh.faces]
        normal = face_normals(triangles) @ view.rotation.T
        for number, corners in enumerate(view.pixels(triangles)):
            if normal[number, 2] > 0:
                _fill(corners, count + number, nearness, face_drawn)
        normals.append(normal)
        colours.append(np.tile(np.array(_colour(gripper, body), np.float64), (len(triangles), 1)))
        count += len(triangles)
    return _shade(face_drawn, nearness, np.concatenate(normals), np.concatenate(colours), view)


def _colour(gripper: Gripper, body: int) -> tuple[int, int, int]:
    name = gripper.body_names[body]
    if name in gripper.finger_bodies:
        return _FINGERS[gripper.finger_bodies.index(name)]
    return _BASE if body == 0 else _LINK


def _fill(corners: Floats, face: int, nearness: Floats, face_drawn: NDArray[np.int32]) -> None:
    """Draws a triangle (3, 3), in pixels and nearness, where nothing nearer is drawn."""
    left, top = np.maximum(np.floor(corners[:, :2].min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners[:, :2].max(axis=0)).astype(int) + 1, nearness.shape[::-1])
    edges = (corners[1:, :2] - corners[0, :2]).T
    if left >= right or top >= bottom or abs(np.linalg.det(edges)) < 1e-9:
        return
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    second, third = np.einsum("ij,jhw->ihw", np.linalg.inv(edges), np.stack([x - corners[0, 0], y - corners[0, 1]]))
    depth = corners[0, 2] + second * (corners[1, 2] - corners[0, 2]) + third * (corners[2, 2] - corners[0, 2])
    region = nearness[top:bottom, left:right]
    drawn = (second >= 0) & (third >= 0) & (second + third <= 1) & (depth > region + _COPLANAR)
    region[drawn] = depth[drawn]
    face_drawn[top:bottom, left:right][drawn] = face


def _shade(faces: NDArray[np.int32], nearness: Floats, normals: Floats, colours: Floats, view: _View) -> Pixels:
    """Colours of the pixels (H, W) by the face drawn at each, lit from one side, with dark lines at the ends of faces.

    normals: (F, 3) to the right, up and towards the viewer; colours: (F, 3).
    """
    light = _AMBIENT + (1 - _AMBIENT) * np.clip(normals @ _LIGHT, 0.0, None)
    image = np.concatenate([colours * light[:, None], [_BACKGROUND]])[faces].astype(np.uint8)  # face -1 is the background
    normal = np.concatenate([normals, np.zeros((1, 3))]).astype(np.float32)
    across, along = (slice(None), slice(1, None)), (slice(1, None), slice(None))
    for later, earlier in ((along, (slice(None, -1), slice(None))), (across, (slice(None), slice(None, -1)))):
        first, second = faces[earlier], faces[later]
        rows, columns = np.nonzero(first != second)
        turns = (normal[first[rows, columns]] * normal[second[rows, columns]]).sum(axis=-1) < _SHARP
        jumps = np.abs(nearness[earlier][rows, columns] - nearness[later][rows, columns]) > _STEP / view.scale
        image[earlier][rows[turns | jumps], columns[turns | jumps]] = _EDGE
    return image


def _draw_marks(draw: ImageDraw.ImageDraw, gripper: Gripper, opening: int, view: _View) -> None:
    """The base's axes, the opening width between the pads, and the bite point."""
    graspgen_in_base = inverse(gripper.pose_base_in_graspgen)
    length = 0.18 * (gripper.depth + gripper.width)
    for (name, colour), direction in zip(_AXES, graspgen_in_base[:3, :3].T, strict=True):
        ends = np.stack([graspgen_in_base[:3, 3], graspgen_in_base[:3, 3] + length * direction])
        _arrow(draw, view.pixels(ends)[:, :2], colour, name)
    contacts = contact_points(gripper, opening)
    # The opening width is a line in front of the fingertips.
    raised = view.pixels(gripper.fingertip_in_base[opening])[:, :2] - np.array([0.0, 12.0 * _FINER])
    for contact, top in zip(view.pixels(contacts)[:, :2], raised, strict=True):
        draw.line([*contact, *(top - np.array([0.0, 4.0 * _FINER]))], _WIDTH, _FINER)
    draw.line([*raised[0], *raised[1]], _WIDTH, 2 * _FINER)
    x, y = view.pixels(contacts.mean(axis=0))[:2]
    radius = 4 * _FINER
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), _BITE, (255, 255, 255), _FINER)


def _arrow(draw: ImageDraw.ImageDraw, ends: Floats, colour: tuple[int, int, int], name: str) -> None:
    start, end = ends
    along = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
    beside, head = np.array([-along[1], along[0]]), 9 * _FINER
    draw.line([*start, *(end - along * head / 2)], colour, 2 * _FINER)
    tip = [end, end - head * along + 0.4 * head * beside, end - head * along - 0.4 * head * beside]
    draw.polygon([(float(x), float(y)) for x, y in tip], colour)
    x, y = end + 9 * _FINER * along
    draw.text((float(x), float(y)), name, colour, _font(13 * _FINER), anchor="mm", stroke_width=_FINER, stroke_fill=_BACKGROUND)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
