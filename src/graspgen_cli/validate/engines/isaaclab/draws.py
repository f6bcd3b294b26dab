"""Physics of their own for the trials in an Isaac Lab scene: friction, mass and centre of mass of each environment."""

from __future__ import annotations

from typing import Any

import numpy as np

from graspgen_cli.records import Floats
from graspgen_cli.validate.engine import Variation
from graspgen_cli.validate.engines.isaaclab.world import World, make_step, to_host


def vary(world: World, variation: Variation) -> None:
    """Gives the trials what is theirs; before they are placed, while the object is out of the gripper's reach.

    The friction is set on gripper and object alike, for PhysX takes the mean of the two. PhysX's properties are on the host, whatever the
    device, and those of a body come to a GPU with the next step, together with the place where the host believes the body to be: so one
    step is made, and then a body may be put elsewhere.
    """
    for body in (world.target, world.gripper):
        view = body.root_physx_view
        materials = to_host(view.get_material_properties())
        # The third is the restitution.
        materials[:, :, :2] *= variation.friction[:, None, None]
        view.set_material_properties(*_properties(materials))
    view = world.target.root_physx_view
    mass, center, inertia = to_host(view.get_masses()), to_host(view.get_coms()), to_host(view.get_inertias())
    center[:, :3] += variation.center_offset
    view.set_masses(*_properties(mass * variation.mass[:, None]))
    view.set_coms(*_properties(center))
    view.set_inertias(*_properties(inertia * variation.mass[:, None]))
    make_step(world)


def _properties(values: Floats) -> tuple[Any, Any]:
    """Values of all environments as PhysX's views take them: on the host, with the environments' numbers."""
    import torch

    every = torch.tensor(np.arange(len(values)), dtype=torch.int32, device="cpu")
    return torch.tensor(values, dtype=torch.float32, device="cpu"), every
