"""The ``graspgen`` command. Only this module turns an error into a line and an exit code."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from graspgen_cli import __version__
from graspgen_cli.commands import COMMANDS, load_command
from graspgen_cli.console import printable
from graspgen_cli.errors import ExitCode, GraspgenError, SettingsError

_NAMES: dict[str, Any] = {"token_normalize_func": lambda name: name.replace("_", "-"), "help_option_names": ["-h", "--help"]}
"""In names of options and commands, underscores count as dashes."""
_PASS_ON: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}


def build_app(*, lazy: bool = True) -> typer.Typer:
    """The Typer app.

    lazy: make the options of a subcommand when it is called, in an app of its own, so that ``graspgen --help`` is quick. Shell completion
    needs the options of all subcommands.
    """
    app = _new_app(no_args_is_help=True)
    app.callback()(_top)
    for name, (_, summary) in COMMANDS.items():
        if lazy:
            app.command(name, help=summary, add_help_option=False, context_settings=_PASS_ON)(_run_subcommand)
        else:
            _add(app, name)
    return app


def _new_app(**settings: Any) -> typer.Typer:
    return typer.Typer(context_settings=_NAMES, pretty_exceptions_enable=False, rich_markup_mode="rich", **settings)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"graspgen {__version__}")
        raise typer.Exit


def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)] = False,
) -> None:
    """From object meshes and a two-finger gripper to the dataset that GraspGen trains on."""


def _run_subcommand(context: typer.Context) -> int:
    """Runs the called subcommand in an app of its own."""
    name = context.info_name or ""
    app = _new_app(add_completion=False)
    _add(app, name)
    try:
        return int(app(args=context.args, prog_name=context.command_path, standalone_mode=False) or 0)
    except typer.TyperException as error:
        raise _usage_error(error, context.command_path) from error


def _add(app: typer.Typer, name: str) -> None:
    from graspgen_cli.commands.command import add_command

    add_command(app, name, COMMANDS[name][1], load_command(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``graspgen`` with the arguments, by default those of the process, and returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except GraspgenError as error:
        _print_error(*str(error).splitlines())
        code = error.exit_code
    except OSError as error:
        # Errors of files are OutputErrors, so this is stdout: a full disk, or a closed pipe as from `head`.
        _silence_stdout()
        code = ExitCode.FAILED
        if not isinstance(error, BrokenPipeError):
            _print_error(f"{error.filename or 'stdout'}: {error.strerror or error}")
            code = ExitCode.OUTPUT
    except Exception as error:
        _print_error(f"unexpected {type(error).__name__}: {error}; --debug shows where, and an issue with that output helps")
        code = ExitCode.FAILED
    if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        _print_error(f"{ExitCode(code).name.lower()}; finished files are kept, and the same command continues")
    return code


def _run(arguments: Sequence[str] | None) -> int:
    app = build_app(lazy="_GRASPGEN_COMPLETE" not in os.environ)
    try:
        with _termination_like_ctrl_c() as received:
            code = int(app(args=arguments, prog_name="graspgen", standalone_mode=False) or 0)
    except typer.TyperException as error:
        raise _usage_error(error, "graspgen") from error
    return ExitCode.TERMINATED if received else code


_INSISTENCE = 0.5
"""Seconds after which a lost interruption is raised again."""


@contextlib.contextmanager
def _termination_like_ctrl_c() -> Iterator[list[int]]:
    """SIGTERM, which `kill`, containers and batch systems send, acts as Ctrl-C does; yields the list of received signals. A handler of the
    calling program stays."""
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Batch systems send several; the second must not interrupt the cleanup.
        received.append(number)
        signal.setitimer(signal.ITIMER_REAL, _INSISTENCE, _INSISTENCE)
        raise KeyboardInterrupt

    def insist(_: int, __: object) -> None:
        if not _is_interrupted(sys.exc_info()[1]):
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield received
        return
    signal.signal(signal.SIGTERM, stop)
    before = signal.signal(signal.SIGALRM, insist)
    try:
        yield received
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _is_interrupted(handled: BaseException | None) -> bool:
    """Whether an interruption is being handled. Native code may lose an exception that a signal raises."""
    while handled is not None and not isinstance(handled, KeyboardInterrupt):
        handled = handled.__context__
    return handled is not None


def _usage_error(error: typer.TyperException, command: str) -> SettingsError:
    message = error.format_message().rstrip(".")
    # Without a subcommand the message is empty, since Typer has printed the help.
    return SettingsError(f"{message}; `{command} --help` shows what there is" if message else "")


def _print_error(*lines: str) -> None:
    for line in lines:
        print(f"graspgen: {printable(line)}", file=sys.stderr)


def _silence_stdout() -> None:
    """Python would report the error again at its exit, and change the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
