"""`graspgen replay`: one grasp's trial, played back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import ReplayCommand

if TYPE_CHECKING:
    from graspgen_cli.drawing.replay import Replay


def replay(settings: ReplayCommand, console: Console) -> ExitCode:
    """Try the grasp again, write what was asked for, and say how it ended."""
    from graspgen_cli.drawing.replay import run_replay, write_plot, write_video

    done = run_replay(settings)
    for note in done.notes:
        console.note(note)
    if settings.replay.video is not None:
        write_video(done, settings.replay.video, slow_motion=settings.replay.slow_motion)
    if settings.replay.plot is not None:
        write_plot(done, settings.replay.plot)
    if console.json:
        console.document({"command": "replay", **_document(done, settings)})
    else:
        _print(done, settings, console)
    if settings.replay.interactive:
        from graspgen_cli.drawing.viewer import show

        sys.stdout.flush()  # Ctrl-C would take along what was said
        show(done.trace, done.gripper)
    if not done.agrees:
        console.error(f"{done.path}: grasp {done.grasp} is {done.recorded.label} in the file and {done.trace.outcome.label} in this trial")
    return ExitCode.OK if done.agrees else ExitCode.FAILED


def _print(done: Replay, settings: ReplayCommand, console: Console) -> None:
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
        console.note("--video FILE.mp4 draws it, --plot FILE.png plots forces and slip, --interactive opens MuJoCo's viewer")


def _document(done: Replay, settings: ReplayCommand) -> dict[str, object]:
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


COMMAND = Command(
    settings=ReplayCommand,
    run=replay,
    argument="grasp_dataset",
    about=(
        "Tries one grasp of a dataset or a grasp file again, on the scene and the simulation settings that the file records, and says how "
        "it ended: exit code 1 where that is not what the file says. --video draws the trial with MuJoCo's renderer (EGL or OSMesa; no "
        "screen is needed) above a plot of contact force and slip with the moment of failure marked; --plot writes the plot alone, or the "
        "numbers of every step. Without --grasp it takes the first grasp that was tried, or the first with --outcome."
    ),
    examples=(
        "graspgen replay results/grasp_data/robotiq_2f_85/mug.0.001.grasps.json --grasp 3 --video mug.mp4",
        "graspgen replay results --object bottle --outcome dropped --video why.gif --slow-motion 4",
        "graspgen replay results --object bottle --outcome dropped --video moments.png --plot forces.svg",
        "graspgen replay results --object mug --friction 0.2 --interactive",
    ),
)
