"""All errors that a user can meet, each with the exit code that it ends the command with.

Library code raises these; only :mod:`graspgen_cli.app` catches them and prints one line. A message says what is wrong, in
which file, and what to do next.
"""

from __future__ import annotations

from enum import IntEnum


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
    """Base of every error that is the user's to mend; `exit_code` is what the process ends with."""

    exit_code: ExitCode = ExitCode.FAILED


class SettingsError(GraspgenError):
    """A flag, a settings file or an environment variable has a wrong value."""

    exit_code = ExitCode.USAGE


class InputError(GraspgenError):
    """Something that the whole run needs cannot be read or used: the scales file, the dataset."""

    exit_code = ExitCode.BAD_INPUT


class GripperError(InputError):
    """A gripper is unknown, cannot be read or fails its self-check."""


class ObjectError(GraspgenError):
    """One object cannot be used; the others go on."""


class GraspFileError(GraspgenError):
    """One grasp file cannot be read; the others go on."""


class OutputError(GraspgenError):
    """A file or folder cannot be written."""

    exit_code = ExitCode.OUTPUT


class NotFiniteError(GraspFileError):
    """A grasp file whose only fault may be that it holds numbers that are not finite."""
