"""The commands that show grasps: `view` and `replay`."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import ReplayCommand, ViewCommand

if TYPE_CHECKING:
    from graspgen_cli.drawing.replay import Replay
    from graspgen_cli.drawing.view import View


def _show_view(opened: View, settings: ViewCommand, console: Console) -> ExitCode:
    """Serves the page until Ctrl-C, or writes the file; names the grasp files that cannot be read."""
    from graspgen_cli.drawing.view import export, serve

    for file in opened.damaged:
        console.error(file.summary)
    if settings.view.export is not None:
        for note in export(opened, settings.view.export):
            console.note(note)
        _tell(console, "file", str(settings.view.export))
    else:
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C closes the page.
            serve(opened, lambda address: _tell(console, "address", address))
    return ExitCode.FAILED if opened.damaged else ExitCode.OK


def _tell(console: Console, what: str, value: str) -> None:
    """Prints where the result is, at once: the page is served until it is stopped."""
    if console.json:
        console.document({what: value})
    else:
        console.line(f"{what}: {value}")
        if what == "address":
            console.note("open it in a browser; Ctrl-C ends it")
    sys.stdout.flush()


def _show_replay(done: Replay, settings: ReplayCommand, console: Console) -> ExitCode:
    for note in done.notes:
        console.note(note)
    if console.json:
        console.document(_replay_document(done, settings))
    else:
        _print_replay(done, settings, console)
    if settings.replay.interactive:
        from graspgen_cli.drawing.viewer import show

        sys.stdout.flush()  # Ctrl-C would discard the text.
        show(done.trace, done.gripper)
    if not done.agrees:
        console.error(f"{done.path}: grasp {done.grasp} is {done.recorded.label} in the file and {done.trace.outcome.label} in this trial")
    return ExitCode.OK if done.agrees else ExitCode.FAILED


def _print_replay(done: Replay, settings: ReplayCommand, console: Console) -> None:
    trace = done.trace
    forces = trace.state.finger_contact_force[0]
    slip = trace.state.slip[0]
    rows = [
        ("grasp", f"{done.grasp} of {done.path}"),
        ("object, gripper", f"{done.target.object_id}, {done.gripper.name}"),
        ("outcome in the file", done.recorded.label),
        ("outcome of this trial", trace.outcome.label),
        ("failed at", "-" if trace.failed_at is None else f"{trace.failed_at:.3f} s"),
        ("steps", f"{len(trace.time)}, {trace.time[-1]:.3f} s"),
        ("contact force at the end", f"{forces[0]:.2f} N, {forces[1]:.2f} N"),
        ("touch the object at the end", ", ".join(done.touching) or "-"),
        ("slip since the grip closed", "-" if slip[0] != slip[0] else f"{1000 * slip[0]:.2f} mm, {57.29578 * slip[1]:.2f}°"),
    ]
    console.table(("trial", ""), rows, text=True)
    for what, path in (("video", settings.replay.video), ("plot", settings.replay.plot)):
        if path is not None:
            console.line(f"{what}: {path}")
    if settings.replay.video is None and settings.replay.plot is None and not settings.replay.interactive:
        console.note("--video FILE.mp4 draws the trial, --plot FILE.png plots forces and slip, --interactive opens MuJoCo's viewer")


def _replay_document(done: Replay, settings: ReplayCommand) -> dict[str, object]:
    trace = done.trace
    slip = [None if value != value else float(value) for value in trace.state.slip[0]]
    return {
        "file": str(done.path),
        "grasp": done.grasp,
        "object_id": done.target.object_id,
        "gripper": done.gripper.name,
        "recorded": done.recorded.label,
        "outcome": trace.outcome.label,
        "failed_at": trace.failed_at,
        "steps": len(trace.time),
        "finger_contact_force": trace.state.finger_contact_force[0].tolist(),
        "touching": list(done.touching),
        "slip": slip,
        "notes": list(done.notes),
        "video": None if settings.replay.video is None else str(settings.replay.video),
        "plot": None if settings.replay.plot is None else str(settings.replay.plot),
    }


VIEW = Command(
    settings=ViewCommand,
    call="graspgen_cli.drawing.view:open_view",
    show=_show_view,
    argument="grasp_dataset",
    about=(
        "Shows the grasps of a dataset, a folder or a file (GraspGen JSON, isaac_grasp YAML, WebDataset, ACRONYM) on their objects, in "
        "the colour of their outcome: list and search objects, filter by outcome, step through the grasps, click one for its numbers. Or "
        "shows a gripper, by name or file, at any opening with its axes, pads and bite point. The server listens on this machine only, "
        "unless --host names another address. --export writes a picture (needs EGL or OSMesa), a model or a page into one file instead."
    ),
    examples=(
        "graspgen view results",
        "graspgen view results --object mug --outcome dropped",
        "graspgen view results --object mug --figure gripper --export mug.png",
        "graspgen view franka_panda",
        "graspgen view results/grasp_data/franka_panda/mug.0.001.grasps.json --export mug.html",
    ),
)
REPLAY = Command(
    settings=ReplayCommand,
    call="graspgen_cli.drawing.replay:replay_trial",
    show=_show_replay,
    argument="grasp_dataset",
    about=(
        "Tries one grasp of a dataset or a grasp file again, with the scene and the simulation settings of the file, and prints the "
        "outcome: exit code 1 if it differs from the file's. --video draws the trial with MuJoCo's renderer (EGL or OSMesa, without a "
        "screen) above a plot of contact force and slip that marks the failure; --plot writes the plot alone, or the numbers of every "
        "step. Without --grasp: the first grasp with a trial, or the first with --outcome."
    ),
    examples=(
        "graspgen replay results/grasp_data/robotiq_2f_85/mug.0.001.grasps.json --grasp 3 --video mug.mp4",
        "graspgen replay results --object bottle --outcome dropped --video why.gif --slow-motion 4",
        "graspgen replay results --object bottle --outcome dropped --video moments.png --plot forces.svg",
        "graspgen replay results --object mug --friction 0.2 --interactive",
    ),
)
