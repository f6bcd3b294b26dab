"""Completes a mechanism whose file leaves its joints uncoupled: mirrors the two fingers, and holds what carries no finger."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import mujoco
import numpy as np

from graspgen_cli.errors import GripperError
from graspgen_cli.grippers.mechanism import Mechanism
from graspgen_cli.grippers.model import GripperModel, edited
from graspgen_cli.records import Floats

_SAME_LENGTH = 0.01
"""Two ranges are one where they differ by less than this share."""


@dataclass(frozen=True, eq=False)
class _Leader:
    """A joint with a motor, and what it moves.

    middle, reach: of the shapes that it moves: their mean place (3,) m and the farthest distance from the base, m.
    velocity: (3,) of the middle for a unit of the joint's.
    """

    joint: int
    middle: Floats
    velocity: Floats
    reach: float


def completed(gripper: GripperModel) -> GripperModel:
    """The gripper with one way to move, or as few as its file allows.

    Two motors that move two fingers towards each other are coupled so that both go as far; motors that move no finger are held where
    they are. Raises GripperError where the two cannot be told.
    """
    if Mechanism(gripper).freedom() <= 1:
        return gripper
    pair = _mirror_pair(gripper)
    if pair is None:
        return _unsprung(gripper)
    gripper = _mirrored(gripper, *pair)
    if Mechanism(gripper).freedom() > 1:
        gripper = _held(gripper, {pair[0].joint, pair[1].joint})
    return _unsprung(gripper)


def has_springs(model: mujoco.MjModel) -> bool:
    """Whether springs decide where the joints are."""
    return bool((model.jnt_stiffness != 0).any() or (model.tendon_stiffness != 0).any())


def _unsprung(gripper: GripperModel) -> GripperModel:
    """The same, if it moves in one way or springs decide the others. Raises GripperError."""
    freedom = Mechanism(gripper).freedom()
    if freedom > 1 and not has_springs(gripper.model):
        joints = ", ".join(gripper.model.joint(j).name for j in _leaders(gripper))
        raise GripperError(
            f"{gripper.source}: the mechanism moves in {freedom} independent ways ({joints}); the file leaves out what couples them: "
            "add mimic joints or <equality> constraints, or cut the gripper out of its arm with --base-frame"
        )
    return gripper


def _mirror_pair(gripper: GripperModel) -> tuple[_Leader, _Leader] | None:
    """The two independent joints that move the outermost shapes oppositely."""
    leaders = [leader for leader in (_leader(gripper, joint) for joint in _leaders(gripper)) if leader is not None]
    pairs = []
    for first, second in combinations(leaders, 2):
        between = second.middle - first.middle
        if np.linalg.norm(between) > 1e-6 and _alike(gripper.model, first.joint, second.joint):
            pairs.append((min(first.reach, second.reach), first, second))
    return max(pairs, key=lambda pair: pair[0])[1:] if pairs else None


def _alike(model: mujoco.MjModel, first: int, second: int) -> bool:
    """Whether two joints could belong to two mirrored fingers: of one kind, side by side, with ranges of one length."""
    lengths = np.ptp([_used_range(model, first), _used_range(model, second)], axis=1)
    parents = model.body_parentid[model.jnt_bodyid[[first, second]]]
    return bool(
        model.jnt_type[first] == model.jnt_type[second]
        and parents[0] == parents[1]
        and model.jnt_limited[[first, second]].all()
        and abs(lengths[0] - lengths[1]) <= _SAME_LENGTH * lengths.max()
    )


def _leaders(gripper: GripperModel) -> list[int]:
    """The joints that have a motor, or any; without those that an equality makes follow another."""
    model = gripper.model
    joint_rows = model.eq_type == mujoco.mjtEq.mjEQ_JOINT
    followers = set(model.eq_obj1id[joint_rows].tolist())
    own = [j for j in range(model.njnt) if not gripper.drives or model.joint(j).name in gripper.drives]
    return [joint for joint in own if joint not in followers]


def _leader(gripper: GripperModel, joint: int) -> _Leader | None:
    """What a joint moves; None where it moves no shape."""
    model = gripper.model
    bodies = _moved(model, joint)
    geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] in bodies and (model.geom_contype[g] or model.geom_conaffinity[g])]
    if not geoms:
        return None
    data = mujoco.MjData(model)
    mujoco.mj_fwdPosition(model, data)
    places = data.geom_xpos[geoms]
    middle = places.mean(axis=0)
    axis, anchor = data.xaxis[joint], data.xanchor[joint]
    slides = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE
    velocity = axis if slides else np.cross(axis, middle - anchor)
    farthest = float((np.linalg.norm(places, axis=1) + model.geom_rbound[geoms]).max())
    return _Leader(joint, middle.copy(), np.array(velocity), farthest)


def _moved(model: mujoco.MjModel, joint: int) -> set[int]:
    """The bodies that a joint carries."""
    carried = {int(model.jnt_bodyid[joint])}
    for body in range(model.nbody):
        if int(model.body_parentid[body]) in carried:
            carried.add(body)
    return carried


def _mirrored(gripper: GripperModel, first: _Leader, second: _Leader) -> GripperModel:
    """Couples two joints so that the middles of their ranges fall together and their fingers go opposite ways."""
    model = gripper.model
    line = second.middle - first.middle
    sign = -1.0 if (first.velocity @ line) * (second.velocity @ line) > 0 else 1.0
    names = [model.joint(leader.joint).name for leader in (first, second)]
    offset = _offset(model, first.joint, second.joint, sign)

    def couple(spec: mujoco.MjSpec) -> None:
        spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1=names[1], name2=names[0], data=[offset, sign, *[0.0] * 10])

    note = f"joints {names[0]} and {names[1]} are not coupled in the file: they are driven together, as mirror images"
    return edited(gripper, couple, note)


def _offset(model: mujoco.MjModel, first: int, second: int, sign: float) -> float:
    """Constant of the coupling, in MuJoCo's terms: of the positions' differences from the model's own."""
    of_first, of_second = (float(_used_range(model, joint).mean() - model.qpos0[joint]) for joint in (first, second))
    return float(np.round(of_second - sign * of_first, 9) + 0.0)


def _used_range(model: mujoco.MjModel, joint: int) -> Floats:
    """(2,) m or rad: a joint's range, or the part of it that a position servo on it can be sent to."""
    low, high = model.jnt_range[joint]
    for actuator in np.flatnonzero((model.actuator_trnid[:, 0] == joint) & (model.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT)):
        gain, bias = model.actuator_gainprm[actuator, 0], model.actuator_biasprm[actuator, 1]
        if model.actuator_ctrllimited[actuator] and bias < 0 and gain == -bias and model.actuator_gear[actuator, 0] == 1:
            low, high = max(low, model.actuator_ctrlrange[actuator, 0]), min(high, model.actuator_ctrlrange[actuator, 1])
    return np.array([low, high])


def _held(gripper: GripperModel, fingers: set[int]) -> GripperModel:
    """Holds the motors that neither move a finger nor are part of a loop."""
    model = gripper.model
    carried = set().union(*(_moved(model, joint) for joint in fingers))
    carrying = {joint for joint in range(model.njnt) if _moved(model, joint) & carried}
    idle = [joint for joint in _leaders(gripper) if joint not in carrying and not model.neq > _joint_rows(model)]
    if not idle:
        return gripper
    names = [model.joint(joint).name for joint in idle]

    def hold(spec: mujoco.MjSpec) -> None:
        for name in names:
            spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1=name, data=[0.0] * 12)

    return edited(gripper, hold, f"joints that move no finger are held where they are: {', '.join(names)}")


def _joint_rows(model: mujoco.MjModel) -> int:
    return int((model.eq_type == mujoco.mjtEq.mjEQ_JOINT).sum())
