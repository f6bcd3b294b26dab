"""The drive that closes a gripper in a trial: effort, damping and inertia of its joints, from grip force and closing speed.

Measures a gripper: sweeps its fingers, finds its pads, and works out the drive that closes it with its force and speed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import pose
from graspgen_cli.grippers.coupling import completed
from graspgen_cli.grippers.gripper_file import GripperFile
from graspgen_cli.grippers.hand import Hand, find_hand, motion_path
from graspgen_cli.grippers.mechanism import ITERATIONS, Mechanism
from graspgen_cli.grippers.model import Drive, GripperModel, edited
from graspgen_cli.records import Floats, Gripper

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


OPENINGS = 65
"""K: openings measured, uniformly spaced in width."""
_DECIMALS = 12
_LEAST_STROKE = 0.002
_LARGEST_WIDTH = 1.0
"""m: grippers outside these are in the wrong unit."""
_SYMMETRY = 1e-4
"""m: how well the half turn about the approach axis must bring one fingertip onto the other."""
_ROUNDING = 1e-5
"""m: distances between shapes are known to this."""


@dataclass(frozen=True)
class SweepOptions:
    """How the mechanism is swept.

    iterations: most Gauss-Newton steps a position. convergence: whether the notes say how well the constraints are met.
    """

    iterations: int = ITERATIONS
    convergence: bool = False


def measure_gripper(model: GripperModel, file: GripperFile, *, sweep: SweepOptions | None = None) -> Gripper:
    """Measures a gripper's model with the parameters of its gripper file.

    Raises GripperError where the model is no two-finger gripper.
    """
    sweep = sweep or SweepOptions()
    digest = _content_hash(model, file, sweep)
    hand = find_hand(completed(model), file, iterations=sweep.iterations)
    joint_position = _openings(hand, file.open_configuration)
    poses = np.stack([hand.mechanism.body_poses(q) for q in joint_position])
    contacts = np.stack([hand.contact_points(q) for q in joint_position])
    length, across = (min(sizes) for sizes in zip(*(pad.size for pad in hand.pads), strict=True))
    bite = file.bite if file.bite is not None else length / 2
    stroke = _stroke(hand, joint_position, contacts)
    force, speed, assumed = _force_and_speed(hand, stroke, file)
    effort, damping = effort_and_damping(stroke, force, speed)
    final = weighted(hand.gripper, stroke, damping, hand.mechanism.scale)
    names = _body_names(final)
    return Gripper(
        name=file.name,
        content_hash=digest,
        mjcf=final.mjcf,
        assets=final.assets,
        base_body=final.base_body,
        finger_bodies=(names[hand.fingers[0]], names[hand.fingers[1]]),
        body_names=names,
        joint_names=tuple(final.model.joint(j).name for j in range(final.model.njnt)),
        opening_width=_rounded((contacts[:, 1] - contacts[:, 0]) @ hand.closing),
        joint_position=joint_position,
        pose_body_in_base=poses,
        collision_parts=hand.parts,
        fingertip_in_base=_rounded(contacts + bite * hand.approach),
        approach_axis_in_base=hand.approach,
        closing_axis_in_base=hand.closing,
        pad_size=np.array([length, across]),
        bite=bite,
        grip_force=force,
        closing_speed=speed,
        joint_effort=effort,
        joint_damping=damping,
        pose_base_in_graspgen=pose(np.stack([hand.closing, np.cross(hand.approach, hand.closing), hand.approach]), np.zeros(3)),
        symmetric=_is_symmetric(contacts, hand.approach),
        notes=(*final.notes, *hand.notes, *assumed, *(_convergence(hand, joint_position, file, sweep) if sweep.convergence else ())),
    )


def _openings(hand: Hand, opened: dict[str, float] | None) -> Floats:
    """Joint positions (K, J) at uniformly spaced widths, from closed (or as near as the fingers come) to open."""
    widths = np.array([hand.width(q) for q in hand.path.knots])
    narrowest, widest = _closed_width(hand, widths), float(widths[-1])
    if opened:
        widest = hand.width(_configuration(hand, opened))
    if widest - narrowest < _LEAST_STROKE or widest > _LARGEST_WIDTH:
        raise GripperError(
            f"{hand.source}: the pads open from {narrowest:.4g} m to {widest:.4g} m; is the model in metres, are the finger bodies right?"
        )
    used = widths[max(0, int(np.searchsorted(widths > narrowest, True)) - 1) :]
    if (np.diff(used) <= 0).any():
        raise GripperError(f"{hand.source}: the opening does not grow steadily as the fingers open")
    targets = np.linspace(narrowest, widest, OPENINGS)
    return np.stack([hand.path.find(hand.width, widths, target) for target in targets])


def _closed_width(hand: Hand, widths: Floats) -> float:
    """Width at which the fingers meet, or else the smallest."""
    if widths[0] >= -_ROUNDING and hand.gap(hand.path.knots[0]) >= -_ROUNDING:
        return float(max(0.0, widths[0]))
    gaps = np.array([hand.gap(q) for q in hand.path.knots])
    if gaps.max() <= 0:
        raise GripperError(f"{hand.source}: the fingers overlap wherever they are; are they the right bodies?")
    meet = int(np.argmax(gaps > 0))
    if abs(widths[meet] - gaps[meet]) < _ROUNDING or meet == 0:
        return float(max(0.0, widths[0]))  # flat pads meet where the width is 0
    place = brentq(lambda s: hand.gap(hand.path.at(s)), meet - 1, meet, xtol=1e-9)
    return max(0.0, hand.width(hand.path.at(float(place))))


def _configuration(hand: Hand, wanted: dict[str, float]) -> Floats:
    """The position on the path at which joints have the wanted positions."""
    model = hand.mechanism.model
    names = [model.joint(j).name for j in range(model.njnt)]
    for name in wanted:
        if name not in names:
            raise GripperError(f"{hand.source}: no joint is called {name}; there are {', '.join(names)}")
    first, value = next(iter(wanted.items()))
    joint = names.index(first)
    along = hand.path.knots[:, joint]
    rising = along[-1] > along[0]
    path = hand.path if rising else hand.path.reversed()
    low, high = sorted((along[0], along[-1]))
    if not low - 1e-9 <= value <= high + 1e-9:
        raise GripperError(f"{hand.source}: joint {first} goes from {low:.5g} to {high:.5g}, not to {value:g}")
    q = path.find(lambda p: float(p[joint]), path.knots[:, joint], value)
    for name, target in wanted.items():
        if abs(q[names.index(name)] - target) > 1e-3 * hand.mechanism.scale[names.index(name)]:
            raise GripperError(f"{hand.source}: the mechanism cannot have {wanted}: {name} is then {q[names.index(name)]:.5g}")
    return q


def _stroke(hand: Hand, joint_position: Floats, contacts: Floats) -> Stroke:
    travel = joint_position[0] - joint_position[-1]
    inward = (contacts[0] - contacts[-1]) @ hand.closing * np.array([1.0, -1.0])
    return Stroke(travel, inward, driven_joints(hand.gripper, hand.fingers, travel, hand.mechanism.scale))


def _force_and_speed(hand: Hand, stroke: Stroke, file: GripperFile) -> tuple[float, float, list[str]]:
    """Grip force (N), closing speed (m/s), and where they are from unless the gripper file says them."""
    notes: list[str] = []
    force, speed = file.grip_force, file.closing_speed
    if force is None:
        force, note = grip_force(hand.gripper, stroke)
        notes.append(note)
    if speed is None:
        speed, note = closing_speed(hand.gripper, stroke)
        notes.append(note)
    return force, speed, notes


def _convergence(hand: Hand, joint_position: Floats, file: GripperFile, sweep: SweepOptions) -> tuple[str, ...]:
    """How well the openings meet the constraints, and how much they change with twice the iterations."""
    residual = max(float(np.abs(hand.mechanism.constraints(q)[0]).max(initial=0.0)) for q in joint_position)
    mechanism = Mechanism(hand.gripper, iterations=2 * sweep.iterations)
    finer = replace(hand, mechanism=mechanism, path=motion_path(hand.gripper, mechanism))
    if finer.width(finer.path.knots[0]) > finer.width(finer.path.knots[-1]):
        finer = replace(finer, path=finer.path.reversed())
    change = float(np.abs(_openings(finer, file.open_configuration) - joint_position).max())
    return (
        f"convergence: largest constraint residual {residual:.1e} m or rad over {len(joint_position)} openings; largest change with "
        f"{2 * sweep.iterations} iterations instead of {sweep.iterations}: {change:.1e}",
    )


def _is_symmetric(contacts: Floats, approach: Floats) -> bool:
    along = (contacts @ approach)[..., None] * approach
    turned = 2 * along - contacts  # half turn about the axis through the base's origin
    return bool(np.abs(turned[:, ::-1] - contacts).max() < _SYMMETRY)


def _rounded(lengths: Floats) -> Floats:
    """Without the last bits, so that 0.085 reads 0.085."""
    return np.asarray(np.round(lengths, _DECIMALS) + 0.0, np.float64)


def _body_names(model: GripperModel) -> tuple[str, ...]:
    return tuple(model.model.body(b).name for b in range(1, model.model.nbody))


def _content_hash(model: GripperModel, file: GripperFile, sweep: SweepOptions) -> str:
    digest = hashlib.sha256(model.mjcf.encode())
    for name in sorted(model.assets):
        digest.update(name.encode() + b"\0" + hashlib.sha256(model.assets[name]).digest())
    parameters = file.model_dump(mode="json", exclude={"model", "sources"})
    digest.update(json.dumps(parameters, sort_keys=True).encode())
    digest.update(repr(sweep.iterations).encode())
    return digest.hexdigest()
