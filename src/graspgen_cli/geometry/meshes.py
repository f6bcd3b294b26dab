"""Triangle meshes and manifold3d solids: conversion, connected bodies, size, mass properties, winding. All lengths in m.

A *body* of a mesh is a connected component of its surface: faces that share vertices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import manifold3d
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull

from graspgen_cli.geometry.poses import transform_points
from graspgen_cli.records import Floats, Ints, TargetObject, TriangleMesh


def triangle_mesh(vertices: ArrayLike, faces: ArrayLike) -> TriangleMesh:
    """A mesh with contiguous copies of vertices (V, 3) m and faces (F, 3), counter-clockwise seen from outside."""
    points: Floats = np.array(vertices, np.float64, order="C").reshape(-1, 3)
    triangles: Ints = np.array(faces, np.int32, order="C").reshape(-1, 3)
    return TriangleMesh(points, triangles)


def transform_mesh(pose_mesh_in_frame: Floats, mesh: TriangleMesh) -> TriangleMesh:
    """The mesh in another frame, given its pose (4, 4) there."""
    return TriangleMesh(transform_points(pose_mesh_in_frame, mesh.vertices), mesh.faces)


def inverted(mesh: TriangleMesh) -> TriangleMesh:
    """The mesh with every face turned over."""
    return triangle_mesh(mesh.vertices, mesh.faces[:, ::-1])


def join_meshes(meshes: Sequence[TriangleMesh]) -> TriangleMesh:
    """One mesh of the vertices and faces of all meshes, in order."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]
    return triangle_mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def submesh(vertices: Floats, faces: NDArray[np.integer]) -> TriangleMesh:
    """Faces (N, 3) over vertices (V, 3) m, without the vertices that no face uses."""
    used, index = np.unique(faces, return_inverse=True)
    return triangle_mesh(vertices[used], index.reshape(-1, 3))


def component_labels(pairs: NDArray[np.integer], count: int) -> NDArray[np.int32]:
    """(count,) connected component of each node of the undirected graph with edges `pairs` (P, 2)."""
    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int32)


def body_of_vertices(mesh: TriangleMesh) -> NDArray[np.int32]:
    """(V,) number of the body of each vertex; an unused vertex has a number of its own."""
    return component_labels(mesh.faces[:, [0, 1, 0, 2]].reshape(-1, 2), len(mesh.vertices))


def split_bodies(mesh: TriangleMesh) -> list[TriangleMesh]:
    """The bodies as separate meshes, in the order of their first face."""
    body = body_of_vertices(mesh)[mesh.faces[:, 0]]
    order = np.argsort(body, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(body[order])) + 1) if len(order) else []
    return [submesh(mesh.vertices, mesh.faces[faces]) for faces in sorted(groups, key=lambda faces: int(faces[0]))]


def solid_from_mesh(mesh: TriangleMesh) -> manifold3d.Manifold:
    """The mesh as a manifold3d solid in double precision; its `status()` is an error unless the mesh is an oriented 2-manifold."""
    return manifold3d.Manifold(manifold3d.Mesh64(mesh.vertices, mesh.faces.astype(np.uint64)))


def mesh_from_solid(solid: manifold3d.Manifold) -> TriangleMesh:
    """The surface of a solid."""
    surface = solid.to_mesh64()
    return triangle_mesh(np.asarray(surface.vert_properties)[:, :3], surface.tri_verts)


def convex_hull(points: Floats) -> TriangleMesh | None:
    """Convex hull of points (N, 3); None if they are coplanar. For nearly coplanar points manifold3d, the faster library, sometimes
    returns a hull with a dent or fold; Qhull replaces that hull."""
    hull = manifold3d.Manifold.hull_points(points)
    if hull.volume() <= 0:
        return None
    mesh = mesh_from_solid(hull)
    return mesh if _is_convex(mesh) else qhull(points)


def _is_convex(mesh: TriangleMesh) -> bool:
    """Whether no vertex lies in front of a face. Slivers are skipped: their normals are unreliable."""
    triangles = mesh.vertices[mesh.faces]
    crosses = face_crosses(triangles)
    size = longest_side(mesh)
    lengths = np.linalg.norm(crosses, axis=1)
    sound = lengths > 1e-9 * size**2
    heights = mesh.vertices @ crosses[sound].T - np.einsum("fi,fi->f", crosses[sound], triangles[sound, 0])
    return bool((heights <= 1e-6 * size * lengths[sound]).all())


def qhull(points: Floats) -> TriangleMesh:
    """Convex hull of points (N, 3) by Qhull, made of some of the points. Raises QhullError or ValueError if they are coplanar."""
    hull = ConvexHull(points)
    inwards = np.einsum("fi,fi->f", face_crosses(points[hull.simplices]), hull.equations[:, :3]) < 0
    return submesh(points, np.where(inwards[:, None], hull.simplices[:, ::-1], hull.simplices))


def bounds(mesh: TriangleMesh) -> Floats:
    """(2, 3) m lowest and highest corner of the axis-aligned bounding box."""
    return np.stack([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)])


def extents(mesh: TriangleMesh) -> Floats:
    """(3,) m side lengths of the axis-aligned bounding box."""
    return np.asarray(np.ptp(mesh.vertices, axis=0))


def longest_side(mesh: TriangleMesh) -> float:
    """Longest side of the axis-aligned bounding box, m: the size of an object."""
    return float(extents(mesh).max())


def directed_edges(faces: NDArray[np.integer]) -> NDArray[np.int64]:
    """(F, 3, 2) vertex indices of the edges of faces (F, 3), in winding order."""
    return np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).astype(np.int64)


def is_closed(mesh: TriangleMesh) -> bool:
    """Whether every directed edge has as many opposite edges, so that inside and outside are defined."""
    edges = directed_edges(mesh.faces).reshape(-1, 2)
    stride = len(mesh.vertices)
    forward = np.sort(edges[:, 0] * stride + edges[:, 1])
    backward = np.sort(edges[:, 1] * stride + edges[:, 0])
    return len(edges) > 0 and bool(np.array_equal(forward, backward))


def signed_volume(mesh: TriangleMesh) -> float:
    """Volume of a closed mesh, m³; negative for inward normals."""
    corners = mesh.vertices[mesh.faces] - bounds(mesh).mean(axis=0)
    return float(np.linalg.det(corners).sum() / 6)


def centroids(triangles: Floats) -> Floats:
    """(T, 3) m centroids of triangles (T, 3, 3)."""
    return np.asarray((triangles[:, 0] + triangles[:, 1] + triangles[:, 2]) / 3)


def face_crosses(triangles: Floats) -> Floats:
    """(T, 3) m² normals of triangles (T, 3, 3) with a length of twice the area."""
    return cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])


def cross(one: Floats, other: Floats) -> Floats:
    """(N, 3) cross products of vectors (N, 3) and (N, 3). np.cross takes several times as long for a few hundred vectors."""
    return np.stack(_cross_columns(one, other), axis=1)


def _cross_columns(one: Floats, other: Floats) -> tuple[Floats, Floats, Floats]:
    (a, b, c), (d, e, f) = one.T, other.T
    return b * f - c * e, c * d - a * f, a * e - b * d


def face_areas(triangles: Floats) -> Floats:
    """(T,) m² areas of triangles (T, 3, 3)."""
    x, y, z = _cross_columns(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    return np.asarray(np.sqrt(x * x + y * y + z * z) / 2)


def face_normals(triangles: Floats) -> Floats:
    """(T, 3) unit normals of triangles (T, 3, 3); zero for triangles of zero area."""
    crosses = face_crosses(triangles)
    lengths = np.linalg.norm(crosses, axis=1, keepdims=True)
    return np.asarray(np.divide(crosses, lengths, out=np.zeros_like(crosses), where=lengths > 0))


def surface_area(mesh: TriangleMesh) -> float:
    """Surface area, m²."""
    return float(face_areas(mesh.vertices[mesh.faces]).sum())


def winding_number(mesh: TriangleMesh, points: Floats) -> NDArray[np.int64]:
    """(N,) winding number of a closed mesh around points (N, 3) off its surface: 1 inside, 0 outside, -1 inside inward normals.

    Counts the faces through which a ray along +z leaves, minus the faces through which it enters. Rays through edges and corners count
    correctly: both faces of an edge compute the same sign for the side on which the ray passes.
    """
    triangles = mesh.vertices[mesh.faces]
    low, high = triangles[..., :2].min(axis=1), triangles[..., :2].max(axis=1)
    turns = np.zeros(len(points), np.int64)
    for index, (x, y, z) in enumerate(points):
        near = (low[:, 0] <= x) & (x <= high[:, 0]) & (low[:, 1] <= y) & (y <= high[:, 1])
        a, b, c = (triangles[near] - (x, y, z)).swapaxes(0, 1)
        side = _crossing(a, b) + _crossing(b, c) + _crossing(c, a)  # 1 or -1: the ray's line leaves or enters through the face
        ahead = np.einsum("fi,fi->f", a, cross(b, c)) * side > 0
        turns[index] = side[ahead].sum()
    return turns


def _crossing(start: Floats, end: Floats) -> NDArray[np.int64]:
    """(E,) whether edges from (E, 3) to (E, 3), seen along z, cross the positive x axis: 1 upwards, -1 downwards, 0 not at all."""
    turn = start[:, 0] * end[:, 1] - end[:, 0] * start[:, 1]
    upwards, downwards = (start[:, 1] <= 0) & (end[:, 1] > 0), (end[:, 1] <= 0) & (start[:, 1] > 0)
    return (upwards & (turn > 0)).astype(np.int64) - (downwards & (turn < 0))


@dataclass(frozen=True, eq=False)
class MassProperties:
    """Mass properties at uniform density: volume (m³), centre of mass (3,) m, inertia (3, 3) m² about it per kg of mass."""

    volume: float
    center_of_mass: Floats
    unit_inertia: Floats


def mass_properties(mesh: TriangleMesh) -> MassProperties:
    """Mass properties of a closed mesh: the sum over the tetrahedra of its faces and one common point o. The second moment of a
    tetrahedron (a, b, c, o) of volume v about o is v/20 (aaᵀ + bbᵀ + ccᵀ + ssᵀ), s = a + b + c."""
    origin = bounds(mesh).mean(axis=0)
    corners = mesh.vertices[mesh.faces] - origin  # (F, 3, 3)
    volumes = np.linalg.det(corners) / 6  # (F,)
    total = float(volumes.sum())
    sums = corners.sum(axis=1)
    center = volumes @ sums / (4 * total)
    outer = np.einsum("fki,fkj,f->ij", corners, corners, volumes) + np.einsum("fi,fj,f->ij", sums, sums, volumes)
    covariance = outer / (20 * total) - np.outer(center, center)
    inertia = np.trace(covariance) * np.eye(3) - covariance
    return MassProperties(total, center + origin, inertia)


def convex_object(name: str, mesh: TriangleMesh) -> TargetObject:
    """A closed convex mesh (m) of uniform density as an object. The mesh is its only convex piece."""
    mass = mass_properties(mesh)
    return TargetObject(
        object_id=name,
        scale=1.0,
        content_hash=name,
        mesh=mesh,
        watertight=True,
        pieces=(mesh,),
        mean_gap=0.0,
        gap_95=0.0,
        largest_gap=0.0,
        center_of_mass=mass.center_of_mass,
        volume=mass.volume,
        unit_inertia=mass.unit_inertia,
    )


def polygon_normal(corners: Floats) -> Floats:
    """(3,) m² normal of a closed polygon (n, 3) by Newell's method; its length is twice the area."""
    return np.asarray(np.cross(corners, np.roll(corners, -1, axis=0)).sum(axis=0))


def triangulate_polygons(loops: list[Floats]) -> Ints:
    """Triangles (T, 3) that fill coplanar polygons, given as corner loops (n, 3); indices count through all loops.

    A loop in the opposite direction is a hole. Every loop edge belongs to one triangle, in the loop's direction, so the triangles close
    the surface even for loops that are not quite flat or that cross themselves.
    """
    normal = np.sum([polygon_normal(loop) for loop in loops], axis=0)
    axis = int(np.abs(normal).argmax())
    kept = [(axis + 1) % 3, (axis + 2) % 3]
    if normal[axis] < 0:
        kept.reverse()
    flat = [np.ascontiguousarray(loop[:, kept] - loops[0][0, kept]) for loop in loops]
    return np.asarray(manifold3d.triangulate(flat), np.int32).reshape(-1, 3)
