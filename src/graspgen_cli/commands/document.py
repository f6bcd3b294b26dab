"""Prints docs/commands.md: every command with its flags, from the same models that the command line is made of.

Run as ``python -m graspgen_cli.commands.document > docs/commands.md``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from graspgen_cli.app import COMMANDS
from graspgen_cli.commands.command import COMMON_HELP, Command, argument_name
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.fields import ENVIRONMENT_ALIASES, Kind, allowed, default_text, fields_by_section, flag, heading, kind, off_flag
from graspgen_cli.settings.models import Section

EXIT_CODES = {
    ExitCode.OK: "All went well. Objects that are short of their quotas are named in the summary, but are no failure.",
    ExitCode.FAILED: "The command ran, but some objects failed, a grasp file cannot be read, `analyze` found wrong data or a "
    "threshold was not met, or `doctor` found something. Also: an error that nobody foresaw; `--debug` shows where.",
    ExitCode.USAGE: "A flag, an environment variable or the settings file is wrong. Nothing was started.",
    ExitCode.BAD_INPUT: "The input as a whole cannot be used: the scales file, the gripper, the dataset.",
    ExitCode.OUTPUT: "The output cannot be written.",
    ExitCode.INTERRUPTED: "Ctrl-C. What was finished is kept; the same command goes on from there.",
    ExitCode.TERMINATED: "SIGTERM, by which `kill`, a container or a batch system ends a program. The same as after Ctrl-C.",
}

INTRODUCTION = """\
# Commands

Made by `python -m graspgen_cli.commands.document` from the settings models; do not edit.

Data goes to stdout, messages and progress to stderr. `--json` turns stdout into one JSON document. In names of flags and commands
underscores are as good as dashes: `--num_collision_free_grasps` is `--num-collision-free-grasps`.

## Where a setting comes from

The later of these wins: the default, the gripper's file, the file given with `--config`, the environment, the flag.
`--show-settings` prints every effective value and where it comes from, in a form that `--config` reads back.

- A settings file is YAML, one flat mapping: `num-offsets: 16`. One file may serve all commands: each takes the settings that it has.
  A name that no command knows is an error.
- The environment variable of `--num-offsets` is `GRASPGEN_NUM_OFFSETS`; lists are JSON; an empty variable counts as not set.
  Variables that GraspGen's own tools know are read as well: {aliases}.
- Relative paths start from the current folder, wherever they are written.

## Exit codes

| code | meaning |
|---|---|
{codes}
"""


def document() -> str:
    """The whole page."""
    aliases = ", ".join(f"`{variable}` for `{flag(name)}`" for name, variable in ENVIRONMENT_ALIASES.items())
    codes = "\n".join(f"| {code.value} | {text} |" for code, text in EXIT_CODES.items())
    parts = [INTRODUCTION.format(aliases=aliases, codes=codes), _common()]
    parts += [_section(name, summary, import_module(module).COMMAND) for name, (module, summary) in COMMANDS.items()]
    return "\n".join(parts)


def _common() -> str:
    rows = [f"| `--{name.replace('_', '-')}{' FILE.yaml' if name == 'config' else ''}` | {text} |" for name, text in COMMON_HELP.items()]
    return "\n".join(["## Flags of every command", "", "| flag | meaning |", "|---|---|", *rows, ""])


def _section(name: str, summary: str, command: Command[Any]) -> str:
    lines = [f"## graspgen {name}", "", summary, "", command.about, "", "```sh", *command.examples, "```", ""]
    lines += ["| flag | takes | default | meaning |", "|---|---|---|---|"]
    if command.argument is not None:
        lines.append(
            f"| `{argument_name(command)}` | {allowed(command.settings, command.argument)} | | The same as `{flag(command.argument)}`. |"
        )
    for section, names in fields_by_section(command.settings):
        lines.append(f"| **{heading(section)}** | | | |")
        lines += [_row(section, field) for field in names]
    return "\n".join([*lines, ""])


def _row(section: type[Section], name: str) -> str:
    description = section.model_fields[name].description
    if kind(section, name) is Kind.BOOLEAN:
        default = "on" if section.model_fields[name].default else "off"
        return f"| `{flag(name)}`, `{off_flag(section, name)}` | | {default} | {description} |"
    default = default_text(section, name)
    return f"| `{flag(name)}` | {allowed(section, name)} | {f'`{default}`' if default else ''} | {description} |"


if __name__ == "__main__":
    print(document(), end="")
