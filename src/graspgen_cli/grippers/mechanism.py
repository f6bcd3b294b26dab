"""Motion of a gripper: the path of its joint positions between their limits, under the mechanism's constraints and springs.

Gauss-Newton solves the equality constraints (mimic joints, closed loops, welds, tendons) on the rows of MuJoCo's own constraint Jacobian,
so the measured mechanism is the simulated mechanism. If constraints leave more than one degree of freedom, the free joints rest where the
energy of the joint and tendon springs is least (quasi-static), within the joints' limits; a joint without a spring stays near its place.
"""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import mujoco
import numpy as np
from scipy.optimize import brentq, least_squares

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import pose
from graspgen_cli.grippers.model import GripperModel
from graspgen_cli.records import Floats

ITERATIONS = 50
"""Largest number of Gauss-Newton steps for a position."""
_LAST_CORRECTION = 1e-13  # Gauss-Newton has converged if no joint moves by more, in units of its range
_LARGEST_RESIDUAL = 1e-5  # m or rad: of a solved position; lengths in files are rounded, so loops close only approximately
_LIMIT_TOLERANCE = 1e-6  # m or rad: by which the first position may violate a limit; limits in files are rounded too
_STEP = 0.02  # along the path; a joint that crosses its whole range travels 1
_MOST_STEPS = 2000
_RANK_TOLERANCE = 1e-6
_FARTHEST = 10.0  # m: larger distances between shapes are measured as this
_SPRING_KNOTS = 48
_SPRING_ITERATIONS = 100
_LAST_SPRING_STEP = 1e-12
_WEAK_SPRING = 1e-4  # stiffness that holds a joint without a spring in place, as a share of the stiffest spring's


class Mechanism:
    """The joints of a gripper model and their constraints.

    Positions q are (J,) m or rad. lower, upper: (J,) limits, infinite where there is none. scale: (J,) range of each joint, the unit of
    steps along the path.
    """

    def __init__(self, gripper: GripperModel, *, iterations: int = ITERATIONS) -> None:
        self.source = gripper.source
        self.iterations = iterations
        self.model = copy.copy(gripper.model)
        self.data = mujoco.MjData(self.model)
        # The constraint Jacobian shall have equality rows only.
        for flag in (mujoco.mjtDisableBit.mjDSBL_CONTACT, mujoco.mjtDisableBit.mjDSBL_LIMIT, mujoco.mjtDisableBit.mjDSBL_FRICTIONLOSS):
            self.model.opt.disableflags |= flag
        self.model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
        limited = self.model.jnt_limited.astype(bool)
        # A joint held by an equality may stand at its limit, but never moves towards it.
        held = (self.model.eq_type == mujoco.mjtEq.mjEQ_JOINT) & (self.model.eq_obj2id < 0) & (self.model.eq_active0 != 0)
        limited[self.model.eq_obj1id[held]] = False
        self.lower = np.where(limited, self.model.jnt_range[:, 0], -np.inf)
        self.upper = np.where(limited, self.model.jnt_range[:, 1], np.inf)
        span = np.where(limited, self.upper - self.lower, 1.0)
        self.scale = np.where(span > 0, span, 1.0)

    def constraints(self, q: Floats) -> tuple[Floats, Floats]:
        """Residual (E,) of the equality rows at q, m or rad, and its derivative (E, J)."""
        self.data.qpos[:] = q
        mujoco.mj_fwdPosition(self.model, self.data)
        rows = self.data.ne
        return self.data.efc_pos[:rows].copy(), self.data.efc_J.reshape(-1, self.model.nv)[:rows].copy()

    def residual(self, q: Floats) -> float:
        """Largest constraint residual at q, m or rad."""
        return float(np.abs(self.constraints(q)[0]).max(initial=0.0))

    def beyond_limits(self, q: Floats) -> float:
        """Largest violation of a joint limit in units of `scale`; negative within the limits."""
        return float((np.maximum(self.lower - q, q - self.upper) / self.scale).max())

    def body_poses(self, q: Floats) -> Floats:
        """Poses (B, 4, 4) of the bodies in the base's frame at q, the base first."""
        self.data.qpos[:] = q
        mujoco.mj_kinematics(self.model, self.data)
        return pose(self.data.xmat[1:].reshape(-1, 3, 3), self.data.xpos[1:])

    def distances(self, q: Floats, first: int, second: int) -> Floats:
        """Distances (A, B) m between the collision shapes of two bodies at q; negative for overlaps.

        first, second: indices of bodies, the base 0. Shapes are in the order of `collision_parts`.
        """
        self.data.qpos[:] = q
        mujoco.mj_kinematics(self.model, self.data)
        collides = (self.model.geom_contype != 0) | (self.model.geom_conaffinity != 0)
        sides = [np.flatnonzero(collides & (self.model.geom_bodyid == body + 1)).tolist() for body in (first, second)]
        apart = [[mujoco.mj_geomDistance(self.model, self.data, a, b, _FARTHEST, None) for b in sides[1]] for a in sides[0]]
        return np.array(apart, np.float64)

    def motions(self, q: Floats) -> Floats:
        """(F, J) orthonormal directions, in units of `scale`, in which the constraints let the mechanism move at q."""
        _, jacobian = self.constraints(q)
        _, singular, directions = np.linalg.svd(jacobian * self.scale)
        rank = int((singular > _RANK_TOLERANCE * max(singular.max(initial=0.0), 1e-300)).sum())
        return np.asarray(directions[rank:])

    def tangent(self, q: Floats) -> Floats:
        """The only direction (J,) of `motions`. Raises GripperError if there is none or more than one."""
        directions = self.motions(q)
        if len(directions) == 0:
            raise GripperError("the constraints leave the mechanism no way to move", path=self.source)
        if len(directions) > 1:
            raise GripperError(
                f"the mechanism moves in {len(directions)} independent ways",
                path=self.source,
                advice="couple its joints with <equality><joint .../></equality>",
            )
        return np.asarray(directions[-1])

    def freedom(self) -> int:
        """Degrees of freedom near the model's own position."""
        return len(self.motions(self.start()))

    def start(self) -> Floats:
        """The position near the model's own that meets constraints and limits. Raises GripperError if there is none."""
        near = np.clip(self.model.qpos0, self.lower, self.upper)
        with contextlib.suppress(GripperError):
            q = self._solve(near)
            if self.beyond_limits(q) < _LIMIT_TOLERANCE:
                return q
        bounds = (self.lower - _LIMIT_TOLERANCE, self.upper + _LIMIT_TOLERANCE)
        inside = least_squares(
            lambda q: self.constraints(q)[0], near, jac=lambda q: self.constraints(q)[1], bounds=bounds, x_scale=self.scale
        )
        q = self._solve(inside.x)
        if self.beyond_limits(q) > 2 * _LIMIT_TOLERANCE:
            raise GripperError("the joints' limits and the mechanism's constraints cannot be met together", path=self.source)
        return q

    def advance(self, q: Floats, tangent: Floats, distance: float) -> Floats:
        """The position on the path at pseudo-arclength `distance` from q along the tangent."""
        return self._solve(q + distance * tangent * self.scale, tangent[None], np.array([tangent @ (q / self.scale) + distance]))

    def _solve(self, q: Floats, rows: Floats | None = None, targets: Floats | None = None) -> Floats:
        """Gauss-Newton from q on the constraints and on rows @ (q / scale) = targets."""
        rows, targets = np.zeros((0, self.model.nv)) if rows is None else rows, np.zeros(0) if targets is None else targets
        for _ in range(self.iterations):
            residual, jacobian = self.constraints(q)
            error = np.concatenate([residual, rows @ (q / self.scale) - targets])
            correction = np.linalg.lstsq(np.concatenate([jacobian * self.scale, rows]), error, rcond=_RANK_TOLERANCE)[0]
            q = q - self.scale * correction
            if np.abs(correction).max() < _LAST_CORRECTION:
                break
        miss = self.residual(q)
        if not miss < _LARGEST_RESIDUAL:
            raise GripperError(f"the mechanism's constraints cannot be met (still {miss:.1e} off)", path=self.source)
        return q


@dataclass(frozen=True, eq=False)
class MotionPath(ABC):
    """Path of the joint positions from one limit to the other. knots: (M, J) positions on the path."""

    mechanism: Mechanism
    knots: Floats

    @property
    def end(self) -> float:
        """Largest path parameter; the smallest is 0."""
        return float(len(self.knots) - 1)

    @abstractmethod
    def at(self, parameter: float) -> Floats:
        """Joint positions (J,) at a parameter from 0 to `end`; whole numbers are knots."""

    def reversed(self) -> Self:
        """The path in the opposite direction."""
        return replace(self, knots=self.knots[::-1].copy())

    def find(self, function: Callable[[Floats], float], values: Floats, target: float) -> Floats:
        """The position at which a function of the position equals `target`.

        values: (M,) the function at the knots, ascending around the target.
        """
        index = int(np.clip(np.searchsorted(values, target), 1, len(values) - 1)) - 1
        if not values[index] < target < values[index + 1]:
            return np.asarray(self.knots[index if values[index] >= target else index + 1])
        root = brentq(lambda s: function(self.at(s)) - target, index, index + 1, xtol=1e-14, rtol=8.9e-16)
        return self.at(float(root))


def motion_path(gripper: GripperModel, mechanism: Mechanism) -> MotionPath:
    """The path between the limits: by the constraints; by constraints and springs if the constraints leave several degrees of freedom.

    Raises GripperError if the mechanism cannot move, or no limit stops the motion.
    """
    if mechanism.freedom() <= 1:
        return trace(mechanism)
    candidates = gripper.motors or list(range(gripper.model.njnt))
    limited = [joint for joint in candidates if gripper.model.jnt_limited[joint]]
    return trace_springs(mechanism, (limited or gripper.motors or [0])[0])


class CoupledPath(MotionPath):
    """Path of a mechanism with one degree of freedom."""

    def at(self, parameter: float) -> Floats:
        """See `MotionPath.at`."""
        tangents, lengths = self._steps
        index = min(int(parameter), len(lengths) - 1)
        return self.mechanism.advance(self.knots[index], tangents[index], (parameter - index) * lengths[index])

    @cached_property
    def _steps(self) -> tuple[Floats, Floats]:
        """Unit tangents (M - 1, J) at the knots, in units of the mechanism's scale, and the lengths (M - 1,) of the steps along them."""
        steps = np.diff(self.knots, axis=0) / self.mechanism.scale
        tangents = np.array([self.mechanism.tangent(q) for q in self.knots[:-1]])
        tangents *= np.sign(np.einsum("mj,mj->m", tangents, steps))[:, None]
        return tangents, np.einsum("mj,mj->m", tangents, steps)


def trace(mechanism: Mechanism) -> CoupledPath:
    """Follow a mechanism with one degree of freedom from the model's own position to the limits on both sides.

    Raises GripperError if the mechanism cannot move, or no limit stops the motion.
    """
    start = mechanism.start()
    tangent = mechanism.tangent(start)
    knots = [*_follow(mechanism, start, -tangent)[::-1], start, *_follow(mechanism, start, tangent)]
    if len(knots) < 2:
        raise GripperError("the mechanism cannot move: its joints' limits leave no room", path=mechanism.source)
    return CoupledPath(mechanism, np.array(knots))


def _follow(mechanism: Mechanism, start: Floats, direction: Floats) -> list[Floats]:
    """Positions after `start`, up to and including the limit."""
    knots: list[Floats] = []
    q, tangent = start, direction
    for _ in range(_MOST_STEPS):
        ahead = mechanism.advance(q, tangent, _STEP)
        if mechanism.beyond_limits(ahead) > 0:
            return knots if mechanism.beyond_limits(q) >= -1e-12 else [*knots, _at_limit(mechanism, q, tangent)]
        knots.append(ahead)
        following = mechanism.tangent(ahead)
        q, tangent = ahead, following if following @ tangent > 0 else -following
    raise GripperError("no limit stops the mechanism", path=mechanism.source, advice="give its joints a range")


def _at_limit(mechanism: Mechanism, q: Floats, tangent: Floats) -> Floats:
    """The position less than a step ahead of q at which a joint reaches its limit."""
    distance = brentq(lambda d: mechanism.beyond_limits(mechanism.advance(q, tangent, d)), 0.0, _STEP, xtol=1e-15, rtol=8.9e-16)
    return mechanism.advance(q, tangent, float(distance))


class Equilibrium:
    """Rest positions of a mechanism with springs, for given positions of its driven joint `leader`.

    An active-set method: joints that reach a limit are fixed there until the springs pull them away.
    """

    def __init__(self, mechanism: Mechanism, leader: int) -> None:
        self.mechanism = mechanism
        self.leader = leader
        model = mechanism.model
        self._joint_stiffness = np.sqrt(np.asarray(model.jnt_stiffness, np.float64).reshape(model.njnt, -1)[:, 0])
        self._tendon_stiffness = np.sqrt(np.asarray(model.tendon_stiffness, np.float64).reshape(model.ntendon, -1)[:, :1].reshape(-1))
        scaled = self._joint_stiffness * mechanism.scale
        self._hold = _WEAK_SPRING * float(max(scaled.max(initial=0.0), self._tendon_stiffness.max(initial=0.0), 1e-6))

    def at(self, driven: float, near: Floats) -> Floats | None:
        """The rest position (J,) for a position of the driven joint; None if the limits exclude that position.

        near: (J,) positions of the joints before; joints without a spring stay near them.
        """
        q, fixed = near.copy(), {self.leader: driven}
        for _ in range(_SPRING_ITERATIONS):
            step, multipliers = self._step(q, near, fixed)
            share, blocked = self._room(q, step, fixed)
            q = q + share * step
            if blocked is not None:
                fixed[blocked] = float(self.mechanism.upper[blocked] if step[blocked] > 0 else self.mechanism.lower[blocked])
            elif np.abs(step / self.mechanism.scale).max() < _LAST_SPRING_STEP:
                released = self._released(multipliers, fixed)
                if released is None:
                    break
                del fixed[released]
        missed = max(self.mechanism.residual(q), abs(float(q[self.leader]) - driven))
        return q if missed < _LARGEST_RESIDUAL else None

    def _step(self, q: Floats, near: Floats, fixed: dict[int, float]) -> tuple[Floats, dict[int, float]]:
        """The Gauss-Newton step (J,) that lowers the energy and meets the constraints; the Lagrange multiplier of each fixed joint."""
        scale = self.mechanism.scale
        residual, jacobian = self.mechanism.constraints(q)
        matrix = np.concatenate([jacobian * scale, np.eye(len(q))[list(fixed)]])
        error = np.concatenate([residual, [(q[joint] - value) / scale[joint] for joint, value in fixed.items()]])
        spring, slope = self._springs(q, near)
        slope = slope * scale
        onto = -np.linalg.lstsq(matrix, error, rcond=_RANK_TOLERANCE)[0]
        _, singular, directions = np.linalg.svd(matrix)
        free = directions[int((singular > _RANK_TOLERANCE * singular[0]).sum()) :]
        along = np.linalg.lstsq(slope @ free.T, -(spring + slope @ onto), rcond=1e-9)[0]
        step = onto + free.T @ along
        gradient = slope.T @ (spring + slope @ step)
        multipliers = np.linalg.lstsq(matrix.T, -gradient, rcond=_RANK_TOLERANCE)[0][len(residual) :]
        return step * scale, dict(zip(fixed, multipliers.tolist(), strict=True))

    def _springs(self, q: Floats, near: Floats) -> tuple[Floats, Floats]:
        """Square roots of twice the springs' energies (S,), and their derivative (S, J); requires a call of `constraints` at q."""
        model, data = self.mechanism.model, self.mechanism.data
        joint = self._joint_stiffness * (q - model.qpos_spring)
        low, high = model.tendon_lengthspring.T if model.ntendon else np.zeros((2, 0))
        tendon = self._tendon_stiffness * (data.ten_length - np.clip(data.ten_length, low, high))
        jacobian = np.zeros((model.ntendon, model.nv))
        if model.ntendon:
            mujoco.mju_sparse2dense(jacobian, data.ten_J.reshape(-1), model.ten_J_rownnz, model.ten_J_rowadr, model.ten_J_colind)
        hold = self._hold / self.mechanism.scale
        slopes = [np.diag(self._joint_stiffness), self._tendon_stiffness[:, None] * jacobian, np.diag(hold)]
        return np.concatenate([joint, tendon, hold * (q - near)]), np.concatenate(slopes)

    def _room(self, q: Floats, step: Floats, fixed: dict[int, float]) -> tuple[float, int | None]:
        """The share of a step within the joints' limits, and the joint that reaches its limit there."""
        share, blocked = 1.0, None
        for joint in range(len(q)):
            limit = self.mechanism.upper[joint] if step[joint] > 0 else self.mechanism.lower[joint]
            if joint not in fixed and step[joint] != 0 and (room := (limit - q[joint]) / step[joint]) < share:
                share, blocked = max(0.0, float(room)), joint
        return share, blocked

    def _released(self, multipliers: dict[int, float], fixed: dict[int, float]) -> int | None:
        """The fixed joint that the springs pull away from its limit the most."""
        lower = self.mechanism.lower
        pulls = {j: multipliers[j] if value == lower[j] else -multipliers[j] for j, value in fixed.items() if j != self.leader}
        worst = max(pulls, key=lambda joint: pulls[joint], default=None)
        return worst if worst is not None and pulls[worst] > 1e-9 else None


@dataclass(frozen=True, eq=False)
class SpringPath(MotionPath):
    """Path of a mechanism whose springs take up the degrees of freedom that the constraints leave."""

    equilibrium: Equilibrium

    def at(self, parameter: float) -> Floats:
        """See `MotionPath.at`."""
        index = min(int(parameter), len(self.knots) - 2)
        fraction = parameter - index
        leader = self.equilibrium.leader
        driven = (1 - fraction) * self.knots[index, leader] + fraction * self.knots[index + 1, leader]
        q = self.equilibrium.at(float(driven), self.knots[index])
        if q is None:
            raise GripperError("the mechanism has no rest position between its springs and its limits", path=self.mechanism.source)
        return q


def trace_springs(mechanism: Mechanism, leader: int) -> SpringPath:
    """Move the driven joint `leader` from the model's own position to the limits on both sides.

    Raises GripperError if the joint has no limits or cannot move.
    """
    low, high = float(mechanism.lower[leader]), float(mechanism.upper[leader])
    if not np.isfinite([low, high]).all():
        raise GripperError(f"no limit stops joint {mechanism.model.joint(leader).name}", path=mechanism.source, advice="give it a range")
    equilibrium = Equilibrium(mechanism, leader)
    start = mechanism.start()
    steps = np.linspace(low, high, _SPRING_KNOTS)
    first = int(np.abs(steps - start[leader]).argmin())
    behind, ahead = _rest_positions(equilibrium, start, steps[first::-1]), _rest_positions(equilibrium, start, steps[first:])
    knots = [*behind[::-1], *ahead[1:]] if behind else ahead
    if len(knots) < 3:
        raise GripperError("the mechanism cannot move: its springs and limits leave no room", path=mechanism.source)
    return SpringPath(mechanism, np.array(knots), equilibrium)


def _rest_positions(equilibrium: Equilibrium, start: Floats, steps: Floats) -> list[Floats]:
    """Rest positions for positions of the driven joint, up to the first position that the limits exclude."""
    knots: list[Floats] = []
    for driven in steps:
        q = equilibrium.at(float(driven), knots[-1] if knots else start)
        if q is None:
            break
        knots.append(q)
    return knots
