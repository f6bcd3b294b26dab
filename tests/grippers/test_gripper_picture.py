"""The picture has the size that it should have, shows every opening, and hides what is behind."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from PIL import Image

from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.grippers.picture import PANEL, gripper_picture, panel
from graspgen_cli.records import Gripper, TriangleMesh

FINGERS = ((118, 170, 226), (240, 176, 108))
"""Blue and orange."""
MARKS = {"x": (205, 60, 60), "y": (60, 150, 70), "z": (60, 95, 210), "bite point": (200, 40, 120), "width": (30, 34, 42)}
CAPTION = 44
"""Pixels at the lower end of a panel that hold the text."""


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image.convert("RGB"), np.int64)


def coloured(image: Image.Image, hue: tuple[int, int, int]) -> NDArray[np.int64]:
    """Rows and columns of the pixels whose colour is a shade of `hue`."""
    shades = pixels(image) / np.maximum(np.linalg.norm(pixels(image), axis=-1, keepdims=True), 1)
    return np.argwhere(shades @ (np.array(hue) / np.linalg.norm(hue)) > 0.9995)


def test_picture_is_a_small_png_of_three_panels(gripper: Gripper) -> None:
    content = gripper_picture(gripper)
    assert len(content) < 60_000
    image = Image.open(io.BytesIO(content))
    assert (image.format, image.size) == ("PNG", (3 * PANEL[0], PANEL[1]))
    parts = [pixels(image)[:, n * PANEL[0] : (n + 1) * PANEL[0]] for n in range(3)]
    assert all((first != second).any() for first, second in ((parts[0], parts[1]), (parts[1], parts[2]), (parts[0], parts[2])))


def test_same_gripper_gives_the_same_bytes(panda: Gripper) -> None:
    assert gripper_picture(panda) == gripper_picture(panda)


def test_fingers_come_nearer_and_nothing_is_cut_off(gripper: Gripper) -> None:
    gaps = []
    for opening in (64, 32, 0):
        image = panel(gripper, opening, "an opening")
        first, second = (coloured(image, hue) for hue in FINGERS)
        assert len(first) > 100 and len(second) > 100
        gaps.append(second[:, 1].mean() - first[:, 1].mean())
        drawn = (pixels(image)[: PANEL[1] - CAPTION] < 250).any(axis=-1)
        assert not drawn[0].any() and not drawn[:, 0].any() and not drawn[:, -1].any()
    assert gaps[0] > gaps[1] > gaps[2] > 0


def test_axes_bite_point_and_width_are_drawn(panda: Gripper) -> None:
    image = panel(panda, 64, "open")
    for colour in MARKS.values():
        assert (np.abs(pixels(image) - colour).max(axis=-1) < 12).sum() > 15


def plate(y: float) -> TriangleMesh:
    """A square of 60 mm across the view, at a place along the base's y axis, away from the viewer."""
    made = trimesh.creation.box((0.06, 0.001, 0.06))
    return triangle_mesh(made.vertices + np.array([0.0, y, 0.06]), made.faces)


def with_plates(gripper: Gripper, *places: float) -> Gripper:
    """The gripper with a plate for each finger, at these places, and nothing else; its fingers do not move."""
    bodies = [(plate(places[gripper.finger_bodies.index(name)]),) if name in gripper.finger_bodies else () for name in gripper.body_names]
    still = np.broadcast_to(np.eye(4), gripper.pose_body_in_base.shape)
    return dataclasses.replace(gripper, collision_parts=tuple(bodies), pose_body_in_base=still)


@pytest.mark.parametrize("near", [0, 1])
def test_what_is_nearer_hides_what_is_behind(panda: Gripper, near: int) -> None:
    image = panel(with_plates(panda, *(-0.02 if finger == near else 0.02 for finger in (0, 1))), 0, "plates")
    seen = [len(coloured(image, hue)) for hue in FINGERS]
    assert seen[near] > 1.5 * seen[1 - near] > 0


def test_a_face_without_area_draws_nothing(panda: Gripper) -> None:
    plates = with_plates(panda, -0.02, 0.02)
    more = [tuple(triangle_mesh(part.vertices, np.vstack([part.faces, [[0, 1, 1]]])) for part in parts) for parts in plates.collision_parts]
    with_more = dataclasses.replace(plates, collision_parts=tuple(more))
    np.testing.assert_array_equal(pixels(panel(with_more, 0, "plates")), pixels(panel(plates, 0, "plates")))
