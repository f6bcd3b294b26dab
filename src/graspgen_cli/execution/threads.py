"""The thread pools of the geometry libraries, which worker processes that fill the cores by themselves have no use for."""

from __future__ import annotations

import os

import manifold3d
import numpy as np

from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.geometry.rays import RayCaster

ENOUGH_SEGMENTS = 64
"""Of a sphere that manifold3d takes its pool for."""


def keep_geometry_on_one_thread() -> None:
    """Has manifold3d and Embree start no threads of their own in this process, whatever they compute; for its main thread, before either
    has been used.

    Both come with oneTBB, which no setting reaches. It counts the cores that the process may run on when it is first used, once for all:
    for that moment there is one. Where a process cannot be bound to cores, as on macOS, nothing happens.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        manifold3d.Manifold.sphere(1.0, ENOUGH_SEGMENTS).volume()
        corners = np.concatenate([np.zeros((1, 3)), np.eye(3)])
        rays = RayCaster(triangle_mesh(corners, [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))
        rays.inside(np.full((1, 3), 0.1))
    finally:
        os.sched_setaffinity(0, cores)
