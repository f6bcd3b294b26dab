"""`graspgen view`: grasps or a gripper in the browser, or in a file."""

from __future__ import annotations

import contextlib
import sys

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import ViewCommand


def view(settings: ViewCommand, console: Console) -> ExitCode:
    """Serve the page until Ctrl-C, or write the file; name the grasp files that cannot be read."""
    from graspgen_cli.drawing.view import export, open_view, serve

    opened = open_view(settings)
    for file in opened.damaged:
        console.error(file.summary)
    if settings.view.export is not None:
        for note in export(opened, settings.view.export):
            console.note(note)
        _tell(console, "file", str(settings.view.export))
    else:
        # Ctrl-C is how one leaves the page.
        with contextlib.suppress(KeyboardInterrupt):
            serve(opened, lambda address: _tell(console, "address", address))
    return ExitCode.FAILED if opened.damaged else ExitCode.OK


def _tell(console: Console, what: str, value: str) -> None:
    """Print where the result is, at once, for the page is served until it is stopped."""
    if console.json:
        console.document({"command": "view", what: value})
    else:
        console.line(f"{what}: {value}")
        if what == "address":
            console.note("open it in a browser; Ctrl-C ends it")
    sys.stdout.flush()


COMMAND = Command(
    settings=ViewCommand,
    run=view,
    argument="grasp_dataset",
    about=(
        "Shows the grasps of a dataset, a folder or a file (GraspGen JSON, isaac_grasp YAML, WebDataset, ACRONYM) on their objects, in "
        "the colour of their outcome: list and search objects, filter by outcome, go through the grasps, click one for its numbers. Or "
        "shows, by name or file, a gripper at any opening with its axes, pads and bite point. The page is served on this machine alone "
        "unless --host says otherwise. --export writes a picture (needs EGL or OSMesa), a model or a page in one file instead."
    ),
    examples=(
        "graspgen view results",
        "graspgen view results --object mug --outcome dropped",
        "graspgen view results --object mug --figure gripper --export mug.png",
        "graspgen view franka_panda",
        "graspgen view results/grasp_data/franka_panda/mug.0.001.grasps.json --export mug.html",
    ),
)
