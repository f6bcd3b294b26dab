"""`graspgen analyze`: what a dataset holds, what it lacks, and what is wrong with it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.commands.objects import MOST_NAMED
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import AnalyzeCommand
from graspgen_cli.settings.fields import flag
from graspgen_cli.settings.inputs import GripperSettings, ObjectSettings

if TYPE_CHECKING:
    from graspgen_cli.analysis.counts import OutcomeCounts
    from graspgen_cli.analysis.dataset_facts import DatasetAnalysis
    from graspgen_cli.analysis.object_facts import ObjectFacts
    from graspgen_cli.dataset.health import SplitFacts

MOST_ROWS = 40
"""Objects up to which the table on the terminal has all of them."""


def analyze(settings: AnalyzeCommand, console: Console) -> ExitCode:
    """Look at every object, print what was found and write it to the files that were asked for."""
    from graspgen_cli.analysis.analyze import analyze_collections
    from graspgen_cli.analysis.report import require_report_package, write_outputs

    require_report_package(settings)
    with console.progress(lines=False) as progress:
        analysis = analyze_collections(settings, on_start=progress.start, on_object=progress.advance)
    write_outputs(analysis, settings)
    if console.json:
        from graspgen_cli.analysis.dataset_facts import analysis_document

        console.document({"command": "analyze", **analysis_document(analysis)})
    else:
        _print(analysis, settings, console)
    for path in settings.analyze.output:
        console.note(f"written: {path}")
    for finding in analysis.unread:
        console.error(f"{finding.path}: {finding.detail}")
    return ExitCode.OK if analysis.passed else ExitCode.FAILED


def _print(analysis: DatasetAnalysis, settings: AnalyzeCommand, console: Console) -> None:
    _print_objects(analysis, console)
    _print_reasons(analysis, console)
    _print_splits(analysis.splits, console)
    _print_findings(analysis, console)
    _print_short(analysis, settings, console)


def _print_objects(analysis: DatasetAnalysis, console: Console) -> None:
    from graspgen_cli.analysis.counts import OUTCOMES

    columns = ["object", *OUTCOMES, "held rate", "compared", "doubles", "directions"]
    columns += ["surface"] if any(facts.surface for facts in analysis.objects) else []
    several = len(analysis.by_gripper) > 1
    shown = list(analysis.objects)
    if len(shown) > MOST_ROWS:
        shown = sorted(shown, key=lambda facts: (facts.counts.held_rate, facts.counts.held))[:MOST_NAMED]
    rows = [_row(facts, several=several)[: len(columns)] for facts in shown]
    left = len(analysis.objects) - len(shown)
    if left:
        rows.append([f"… {left} more that hold more often", *[""] * (len(columns) - 1)])
    total = analysis.total
    console.table(columns, [*rows, [f"total, {len(analysis.objects)} objects", *_cells(total), *[""] * (len(columns) - 7)]])


def _row(facts: ObjectFacts, *, several: bool) -> list[str]:
    from graspgen_cli.analysis.counts import compared_rate
    from graspgen_cli.analysis.dataset_facts import reference_of

    name = f"{facts.object_id} ({facts.gripper})" if several else facts.object_id
    coverage = facts.surface.coverage if facts.surface else None
    return [
        name,
        *_cells(facts.counts),
        compared_rate(facts.counts, reference_of(facts)) or "-",
        str(facts.near_duplicates),
        f"{facts.direction_share:.0%}",
        "-" if coverage is None else f"{coverage:.0%}",
    ]


def _cells(counts: OutcomeCounts) -> list[str]:
    from graspgen_cli.analysis.counts import OUTCOMES

    return [*(str(getattr(counts, name)) for name in OUTCOMES), _rate(counts.held_rate)]


def _rate(rate: float) -> str:
    return "-" if math.isnan(rate) else f"{rate:.1%}"


def _print_reasons(analysis: DatasetAnalysis, console: Console) -> None:
    """Why grasps failed, and whether that is normal."""
    from graspgen_cli.analysis.drift import draws_line, drift_lines, total_draws, total_drift

    total = analysis.total
    causes = (
        ("dropped", total.dropped, "lost in the simulation"),
        ("unstable", total.unstable, "the simulation diverged"),
        ("collision", total.collision, "in collision before any trial"),
        ("unvalidated", total.unvalidated, "never tried"),
    )
    rows = [(name, str(count), f"{count / total.total:.1%}", why) for name, count, why in causes if count]
    if rows:
        console.line()
        console.table(("not held", "grasps", "of all", "why"), rows, text=True)
    console.line()
    for gripper, of_gripper in analysis.by_gripper.items():
        console.line(_compared(gripper, of_gripper))
        told = [
            *drift_lines(total_drift(facts.drift for facts in of_gripper)),
            draws_line(total_draws(facts.draws for facts in of_gripper)),
        ]
        for line in filter(None, told):
            console.line(f"{gripper}: {line}")


def _compared(gripper: str, objects: Sequence[ObjectFacts]) -> str:
    """A gripper's held rate beside the reference."""
    from graspgen_cli.analysis.counts import reference_rates, total_counts

    total, rate = total_counts(facts.counts for facts in objects), reference_rates().get(gripper)
    text = f"{gripper}: {total.held} of {total.tested} tested held, {_rate(total.held_rate)}"
    if rate is None:
        return f"{text}; not built in, so there is no rate to compare with"
    return f"{text}; on the example objects {rate.held_rate:.1%}, by object {rate.lowest:.0%} to {rate.highest:.0%}"


def _print_splits(splits: Sequence[SplitFacts], console: Console) -> None:
    for each in splits:
        if each.train or each.valid:
            console.line(f"splits of {each.gripper}: {each.train} train, {each.valid} valid, {len(each.overlap)} in both, "
                         f"{len(each.unlisted)} in neither, {len(each.dangling)} without grasps")  # fmt: skip


def _print_findings(analysis: DatasetAnalysis, console: Console) -> None:
    found = analysis.findings
    if not found:
        return
    console.line()
    rows = [(str(each.kind), each.object_id or str(each.path), each.detail) for each in found[:MOST_NAMED]]
    console.table(("finding", "where", ""), rows, text=True)
    if len(found) > MOST_NAMED:
        console.line(f"… and {len(found) - MOST_NAMED} more; --json names them all")


def _print_short(analysis: DatasetAnalysis, settings: AnalyzeCommand, console: Console) -> None:
    short = analysis.short
    if analysis.under:
        console.line()
        console.line(f"held rate {_rate(analysis.total.held_rate)} is under --fail-under {settings.analyze.fail_under:g}")
    if not short:
        return
    console.line()
    console.line("short:")
    for row in short[:MOST_NAMED]:
        console.line(f"  {row.object_id}: {row.found} of {row.found + row.missing} {row.what}, {row.missing} more needed")
    if len(short) > MOST_NAMED:
        console.line(f"  … and {len(short) - MOST_NAMED} more; --json names them all")
    for command in fill_commands(analysis, settings):
        console.line(f"next:  {command}")


def fill_commands(analysis: DatasetAnalysis, settings: AnalyzeCommand) -> Iterator[str]:
    """The command that fills what is short, for each dataset and gripper; files that lie in no dataset have none."""
    failed = settings.analyze.min_failed
    held = max(settings.analyze.min_success, settings.analyze.min_total - failed)
    quotas = [*(["--num-collision-free-grasps", str(held)] if held else []), *(["--num-colliding-grasps", str(failed)] if failed else [])]
    short = {row.object_id for row in analysis.short}
    places = {(root, facts.gripper) for facts in analysis.objects if facts.object_id in short for root in _datasets(facts)}
    for root, gripper in sorted(places):
        yield shlex.join(["graspgen", "fill", "--grasp-dataset", root, *_flags(settings, gripper), *quotas])


def _datasets(facts: ObjectFacts) -> Iterator[str]:
    """The dataset that an object's file lies in, if it lies in one."""
    folder = facts.path.parent
    if folder.name == facts.gripper and folder.parent.name == "grasp_data":
        yield str(folder.parent.parent)


def _flags(settings: AnalyzeCommand, gripper: str) -> list[str]:
    """The flags that say which objects and which gripper, where they are not the defaults."""
    default = GripperSettings.model_fields["gripper_config"].default
    given = "gripper_config" in settings.gripper.model_fields_set
    named = settings.gripper.gripper_config if given else gripper
    words = [] if named == default else [flag("gripper_config"), named]
    for name, field in ObjectSettings.model_fields.items():
        if getattr(settings.objects, name) != field.default:
            words += [flag(name), str(getattr(settings.objects, name))]
    return words


COMMAND = Command(
    settings=AnalyzeCommand,
    run=analyze,
    argument="paths",
    about=(
        "Reads every object's grasps (GraspGen JSON, isaac_grasp YAML, WebDataset shards, ACRONYM) on all cores. Prints the outcomes, the "
        "share of the tested grasps that held beside what the built-in gripper holds on the example objects, how far held objects moved in "
        "the gripper and how deep they were in it, near-duplicates, the share of 48 approach directions that there is, what is wrong with "
        "files, poses and splits, and what is short of the thresholds with the command that fills it. Exit code 1 where a threshold is not "
        "met, a file cannot be read, or data are wrong."
    ),
    examples=(
        "graspgen analyze",
        "graspgen analyze results --min-success 64 --min-failed 16 --fail-under 0.5",
        "graspgen analyze results --geometry --object-dataset objects --output report.html --output objects.csv",
        "graspgen analyze downloaded/shards grasps.yaml --json > analysis.json",
    ),
)
