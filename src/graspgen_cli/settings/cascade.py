"""One value for every setting: default < gripper file < ``--config`` file < environment < flag, with its origin.

All sources fill the same pydantic fields, so one rule decides which values are allowed. All mistakes are found before any work starts, and
each is one line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import orjson
from pydantic import ValidationError

from graspgen_cli.errors import SettingsError
from graspgen_cli.settings.base import CommandSettings, Given, Origin
from graspgen_cli.settings.fields import Kind, Setting, as_text, dashed, grouped, settings_of
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.sources import Layer, read_config, read_environment, read_flags, read_gripper
from graspgen_cli.settings.trials import SimulationSettings

S = TypeVar("S", bound=CommandSettings)
GripperValues = Callable[[str], Mapping[str, object]]
"""The settings in the file of a gripper, which is given by name or path."""


def resolve(
    command_class: type[S], *, flags: Mapping[str, object], config: Path | None, environ: Mapping[str, str], gripper_values: GripperValues
) -> S:
    """Joins the sources into one settings object.

    flags: name -> value as typed; None is a flag that was not typed.
    config: YAML file with settings of any command; the settings of other commands are ignored.
    gripper_values: called once with the effective gripper, if the command has settings that a gripper can give.
    Raises SettingsError with one line for every mistake in any source, and the errors of `gripper_values`.
    """
    layers = [read_config(config), read_environment(environ), read_flags(flags)]
    gripper = _effective_gripper(command_class, layers)
    if gripper:
        layers.insert(0, read_gripper(gripper, gripper_values(gripper)))
    known = settings_of(command_class)
    given = {name: value for name, value in _joined(layers).items() if name in known}
    values, problems = _prepared(known, given)
    problems = [problem for layer in layers for problem in layer.problems] + problems
    try:
        settings = command_class.of(values)
    except ValidationError as error:
        raise SettingsError("\n".join([*problems, *_problems(known, error, given)])) from None
    if problems:
        raise SettingsError("\n".join(problems))
    return settings.model_copy(update={"given": given, "config": config})


def _joined(layers: list[Layer]) -> dict[str, Given]:
    """The values of all layers; a later layer overrides an earlier one."""
    return {name: value for layer in layers for name, value in layer.values.items()}


def _effective_gripper(command_class: type[CommandSettings], layers: list[Layer]) -> str | None:
    """The gripper to ask for its settings; None if the command has none of them, or the name is no text."""
    if not {GuessSettings, SimulationSettings} & set(command_class.groups().values()):
        return None
    given = _joined(layers).get("gripper_config")
    name = given.value if given else settings_of(command_class)["gripper_config"].field.default
    return name if isinstance(name, str) else None


def _prepared(known: Mapping[str, Setting], given: Mapping[str, Given]) -> tuple[dict[str, object], list[str]]:
    """The values to validate, and a line for each value that pydantic would misread."""
    values: dict[str, object] = {}
    problems = []
    for name, found in given.items():
        try:
            values[name] = _parsed(found.value, known[name].kind)
        except ValueError:
            problems.append(_not_allowed(known[name], found))
    return values, problems


def _parsed(value: object, kind: Kind) -> object:
    """The value as its field takes it, with JSON parsed. Raises ValueError for a value that pydantic would convert to another one."""
    if isinstance(value, bool) and kind is not Kind.BOOLEAN:
        raise ValueError("pydantic takes true for 1")
    if kind is Kind.PATHS and isinstance(value, list):
        return [_parsed(path, Kind.PATH) for path in value]
    if not isinstance(value, str):
        return value
    if kind is Kind.PATHS:
        return _parsed(orjson.loads(value) if value.startswith("[") else [value], kind)
    if kind is Kind.JSON:
        return orjson.loads(value)
    if kind in (Kind.PATH, Kind.TEXT) and (not value.strip() or "\0" in value):
        raise ValueError("an empty path would mean the current folder")
    value.encode()  # A name that is not UTF-8 could not be written to the dataset.
    return value


def _problems(known: Mapping[str, Setting], error: ValidationError, given: Mapping[str, Given]) -> list[str]:
    """One line for each wrong value, and for each broken rule between settings."""
    lines: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        reason = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else ""
        if len(detail["loc"]) < 2:
            lines[reason] = reason
            continue
        setting = known[str(detail["loc"][1])]
        found = given.get(setting.name) or Given(setting.field.default, Origin.DEFAULT, setting.flag)
        if isinstance(found.value, list) and len(detail["loc"]) > 2:  # one of several paths
            found = replace(found, value=found.value[int(detail["loc"][2])])
        lines.setdefault(setting.name, f"{found.place}: {reason}" if reason else _not_allowed(setting, found))
    return list(lines.values())


def _not_allowed(setting: Setting, found: Given) -> str:
    value = found.value
    text = as_text(value) if value is None or isinstance(value, bool) else ascii(value)
    shown = text if len(text) <= 200 else f"{text[:40]} … ({len(text)} characters)"
    return f"{found.place}: {shown} is not allowed; give {setting.allowed}"


def source(settings: CommandSettings, name: str) -> str:
    """``default``, ``gripper robotiq_2f_85``, ``config my.yaml``, ``environment GRASPGEN_SEED`` or ``flag``."""
    return settings.given[name].source if name in settings.given else str(Origin.DEFAULT)


def settings_text(settings: CommandSettings) -> str:
    """A table of name, value and source under the headings of the groups; it is YAML that ``--config`` reads."""
    texts = {name: f"{dashed(name)}: {_yaml_text(value)}" for name, value in settings.flat().items()}
    width = max(len(text) for text in texts.values() if len(text) <= 60)
    lines = []
    for heading, of_group in grouped(type(settings)):
        lines.append(f"# {heading}")
        lines += [f"{texts[setting.name]:<{width}}  # {source(settings, setting.name)}" for setting in of_group]
    return "\n".join(lines)


def _yaml_text(value: object) -> str:
    """The value as YAML on one line: plain text if YAML reads it as that text, else JSON."""
    import yaml

    if isinstance(value, str) and value.isprintable():
        try:
            if yaml.safe_load(f"a: {value}  # b") == {"a": value}:
                return value
        except yaml.YAMLError:
            pass
    return json.dumps(value, ensure_ascii=False)


def settings_document(settings: CommandSettings) -> dict[str, dict[str, object]]:
    """Name -> value and source of every setting, in the order of the text."""
    values = settings.flat()
    return {name: {"value": values[name], "source": source(settings, name)} for name in settings_of(type(settings))}
