"""Named protocols, and protocols from a file: each is a sequence of tugs and one of shakes in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graspgen_cli.errors import SettingsError
from graspgen_cli.files import read_bounded
from graspgen_cli.plain_yaml import load_plain_yaml
from graspgen_cli.settings.disturbances import DEFAULT_TUGS, Shake, ShakeAxis, ShakeKind, Shakes, Tugs, checked_shakes
from graspgen_cli.settings.models import FiniteFloat, PositiveFloat

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
much 0.1 m from the axis of the turning (see docs/validity.md)."""


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
