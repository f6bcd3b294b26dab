"""The drive that closes a gripper in a trial: effort, damping and inertia of its joints, from grip force and closing speed."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from graspgen_cli.grippers.model import Drive, GripperModel, edited
from graspgen_cli.records import Floats

DEFAULT_FORCE = 50.0
"""N, each pad."""
DEFAULT_SPEED = 0.1
"""m/s, of the opening."""
_LIKELY_FORCE = (2.0, 300.0)
_LIKELY_SPEED = (0.005, 1.0)
"""What a file gives outside these is a placeholder: real two-finger grippers are well inside."""
LEAST_TIME_CONSTANT = 0.004
"""s: armature / damping of a driven joint. MuJoCo's contact solver does not see the implicit damper, so a lighter finger sinks
centimetres into what it presses on at 250 steps a second."""
_MOVES = 1e-3
"""A joint that travels less than this share of its range stands still."""
_FOLLOWER_SHARE = 0.15
"""Kinetic energy of the armature of a joint that follows, as a share of a driven joint's."""
_ENOUGH = 0.8
"""Armatures of at least this share are left as the file has them."""
_SLOWEST_FOLLOWER = 0.1
"""Followers that travel less than this share of their range count as if they travelled it."""


@dataclass(frozen=True, eq=False)
class Stroke:
    """The gripper's motion from open to closed.

    travel: (J,) m or rad of each joint; inward: (2,) m of each pad; driven: for each finger the joint that moves it, or None.
    """

    travel: Floats
    inward: Floats
    driven: tuple[int | None, int | None]

    @property
    def length(self) -> float:
        """m, of the opening."""
        return float(self.inward.sum())


def driven_joints(gripper: GripperModel, fingers: tuple[int, int], travel: Floats, scale: Floats) -> tuple[int | None, int | None]:
    """For each finger the joint that drives it: nearest to the base of those that carry it, if it has a motor or follows one that has.

    A finger on a closed loop hangs on joints without motors: there the two motors share the work. fingers: indices of bodies, the base
    0. travel, scale: (J,).
    """
    model = gripper.model
    moves = np.abs(travel) > _MOVES * scale
    carrying = (_nearest_to_base(model, fingers[0] + 1, moves), _nearest_to_base(model, fingers[1] + 1, moves))
    motors = [j for j in range(model.njnt) if model.joint(j).name in gripper.drives and moves[j]]
    coupled = set(model.eq_obj1id[model.eq_type == mujoco.mjtEq.mjEQ_JOINT].tolist())
    if not motors or all(joint is None or joint in motors or joint in coupled for joint in carrying):
        return carrying
    return motors[0], motors[1] if len(motors) > 1 else None


def _nearest_to_base(model: mujoco.MjModel, body: int, moves: NDArray[np.bool_]) -> int | None:
    """The joint nearest to the base that carries a body and moves; None for a body that stands still."""
    found = None
    while body > 0:
        for joint in range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body]):
            if moves[joint]:
                found = int(joint)
        body = int(model.body_parentid[body])
    return found


def grip_force(gripper: GripperModel, stroke: Stroke) -> tuple[float, str]:
    """Force (N) with which each pad presses, by virtual work of the motors' largest efforts, or the default; and where it is from.

    A joint that follows another and has no effort of its own is moved by the other's motor.
    """
    known = [(joint, drive.effort) for joint, drive in _motors(gripper, stroke) if drive.effort is not None]
    if not known:
        return DEFAULT_FORCE, f"the file gives no motor force: grip force {DEFAULT_FORCE:g} N"
    force = sum(effort * abs(float(stroke.travel[joint])) for joint, effort in known) / stroke.length
    if not _LIKELY_FORCE[0] <= force <= _LIKELY_FORCE[1]:
        return DEFAULT_FORCE, f"the file's motor force would be {force:.3g} N at the pads, unlikely: grip force {DEFAULT_FORCE:g} N"
    return float(f"{force:.6g}"), f"grip force {force:.4g} N from the file's motor force"


def closing_speed(gripper: GripperModel, stroke: Stroke) -> tuple[float, str]:
    """Rate (m/s) at which the opening shrinks at the motors' largest speed, or the default; and where it is from."""
    known = [(joint, drive.speed) for joint, drive in _motors(gripper, stroke) if drive.speed]
    if not known:
        return DEFAULT_SPEED, f"the file gives no motor speed: closing speed {DEFAULT_SPEED:g} m/s"
    rate = stroke.length / max(abs(float(stroke.travel[joint])) / speed for joint, speed in known)
    if not _LIKELY_SPEED[0] <= rate <= _LIKELY_SPEED[1]:
        return DEFAULT_SPEED, f"the file's motor speed would be {rate:.3g} m/s, which is unlikely: closing speed {DEFAULT_SPEED:g} m/s"
    return float(f"{rate:.6g}"), f"closing speed {rate:.4g} m/s from the file's motor speed"


def _motors(gripper: GripperModel, stroke: Stroke) -> list[tuple[int, Drive]]:
    """The joints that move the fingers and have a motor."""
    joints = sorted({joint for joint in stroke.driven if joint is not None})
    names = {joint: gripper.model.joint(joint).name for joint in joints}
    return [(joint, gripper.drives[names[joint]]) for joint in joints if names[joint] in gripper.drives]


def effort_and_damping(stroke: Stroke, force: float, speed: float) -> tuple[Floats, Floats]:
    """Effort (J,) and damping (J,) of the joints: on each finger's driven joint, by virtual work over the whole stroke.

    effort x joint travel = force x pad travel, and effort / damping = joint travel x speed / stroke.
    """
    effort, damping = np.zeros(len(stroke.travel)), np.zeros(len(stroke.travel))
    advances = stroke.inward
    if None in stroke.driven or stroke.driven[0] == stroke.driven[1]:
        # One motor, or one finger that stands still: all the work is its own.
        advances = np.where([joint is not None for joint in stroke.driven], stroke.length, 0.0) * [1.0, stroke.driven[0] is None]
    for joint, advance in zip(stroke.driven, advances, strict=True):
        if joint is not None and advance != 0:
            effort[joint] += force * advance / stroke.travel[joint]
            damping[joint] = abs(effort[joint] / stroke.travel[joint]) * stroke.length / speed
    return effort, damping


def weighted(gripper: GripperModel, stroke: Stroke, damping: Floats, scale: Floats) -> GripperModel:
    """The gripper with at least the armature that a trial needs, on driven joints and in proportion on those that follow."""
    least = damping * LEAST_TIME_CONSTANT
    travel = np.abs(stroke.travel)
    driven = damping > 0
    energy = float((least * travel**2)[driven].mean())
    follows = ~driven & (travel > _MOVES * scale)
    least[follows] = _FOLLOWER_SHARE * energy / np.maximum(travel, _SLOWEST_FOLLOWER * scale)[follows] ** 2
    given = np.asarray(gripper.model.dof_armature, np.float64)
    raised = np.flatnonzero(given < _ENOUGH * least)
    if raised.size == 0:
        return gripper
    names = {gripper.model.joint(int(j)).name: float(f"{least[j]:.6g}") for j in raised}

    def weigh(spec: mujoco.MjSpec) -> None:
        for name, armature in names.items():
            spec.joint(name).armature = armature

    listed = ", ".join(f"{name} {value:.3g}" for name, value in names.items())
    return edited(gripper, weigh, f"joints too light to press without sinking in got an armature: {listed}")
