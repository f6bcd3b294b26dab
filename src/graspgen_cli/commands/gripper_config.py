"""`graspgen gripper-config`: GraspGen's description of the gripper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import GripperConfigCommand

if TYPE_CHECKING:
    from graspgen_cli.grippers.export import ConfigFile


def gripper_config(settings: GripperConfigCommand, console: Console) -> ExitCode:
    """Write the files and print what was done with each."""
    from graspgen_cli.execution.run import write_gripper_config

    files = write_gripper_config(settings)
    note_files(files, settings, console)
    if console.json:
        listed = [{"path": str(file.path), "status": str(file.status)} for file in files]
        console.document({"command": "gripper-config", "files": listed, "gripper": _numbers(settings)})
        return ExitCode.OK
    for file in files:
        console.line(f"{file.status}: {file.path}")
    console.line()
    units = {"width": "m", "depth": "m", "grip_force": "N", "closing_speed": "m/s"}
    console.table(("", ""), [(f"{name.replace('_', ' ')} ({units[name]})", f"{value:.4g}") for name, value in _numbers(settings).items()])
    return ExitCode.OK


def note_files(files: Sequence[ConfigFile], settings: GripperConfigCommand, console: Console) -> None:
    """Say where the files went where there is no GraspGen checkout, and that files with other content were left as they are."""
    if not settings.graspgen_source.is_dir():
        console.note(
            f"{settings.graspgen_source} does not exist: the gripper config goes to {settings.grasp_dataset}/config/grippers; "
            "copy it to GraspGen's config/grippers, or name the checkout with --graspgen-source"
        )
    if any(file.status == "differs" for file in files):
        console.note("gripper config files that differ were left as they are; --overwrite-gripper-config replaces them")


def _numbers(settings: GripperConfigCommand) -> dict[str, float]:
    from graspgen_cli.grippers.find import load_gripper

    gripper = load_gripper(settings.gripper_config)
    return {
        "width": gripper.width,
        "depth": gripper.depth,
        "grip_force": gripper.grip_force,
        "closing_speed": gripper.closing_speed,
    }


COMMAND = Command(
    settings=GripperConfigCommand,
    run=gripper_config,
    about=(
        "The .yaml and .py that GraspGen reads, and the meshes that they name. They go to config/grippers of the GraspGen checkout, or, "
        "where there is none, to config/grippers of the dataset. Files that differ are kept unless --overwrite-gripper-config is given."
    ),
    examples=(
        "graspgen gripper-config --graspgen-source ~/src/GraspGen",
        "graspgen gripper-config --gripper-config franka_panda --overwrite-gripper-config",
    ),
)
