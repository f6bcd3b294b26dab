"""Named protocols, and protocols from a file: each is a sequence of tugs in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from graspgen_cli.errors import SettingsError
from graspgen_cli.files import read_bounded
from graspgen_cli.plain_yaml import load_plain_yaml
from graspgen_cli.settings.models import DEFAULT_TUGS, FiniteFloat, PositiveFloat, Tugs

TUG, GRAVITY = "tug", "gravity"
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


class _FileTug(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    duration: PositiveFloat
    direction: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    scale: FiniteFloat = 1.0


class _FileProtocol(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tugs: list[_FileTug]


def protocol_tugs(protocol: str, tugs: Tugs) -> Tugs:
    """The tugs of a trial: those of the protocol, a name or the path of a YAML file, or `tugs`, as the settings give them, where it is
    the usual one.

    Raises SettingsError where there is no such protocol, the file is none, or both say something.
    """
    if protocol == TUG:
        return tugs
    if tugs != DEFAULT_TUGS:
        raise SettingsError("--protocol and --tug-sequences exclude each other; give one of them")
    return GRAVITY_TUGS if protocol == GRAVITY else _from_file(protocol)


def _from_file(protocol: str) -> Tugs:
    path = Path(protocol).expanduser()
    try:
        read = _FileProtocol.model_validate(_tuples(load_plain_yaml(read_bounded(path, largest=_LARGEST))))
        if not read.tugs or any(not any(tug.direction) for tug in read.tugs):
            raise ValueError("it needs at least one tug, each with a direction that is not zero")
    except FileNotFoundError as error:
        raise SettingsError(f"--protocol {protocol}: there is {TUG}, {GRAVITY}, or the path of a YAML file; this is none") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SettingsError(f"{path}: no protocol ({place}: {first['msg'].lower()}); see docs/judging.md for one") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"{path}: no protocol ({reason}); see docs/judging.md for one") from error
    return tuple((tug.duration, tug.direction, tug.scale) for tug in read.tugs)


def _tuples(document: Any) -> Any:
    """The document with directions as tuples, as a strict model wants them."""
    if not isinstance(document, dict) or not isinstance(document.get("tugs"), list):
        return document
    tugs = [
        {name: tuple(value) if isinstance(value, list) else value for name, value in tug.items()} if isinstance(tug, dict) else tug
        for tug in document["tugs"]
    ]
    return {**document, "tugs": tugs}
