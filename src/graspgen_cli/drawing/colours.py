"""Colours, letters and legend of every picture.

The colours of the outcomes are from a palette that colour-blind people can tell apart (Okabe and Ito 2008, Color Universal Design).
"""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from graspgen_cli.records import GraspBatch, Gripper, Outcome

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

OUTCOMES: dict[Outcome, Colour] = {
    Outcome.HELD: (0, 114, 178),
    Outcome.COLLISION: (213, 94, 0),
    Outcome.DROPPED: (204, 121, 167),
    Outcome.UNSTABLE: (240, 228, 66),
    Outcome.UNVALIDATED: (120, 126, 135),
}
OBJECT: Colour = (222, 214, 198)
CHOSEN: Colour = (92, 100, 114)  # the selected grasp
BASE: Colour = (112, 120, 132)
LINK: Colour = (168, 176, 187)
FINGERS: tuple[Colour, Colour] = (86, 152, 214), (226, 146, 62)
INK: Colour = (40, 44, 52)
PAPER: Colour = (248, 249, 251)
BITE: Colour = (200, 40, 120)

_LETTER_SIZE = 1 / 55  # as a share of the picture's width


def body_colour(gripper: Gripper, body: int) -> Colour:
    """Colour of a gripper's body in a picture of one gripper: the fingers differ, the base is darker than the other links."""
    name = gripper.body_names[body]
    if name in gripper.finger_bodies:
        return FINGERS[gripper.finger_bodies.index(name)]
    return BASE if body == 0 else LINK


def css(colour: Colour) -> str:
    """The colour in a web page's style."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def with_legend(picture: Image.Image, grasps: GraspBatch, *, title: str) -> Image.Image:
    """The picture with the title at the top, and the number of grasps of each outcome in its colour at the bottom."""
    drawing = ImageDraw.Draw(picture)
    size = max(9, round(picture.width * _LETTER_SIZE))
    font = letters(size)
    drawing.text((size, size), title, INK, font)
    x, y = float(size), picture.height - 2.0 * size
    for outcome in Outcome:
        count = grasps.count(outcome)
        if not count:
            continue
        drawing.rounded_rectangle((x, y, x + size, y + size), size / 4, OUTCOMES[outcome])
        text = f"{outcome.label} {count}"
        drawing.text((x + 1.5 * size, y + size / 2), text, INK, font, anchor="lm")
        x += 1.5 * size + drawing.textlength(text, font) + 1.5 * size
    return picture


def letters(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of every picture."""
    return ImageFont.load_default(size)


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()
