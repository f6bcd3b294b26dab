"""`graspgen gripper-config`: measures, checks, draws and keeps a gripper, and describes it for GraspGen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import AllCommand, GripperCommand

if TYPE_CHECKING:
    from graspgen_cli.grippers.export import ConfigFile
    from graspgen_cli.making.gripper_config import PreparedGripper


def gripper_config(settings: GripperCommand, console: Console) -> ExitCode:
    """Do it all and print what was measured and what was done with each file; or name the grippers that there are."""
    if settings.file.list:
        return _list_grippers(console)
    from graspgen_cli.making.gripper_config import prepare_gripper

    prepared = prepare_gripper(settings)
    note_files(prepared.files, settings, console)
    if console.json:
        console.document({"command": "gripper-config", **_document(prepared)})
    else:
        _print_gripper(prepared, console)
    return ExitCode.OK


def note_files(files: Sequence[ConfigFile], settings: AllCommand | GripperCommand, console: Console) -> None:
    """Say where the files went where there is no GraspGen checkout, and that files with other content were left as they are."""
    if not settings.graspgen.graspgen_source.is_dir():
        console.note(
            f"{settings.graspgen.graspgen_source} does not exist: the gripper config goes to "
            f"{settings.dataset.grasp_dataset}/config/grippers; "
            "copy it to GraspGen's config/grippers, or name the checkout with --graspgen-source"
        )
    if any(file.status == "differs" for file in files):
        console.note("gripper config files that differ were left as they are; --overwrite-gripper-config replaces them")


def _print_gripper(prepared: PreparedGripper, console: Console) -> None:
    from graspgen_cli.grippers.export import gripper_table

    console.table(("measured", ""), gripper_table(prepared.gripper), text=True)
    console.line()
    console.line("self-check passed; a box between the pads is held, a box beside them is not")
    console.line()
    for file in prepared.files:
        console.line(f"{file.status}: {file.path}")
        for line in file.difference.splitlines():
            console.line(f"    {line}")
    if prepared.picture is not None:
        console.line(f"picture: {prepared.picture}")
    if prepared.saved is not None:
        console.line(f"saved as {prepared.saved.parent.name}: {prepared.saved}")


def _document(prepared: PreparedGripper) -> dict[str, object]:
    from graspgen_cli.grippers.export import gripper_document

    return {
        "gripper": gripper_document(prepared.gripper),
        "files": [{"path": str(file.path), "status": str(file.status), "difference": file.difference} for file in prepared.files],
        "picture": None if prepared.picture is None else str(prepared.picture),
        "saved": None if prepared.saved is None else str(prepared.saved),
    }


def _list_grippers(console: Console) -> ExitCode:
    from graspgen_cli.making.gripper_config import known_grippers

    known = known_grippers()
    if console.json:
        content = {"builtin": known.builtin, "saved": known.saved, "folder": str(known.folder)}
        console.document({"command": "gripper-config", **content})
        return ExitCode.OK
    rows = [(name, "built in") for name in known.builtin] + [(name, str(known.folder / name)) for name in known.saved]
    console.table(("gripper", ""), rows, text=True)
    if not known.saved:
        console.note("no gripper of your own is saved; `graspgen gripper-config --gripper-file FILE --save NAME` keeps one")
    return ExitCode.OK


COMMAND = Command(
    settings=GripperCommand,
    run=gripper_config,
    argument="gripper_config",
    about=(
        "Reads a gripper, measures it, and refuses it with a reason where it cannot grip: two trials in the simulation are part of that. "
        "Prints what was measured, draws it, and writes the .yaml and .py that GraspGen reads with the mesh that they name. They go to "
        "config/grippers of the GraspGen checkout, or, where there is none, to config/grippers of the dataset. Files that differ are "
        "kept, and what differs is said, unless --overwrite-gripper-config is given."
    ),
    examples=(
        "graspgen gripper-config --graspgen-source ~/src/GraspGen",
        "graspgen gripper-config franka_panda --overwrite-gripper-config",
        "graspgen gripper-config --gripper-file my_gripper.xml --save my_gripper",
        "graspgen gripper-config --list",
    ),
)
