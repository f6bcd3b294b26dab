"""Control trials: trials of a box with a known end, which show that a gripper grips and that its trials are simulated correctly."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass

import mujoco
import numpy as np
import orjson
import trimesh

from graspgen_cli import __version__
from graspgen_cli.errors import GripperError, OutputError
from graspgen_cli.files import default_cache, write_atomically
from graspgen_cli.geometry.meshes import convex_object, triangle_mesh
from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import Floats, GraspBatch, Gripper, Outcome, TargetObject, TrialState
from graspgen_cli.settings.trials import DEFAULT_TUGS, SimulationSettings, Tugs
from graspgen_cli.tables import REFERENCE_ENGINE
from graspgen_cli.validate.engine import make_backend
from graspgen_cli.validate.judge import judge
from graspgen_cli.validate.protocols import STANDARD_GRAVITY, stages

_OPENING = 0.5
"""Thickness of the control box, as a share of the stroke."""
_LIGHT, _HEAVY = 0.25, 2.0
"""Tugs of scale 1, as shares of the force that friction resists."""
_HEAVIEST = 1.0
"""kg: largest mass of the light box."""
_SMALLEST_EDGE = 0.004
"""m: shortest edge of the control box, for pads without area."""
_WALL = 1e6
"""kg: mass that no finger moves."""
_PLATE = 0.1
"""Thickness of the plate that only one finger reaches, and its distance from that finger, as shares of half the widest opening."""
_LAST_TUG: Tugs = ((0.5, (0.0, 0.0, 1.0), 0.125), (0.5, (0.0, 0.0, 1.0), 0.25), (0.5, (0.0, 0.0, 1.0), 1.0))
_GENTLE: Tugs = ((0.5, (0.0, 0.0, 1.0), 1e-9),)
_FRICTION = 1.0


@dataclass(frozen=True, eq=False)
class Control:
    """A trial with a known end.

    what: in words, after "a box of 10 x 20 x 30 mm". place: (3,) m, center of the box in the gripper's base frame. lost_in: the stage in
    which the grip is lost, 0 for the closing, then the tugs; None: the box is held. pressing: number of fingers that press at the end;
    None: any. advice: what to check if the trial ends otherwise.
    """

    what: str
    box: TargetObject
    place: Floats
    settings: SimulationSettings
    lost_in: int | None
    pressing: int | None
    advice: str


def require_controls(gripper: Gripper, settings: SimulationSettings) -> None:
    """Runs the control trials once for each gripper and settings; the cache keeps a note of success. Raises GripperError."""
    kept = _kept_settings(settings).model_dump(mode="json")
    recipe = orjson.dumps([__version__, mujoco.__version__, gripper.content_hash, kept], option=orjson.OPT_SORT_KEYS)
    known = default_cache() / "controls" / hashlib.sha256(recipe).hexdigest()
    with contextlib.suppress(OSError):  # There is no note, or the cache is unreadable.
        known.stat()
        return
    try:
        run_control_trials(gripper, settings, basic=False)
    except GripperError as error:
        raise GripperError(f"{error}; --do-not-run-controls runs all the same") from error
    with contextlib.suppress(OutputError):
        write_atomically(known, b"passed\n")


def run_control_trials(gripper: Gripper, settings: SimulationSettings | None = None, *, basic: bool = True) -> None:
    """One trial that must hold and five that must fail in a certain way: a box of the size of a pad between the pads; the box beside the
    pads; the box far away; a wall that only one finger reaches; a box too heavy for the first tug; a box that slides in the last tug only.

    The masses follow from the grip force by Coulomb's law with a friction coefficient of 1. settings: gives the time step, the time to
    close and the early end of a stage. basic: only the first two trials. Raises GripperError with the first trial that ends otherwise.
    """
    groups: dict[tuple[str, SimulationSettings], list[Control]] = {}
    for control in controls(gripper, _kept_settings(settings or SimulationSettings()))[: 2 if basic else None]:
        groups.setdefault((control.box.object_id, control.settings), []).append(control)
    for group in groups.values():
        state = make_backend(REFERENCE_ENGINE, threads=1).run(gripper, group[0].box, _grasps(gripper, group), group[0].settings)
        for row, control in enumerate(group):
            _require_end(gripper, control, state, row)


def _kept_settings(settings: SimulationSettings) -> SimulationSettings:
    """The settings of time and steadiness; the defaults for the rest."""
    return SimulationSettings(
        fps=settings.fps, initial_grasp_duration=settings.initial_grasp_duration, steady_motion=settings.steady_motion, friction=_FRICTION
    )


def controls(gripper: Gripper, settings: SimulationSettings) -> list[Control]:
    """The trials for a gripper; the first two show whether it grips at all."""
    limit = 2 * _FRICTION * gripper.grip_force / STANDARD_GRAVITY
    thickness = float(gripper.opening_width[_control_opening(gripper)])
    box, between = _box(gripper, thickness, "control box"), _between(gripper)
    across = np.cross(gripper.approach_axis_in_base, gripper.closing_axis_in_base)
    light = _with(settings, mass=min(_HEAVIEST, _LIGHT * limit))
    heavy = _with(settings, mass=_HEAVY * limit)
    last = _with(settings, mass=_HEAVY * limit, tugs=_LAST_TUG)
    beside = between + across * (_reach(gripper, across) - between @ across + gripper.pad_size[1])
    away = between + gripper.approach_axis_in_base * 10 * (gripper.depth + gripper.width)
    plate, at_finger = _plate(gripper)
    drive = "check grip_force, closing_speed, finger_bodies and the pads"
    shapes = "check finger_bodies and the collision shapes"
    return [
        Control("between the pads", box, between, light, None, 2, drive),
        Control("beside the pads", box, beside, light, 0, 0, shapes),
        Control("far away, so that the gripper closes empty,", box, away, light, 0, 0, shapes),
        Control("that one finger alone meets", plate, at_finger, _with(settings, mass=_WALL, tugs=_GENTLE), 0, 1, shapes),
        Control("too heavy for the grip", box, between, heavy, 1, None, drive),
        Control("that the last tug alone can pull out", box, between, last, len(_LAST_TUG), None, drive),
    ]


def _with(settings: SimulationSettings, *, mass: float, tugs: Tugs = DEFAULT_TUGS) -> SimulationSettings:
    return settings.model_copy(update={"object_mass": mass, "tug_sequences": tugs})


def _require_end(gripper: Gripper, control: Control, state: TrialState, row: int) -> None:
    size = " x ".join(f"{edge * 1000:.3g}" for edge in np.ptp(control.box.mesh.vertices, axis=0))
    what = f"gripper {gripper.name}: control trial failed: a box of {size} mm {control.what}"
    if state.started_inside[row]:
        raise GripperError(f"{what} overlaps the open gripper; check the collision shapes of the fingers")
    outcome = Outcome(int(judge(state)[row]))
    if control.lost_in is None:
        if outcome is not Outcome.HELD:
            reason = "the simulation diverged" if outcome is Outcome.UNSTABLE else f"it was {outcome.label}"
            raise GripperError(f"{what} is not held ({reason}); {control.advice}")
        return
    if outcome is not Outcome.DROPPED:
        raise GripperError(f"{what} is {outcome.label} instead of dropped; {control.advice}")
    lost_in, pressing = _lost_in(gripper, control, state, row), int((state.finger_contact_force[row] > 0).sum())
    if lost_in != control.lost_in:
        raise GripperError(f"{what} is lost {_stage(lost_in)} instead of {_stage(control.lost_in)}; {control.advice}")
    if control.pressing is not None and pressing != control.pressing:
        raise GripperError(f"{what} ends with {pressing} fingers pressing instead of {control.pressing}; {control.advice}")


def _lost_in(gripper: Gripper, control: Control, state: TrialState, row: int) -> int:
    """The stage in which a finger lost contact."""
    ends = np.cumsum([stage.steps for stage in stages(gripper, control.settings, 1.0)]) / control.settings.fps
    return int(np.searchsorted(ends, state.loss_time[row] - 1e-9))


def _stage(number: int) -> str:
    return "while the grip closes" if number == 0 else f"in tug {number}"


def _between(gripper: Gripper) -> Floats:
    """(3,) m: the point between the pads, in the gripper's base frame, at the opening of the control box."""
    place: Floats = gripper.fingertip_in_base[_control_opening(gripper)].mean(axis=0) - gripper.bite * gripper.approach_axis_in_base
    return place


def _plate(gripper: Gripper) -> tuple[TargetObject, Floats]:
    """A thin box and its place (3,) m: close to the first finger and far from the second."""
    half, closing = gripper.width / 2, gripper.closing_axis_in_base
    k = int(gripper.nearest_opening(np.array([gripper.width * (1 - _PLATE)]))[0])
    place = gripper.fingertip_in_base[k, 0] - gripper.bite * gripper.approach_axis_in_base + 0.5 * _PLATE * half * closing
    return _box(gripper, _PLATE * half, "control plate"), place


def _box(gripper: Gripper, thickness: float, name: str) -> TargetObject:
    """A box at the origin in the axes of the gripper's base: pad-sized, with its thickness along the closing axis."""
    along = min(float(gripper.pad_size[0]), 2 * gripper.bite)
    size = np.maximum([thickness, gripper.pad_size[1], along], _SMALLEST_EDGE)
    solid = trimesh.creation.box(size)
    mesh = triangle_mesh(solid.vertices @ gripper.pose_base_in_graspgen[:3, :3], solid.faces)
    return convex_object(name, mesh)


def _control_opening(gripper: Gripper) -> int:
    middle = gripper.opening_width[0] + _OPENING * (gripper.width - gripper.opening_width[0])
    return int(gripper.nearest_opening(np.array([middle]))[0])


def _grasps(gripper: Gripper, group: list[Control]) -> GraspBatch:
    """The gripper wide open, with the boxes at their places."""
    poses = pose(np.eye(3), -np.stack([control.place for control in group]))
    return GraspBatch(poses, np.full(len(group), gripper.width), np.full(len(group), Outcome.UNVALIDATED, np.int8))


def _reach(gripper: Gripper, axis: Floats) -> float:
    """m: the largest extent of the gripper along an axis, over all openings."""
    reach = 0.0
    for body, parts in enumerate(gripper.collision_parts):
        rows = gripper.pose_body_in_base[:, body]
        for part in parts:
            reach = max(reach, float((part.vertices @ (np.swapaxes(rows[:, :3, :3], 1, 2) @ axis).T + rows[:, :3, 3] @ axis).max()))
    return reach
