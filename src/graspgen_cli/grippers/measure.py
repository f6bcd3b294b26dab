"""Measurement of a gripper: sweep of its openings, and the joint drives that close it with its grip force and closing speed."""

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
from graspgen_cli.grippers.hand import Hand, find_hand
from graspgen_cli.grippers.mechanism import ITERATIONS, Mechanism, motion_path
from graspgen_cli.grippers.model import GripperModel
from graspgen_cli.records import Floats, Gripper

OPENINGS = 65
"""K: number of measured openings, uniformly spaced in width."""
_FORCE, _SPEED = (50.0, 2.0, 300.0), (0.1, 0.005, 1.0)
"""N of each pad, m/s of the opening width: default, and the range of real two-finger grippers; other values in files are placeholders."""
_LEAST_TIME_CONSTANT = 0.004
"""s: armature / damping of a driven joint. MuJoCo's contact solver ignores the implicit damping, so a lighter finger sinks centimetres into
the object at 250 steps a second."""
_MOVES = 1e-3  # a joint with less travel, as a share of its range, stands still
_FOLLOWER_SHARE = 0.15  # kinetic energy of the armature of a mimic joint, as a share of a driven joint's
_ENOUGH = 0.8  # armatures in the file of at least this share of the required ones are kept
_SLOWEST_FOLLOWER = 0.1  # smallest travel of a mimic joint in the armature's formula, as a share of its range
_DECIMALS = 12
_LEAST_STROKE = 0.002  # m
_LARGEST_WIDTH = 1.0  # m: a wider gripper is in a wrong unit
_SYMMETRY = 1e-4  # m: by which the half turn about the approach axis may miss the other fingertip
_ROUNDING = 1e-5  # m: accuracy of distances between shapes


@dataclass(frozen=True, eq=False)
class Stroke:
    """The gripper's motion from open to closed.

    travel: (J,) m or rad of each joint; inward: (2,) m of each pad; driven: for each finger the joint that drives it, or None.
    """

    travel: Floats
    inward: Floats
    driven: tuple[int | None, int | None]

    @property
    def length(self) -> float:
        """Change of the opening width, m."""
        return float(self.inward.sum())


def measure_gripper(model: GripperModel, file: GripperFile, *, iterations: int = ITERATIONS, convergence: bool = False) -> Gripper:
    """Measure a gripper's model with the parameters of its gripper file.

    iterations: largest number of Gauss-Newton steps for a position. convergence: adds a note on how well the constraints are met.
    Raises GripperError if the model is no two-finger gripper.
    """
    hand = find_hand(completed(model), file, iterations=iterations)
    joint_position = _openings(hand, file.open_configuration)
    contacts = np.stack([hand.contact_points(q) for q in joint_position])
    length, across = (min(sizes) for sizes in zip(*(pad.size for pad in hand.pads), strict=True))
    bite = file.bite if file.bite is not None else length / 2
    stroke = _stroke(hand, joint_position, contacts)
    force, speed, assumed = _force_and_speed(hand.gripper, stroke, file)
    effort, damping = _effort_and_damping(stroke, force, speed)
    final = _with_armature(hand.gripper, stroke, damping, hand.mechanism.scale)
    return Gripper(
        name=file.name,
        content_hash=_content_hash(model, file, iterations),
        mjcf=final.mjcf,
        assets=final.assets,
        base_body=final.base_body,
        finger_bodies=(final.body_names[hand.fingers[0]], final.body_names[hand.fingers[1]]),
        body_names=final.body_names,
        joint_names=final.joint_names,
        opening_width=_rounded((contacts[:, 1] - contacts[:, 0]) @ hand.closing),
        joint_position=joint_position,
        pose_body_in_base=np.stack([hand.mechanism.body_poses(q) for q in joint_position]),
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
        notes=(*final.notes, *hand.notes, *assumed, *(_convergence(hand, joint_position, file, iterations) if convergence else ())),
    )


def _openings(hand: Hand, opened: dict[str, float] | None) -> Floats:
    """Joint positions (K, J) at uniformly spaced widths, from closed (or the smallest width) to open.

    opened: joint positions of the open gripper; None: the limits.
    """
    widths = np.array([hand.width(q) for q in hand.path.knots])
    narrowest, widest = _closed_width(hand, widths), float(widths[-1])
    if opened:
        widest = hand.width(_configuration(hand, opened))
    if widest - narrowest < _LEAST_STROKE or widest > _LARGEST_WIDTH:
        raise GripperError(
            f"the pads open from {narrowest:.4g} m to {widest:.4g} m",
            path=hand.source,
            advice="is the model in metres, are the finger bodies right?",
        )
    used = widths[max(0, int(np.searchsorted(widths > narrowest, True)) - 1) :]
    if (np.diff(used) <= 0).any():
        raise GripperError("the opening does not grow steadily as the fingers open", path=hand.source)
    targets = np.linspace(narrowest, widest, OPENINGS)
    return np.stack([hand.path.find(hand.width, widths, target) for target in targets])


def _closed_width(hand: Hand, widths: Floats) -> float:
    """Width (m) at which the fingers touch; the smallest width if they never touch. widths: (M,) at the path's knots."""
    if widths[0] >= -_ROUNDING and hand.gap(hand.path.knots[0]) >= -_ROUNDING:
        return float(max(0.0, widths[0]))
    gaps = np.array([hand.gap(q) for q in hand.path.knots])
    if gaps.max() <= 0:
        raise GripperError("the fingers overlap at every position of the joints", path=hand.source, advice="are they the right bodies?")
    meet = int(np.argmax(gaps > 0))
    if abs(widths[meet] - gaps[meet]) < _ROUNDING or meet == 0:
        return float(max(0.0, widths[0]))  # flat pads touch at width 0
    place = brentq(lambda s: hand.gap(hand.path.at(s)), meet - 1, meet, xtol=1e-9)
    return max(0.0, hand.width(hand.path.at(float(place))))


def _configuration(hand: Hand, wanted: dict[str, float]) -> Floats:
    """The position (J,) on the path with the wanted joint positions."""
    names = hand.gripper.joint_names
    for name in wanted:
        if name not in names:
            raise GripperError(f"no joint is called {name}", path=hand.source, advice=f"there are {', '.join(names)}")
    first, value = next(iter(wanted.items()))
    joint = names.index(first)
    along = hand.path.knots[:, joint]
    path = hand.path if along[-1] > along[0] else hand.path.reversed()
    low, high = sorted((along[0], along[-1]))
    if not low - 1e-9 <= value <= high + 1e-9:
        raise GripperError(f"joint {first} goes from {low:.5g} to {high:.5g}, not to {value:g}", path=hand.source)
    q = path.find(lambda p: float(p[joint]), path.knots[:, joint], value)
    for name, target in wanted.items():
        other = names.index(name)
        if abs(q[other] - target) > 1e-3 * hand.mechanism.scale[other]:
            raise GripperError(f"the mechanism cannot have {wanted}: {name} is then {q[other]:.5g}", path=hand.source)
    return q


def _stroke(hand: Hand, joint_position: Floats, contacts: Floats) -> Stroke:
    travel = joint_position[0] - joint_position[-1]
    inward = (contacts[0] - contacts[-1]) @ hand.closing * np.array([1.0, -1.0])
    return Stroke(travel, inward, _driven_joints(hand, np.abs(travel) > _MOVES * hand.mechanism.scale))


def _driven_joints(hand: Hand, moves: NDArray[np.bool_]) -> tuple[int | None, int | None]:
    """For each finger its moving ancestor joint nearest to the base, if that joint has a motor or follows a joint with one.

    A finger on a closed loop has ancestor joints without motors: the first two moving motors drive the fingers. moves: (J,) whether each
    joint moves.
    """
    gripper, model = hand.gripper, hand.gripper.model
    carrying = _nearest_to_base(model, hand.fingers[0] + 1, moves), _nearest_to_base(model, hand.fingers[1] + 1, moves)
    motors = [joint for joint in gripper.motors if moves[joint]]
    coupled = set(model.eq_obj1id[model.eq_type == mujoco.mjtEq.mjEQ_JOINT].tolist())
    if not motors or all(joint is None or joint in motors or joint in coupled for joint in carrying):
        return carrying
    return motors[0], motors[1] if len(motors) > 1 else None


def _nearest_to_base(model: mujoco.MjModel, body: int, moves: NDArray[np.bool_]) -> int | None:
    """A body's moving ancestor joint nearest to the base; None for a body that stands still."""
    found = None
    while body > 0:
        for joint in range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body]):
            if moves[joint]:
                found = int(joint)
        body = int(model.body_parentid[body])
    return found


def _force_and_speed(gripper: GripperModel, stroke: Stroke, file: GripperFile) -> tuple[float, float, list[str]]:
    """Grip force (N) of each pad and closing speed (m/s) of the opening width, and notes on values that the gripper file omits.

    By virtual work of the motors' largest efforts and by the slowest motor's largest speed; defaults without motor data. A mimic joint
    without an effort of its own is moved by the motor of the joint that it follows.
    """
    joints = sorted({joint for joint in stroke.driven if joint is not None and joint in gripper.motors})
    motors = [(abs(float(stroke.travel[joint])), gripper.drives[gripper.joint_names[joint]]) for joint in joints]
    notes: list[str] = []
    force, speed = file.grip_force, file.closing_speed
    if force is None:
        work = [drive.effort * travel for travel, drive in motors if drive.effort is not None]
        force, note = _likely(sum(work) / stroke.length if work else None, _FORCE, "force", "grip force {:{}} N")
        notes.append(note)
    if speed is None:
        times = [travel / drive.speed for travel, drive in motors if drive.speed]
        speed, note = _likely(stroke.length / max(times) if times else None, _SPEED, "speed", "closing speed {:{}} m/s")
        notes.append(note)
    return force, speed, notes


def _likely(value: float | None, likely: tuple[float, float, float], motor: str, text: str) -> tuple[float, str]:
    """The value of the motors, or the default for an absent or unlikely value; and a note. likely: default, least, largest."""
    default, least, largest = likely
    if value is None:
        return default, f"the file gives no motor {motor}: {text.format(default, 'g')}"
    if not least <= value <= largest:
        return default, f"the file's motor {motor} gives an unlikely {text.format(value, '.3g')}: {text.format(default, 'g')}"
    return float(f"{value:.6g}"), f"{text.format(value, '.4g')} from the file's motor {motor}"


def _effort_and_damping(stroke: Stroke, force: float, speed: float) -> tuple[Floats, Floats]:
    """Effort (J,) and damping (J,) of each finger's driven joint, by virtual work over the whole stroke.

    effort x joint travel = force x pad travel, and effort / damping = joint travel x speed / stroke.
    """
    effort, damping = np.zeros(len(stroke.travel)), np.zeros(len(stroke.travel))
    advances = stroke.inward
    if None in stroke.driven or stroke.driven[0] == stroke.driven[1]:
        # A single motor, or a finger that stands still: one joint does all the work.
        advances = np.where([joint is not None for joint in stroke.driven], stroke.length, 0.0) * [1.0, stroke.driven[0] is None]
    for joint, advance in zip(stroke.driven, advances, strict=True):
        if joint is not None and advance != 0:
            effort[joint] += force * advance / stroke.travel[joint]
            damping[joint] = abs(effort[joint] / stroke.travel[joint]) * stroke.length / speed
    return effort, damping


def _with_armature(gripper: GripperModel, stroke: Stroke, damping: Floats, scale: Floats) -> GripperModel:
    """The gripper with the armature that a trial needs on its driven joints, and a proportional armature on its mimic joints."""
    least = damping * _LEAST_TIME_CONSTANT
    travel = np.abs(stroke.travel)
    driven = damping > 0
    energy = float((least * travel**2)[driven].mean())
    follows = ~driven & (travel > _MOVES * scale)
    least[follows] = _FOLLOWER_SHARE * energy / np.maximum(travel, _SLOWEST_FOLLOWER * scale)[follows] ** 2
    raised = np.flatnonzero(np.asarray(gripper.model.dof_armature, np.float64) < _ENOUGH * least)
    if raised.size == 0:
        return gripper
    armatures, spec = {gripper.joint_names[joint]: float(f"{least[joint]:.6g}") for joint in raised}, gripper.spec()
    for name, armature in armatures.items():
        spec.joint(name).armature = armature
    listed = ", ".join(f"{name} {value:.3g}" for name, value in armatures.items())
    return gripper.edited(spec, f"joints too light to press without sinking in got an armature: {listed}")


def _convergence(hand: Hand, joint_position: Floats, file: GripperFile, iterations: int) -> tuple[str, ...]:
    """A note: the residual of the constraints, and the change of the openings with twice the iterations."""
    residual = max(hand.mechanism.residual(q) for q in joint_position)
    mechanism = Mechanism(hand.gripper, iterations=2 * iterations)
    finer = replace(hand, mechanism=mechanism, path=motion_path(hand.gripper, mechanism))
    if finer.width(finer.path.knots[0]) > finer.width(finer.path.knots[-1]):
        finer = replace(finer, path=finer.path.reversed())
    change = float(np.abs(_openings(finer, file.open_configuration) - joint_position).max())
    return (
        f"convergence: largest constraint residual {residual:.1e} m or rad over {len(joint_position)} openings; largest change with "
        f"{2 * iterations} iterations instead of {iterations}: {change:.1e}",
    )


def _is_symmetric(contacts: Floats, approach: Floats) -> bool:
    along = (contacts @ approach)[..., None] * approach
    turned = 2 * along - contacts  # half turn about the axis through the base's origin
    return bool(np.abs(turned[:, ::-1] - contacts).max() < _SYMMETRY)


def _rounded(lengths: Floats) -> Floats:
    """Without the last bits: 0.085 instead of 0.08500000000000002."""
    return np.asarray(np.round(lengths, _DECIMALS) + 0.0, np.float64)


def _content_hash(model: GripperModel, file: GripperFile, iterations: int) -> str:
    digest = hashlib.sha256(model.mjcf.encode())
    for name in sorted(model.assets):
        digest.update(name.encode() + b"\0" + hashlib.sha256(model.assets[name]).digest())
    parameters = file.model_dump(mode="json", exclude={"model", "sources"})
    digest.update(json.dumps(parameters, sort_keys=True).encode())
    digest.update(repr(iterations).encode())
    return digest.hexdigest()
