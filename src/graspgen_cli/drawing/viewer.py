"""A trial in MuJoCo's interactive viewer, which needs a display."""

from __future__ import annotations

import contextlib
import copy
import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np

from graspgen_cli.drawing.colours import OBJECT, body_colour
from graspgen_cli.errors import OutputError, install_command
from graspgen_cli.records import Gripper
from graspgen_cli.validate.trace import TrialTrace

_RATE = 60  # pictures a second
_REST = 1.0  # s between the end and the next start
_GRACE = 5.0  # s that the window has to close
_LIGHT = {"ambient": 0.4, "diffuse": 0.6, "specular": 0.1}  # at the viewer's head; the scene has no light
_ROOM = 0.8  # share of the distance at which the bounding spheres fill the window; the parts are smaller


def show(trace: TrialTrace, gripper: Gripper) -> None:
    """Play the trial in a window, again and again, until the window is closed. Ctrl-C ends the process. For the main thread only.

    Raises OutputError if no window can be opened.
    """
    try:
        import mujoco.viewer
    except (ImportError, RuntimeError) as error:
        raise OutputError(f"MuJoCo's viewer cannot be opened ({error}); run {install_command('replay')}") from None
    _require_screen()
    model = _coloured_model(trace, gripper)
    data = mujoco.MjData(model)
    _go_to(trace, 0, model, data)
    # Calls to a window that closes during a step raise UnexpectedError.
    with _open(model, data) as window, contextlib.suppress(mujoco.UnexpectedError):
        _aim(window, model, data)
        while window.is_running():
            _play(trace, model, data, window)


@contextlib.contextmanager
def _open(model: mujoco.MjModel, data: mujoco.MjData) -> Iterator[Any]:
    """A window of MuJoCo's viewer. Waits at the end for the viewer's threads: a process that ends before its threads crashes."""
    others = set(threading.enumerate())
    # The viewer's threads cannot be interrupted within a picture, so Ctrl-C and SIGTERM end the process at once.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with mujoco.viewer.launch_passive(model, data, show_left_ui=False, show_right_ui=False) as window:
            yield window
        for thread in set(threading.enumerate()) - others:
            thread.join(_GRACE)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _play(trace: TrialTrace, model: mujoco.MjModel, data: mujoco.MjData, window: Any) -> None:
    """Play the trial once at its own speed, and show its last step."""
    last = len(trace.time) - 1
    stride = max(1, round(1 / (_RATE * model.opt.timestep)))
    for step in [*range(0, last, stride), last]:
        if not window.is_running():
            return
        with window.lock():
            _go_to(trace, step, model, data)
        ended = trace.outcome.label if step == last else ""
        window.set_texts((None, mujoco.mjtGridPos.mjGRID_TOPLEFT, f"{trace.time[step]:.2f} s", ended))
        window.sync()
        time.sleep(_REST if step == last else stride * model.opt.timestep)


def _go_to(trace: TrialTrace, step: int, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Set the scene to its state after a step. A diverged trial ends with NaN, which is shown as 0."""
    data.qpos[:] = np.nan_to_num(trace.position[step])
    mujoco.mj_forward(model, data)


def _coloured_model(trace: TrialTrace, gripper: Gripper) -> mujoco.MjModel:
    """The scene's model with a light, and with the bodies' colours of other pictures."""
    model = copy.copy(trace.scene.model)
    for name, strength in _LIGHT.items():
        getattr(model.vis.headlight, name)[:] = strength
    for geom, body in enumerate(model.geom_bodyid):
        name = model.body(body).name
        colour = body_colour(gripper, gripper.body_names.index(name)) if name in gripper.body_names else OBJECT
        model.geom_rgba[geom] = [*(channel / 255 for channel in colour), 1.0]
    return model


def _aim(window: Any, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Point the camera at the scene from slightly above, at a distance at which the scene fills the window."""
    reach = model.geom_rbound[:, None]
    low, high = (data.geom_xpos - reach).min(axis=0), (data.geom_xpos + reach).max(axis=0)
    radius = float(np.linalg.norm(high - low)) / 2
    with window.lock():
        model.stat.extent = radius  # objects nearer than a hundredth of the extent are not drawn
        window.cam.lookat[:] = (low + high) / 2
        window.cam.distance = _ROOM * radius / math.sin(math.radians(model.vis.global_.fovy) / 2)


def _require_screen() -> None:
    """Raises OutputError without a display or without OpenGL on it: MuJoCo's viewer would end the process."""
    import glfw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the errors below say the same
        if not glfw.init():
            raise OutputError("MuJoCo's viewer needs a screen, and there is none here (DISPLAY); --video FILE.mp4 needs none")
        glfw.window_hint(glfw.VISIBLE, glfw.FALSE)
        drawn = glfw.create_window(8, 8, "", None, None)
        if drawn:
            glfw.destroy_window(drawn)
        glfw.default_window_hints()
    if not drawn:
        raise OutputError("MuJoCo's viewer needs a screen with OpenGL, and this one (DISPLAY) has none; --video FILE.mp4 needs none")
