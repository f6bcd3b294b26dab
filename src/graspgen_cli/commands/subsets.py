"""What the commands that copy some grasps of a dataset share: the run with its progress, and what they print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graspgen_cli.commands.objects import MOST_NAMED
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode

if TYPE_CHECKING:
    from graspgen_cli.analysis.subsets import Subset


def copy_subset(command: str, copy: Callable[..., Subset], settings: Any, console: Console) -> ExitCode:
    """Run the copy and print what came of it; FAILED where a file could not be read."""
    with console.progress(lines=False) as progress:
        found = copy(settings, on_start=progress.start, on_object=progress.advance)
    if console.json:
        objects = [{**vars(kept), "kept": kept.kept} for kept in found.objects]
        console.document({"command": command, "objects": objects, "broken": found.broken, "output": str(settings.copied.output_dataset)})
    else:
        _print(found, settings.copied.output_dataset, console)
    for problem in found.broken:
        console.error(problem)
    return ExitCode.FAILED if found.broken else ExitCode.OK


def _print(found: Subset, output: Path, console: Console) -> None:
    written = [kept for kept in found.objects if kept.file]
    sums = {
        "objects": len(written),
        "grasps": sum(kept.kept for kept in found.objects),
        "  of": sum(kept.before for kept in found.objects),
        "held": sum(kept.held for kept in found.objects),
        "failed": sum(kept.failed for kept in found.objects),
        "unvalidated": sum(kept.unvalidated for kept in found.objects),
    }
    console.table(("", ""), [(name, str(count)) for name, count in sums.items()])
    without = [f"{kept.object_id} ({kept.gripper})" for kept in found.objects if not kept.file]
    if without:
        more = f" and {len(without) - MOST_NAMED} more" if len(without) > MOST_NAMED else ""
        console.line(f"no grasp kept, nothing written: {', '.join(without[:MOST_NAMED])}{more}")
    console.line()
    console.line(f"files: {output}")
