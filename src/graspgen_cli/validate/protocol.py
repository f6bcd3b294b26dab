"""What happens in a trial, as a time table that every backend follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.records import Disturbance, Floats, Gripper
from graspgen_cli.settings.models import SimulationSettings
from graspgen_cli.validate.shaking import STILL, shake_steps

STANDARD_GRAVITY = 9.81
"""m/s², as GraspDataGen uses it to turn g into a force."""

CHECK_INTERVAL = 0.1
"""s between two looks at whether an object is lost, or moves no more."""

STEADY_GROWTH = 1.02
"""Motion that grows by less than this factor from one look to the next is steady."""


@dataclass(frozen=True)
class Stage:
    """A part of the trial: the object pulled with a constant force, or the gripper shaken.

    steps: simulation steps.
    force_in_base: N, on the centre of mass, in the gripper's base frame; None while the grip closes.
    motion: row of the table of motion (see `validate.shaking`) for the first step; STILL where the gripper is not shaken.
    """

    steps: int
    force_in_base: tuple[float, float, float] | None
    motion: int = STILL

    @property
    def is_shaken(self) -> bool:
        """Whether the gripper moves."""
        return self.motion != STILL


def disturbances(settings: SimulationSettings) -> tuple[Disturbance, ...]:
    """The tugs of the settings with unit directions."""
    tugs = []
    for duration, direction, scale in settings.tug_sequences:
        unit = np.asarray(direction) / np.linalg.norm(direction)
        tugs.append(Disturbance(duration, (float(unit[0]), float(unit[1]), float(unit[2])), scale))
    return tuple(tugs)


def stages(gripper: Gripper, settings: SimulationSettings, mass: float) -> tuple[Stage, ...]:
    """The grip closing and holding, then each tug, then each shake. A tug's direction is given in GraspGen's convention (z approach,
    x closing)."""
    rotation_graspgen_in_base = gripper.pose_base_in_graspgen[:3, :3].T
    closing = Stage(_steps(settings.initial_grasp_duration, settings), None)
    tugs = []
    for tug in disturbances(settings):
        newton = settings.force_magnitude * STANDARD_GRAVITY * mass * tug.scale
        force: Floats = rotation_graspgen_in_base @ (newton * np.asarray(tug.direction))
        tugs.append(Stage(_steps(tug.duration, settings), (float(force[0]), float(force[1]), float(force[2]))))
    return (closing, *tugs, *_shakes(settings))


def _shakes(settings: SimulationSettings) -> list[Stage]:
    row, shakes = STILL + 1, []
    for shake in settings.shake_sequences:
        shakes.append(Stage(shake_steps(shake, settings), (0.0, 0.0, 0.0), row))
        row += shakes[-1].steps
    return shakes


def stage_title(plan: tuple[Stage, ...], number: int) -> str:
    """What happens in a stage, for pictures: `closing`, `tug 2 of 5`, `shake 1 of 2`."""
    if number == 0:
        return "closing"
    shaken = plan[number].is_shaken
    alike = [k for k, stage in enumerate(plan) if k > 0 and stage.is_shaken == shaken]
    return f"{'shake' if shaken else 'tug'} {alike.index(number) + 1} of {len(alike)}"


def _steps(duration: float, settings: SimulationSettings) -> int:
    return max(1, round(duration * settings.fps))


def is_steady(motion: Floats, motion_before: Floats, *, intervals_left: Floats | float, settings: SimulationSettings) -> NDArray[np.bool_]:
    """(N,) trials of whose stage the rest would change nothing: the object creeps, as soft contacts let it, at a rate that does not
    grow, and what is left of the stage would move it by less than `steady_motion`.

    motion, motion_before: (N,) m that the farthest point of the object moved in the last interval and in the one before.
    """
    return (motion <= STEADY_GROWTH * motion_before) & (motion * intervals_left < settings.steady_motion)


def check_steps(settings: SimulationSettings) -> int:
    """Simulation steps between two looks."""
    return max(1, round(CHECK_INTERVAL * settings.fps))
