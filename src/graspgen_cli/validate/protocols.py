"""What happens in a trial: the grip closes, then one disturbance follows another. Each is a stage that carries its own forces.

A named protocol is a row of `PROTOCOLS` in `graspgen_cli.tables`. A new kind of disturbance is a function in `DISTURBANCES`; engines apply
the forces of a stage and do not ask for its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graspgen_cli.errors import SettingsError
from graspgen_cli.files import load_plain_yaml, read_bounded
from graspgen_cli.records import Floats, Gripper
from graspgen_cli.settings.base import FiniteFloat, PositiveFloat
from graspgen_cli.settings.trials import DEFAULT_TUGS, ShakeAxis, ShakeKind, Shakes, SimulationSettings, Tugs, checked_shakes
from graspgen_cli.tables import DEFAULT_PROTOCOL, PROTOCOLS
from graspgen_cli.validate.shaking import shake_motion

STANDARD_GRAVITY = 9.81
"""m/s², as GraspDataGen uses it to turn g into a force."""
STILL = 0
"""Row of the table of motion in which the base of the gripper is at rest."""
_LARGEST = 1 << 20
"""Bytes of a protocol file, at most."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A part of a trial, with its forces.

    kind: the name in pictures: `closing`, `tug`, `shake`.
    steps: simulation steps.
    force_in_base: (3,) N, constant, on the object's centre of mass, in the frame of the gripper's base.
    base_motion: (steps, 9) motion of the gripper's base in each step (see `shaking.inertial_wrench`); None: the base is at rest.
    """

    kind: str
    steps: int
    force_in_base: tuple[float, float, float] = (0.0, 0.0, 0.0)
    base_motion: Floats | None = None

    @property
    def may_end_early(self) -> bool:
        """Whether the stage may end once the object creeps steadily. In a shake, one half period says nothing about the next."""
        return self.base_motion is None


def stages(gripper: Gripper, settings: SimulationSettings, mass: float) -> tuple[Stage, ...]:
    """The stages of a trial of an object of `mass` kg: the grip closes and holds, then come the disturbances of each kind."""
    plan = [Stage("closing", _steps(settings.initial_grasp_duration, settings))]
    for of_kind in DISTURBANCES:
        plan += of_kind(gripper, settings, mass)
    return tuple(plan)


def _tugs(gripper: Gripper, settings: SimulationSettings, mass: float) -> Iterator[Stage]:
    """Constant forces. Their directions are given in GraspGen's frame (z approach, x closing)."""
    rotation_graspgen_in_base = gripper.pose_base_in_graspgen[:3, :3].T
    for duration, direction, scale in settings.tug_sequences:
        newton = settings.force_magnitude * STANDARD_GRAVITY * mass * scale
        force: Floats = rotation_graspgen_in_base @ (newton * (np.asarray(direction) / np.linalg.norm(direction)))
        yield Stage("tug", _steps(duration, settings), (float(force[0]), float(force[1]), float(force[2])))


def _shakes(gripper: Gripper, settings: SimulationSettings, mass: float) -> Iterator[Stage]:
    """Motions of the gripper, the same for every mass."""
    for shake in settings.shake_sequences:
        steps = _steps(shake[0], settings)
        yield Stage("shake", steps, base_motion=shake_motion(gripper, shake, steps=steps, fps=settings.fps))


DISTURBANCES: tuple[Callable[[Gripper, SimulationSettings, float], Iterator[Stage]], ...] = (_tugs, _shakes)
"""For each kind of disturbance, in the order in which a trial has the kinds: a function that makes its stages for a gripper, the settings
and the object's mass (kg)."""


def _steps(duration: float, settings: SimulationSettings) -> int:
    return max(1, round(duration * settings.fps))


def motion_table(plan: tuple[Stage, ...]) -> tuple[Floats, NDArray[np.intp]]:
    """The base's motion in all stages as one table (1 + steps, 9), and for each stage the row of its first step. Stages in which the base
    is at rest have the row STILL, which is 0 throughout."""
    motions = [stage.base_motion for stage in plan]
    moving = [motion for motion in motions if motion is not None]
    length = np.array([0 if motion is None else len(motion) for motion in motions])
    first = np.where(length > 0, STILL + 1 + np.cumsum(length) - length, STILL)
    return np.concatenate([np.zeros((1, 9)), *moving]), first


def stage_title(plan: tuple[Stage, ...], number: int) -> str:
    """A stage's name in pictures: `closing`, `tug 2 of 5`, `shake 1 of 2`."""
    kind = plan[number].kind
    alike = [k for k, stage in enumerate(plan) if stage.kind == kind]
    return kind if number == 0 else f"{kind} {alike.index(number) + 1} of {len(alike)}"


class _FileTug(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    duration: PositiveFloat
    direction: Annotated[tuple[FiniteFloat, FiniteFloat, FiniteFloat], Field(strict=False)]
    scale: FiniteFloat = 1.0


class _FileShake(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    duration: PositiveFloat
    kind: Annotated[ShakeKind, Field(strict=False)]
    axis: Annotated[ShakeAxis, Field(strict=False)]
    amplitude: PositiveFloat
    frequency: PositiveFloat


class _FileProtocol(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tugs: list[_FileTug] = []
    shakes: list[_FileShake] = []


def protocol_sequences(protocol: str, tugs: Tugs, shakes: Shakes) -> tuple[Tugs, Shakes]:
    """The tugs and shakes of a protocol: a name of PROTOCOLS or the path of a YAML file. `tugs` and `shakes` are those of the settings,
    which the default protocol leaves as they are.

    Raises SettingsError where no such protocol exists, the file cannot be used, or the settings have sequences besides the protocol's.
    """
    if protocol == DEFAULT_PROTOCOL:
        return tugs, shakes
    for flag, is_given in (("--tug-sequences", tugs != DEFAULT_TUGS), ("--shake-sequences", bool(shakes))):
        if is_given:
            raise SettingsError(f"--protocol and {flag} exclude each other; give one of them")
    if protocol not in PROTOCOLS:
        return _from_file(protocol)
    row = PROTOCOLS[protocol]
    return row.tugs, tuple((seconds, ShakeKind(kind), ShakeAxis(axis), size, rate) for seconds, kind, axis, size, rate in row.shakes)


def _from_file(protocol: str) -> tuple[Tugs, Shakes]:
    path = Path(protocol).expanduser()
    try:
        read = _FileProtocol.model_validate(load_plain_yaml(read_bounded(path, largest=_LARGEST)))
        if not (read.tugs or read.shakes) or any(not any(tug.direction) for tug in read.tugs):
            raise ValueError("it needs at least one of tugs or shakes, and each tug a direction that is not zero")
        shakes = checked_shakes(tuple((each.duration, each.kind, each.axis, each.amplitude, each.frequency) for each in read.shakes))
    except FileNotFoundError as error:
        raise SettingsError(f"--protocol {protocol}: there is {', '.join(PROTOCOLS)}, or the path of a YAML file; this is none") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SettingsError(f"no protocol ({place}: {first['msg'].lower()})", path=path, advice="see docs/judging.md for one") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"no protocol ({reason})", path=path, advice="see docs/judging.md for one") from error
    return tuple((tug.duration, tug.direction, tug.scale) for tug in read.tugs), shakes
