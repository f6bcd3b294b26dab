"""Guesses and tries grasps of one mesh without writing a dataset: `python examples/one_object.py MESH METRES_A_UNIT`."""

from __future__ import annotations

import sys
from pathlib import Path

from graspgen_cli import CollisionApproximation, Outcome, SimulationSettings, guess_on, load_gripper, load_object, try_grasps


def main(mesh: Path, scale: float) -> None:
    """Prints how many grasps hold an ever heavier object."""
    gripper = load_gripper("robotiq_2f_85")
    target = load_object(mesh.name, scale, root=mesh.parent, approximation=CollisionApproximation.CONVEX_DECOMPOSITION, cache=None)
    grasps = guess_on(target, gripper, num_collision_free_grasps=16)
    for mass in (0.5, 4.0, 32.0):
        tried = try_grasps(target, gripper, grasps, settings=SimulationSettings(object_mass=mass))
        print(f"{mass} kg held: {tried.grasps.count(Outcome.HELD)} of {len(grasps)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
