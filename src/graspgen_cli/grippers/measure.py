"""Measures a gripper: sweeps its fingers, finds its pads, and works out the drive that closes it with its force and speed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import pose, transform_points
from graspgen_cli.grippers.fingers import Pad, closing_axis, find_fingers, find_pad
from graspgen_cli.grippers.gripper_file import GripperFile
from graspgen_cli.grippers.mechanism import Mechanism, MotionPath, trace
from graspgen_cli.grippers.parts import collision_parts
from graspgen_cli.grippers.read_mjcf import GripperModel
from graspgen_cli.records import Floats, Gripper, TriangleMesh

OPENINGS = 65
"""K: openings measured, uniformly spaced in width."""
_DECIMALS = 12
_LEAST_STROKE = 0.002
_LARGEST_WIDTH = 1.0
"""m: grippers outside these are in the wrong unit."""
_SYMMETRY = 1e-4
"""m: how well the half turn about the approach axis must bring one fingertip onto the other."""


@dataclass(frozen=True, eq=False)
class _Hand:
    """A gripper's moving geometry with its axes known, and its path from closed to open."""

    source: str
    mechanism: Mechanism
    path: MotionPath
    parts: tuple[tuple[TriangleMesh, ...], ...]
    fingers: tuple[int, int]
    approach: Floats
    closing: Floats
    pads: tuple[Pad, Pad]

    def fingertips(self, q: Floats) -> Floats:
        """(2, 3) m at joint positions q."""
        poses = self.mechanism.body_poses(q)
        return np.stack([transform_points(poses[body], pad.tip[None])[0] for body, pad in zip(self.fingers, self.pads, strict=True)])

    def width(self, q: Floats) -> float:
        """Opening width at joint positions q, m."""
        first, second = self.fingertips(q)
        return float((second - first) @ self.closing)


def measure_gripper(model: GripperModel, file: GripperFile) -> Gripper:
    """Measures a gripper's model with the parameters of its gripper file.

    Raises GripperError where the model is no two-finger gripper.
    """
    hand = _hand(model, file)
    joint_position = _openings(hand)
    poses = np.stack([hand.mechanism.body_poses(q) for q in joint_position])
    tips = np.stack([hand.fingertips(q) for q in joint_position])
    width = (tips[:, 1] - tips[:, 0]) @ hand.closing
    effort, damping = _drive(hand, joint_position, tips, file)
    names = _body_names(model)
    length, across = (min(sizes) for sizes in zip(*(pad.size for pad in hand.pads), strict=True))
    return Gripper(
        name=file.name,
        content_hash=_content_hash(model, file),
        mjcf=model.mjcf,
        assets=model.assets,
        base_body=model.base_body,
        finger_bodies=(names[hand.fingers[0]], names[hand.fingers[1]]),
        body_names=names,
        joint_names=tuple(model.model.joint(j).name for j in range(model.model.njnt)),
        opening_width=_rounded(width),
        joint_position=joint_position,
        pose_body_in_base=poses,
        collision_parts=hand.parts,
        fingertip_in_base=_rounded(tips),
        approach_axis_in_base=hand.approach,
        closing_axis_in_base=hand.closing,
        pad_size=np.array([length, across]),
        bite=file.bite if file.bite is not None else length / 2,
        grip_force=file.grip_force,
        closing_speed=file.closing_speed,
        joint_effort=effort,
        joint_damping=damping,
        pose_base_in_graspgen=pose(np.stack([hand.closing, np.cross(hand.approach, hand.closing), hand.approach]), np.zeros(3)),
        symmetric=_is_symmetric(tips, hand.approach),
    )


def _hand(model: GripperModel, file: GripperFile) -> _Hand:
    mechanism = Mechanism(model)
    path = trace(mechanism)
    parts, names = collision_parts(model), _body_names(model)
    ends = np.stack([mechanism.body_poses(q) for q in (path.knots[0], path.knots[-1])])
    first, second = file.finger_bodies or find_fingers(parts, names, ends, model.source)
    fingers = (_index(first, names, model.source), _index(second, names, model.source))
    approach = np.asarray(file.approach_axis) / np.linalg.norm(file.approach_axis)
    closing = closing_axis(parts, fingers, ends, approach, model.source)
    middle = mechanism.body_poses(path.at(path.end / 2))
    pads = (
        find_pad(parts[fingers[0]], middle[fingers[0]], approach, closing),
        find_pad(parts[fingers[1]], middle[fingers[1]], approach, -closing),
    )
    hand = _Hand(model.source, mechanism, path, parts, fingers, approach, closing, pads)
    if hand.width(path.knots[0]) > hand.width(path.knots[-1]):
        return replace(hand, path=path.reversed())
    return hand


def _openings(hand: _Hand) -> Floats:
    """Joint positions (K, J) at uniformly spaced widths, from closed (or as near as the fingers come) to open."""
    widths = np.array([hand.width(q) for q in hand.path.knots])
    narrowest, widest = max(0.0, float(widths[0])), float(widths[-1])
    if widest - narrowest < _LEAST_STROKE or widest > _LARGEST_WIDTH:
        raise GripperError(
            f"{hand.source}: the pads open from {widths[0]:.4g} m to {widest:.4g} m; is the model in metres, are the finger bodies right?"
        )
    if (np.diff(widths) <= 0).any():
        raise GripperError(f"{hand.source}: the opening does not grow steadily as the fingers open")
    targets = np.linspace(narrowest, widest, OPENINGS)
    return np.stack([hand.path.find(hand.width, widths, target) for target in targets])


def _drive(hand: _Hand, joint_position: Floats, tips: Floats, file: GripperFile) -> tuple[Floats, Floats]:
    """Effort (J,) and damping (J,) of the joints: on each finger's own driven joint, by virtual work over the whole stroke.

    effort x joint travel = grip_force x pad travel, and effort / damping = joint travel x closing_speed / stroke.
    """
    effort, damping = np.zeros(joint_position.shape[1]), np.zeros(joint_position.shape[1])
    travel = joint_position[0] - joint_position[-1]  # (J,) from open to closed
    inward = (tips[0] - tips[-1]) @ hand.closing * np.array([1.0, -1.0])  # (2,) m
    stroke = inward.sum()
    for finger, advance in zip(hand.fingers, inward, strict=True):
        joint = _driven_joint(hand, finger, travel)
        if joint is not None:
            effort[joint] += file.grip_force * advance / travel[joint]
            damping[joint] = abs(effort[joint] / travel[joint]) * stroke / file.closing_speed
    return effort, damping


def _driven_joint(hand: _Hand, finger: int, travel: Floats) -> int | None:
    """The joint nearest to the base that carries the finger and moves; None for a finger that stands still."""
    model = hand.mechanism.model
    body, driven = finger + 1, None
    while body > 0:
        for joint in range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body]):
            if abs(travel[joint]) > 1e-3 * hand.mechanism.scale[joint]:
                driven = joint
        body = int(model.body_parentid[body])
    return driven


def _is_symmetric(tips: Floats, approach: Floats) -> bool:
    along = (tips @ approach)[..., None] * approach
    turned = 2 * along - tips  # half turn about the axis through the base's origin
    return bool(np.abs(turned[:, ::-1] - tips).max() < _SYMMETRY)


def _rounded(lengths: Floats) -> Floats:
    """Without the last bits, so that 0.085 reads 0.085."""
    return np.asarray(np.round(lengths, _DECIMALS) + 0.0, np.float64)


def _body_names(model: GripperModel) -> tuple[str, ...]:
    return tuple(model.model.body(b).name for b in range(1, model.model.nbody))


def _index(name: str, names: tuple[str, ...], source: str) -> int:
    if name not in names:
        raise GripperError(f"{source}: no body is called {name}; there are {', '.join(names)}")
    return names.index(name)


def _content_hash(model: GripperModel, file: GripperFile) -> str:
    digest = hashlib.sha256(model.mjcf.encode())
    for name in sorted(model.assets):
        digest.update(name.encode() + b"\0" + hashlib.sha256(model.assets[name]).digest())
    parameters = file.model_dump(mode="json", exclude={"model", "sources"})
    digest.update(json.dumps(parameters, sort_keys=True).encode())
    return digest.hexdigest()
