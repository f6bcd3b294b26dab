"""What happens in a trial, as a time table that every backend follows.

Named protocols, and protocols from a file: each is a sequence of tugs and one of shakes in the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graspgen_cli.errors import SettingsError
from graspgen_cli.files import load_plain_yaml, read_bounded
from graspgen_cli.records import Disturbance, Floats, Gripper
from graspgen_cli.settings.disturbances import DEFAULT_TUGS, Shake, ShakeAxis, ShakeKind, Shakes, Tugs, checked_shakes
from graspgen_cli.settings.models import FiniteFloat, PositiveFloat, SimulationSettings
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


TUG, GRAVITY, SHAKE = "tug", "gravity", "shake"
_SECONDS = 0.5
"""s that gravity pulls in each direction."""
_LARGEST = 1 << 20
"""Bytes of a protocol file, at most."""
_SIX: tuple[tuple[float, float, float], ...] = (
    (0.0, 0.0, 1.0),
    (0.0, 0.0, -1.0),
    (1.0, 0.0, 0.0),
    (-1.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    (0.0, -1.0, 0.0),
)
GRAVITY_TUGS: Tugs = tuple((_SECONDS, direction, 1.0) for direction in _SIX)
"""Gravity from six sides: a steady force on the centre of mass is what gravity is, and turning the gripper is turning the force."""
SHAKES: Shakes = (
    (2.5, ShakeKind.LINEAR, ShakeAxis.APPROACH, 0.0625, 2.0),
    (2.5, ShakeKind.ROTATIONAL, ShakeAxis.CLOSING, 0.5, 2.0),
)
"""What the paper on ACRONYM does, with amplitudes that it does not state: up to 1 g along the approach, as the usual tugs, and about as
much 0.1 m from the axis of the turning (see docs/judging.md)."""


class _FileTug(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    duration: PositiveFloat
    direction: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
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
    """The tugs and shakes of a trial: those of the protocol, a name or the path of a YAML file, or `tugs` and `shakes`, as the settings
    give them, where it is the usual one.

    Raises SettingsError where there is no such protocol, the file is none, or both say something.
    """
    if protocol == TUG:
        return tugs, shakes
    for flag, said in (("--tug-sequences", tugs != DEFAULT_TUGS), ("--shake-sequences", bool(shakes))):
        if said:
            raise SettingsError(f"--protocol and {flag} exclude each other; give one of them")
    named: dict[str, tuple[Tugs, Shakes]] = {GRAVITY: (GRAVITY_TUGS, ()), SHAKE: ((), SHAKES)}
    return named[protocol] if protocol in named else _from_file(protocol)


def _from_file(protocol: str) -> tuple[Tugs, Shakes]:
    path = Path(protocol).expanduser()
    try:
        read = _FileProtocol.model_validate(_tuples(load_plain_yaml(read_bounded(path, largest=_LARGEST))))
        if not (read.tugs or read.shakes) or any(not any(tug.direction) for tug in read.tugs):
            raise ValueError("it needs at least one of tugs or shakes, and each tug a direction that is not zero")
        shakes: tuple[Shake, ...] = tuple((each.duration, each.kind, each.axis, each.amplitude, each.frequency) for each in read.shakes)
        checked_shakes(shakes)
    except FileNotFoundError as error:
        there = ", ".join((TUG, GRAVITY, SHAKE))
        raise SettingsError(f"--protocol {protocol}: there is {there}, or the path of a YAML file; this is none") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SettingsError(f"{path}: no protocol ({place}: {first['msg'].lower()}); see docs/judging.md for one") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"{path}: no protocol ({reason}); see docs/judging.md for one") from error
    return tuple((tug.duration, tug.direction, tug.scale) for tug in read.tugs), shakes


def _tuples(document: Any) -> Any:
    """The document with directions as tuples, as a strict model wants them."""
    if not isinstance(document, dict) or not isinstance(document.get("tugs"), list):
        return document
    tugs = [
        {name: tuple(value) if isinstance(value, list) else value for name, value in tug.items()} if isinstance(tug, dict) else tug
        for tug in document["tugs"]
    ]
    return {**document, "tugs": tugs}
