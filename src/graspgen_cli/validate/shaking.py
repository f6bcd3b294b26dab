"""The gripper shaken: its motion step by step, and what the motion does to whatever is in its hand.

Trials are simulated in the frame of the gripper's base. While that frame moves, every body, the object and the gripper's own links, is
subject to its inertial forces: those of the frame's acceleration, of its turning faster or slower (Euler), the centrifugal and the Coriolis
force. With them the motion relative to the gripper is the one that a moved gripper would see, whatever held it, and scene, contacts and
judge are those of every other trial. Moving the base itself would take a body that follows a path exactly and yet passes its velocity on
to the fingers, which the engine has not: a mocap body has no velocity, and a driven joint lags behind or needs a mass that spoils the
solver's tolerance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from graspgen_cli.records import Floats, Gripper
from graspgen_cli.settings.trials import Shake, ShakeAxis, ShakeKind

SWELLING = 1.5
"""Periods over which a shake swells, and over which it fades."""


@dataclass(frozen=True, eq=False)
class Bodies:
    """B bodies in each of N simulations, in the frame of the gripper's base.

    mass: (N, B) kg. inertia: (N, B, 3) kg m², about the principal axes. position: (N, B, 3) m, of the centres of mass. axes: (N, B, 3, 3),
    the principal axes as columns. velocity: (N, B, 3) m/s, of the centres of mass. spin: (N, B, 3) rad/s.
    """

    mass: Floats
    inertia: Floats
    position: Floats
    axes: Floats
    velocity: Floats
    spin: Floats


def shake_motion(gripper: Gripper, shake: Shake, *, steps: int, fps: int) -> Floats:
    """(steps, 9): in each step the acceleration (m/s²) of the gripper's base, its angular velocity (rad/s) and its angular acceleration
    (rad/s²), in the base's own axes. fps: steps a second.

    The accelerations are means over the steps, so that they add up to the velocities of the motion.
    """
    _, kind, axis, _, _ = shake
    step = 1.0 / fps
    place, speed = displacement(shake, np.arange(steps + 1, dtype=np.float64) * step)
    along = _axis_in_base(gripper, axis)
    acceleration, mean_speed = np.outer(np.diff(speed) / step, along), np.outer(np.diff(place) / step, along)
    nothing = np.zeros_like(acceleration)
    if kind is ShakeKind.LINEAR:
        return np.concatenate([acceleration, nothing, nothing], axis=1)
    return np.concatenate([nothing, mean_speed, acceleration], axis=1)


def displacement(shake: Shake, time: Floats) -> tuple[Floats, Floats]:
    """(T,) m or rad, and (T,) m/s or rad/s, at times (T,) s since the shake began: amplitude x sin(2 pi frequency t) times an envelope,
    3 u² - 2 u³, that swells over the first periods and mirrors itself over the last. So it begins and ends at rest and without a jerk, and
    is nowhere more than 0.3 % faster than amplitude x (2 pi frequency)² m/s² or rad/s²."""
    duration, _, _, amplitude, frequency = shake
    rate, slope = 2 * math.pi * frequency, frequency / SWELLING
    edge = np.minimum(np.minimum(time, duration - time) * slope, 1.0)
    swell = edge**2 * (3 - 2 * edge)
    growth = np.sign(duration / 2 - time) * slope * 6 * edge * (1 - edge)
    wave = np.sin(rate * time)
    return amplitude * swell * wave, amplitude * (growth * wave + swell * rate * np.cos(rate * time))


def _axis_in_base(gripper: Gripper, axis: ShakeAxis) -> Floats:
    approach, closing = gripper.approach_axis_in_base, gripper.closing_axis_in_base
    return {ShakeAxis.APPROACH: approach, ShakeAxis.CLOSING: closing, ShakeAxis.BINORMAL: np.cross(approach, closing)}[axis]


def inertial_wrench(motion: Floats, bodies: Bodies) -> Floats:
    """(N, B, 6): force (N) on each centre of mass and torque (N m), in the frame of the base, that its motion (N, 9), rows of the table,
    adds to those of a frame at rest (any text on mechanics, rigid bodies in a moving frame)."""
    acceleration, turning, faster = (motion[:, None, k : k + 3] for k in (0, 3, 6))
    at, moves = bodies.position, bodies.velocity
    frame = acceleration + np.cross(faster, at) + np.cross(turning, np.cross(turning, at)) + 2 * np.cross(turning, moves)
    inertia = np.einsum("nbij,nbj,nbkj->nbik", bodies.axes, bodies.inertia, bodies.axes)

    def turned(vector: Floats) -> Floats:
        """The inertia times a vector for each body."""
        return np.einsum("nbij,nbj->nbi", inertia, np.broadcast_to(vector, at.shape))

    both = turned(faster) + np.cross(turning, turned(turning))
    mixed = np.cross(bodies.spin, turned(turning)) + np.cross(turning, turned(bodies.spin)) + turned(np.cross(turning, bodies.spin))
    return -np.concatenate([bodies.mass[:, :, None] * frame, both + mixed], axis=2)
