"""The variables at the head of GraspGen's training scripts: lines such as ``export GRIPPER_NAME="franka_panda"``."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ASSIGNMENT = re.compile(r"^(?P<head>[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)=)(?P<value>[^\r\n]*)", re.MULTILINE)
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")
_PLAIN = re.compile(r"[A-Za-z0-9_./,\[\]${}-]*")
"""Values without spaces, quotes or anything that a shell acts upon: the scripts use their variables without quotes, after ``rm -rf``
among others."""
_PROGRAM = re.compile(r"\bpython3?[ \t]+(?P<file>[A-Za-z0-9_./-]+\.py)\b")


def is_plain_path(path: str) -> bool:
    """Whether a shell takes the path for one word and for itself, wherever it stands."""
    return bool(_PLAIN_PATH.fullmatch(path))


def assigned(script: str) -> dict[str, str]:
    """The variables and their values without quotes; of several assignments the last."""
    return {match["name"]: match["value"].strip().strip("\"'") for match in _ASSIGNMENT.finditer(script)}


def with_values(script: str, values: Mapping[str, str]) -> str:
    """The script with other values of some variables. Raises ValueError for a variable that it does not assign, or a value with
    spaces, quotes or the like."""
    missing = [name for name in values if name not in assigned(script)]
    if missing:
        raise ValueError(f"does not set {', '.join(missing)}")
    unsafe = [f"{name}={value}" for name, value in values.items() if not _PLAIN.fullmatch(value)]
    if unsafe:
        raise ValueError(f"cannot hold {unsafe[0]!a}: the script uses its variables without quotes")
    return _ASSIGNMENT.sub(lambda match: f'{match["head"]}"{values[match["name"]]}"' if match["name"] in values else match[0], script)


def programs(script: str) -> list[str]:
    """The Python files that the script runs, as it names them."""
    return [match["file"] for match in _PROGRAM.finditer(script)]
