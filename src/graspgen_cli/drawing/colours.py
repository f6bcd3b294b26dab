"""The colours of every picture. Those of the outcomes are of Okabe and Ito's palette, which the colour-blind can tell apart
(Okabe and Ito 2008, Color Universal Design).

What is written on pictures: the title, and which colour is which outcome."""

from __future__ import annotations

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
CHOSEN: Colour = (92, 100, 114)
"""Of the grasp that was picked out of many."""
BASE: Colour = (112, 120, 132)
LINK: Colour = (168, 176, 187)
FINGERS: tuple[Colour, Colour] = (86, 152, 214), (226, 146, 62)
INK: Colour = (40, 44, 52)
PAPER: Colour = (248, 249, 251)
BITE: Colour = (200, 40, 120)
AXES: tuple[Colour, Colour, Colour] = (205, 60, 60), (60, 150, 70), (60, 95, 210)


def body_colour(gripper: Gripper, body: int) -> Colour:
    """Of a gripper's body where the gripper is shown alone: the two fingers apart, the base darker than what joins them."""
    name = gripper.body_names[body]
    if name in gripper.finger_bodies:
        return FINGERS[gripper.finger_bodies.index(name)]
    return BASE if body == 0 else LINK


def css(colour: Colour) -> str:
    """The colour as a page's style names it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


_PER_WIDTH = 1 / 55
"""Size of the letters, as a share of the picture's width."""


def with_legend(picture: Image.Image, grasps: GraspBatch, *, title: str) -> Image.Image:
    """The picture with the title above and, below, how many grasps there are of each outcome, in its colour."""
    drawing = ImageDraw.Draw(picture)
    size = max(9, round(picture.width * _PER_WIDTH))
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
