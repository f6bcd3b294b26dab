"""A gripper's mechanism in the terms that PhysX has: independent joints, and joints that follow one of them.

PhysX keeps a hinge that follows another hinge in step itself (PhysxMimicJointAPI). It does not for slides, so those are kept in step by
a stiff spring and damper between the two, whose forces do no net work.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from graspgen_cli.errors import GripperError
from graspgen_cli.records import Floats, Gripper

_FREQUENCY = 0.3
"""Natural frequency of the spring between two slides, in radians a time step: stiff, and well within what explicit forces allow."""


@dataclass(frozen=True)
class Coupling:
    """Joint `follower` stands `ratio` times as far from its reference position as joint `leader` from its own.

    rigid: PhysX sees to it; else a spring does.
    """

    follower: int
    leader: int
    ratio: float
    rigid: bool


@dataclass(frozen=True, eq=False)
class Mechanism:
    """What moves the gripper. Arrays have one entry for each of the J joints of `Gripper.joint_names`.

    reference: (J,) m or rad: positions that PhysX counts from, those of the open gripper.
    held: joints that stand still.
    effort, damping: (J,) as in `Gripper`; those of rigid followers act on their leaders.
    armature: (J,) kg or kg m².
    inertia: (J,) kg or kg m²: what an effort on the joint moves, armature included.
    """

    model: mujoco.MjModel
    reference: Floats
    couplings: tuple[Coupling, ...]
    held: frozenset[int]
    effort: Floats
    damping: Floats
    armature: Floats
    inertia: Floats


def mechanism(gripper: Gripper) -> Mechanism:
    """The gripper's mechanism. Raises GripperError, one line, for one that cannot be expressed."""
    model = mujoco.MjSpec.from_string(gripper.mjcf, assets=gripper.assets).compile()
    problem = _problem(model)
    if problem:
        raise GripperError(f"gripper {gripper.name}: --backend isaaclab cannot simulate {problem}; use --backend mujoco")
    couplings = _couplings(model)
    effort, damping = gripper.joint_effort.copy(), gripper.joint_damping.copy()
    for coupling in couplings:
        if coupling.rigid:
            # Virtual work: what drives the follower drives the leader, geared.
            effort[coupling.leader] += coupling.ratio * effort[coupling.follower]
            damping[coupling.leader] += coupling.ratio**2 * damping[coupling.follower]
            effort[coupling.follower] = damping[coupling.follower] = 0.0
    return Mechanism(
        model=model,
        reference=gripper.joint_position[-1],
        couplings=couplings,
        held=frozenset(int(model.eq_obj1id[row]) for row in range(model.neq) if model.eq_obj2id[row] < 0),
        effort=effort,
        damping=damping,
        armature=np.array(model.dof_armature),
        inertia=np.array(model.dof_M0),
    )


def _problem(model: mujoco.MjModel) -> str:
    """In words, what PhysX's joints do not cover; empty where all is well."""
    if (model.eq_type != mujoco.mjtEq.mjEQ_JOINT).any():
        return "a linkage that is closed by <connect> or <weld> constraints"
    if model.neq and np.abs(model.eq_data[:, 2:5]).max() > 0:
        return "joints that are coupled by a curve instead of a ratio"
    if model.ntendon:
        return "tendons"
    if (model.jnt_stiffness != 0).any():
        return "joints with springs"
    if (model.body_jntnum > 1).any():
        return "a body with several joints"
    return ""


def _couplings(model: mujoco.MjModel) -> tuple[Coupling, ...]:
    """Every follower with the independent joint that it follows, through however many others."""
    follows: dict[int, tuple[int, float]] = {}
    for row in range(model.neq):
        if model.eq_obj2id[row] >= 0:
            follows[int(model.eq_obj1id[row])] = int(model.eq_obj2id[row]), float(model.eq_data[row, 1])
    hinges = model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
    couplings = []
    for follower, (leader, ratio) in follows.items():
        while leader in follows:
            leader, factor = follows[leader]
            ratio *= factor
        couplings.append(Coupling(follower, leader, ratio, bool(hinges[follower] and hinges[leader])))
    return tuple(couplings)


def coupling_effort(parts: Mechanism, position: Floats, velocity: Floats, step: float) -> Floats:
    """(N, J) efforts that keep slides in step with what they follow, on both of them; zero where PhysX sees to it.

    position, velocity: (N, J), from the reference. step: s.
    """
    effort = np.zeros_like(position)
    for coupling in parts.couplings:
        if coupling.rigid:
            continue
        mass = parts.inertia[coupling.follower]
        frequency = _FREQUENCY / step
        lag = position[:, coupling.follower] - coupling.ratio * position[:, coupling.leader]
        rate = velocity[:, coupling.follower] - coupling.ratio * velocity[:, coupling.leader]
        force = -mass * frequency * (frequency * lag + 2.0 * rate)
        effort[:, coupling.follower] += force
        effort[:, coupling.leader] -= coupling.ratio * force
    return effort
