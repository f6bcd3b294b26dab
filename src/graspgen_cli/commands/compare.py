"""`graspgen compare`: two datasets side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from graspgen_cli.commands.command import Command
from graspgen_cli.commands.objects import MOST_NAMED
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode, SettingsError
from graspgen_cli.settings.commands import CompareCommand

if TYPE_CHECKING:
    from graspgen_cli.analysis.compare import Comparison, ObjectComparison


def compare(settings: CompareCommand, console: Console) -> ExitCode:
    """Compare the two and print what differs."""
    from graspgen_cli.analysis.compare import compare_collections

    if len(settings.inputs.paths) != 2:
        raise SettingsError(f"compare takes two datasets, not {len(settings.inputs.paths)}; name both, as in `graspgen compare A B`")
    first, second = settings.inputs.paths
    with console.progress(lines=False) as progress:
        found = compare_collections(first, second, workers=settings.execution.workers, on_start=progress.start, on_object=progress.advance)
    if console.json:
        console.document({"command": "compare", "first": str(first), "second": str(second), **_document(found)})
    else:
        _print(found, console)
    for problem in found.broken:
        console.error(problem)
    return ExitCode.FAILED if found.broken else ExitCode.OK


def _print(found: Comparison, console: Console) -> None:
    rows = [("objects in both", str(len(found.objects))), ("only in the first", str(len(found.only_first)))]
    console.table(("", ""), [*rows, ("only in the second", str(len(found.only_second)))])
    console.line()
    _print_agreement(found, console)
    console.line()
    moved = found.moved
    columns = ("object", "held rate, first", "second", "change", "beyond chance", "poses matched", "agree")
    console.table(columns, [_row(each) for each in moved[:MOST_NAMED]])
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


def _row(each: ObjectComparison) -> tuple[str, ...]:
    from graspgen_cli.analysis.compare import agreement

    agreed = agreement(each.confusion)
    change = "-" if math.isnan(each.change) else f"{100 * each.change:+.1f} points"
    rates = (_rate(each.first.held_rate), _rate(each.second.held_rate))
    names = (each.gripper_first, each.gripper_second)
    name = each.object_id if names[0] != names[1] else f"{each.object_id} ({names[0]})"
    return (name, *rates, change, "yes" if each.beyond_chance else "no", str(agreed.matched), _rate(agreed.rate))


def _rate(rate: float) -> str:
    return "-" if math.isnan(rate) else f"{rate:.1%}"


def _document(found: Comparison) -> dict[str, Any]:
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


COMMAND = Command(
    settings=CompareCommand,
    run=compare,
    argument="paths",
    about=(
        "Compares two sets of grasps, of other settings, backends, grippers or tools. Where poses are the same (to 10 µm) outcomes are "
        "compared grasp by grasp: the share that ended alike with its 95 % interval, and the table of outcomes. Objects are shown by how "
        "much their held rate changed, and whether by more than chance explains. Then what differs in grippers, settings and versions."
    ),
    examples=(
        "graspgen compare results_250hz results_500hz",
        "graspgen compare panda robotiq",
        "graspgen compare results downloaded/shards --json",
    ),
)
