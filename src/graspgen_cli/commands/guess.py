"""`graspgen guess`: propose grasps, simulate nothing."""

from __future__ import annotations

from graspgen_cli.commands.command import Command
from graspgen_cli.commands.objects import finish, process_objects
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.making.reports import Phase
from graspgen_cli.settings.commands import GuessCommand


def guess(settings: GuessCommand, console: Console) -> ExitCode:
    """Make guesses for every object and print what came of it."""
    wanted = settings.grasp_command()
    summary = process_objects(wanted, phase=Phase.GUESS, console=console)
    return finish("guess", summary, wanted, next_command="validate --load-guesses", console=console)


COMMAND = Command(
    settings=GuessCommand,
    run=guess,
    about=(
        "For every object of the list: poses in which the open gripper touches nothing and has material between its pads, and poses in "
        "true collision as negatives. Files that exist are kept."
    ),
    examples=(
        "graspgen guess",
        "graspgen guess --gripper-config franka_panda --num-collision-free-grasps 256",
        "graspgen guess --object-dataset meshes --object-scales-json scales.json",
    ),
)
