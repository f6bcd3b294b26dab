"""The commands that make and judge grasps: `all`, `guess`, `validate`, `fill`, `relabel` and `splits`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from graspgen_cli.commands.command import Command
from graspgen_cli.commands.inputs import note_files
from graspgen_cli.console import MOST_NAMED, Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.making.reports import ObjectReport, RunSummary, Status
from graspgen_cli.settings.commands import AllCommand, FillCommand, GraspCommand, GuessCommand, RelabelCommand, SplitsCommand
from graspgen_cli.settings.fields import command_line

if TYPE_CHECKING:
    from graspgen_cli.dataset.splits import SplitPlan
    from graspgen_cli.making.relabel import Relabelling
    from graspgen_cli.running.run import MadeDataset


def _show_all(made: MadeDataset, settings: AllCommand, console: Console) -> ExitCode:
    note_files(made.gripper.files, settings.graspgen, settings.dataset, console)
    plan = made.splits
    if console.json:
        splits = {"new_train": plan.new_train, "new_valid": plan.new_valid} if plan else None
        config = [{"path": str(file.path), "status": str(file.status)} for file in made.gripper.files]
        console.document({**_document(made.summary, settings), "gripper_config": config, "splits": splits})
    else:
        _print_summary(made.summary, console)
        console.line()
        for file in made.gripper.files:
            console.line(f"gripper config {file.status}: {file.path}")
        if plan is not None:
            console.line(f"splits: {len(plan.new_train)} objects added to train, {len(plan.new_valid)} to valid")
        _print_next(settings, console)
    return _exit_code(made.summary)


def _show_run(summary: RunSummary, settings: GuessCommand | FillCommand, console: Console) -> ExitCode:
    if console.json:
        console.document(_document(summary, settings))
    else:
        _print_summary(summary, console)
        _print_next(settings, console)
    return _exit_code(summary)


def _print_next(settings: GuessCommand | FillCommand, console: Console) -> None:
    """Prints the folder of the files, and the command for the next step."""
    if isinstance(settings, GuessCommand) or (isinstance(settings, GraspCommand) and settings.mode.guess_only):
        guess_modes = {"guess_only": False, "overwrite_grasps": False, "fill_grasps": False, "grasps": None}
        following = command_line("validate", settings, load_guesses=True, **guess_modes)
    elif isinstance(settings, AllCommand):
        following = command_line("analyze" if settings.execution.shard is None else "splits", settings)
    else:
        following = command_line("splits" if isinstance(settings, GraspCommand) else "analyze", settings)
    console.line()
    console.line(f"files: {settings.dataset.grasp_dataset}")
    console.line(f"next:  {following}")


def _exit_code(summary: RunSummary) -> ExitCode:
    """FAILED if any object failed; an object below its quotas is no failure."""
    return ExitCode.FAILED if summary.count(Status.FAILED) else ExitCode.OK


def _print_summary(summary: RunSummary, console: Console) -> None:
    """Prints the counts of a run, and each object that is short or failed with its reason."""
    reports = summary.reports
    rows = [("objects", str(len(reports))), *((f"  {status}", str(summary.count(status))) for status in Status if summary.count(status))]
    totals = {
        "grasps held": sum(report.held for report in reports),
        "grasps failed": sum(report.failed for report in reports),
        "guesses not validated": sum(report.unvalidated for report in reports),
        "grasps simulated in this run": sum(report.tested for report in reports),
    }
    rows += [(name, str(total)) for name, total in totals.items() if total]
    rate = _held_rate(reports)
    if rate is not None:
        rows.append(("  of these held", f"{rate:.1%}"))
    console.table(("", ""), rows)
    for status in (Status.SHORT, Status.FAILED):
        console.named(str(status), [f"{report.object_id}: {report.message}" for report in summary.with_status(status)])


def _held_rate(reports: tuple[ObjectReport, ...]) -> float | None:
    """Share of the grasps simulated in this run that held; None if no grasp was simulated or no report tells."""
    counted = [report for report in reports if report.tested_held is not None]
    tested = sum(report.tested for report in counted)
    return sum(report.tested_held or 0 for report in counted) / tested if tested else None


def _document(summary: RunSummary, settings: GuessCommand | FillCommand) -> dict[str, Any]:
    names = ("object_id", "status", "held", "failed", "unvalidated", "tested", "message")
    objects = [
        {**{name: getattr(report, name) for name in names}, "seconds": round(report.seconds, 3)}  # without the traceback
        for report in summary.reports
    ]
    return {
        "objects": objects,
        "status": {status.value: summary.count(status) for status in Status},
        "held_rate": _held_rate(summary.reports),
        "grasp_dataset": str(settings.dataset.grasp_dataset),
    }


def _show_relabel(found: Relabelling, settings: RelabelCommand, console: Console) -> ExitCode:
    if console.json:
        console.document({"objects": [asdict(each) for each in found.objects], "broken": list(found.broken)})
    else:
        _print_relabelling(found, settings, console)
    for problem in found.broken:
        console.error(problem)
    return ExitCode.FAILED if found.broken else ExitCode.OK


def _print_relabelling(found: Relabelling, settings: RelabelCommand, console: Console) -> None:
    rows = [[each.object_id, str(each.held_before), str(each.held), str(each.changed)] for each in found.objects]
    sums = [sum(getattr(each, name) for each in found.objects) for name in ("held_before", "held", "changed")]
    console.table(("object", "held before", "held now", "changed"), [*rows, ["total", *map(str, sums)]])
    lacking = [each for each in found.objects if each.without_numbers]
    for each in lacking[:MOST_NAMED]:
        console.line(f"{each.file}: {each.without_numbers} grasps lack the numbers that this criterion needs and keep their labels")
    if lacking:
        more = f"{len(lacking) - MOST_NAMED} more files lack numbers; " if len(lacking) > MOST_NAMED else ""
        console.line(f"{more}`{command_line('validate', settings, load_guesses=True)}` tries such grasps again")


def _show_splits(plan: SplitPlan, settings: SplitsCommand, console: Console) -> ExitCode:
    if console.json:
        added = {"new_train": plan.new_train, "new_valid": plan.new_valid, "missing": plan.missing}
        console.document({**added, "grasp_dataset": str(settings.dataset.grasp_dataset)})
    else:
        console.table(("list", "added"), [("train", str(len(plan.new_train))), ("valid", str(len(plan.new_valid)))])
    if plan.missing:
        console.note(f"{len(plan.missing)} listed objects have no grasps and stay listed, such as {plan.missing[0]}")
    return ExitCode.OK


ALL = Command(
    settings=AllCommand,
    call="graspgen_cli.running.run:make_dataset",
    show=_show_all,
    about=(
        "Writes GraspGen's gripper config; then guesses and tries grasps of every object, round after round, until the quotas or the limit "
        "of rounds is reached; then updates the training and validation lists. Existing grasp files are kept, so an interrupted run "
        "continues. With --shard the lists are left to `graspgen splits` after the last shard."
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
GUESS = Command(
    settings=GuessCommand,
    call="graspgen_cli.running.run:make_grasps",
    show=_show_run,
    about=(
        "For every object of the list: poses in which the open gripper is free of collision and has material between its pads, and poses "
        "in collision as negatives. Existing files are kept."
    ),
    examples=(
        "graspgen guess",
        "graspgen guess --gripper-config franka_panda --num-collision-free-grasps 256",
        "graspgen guess --object-dataset meshes --object-scales-json scales.json",
    ),
)
VALIDATE = Command(
    settings=GraspCommand,
    call="graspgen_cli.running.run:make_grasps",
    show=_show_run,
    about=(
        "The gripper closes on the free object and holds it, and forces pull the object; a grasp is held if both fingers still touch the "
        "object at the end. --max-slip and its like demand more. With --load-guesses the grasps in the dataset are tried, whichever tool "
        "wrote them; with --grasps those of another folder or file, in any format that `convert` reads; without either, grasps are guessed "
        "and tried until the quotas are met."
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
FILL = Command(
    settings=FillCommand,
    call="graspgen_cli.running.run:make_grasps",
    show=_show_run,
    about=(
        "Guesses and tries more grasps of every object whose file is below the quotas, and makes the files that are missing. Existing "
        "grasps stay. The same as `graspgen all --fill-grasps` without the gripper config and the splits."
    ),
    examples=(
        "graspgen fill",
        "graspgen fill --num-collision-free-grasps 512 --num-colliding-grasps 128",
        "graspgen fill --max-guess-tries 1000",
    ),
)
RELABEL = Command(
    settings=RelabelCommand,
    call="graspgen_cli.making.relabel:relabel_dataset",
    show=_show_relabel,
    argument="grasp_dataset",
    about=(
        "Judges the grasps of every file again by the numbers of their trials in the file (grasps.quality), in place and without "
        "simulation. The record of the trials then names the new criterion. The numbers stay, so relabelling without a criterion restores "
        "the labels. Collisions, untried guesses and diverged trials stay as they are."
    ),
    examples=(
        "graspgen relabel results --max-slip 0.005 --max-turn 5",
        "graspgen relabel results --gripper-config franka_panda --min-contact-force 1",
        "graspgen relabel results",
    ),
)
SPLITS = Command(
    settings=SplitsCommand,
    call="graspgen_cli.running.run:update_dataset_splits",
    show=_show_splits,
    about=(
        "A seeded hash of an object's name decides the list of each object that is in neither. Existing lines are never moved or removed, "
        "so the split stays the same while the dataset grows."
    ),
    examples=(
        "graspgen splits",
        "graspgen splits --valid-set-percentage 0.1 --gripper-config franka_panda",
    ),
)
