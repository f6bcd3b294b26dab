"""The colours of every picture. Those of the outcomes are of Okabe and Ito's palette, which the colour-blind can tell apart
(Okabe and Ito 2008, Color Universal Design)."""

from __future__ import annotations

from graspgen_cli.records import Gripper, Outcome

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
