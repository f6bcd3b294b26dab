"""What one field of the settings is called, takes and defaults to, in words: read from the pydantic models, never written twice."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from graspgen_cli.settings.base import CommandSettings, Group, OneOf, Origin
from graspgen_cli.settings.commands import COMMAND_CLASSES

ENVIRONMENT_ALIASES = {
    "grasp_dataset": "GRASP_DATASET_DIR",
    "object_dataset": "OBJECT_DATASET_DIR",
    "graspgen_source": "GRASP_GEN_CODE_DIR",
}
"""Names that GraspGen's own tools read; the ``GRASPGEN_`` name wins where both are set."""


class Kind(StrEnum):
    """What a field takes; the value is the placeholder that the help shows."""

    BOOLEAN = "BOOLEAN"
    INTEGER = "INTEGER"
    NUMBER = "NUMBER"
    PATH = "PATH"
    PATHS = "PATHS"
    """Several: a flag that may be repeated."""
    CHOICE = "NAME"
    TEXT = "TEXT"
    JSON = "JSON"


def fields_by_group(command_class: type[CommandSettings]) -> Iterator[tuple[type[Group], list[str]]]:
    """Each group of a command, the base of a group before it, with the names of the fields that it adds."""
    shown: set[str] = set()
    for group in command_class.groups().values():
        for part in reversed(group.__mro__):
            names = [name for name in part.model_fields if name not in shown] if issubclass(part, Group) else []
            shown.update(names)
            if names:
                yield part, names


@cache
def known_fields() -> frozenset[str]:
    """The fields of all commands."""
    return frozenset(name for command_class in COMMAND_CLASSES.values() for name in command_class.names())


def heading(group: type[Group]) -> str:
    """A group's heading: its docstring without the full stop."""
    return (group.__doc__ or group.__name__).strip().rstrip(".")


def dashed(name: str) -> str:
    """``num-offsets`` for ``num_offsets``."""
    return name.replace("_", "-")


def flag(name: str) -> str:
    """``--num-offsets`` for ``num_offsets``."""
    return f"--{dashed(name)}"


def off_flag(group: type[Group], name: str) -> str:
    """The flag that turns a boolean off: ``--no-…``, or ``--do-not-…`` where it is on by default."""
    return f"--{'do-not' if group.model_fields[name].default else 'no'}-{dashed(name)}"


def environment_names(name: str) -> list[str]:
    """The environment variables that set a field; the first one that is set wins."""
    alias = ENVIRONMENT_ALIASES.get(name)
    return [f"GRASPGEN_{name.upper()}", *([alias] if alias else [])]


@cache
def kind(group: type[Group], name: str) -> Kind:
    """What the field takes."""
    plain = _plain_type(group.model_fields[name].annotation)
    if _names(group, name):
        return Kind.CHOICE
    if get_origin(plain) is tuple and _plain_type(get_args(plain)[0]) is Path:
        return Kind.PATHS
    if get_origin(plain) in (tuple, dict):
        return Kind.JSON
    for types, found in ((StrEnum, Kind.CHOICE), (bool, Kind.BOOLEAN), (int, Kind.INTEGER), (float, Kind.NUMBER), (Path, Kind.PATH)):
        if issubclass(plain, types):
            return found
    return Kind.TEXT


def choices(group: type[Group], name: str) -> list[str]:
    """The names that a field of kind CHOICE takes."""
    found = _names(group, name)
    return found.names() if found else [str(member) for member in _plain_type(group.model_fields[name].annotation)]


def _names(group: type[Group], name: str) -> OneOf | None:
    return next((each for each in group.model_fields[name].metadata if isinstance(each, OneOf)), None)


def _plain_type(annotation: Any) -> Any:
    """The type under `Annotated` and `| None`."""
    if get_origin(annotation) is Annotated:
        return _plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return _plain_type(next(part for part in get_args(annotation) if part is not type(None)))
    return annotation


def allowed(group: type[Group], name: str) -> str:
    """What the field accepts, in words that finish "give …": ``a whole number from 50 to 10000``."""
    schema = _schema(group)
    field = schema["properties"][name]
    if "allowed" in field:
        return str(field["allowed"])
    if kind(group, name) is Kind.CHOICE:
        return "one of " + ", ".join(choices(group, name))
    branches = [branch for branch in field.get("anyOf", [field]) if branch.get("type") != "null"]
    nouns = {"boolean": "true or false", "integer": "a whole number", "number": "a number"}
    noun = nouns.get(branches[0]["type"], "a path" if branches[0].get("format") == "path" else "text")
    return noun + _bounds(branches[0])


def _bounds(branch: dict[str, Any]) -> str:
    if "minimum" in branch and "maximum" in branch:
        return f" from {branch['minimum']:g} to {_exact(branch['maximum'])}"
    if "minimum" in branch:
        return f" of at least {branch['minimum']:g}"
    if "exclusiveMinimum" in branch:
        return f" above {branch['exclusiveMinimum']:g}"
    return ""


def _exact(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


@cache
def _schema(group: type[Group]) -> dict[str, Any]:
    return group.model_json_schema()


def default_text(group: type[Group], name: str) -> str:
    """The default as a user would type it; empty where there is none."""
    default = group.model_fields[name].default
    if default is None or default == ():
        return ""
    return as_text(default)


def as_text(value: object) -> str:
    """A setting's value as a flag or an environment variable would give it: plain, or JSON for lists and mappings."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, default=str)
    return str(value)


def command_line(command: str, settings: CommandSettings, **changed: object) -> str:
    """The line that runs another command after a run: with every setting of the run that the command has too, and with its settings file.

    settings: of the run. changed: settings that have another value than in the run; None leaves one out.
    """
    words = ["graspgen", command]
    for name, group in COMMAND_CLASSES[command].names().items():
        if name in changed:
            repeated = settings.origins.get(name) in (Origin.CONFIG, Origin.ENVIRONMENT)
            words += _words(group, name, changed[name], even_if_default=repeated)
        elif name in settings.names():
            origin = settings.origins.get(name, Origin.DEFAULT)
            # The next command reads the files of the gripper and of the settings itself.
            if origin not in (Origin.GRIPPER, Origin.CONFIG):
                words += _words(group, name, settings.flat()[name], even_if_default=origin is Origin.FLAG)
    return shlex.join([*words, *(["--config", str(settings.config)] if settings.config else [])])


@cache
def _defaults(group: type[Group]) -> dict[str, Any]:
    return group().model_dump(mode="json")


def _words(group: type[Group], name: str, value: object, *, even_if_default: bool) -> list[str]:
    """The words of a command line that give a setting this value."""
    if value is None or (not even_if_default and as_text(value) == as_text(_defaults(group)[name])):
        return []
    if isinstance(value, bool):
        return [flag(name) if value else off_flag(group, name)]
    if kind(group, name) is Kind.PATHS and isinstance(value, list):
        return [word for path in value for word in (flag(name), path)]
    return [flag(name), as_text(value)]
