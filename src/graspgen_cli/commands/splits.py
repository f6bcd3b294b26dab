"""`graspgen splits`: training and validation lists."""

from __future__ import annotations

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import SplitsCommand


def splits(settings: SplitsCommand, console: Console) -> ExitCode:
    """Update the lists and print what was added."""
    from graspgen_cli.running.run import update_dataset_splits

    plan = update_dataset_splits(settings)
    if console.json:
        added = {"new_train": plan.new_train, "new_valid": plan.new_valid, "missing": plan.missing}
        console.document({"command": "splits", **added, "grasp_dataset": str(settings.dataset.grasp_dataset)})
    else:
        console.table(("list", "added"), [("train", str(len(plan.new_train))), ("valid", str(len(plan.new_valid)))])
    if plan.missing:
        console.note(f"{len(plan.missing)} listed objects have no grasps and stay listed, such as {plan.missing[0]}")
    return ExitCode.OK


COMMAND = Command(
    settings=SplitsCommand,
    run=splits,
    about=(
        "Objects that are in neither list are divided by a seeded hash of their names. Lines that are there are never moved or removed, "
        "so the split holds while the dataset grows."
    ),
    examples=(
        "graspgen splits",
        "graspgen splits --valid-set-percentage 0.1 --gripper-config franka_panda",
    ),
)
