"""The app: nothing else may be imported before it runs."""

import os

from isaaclab import _physics, calls


class AppLauncher:
    def __init__(self, launcher_args=None, *, headless, device):
        calls.append(("AppLauncher", {"headless": headless, "device": device}))
        print("[Info] Kit prints to stdout, and a lot", flush=True)
        if os.environ.get("GRASPGEN_FAKE_DIES"):
            os._exit(3)
        _physics.started = True

    @property
    def app(self):
        return _physics.App()
