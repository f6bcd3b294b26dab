"""The errors that a user can correct, each with the exit code of the command.

Library code raises these errors; only :mod:`graspgen_cli.app` catches them and prints one line.
"""

from __future__ import annotations

import importlib.metadata
import shlex
from enum import IntEnum
from pathlib import Path

DISTRIBUTION = "graspgen-cli"


class ExitCode(IntEnum):
    """Exit codes of every ``graspgen`` command, as documented in ``docs/commands.md``."""

    OK = 0
    FAILED = 1
    """The command ran; some objects failed, or a threshold of ``analyze`` was not met."""
    USAGE = 2
    """The command line, a settings file or an environment variable is wrong."""
    BAD_INPUT = 3
    """The input as a whole cannot be used: scales file, gripper, dataset."""
    OUTPUT = 4
    """The output cannot be written."""
    INTERRUPTED = 130
    """Ctrl-C."""
    TERMINATED = 143
    """SIGTERM."""


class GraspgenError(Exception):
    """Base of the errors that a user can correct. Its text is one line: ``path: reason; advice``.

    exit_code: exit code of the process. path: the file or folder, None if the error concerns no single one. reason: what is wrong.
    advice: what to do next.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, reason: str, *, path: Path | str | None = None, advice: str = "") -> None:
        super().__init__(reason)
        self.path, self.reason, self.advice = path, reason, advice

    @property
    def summary(self) -> str:
        """``path: reason``, for lists of files to which the advice does not apply."""
        return self.reason if self.path is None else f"{self.path}: {self.reason}"

    def __str__(self) -> str:
        return f"{self.summary}; {self.advice}" if self.advice else self.summary


def one_line(error: BaseException, longest: int = 200) -> str:
    """What an error of Python or a library says, on one line: a system error without its number and path, a KeyError as ``no 'key'``."""
    text = f"no {error}" if isinstance(error, KeyError) else getattr(error, "strerror", None) or " ".join(str(error).split())
    return (text or type(error).__name__)[:longest]


def install_command(extra: str) -> str:
    """The command, in backticks, that installs the packages of an extra of this package.

    The command names the packages with their bounds, as the metadata has them, since this package is on no index.
    """
    try:
        requirements = [line.split(";") for line in importlib.metadata.requires(DISTRIBUTION) or []]
    except importlib.metadata.PackageNotFoundError:
        return f"`pip install '.[{extra}]'` in the source folder of {DISTRIBUTION}"
    named = [words[0].strip() for words in requirements if f"extra == '{extra}'" in words[-1].replace('"', "'")]
    return f"`{shlex.join(['pip', 'install', *named])}`"


class SettingsError(GraspgenError):
    """A flag, a settings file or an environment variable has a wrong value."""

    exit_code = ExitCode.USAGE


class InputError(GraspgenError):
    """An input of the whole run cannot be read or used: the scales file, the dataset."""

    exit_code = ExitCode.BAD_INPUT


class GripperError(InputError):
    """A gripper is unknown, cannot be read or fails its self-check."""


class ObjectError(GraspgenError):
    """One object cannot be used; the run continues with the other objects."""


class GraspFileError(GraspgenError):
    """One grasp file cannot be read; the run continues with the other files."""


class DamagedFileError(GraspFileError):
    """The checksum of a grasp file does not match its content."""


class MalformedFileError(GraspFileError):
    """A grasp file lacks a key or has a wrong value."""


class NotFiniteError(MalformedFileError):
    """A pose in a grasp file has a number that is not finite."""


class OutputError(GraspgenError):
    """A file or folder cannot be written."""

    exit_code = ExitCode.OUTPUT
