"""The gripper shaken in Isaac Lab: the inertial forces of its frame on all bodies, as in every backend (see `validate.shaking`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graspgen_cli.records import Floats
from graspgen_cli.validate.engines.isaaclab.world import World, apply_wrench, base_pose, poses_of, to_host, wrench_in_world
from graspgen_cli.validate.shaking import Bodies, inertial_wrench


@dataclass(frozen=True, eq=False)
class Masses:
    """What the B bodies of the gripper, or the one of the object, weigh in each of N environments.

    body: Isaac Lab's articulation or rigid body. mass: (N, B) kg. moments: (N, B, 3) kg m². axes: (N, B, 3, 3): the principal axes in the
    body's frame, as columns.
    """

    body: Any
    mass: Floats
    moments: Floats
    axes: Floats


def all_masses(world: World) -> tuple[Masses, Masses]:
    """Of gripper and object, as PhysX has them."""
    return _masses(world.gripper), _masses(world.target)


def _masses(body: Any) -> Masses:
    mass = to_host(body.root_physx_view.get_masses())
    # Nine numbers for each body: the tensor about its centre of mass in its own axes.
    moments, axes = np.linalg.eigh(to_host(body.root_physx_view.get_inertias()).reshape(*mass.shape, 3, 3))
    return Masses(body, mass, moments, axes)


def apply_motion(world: World, masses: tuple[Masses, Masses], motion: Floats) -> None:
    """Puts on all bodies, for one step, what a row (9,) of the gripper's motion does to them."""
    for each in masses:
        rows = np.broadcast_to(motion, (len(each.mass), len(motion)))
        apply_wrench(each.body, wrench_in_world(world, inertial_wrench(rows, _bodies(world, each))))


def _bodies(world: World, masses: Masses) -> Bodies:
    """As they are and move after the last step."""
    data, base = masses.body.data, base_pose(world)
    to_base = np.swapaxes(base[:, :3, :3], 1, 2)[:, None]
    shape = masses.mass.shape
    link = poses_of(to_host(data.body_link_pose_w).reshape(-1, 7)).reshape(*shape, 4, 4)[..., :3, :3]
    center = to_host(data.body_com_pose_w)[..., :3] - base[:, None, :3, 3]
    # Of the centres of mass, and then the spin.
    moving = to_host(data.body_com_vel_w)
    position, velocity, spin = ((to_base @ each[..., None])[..., 0] for each in (center, moving[..., :3], moving[..., 3:]))
    return Bodies(masses.mass, masses.moments, position, to_base @ link @ masses.axes, velocity, spin)
