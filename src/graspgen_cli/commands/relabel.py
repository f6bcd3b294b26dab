"""`graspgen relabel`: another criterion for grasps that were tried before."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import RelabelCommand

if TYPE_CHECKING:
    from graspgen_cli.making.relabel import Relabelling

_SHOWN = 20
"""Files that are named, at most; --json names all."""


def relabel(settings: RelabelCommand, console: Console) -> ExitCode:
    """Judge every file again and print what changed."""
    from graspgen_cli.making.relabel import relabel_dataset

    with console.progress() as progress:
        found = relabel_dataset(settings, on_start=progress.start, on_object=progress.advance)
    if console.json:
        console.document({"command": "relabel", "objects": [asdict(each) for each in found.objects], "broken": list(found.broken)})
    else:
        _print(found, console)
    for problem in found.broken:
        console.error(problem)
    return ExitCode.FAILED if found.broken else ExitCode.OK


def _print(found: Relabelling, console: Console) -> None:
    rows = [[each.object_id, str(each.held_before), str(each.held), str(each.changed)] for each in found.objects]
    sums = [sum(getattr(each, name) for each in found.objects) for name in ("held_before", "held", "changed")]
    console.table(("object", "held before", "held now", "changed"), [*rows, ["total", *map(str, sums)]])
    lacking = [each for each in found.objects if each.without_numbers]
    for each in lacking[:_SHOWN]:
        console.line(f"{each.file}: {each.without_numbers} grasps lack the numbers that this criterion needs and keep their labels")
    if lacking:
        more = f"{len(lacking) - _SHOWN} more files lack numbers; " if len(lacking) > _SHOWN else ""
        console.line(f"{more}`graspgen validate --load-guesses` tries such grasps again")


COMMAND = Command(
    settings=RelabelCommand,
    run=relabel,
    argument="grasp_dataset",
    about=(
        "Judges the grasps of every file again by the numbers that it holds of their trials (grasps.quality), in place and without "
        "simulation. The record of the trials then names the new criterion; the numbers stay, so that relabelling without a criterion "
        "brings the labels back. Collisions, guesses that were not tried and trials that diverged stay as they are."
    ),
    examples=(
        "graspgen relabel results --max-slip 0.005 --max-turn 5",
        "graspgen relabel results --gripper-config franka_panda --min-contact-force 1",
        "graspgen relabel results",
    ),
)
