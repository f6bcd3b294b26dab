"""`graspgen bench`: how fast this machine is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import BenchCommand


def _show(found: dict[str, Any], settings: BenchCommand, console: Console) -> ExitCode:
    from graspgen_cli.running.bench import figures, read_result

    rows = dict(figures(found))
    if console.json:
        console.document(found)
    elif settings.bench.compare is None:
        _print(found, rows, console)
    else:
        before, ratios = dict(figures(read_result(settings))), found["ratio_to_earlier"]
        cells = [(name, _cell(before.get(name)), f"{value:g}", _cell(ratios.get(name))) for name, value in rows.items()]
        console.table(("", "before", "now", "now / before"), cells)
    return ExitCode.OK


def _print(found: Mapping[str, Any], rows: Mapping[str, float], console: Console) -> None:
    machine = found["machine"]
    console.line(f"{machine['cpu']}, {machine['cores']} cores, {found['gripper']}, load before {machine['load_before']}")
    console.line()
    console.table(("", ""), [(name, f"{value:g}") for name, value in rows.items()])
    console.line()
    console.table(
        ("object", "faces", "pieces", "preparation_s", "accepted_guesses_per_s"),
        [(object_id, *(f"{value:g}" for value in row.values())) for object_id, row in found["objects"].items()],
    )


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


BENCH = Command(
    settings=BenchCommand,
    call="graspgen_cli.running.bench:run_bench",
    show=_show,
    about=(
        "Times every phase on the example objects or a list of your own: preparation without a cache and guessing on one core, trials with "
        "the CPU engine and, on a machine with a GPU, with the GPU engine, then a whole run of `all` into a folder that is removed again. "
        "projected_hours is for the 8,454 objects x 2,048 grasps of GraspGen's own set, for objects like these. The keys of the JSON name "
        "the units."
    ),
    examples=(
        "graspgen bench",
        "graspgen bench --json > before.json",
        "graspgen bench --compare before.json",
        "graspgen bench --object-scales-json scales.json --object-dataset meshes --trials 256 --gripper-config franka_panda",
    ),
)
