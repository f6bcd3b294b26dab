"""A gripper's mechanism in PhysX's terms: independent joints, and mimic joints that follow one of them."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from graspgen_cli.errors import GripperError
from graspgen_cli.records import Floats, Gripper


@dataclass(frozen=True)
class Coupling:
    """A mimic joint: `follower` is `ratio` times as far from its reference position as `leader` is from its own."""

    follower: int
    leader: int
    ratio: float


@dataclass(frozen=True, eq=False)
class Mechanism:
    """The joints of the gripper. Arrays have one entry for each of the J joints of `Gripper.joint_names`.

    reference: (J,) m or rad: the positions of the open gripper, from which PhysX counts.
    held: joints that do not move.
    effort, damping: (J,) as in `Gripper`. Every driven joint gets its own: moved to the leader of a mimic joint, by virtual work, the grip
        of the 2F-85 pressed with 84 to 141 N, depending on the solver's iterations, where statics has 118 N.
    armature: (J,) kg or kg m².
    """

    model: mujoco.MjModel
    reference: Floats
    couplings: tuple[Coupling, ...]
    held: frozenset[int]
    effort: Floats
    damping: Floats
    armature: Floats


def mechanism(gripper: Gripper) -> Mechanism:
    """The gripper's mechanism. Raises GripperError, one line, for one that cannot be expressed."""
    model = mujoco.MjSpec.from_string(gripper.mjcf, assets=gripper.assets).compile()
    problem = _problem(model)
    if problem:
        raise GripperError(f"gripper {gripper.name}: PhysX cannot simulate {problem}; use --backend mujoco")
    return Mechanism(
        model=model,
        reference=gripper.joint_position[-1],
        couplings=_couplings(model),
        held=frozenset(int(model.eq_obj1id[row]) for row in range(model.neq) if model.eq_obj2id[row] < 0),
        effort=gripper.joint_effort,
        damping=gripper.joint_damping,
        armature=np.array(model.dof_armature),
    )


def _problem(model: mujoco.MjModel) -> str:
    """The part of the model that PhysX's joints do not cover, in words; empty if there is none."""
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
    """Every mimic joint with the independent joint at the end of its chain of leaders."""
    follows: dict[int, tuple[int, float]] = {}
    for row in range(model.neq):
        if model.eq_obj2id[row] >= 0:
            follows[int(model.eq_obj1id[row])] = int(model.eq_obj2id[row]), float(model.eq_data[row, 1])
    couplings = []
    for follower, (leader, ratio) in follows.items():
        while leader in follows:
            leader, factor = follows[leader]
            ratio *= factor
        couplings.append(Coupling(follower, leader, ratio))
    return tuple(couplings)
