"""The process that Isaac Sim runs in: starts the app once, then does one job after another until its pipe is closed.

Run by `IsaacLabBackend` as ``python -m graspgen_cli.validate.engines.isaaclab.server FILE_DESCRIPTOR DEVICE headless|headed LOG``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from graspgen_cli.errors import GraspgenError
from graspgen_cli.records import TrialState

READY = "ready"
"""What is sent when the app has started."""
HEARTBEAT = 1.0
"""s between two looks at whether the process that started this one is still there."""


def serve(descriptor: int, device: str, *, headed: bool, log: Path) -> None:
    """Does the jobs that come through the pipe; every answer is a TrialState, or the text of what went wrong.

    log: file of what this process prints, which is removed here where nothing went wrong, for the owner may have been killed.
    """
    pipe = Connection(descriptor)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    app = _start_app(device, headed=headed)
    went_well = True
    with contextlib.suppress(EOFError, OSError):
        pipe.send(READY)
        while True:
            answer = _answer(pipe.recv())
            went_well = went_well and isinstance(answer, TrialState)
            pipe.send(answer)
    pipe.close()
    if went_well:
        log.unlink(missing_ok=True)
    app.close()


def _end_with(owner: int) -> None:
    """Ends this process when its owner is gone, such as a worker that was killed because a trial hung; the GPU would stay taken."""
    while os.getppid() == owner:
        time.sleep(HEARTBEAT)
    os._exit(1)


def _start_app(device: str, *, headed: bool) -> Any:
    """Nothing else of Isaac Lab can be imported before the app runs."""
    from isaaclab.app import AppLauncher

    return AppLauncher(headless=not headed, device=device).app


def _answer(job: Any) -> Any:
    from graspgen_cli.validate.engines.isaaclab.simulate import run_job

    try:
        return run_job(job)
    except GraspgenError as error:
        return str(error)
    except Exception as error:
        traceback.print_exc()  # into the log file that the backend names
        return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"


if __name__ == "__main__":
    number, on, how, printed = sys.argv[1:]
    # The app would take our arguments for its own.
    del sys.argv[1:]
    serve(int(number), on, headed=how == "headed", log=Path(printed))
