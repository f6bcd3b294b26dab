"""`graspgen balance`: a copy with a chosen number and ratio of held and failed grasps."""

from __future__ import annotations

from graspgen_cli.commands.command import Command
from graspgen_cli.commands.subsets import copy_subset
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import BalanceCommand


def balance(settings: BalanceCommand, console: Console) -> ExitCode:
    """Copy a random choice of each object's grasps."""
    from graspgen_cli.analysis.subsets import balance_dataset

    return copy_subset("balance", balance_dataset, settings, console)


COMMAND = Command(
    settings=BalanceCommand,
    run=balance,
    argument="paths",
    about=(
        "Writes a new dataset (GraspGen JSON, with map, splits and gripper config) with a random choice of each object's held and failed "
        "grasps. Which ones depends on --seed and the object alone. Where there are too few for the numbers or the ratio, fewer are kept. "
        "Grasps that were never tested are left out. Originals are not touched."
    ),
    examples=(
        "graspgen balance results --output-dataset balanced --failed-per-held 1",
        "graspgen balance results --output-dataset small --num-held 32 --num-failed 8 --seed 7",
    ),
)
