"""Grippers that pass their checks, and their files for GraspGen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.files import write_atomically
from graspgen_cli.grippers.export import ConfigFile, write_graspgen_config
from graspgen_cli.grippers.find import builtin_grippers, load_gripper
from graspgen_cli.grippers.gripper_file import config_folder, save_gripper, saved_grippers
from graspgen_cli.grippers.picture import gripper_picture
from graspgen_cli.grippers.self_check import check_gripper
from graspgen_cli.making.controls import run_control_trials
from graspgen_cli.records import Gripper
from graspgen_cli.settings.commands import AllCommand, GripperCommand
from graspgen_cli.settings.inputs import DatasetSettings, GraspGenSettings, GripperSettings


@dataclass(frozen=True, eq=False)
class PreparedGripper:
    """A gripper that passed its checks, and its files. picture: its drawing; saved: the file that makes its name known; None if not asked
    for."""

    gripper: Gripper
    files: tuple[ConfigFile, ...]
    picture: Path | None = None
    saved: Path | None = None


@dataclass(frozen=True)
class KnownGrippers:
    """The grippers that every command knows by name. folder: of the saved ones."""

    builtin: tuple[str, ...]
    saved: tuple[str, ...]
    folder: Path


def prepare_gripper(settings: GripperCommand) -> PreparedGripper | KnownGrippers:
    """Checks the gripper, writes its files for GraspGen, and saves and draws the gripper if the settings say so. With --list: the known
    names.

    A saved gripper is read back, so that the files describe the gripper of the new name. Raises the errors of write_gripper_config.
    """
    if settings.file.list:
        return KnownGrippers(builtin_grippers(), saved_grippers(), config_folder() / "grippers")
    gripper, saved, overwrite = _checked(settings.chosen()), None, settings.graspgen.overwrite_gripper_config
    if settings.file.save is not None:
        saved = save_gripper(gripper, settings.file.save, taken=builtin_grippers(), overwrite=overwrite)
        gripper = load_gripper(settings.file.save)
    folder = _config_folder(settings.graspgen, settings.dataset)
    files = write_graspgen_config(gripper, folder, overwrite=overwrite)
    picture = folder / f"{gripper.name}.png" if settings.file.draw_picture else None
    if picture is not None:
        write_atomically(picture, gripper_picture(gripper))
    return PreparedGripper(gripper, files, picture, saved)


def write_gripper_config(settings: AllCommand) -> PreparedGripper:
    """Checks the gripper and writes its files for GraspGen, into GraspGen's source tree if that exists, or else into the dataset.

    Raises GripperError if a check fails, OutputError if a file cannot be written.
    """
    gripper, folder = _checked(settings.gripper), _config_folder(settings.graspgen, settings.dataset)
    return PreparedGripper(gripper, write_graspgen_config(gripper, folder, overwrite=settings.graspgen.overwrite_gripper_config))


def _checked(settings: GripperSettings) -> Gripper:
    """The gripper of the settings, after its self-check and control trials. Raises GripperError."""
    gripper = load_gripper(settings.gripper_config, options=settings)
    check_gripper(gripper)
    run_control_trials(gripper)
    return gripper


def _config_folder(graspgen: GraspGenSettings, dataset: DatasetSettings) -> Path:
    checkout = graspgen.graspgen_source
    return checkout / "config" / "grippers" if checkout.is_dir() else DatasetPaths(dataset.grasp_dataset, "").config
