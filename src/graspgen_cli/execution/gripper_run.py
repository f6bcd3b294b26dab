"""From a gripper's name or file to a gripper that is known to work, and its files for GraspGen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh

from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.errors import GripperError
from graspgen_cli.files import write_atomically
from graspgen_cli.geometry.meshes import mass_properties, triangle_mesh
from graspgen_cli.geometry.poses import pose
from graspgen_cli.grippers.export import ConfigFile, write_graspgen_config
from graspgen_cli.grippers.find import builtin_grippers, load_gripper
from graspgen_cli.grippers.picture import gripper_picture
from graspgen_cli.grippers.saved import config_folder, save_gripper, saved_grippers
from graspgen_cli.grippers.self_check import check_gripper
from graspgen_cli.records import Floats, GraspBatch, Gripper, Outcome, TargetObject
from graspgen_cli.settings.commands import GripperCommand, GripperConfigCommand
from graspgen_cli.settings.models import DatasetSettings, SimulationSettings
from graspgen_cli.validate.backend import make_backend
from graspgen_cli.validate.judge import judge
from graspgen_cli.validate.protocol import STANDARD_GRAVITY

_BACKEND = "mujoco"
_OPENING = 0.5
"""The control box is as thick as the opening in the middle of the stroke."""
_LOAD = 0.25
"""Share of the pull that friction resists, which the tugs of a control trial reach."""
_HEAVIEST = 1.0
"""kg."""
_SMALLEST_EDGE = 0.004
"""m: edge of the control box where a pad is no larger than a line."""


@dataclass(frozen=True, eq=False)
class PreparedGripper:
    """A gripper that passed its checks, and what became of its files.

    picture: the file it was drawn into; saved: the file under which its name is known from now on; None where that was not asked for.
    """

    gripper: Gripper
    files: tuple[ConfigFile, ...]
    picture: Path | None = None
    saved: Path | None = None


@dataclass(frozen=True)
class KnownGrippers:
    """The names that every command knows: built in, and saved by the user."""

    builtin: tuple[str, ...]
    saved: tuple[str, ...]
    folder: Path
    """Where the saved ones are."""


def known_grippers() -> KnownGrippers:
    """The built-in and the saved grippers."""
    return KnownGrippers(builtin_grippers(), saved_grippers(), config_folder() / "grippers")


def prepare_gripper(settings: GripperCommand) -> PreparedGripper:
    """Does all that `gripper-config` does: checks, GraspGen's files, and as the settings say the picture and the copy to keep.

    A gripper that is kept is read back at once, so that what is written is what its new name stands for.
    Raises as write_gripper_config does.
    """
    chosen = settings.chosen()
    gripper, saved = checked_gripper(chosen), None
    if chosen.save is not None:
        saved = save_gripper(gripper, chosen.save, taken=builtin_grippers(), overwrite=chosen.overwrite_gripper_config)
        gripper = load_gripper(chosen.save)
    files = _write_files(gripper, chosen)
    picture = None
    if chosen.draw_picture:
        picture = gripper_config_folder(chosen, chosen) / f"{gripper.name}.png"
        write_atomically(picture, gripper_picture(gripper))
    return PreparedGripper(gripper, files, picture, saved)


def write_gripper_config(settings: GripperConfigCommand) -> PreparedGripper:
    """Checks the gripper and writes GraspGen's description of it, into its source tree where that exists, else into the dataset.

    Raises GripperError where the gripper cannot be used, OutputError where the files cannot be written.
    """
    gripper = checked_gripper(settings)
    return PreparedGripper(gripper, _write_files(gripper, settings))


def checked_gripper(settings: GripperConfigCommand) -> Gripper:
    """The gripper of the settings, after its self-check and both control trials. Raises GripperError, one line."""
    gripper = load_gripper(settings.gripper_config, options=settings)
    check_gripper(gripper)
    run_control_trials(gripper)
    return gripper


def _write_files(gripper: Gripper, settings: GripperConfigCommand) -> tuple[ConfigFile, ...]:
    folder = gripper_config_folder(settings, settings)
    return write_graspgen_config(gripper, folder, overwrite=settings.overwrite_gripper_config)


def gripper_config_folder(source: GripperConfigCommand, dataset: DatasetSettings) -> Path:
    """Where the gripper config goes."""
    checkout = source.graspgen_source
    return checkout / "config" / "grippers" if checkout.is_dir() else DatasetPaths(dataset.grasp_dataset, "").config


def run_control_trials(gripper: Gripper) -> None:
    """Two trials whose end is known: a box between the pads is held, the same box beside them is not.

    The box is as thick as the opening in the middle of the stroke and as large as a pad; it weighs so little that the tugs reach a
    quarter of what the grip force holds at a friction of 1. Raises GripperError naming the trial that went wrong.
    """
    box = _control_box(gripper)
    settings = SimulationSettings(object_mass=min(_HEAVIEST, _LOAD * 2 * gripper.grip_force / STANDARD_GRAVITY))
    state = make_backend(_BACKEND, threads=1).run(gripper, box, _control_grasps(gripper), settings)
    between, beside = (Outcome(int(outcome)) for outcome in judge(state))
    size = " x ".join(f"{edge * 1000:.3g}" for edge in np.ptp(box.mesh.vertices, axis=0))
    what = f"gripper {gripper.name}: control trial failed: a box of {size} mm"
    if state.started_inside[0]:
        raise GripperError(f"{what} between the pads overlaps the open gripper; check the collision shapes of the fingers")
    if between is not Outcome.HELD:
        reason = "the simulation diverged" if between is Outcome.UNSTABLE else f"it was {between.label}"
        raise GripperError(f"{what} between the pads is not held ({reason}); check grip_force, closing_speed, finger_bodies and the pads")
    if beside is not Outcome.DROPPED:
        raise GripperError(f"{what} beside the pads is {beside.label} instead of dropped; check finger_bodies and the collision shapes")


def _control_box(gripper: Gripper) -> TargetObject:
    """A box at the origin in the axes of the gripper's base: pad-sized, with its thickness along the closing axis."""
    k = _control_opening(gripper)
    along = min(float(gripper.pad_size[0]), 2 * gripper.bite)
    size = np.maximum([gripper.opening_width[k], gripper.pad_size[1], along], _SMALLEST_EDGE)
    solid = trimesh.creation.box(size)
    mesh = triangle_mesh(solid.vertices @ gripper.pose_base_in_graspgen[:3, :3], solid.faces)
    mass = mass_properties(mesh)
    return TargetObject(
        object_id="control box",
        scale=1.0,
        content_hash="control box",
        mesh=mesh,
        watertight=True,
        pieces=(mesh,),
        mean_gap=0.0,
        gap_95=0.0,
        largest_gap=0.0,
        center_of_mass=mass.center_of_mass,
        volume=mass.volume,
        unit_inertia=mass.unit_inertia,
    )


def _control_opening(gripper: Gripper) -> int:
    middle = gripper.opening_width[0] + _OPENING * (gripper.width - gripper.opening_width[0])
    return int(gripper.nearest_opening(np.array([middle]))[0])


def _control_grasps(gripper: Gripper) -> GraspBatch:
    """Wide open, with the box where the pads will meet it; then with the box beside the whole gripper."""
    tips = gripper.fingertip_in_base[_control_opening(gripper)]
    between = tips.mean(axis=0) - gripper.bite * gripper.approach_axis_in_base
    across = np.cross(gripper.approach_axis_in_base, gripper.closing_axis_in_base)
    beside = between + across * (_reach(gripper, across) - between @ across + gripper.pad_size[1])
    poses = pose(np.eye(3), -np.stack([between, beside]))
    return GraspBatch(poses, np.full(2, gripper.width), np.full(2, Outcome.UNVALIDATED, np.int8))


def _reach(gripper: Gripper, axis: Floats) -> float:
    """How far the gripper reaches along an axis at any opening, m."""
    reach = 0.0
    for body, parts in enumerate(gripper.collision_parts):
        rows = gripper.pose_body_in_base[:, body]
        for part in parts:
            reach = max(reach, float((part.vertices @ (np.swapaxes(rows[:, :3, :3], 1, 2) @ axis).T + rows[:, :3, 3] @ axis).max()))
    return reach
