"""Plot of a trial over time: the contact force of each finger and the slip of the object. Drawn by matplotlib, without a display."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from graspgen_cli.drawing.colours import FINGERS, INK, OUTCOMES, Colour, css
from graspgen_cli.errors import OutputError, install_command
from graspgen_cli.validate.protocols import stage_title
from graspgen_cli.validate.trace import TrialTrace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 100
_SLIP: Colour = (90, 90, 90)
_STAGE: Colour = (236, 238, 242)
_FORCE_ROOM = 1.25  # height of the force axis in units of the 99.5th percentile; impacts of a step or two may be higher
_TIMELESS: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Metadata of a file, so that the same trial gives the same bytes."""


def plot_file(trace: TrialTrace, *, title: str, form: str) -> bytes:
    """The plot as the content of a file: png, svg or pdf. Raises OutputError if matplotlib is missing."""
    figure = _figure(trace, size=(900, 420), title=title)
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "graspgen"}):  # names in an SVG are random by default
        figure.savefig(content, format=form, metadata=_TIMELESS.get(form))
    return content.getvalue()


class PlotStrip:
    """The plot as a strip below other pictures, with marks at moments. size: width and height, pixels."""

    def __init__(self, trace: TrialTrace, size: tuple[int, int]) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure = _figure(trace, size=size, title="")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        self._picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
        self._axes = figure.axes[0]
        self._height = size[1]

    def at(self, *times: float) -> Image.Image:
        """The strip with a line at each of the moments, s."""
        picture = self._picture.copy()
        drawing = ImageDraw.Draw(picture)
        low, high = (self._height - float(y) for y in self._axes.bbox.intervaly)
        for time in times:
            x = float(self._axes.transData.transform((time, 0.0))[0])
            drawing.line((x, high, x, low), INK, 1)
        return picture


def _figure(trace: TrialTrace, *, size: tuple[int, int], title: str) -> Figure:
    """Force on the left axis, slip on the right axis; every second stage shaded, the moment of failure marked."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise OutputError(f"the plot needs {error.name}; run {install_command('replay')}") from None
    figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI, layout="constrained")
    force = figure.subplots()
    slip = force.twinx()
    duration = _draw_stages(force, trace)
    for finger, colour in enumerate(FINGERS):
        force.plot(trace.time, trace.finger_contact_force[:, finger], color=css(colour), lw=1.4, label=f"finger {finger + 1}")
    slip.plot(trace.time, 1000 * trace.slip[:, 0], color=css(_SLIP), lw=1.4, ls="--", label="slip")
    _mark_failure(force, trace, duration)
    force.set(xlabel="time (s)", ylabel="contact force (N)", xlim=(0.0, duration), ylim=(0.0, _highest_force(trace)))
    slip.set(ylabel="slip (mm)", ylim=(0.0, _highest_slip(trace)))
    lines = [*force.get_lines()[: len(FINGERS)], slip.get_lines()[0]]
    figure.legend(lines, [str(line.get_label()) for line in lines], loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    force.set_title(title, fontsize=10, color=css(INK), loc="right")
    return figure


def _draw_stages(axes: Any, trace: TrialTrace) -> float:
    """Shade every second stage, and name all; returns the end of the last stage, s."""
    start, step = 0.0, float(trace.scene.model.opt.timestep)
    for number, stage in enumerate(trace.stages):
        end = start + stage.steps * step
        if number % 2:
            axes.axvspan(start, end, color=css(_STAGE), lw=0)
        text = stage_title(trace.stages, number).partition(" of ")[0]
        axes.text((start + end) / 2, 0.98, text, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=8, color="#666666")
        start = end
    return sum(stage.steps for stage in trace.stages) * step


def _mark_failure(axes: Any, trace: TrialTrace, duration: float) -> None:
    if trace.failed_at is None:
        return
    colour = css(OUTCOMES[trace.outcome])
    axes.axvline(trace.failed_at, color=colour, lw=2)
    right = trace.failed_at > duration * 0.7
    axes.annotate(
        f"{trace.outcome.label} at {trace.failed_at:.2f} s",
        (trace.failed_at, 0.5),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-6 if right else 6, 0),
        textcoords="offset points",
        ha="right" if right else "left",
        fontsize=10,
        fontweight="bold",
        color=colour,
    )


def _highest_force(trace: TrialTrace) -> float:
    """N."""
    force = trace.finger_contact_force[np.isfinite(trace.finger_contact_force)]
    return max(_FORCE_ROOM * float(np.percentile(force, 99.5)), 1e-3) if len(force) else 1.0


def _highest_slip(trace: TrialTrace) -> float:
    """mm; at least 1, so that the line of a grip without slip is flat."""
    slip = 1000 * trace.slip[np.isfinite(trace.slip[:, 0]), 0]
    return max(1.0, 1.3 * float(slip.max())) if len(slip) else 1.0
