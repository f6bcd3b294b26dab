"""What a simulation backend is, and the table of those there are."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

from graspgen_cli.errors import SettingsError

if TYPE_CHECKING:  # who only asks for the table is not to wait for more
    from graspgen_cli.records import GraspBatch, Gripper, TargetObject, TrialState
    from graspgen_cli.settings.models import SimulationSettings
    from graspgen_cli.validate.variation import Variation


class Backend(Protocol):
    """Runs trials. Made once, used for many objects."""

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """The end states of trials of all `grasps`, in their order; what comes out for one grasp does not depend on the others.

        variation: how the physics of each trial differs from what the settings say; None: not at all."""


# "module:Class", so that nothing heavy is imported before it is used.
BACKENDS = {
    "mujoco": "graspgen_cli.validate.backends.mujoco_cpu:MujocoBackend",
    "mujoco-warp": "graspgen_cli.validate.backends.mujoco_warp:MujocoWarpBackend",
    "isaaclab": "graspgen_cli.validate.backends.isaac_lab.backend:IsaacLabBackend",
}


def make_backend(name: str, *, threads: int) -> Backend:
    """The backend called `name`, with at most `threads` CPU threads."""
    if name not in BACKENDS:
        raise SettingsError(f"--backend {name}: there is {', '.join(BACKENDS)}")
    module, _, attribute = BACKENDS[name].partition(":")
    backend: Backend = getattr(importlib.import_module(module), attribute)(threads=threads)
    return backend
