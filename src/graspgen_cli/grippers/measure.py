"""Measures a gripper: sweeps its fingers, finds its pads, and works out the drive that closes it with its force and speed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import pose
from graspgen_cli.grippers import drive
from graspgen_cli.grippers.coupling import completed
from graspgen_cli.grippers.gripper_file import GripperFile
from graspgen_cli.grippers.hand import Hand, find_hand, motion_path
from graspgen_cli.grippers.mechanism import ITERATIONS, Mechanism
from graspgen_cli.grippers.model import GripperModel
from graspgen_cli.records import Floats, Gripper

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
    effort, damping = drive.effort_and_damping(stroke, force, speed)
    final = drive.weighted(hand.gripper, stroke, damping, hand.mechanism.scale)
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


def _stroke(hand: Hand, joint_position: Floats, contacts: Floats) -> drive.Stroke:
    travel = joint_position[0] - joint_position[-1]
    inward = (contacts[0] - contacts[-1]) @ hand.closing * np.array([1.0, -1.0])
    return drive.Stroke(travel, inward, drive.driven_joints(hand.gripper, hand.fingers, travel, hand.mechanism.scale))


def _force_and_speed(hand: Hand, stroke: drive.Stroke, file: GripperFile) -> tuple[float, float, list[str]]:
    """Grip force (N), closing speed (m/s), and where they are from unless the gripper file says them."""
    notes: list[str] = []
    force, speed = file.grip_force, file.closing_speed
    if force is None:
        force, note = drive.grip_force(hand.gripper, stroke)
        notes.append(note)
    if speed is None:
        speed, note = drive.closing_speed(hand.gripper, stroke)
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
