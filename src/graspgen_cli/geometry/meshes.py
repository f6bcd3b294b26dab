"""Triangle meshes and solids: conversions, closedness, size and mass properties. All lengths in metres.

Pieces without thickness, which now and then are left where a cut runs along a face.

The frame that a shape has of its own: the same for the same shape, wherever a file puts it and however it is turned there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import manifold3d
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull

from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import Floats, Ints, TargetObject, TriangleMesh


def triangle_mesh(vertices: ArrayLike, faces: ArrayLike) -> TriangleMesh:
    """A mesh of contiguous arrays of its own: vertices (V, 3) m, faces (F, 3) counter-clockwise seen from outside."""
    points: Floats = np.array(vertices, np.float64, order="C").reshape(-1, 3)
    triangles: Ints = np.array(faces, np.int32, order="C").reshape(-1, 3)
    return TriangleMesh(points, triangles)


def join_meshes(meshes: Sequence[TriangleMesh]) -> TriangleMesh:
    """One mesh of all the vertices and faces, in order."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]
    return triangle_mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def body_of_vertices(mesh: TriangleMesh) -> NDArray[np.int32]:
    """A number for the connected part of the surface that each vertex is in, (V,); a vertex of no face has a number of its own."""
    count = len(mesh.vertices)
    a, b, c = mesh.faces.T
    links = coo_array((np.ones(2 * len(a), np.int8), (np.concatenate([a, a]), np.concatenate([b, c]))), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int32)


def split_bodies(mesh: TriangleMesh) -> list[TriangleMesh]:
    """The parts of the mesh that share no vertex, each with its own vertices, in the order of their first face."""
    body = body_of_vertices(mesh)[mesh.faces[:, 0]]
    order = np.argsort(body, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(body[order])) + 1) if len(order) else []
    return [part_of(mesh, mesh.faces[faces]) for faces in sorted(groups, key=lambda faces: int(faces[0]))]


def part_of(mesh: TriangleMesh, faces: Ints) -> TriangleMesh:
    """Faces (N, 3) over the mesh's vertices, its own or others, with those vertices only."""
    used, index = np.unique(faces, return_inverse=True)
    return triangle_mesh(mesh.vertices[used], index.reshape(-1, 3))


def solid_from_mesh(mesh: TriangleMesh) -> manifold3d.Manifold:
    """The mesh as a manifold3d solid in double precision; its `status()` says whether it is an oriented 2-manifold."""
    return manifold3d.Manifold(manifold3d.Mesh64(mesh.vertices, mesh.faces.astype(np.uint64)))


def mesh_from_solid(solid: manifold3d.Manifold) -> TriangleMesh:
    """The surface of a solid."""
    surface = solid.to_mesh64()
    return triangle_mesh(np.asarray(surface.vert_properties)[:, :3], surface.tri_verts)


def convex_hull(points: Floats) -> TriangleMesh | None:
    """The convex hull of points (N, 3), made of some of them; None where they lie in one plane.

    manifold3d is the faster, but among points that nearly lie in one plane it now and then leaves a dent or a fold. Then Qhull does it.
    """
    hull = manifold3d.Manifold.hull_points(points)
    if hull.volume() <= 0:
        return None
    mesh = mesh_from_solid(hull)
    return mesh if _is_convex(mesh) else _qhull(points)


def _is_convex(mesh: TriangleMesh) -> bool:
    """Whether no vertex lies before a face; slivers, whose normals are not to be trusted, are not asked."""
    triangles = mesh.vertices[mesh.faces]
    crosses = face_crosses(triangles)
    size = float(extents(mesh).max())
    lengths = np.linalg.norm(crosses, axis=1)
    sound = lengths > 1e-9 * size**2
    heights = mesh.vertices @ crosses[sound].T - np.einsum("fi,fi->f", crosses[sound], triangles[sound, 0])
    return bool((heights <= 1e-6 * size * lengths[sound]).all())


def _qhull(points: Floats) -> TriangleMesh:
    hull = ConvexHull(points)
    triangles = points[hull.simplices]
    inwards = np.einsum("fi,fi->f", face_crosses(triangles), hull.equations[:, :3]) < 0
    faces = np.where(inwards[:, None], hull.simplices[:, ::-1], hull.simplices)
    used, index = np.unique(faces, return_inverse=True)
    return triangle_mesh(points[used], index.reshape(-1, 3))


def bounds(mesh: TriangleMesh) -> Floats:
    """Lowest and highest corner of the axis-aligned box around the vertices, (2, 3) m."""
    return np.stack([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)])


def extents(mesh: TriangleMesh) -> Floats:
    """Edge lengths of the axis-aligned box around the vertices, (3,) m."""
    low, high = bounds(mesh)
    return np.asarray(high - low)


def directed_edges(faces: NDArray[np.integer]) -> NDArray[np.int64]:
    """The edges of every face in its winding's order, (F, 3, 2) vertex indices."""
    return np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).astype(np.int64)


def is_closed(mesh: TriangleMesh) -> bool:
    """Whether every directed edge is answered by as many opposite ones, so that inside and outside are defined."""
    edges = directed_edges(mesh.faces).reshape(-1, 2)
    stride = len(mesh.vertices)
    forward = np.sort(edges[:, 0] * stride + edges[:, 1])
    backward = np.sort(edges[:, 1] * stride + edges[:, 0])
    return len(edges) > 0 and bool(np.array_equal(forward, backward))


def signed_volume(mesh: TriangleMesh) -> float:
    """Volume of a closed mesh, m³; negative where its normals point inwards."""
    corners = mesh.vertices[mesh.faces] - bounds(mesh).mean(axis=0)
    return float(np.linalg.det(corners).sum() / 6)


def face_crosses(triangles: Floats) -> Floats:
    """The normals of triangles (T, 3, 3), twice their areas long, (T, 3)."""
    return cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])


def cross(one: Floats, other: Floats) -> Floats:
    """The cross products of vectors (N, 3), (N, 3). NumPy's own takes several times as long for a few hundred of them."""
    return np.stack(_cross_columns(one, other), axis=1)


def _cross_columns(one: Floats, other: Floats) -> tuple[Floats, Floats, Floats]:
    (a, b, c), (d, e, f) = one.T, other.T
    return b * f - c * e, c * d - a * f, a * e - b * d


def face_areas(triangles: Floats) -> Floats:
    """The areas of triangles (T, 3, 3), m², (T,)."""
    x, y, z = _cross_columns(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    return np.asarray(np.sqrt(x * x + y * y + z * z) / 2)


def face_normals(triangles: Floats) -> Floats:
    """The unit normals of triangles (T, 3, 3), (T, 3); zero for triangles without area."""
    crosses = face_crosses(triangles)
    lengths = np.linalg.norm(crosses, axis=1, keepdims=True)
    return np.asarray(np.divide(crosses, lengths, out=np.zeros_like(crosses), where=lengths > 0))


def surface_area(mesh: TriangleMesh) -> float:
    """m²."""
    return float(face_areas(mesh.vertices[mesh.faces]).sum())


def winding_number(mesh: TriangleMesh, points: Floats) -> NDArray[np.int64]:
    """How often a closed mesh winds around points (N, 3) off its surface: 1 inside, 0 outside, -1 inside a mesh with normals inwards, (N,).

    The faces that a ray along z leaves through less those it enters by. Rays through edges and corners count right as well: the two faces
    at an edge agree, to the last bit, on which side of it the ray passes.
    """
    triangles = mesh.vertices[mesh.faces]
    low, high = triangles[..., :2].min(axis=1), triangles[..., :2].max(axis=1)
    turns = np.zeros(len(points), np.int64)
    for index, (x, y, z) in enumerate(points):
        near = (low[:, 0] <= x) & (x <= high[:, 0]) & (low[:, 1] <= y) & (y <= high[:, 1])
        a, b, c = (triangles[near] - (x, y, z)).swapaxes(0, 1)
        side = _crossing(a, b) + _crossing(b, c) + _crossing(c, a)  # 1 or -1 where the ray's line leaves or enters through the face
        ahead = np.einsum("fi,fi->f", a, cross(b, c)) * side > 0
        turns[index] = side[ahead].sum()
    return turns


def _crossing(start: Floats, end: Floats) -> NDArray[np.int64]:
    """Whether edges from (E, 3) to (E, 3), seen along z, cross the x axis right of the origin: 1 upwards, -1 downwards, else 0."""
    turn = start[:, 0] * end[:, 1] - end[:, 0] * start[:, 1]
    upwards, downwards = (start[:, 1] <= 0) & (end[:, 1] > 0), (end[:, 1] <= 0) & (start[:, 1] > 0)
    return (upwards & (turn > 0)).astype(np.int64) - (downwards & (turn < 0))


@dataclass(frozen=True, eq=False)
class MassProperties:
    """Volume (m³), centre of mass (3,) m and inertia (3, 3) m² about it for a mass of 1 kg, at uniform density."""

    volume: float
    center_of_mass: Floats
    unit_inertia: Floats


def mass_properties(mesh: TriangleMesh) -> MassProperties:
    """Mass properties of a closed mesh, as the sum over the tetrahedra that its faces make with a point.

    The second moment of a tetrahedron (a, b, c, o) of volume v about o is v/20 (aaᵀ + bbᵀ + ccᵀ + ssᵀ), s = a + b + c.
    """
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
    """Newell's normal of a closed polygon (n, 3): its length is twice the polygon's area."""
    return np.asarray(np.cross(corners, np.roll(corners, -1, axis=0)).sum(axis=0))


def triangulate_polygons(loops: list[Floats]) -> Ints:
    """Triangles (T, 3) that fill polygons of one plane, given as loops (n, 3) of corners; indices count through all loops.

    A loop that runs the other way round is a hole. Every edge of a loop comes out once, in the loop's direction, so that the
    triangles close the gap that the loops bound, even where a loop is not quite flat or crosses itself.
    """
    normal = np.sum([polygon_normal(loop) for loop in loops], axis=0)
    axis = int(np.abs(normal).argmax())
    kept = [(axis + 1) % 3, (axis + 2) % 3]
    if normal[axis] < 0:
        kept.reverse()
    flat = [np.ascontiguousarray(loop[:, kept] - loops[0][0, kept]) for loop in loops]
    return np.asarray(manifold3d.triangulate(flat), np.int32).reshape(-1, 3)


THINNEST = 1e-6
"""Thickness of a piece as a share of the object's size, below which it is rounding and no part of the object: a physics engine makes no
hull of it. The thinnest pieces of real objects are thousands of times as thick."""


def without_slivers(pieces: tuple[TriangleMesh, ...], size: float) -> tuple[TriangleMesh, ...]:
    """The pieces of an object of this size (m) that have a thickness; all of them where none has."""
    thick = tuple(piece for piece in pieces if thickness(piece) > THINNEST * size)
    return thick or pieces


def thickness(piece: TriangleMesh) -> float:
    """m between the planes across the direction in which the vertices spread least (the last principal axis)."""
    spread = piece.vertices - piece.vertices.mean(axis=0)
    across = np.linalg.svd(spread, full_matrices=False)[2][-1]
    return float(np.ptp(spread @ across))


ALIKE = 1e-6
"""Points whose distances differ by less than this share are equally far: the first of them is taken, whatever rounding says."""
DECIMALS = 9
"""Decimals (nm) of coordinates in an own frame: rounding hides which frame they came from."""


def pose_in_own_frame(points: Floats, origin: Floats) -> Floats:
    """(4, 4): the frame in which points (P, 3) m are given, in the points' own frame.

    That has its origin at `origin` (3,) m, its x axis towards the farthest point and its y axis, at a right angle, towards the point
    farthest from that axis. Where symmetry leaves a choice, the order of the points decides. A rigid motion of points and origin changes
    nothing but the last bits of what is then found in the own frame, which `in_own_frame` rounds away.
    """
    from_origin = points - origin
    x = farthest_direction(from_origin, otherwise=np.array([1.0, 0.0, 0.0]))
    across = from_origin - np.outer(from_origin @ x, x)
    y = farthest_direction(across, otherwise=np.eye(3)[np.abs(x).argmin()])
    z = np.cross(x, y)
    z /= np.linalg.norm(z)
    turn = np.stack([x, np.cross(z, x), z])
    return pose(turn, -turn @ origin)


def in_own_frame(points_in_own_frame: Floats) -> Floats:
    """Coordinates as they are used: rounded to DECIMALS."""
    return np.round(points_in_own_frame, DECIMALS) + 0.0


def farthest_direction(points: Floats, *, otherwise: Floats) -> Floats:
    """The unit vector (3,) towards the point (P, 3) farthest from the origin, the first of those ALIKE; `otherwise` where all are there."""
    distance = np.linalg.norm(points, axis=1)
    farthest = distance.max(initial=0.0)
    if not farthest > 0.0:
        return otherwise
    first = int(np.argmax(distance >= (1.0 - ALIKE) * farthest))
    return np.asarray(points[first] / distance[first])
