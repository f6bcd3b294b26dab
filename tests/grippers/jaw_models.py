"""Small grippers, as MJCF text, for the tests."""

from __future__ import annotations


def parallel_jaw(
    *,
    stroke: float = 0.06,
    pad: tuple[float, float, float] = (0.005, 0.01, 0.015),
    base: str = "",
    yaw: float = 0.0,
    names: tuple[str, str] = ("left", "right"),
    open_at_zero: bool = False,
    coupling: str = '<equality><joint joint1="left_slide" joint2="right_slide"/></equality>',
    extra: str = "",
    scale: float = 1.0,
) -> str:
    """Two slides with box pads on a box palm; approach +Z; closing along X, turned by `yaw` (rad) about Z.

    stroke: m, of both fingers together; pad: half sizes (m) along closing, across, along the approach; base: attributes of the
    base body; scale: what every length is multiplied by; extra: elements of the base body.
    """
    x, y, z = (scale * half for half in pad)
    half_stroke, height = scale * stroke / 2, scale * 0.08

    def finger(name: str, joint: str, side: int) -> str:
        start = side * (x + half_stroke if open_at_zero else x)
        reach = f"-{half_stroke} 0" if open_at_zero else f"0 {half_stroke}"
        return f"""
        <body name="{name}" pos="{start} 0 {height}">
          <joint name="{joint}" type="slide" axis="{side} 0 0" range="{reach}"/>
          <geom type="box" size="{x} {y} {z}" mass="0.05"/>
        </body>"""

    return f"""
    <mujoco>
      <compiler angle="radian" autolimits="true"/>
      <worldbody>
        <body name="palm" {base}>
          <geom type="box" size="{0.05 * scale} {0.02 * scale} {0.02 * scale}" pos="0 0 {0.03 * scale}" mass="0.5"/>
          {extra}
          <frame euler="0 0 {yaw}">{finger(names[0], "left_slide", -1)}{finger(names[1], "right_slide", 1)}</frame>
        </body>
      </worldbody>
      {coupling}
    </mujoco>"""
