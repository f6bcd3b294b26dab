"""The command-line options of a subcommand, made from its settings.

Every option is passed on as it was typed; the cascade checks the values of all sources.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape

from graspgen_cli.errors import SettingsError
from graspgen_cli.settings.base import CommandSettings
from graspgen_cli.settings.fields import Kind, Setting, grouped, settings_of

OFF = "turn_off_"
"""Start of the parameter name of a flag that turns a boolean off."""
_TYPES: dict[Kind, Any] = {Kind.PATHS: list[str], Kind.BOOLEAN: bool}
"""What Typer passes on, if not the text as it was typed."""


def option_parameters(command_class: type[CommandSettings]) -> list[inspect.Parameter]:
    """Keyword-only parameters for a function that becomes a Typer command; each is None without its flag."""
    parameters = []
    for heading, settings in grouped(command_class):
        for setting in settings:
            parameters.append(_parameter(setting, heading))
            if setting.kind is Kind.BOOLEAN:  # The help of the first flag names the second, since both would fill a line.
                parameters.append(keyword(OFF + setting.name, bool | None, typer.Option(setting.off_flag, hidden=True)))
    return parameters


def _parameter(setting: Setting, heading: str) -> inspect.Parameter:
    placeholders = {Kind.BOOLEAN: "", Kind.PATHS: Kind.PATH.value}
    option = typer.Option(
        setting.flag,
        help=escape(_help_text(setting)),
        metavar=placeholders.get(setting.kind, setting.kind.value),
        show_default=False,
        rich_help_panel=heading,
        autocompletion=_completion(setting) if setting.kind is Kind.CHOICE else None,
    )
    return keyword(setting.name, _TYPES.get(setting.kind, str) | None, option)


def _completion(setting: Setting) -> Callable[[str], list[str]]:
    """What a shell offers for a setting that takes one of several names."""

    def offer(incomplete: str) -> list[str]:
        return [choice for choice in setting.choices if choice.startswith(incomplete)]

    return offer


def keyword(name: str, annotation: Any, option: Any, *, default: object = None) -> inspect.Parameter:
    """A keyword-only parameter that Typer reads as an option."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, option])


def _help_text(setting: Setting) -> str:
    """Description, choices and default on one line."""
    text = setting.field.description or ""
    if setting.kind is Kind.BOOLEAN:
        return f"{text} [default: on; off with {setting.off_flag}]" if setting.field.default else text
    if setting.kind is Kind.CHOICE:
        text += f" One of {', '.join(setting.choices)}."
    return f"{text} [default: {setting.default_text}]" if setting.default_text else text


def typed_flags(command_class: type[CommandSettings], arguments: Mapping[str, Any]) -> dict[str, object]:
    """Name -> value of the settings whose flags were typed; SettingsError if a boolean is turned both on and off."""
    flags: dict[str, object] = {}
    for name, setting in settings_of(command_class).items():
        on, off = arguments[name], arguments.get(OFF + name)
        if on is not None and off is not None:
            raise SettingsError(f"{setting.flag} and {setting.off_flag} exclude each other; give one of them")
        # Typer gives an empty list for a repeatable flag that was not typed.
        if (on is not None and on != []) or off is not None:
            flags[name] = on if off is None else False
    return flags
