"""One value for every setting: default < gripper file < ``--config`` file < environment < flag, with the source of each.

All sources fill the same pydantic fields, so one rule decides what is allowed wherever a value was written. All mistakes are
found before anything starts, and each becomes one line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson
from pydantic import ValidationError

from graspgen_cli.errors import SettingsError
from graspgen_cli.settings.base import CommandSettings, Group, Origin
from graspgen_cli.settings.fields import Kind, allowed, as_text, dashed, fields_by_group, flag, heading, kind
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.sources import Given, Layer, read_config, read_environment, read_flags, read_gripper
from graspgen_cli.settings.trials import SimulationSettings

S = TypeVar("S", bound=CommandSettings)
GripperValues = Callable[[str], Mapping[str, object]]
"""What the file of a gripper, given by name or path, sets."""
_Groups = Mapping[str, type[Group]]
"""Name of each setting of a command -> its group."""


@dataclass(frozen=True)
class Resolved(Generic[S]):
    """The effective settings of a command, and for every field where its value came from."""

    settings: S
    sources: dict[str, str]
    """Field name to ``default``, ``gripper robotiq_2f_85``, ``config my.yaml``, ``environment GRASPGEN_SEED`` or ``flag``."""


def resolve(
    command_class: type[S], *, flags: Mapping[str, object], config: Path | None, environ: Mapping[str, str], gripper_values: GripperValues
) -> Resolved[S]:
    """Join the sources into one settings object.

    flags: field name to value as typed; None is a flag that was not given.
    config: YAML file that may set the fields of any command; this one takes those that it has.
    gripper_values: called once with the effective gripper where the command has settings that a gripper can give.
    Raises SettingsError with one line for every mistake in any of the sources; passes on what `gripper_values` raises.
    """
    layers = [read_config(config), read_environment(environ), read_flags(flags)]
    gripper = _effective_gripper(command_class, layers)
    if gripper:
        layers.insert(0, read_gripper(gripper, gripper_values(gripper)))
    groups = command_class.names()
    given = {name: value for name, value in _joined(layers).items() if name in groups}
    values, unusable = _usable(groups, given)
    problems = [problem for layer in layers for problem in layer.problems] + unusable
    try:
        settings = command_class.of(values)
    except ValidationError as error:
        raise SettingsError("\n".join([*problems, *_problems(groups, error, given)])) from None
    if problems:
        raise SettingsError("\n".join(problems))
    sources = {name: given[name].source if name in given else str(Origin.DEFAULT) for name in groups}
    origins = {name: found.origin for name, found in given.items()}
    return Resolved(settings.model_copy(update={"origins": origins, "config": config}), sources)


def _joined(layers: list[Layer]) -> dict[str, Given]:
    """The values of all layers; a later layer replaces an earlier one's."""
    return {name: value for layer in layers for name, value in layer.values.items()}


def _effective_gripper(command_class: type[CommandSettings], layers: list[Layer]) -> str | None:
    """The gripper to ask for its settings; None where the command has no use for them or the name is not even text."""
    if not {GuessSettings, SimulationSettings} & set(command_class.groups().values()):
        return None
    given = _joined(layers).get("gripper_config")
    name = given.value if given else command_class.names()["gripper_config"].model_fields["gripper_config"].default
    return name if isinstance(name, str) else None


def _usable(groups: _Groups, given: Mapping[str, Given]) -> tuple[dict[str, object], list[str]]:
    """The values to validate, and a line for each that pydantic would misread or not understand."""
    values: dict[str, object] = {}
    problems = []
    for name, found in given.items():
        try:
            values[name] = _prepared(found.value, kind(groups[name], name))
        except ValueError:
            problems.append(_not_allowed(groups[name], name, found))
    return values, problems


def _prepared(value: object, field_kind: Kind) -> object:
    """The value as its field takes it: JSON text read, and what pydantic would bend to fit refused with ValueError."""
    if isinstance(value, bool) and field_kind is not Kind.BOOLEAN:
        raise ValueError("pydantic takes true for 1")
    if field_kind is Kind.PATHS and isinstance(value, list):
        return [_prepared(path, Kind.PATH) for path in value]
    if not isinstance(value, str):
        return value
    if field_kind is Kind.PATHS:
        return _prepared(orjson.loads(value) if value.startswith("[") else [value], field_kind)
    if field_kind is Kind.JSON:
        return orjson.loads(value)
    if field_kind in (Kind.PATH, Kind.TEXT) and (not value.strip() or "\0" in value):
        raise ValueError("an empty path would mean the current folder")
    value.encode()  # a name that is not UTF-8 could not be written to the dataset
    return value


def _problems(groups: _Groups, error: ValidationError, given: Mapping[str, Given]) -> list[str]:
    """One line for each field with errors, and for each rule between fields that is broken."""
    lines: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        reason = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else ""
        if len(detail["loc"]) < 2:
            lines[reason] = reason
            continue
        name = str(detail["loc"][1])
        found = given.get(name) or Given(groups[name].model_fields[name].default, Origin.DEFAULT, flag(name))
        lines.setdefault(name, f"{found.place}: {reason}" if reason else _not_allowed(groups[name], name, found))
    return list(lines.values())


def _not_allowed(group: type[Group], name: str, found: Given) -> str:
    return f"{found.place}: {_shown(found.value)} is not allowed; give {allowed(group, name)}"


def _shown(value: object) -> str:
    """The value as it was written, shortened to fit a line."""
    text = as_text(value) if value is None or isinstance(value, bool) else ascii(value)
    return text if len(text) <= 60 else f"{text[:40]} … ({len(text)} characters)"


def settings_text(resolved: Resolved[Any]) -> str:
    """A table of name, value and source under the groups' headings; it is YAML that ``--config`` reads back."""
    values = resolved.settings.flat()
    texts = {name: f"{dashed(name)}: {_yaml_text(value)}" for name, value in values.items()}
    width = max(len(text) for text in texts.values() if len(text) <= 60)
    lines = []
    for group, names in fields_by_group(type(resolved.settings)):
        lines.append(f"# {heading(group)}")
        lines += [f"{texts[name]:<{width}}  # {resolved.sources[name]}" for name in names]
    return "\n".join(lines)


def _yaml_text(value: object) -> str:
    """The value as YAML on one line: as plain text where YAML reads it back as that text, as JSON otherwise."""
    import yaml

    if isinstance(value, str) and value.isprintable():
        try:
            if yaml.safe_load(f"a: {value}  # b") == {"a": value}:
                return value
        except yaml.YAMLError:
            pass
    return json.dumps(value, ensure_ascii=False)


def settings_document(resolved: Resolved[Any]) -> dict[str, dict[str, object]]:
    """Field name to its value and source, in the order of the text."""
    values = resolved.settings.flat()
    return {name: {"value": values[name], "source": source} for name, source in resolved.sources.items()}
