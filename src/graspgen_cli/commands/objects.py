"""What the commands that run over objects share: the run with its progress, the summary and the exit code."""

from __future__ import annotations

import shlex
from typing import Any

from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.making.reports import ObjectReport, Phase, RunSummary, Status
from graspgen_cli.settings.base import Group
from graspgen_cli.settings.commands import GraspCommand
from graspgen_cli.settings.fields import flag

MOST_NAMED = 20
"""Objects that the summary names; ``--json`` has them all."""


def process_objects(settings: GraspCommand, *, phase: Phase, console: Console) -> RunSummary:
    """Run a phase over all objects and show its progress."""
    from graspgen_cli.running.run import run_objects

    with console.progress() as progress:

        def advance(report: ObjectReport) -> None:
            progress.advance(report_line(report), validated=report.tested, failed=report.status is Status.FAILED)

        return run_objects(settings, phase=phase, on_start=progress.start, on_report=advance)


def report_line(report: ObjectReport) -> str:
    """One object in a line: ``mug.obj: made, 64 held, 16 failed (2.1 s)``."""
    counts = {"held": report.held, "unvalidated": report.unvalidated, "failed": report.failed}
    numbers = "".join(f", {count} {name}" for name, count in counts.items() if count)
    message = f": {report.message}" if report.message else ""
    return f"{report.object_id}: {report.status}{numbers} ({report.seconds:.1f} s){message}"


def exit_code(summary: RunSummary) -> ExitCode:
    """FAILED where any object failed; objects that are short are no failure."""
    return ExitCode.FAILED if summary.count(Status.FAILED) else ExitCode.OK


def print_summary(summary: RunSummary, console: Console) -> None:
    """Print the table of a run, and the objects that are short or failed with the reason."""
    reports = summary.reports
    rows = [("objects", str(len(reports))), *((f"  {status}", str(summary.count(status))) for status in Status if summary.count(status))]
    totals = {
        "grasps held": sum(report.held for report in reports),
        "grasps failed": sum(report.failed for report in reports),
        "guesses not validated": sum(report.unvalidated for report in reports),
        "grasps simulated in this run": sum(report.tested for report in reports),
    }
    rows += [(name, str(total)) for name, total in totals.items() if total]
    rate = held_rate(summary)
    if rate is not None:
        rows.append(("  of these held", f"{rate:.1%}"))
    console.table(("", ""), rows)
    for status in (Status.SHORT, Status.FAILED):
        _name_objects(summary.with_status(status), status, console)


def _name_objects(reports: tuple[ObjectReport, ...], status: Status, console: Console) -> None:
    if not reports:
        return
    console.line()
    console.line(f"{status}:")
    for report in reports[:MOST_NAMED]:
        console.line(f"  {report.object_id}: {report.message}")
    if len(reports) > MOST_NAMED:
        console.line(f"  … and {len(reports) - MOST_NAMED} more; --json names them all")


def held_rate(summary: RunSummary) -> float | None:
    """Share of the grasps simulated in this run that held; None where none was, or the run does not tell."""
    told = [report for report in summary.reports if report.tested_held is not None]
    tested = sum(report.tested for report in told)
    return sum(report.tested_held or 0 for report in told) / tested if tested else None


def summary_document(summary: RunSummary) -> dict[str, Any]:
    """The run for ``--json``."""
    return {
        "objects": [
            {
                "object_id": report.object_id,
                "status": report.status,
                "held": report.held,
                "failed": report.failed,
                "unvalidated": report.unvalidated,
                "tested": report.tested,
                "message": report.message,
                "seconds": round(report.seconds, 3),
            }
            for report in summary.reports
        ],
        "status": {status.value: summary.count(status) for status in Status},
        "held_rate": held_rate(summary),
    }


def finish(command: str, summary: RunSummary, settings: GraspCommand, *, next_command: str, console: Console) -> ExitCode:
    """Print a run's result, where its files are and what to do next; return its exit code."""
    if console.json:
        console.document({"command": command, **summary_document(summary), "grasp_dataset": str(settings.dataset.grasp_dataset)})
    else:
        print_summary(summary, console)
        print_next(settings, next_command, console)
    return exit_code(summary)


def print_next(settings: GraspCommand, next_command: str, console: Console) -> None:
    """Say where the files are and which command comes next."""
    console.line()
    console.line(f"files: {settings.dataset.grasp_dataset}")
    console.line(f"next:  {command_line(next_command, settings)}")


def command_line(command: str, settings: GraspCommand) -> str:
    """The command that works on the same dataset: with the flags that say which, where they are not the defaults."""
    groups: list[Group] = [settings.gripper, settings.dataset]
    if not command.startswith("analyze"):
        groups.insert(0, settings.objects)
    words = []
    for group in groups:
        for name, field in type(group).model_fields.items():
            value = getattr(group, name)
            if value != field.default:
                words += [flag(name), str(value)]
    return shlex.join(["graspgen", *command.split(), *words])
