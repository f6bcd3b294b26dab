"""`graspgen validate`: try grasps in simulation."""

from __future__ import annotations

from graspgen_cli.commands.command import Command
from graspgen_cli.commands.objects import finish, process_objects
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.making.reports import Phase
from graspgen_cli.settings.commands import GraspCommand


def validate(settings: GraspCommand, console: Console) -> ExitCode:
    """Try the grasps of every object and print what came of it."""
    phase = Phase.GUESS if settings.mode.guess_only else Phase.VALIDATE
    summary = process_objects(settings, phase=phase, console=console)
    following = "validate --load-guesses" if settings.mode.guess_only else "splits"
    return finish("validate", summary, settings, next_command=following, console=console)


COMMAND = Command(
    settings=GraspCommand,
    run=validate,
    about=(
        "The gripper closes on the free object, holds it, and the object is tugged; a grasp is held if both fingers still touch the "
        "object at the end; --max-slip and its like ask for more. With --load-guesses the grasps that the files hold are tried, whichever "
        "tool wrote them, and with --grasps those of another folder or file, of any format that `convert` reads; without either, grasps "
        "are guessed and tried until the quotas are met."
    ),
    examples=(
        "graspgen validate --load-guesses",
        "graspgen validate --grasps isaac_grasps --object-dataset meshes --grasp-dataset tried",
        "graspgen validate --num-collision-free-grasps 128 --workers 8",
        "graspgen validate --friction 0.5 --object-mass 0.2 --overwrite-grasps",
        "graspgen validate --max-slip 0.005 --max-turn 5 --still 0.001",
        "graspgen validate --tug-sequences '[[0.5,[0,0,1],1],[0.5,[0,0,-1],1]]'",
    ),
)
