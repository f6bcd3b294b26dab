"""Simple objects made in the tests."""

from __future__ import annotations

import numpy as np
import trimesh

from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.records import TargetObject


def target(mesh: trimesh.Trimesh, *, object_id: str = "made.obj") -> TargetObject:
    """A convex mesh as an object of 1 m scale; its only piece is the mesh itself."""
    record = triangle_mesh(np.asarray(mesh.vertices), np.asarray(mesh.faces))
    return TargetObject(
        object_id=object_id,
        scale=1.0,
        content_hash=object_id,
        mesh=record,
        watertight=bool(mesh.is_watertight),
        pieces=(record,),
        mean_gap=0.0,
        gap_95=0.0,
        largest_gap=0.0,
        center_of_mass=np.asarray(mesh.center_mass),
        volume=float(mesh.volume),
        unit_inertia=np.asarray(mesh.moment_inertia / mesh.volume),
    )


def box(x: float, y: float, z: float, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> TargetObject:
    """A box with sides in metres."""
    mesh = trimesh.creation.box((x, y, z))
    mesh.apply_translation(center)
    return target(mesh)


def sphere(radius: float, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> TargetObject:
    """A fine icosphere, radius in metres."""
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    mesh.apply_translation(center)
    return target(mesh)
