"""The convex collision parts of a gripper's bodies, exactly as MuJoCo collides them."""

from __future__ import annotations

import mujoco
import numpy as np
import trimesh

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import rotation_from_wxyz
from graspgen_cli.grippers.hulls import convex_hull
from graspgen_cli.grippers.model import GripperModel
from graspgen_cli.records import Floats, TriangleMesh

_SIDES = 32
"""Sides of the prisms that stand around cylinders and capsules."""
_DECIMALS = 8


def collision_parts(gripper: GripperModel) -> tuple[tuple[TriangleMesh, ...], ...]:
    """For each body of the model, the base first, its convex collision parts in the body's frame, m.

    Boxes and meshes (their convex hulls, as MuJoCo takes them) are exact; spheres, capsules, cylinders and ellipsoids become
    polyhedra around them. Raises GripperError for shapes without an inside.
    """
    model = gripper.model
    bodies: list[list[TriangleMesh]] = [[] for _ in range(model.nbody)]
    for geom in range(model.ngeom):
        if model.geom_contype[geom] or model.geom_conaffinity[geom]:
            bodies[model.geom_bodyid[geom]].append(_part(gripper, geom))
    return tuple(tuple(parts) for parts in bodies[1:])


def _part(gripper: GripperModel, geom: int) -> TriangleMesh:
    model = gripper.model
    size, kind = model.geom_size[geom], mujoco.mjtGeom(int(model.geom_type[geom]))
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        corners = _mesh_vertices(model, int(model.geom_dataid[geom]))
    elif kind == mujoco.mjtGeom.mjGEOM_BOX:
        corners = size * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        corners = _around_circle(size[0], np.array([-size[1], size[1]]))
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        ball, half = _around_sphere() * size[0], np.array([0.0, 0.0, size[1]])
        corners = np.concatenate([ball - half, ball + half])
    elif kind in (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_ELLIPSOID):
        corners = _around_sphere() * (size[0] if kind == mujoco.mjtGeom.mjGEOM_SPHERE else size)
    else:
        name = model.geom(geom).name or f"number {geom}"
        raise GripperError(
            f"{gripper.source}: collision geom {name} is a {kind.name[7:].lower()}; use boxes, cylinders, capsules or meshes"
        )
    rotation = rotation_from_wxyz(model.geom_quat[geom][None])[0]
    # MuJoCo keeps meshes in single precision; rounding brings back the numbers of the file.
    return convex_hull(np.round(corners @ rotation.T + model.geom_pos[geom], _DECIMALS) + 0.0)


def _mesh_vertices(model: mujoco.MjModel, mesh: int) -> Floats:
    start = model.mesh_vertadr[mesh]
    return np.asarray(model.mesh_vert[start : start + model.mesh_vertnum[mesh]], np.float64)


def _around_circle(radius: float, heights: Floats) -> Floats:
    """Corners of the prism around a cylinder."""
    angle = 2 * np.pi * (np.arange(_SIDES) + 0.5) / _SIDES
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * radius / np.cos(np.pi / _SIDES)
    return np.concatenate([np.column_stack([ring, np.full(_SIDES, height)]) for height in heights])


def _around_sphere() -> Floats:
    """Corners of a polyhedron around the unit sphere."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    vertices: Floats = np.asarray(ball.vertices, np.float64)
    nearest_face = float(np.einsum("fi,fi->f", ball.face_normals, ball.triangles[:, 0]).min())
    return vertices / nearest_face
