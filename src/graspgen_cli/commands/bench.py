"""`graspgen bench`: how fast this machine is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode, InputError
from graspgen_cli.settings.commands import BenchCommand

LARGEST_FILE = 64 << 20
"""bytes of an earlier result."""
APART = ("objects", "machine")
"""What is shown by itself, or not at all."""


def bench(settings: BenchCommand, console: Console) -> ExitCode:
    """Measure and print the figures, beside those of an earlier run if one is named."""
    earlier = None if settings.bench.compare is None else _read(settings.bench.compare)
    from graspgen_cli.running.bench import run_bench

    found = run_bench(settings, on_note=console.note)
    ratios = None if earlier is None else _ratios(found, earlier)
    if console.json:
        console.document({"command": "bench", **found, **({} if ratios is None else {"ratio_to_earlier": ratios})})
    elif earlier is None:
        _print(found, console)
    else:
        _print_beside(found, earlier, console)
    return ExitCode.OK


def _read(path: Path) -> dict[str, Any]:
    """The document of an earlier `graspgen bench --json`."""
    from graspgen_cli.files import read_bounded

    try:
        content = orjson.loads(read_bounded(path, largest=LARGEST_FILE))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as JSON ({' '.join(str(error).split())}); give what `graspgen bench --json` printed"
        ) from None
    if not isinstance(content, dict) or content.get("command") != "bench":
        raise InputError(f"{path}: not what `graspgen bench --json` prints; make it with `graspgen bench --json > {path.name}`")
    return content


def figures(document: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every number of a document by name; one of several engines with the engine's name behind it."""
    for name, value in document.items():
        if name in APART:
            continue
        if isinstance(value, Mapping):
            yield from ((f"{name} {part}", number) for part, number in figures(value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


def _ratios(found: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, float]:
    """This run's number over the earlier one's, where both have it."""
    before = dict(figures(earlier))
    return {name: round(value / before[name], 3) for name, value in figures(found) if before.get(name)}


def _print(found: Mapping[str, Any], console: Console) -> None:
    machine = found["machine"]
    console.line(f"{machine['cpu']}, {machine['cores']} cores, {found['gripper']}, load before {machine['load_before']}")
    console.line()
    console.table(("", ""), [(name, f"{value:g}") for name, value in figures(found)])
    console.line()
    console.table(
        ("object", "faces", "pieces", "preparation_s", "accepted_guesses_per_s"),
        [(object_id, *(f"{value:g}" for value in row.values())) for object_id, row in found["objects"].items()],
    )


def _print_beside(found: Mapping[str, Any], earlier: Mapping[str, Any], console: Console) -> None:
    before, ratios = dict(figures(earlier)), _ratios(found, earlier)
    rows = [(name, _cell(before.get(name)), f"{value:g}", _cell(ratios.get(name))) for name, value in figures(found)]
    console.table(("", "before", "now", "now / before"), rows)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


COMMAND = Command(
    settings=BenchCommand,
    run=bench,
    about=(
        "Times every phase on the example objects or a list of your own: preparing without a cache and guessing on one core, trials with "
        "the CPU engine and with the GPU's where there is one, then the whole run as `all` does it, into a folder that is thrown away. "
        "projected_hours is for the 8,454 objects x 2,048 grasps of GraspGen's own set, if its objects were like these. "
        "The keys of the JSON say the units."
    ),
    examples=(
        "graspgen bench",
        "graspgen bench --json > before.json",
        "graspgen bench --compare before.json",
        "graspgen bench --object-scales-json scales.json --object-dataset meshes --trials 256 --gripper-config franka_panda",
    ),
)
