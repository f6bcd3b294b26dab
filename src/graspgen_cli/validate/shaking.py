"""The shaken gripper: its motion step by step, and the inertial forces of that motion on all bodies.

Trials are simulated in the frame of the gripper's base. While this frame moves, every body, the object and the gripper's own links, is
subject to inertial forces: of the linear and angular (Euler) acceleration of the frame, the centrifugal and the Coriolis force. With these
forces the motion relative to the gripper is that of a gripper which really moves; scene, contacts and judge stay the same.

MuJoCo has no body that follows a path exactly and passes its velocity on to the fingers: a mocap body has no velocity, and a driven joint
lags behind or needs a mass that spoils the solver's tolerance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from graspgen_cli.records import Floats, Gripper
from graspgen_cli.settings.trials import Shake, ShakeAxis, ShakeKind

SWELLING = 1.5
"""Periods over which the amplitude of a shake grows, and over which it falls."""


@dataclass(frozen=True, eq=False)
class Bodies:
    """B bodies in each of N simulations, in the frame of the gripper's base.

    mass: (N, B) kg. inertia: (N, B, 3) kg m², principal moments. position, velocity: (N, B, 3) m and m/s, of the centres of mass.
    axes: (N, B, 3, 3), the principal axes as columns. spin: (N, B, 3) rad/s.
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
    """(T,) m or rad, and (T,) m/s or rad/s, at times (T,) s since the start of the shake: amplitude x sin(2 pi frequency t) times an
    envelope 3 u² - 2 u³ that grows over the first periods and falls over the last.

    So a shake starts and ends at rest without a jump of its acceleration, which exceeds amplitude x (2 pi frequency)² by at most 0.3 %.
    """
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
    """(N, B, 6): force (N) on each centre of mass and torque (N m), in the frame of the base, that follow from the base's motion (N, 9), as
    `shake_motion` returns it (any text on mechanics, rigid bodies in a moving frame)."""
    acceleration, omega, alpha = (motion[:, None, k : k + 3] for k in (0, 3, 6))
    position, spin = bodies.position, bodies.spin
    euler, centrifugal, coriolis = np.cross(alpha, position), np.cross(omega, np.cross(omega, position)), np.cross(omega, bodies.velocity)
    inertia = np.einsum("nbij,nbj,nbkj->nbik", bodies.axes, bodies.inertia, bodies.axes)

    def momentum(vector: Floats) -> Floats:
        """(N, B, 3): the inertia times an angular velocity for each body."""
        return np.einsum("nbij,nbj->nbi", inertia, np.broadcast_to(vector, position.shape))

    of_base = momentum(alpha) + np.cross(omega, momentum(omega))
    mixed = np.cross(spin, momentum(omega)) + np.cross(omega, momentum(spin)) + momentum(np.cross(omega, spin))
    return -np.concatenate([bodies.mass[:, :, None] * (acceleration + euler + centrifugal + 2 * coriolis), of_base + mixed], axis=2)
