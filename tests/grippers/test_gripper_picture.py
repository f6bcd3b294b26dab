"""The picture has the size that it should have, shows every opening, and hides what is behind."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from graspgen_cli.grippers import picture
from graspgen_cli.grippers.picture import PANEL, gripper_picture, panel
from graspgen_cli.records import Gripper


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
        first, second = (coloured(image, hue) for hue in picture._FINGERS)
        assert len(first) > 100 and len(second) > 100
        gaps.append(second[:, 1].mean() - first[:, 1].mean())
        drawn = (pixels(image)[: PANEL[1] - picture._CAPTION] < 250).any(axis=-1)
        assert not drawn[0].any() and not drawn[:, 0].any() and not drawn[:, -1].any()
    assert gaps[0] > gaps[1] > gaps[2] > 0


def test_axes_bite_point_and_width_are_drawn(panda: Gripper) -> None:
    image = panel(panda, 64, "open")
    for colour in (*(colour for _, colour in picture._AXES), picture._BITE, picture._WIDTH):
        assert (np.abs(pixels(image) - colour).max(axis=-1) < 12).sum() > 15


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_is_nearer_hides_what_is_behind(order: tuple[int, int]) -> None:
    nearness, drawn = np.full((20, 20), -np.inf), np.full((20, 20), -1, np.int32)
    far = np.array([[0.0, 0.0, 0.0], [20.0, 0.0, 0.0], [0.0, 20.0, 0.0]])
    near = far + np.array([0.0, 0.0, 0.1])
    near[:, :2] /= 2
    for face in order:
        picture._fill((far, near)[face], face, nearness, drawn)
    assert (drawn[2, 2], drawn[2, 12], drawn[19, 19]) == (1, 0, -1)
    assert nearness[2, 2] == pytest.approx(0.1)
    assert (drawn == 1).sum() == pytest.approx(50, abs=8)


def test_a_triangle_seen_from_its_edge_draws_nothing() -> None:
    nearness, drawn = np.full((9, 9), -np.inf), np.full((9, 9), -1, np.int32)
    picture._fill(np.array([[1.0, 1.0, 0.0], [4.0, 4.0, 1.0], [8.0, 8.0, 0.0]]), 0, nearness, drawn)
    picture._fill(np.array([[90.0, 1.0, 0.0], [94.0, 4.0, 1.0], [98.0, 1.0, 0.0]]), 0, nearness, drawn)
    assert (drawn == -1).all()
