"""Many simulations of one scene, each with physics of its own."""

from __future__ import annotations

import numpy as np
from mujoco import batch

from graspgen_cli.records import Floats
from graspgen_cli.validate.scene import Scene
from graspgen_cli.validate.variation import Variation


def vary(simulations: batch.Batch, scene: Scene, variation: Variation) -> None:
    """Gives each simulation of the scene its friction, mass and centre of mass, and what the engine derives from them."""
    body, model = scene.object_body, scene.model
    pieces = model.body_geomadr[body] + np.arange(model.body_geomnum[body])
    simulations.expand("geom_friction")[:, pieces] *= variation.friction[:, None, None]
    simulations.expand("body_mass")[:, body] *= variation.mass
    simulations.expand("body_inertia")[:, body] *= variation.mass[:, None]
    simulations.expand("body_ipos")[:, body] += variation.center_offset @ scene.pose_object_in_body[:3, :3].T
    simulations.set_const()


def varied_fields(scene: Scene, variation: Variation, names: tuple[str, ...]) -> dict[str, Floats]:
    """(trials, ...) values of those fields of the scene's model, among `names`, in which the trials differ."""
    simulations = batch.Batch(scene.model, len(variation.mass), nthread=1)
    vary(simulations, scene, variation)
    found = {name: simulations.expanded(name) for name in names}
    return {name: np.array(values) for name, values in found.items() if values is not None}
