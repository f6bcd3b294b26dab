"""The command-line options of a subcommand, made from its settings' fields.

Every option is handed on as it was typed: what is allowed is decided once, for all sources, by the cascade.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape

from graspgen_cli.errors import SettingsError
from graspgen_cli.settings.base import CommandSettings, Group
from graspgen_cli.settings.fields import Kind, choices, default_text, fields_by_group, flag, heading, kind, off_flag

OFF = "turn_off_"
"""What the parameter of a flag that turns a boolean off has before the field's name."""


def option_parameters(command_class: type[CommandSettings]) -> list[inspect.Parameter]:
    """Keyword-only parameters for a function that Typer makes a command of; each is None where its flag was not given."""
    parameters = []
    for group, names in fields_by_group(command_class):
        for name in names:
            parameters.append(_parameter(group, name))
            if kind(group, name) is Kind.BOOLEAN:
                parameters.append(_off_parameter(group, name))
    return parameters


def _parameter(group: type[Group], name: str) -> inspect.Parameter:
    field_kind = kind(group, name)
    is_switch = field_kind is Kind.BOOLEAN
    option = typer.Option(
        flag(name),
        help=escape(_help_text(group, name)),
        metavar="" if is_switch else (Kind.PATH if field_kind is Kind.PATHS else field_kind).value,
        show_default=False,
        rich_help_panel=heading(group),
        autocompletion=_completion(group, name) if field_kind is Kind.CHOICE else None,
    )
    return keyword(name, _typed_as(field_kind) | None, option)


def _typed_as(field_kind: Kind) -> Any:
    """What Typer hands on: the text as it was typed, a list of texts for a flag that may be repeated."""
    if field_kind is Kind.PATHS:
        return list[str]
    return bool if field_kind is Kind.BOOLEAN else str


def _completion(group: type[Group], name: str) -> Callable[[str], list[str]]:
    """What a shell offers for a field that takes one of several names."""

    def offer(incomplete: str) -> list[str]:
        return [choice for choice in choices(group, name) if choice.startswith(incomplete)]

    return offer


def _off_parameter(group: type[Group], name: str) -> inspect.Parameter:
    """The flag that turns a boolean off: named in the help of the flag that turns it on, for side by side they fill a line."""
    return keyword(OFF + name, bool | None, typer.Option(off_flag(group, name), hidden=True))


def keyword(name: str, annotation: Any, option: Any, *, default: object = None) -> inspect.Parameter:
    """A keyword-only parameter that Typer reads as an option."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, option])


def _help_text(group: type[Group], name: str) -> str:
    """Description, choices and default: all that a user needs to know on one line."""
    text = group.model_fields[name].description or ""
    field_kind = kind(group, name)
    if field_kind is Kind.BOOLEAN:
        return f"{text} [default: on; off with {off_flag(group, name)}]" if group.model_fields[name].default else text
    if field_kind is Kind.CHOICE:
        text += f" One of {', '.join(choices(group, name))}."
    default = default_text(group, name)
    return f"{text} [default: {default}]" if default else text


def typed_flags(command_class: type[CommandSettings], arguments: Mapping[str, Any]) -> dict[str, object]:
    """Field name to value for the flags that were typed; SettingsError where a boolean is turned both on and off."""
    flags: dict[str, object] = {}
    for group, names in fields_by_group(command_class):
        for name in names:
            on, off = arguments[name], arguments.get(OFF + name)
            if on is not None and off is not None:
                raise SettingsError(f"{flag(name)} and {off_flag(group, name)} exclude each other; give one of them")
            # Typer gives an empty list for a repeatable flag that was not typed.
            if (on is not None and on != []) or off is not None:
                flags[name] = on if off is None else False
    return flags
