"""`graspgen filter`: a copy of the grasps that meet conditions."""

from __future__ import annotations

from graspgen_cli.commands.command import Command
from graspgen_cli.commands.subsets import copy_subset
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import FilterCommand


def filter_grasps(settings: FilterCommand, console: Console) -> ExitCode:
    """Copy the grasps that meet all conditions."""
    from graspgen_cli.analysis.subsets import filter_dataset

    return copy_subset("filter", filter_dataset, settings, console)


COMMAND = Command(
    settings=FilterCommand,
    run=filter_grasps,
    argument="paths",
    about=(
        "Writes a new dataset (GraspGen JSON, with map, splits and gripper config) with the grasps that meet all conditions, in order. "
        "An object of which no grasp is left is named and not written. Originals are not touched."
    ),
    examples=(
        "graspgen filter results --output-dataset held --outcomes held",
        "graspgen filter results --output-dataset narrow --max-opening 0.04",
        "graspgen filter results --output-dataset top --approach-direction '[0, 0, -1]' --approach-angle 30",
        "graspgen filter mug.1.0.grasps.json --output-dataset few --indices 0,5,10:20",
    ),
)
