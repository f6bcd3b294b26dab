"""A trial in MuJoCo's own viewer, which needs a screen."""

from __future__ import annotations

import time
import warnings

from graspgen_cli.errors import OutputError
from graspgen_cli.validate.trace import TrialTrace

_RATE = 60
"""Pictures a second."""
_REST = 1.0
"""s between the end and the next start."""


def show(trace: TrialTrace) -> None:
    """Plays the trial in a window, again and again, until the window is closed. Raises OutputError where none can be opened."""
    try:
        import mujoco.viewer
    except (ImportError, RuntimeError) as error:
        raise OutputError(f"MuJoCo's viewer cannot be opened ({error}); run: pip install 'graspgen-cli[replay]'") from None
    _require_screen()
    model, data = trace.scene.model, mujoco.MjData(trace.scene.model)
    stride = max(1, round(1 / (_RATE * model.opt.timestep)))
    with mujoco.viewer.launch_passive(model, data, show_left_ui=False, show_right_ui=False) as window:
        while window.is_running():
            for position in trace.position[::stride]:
                with window.lock():
                    data.qpos[:] = position
                    mujoco.mj_forward(model, data)
                window.sync()
                time.sleep(stride * model.opt.timestep)
                if not window.is_running():
                    return
            time.sleep(_REST)


def _require_screen() -> None:
    """MuJoCo's viewer ends the process where there is no screen."""
    import glfw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the error below says the same
        there = glfw.init()
    if not there:
        raise OutputError("MuJoCo's viewer needs a screen, and there is none here (DISPLAY); --video FILE.mp4 needs none")
