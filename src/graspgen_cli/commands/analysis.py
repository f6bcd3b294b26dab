"""The commands that look at datasets: `analyze` and `compare`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from graspgen_cli.commands.command import Command
from graspgen_cli.console import MOST_NAMED, Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import AnalyzeCommand, CompareCommand
from graspgen_cli.settings.fields import command_line

if TYPE_CHECKING:
    from graspgen_cli.analysis.compare import Comparison, ObjectComparison
    from graspgen_cli.analysis.counts import OutcomeCounts
    from graspgen_cli.analysis.dataset_facts import DatasetAnalysis
    from graspgen_cli.analysis.object_facts import ObjectFacts
    from graspgen_cli.dataset.health import SplitFacts

MOST_ROWS = 40
"""Largest number of objects for a table with a row for each."""


def _show_analysis(analysis: DatasetAnalysis, settings: AnalyzeCommand, console: Console) -> ExitCode:
    if console.json:
        from graspgen_cli.analysis.dataset_facts import analysis_document

        console.document(analysis_document(analysis))
    else:
        _print_objects(analysis, console)
        _print_reasons(analysis, console)
        _print_splits(analysis.splits, console)
        _print_findings(analysis, console)
        _print_short(analysis, settings, console)
    for path in settings.analyze.output:
        console.note(f"written: {path}")
    for finding in analysis.unread:
        console.error(f"{finding.path}: {finding.detail}")
    return ExitCode.OK if analysis.passed else ExitCode.FAILED


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
    name = f"{facts.object_id} ({facts.gripper})" if several else facts.object_id
    coverage = facts.surface.coverage if facts.surface else None
    return [
        name,
        *_cells(facts.counts),
        facts.compared or "-",
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
    """The causes of failure, and the held rate beside the reference."""
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
        lines = drift_lines(total_drift(facts.drift for facts in of_gripper))
        for line in filter(None, [*lines, draws_line(total_draws(facts.draws for facts in of_gripper))]):
            console.line(f"{gripper}: {line}")


def _compared(gripper: str, objects: Sequence[ObjectFacts]) -> str:
    """The held rate of a gripper beside its rate on the example objects."""
    from graspgen_cli.analysis.counts import reference_rates, total_counts

    total, rate = total_counts(facts.counts for facts in objects), reference_rates().get(gripper)
    text = f"{gripper}: {total.held} of {total.tested} tested held, {_rate(total.held_rate)}"
    if rate is None:
        return f"{text}; not built in, so no rate to compare with"
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
    if analysis.under:
        console.line()
        console.line(f"held rate {_rate(analysis.total.held_rate)} is under --fail-under {settings.analyze.fail_under:g}")
    rows = [f"{row.object_id}: {row.found} of {row.found + row.missing} {row.what}, {row.missing} more needed" for row in analysis.short]
    console.named("short", rows)
    for line in _fill_lines(analysis, settings):
        console.line(f"next:  {line}")


def _fill_lines(analysis: DatasetAnalysis, settings: AnalyzeCommand) -> Iterator[str]:
    """The command that fills the quotas of the thresholds, for each dataset and gripper; none for files outside a dataset."""
    failed = settings.analyze.min_failed
    held = max(settings.analyze.min_success, settings.analyze.min_total - failed)
    quotas = {name: count or None for name, count in (("num_collision_free_grasps", held), ("num_colliding_grasps", failed))}
    short = {row.object_id for row in analysis.short}
    places = {(root, facts.gripper) for facts in analysis.objects if facts.object_id in short for root in _datasets(facts)}
    for root, gripper in sorted(places):
        named = settings.gripper.gripper_config if "gripper_config" in settings.gripper.model_fields_set else gripper
        yield command_line("fill", settings, grasp_dataset=root, gripper_config=named, **quotas)


def _datasets(facts: ObjectFacts) -> Iterator[str]:
    """The dataset with the object's file, if there is one."""
    folder = facts.path.parent
    if folder.name == facts.gripper and folder.parent.name == "grasp_data":
        yield str(folder.parent.parent)


def _show_comparison(found: Comparison, settings: CompareCommand, console: Console) -> ExitCode:
    if console.json:
        first, second = settings.inputs.paths
        console.document({"first": str(first), "second": str(second), **_comparison_document(found)})
    else:
        _print_comparison(found, console)
    for problem in found.broken:
        console.error(problem)
    return ExitCode.FAILED if found.broken else ExitCode.OK


def _print_comparison(found: Comparison, console: Console) -> None:
    rows = [("objects in both", str(len(found.objects))), ("only in the first", str(len(found.only_first)))]
    console.table(("", ""), [*rows, ("only in the second", str(len(found.only_second)))])
    console.line()
    _print_agreement(found, console)
    console.line()
    moved = found.moved
    columns = ("object", "held rate, first", "second", "change", "beyond chance", "poses matched", "agree")
    console.table(columns, [_comparison_row(each) for each in moved[:MOST_NAMED]])
    if len(moved) > MOST_NAMED:
        console.line(f"… and {len(moved) - MOST_NAMED} more that changed less; --json names them all")
    if found.differing:
        console.line()
        console.table(("differs", "first", "second"), found.differing, text=True)


def _print_agreement(found: Comparison, console: Console) -> None:
    from graspgen_cli.records import Outcome

    agreed = found.agreement
    if not agreed.matched:
        console.line("no pose is in both, so outcomes are compared by object")
        return
    low, high = agreed.interval
    said = f"{agreed.rate:.1%} ended alike (95 % interval {low:.1%} to {high:.1%})" if agreed.tested else "none was tried in both"
    console.line(f"{agreed.matched} poses are in both; of {agreed.tested} tried in both {said}")
    console.line()
    labels = [outcome.label for outcome in Outcome]
    table = [(label, *map(str, row)) for label, row in zip(labels, found.confusion.tolist(), strict=True) if any(row)]
    console.table(("first, down; second, across", *labels), table)


def _comparison_row(each: ObjectComparison) -> tuple[str, ...]:
    from graspgen_cli.analysis.compare import agreement

    agreed = agreement(each.confusion)
    change = "-" if math.isnan(each.change) else f"{100 * each.change:+.1f} points"
    rates = (_rate(each.first.held_rate), _rate(each.second.held_rate))
    names = (each.gripper_first, each.gripper_second)
    name = each.object_id if names[0] != names[1] else f"{each.object_id} ({names[0]})"
    return (name, *rates, change, "yes" if each.beyond_chance else "no", str(agreed.matched), _rate(agreed.rate))


def _comparison_document(found: Comparison) -> dict[str, Any]:
    from graspgen_cli.analysis.dataset_facts import number
    from graspgen_cli.records import Outcome

    agreed = found.agreement
    return {
        "agreement": {**vars(agreed), "rate": number(agreed.rate), "interval": agreed.interval},
        "outcomes": [outcome.label for outcome in Outcome],
        "confusion": found.confusion.tolist(),
        "objects": list(_objects(found)),
        "only_first": found.only_first,
        "only_second": found.only_second,
        "differing": [{"what": what, "first": first, "second": second} for what, first, second in found.differing],
        "broken": found.broken,
    }


def _objects(found: Comparison) -> Iterator[dict[str, Any]]:
    from graspgen_cli.analysis.compare import agreement
    from graspgen_cli.analysis.dataset_facts import number

    for each in found.moved:
        yield {
            "object_id": each.object_id,
            "grippers": [each.gripper_first, each.gripper_second],
            "held_rate": [number(each.first.held_rate), number(each.second.held_rate)],
            "tested": [each.first.tested, each.second.tested],
            "change": number(each.change),
            "beyond_chance": each.beyond_chance,
            **vars(agreement(each.confusion)),
            "confusion": each.confusion.tolist(),
        }


ANALYZE = Command(
    settings=AnalyzeCommand,
    call="graspgen_cli.analysis.report:analyze_dataset",
    show=_show_analysis,
    argument="paths",
    lines=False,
    about=(
        "Reads every object's grasps (GraspGen JSON, isaac_grasp YAML, WebDataset shards, ACRONYM) on all cores. Prints the outcomes; the "
        "share of the tested grasps that held, beside that of the built-in gripper on the example objects; how far held objects moved in "
        "the gripper and how deep they were in it; near-duplicates; the share of 48 approach directions with a grasp; the faults of files, "
        "poses and splits; and the objects below the thresholds, with the command that fills them. Exit code 1 if a threshold is not met, "
        "a file cannot be read, or data are wrong."
    ),
    examples=(
        "graspgen analyze",
        "graspgen analyze results --min-success 64 --min-failed 16 --fail-under 0.5",
        "graspgen analyze results --geometry --object-dataset objects --output report.html --output objects.csv",
        "graspgen analyze downloaded/shards grasps.yaml --json > analysis.json",
    ),
)
COMPARE = Command(
    settings=CompareCommand,
    call="graspgen_cli.analysis.compare:compare_datasets",
    show=_show_comparison,
    argument="paths",
    lines=False,
    about=(
        "Compares two sets of grasps of different settings, backends, grippers or tools. Equal poses (to 10 µm) are compared grasp by "
        "grasp: the share with equal outcomes, its 95 % interval, and the table of outcomes. Objects are sorted by the change of their "
        "held rate; the table says whether chance explains the change. Then follow the differences in grippers, settings and versions."
    ),
    examples=(
        "graspgen compare results_250hz results_500hz",
        "graspgen compare panda robotiq",
        "graspgen compare results downloaded/shards --json",
    ),
)
