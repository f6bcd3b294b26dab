"""What a subcommand is, and how Typer is told of it: settings -> call -> print, the same way for all of them."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import typer
from rich.markup import escape

from graspgen_cli.commands.gripper_values import gripper_values
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode, SettingsError
from graspgen_cli.settings.base import CommandSettings
from graspgen_cli.settings.cascade import resolve
from graspgen_cli.settings.fields import Kind, flag, kind, off_flag
from graspgen_cli.settings.options import keyword, option_parameters, typed_flags

S = TypeVar("S", bound=CommandSettings)
COMMON_PANEL = "Common to all commands"
_ARGUMENT = "argument_"
"""What the parameter of a command's argument is called."""


@dataclass(frozen=True)
class Command(Generic[S]):
    """A subcommand: its settings, what it does with them, and what its help says."""

    settings: type[S]
    run: Callable[[S, Console], ExitCode]
    about: str
    """Paragraphs of the help, after the one-line summary."""
    examples: tuple[str, ...]
    argument: str | None = None
    """The field that may be given without its flag, as the command's one argument; several where the field takes several."""


@dataclass(frozen=True)
class CommonOptions:
    """The options that every subcommand has, besides those that are settings."""

    config: Path | None
    show_settings: bool
    json: bool
    quiet: bool
    debug: bool


COMMON_HELP = {
    "config": "YAML file of settings, names as the flags; flags and environment variables override it.",
    "show_settings": "Print every effective setting and where it comes from, and stop.",
    "json": "Print one JSON document on stdout instead of text.",
    "quiet": "No progress and no notes on stderr; errors only.",
    "debug": "Show the traceback of an error.",
}


def common_parameters() -> list[inspect.Parameter]:
    """Parameters for the common options."""
    parameters = []
    for name, text in COMMON_HELP.items():
        is_file = name == "config"
        option = typer.Option(
            "--" + name.replace("_", "-"),
            help=text,
            metavar="FILE.yaml" if is_file else "",
            show_default=False,
            rich_help_panel=COMMON_PANEL,
        )
        parameters.append(keyword(name, Path | None if is_file else bool, option, default=None if is_file else False))
    return parameters


def add_command(app: typer.Typer, name: str, summary: str, command: Command[Any]) -> None:
    """Make a subcommand known to a Typer app."""

    def callback(**arguments: Any) -> ExitCode:
        common = CommonOptions(**{option: arguments.pop(option) for option in COMMON_HELP})
        try:
            return execute(name, command, _with_argument(command, arguments), common)
        except Exception:
            if common.debug:
                traceback.print_exc(file=sys.stderr)
            raise

    # Typer reads the signature: this is what makes options of the settings' fields.
    parameters = [*_argument_parameters(command), *option_parameters(command.settings), *common_parameters()]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    epilog = [*_about_switches(command.settings), "Examples:", *command.examples]
    app.command(name, help=f"{summary}\n\n{escape(command.about)}", epilog=escape("\n\n".join(epilog)))(callback)


def _argument_parameters(command: Command[Any]) -> list[inspect.Parameter]:
    """The argument as Typer reads it, for a command that has one."""
    if command.argument is None:
        return []
    # Typer itself says that an argument of several is optional, and that there may be more of them.
    metavar = argument_name(command) if _takes_several(command) else f"[{argument_name(command)}]"
    argument = typer.Argument(metavar=metavar, help=escape(f"The same as {flag(command.argument)}."), show_default=False)
    return [keyword(_ARGUMENT, (list[str] if _takes_several(command) else str) | None, argument)]


def argument_name(command: Command[Any]) -> str:
    """What the help and the documentation call a command's argument."""
    return "PATH" if _takes_several(command) else "NAME"


def _takes_several(command: Command[Any]) -> bool:
    settings: type[CommandSettings] = command.settings
    return command.argument is not None and kind(settings.names()[command.argument], command.argument) is Kind.PATHS


def _with_argument(command: Command[Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The flags' values with the argument under its field's name; SettingsError where the field's flag is given as well."""
    given = arguments.pop(_ARGUMENT, None)
    # Typer gives an empty list where several may be given and none is; an empty text was given.
    if command.argument is None or given is None or given == []:
        return arguments
    if arguments[command.argument]:
        raise SettingsError(f"{given!r} and {flag(command.argument)} exclude each other; give one of them")
    return {**arguments, command.argument: given}


def _about_switches(settings: type[CommandSettings]) -> list[str]:
    """How to turn off what a file or the environment turned on, where the command has such a setting."""
    off = [(group, name) for name, group in settings.names().items() if group.model_fields[name].default is False]
    return [f"{flag(name)} and its like have a counterpart such as {off_flag(group, name)}." for group, name in off[:1]]


def execute(name: str, command: Command[S], arguments: dict[str, Any], common: CommonOptions) -> ExitCode:
    """Resolve the settings, then show them or run the command with them."""
    flags = typed_flags(command.settings, arguments)
    resolved = resolve(command.settings, flags=flags, config=common.config, environ=os.environ, gripper_values=gripper_values)
    console = Console(json=common.json, quiet=common.quiet)
    if not common.show_settings:
        return command.run(resolved.settings, console)
    from graspgen_cli.settings.cascade import settings_document, settings_text

    if console.json:
        console.document({"command": name, "settings": settings_document(resolved)})
    else:
        console.line(settings_text(resolved))
    return ExitCode.OK
