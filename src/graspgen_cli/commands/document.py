"""Prints docs/commands.md: one table of all flags, and a section for each command, from the models that make the command line.

Run as ``python -m graspgen_cli.commands.document > docs/commands.md``.
"""

from __future__ import annotations

from typing import Any

from graspgen_cli.commands import COMMANDS, load_command
from graspgen_cli.commands.command import COMMON_HELP, Command, argument_name
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.fields import ENVIRONMENT_ALIASES, Kind, Setting, flag, grouped

EXIT_CODES = {
    ExitCode.OK: "Success. An object below its quota is named in the summary and does not change the code.",
    ExitCode.FAILED: "The command ran and found a failure: an object failed, a file cannot be read, `analyze` found wrong data or a "
    "threshold that is not met, `doctor` found a problem. Also an unexpected error; `--debug` prints its traceback.",
    ExitCode.USAGE: "A flag, an environment variable or the settings file is wrong. Nothing was started.",
    ExitCode.BAD_INPUT: "The scales file, the gripper or the dataset cannot be used.",
    ExitCode.OUTPUT: "The output cannot be written.",
    ExitCode.INTERRUPTED: "Ctrl-C. Finished files are kept; the same command continues.",
    ExitCode.TERMINATED: "SIGTERM, from `kill`, a container or a batch system. Finished files are kept, as after Ctrl-C.",
}

VARIABLES = {
    "GRASPGEN_CACHE_DIR": "Cache folder; default: `graspgen` in the user's cache folder.",
    "GRASPGEN_CONFIG_DIR": "Folder of saved grippers; default: `graspgen` in the user's configuration folder.",
    "MUJOCO_GL": "OpenGL system that draws pictures and videos: `egl` or `osmesa`; default: the first one that works.",
    "CUDA_VISIBLE_DEVICES": "GPUs that `--devices` may use.",
    "SLURM_CPUS_PER_TASK": "Cores of a Slurm task, which limit the default number of processes; if unset, `SLURM_CPUS_ON_NODE` counts.",
}
"""Environment variables without a flag."""

INTRODUCTION = """\
# Commands

This page is made by `python -m graspgen_cli.commands.document`; do not edit it.

Results go to stdout, messages and progress to stderr. `--json` prints one JSON document on stdout. Underscores and dashes in the names
of flags and commands are equal: `--num_collision_free_grasps` is `--num-collision-free-grasps`. `graspgen COMMAND --help` lists the
flags of one command.

## Where a setting comes from

Each source overrides the one before it: the default, the gripper's file, the file of `--config`, the environment, the flag.
`--show-settings` prints each effective value with its source, as YAML that `--config` reads.

- A settings file is one flat YAML mapping: `num-offsets: 16`. One file can serve all commands: a command ignores the settings of
  other commands. A name that no command knows is an error.
- The environment variable of `--num-offsets` is `GRASPGEN_NUM_OFFSETS`. Lists are JSON. An empty variable counts as unset.
- Relative paths start from the current folder, also in a settings file.

## Exit codes

| code | meaning |
|---|---|
{codes}

## Environment variables

Every flag below, apart from those of all commands, has a variable `GRASPGEN_…`. `graspgen` reads these variables as well:

| variable | meaning |
|---|---|
{variables}
"""


def document() -> str:
    """The whole page."""
    codes = "\n".join(f"| {code.value} | {text} |" for code, text in EXIT_CODES.items())
    commands = {name: load_command(name) for name in COMMANDS}
    parts = [INTRODUCTION.format(codes=codes, variables=_variables()), _flags(commands)]
    parts += [_section(name, COMMANDS[name][1], command) for name, command in commands.items()]
    return "\n".join(parts)


def _variables() -> str:
    aliases = {variable: f"The same as `{flag(name)}`; GraspGen's own tools read it too." for name, variable in ENVIRONMENT_ALIASES.items()}
    return "\n".join(f"| `{name}` | {text} |" for name, text in {**aliases, **VARIABLES}.items())


def _flags(commands: dict[str, Command[Any, Any]]) -> str:
    """One row a flag, under the headings of the groups; the last column names the commands that take the flag."""
    takers: dict[str, list[str]] = {}
    groups: dict[str, list[Setting]] = {}
    for name, command in commands.items():
        for heading, settings in grouped(command.settings):
            takers.setdefault(heading, []).append(name)
            groups[heading] = settings
    lines = ["## Flags", "", "The last column names the commands that take the flag; `all` is `graspgen all`.", ""]
    lines += ["| flag | takes | default | meaning | commands |", "|---|---|---|---|---|"]
    lines += ["| **All commands** | | | | |", *_common_rows()]
    for heading, settings in groups.items():
        lines.append(f"| **{heading}** | | | | |")
        lines += [_row(setting, ", ".join(takers[heading])) for setting in settings]
    return "\n".join([*lines, ""])


def _common_rows() -> list[str]:
    takes = {"config": " path"}
    return [f"| `{flag(name)}` |{takes.get(name, '')} | | {text} | all commands |" for name, text in COMMON_HELP.items()]


def _row(setting: Setting, commands: str) -> str:
    description, default = setting.field.description, setting.default_text
    if setting.kind is Kind.BOOLEAN:
        return f"| `{setting.flag}`, `{setting.off_flag}` | | {'on' if setting.field.default else 'off'} | {description} | {commands} |"
    return f"| `{setting.flag}` | {_takes(setting)} |{f' `{default}`' if default else ''} | {description} | {commands} |"


def _takes(setting: Setting) -> str:
    """The values of a flag in few words: the description gives the form of JSON, and a bound of 10⁹ only guards against typing errors."""
    return "JSON" if setting.kind is Kind.JSON else setting.allowed.removeprefix("a ").removesuffix(f" to {10**9}")


def _section(name: str, summary: str, command: Command[Any, Any]) -> str:
    lines = [f"## graspgen {name}", "", summary, "", command.about, ""]
    if command.argument is not None:
        taken = argument_name(command)
        lines += [f"`graspgen {name} {taken}` is the same as `graspgen {name} {flag(command.argument)} {taken}`.", ""]
    return "\n".join([*lines, "```sh", *command.examples, "```", ""])


if __name__ == "__main__":
    print(document(), end="")
