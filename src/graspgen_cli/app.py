"""The ``graspgen`` command: its table of contents, and the one place that turns an error into a line and an exit code."""

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
"""Underscores are as good as dashes in the names of options and commands; values are left alone."""

_PASS_ON: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}


def build_app(*, lazy: bool = True) -> typer.Typer:
    """The Typer app.

    lazy: hand a subcommand's arguments on to an app of its own, which is made when it is called, so that ``graspgen --help`` need not
    wait for seven times forty options; shell completion needs them all at once.
    """
    app = _new_app(no_args_is_help=True)
    app.callback()(_top)
    for name, (_, summary) in COMMANDS.items():
        if lazy:
            app.command(name, help=summary, add_help_option=False, context_settings=_PASS_ON)(_hand_on)
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


def _hand_on(context: typer.Context) -> int:
    """Run the subcommand that was called, in an app that holds nothing else."""
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
    """Run ``graspgen`` with the arguments, by default those of the process, and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except GraspgenError as error:
        _complain(*str(error).splitlines())
        code = error.exit_code
    except OSError as error:
        # Files have errors of their own, so this is stdout: a full disk, or a reader that went away as `head` does.
        _silence_stdout()
        code = ExitCode.FAILED
        if not isinstance(error, BrokenPipeError):
            _complain(f"{error.filename or 'stdout'}: {error.strerror or error}")
            code = ExitCode.OUTPUT
    except Exception as error:
        _complain(f"unexpected {type(error).__name__}: {error}; --debug shows where, and an issue with that output helps")
        code = ExitCode.FAILED
    if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        _complain(f"{ExitCode(code).name.lower()}; finished files are kept, and the same command continues")
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
"""s after which an interruption that went lost is raised anew."""


@contextlib.contextmanager
def _termination_like_ctrl_c() -> Iterator[list[int]]:
    """Makes SIGTERM, by which `kill`, containers and batch systems end a program, do what Ctrl-C does; yields a list that it is put on.
    A program that calls `main` and has a way of its own to take the signal keeps it."""
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # batch systems send several, and what is to be put in order must not be disturbed
        received.append(number)
        signal.setitimer(signal.ITIMER_REAL, _INSISTENCE, _INSISTENCE)
        raise KeyboardInterrupt

    def insist(_: int, __: object) -> None:
        if not _is_on_its_way(sys.exc_info()[1]):
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


def _is_on_its_way(handled: BaseException | None) -> bool:
    """Whether an interruption is being handled: an exception that a signal raises within a native call may get lost there."""
    while handled is not None and not isinstance(handled, KeyboardInterrupt):
        handled = handled.__context__
    return handled is not None


def _usage_error(error: typer.TyperException, command: str) -> SettingsError:
    message = error.format_message().rstrip(".")
    # Without a subcommand Typer has printed the help, and the message is empty.
    return SettingsError(f"{message}; `{command} --help` shows what there is" if message else "")


def _complain(*lines: str) -> None:
    for line in lines:
        print(f"graspgen: {printable(line)}", file=sys.stderr)


def _silence_stdout() -> None:
    """Python would complain once more, and change the exit code, when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
