"""`graspgen all`: from object list and gripper to a dataset, in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.commands.gripper_config import note_files
from graspgen_cli.commands.objects import exit_code, print_next, print_summary, process_objects, summary_document
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.making.reports import Phase, RunSummary, Status
from graspgen_cli.settings.commands import AllCommand

if TYPE_CHECKING:
    from graspgen_cli.dataset.splits import SplitPlan
    from graspgen_cli.grippers.export import ConfigFile


def all_(settings: AllCommand, console: Console) -> ExitCode:
    """Gripper config, then the objects, then the splits, then the summary."""
    from graspgen_cli.making.gripper_config import write_gripper_config
    from graspgen_cli.running.run import update_dataset_splits

    files = write_gripper_config(settings).files
    note_files(files, settings, console)
    phase = Phase.GUESS if settings.mode.guess_only else Phase.ALL
    summary = process_objects(settings, phase=phase, console=console)
    whole = settings.execution.shard is None
    plan = update_dataset_splits(settings) if whole and _has_grasps(summary) else None
    if console.json:
        console.document({"command": "all", **_document(settings, files, summary, plan)})
    else:
        print_summary(summary, console)
        _print_files(files, plan, console)
        following = "validate --load-guesses" if settings.mode.guess_only else "analyze"
        print_next(settings, following if whole else "splits", console)
    return exit_code(summary)


def _has_grasps(summary: RunSummary) -> bool:
    return any(report.held + report.failed + report.unvalidated for report in summary.reports if report.status is not Status.FAILED)


def _print_files(files: tuple[ConfigFile, ...], plan: SplitPlan | None, console: Console) -> None:
    console.line()
    for file in files:
        console.line(f"gripper config {file.status}: {file.path}")
    if plan is not None:
        console.line(f"splits: {len(plan.new_train)} objects added to train, {len(plan.new_valid)} to valid")


def _document(settings: AllCommand, files: tuple[ConfigFile, ...], summary: RunSummary, plan: SplitPlan | None) -> dict[str, object]:
    splits = {"new_train": plan.new_train, "new_valid": plan.new_valid} if plan else None
    config = [{"path": str(file.path), "status": str(file.status)} for file in files]
    return {**summary_document(summary), "gripper_config": config, "splits": splits, "grasp_dataset": str(settings.dataset.grasp_dataset)}


COMMAND = Command(
    settings=AllCommand,
    run=all_,
    about=(
        "Writes GraspGen's gripper config, then guesses and tries grasps of every object, round after round, until the quotas or the "
        "limit of tries are reached, then updates the training and validation lists. Grasp files that exist are kept, so an interrupted "
        "run goes on where it stopped. With --shard the lists are left to `graspgen splits`, once all shards are done."
    ),
    examples=(
        "graspgen all",
        "graspgen all --gripper-config franka_panda --grasp-dataset panda",
        "graspgen all --object-dataset meshes --object-scales-json scales.json",
        "graspgen all --config study.yaml --show-settings",
        "graspgen all --shard 0/3 --grasp-dataset /shared/out",
        "graspgen all --backend mujoco-warp --devices cuda:0,cuda:1",
    ),
)
