"""How a gripper moves: the path of its joints between their limits, with the mechanism's own constraints solved.

Equality constraints (mimic joints, closed loops, welds, tendons) are met by Gauss-Newton on the rows that MuJoCo itself makes for
them, so that what is measured is what is simulated.
"""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.optimize import brentq, least_squares

from graspgen_cli.errors import GripperError
from graspgen_cli.grippers.model import GripperModel
from graspgen_cli.records import Floats

_LAST_CORRECTION = 1e-13
"""Gauss-Newton has converged when no joint moves by more, in units of its range."""
_LARGEST_RESIDUAL = 1e-5
"""Largest constraint residual (m or rad) of a solved position: a loop whose file gives rounded lengths never closes quite."""
_LIMIT_TOLERANCE = 1e-6
"""How far (m or rad) the first position may lie beyond a limit: files give limits of coupled joints in rounded numbers."""
ITERATIONS = 50
"""Gauss-Newton steps at most."""
_STEP = 0.02
"""Step along the path; a joint that goes through its whole range travels 1."""
_MOST_STEPS = 2000
_RANK_TOLERANCE = 1e-6
_FARTHEST = 10.0
"""m: shapes farther apart than this count as this far apart."""


class Mechanism:
    """The joints of a gripper model and the constraints between them.

    Positions q are (J,) m or rad. `scale` (J,) brings them to one measure: the range of each joint.
    """

    def __init__(self, gripper: GripperModel, *, iterations: int = ITERATIONS) -> None:
        self.source = gripper.source
        self.iterations = iterations
        self.model = copy.copy(gripper.model)
        self.data = mujoco.MjData(self.model)
        # Only the equality rows are wanted.
        for flag in (mujoco.mjtDisableBit.mjDSBL_CONTACT, mujoco.mjtDisableBit.mjDSBL_LIMIT, mujoco.mjtDisableBit.mjDSBL_FRICTIONLOSS):
            self.model.opt.disableflags |= flag
        self.model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
        limited = self.model.jnt_limited.astype(bool)
        # A joint that is held never comes to its limit, but may stand at it.
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
        jacobian = self.data.efc_J.reshape(-1, self.model.nv)[:rows]
        return self.data.efc_pos[:rows].copy(), jacobian.copy()

    def beyond_limits(self, q: Floats) -> float:
        """How far the joint nearest to its limit, or farthest beyond it, is past it, in units of `scale`; negative inside."""
        return float((np.maximum(self.lower - q, q - self.upper) / self.scale).max())

    def body_poses(self, q: Floats) -> Floats:
        """Poses (B, 4, 4) of every body in the base's frame at q; the base, first, is at the origin."""
        self.data.qpos[:] = q
        mujoco.mj_kinematics(self.model, self.data)
        poses = np.zeros((self.model.nbody - 1, 4, 4))
        poses[:, :3, :3] = self.data.xmat[1:].reshape(-1, 3, 3)
        poses[:, :3, 3] = self.data.xpos[1:]
        poses[:, 3, 3] = 1.0
        return poses

    def distances(self, q: Floats, first: int, second: int) -> Floats:
        """Distance (A, B) m of every colliding shape of one body from every one of another at q; negative where they overlap.

        first, second: indices of bodies, the base 0; shapes in the order of `collision_parts`.
        """
        self.data.qpos[:] = q
        mujoco.mj_kinematics(self.model, self.data)
        collides = (self.model.geom_contype != 0) | (self.model.geom_conaffinity != 0)
        sides = [np.flatnonzero(collides & (self.model.geom_bodyid == body + 1)).tolist() for body in (first, second)]
        apart = [[mujoco.mj_geomDistance(self.model, self.data, a, b, _FARTHEST, None) for b in sides[1]] for a in sides[0]]
        return np.array(apart, np.float64)

    def tangent(self, q: Floats) -> Floats:
        """Unit direction (J,), in units of `scale`, in which the mechanism can move at q.

        Raises GripperError where there is none, or more than one.
        """
        directions = self.motions(q)
        if len(directions) == 0:
            raise GripperError(f"{self.source}: the constraints leave the mechanism no way to move")
        if len(directions) > 1:
            raise GripperError(
                f"{self.source}: the mechanism moves in {len(directions)} independent ways; "
                "couple its joints with <equality><joint .../></equality>"
            )
        return np.asarray(directions[-1])

    def motions(self, q: Floats) -> Floats:
        """(F, J) orthonormal directions, in units of `scale`, in which the constraints leave the mechanism free at q."""
        _, jacobian = self.constraints(q)
        _, singular, directions = np.linalg.svd(jacobian * self.scale)
        rank = int((singular > _RANK_TOLERANCE * max(singular.max(initial=0.0), 1e-300)).sum())
        return np.asarray(directions[rank:])

    def freedom(self) -> int:
        """In how many independent ways the mechanism moves, near the model's own position."""
        return len(self.motions(self.start()))

    def start(self) -> Floats:
        """A position within the limits that meets the constraints, near the model's own.

        Raises GripperError where there is none.
        """
        none, nowhere = np.zeros((0, self.model.nv)), np.zeros(0)
        near = np.clip(self.model.qpos0, self.lower, self.upper)
        with contextlib.suppress(GripperError):
            q = self._solve(near, none, nowhere)
            if self.beyond_limits(q) < _LIMIT_TOLERANCE:
                return q
        bounds = (self.lower - _LIMIT_TOLERANCE, self.upper + _LIMIT_TOLERANCE)
        inside = least_squares(
            lambda q: self.constraints(q)[0], near, jac=lambda q: self.constraints(q)[1], bounds=bounds, x_scale=self.scale
        )
        q = self._solve(inside.x, none, nowhere)
        if self.beyond_limits(q) > 2 * _LIMIT_TOLERANCE:
            raise GripperError(f"{self.source}: the joints' limits and the mechanism's constraints cannot be met together")
        return q

    def advance(self, q: Floats, tangent: Floats, distance: float) -> Floats:
        """The position on the path whose offset from q has length `distance` along the tangent (pseudo-arclength)."""
        return self._solve(q + distance * tangent * self.scale, tangent[None], np.array([tangent @ (q / self.scale) + distance]))

    def _solve(self, q: Floats, rows: Floats, targets: Floats) -> Floats:
        """Gauss-Newton from q on the constraints and rows @ (q / scale) = targets."""
        for _ in range(self.iterations):
            residual, jacobian = self.constraints(q)
            error = np.concatenate([residual, rows @ (q / self.scale) - targets])
            matrix = np.concatenate([jacobian * self.scale, rows])
            correction = np.linalg.lstsq(matrix, error, rcond=_RANK_TOLERANCE)[0]
            q = q - self.scale * correction
            if np.abs(correction).max() < _LAST_CORRECTION:
                break
        miss = float(np.abs(self.constraints(q)[0]).max(initial=0.0))
        if not miss < _LARGEST_RESIDUAL:
            raise GripperError(f"{self.source}: the mechanism's constraints cannot be met (still {miss:.1e} off)")
        return q


@dataclass(frozen=True, eq=False)
class MotionPath(ABC):
    """The path of the joints from one limit to the other.

    knots: (M, J) positions along it.
    """

    mechanism: Mechanism
    knots: Floats

    @property
    def end(self) -> float:
        """Largest path parameter; the smallest is 0."""
        return float(len(self.knots) - 1)

    @abstractmethod
    def at(self, parameter: float) -> Floats:
        """Joint positions (J,) at a parameter from 0 to `end`; whole numbers are knots."""

    @abstractmethod
    def reversed(self) -> MotionPath:
        """The same path from its other end."""

    def find(self, function: Callable[[Floats], float], values: Floats, target: float) -> Floats:
        """The position at which a function of the position takes a value.

        values: (M,) the function at the knots, ascending around the target.
        """
        index = int(np.clip(np.searchsorted(values, target), 1, len(values) - 1)) - 1
        if not values[index] < target < values[index + 1]:
            return np.asarray(self.knots[index if values[index] >= target else index + 1])
        root = brentq(lambda s: function(self.at(s)) - target, index, index + 1, xtol=1e-14, rtol=8.9e-16)
        return self.at(float(root))


@dataclass(frozen=True, eq=False)
class CoupledPath(MotionPath):
    """The path of a mechanism whose constraints leave it one way to move.

    tangents: (M - 1, J) unit directions in units of the mechanism's scale; lengths: (M - 1,) of the steps.
    """

    tangents: Floats
    lengths: Floats

    def at(self, parameter: float) -> Floats:
        """See `MotionPath.at`."""
        index = min(int(parameter), len(self.lengths) - 1)
        fraction = parameter - index
        return self.mechanism.advance(self.knots[index], self.tangents[index], fraction * self.lengths[index])

    def reversed(self) -> MotionPath:
        """See `MotionPath.reversed`."""
        return _path(self.mechanism, list(self.knots[::-1]))


def trace(mechanism: Mechanism) -> MotionPath:
    """Follows the mechanism from its model's own position both ways until a joint meets its limit.

    Raises GripperError where the mechanism cannot move, or is not stopped by a limit.
    """
    start = mechanism.start()
    tangent = mechanism.tangent(start)
    ahead, behind = _follow(mechanism, start, tangent), _follow(mechanism, start, -tangent)
    knots = [*behind[::-1], start, *ahead]
    if len(knots) < 2:
        raise GripperError(f"{mechanism.source}: the mechanism cannot move: its joints' limits leave no room")
    return _path(mechanism, knots)


def _follow(mechanism: Mechanism, start: Floats, direction: Floats) -> list[Floats]:
    """Positions after `start` up to the limit, the limit included."""
    knots: list[Floats] = []
    q, tangent = start, direction
    for _ in range(_MOST_STEPS):
        ahead = mechanism.advance(q, tangent, _STEP)
        if mechanism.beyond_limits(ahead) > 0:
            last = _limit(mechanism, q, tangent)
            return knots if last is None else [*knots, last]
        knots.append(ahead)
        following = mechanism.tangent(ahead)
        q, tangent = ahead, following if following @ tangent > 0 else -following
    raise GripperError(f"{mechanism.source}: no limit stops the mechanism; give its joints a range")


def _limit(mechanism: Mechanism, q: Floats, tangent: Floats) -> Floats | None:
    """The position less than a step ahead at which a joint meets its limit; None where q is there already."""
    if mechanism.beyond_limits(q) >= -1e-12:
        return None
    distance = brentq(lambda d: mechanism.beyond_limits(mechanism.advance(q, tangent, d)), 0.0, _STEP, xtol=1e-15, rtol=8.9e-16)
    return mechanism.advance(q, tangent, float(distance))


def _path(mechanism: Mechanism, knots: list[Floats]) -> CoupledPath:
    positions = np.array(knots)
    steps = np.diff(positions, axis=0) / mechanism.scale
    tangents = np.array([mechanism.tangent(q) for q in positions[:-1]])
    tangents *= np.sign(np.einsum("mj,mj->m", tangents, steps))[:, None]
    return CoupledPath(mechanism, positions, tangents, np.einsum("mj,mj->m", tangents, steps))
