"""`graspgen replay --interactive` on a virtual screen (Xvfb): MuJoCo's window opens, plays the trial to its end and closes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples import OBJECTS
from graspgen_cli.drawing.colours import FINGERS
from graspgen_cli.errors import ExitCode
from test_replay import box_file

pytestmark = pytest.mark.browser
PATIENCE = 90.0
"""s: software rendering on a busy machine."""
TEXT = (slice(0, 30), slice(0, 200))
"""Rows and columns of the window where the time, and the outcome behind it, are written."""


@pytest.fixture(autouse=True)
def screen_there() -> None:
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed: apt-get install xvfb")
    pytest.importorskip("glfw", reason="glfw is not installed")
    pytest.importorskip("Xlib", reason="python-xlib is not installed")


@contextmanager
def screen(*options: str) -> Iterator[str]:
    """A virtual screen of its own: its name for DISPLAY."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x800x24", "-nolisten", "tcp", *options]
    server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as answer:
            number = answer.readline().strip()
        assert number, "Xvfb did not start"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def replaying(dataset: Path, display: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "graspgen_cli", "replay", str(box_file(dataset)), "--interactive", "--object-dataset", str(OBJECTS)]
    environment = {name: value for name, value in os.environ.items() if name != "WAYLAND_DISPLAY"} | {"DISPLAY": display}
    running = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it runs in the background with SIGINT ignored, and so would be what the tests start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


class Window:
    """MuJoCo's window on a screen, as another program sees it."""

    def __init__(self, display: str, running: subprocess.Popen[str]) -> None:
        from Xlib import X
        from Xlib.display import Display
        from Xlib.error import BadWindow

        self._server = Display(display)
        self._root = self._server.screen().root
        self._window: Any = None

        def opened() -> bool:
            assert running.poll() is None, running.communicate()[1]
            with contextlib.suppress(BadWindow):  # one that was there a moment ago
                shown = [each for each in self._root.query_tree().children if each.get_attributes().map_state == X.IsViewable]
                self._window = next((each for each in shown if each.get_wm_name()), None)
            return self._window is not None

        until(opened)

    def pixels(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """(H, W, 3) what the window shows."""
        from Xlib import X

        shape = self._window.get_geometry()
        raw = self._window.get_image(0, 0, shape.width, shape.height, X.ZPixmap, 0xFFFFFFFF).data
        return np.frombuffer(raw, np.uint8).reshape(shape.height, shape.width, 4)[:, :, 2::-1]

    def text_width(self) -> int:
        """Pixels that the line of text takes."""
        written = np.flatnonzero((self.pixels()[TEXT].min(axis=2) > 150).any(axis=0))
        return int(written[-1]) if len(written) else 0

    def close(self) -> None:
        """What a click on the window's cross sends."""
        from Xlib import X
        from Xlib.protocol.event import ClientMessage

        protocols, wish = (self._server.intern_atom(name) for name in ("WM_PROTOCOLS", "WM_DELETE_WINDOW"))
        message = ClientMessage(window=self._window, client_type=protocols, data=(32, [wish, X.CurrentTime, 0, 0, 0]))
        self._window.send_event(message)
        self._server.flush()


def until(true: Callable[[], bool]) -> None:
    """Waits for something, as long as PATIENCE lasts."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)


def of_colour(pixels: np.ndarray[Any, np.dtype[np.uint8]], colour: tuple[int, int, int]) -> int:
    """Pixels that have a colour in some light: the shares of red, green and blue."""
    seen, wanted = pixels.reshape(-1, 3).astype(float), np.array(colour, float)
    bright = seen[seen.max(axis=1) > 60]
    shares = bright / bright.max(axis=1, keepdims=True)
    return int((np.abs(shares - wanted / wanted.max()).max(axis=1) < 0.1).sum())


def test_the_window_opens_plays_the_trial_to_its_end_and_closes(made_dataset: Path) -> None:
    with screen() as display, replaying(made_dataset, display) as running:
        window = Window(display, running)
        until(lambda: all(of_colour(window.pixels(), colour) > 200 for colour in FINGERS))  # large and lit enough to be seen
        until(lambda: 20 < window.text_width() < 60)
        playing = window.text_width()
        first = window.pixels()
        until(lambda: window.text_width() > playing + 25)  # the outcome, which stands there at the end alone
        assert (np.abs(window.pixels().astype(int) - first) > 30).any(axis=2).sum() > 200  # something has moved
        until(lambda: 20 < window.text_width() < playing + 15)  # and from the start again
        window.close()
        output, errors = running.communicate(timeout=PATIENCE)
    assert (running.returncode, errors) == (ExitCode.OK, "")
    assert "outcome of this trial" in output


def test_ctrl_c_ends_it_without_a_word(made_dataset: Path) -> None:
    with screen() as display, replaying(made_dataset, display) as running:
        Window(display, running)
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=PATIENCE)
    assert (running.returncode, errors) == (-signal.SIGINT, "")  # which a shell tells as ExitCode.INTERRUPTED
    assert "outcome of this trial" in output


def test_a_screen_without_opengl_is_told_in_a_line(made_dataset: Path) -> None:
    with screen("-extension", "GLX") as display, replaying(made_dataset, display) as running:
        _, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == ExitCode.OUTPUT
    assert "needs a screen with OpenGL" in errors and errors.count("\n") == 1
