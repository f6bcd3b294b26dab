"""Completion of a mechanism whose file leaves its joints uncoupled: couples the two fingers as mirror images, holds idle motors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import mujoco
import numpy as np

from graspgen_cli.errors import GripperError
from graspgen_cli.grippers.mechanism import Mechanism
from graspgen_cli.grippers.model import GripperModel
from graspgen_cli.records import Floats

_SAME_LENGTH = 0.01  # largest difference between two joint ranges of one length, as a share of the longer range


@dataclass(frozen=True, eq=False)
class _Leader:
    """An independent joint and the shapes that it carries.

    center: (3,) m mean of the shapes' positions. velocity: (3,) of the centre for a unit of joint velocity.
    reach: m, largest distance of the shapes from the base's origin.
    """

    joint: int
    center: Floats
    velocity: Floats
    reach: float


def completed(gripper: GripperModel) -> GripperModel:
    """The gripper with one degree of freedom, or with springs that take up the other degrees of freedom.

    Two motors that move two fingers towards each other are coupled with equal travel; motors that move no finger are held. Raises
    GripperError if more than one degree of freedom remains without springs.
    """
    if Mechanism(gripper).freedom() <= 1:
        return gripper
    pair = _mirror_pair(gripper)
    if pair is not None:
        gripper = _mirrored(gripper, *pair)
        if Mechanism(gripper).freedom() > 1:
            gripper = _held(gripper, {pair[0].joint, pair[1].joint})
    freedom, model = Mechanism(gripper).freedom(), gripper.model
    if freedom > 1 and not ((model.jnt_stiffness != 0).any() or (model.tendon_stiffness != 0).any()):
        joints = ", ".join(gripper.joint_names[joint] for joint in _independent_joints(gripper))
        reason = f"the mechanism moves in {freedom} independent ways ({joints}) and the file has no coupling between them"
        advice = "add mimic joints or <equality> constraints, or cut the gripper out of its arm with --base-frame"
        raise GripperError(reason, path=gripper.source, advice=advice)
    return gripper


def _mirror_pair(gripper: GripperModel) -> tuple[_Leader, _Leader] | None:
    """The two independent joints, similar enough for mirrored fingers, that carry the outermost shapes."""
    leaders = [leader for leader in (_leader(gripper, joint) for joint in _independent_joints(gripper)) if leader is not None]
    pairs = [
        (first, second)
        for first, second in combinations(leaders, 2)
        if np.linalg.norm(second.center - first.center) > 1e-6 and _similar(gripper.model, [first.joint, second.joint])
    ]
    return max(pairs, key=lambda pair: min(pair[0].reach, pair[1].reach), default=None)


def _similar(model: mujoco.MjModel, joints: list[int]) -> bool:
    """Whether two joints have the same kind, the same parent body and limited ranges of the same length."""
    lengths = np.ptp([_used_range(model, joint) for joint in joints], axis=1)
    kinds, parents = model.jnt_type[joints], model.body_parentid[model.jnt_bodyid[joints]]
    same_length = abs(lengths[0] - lengths[1]) <= _SAME_LENGTH * lengths.max()
    return bool(kinds[0] == kinds[1] and parents[0] == parents[1] and model.jnt_limited[joints].all() and same_length)


def _independent_joints(gripper: GripperModel) -> list[int]:
    """The joints with a motor (all joints if the file names no motors) that follow no other joint."""
    followers = gripper.model.eq_obj1id[_joint_equalities(gripper.model)]
    return [joint for joint in gripper.motors or range(gripper.model.njnt) if joint not in followers]


def _joint_equalities(model: mujoco.MjModel) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return model.eq_type == mujoco.mjtEq.mjEQ_JOINT


def _leader(gripper: GripperModel, joint: int) -> _Leader | None:
    """None for a joint that carries no shape."""
    model = gripper.model
    bodies = _carried_bodies(model, joint)
    geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] in bodies and (model.geom_contype[g] or model.geom_conaffinity[g])]
    if not geoms:
        return None
    data = mujoco.MjData(model)
    mujoco.mj_fwdPosition(model, data)
    places = data.geom_xpos[geoms]
    center = places.mean(axis=0)
    axis, anchor = data.xaxis[joint], data.xanchor[joint]
    velocity = axis if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE else np.cross(axis, center - anchor)
    reach = float((np.linalg.norm(places, axis=1) + model.geom_rbound[geoms]).max())
    return _Leader(joint, center.copy(), np.array(velocity), reach)


def _carried_bodies(model: mujoco.MjModel, joint: int) -> set[int]:
    carried = {int(model.jnt_bodyid[joint])}
    for body in range(model.nbody):
        if int(model.body_parentid[body]) in carried:
            carried.add(body)
    return carried


def _mirrored(gripper: GripperModel, first: _Leader, second: _Leader) -> GripperModel:
    """Couples two joints: the middles of their ranges coincide, and their shapes move in opposite directions."""
    model = gripper.model
    line = second.center - first.center
    sign = -1.0 if (first.velocity @ line) * (second.velocity @ line) > 0 else 1.0
    names = [gripper.joint_names[leader.joint] for leader in (first, second)]
    # MuJoCo couples the differences from the positions in the model.
    middles = [float(_used_range(model, leader.joint).mean() - model.qpos0[leader.joint]) for leader in (first, second)]
    offset = float(np.round(middles[1] - sign * middles[0], 9) + 0.0)
    spec = gripper.spec()
    spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1=names[1], name2=names[0], data=[offset, sign, *[0.0] * 10])
    return gripper.edited(spec, f"joints {names[0]} and {names[1]} are not coupled in the file: they are driven together, as mirror images")


def _used_range(model: mujoco.MjModel, joint: int) -> Floats:
    """(2,) m or rad: the joint's range, or the part of the range that a position servo on the joint reaches."""
    low, high = model.jnt_range[joint]
    for actuator in np.flatnonzero((model.actuator_trnid[:, 0] == joint) & (model.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT)):
        gain, bias = model.actuator_gainprm[actuator, 0], model.actuator_biasprm[actuator, 1]
        if model.actuator_ctrllimited[actuator] and bias < 0 and gain == -bias and model.actuator_gear[actuator, 0] == 1:
            low, high = max(low, model.actuator_ctrlrange[actuator, 0]), min(high, model.actuator_ctrlrange[actuator, 1])
    return np.array([low, high])


def _held(gripper: GripperModel, fingers: set[int]) -> GripperModel:
    """Holds the motors that move no finger, unless the model has closed loops or other couplings than joint equalities."""
    model = gripper.model
    if model.neq > _joint_equalities(model).sum():
        return gripper
    carried = set().union(*(_carried_bodies(model, joint) for joint in fingers))
    idle = [joint for joint in _independent_joints(gripper) if not _carried_bodies(model, joint) & carried]
    if not idle:
        return gripper
    names, spec = [gripper.joint_names[joint] for joint in idle], gripper.spec()
    for name in names:
        spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1=name, data=[0.0] * 12)
    return gripper.edited(spec, f"joints that move no finger are held where they are: {', '.join(names)}")
