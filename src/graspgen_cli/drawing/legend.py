"""What is written on pictures: the title, and which colour is which outcome."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from graspgen_cli.drawing.colours import INK, OUTCOMES
from graspgen_cli.records import GraspBatch, Outcome

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
