"""What a subcommand is: settings, one function that does the work, and one that prints the result. All run in the same way."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import typer
from rich.markup import escape

from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode, SettingsError
from graspgen_cli.files import read_bounded
from graspgen_cli.settings.base import CommandSettings
from graspgen_cli.settings.cascade import resolve, settings_document, settings_text
from graspgen_cli.settings.fields import Kind, flag, settings_of
from graspgen_cli.settings.options import keyword, option_parameters, typed_flags
from graspgen_cli.settings.sources import MAX_FILE_BYTES

if TYPE_CHECKING:
    from graspgen_cli.making.reports import ObjectReport

S = TypeVar("S", bound=CommandSettings)
R = TypeVar("R")
COMMON_PANEL = "Common to all commands"
_ARGUMENT = "argument_"
"""Name of the parameter for the argument of a command."""


@dataclass(frozen=True)
class Command(Generic[S, R]):
    """A subcommand.

    settings: the class of its settings. call: "module:function" that does the work, for the Python API as well; it takes the settings and,
    as keywords, any of the callbacks `on_start` (number of objects), `on_object` (a name), `on_report` (an ObjectReport) and `on_note` (a
    line). show: prints the result. about, examples: paragraphs and command lines of the help. argument: the setting that needs no flag.
    lines: whether each object gets a line if stderr is no terminal.
    """

    settings: type[S]
    call: str
    show: Callable[[R, S, Console], ExitCode]
    about: str
    examples: tuple[str, ...]
    argument: str | None = None
    lines: bool = True

    @property
    def takes_several(self) -> bool:
        """Whether the argument may be given several times."""
        return self.argument is not None and settings_of(self.settings)[self.argument].kind is Kind.PATHS

    def run(self, settings: S, console: Console) -> R:
        """The result of the work, whose progress the console shows."""
        function, taken = self.function()
        with console.progress(lines=self.lines) if "on_start" in taken else nullcontext() as progress:
            callbacks: dict[str, Any] = {"on_note": console.note}
            if progress is not None:
                callbacks |= {"on_start": progress.start, "on_object": progress.advance}
                callbacks["on_report"] = lambda report: progress.advance(
                    report_line(report), validated=report.tested, failed=report.status == "failed"
                )
            result: R = function(settings, **{name: callbacks[name] for name in taken})
            return result

    def function(self) -> tuple[Callable[..., R], tuple[str, ...]]:
        """The function that does the work, and the names of the callbacks that it takes."""
        module, _, name = self.call.partition(":")
        function: Callable[..., R] = getattr(import_module(module), name)
        return function, tuple(inspect.signature(function).parameters)[1:]


def report_line(report: ObjectReport) -> str:
    """One object in a line: ``mug.obj: made, 64 held, 16 failed (2.1 s)``."""
    counts = {"held": report.held, "unvalidated": report.unvalidated, "failed": report.failed}
    numbers = "".join(f", {count} {name}" for name, count in counts.items() if count)
    message = f": {report.message}" if report.message else ""
    return f"{report.object_id}: {report.status}{numbers} ({report.seconds:.1f} s){message}"


COMMON_HELP = {
    "config": "YAML file of settings, with the names of the flags; environment variables and flags override it.",
    "show_settings": "Print every effective setting with its source, and stop.",
    "json": "Print one JSON document on stdout instead of text.",
    "quiet": "No progress and no notes on stderr; errors only.",
    "debug": "Show the traceback of an error.",
}
"""The options of every subcommand that are not settings."""


def common_parameters() -> list[inspect.Parameter]:
    """Parameters for the common options."""
    parameters = []
    for name, text in COMMON_HELP.items():
        is_file = name == "config"
        metavar = "FILE.yaml" if is_file else ""
        option = typer.Option(flag(name), help=text, metavar=metavar, show_default=False, rich_help_panel=COMMON_PANEL)
        parameters.append(keyword(name, Path | None if is_file else bool, option, default=None if is_file else False))
    return parameters


def add_command(app: typer.Typer, name: str, summary: str, command: Command[Any, Any]) -> None:
    """Adds a subcommand to a Typer app."""

    def callback(**arguments: Any) -> ExitCode:
        common = {option: arguments.pop(option) for option in COMMON_HELP}
        try:
            return execute(name, command, _with_argument(command, arguments), common)
        except Exception:
            if common["debug"]:
                traceback.print_exc(file=sys.stderr)
            raise

    # Typer makes the options from the signature.
    parameters = [*_argument_parameters(command), *option_parameters(command.settings), *common_parameters()]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    epilog = [*_about_switches(command.settings), "Examples:", *command.examples]
    app.command(name, help=f"{summary}\n\n{escape(command.about)}", epilog=escape("\n\n".join(epilog)))(callback)


def _argument_parameters(command: Command[Any, Any]) -> list[inspect.Parameter]:
    """The argument as Typer reads it, for a command that has one."""
    if command.argument is None:
        return []
    # Typer adds the brackets and dots to the name of a repeated argument, and no brackets to a single one.
    metavar = argument_name(command) if command.takes_several else f"[{argument_name(command)}]"
    argument = typer.Argument(metavar=metavar, help=escape(f"The same as {flag(command.argument)}."), show_default=False)
    return [keyword(_ARGUMENT, (list[str] if command.takes_several else str) | None, argument)]


def argument_name(command: Command[Any, Any]) -> str:
    """The name of a command's argument in help and documentation."""
    return "PATH" if command.takes_several else "NAME"


def _with_argument(command: Command[Any, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The flags' values with the argument under its setting's name; SettingsError if the flag is given as well."""
    given = arguments.pop(_ARGUMENT, None)
    # Typer gives an empty list for a repeated argument that is missing; an empty text was typed.
    if command.argument is None or given is None or given == []:
        return arguments
    if arguments[command.argument]:
        raise SettingsError(f"{given!r} and {flag(command.argument)} exclude each other; give one of them")
    return {**arguments, command.argument: given}


def _about_switches(settings: type[CommandSettings]) -> list[str]:
    """How to turn off a setting that a file or the environment turned on, for a command with such a setting."""
    off = [setting for setting in settings_of(settings).values() if setting.field.default is False]
    return [f"{setting.flag} and its like have a counterpart such as {setting.off_flag}." for setting in off[:1]]


def execute(name: str, command: Command[S, R], arguments: Mapping[str, Any], common: Mapping[str, Any]) -> ExitCode:
    """Resolves the settings, then shows them or runs the command with them."""
    flags = typed_flags(command.settings, arguments)
    settings = resolve(command.settings, flags=flags, config=common["config"], environ=os.environ, gripper_values=gripper_values)
    console = Console(command=name, json=common["json"], quiet=common["quiet"])
    if not common["show_settings"]:
        return command.show(command.run(settings, console), settings, console)
    if console.json:
        console.document({"settings": settings_document(settings)})
    else:
        console.line(settings_text(settings))
    return ExitCode.OK


def gripper_values(gripper: str) -> dict[str, object]:
    """The settings in the file of a gripper: a built-in or saved one by name, or a file by path.

    Raises GripperError for a file with a mistake. A gripper that cannot be found or read has no settings: the command reports it.
    """
    from graspgen_cli.grippers.gripper_file import parse_gripper_file, saved_file

    path = Path(gripper)
    builtin = resources.files("graspgen_cli.grippers.catalog").joinpath(gripper, "gripper.yaml")
    try:
        file = path if path.suffix in (".yaml", ".yml") else saved_file(gripper) or builtin
        content = read_bounded(file, largest=MAX_FILE_BYTES) if isinstance(file, Path) else file.read_bytes()
        text = content.decode("utf-8")
    except (OSError, ValueError):
        return {}
    described = parse_gripper_file(text, source=gripper)
    return {} if described.bite is None else {"bite": described.bite}
