"""Mechanisms that springs complete, such as fingers that fold around an object: the free joints rest where the springs' energy is least.

Quasi-static: at every position of the driven joint the others minimize the energy of the joints' and tendons' springs, subject to the
constraints and to the joints' limits. Where springs leave a joint indifferent it stays as near as it can to where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from graspgen_cli.errors import GripperError
from graspgen_cli.grippers.mechanism import Mechanism, MotionPath
from graspgen_cli.records import Floats

_KNOTS = 48
_ITERATIONS = 100
_LAST_STEP = 1e-12
_INDIFFERENT = 1e-4
"""Stiffness of what holds an indifferent joint where it was, as a share of the stiffest spring's."""
_LARGEST_RESIDUAL = 1e-5
_RANK_TOLERANCE = 1e-6


class Equilibrium:
    """The resting positions of a mechanism with springs."""

    def __init__(self, mechanism: Mechanism, leader: int) -> None:
        self.mechanism = mechanism
        self.leader = leader
        model = mechanism.model
        self._joint_stiffness = np.sqrt(np.asarray(model.jnt_stiffness, np.float64).reshape(model.njnt, -1)[:, 0])
        self._tendon_stiffness = np.sqrt(np.asarray(model.tendon_stiffness, np.float64).reshape(model.ntendon, -1)[:, :1].reshape(-1))
        scaled = self._joint_stiffness * mechanism.scale
        self._hold = _INDIFFERENT * float(max(scaled.max(initial=0.0), self._tendon_stiffness.max(initial=0.0), 1e-6))

    def at(self, driven: float, near: Floats) -> Floats | None:
        """The resting position (J,) with the driven joint at a position; None where the limits do not let it there.

        near: where indifferent joints were.
        """
        q, fixed = near.copy(), {self.leader: driven}
        for _ in range(_ITERATIONS):
            step, multipliers = self._step(q, near, fixed)
            share, blocked = self._room(q, step, fixed)
            q = q + share * step
            if blocked is not None:
                fixed[blocked] = float(self.mechanism.upper[blocked] if step[blocked] > 0 else self.mechanism.lower[blocked])
            elif np.abs(step / self.mechanism.scale).max() < _LAST_STEP:
                released = self._released(multipliers, fixed)
                if released is None:
                    break
                del fixed[released]
        missed = max(float(np.abs(self.mechanism.constraints(q)[0]).max(initial=0.0)), abs(float(q[self.leader]) - driven))
        return q if missed < _LARGEST_RESIDUAL else None

    def _step(self, q: Floats, near: Floats, fixed: dict[int, float]) -> tuple[Floats, dict[int, float]]:
        """The Gauss-Newton step (J,) on the energy that meets the constraints, and the push of each fixed joint against its limit."""
        scale = self.mechanism.scale
        residual, jacobian = self.mechanism.constraints(q)
        rows = np.eye(len(q))[list(fixed)]
        matrix = np.concatenate([jacobian * scale, rows])
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
        """Square roots of twice each spring's energy (S,), and their derivative (S, J); `constraints` was called at q."""
        model, data = self.mechanism.model, self.mechanism.data
        joint = self._joint_stiffness * (q - model.qpos_spring)
        low, high = model.tendon_lengthspring.T if model.ntendon else np.zeros((2, 0))
        tendon = self._tendon_stiffness * (data.ten_length - np.clip(data.ten_length, low, high))
        slope = self._tendon_stiffness[:, None] * self._tendon_jacobian()
        hold = self._hold / self.mechanism.scale
        return np.concatenate([joint, tendon, hold * (q - near)]), np.concatenate([np.diag(self._joint_stiffness), slope, np.diag(hold)])

    def _tendon_jacobian(self) -> Floats:
        """(T, J)."""
        model, data = self.mechanism.model, self.mechanism.data
        dense = np.zeros((model.ntendon, model.nv))
        for tendon in range(model.ntendon):
            first, count = int(model.ten_J_rowadr[tendon]), int(model.ten_J_rownnz[tendon])
            dense[tendon, model.ten_J_colind[first : first + count]] = data.ten_J.reshape(-1)[first : first + count]
        return dense

    def _room(self, q: Floats, step: Floats, fixed: dict[int, float]) -> tuple[float, int | None]:
        """The share of a step that keeps the joints within their limits, and the joint that ends it."""
        share, blocked = 1.0, None
        for joint in range(len(q)):
            limit = self.mechanism.upper[joint] if step[joint] > 0 else self.mechanism.lower[joint]
            if joint not in fixed and step[joint] != 0 and (room := (limit - q[joint]) / step[joint]) < share:
                share, blocked = max(0.0, float(room)), joint
        return share, blocked

    def _released(self, multipliers: dict[int, float], fixed: dict[int, float]) -> int | None:
        """The joint that is pulled away from its limit the most."""
        pulls = {
            joint: pull if value == self.mechanism.lower[joint] else -pull
            for joint, value in fixed.items()
            if joint != self.leader
            for pull in [multipliers[joint]]
        }
        worst = max(pulls, key=lambda joint: pulls[joint], default=None)
        return worst if worst is not None and pulls[worst] > 1e-9 else None


@dataclass(frozen=True, eq=False)
class SpringPath(MotionPath):
    """The path of a mechanism that springs complete."""

    equilibrium: Equilibrium

    def at(self, parameter: float) -> Floats:
        """See `MotionPath.at`."""
        index = min(int(parameter), len(self.knots) - 2)
        fraction = parameter - index
        leader = self.equilibrium.leader
        driven = (1 - fraction) * self.knots[index, leader] + fraction * self.knots[index + 1, leader]
        q = self.equilibrium.at(float(driven), self.knots[index])
        if q is None:
            raise GripperError(f"{self.mechanism.source}: the mechanism's springs and limits leave it no place to rest")
        return q

    def reversed(self) -> MotionPath:
        """See `MotionPath.reversed`."""
        return SpringPath(self.mechanism, self.knots[::-1].copy(), self.equilibrium)


def trace_springs(mechanism: Mechanism, leader: int) -> SpringPath:
    """Follows the driven joint between its limits, from the model's own position both ways.

    Raises GripperError where it has no limits or cannot move.
    """
    low, high = float(mechanism.lower[leader]), float(mechanism.upper[leader])
    if not np.isfinite([low, high]).all():
        raise GripperError(f"{mechanism.source}: no limit stops joint {mechanism.model.joint(leader).name}; give it a range")
    equilibrium = Equilibrium(mechanism, leader)
    start = mechanism.start()
    steps = np.linspace(low, high, _KNOTS)
    first = int(np.abs(steps - start[leader]).argmin())
    behind, ahead = _follow(equilibrium, start, steps[first::-1]), _follow(equilibrium, start, steps[first:])
    knots = [*behind[::-1], *ahead[1:]] if behind else ahead
    if len(knots) < 3:
        raise GripperError(f"{mechanism.source}: the mechanism cannot move: its springs and limits leave no room")
    return SpringPath(mechanism, np.array(knots), equilibrium)


def _follow(equilibrium: Equilibrium, start: Floats, steps: Floats) -> list[Floats]:
    """Resting positions for the driven joint's positions, up to the first that the limits forbid."""
    knots: list[Floats] = []
    near = start
    for driven in steps:
        q = equilibrium.at(float(driven), near)
        if q is None:
            break
        knots.append(q)
        near = q
    return knots


def leader_joint(model: mujoco.MjModel, drives: list[int]) -> int:
    """The first joint with a motor that has limits; the first with limits where none has a motor."""
    limited = [joint for joint in (drives or range(model.njnt)) if model.jnt_limited[joint]]
    return limited[0] if limited else (drives or [0])[0]
