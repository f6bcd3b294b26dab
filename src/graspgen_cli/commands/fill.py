"""`graspgen fill`: top existing grasp files up to the quotas."""

from __future__ import annotations

from graspgen_cli.commands.command import Command
from graspgen_cli.commands.objects import finish, process_objects
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.making.reports import Phase
from graspgen_cli.settings.commands import FillCommand


def fill(settings: FillCommand, console: Console) -> ExitCode:
    """Add the grasps that are missing and print what came of it."""
    wanted = settings.grasp_command()
    summary = process_objects(wanted, phase=Phase.FILL, console=console)
    return finish("fill", summary, wanted, next_command="analyze", console=console)


COMMAND = Command(
    settings=FillCommand,
    run=fill,
    about=(
        "Guesses and tries more grasps of the objects whose files have fewer than the quotas, and makes the files that are missing. "
        "Grasps that are there stay. The same as `graspgen all --fill-grasps` without the gripper config and the splits."
    ),
    examples=(
        "graspgen fill",
        "graspgen fill --num-collision-free-grasps 512 --num-colliding-grasps 128",
        "graspgen fill --max-guess-tries 1000",
    ),
)
