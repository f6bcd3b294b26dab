"""Trials in NVIDIA's PhysX, the engine of Isaac Sim, as the library ovphysx: on a CPU, or on a GPU in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from graspgen_cli.records import GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import More, ObjectFailed, ObjectResults, ObjectTrials, Simulator, Variation, join_states
from graspgen_cli.validate.engines.physx.mechanism import mechanism
from graspgen_cli.validate.engines.physx.usd import write_scene
from graspgen_cli.validate.engines.physx.world import Session, World
from graspgen_cli.validate.progress import Progress, bounds, run_to_end
from graspgen_cli.validate.protocols import STILL, stages
from graspgen_cli.validate.scene import build_scene, in_body_frame, object_mass, pose_object_in_body, started_inside

ENVIRONMENTS_ON_CPU = 256
ENVIRONMENTS_ON_GPU = 4096
"""Trials at once where the settings do not say: with more, environments are so far from the origin that single precision is coarse."""


@lru_cache(maxsize=1)
def _session(device: str) -> Session:
    """PhysX on this device. A process has one PhysX, to its end, whichever engine asked for it first."""
    return Session(device=device)


class PhysxBackend:
    """The engine. PhysX itself starts with the first trials."""

    def __init__(self, *, threads: int = 1, device: str = "cpu") -> None:
        """threads: not used: each worker of a run has a core."""
        self._device = device

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """See `Backend.run`. Raises GripperError for a mechanism that PhysX cannot have."""
        parts = mechanism(gripper)
        body, pose_in_body = in_body_frame(target), pose_object_in_body(target)
        moved = replace(grasps, pose_gripper_in_object=pose_in_body @ grasps.pose_gripper_in_object)
        drawn = Variation.of_tugs(np.ones(len(grasps))) if variation is None else variation
        turned = replace(drawn, center_offset=drawn.center_offset @ pose_in_body[:3, :3].T)
        chunk = settings.max_num_envs or (ENVIRONMENTS_ON_CPU if self._device == "cpu" else ENVIRONMENTS_ON_GPU)
        plan, extent = stages(gripper, settings, object_mass(target, settings)), bounds(gripper, body)
        inside = started_inside(build_scene(gripper, target, settings), gripper, target, grasps)
        states = []
        with tempfile.TemporaryDirectory(prefix="graspgen-") as folder:
            path = Path(folder) / "trial.usda"
            write_scene(path, gripper, body, parts, settings, object_mass(target, settings), on_gpu=self._device != "cpu")
            for part in (slice(first, first + chunk) for first in range(0, len(grasps), chunk)):
                world = World(_session(self._device), path, gripper, body, parts, count=len(grasps[part]), step=1.0 / settings.fps)
                with closing(world):
                    if not turned[part].is_of_tugs_alone:
                        world.vary(turned[part])
                    world.place(gripper, moved[part])
                    advance, progress = partial(_advance, world, turned[part]), Progress(gripper, plan, settings, world.count)
                    states.append(run_to_end(progress, moved[part], extent, inside[part], advance=advance, observe=world.observe))
        state = join_states(states, len(gripper.joint_names))
        return replace(state, pose_object_in_gripper=state.pose_object_in_gripper @ pose_in_body)

    @classmethod
    def open_simulator(cls, gripper: Gripper, settings: SimulationSettings, *, device: str) -> Simulator:
        """A device with this gripper (see `validate.engine.Simulator`). Raises GripperError for a mechanism that PhysX cannot have."""
        mechanism(gripper)
        return _OneByOne(cls(device=device), gripper, settings)


class _OneByOne:
    """The engine with one gripper, as a simulator of one object after the other."""

    takes_more = False

    def __init__(self, backend: PhysxBackend, gripper: Gripper, settings: SimulationSettings) -> None:
        self._backend, self._gripper, self._settings = backend, gripper, settings

    def run(self, trials: Sequence[ObjectTrials], more: More) -> Iterator[ObjectResults | ObjectFailed]:
        """See `Simulator.run`."""
        for each in trials:
            try:
                state = self._backend.run(self._gripper, each.target, each.grasps, self._settings, each.variation)
            except Exception as error:
                yield ObjectFailed.of(each.number, error)
            else:
                yield ObjectResults(each.number, state)


def _advance(world: World, variation: Variation, progress: Progress) -> int:
    """Steps all environments until the first running trial's next look; an environment whose trial has ended no longer counts."""
    made = min(progress.interval, int(progress.left[progress.running].min()))
    force, row = variation.pull[:, None] * progress.force_in_base, progress.motion_row()
    for step in range(made):
        world.press(variation.grip_force)
        if (row != STILL).any():
            world.shake(progress.motion[np.where(row == STILL, STILL, row + step)], force)
        elif force.any():
            world.pull(force)
        world.advance()
    return made
