"""One setting as flags, variables, files, help and messages name and describe it, read from its field in the pydantic model."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from graspgen_cli.settings.base import CommandSettings, Group, Origin, Rule
from graspgen_cli.settings.commands import COMMAND_CLASSES

ENVIRONMENT_ALIASES = {
    "grasp_dataset": "GRASP_DATASET_DIR",
    "object_dataset": "OBJECT_DATASET_DIR",
    "graspgen_source": "GRASP_GEN_CODE_DIR",
}
"""Variables that GraspGen's own tools read; the ``GRASPGEN_`` variable wins if both are set."""


class Kind(StrEnum):
    """The values that a setting takes; the text is the placeholder in the help."""

    BOOLEAN = "BOOLEAN"
    INTEGER = "INTEGER"
    NUMBER = "NUMBER"
    PATH = "PATH"
    PATHS = "PATHS"
    """Several paths: the flag may be repeated."""
    CHOICE = "NAME"
    TEXT = "TEXT"
    JSON = "JSON"


@dataclass(frozen=True)
class Setting:
    """A field of a group."""

    group: type[Group]
    name: str

    @property
    def field(self) -> Any:
        """The field of the pydantic model."""
        return self.group.model_fields[self.name]

    @property
    def flag(self) -> str:
        """The flag that sets it."""
        return flag(self.name)

    @property
    def off_flag(self) -> str:
        """The flag that turns a boolean off: ``--no-…``, or ``--do-not-…`` for a boolean that is on by default."""
        return f"--{'do-not' if self.field.default else 'no'}-{dashed(self.name)}"

    @cached_property
    def kind(self) -> Kind:
        """The values that it takes."""
        plain, _ = _unwrapped(self.field.annotation)
        if self._rule and self._rule.names:
            return Kind.CHOICE
        if get_origin(plain) is tuple and _unwrapped(get_args(plain)[0])[0] is Path:
            return Kind.PATHS
        if get_origin(plain) in (tuple, dict):
            return Kind.JSON
        kinds = ((StrEnum, Kind.CHOICE), (bool, Kind.BOOLEAN), (int, Kind.INTEGER), (float, Kind.NUMBER), (Path, Kind.PATH))
        return next((kind for types, kind in kinds if issubclass(plain, types)), Kind.TEXT)

    @property
    def choices(self) -> list[str]:
        """The names that a setting of kind CHOICE takes."""
        return self._rule.names() if self._rule and self._rule.names else [*map(str, _unwrapped(self.field.annotation)[0])]

    @cached_property
    def _rule(self) -> Rule | None:
        metadata = [*self.field.metadata, *_unwrapped(self.field.annotation)[1]]
        return next((each for each in metadata if isinstance(each, Rule)), None)

    @property
    def allowed(self) -> str:
        """The allowed values, in words that finish "give …": ``a whole number from 50 to 10000``."""
        if self._rule:
            return self._rule.allowed
        if self.kind is Kind.CHOICE:
            return "one of " + ", ".join(self.choices)
        schema = _schema(self.group)["properties"][self.name]
        branch = next(branch for branch in schema.get("anyOf", [schema]) if branch.get("type") != "null")
        nouns = {"boolean": "true or false", "integer": "a whole number", "number": "a number"}
        return nouns.get(branch["type"], "a path" if branch.get("format") == "path" else "text") + _bounds(branch)

    @property
    def default_text(self) -> str:
        """The default as a user would type it; empty if there is none."""
        return "" if self.field.default in (None, ()) else as_text(self.field.default)

    def words(self, value: object, *, even_if_default: bool) -> list[str]:
        """The words of a command line that give the setting this value."""
        if value is None or (not even_if_default and as_text(value) == as_text(_defaults(self.group)[self.name])):
            return []
        if isinstance(value, bool):
            return [self.flag if value else self.off_flag]
        if self.kind is Kind.PATHS and isinstance(value, list):
            return [word for path in value for word in (self.flag, path)]
        return [self.flag, as_text(value)]


def _unwrapped(annotation: Any) -> tuple[Any, list[Any]]:
    """The type under `Annotated` and `| None`, and its metadata."""
    if get_origin(annotation) in (Union, UnionType):
        return _unwrapped(next(part for part in get_args(annotation) if part is not type(None)))
    if get_origin(annotation) is Annotated:
        plain, metadata = _unwrapped(get_args(annotation)[0])
        return plain, [*annotation.__metadata__, *metadata]
    return annotation, []


def _bounds(branch: dict[str, Any]) -> str:
    if "minimum" in branch and "maximum" in branch:
        maximum = branch["maximum"]
        return f" from {branch['minimum']:g} to {maximum if isinstance(maximum, int) else f'{maximum:g}'}"
    if "minimum" in branch:
        return f" of at least {branch['minimum']:g}"
    return f" above {branch['exclusiveMinimum']:g}" if "exclusiveMinimum" in branch else ""


@cache
def _schema(group: type[Group]) -> dict[str, Any]:
    return group.model_json_schema()


@cache
def _defaults(group: type[Group]) -> dict[str, Any]:
    return group().model_dump(mode="json")


@cache
def settings_of(command_class: type[CommandSettings]) -> dict[str, Setting]:
    """Name -> setting of a command, in the order of help and documentation."""
    return {setting.name: setting for _, settings in grouped(command_class) for setting in settings}


def grouped(command_class: type[CommandSettings]) -> Iterator[tuple[str, list[Setting]]]:
    """The settings of a command under the headings of their groups, those of a group's base under a heading of their own."""
    shown: set[str] = set()
    for group in command_class.groups().values():
        for part in reversed(group.__mro__):
            names = [name for name in part.model_fields if name not in shown] if issubclass(part, Group) else []
            shown.update(names)
            if names:
                yield (part.__doc__ or part.__name__).strip().rstrip("."), [Setting(group, name) for name in names]


@cache
def known_settings() -> dict[str, Setting]:
    """Name -> setting of all commands."""
    return {name: setting for command_class in COMMAND_CLASSES.values() for name, setting in settings_of(command_class).items()}


def dashed(name: str) -> str:
    """``num-offsets`` for ``num_offsets``."""
    return name.replace("_", "-")


def flag(name: str) -> str:
    """``--num-offsets`` for ``num_offsets``."""
    return f"--{dashed(name)}"


def environment_names(name: str) -> list[str]:
    """The environment variables of a setting; the first one that is set wins."""
    return [f"GRASPGEN_{name.upper()}", *filter(None, [ENVIRONMENT_ALIASES.get(name)])]


def as_text(value: object) -> str:
    """A value as a flag or an environment variable gives it: plain, or JSON for lists and mappings."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, default=str) if isinstance(value, (list, tuple, dict)) else str(value)


def command_line(command: str, settings: CommandSettings, **changed: object) -> str:
    """The line that runs another command after a run: with every setting of the run that the command has too, and with its settings file.

    settings: of the run. changed: settings that have another value than in the run; None leaves one out.
    """
    words, values = ["graspgen", command], settings.flat()
    for name, setting in settings_of(COMMAND_CLASSES[command]).items():
        origin = settings.given[name].origin if name in settings.given else Origin.DEFAULT
        if name in changed:
            words += setting.words(changed[name], even_if_default=origin in (Origin.CONFIG, Origin.ENVIRONMENT))
        # The next command reads the files of the gripper and of the settings itself.
        elif name in values and origin not in (Origin.GRIPPER, Origin.CONFIG):
            words += setting.words(values[name], even_if_default=origin is Origin.FLAG)
    return shlex.join([*words, *(["--config", str(settings.config)] if settings.config else [])])
