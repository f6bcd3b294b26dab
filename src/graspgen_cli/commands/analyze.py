"""`graspgen analyze`: what a dataset holds and what it lacks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import AnalyzeCommand

if TYPE_CHECKING:
    from graspgen_cli.analysis.counts import OutcomeCounts, Shortfall
    from graspgen_cli.execution.run import DatasetAnalysis

OUTCOMES = ("held", "collision", "dropped", "unstable", "unvalidated")


def analyze(settings: AnalyzeCommand, console: Console) -> ExitCode:
    """Print the counts and what is short of the thresholds."""
    from graspgen_cli.analysis.counts import shortfalls
    from graspgen_cli.execution.run import analyze_dataset

    analysis = analyze_dataset(settings)
    short = shortfalls(analysis.objects, min_success=settings.min_success, min_failed=settings.min_failed)
    if console.json:
        console.document({"command": "analyze", **_document(analysis, short)})
    else:
        _print(analysis, short, console)
    for problem in analysis.broken:
        console.error(problem)
    return ExitCode.FAILED if short or analysis.broken else ExitCode.OK


def _print(analysis: DatasetAnalysis, short: list[Shortfall], console: Console) -> None:
    rows = [[row.object_id, *_cells(row)] for row in analysis.objects]
    console.table(("object", *OUTCOMES, "held rate"), [*rows, ["total", *_cells(analysis.total)]])
    unusable = [row.object_id for row in analysis.objects if not row.usable]
    if unusable:
        console.line()
        console.line(f"{len(unusable)} objects have too few good grasps for the trainer, which skips them:")
        for object_id in unusable:
            console.line(f"  {object_id}")
    if short:
        console.line()
        console.line("short:")
        for row in short:
            console.line(f"  {row.object_id}: {row.missing} more {row.what} grasps needed")


def _cells(counts: OutcomeCounts) -> list[str]:
    rate = "-" if math.isnan(counts.held_rate) else f"{counts.held_rate:.1%}"
    return [*(str(getattr(counts, name)) for name in OUTCOMES), rate]


def _document(analysis: DatasetAnalysis, short: list[Shortfall]) -> dict[str, Any]:
    return {
        "objects": [
            {"object_id": row.object_id, "file_name": row.file_name, **_numbers(row), "usable": row.usable} for row in analysis.objects
        ],
        "total": {"objects": analysis.total.objects, "usable_objects": analysis.total.usable_objects, **_numbers(analysis.total)},
        "short": [row._asdict() for row in short],
        "broken": analysis.broken,
    }


def _numbers(counts: OutcomeCounts) -> dict[str, float | None]:
    rate = None if math.isnan(counts.held_rate) else counts.held_rate
    return {**{name: getattr(counts, name) for name in OUTCOMES}, "failed": counts.failed, "total": counts.total, "held_rate": rate}


COMMAND = Command(
    settings=AnalyzeCommand,
    run=analyze,
    about=(
        "Counts the grasps of each outcome in every grasp file of the gripper, and the share of the tested ones that held. Exit code 1 "
        "where an object has fewer than --min-success held or --min-failed failed grasps, or a file cannot be read."
    ),
    examples=(
        "graspgen analyze",
        "graspgen analyze --min-success 64 --min-failed 16",
        "graspgen analyze --grasp-dataset results --json > counts.json",
    ),
)
