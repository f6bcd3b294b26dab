"""Videos and strips of a trial, as files."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from graspgen_cli.drawing.plot import PlotStrip
from graspgen_cli.drawing.trial import TrialDrawing, trial_drawing
from graspgen_cli.errors import OutputError, install_command
from graspgen_cli.records import Gripper, TargetObject
from graspgen_cli.validate.trace import TrialTrace

_RATE = {".mp4": 30, ".gif": 15}
"""Pictures a second; a GIF is large."""
_REST = 1.0
"""s for which the end stays in the picture."""
_SIZE = {".mp4": (960, 600), ".gif": (640, 400)}
_PLOT_SHARE = 0.35
"""Height of the plot, as a share of the picture's above it."""
_MOMENTS, _MOMENT_SIZE = 6, (360, 400)
_BEFORE = 0.3
"""s before a failure that a strip shows in detail."""
_COLOURS = 128


def trial_film(trace: TrialTrace, gripper: Gripper, target: TargetObject, *, title: str, form: str, slow_motion: float) -> bytes:
    """The trial as the content of a file: .mp4 or .gif, a video with the plot below; .png, a strip of moments with the plot below.

    Raises OutputError where no OpenGL works or a package is missing.
    """
    if form == ".png":
        return _strip(trace, gripper, target, title)
    width, height = _SIZE[form]
    steps = _video_steps(trace, _RATE[form] * slow_motion)
    plot = PlotStrip(trace, (width, _even(height * _PLOT_SHARE)))
    with trial_drawing(trace, gripper, target, title=title, size=(width, height)) as drawing:
        frames = _frames(drawing, plot, steps)
        return _mp4(frames, _RATE[form]) if form == ".mp4" else _gif(list(frames), _RATE[form])


def _video_steps(trace: TrialTrace, rate: float) -> list[int]:
    """The step that each picture shows: the last of all for some time."""
    times = np.arange(0.0, float(trace.time[-1]), 1 / rate)
    steps = np.minimum(np.searchsorted(trace.time, times), len(trace.time) - 1)
    last = len(trace.time) - 1
    return [*(int(step) for step in steps), *([last] * max(1, round(_REST * rate)))]


def _frames(drawing: TrialDrawing, plot: PlotStrip, steps: Sequence[int]) -> Iterator[Image.Image]:
    """A picture for each of the steps; what does not change is not drawn again."""
    for step, same in groupby(steps):
        frame = _stacked([drawing.at(step)], plot.at(float(drawing.trace.time[step])))
        for _ in same:
            yield frame


def _even(value: float) -> int:
    """Video codecs halve the resolution of colours."""
    return 2 * round(value / 2)


def _stacked(row: Sequence[Image.Image], below: Image.Image) -> Image.Image:
    """Pictures side by side, and one below them."""
    width, height = sum(image.width for image in row), row[0].height
    whole = Image.new("RGB", (width, height + below.height), (255, 255, 255))
    for number, image in enumerate(row):
        whole.paste(image, (number * image.width, 0))
    whole.paste(below, (0, height))
    return whole


def _strip(trace: TrialTrace, gripper: Gripper, target: TargetObject, title: str) -> bytes:
    """Moments from the start to the end, side by side."""
    ordered = _moments(trace)
    plot = PlotStrip(trace, (_MOMENT_SIZE[0] * len(ordered), round(_MOMENT_SIZE[1] * 0.7)))
    with trial_drawing(trace, gripper, target, title="", size=_MOMENT_SIZE) as drawing:
        pictures = [drawing.at(step) for step in ordered]
    content = io.BytesIO()
    _stacked(pictures, plot.at(*(float(trace.time[step]) for step in ordered))).save(content, "PNG", optimize=True)
    return content.getvalue()


def _moments(trace: TrialTrace) -> list[int]:
    """The steps to show, ascending: the start, the end, and what led to the failure; evenly spaced where there was none, or at once."""
    last = len(trace.time) - 1
    if not trace.failed_at or trace.failed_at < _BEFORE:
        return sorted({int(step) for step in np.linspace(0, last, _MOMENTS)})
    times = trace.failed_at - np.linspace(_BEFORE, 0.0, _MOMENTS - 2)
    return sorted({0, *(int(step) for step in np.searchsorted(trace.time, times - 1e-9)), last})


def _gif(frames: list[Image.Image], rate: int) -> bytes:
    # One palette for all, taken from the last frame, which alone is sure to have the outcome's colour.
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
