"""Whether a closed surface encloses what is behind its faces: one that crosses itself may enclose less than nothing.

A mesh that encloses a volume, made of a mesh file's triangles without moving a vertex.

Every step mends only what is broken, and says so: duplicate vertices and faces, winding, open boundaries (see
:mod:`graspgen_cli.geometry.boundaries`), normals that point inwards and bodies that overlap (see
:mod:`graspgen_cli.objects.bodies`). What stays open is replaced by its convex hull."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import manifold3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from graspgen_cli.errors import ObjectError
from graspgen_cli.geometry.boundaries import close_boundaries
from graspgen_cli.geometry.gaps import spread_points
from graspgen_cli.geometry.meshes import (
    convex_hull,
    extents,
    face_normals,
    is_closed,
    join_meshes,
    signed_volume,
    solid_from_mesh,
    split_bodies,
    surface_area,
    triangle_mesh,
)
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.objects.bodies import counted, join_bodies, make_winding_consistent
from graspgen_cli.records import Floats, Ints, TriangleMesh

TESTED_POINTS = 256
WRONG = 0.05
"""Share of the surface that may be wrong: small folds are common and harmless."""
STEP = 1e-5
"""Share of the size by which points stand off the surface: far above single precision, far below any wall."""
MOST_CROSSINGS = 32
DIRECTION = np.array([0.3618, 0.4472, 0.8180]) / np.linalg.norm([0.3618, 0.4472, 0.8180])
"""Along no symmetry of an ordinary mesh, so that rays seldom meet an edge."""


def encloses_its_inside(mesh: TriangleMesh) -> bool:
    """Whether a closed mesh with normals outwards winds at least once around what is just behind its faces, and not backwards around what
    is just before them.

    Where it runs through itself forwards, as a loop of tube does, it winds twice, which does no harm.
    """
    triangles = mesh.vertices[mesh.faces]
    points, face = spread_points(triangles, TESTED_POINTS)
    off = face_normals(triangles)[face] * STEP * float(extents(mesh).max())
    rays = RayCaster(mesh)
    step = STEP * float(extents(mesh).max())
    behind, before = (turns_around(rays, points + side * off, step) for side in (-1, 1))
    return float(((behind < 1) | (before < 0)).mean()) < WRONG


def turns_around(rays: RayCaster, points: Floats, step: float) -> NDArray[np.int64]:
    """How often a closed mesh winds around points (N, 3): the faces that a ray from each leaves through less those it enters, (N,).

    The ray goes on `step` (m) behind each face that it meets.
    """
    turns = np.zeros(len(points), np.int64)
    origin = points.copy()
    under_way = np.arange(len(points))
    for _ in range(MOST_CROSSINGS):
        direction = np.broadcast_to(DIRECTION, (len(under_way), 3))
        distance, face = rays.first_hit(origin[under_way], direction)
        turns[under_way] += np.where(face < 0, 0, np.where(rays.leaving(face, direction), 1, -1))
        under_way, distance = under_way[face >= 0], distance[face >= 0]
        if not len(under_way):
            break
        origin[under_way] += (distance[:, None] + step) * DIRECTION
    return turns


ROUNDING = 1e-6
"""Share of the object's size under which two vertices are one: single-precision files round by 1e-7."""
THINNEST = 1e-6
"""Volume over (area x size) under which a closed surface is a sheet: a 10 µm foil of 10 cm has 5e-5."""
SHEETS = 0.05
"""Share of the surface that may be left out as sheets without volume."""


@dataclass(frozen=True, eq=False)
class RepairedMesh:
    """The mended mesh, m, and in words what was done to it."""

    mesh: TriangleMesh
    repairs: tuple[str, ...]


def repair(raw: TriangleMesh, *, path: Path) -> RepairedMesh:
    """Make the mesh enclose a volume, with normals outwards; several bodies stay several. `path` is named in errors.

    Raises ObjectError for a flat sheet, whose convex hull has no volume either.
    """
    mesh, repairs = _weld(raw)
    closed, broken = _sort_out(split_bodies(mesh))
    if broken:
        mended, done = _mend(join_meshes(broken))
        repairs += done
        whole, broken = _sort_out(split_bodies(mended))
        closed += whole
    hulls = [hull for hull in map(_body_hull, broken) if hull is not None]
    sheets = [body for body in broken if _body_hull(body) is None]
    if not closed + hulls or sum(surface_area(sheet) for sheet in sheets) > SHEETS * surface_area(mesh):
        return RepairedMesh(_hull_or_error(mesh, path), ("does not enclose a volume: its convex hull stands for it",))
    repairs += counted(len(sheets), "flat sheet without volume left out", "flat sheets without volume left out")
    repairs += counted(
        len(hulls), "body that cannot be closed replaced by its convex hull", "bodies that cannot be closed replaced by their convex hulls"
    )
    joined, done = join_bodies(closed + hulls)
    return RepairedMesh(joined, (*repairs, *done))


def _sort_out(bodies: list[TriangleMesh]) -> tuple[list[TriangleMesh], list[TriangleMesh]]:
    """The bodies that enclose a volume, and the others."""
    enclosing = [_encloses(body) for body in bodies]
    pairs = list(zip(bodies, enclosing, strict=True))
    return [body for body, good in pairs if good], [body for body, good in pairs if not good]


def _mend(mesh: TriangleMesh) -> tuple[TriangleMesh, list[str]]:
    """Faces single, consistently wound and without open boundaries, as far as that can be; and what was done."""
    mesh, repairs = _single_faces(mesh)
    for step in (make_winding_consistent, close_boundaries):
        mesh, done = step(mesh)
        repairs += done
    return mesh, repairs


def _encloses(mesh: TriangleMesh) -> bool:
    """Whether the mesh is closed, an oriented 2-manifold that does not cross itself backwards, and not a sheet folded on itself."""
    if len(mesh.faces) < 4 or not is_closed(mesh) or _is_sheet(abs(signed_volume(mesh)), mesh):
        return False
    if solid_from_mesh(mesh).status() != manifold3d.Error.NoError:
        return False
    return encloses_its_inside(mesh if signed_volume(mesh) > 0 else triangle_mesh(mesh.vertices, mesh.faces[:, ::-1]))


def _is_sheet(volume: float, mesh: TriangleMesh) -> bool:
    return volume <= THINNEST * surface_area(mesh) * float(extents(mesh).max())


def _body_hull(mesh: TriangleMesh) -> TriangleMesh | None:
    """The convex hull of a mesh's vertices; None for a sheet."""
    hull = convex_hull(mesh.vertices)
    return None if hull is None or _is_sheet(signed_volume(hull), mesh) else hull


def _hull_or_error(mesh: TriangleMesh, path: Path) -> TriangleMesh:
    hull = _body_hull(mesh)
    if hull is None:
        raise ObjectError(f"{path}: is a flat sheet without volume; give it a thickness")
    return hull


def _weld(raw: TriangleMesh) -> tuple[TriangleMesh, list[str]]:
    """Drop unused vertices, merge equal ones (where that leaves the mesh open, also those a rounding error apart) and clean the faces."""
    used, faces = np.unique(raw.faces, return_inverse=True)
    vertices = raw.vertices[used]
    mesh = _merge_vertices(vertices, faces.reshape(-1, 3), _equal_vertices(vertices))
    if not is_closed(mesh):
        near = _near_vertices(mesh.vertices, ROUNDING * float(extents(mesh).max()))
        mesh = _merge_vertices(mesh.vertices, mesh.faces, near)
    repairs = counted(len(vertices) - len(mesh.vertices), "duplicate vertex merged", "duplicate vertices merged")
    kept = _proper_faces(mesh.faces)
    repairs += counted(len(mesh.faces) - len(kept), "degenerate or duplicate face removed", "degenerate or duplicate faces removed")
    return triangle_mesh(mesh.vertices, mesh.faces[kept]), repairs


def _merge_vertices(vertices: Floats, faces: NDArray[np.integer], leader: NDArray[np.intp]) -> TriangleMesh:
    """The mesh with every vertex replaced by its leader (V,), an index of a vertex that leads itself."""
    leaders, index = np.unique(leader, return_inverse=True)
    return triangle_mesh(vertices[leaders], index[faces])


def _equal_vertices(vertices: Floats) -> NDArray[np.intp]:
    """The first vertex that each vertex (V, 3) is equal to, (V,)."""
    _, first, inverse = np.unique(vertices + 0.0, axis=0, return_index=True, return_inverse=True)  # + 0.0: -0 is 0
    return np.asarray(first[inverse.reshape(-1)], np.intp)


def _near_vertices(vertices: Floats, distance: float) -> NDArray[np.intp]:
    """The first vertex of the chain of vertices (V, 3), each nearer than `distance` to the next, that each vertex is in, (V,)."""
    pairs = cKDTree(vertices).query_pairs(distance, output_type="ndarray")
    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(vertices),) * 2)
    _, label = connected_components(links, directed=False)
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    return np.asarray(first[inverse], np.intp)


def _proper_faces(faces: Ints) -> NDArray[np.intp]:
    """Indices of the faces (F, 3) that have three corners and are the first of their kind; the other winding is another kind."""
    start = faces.argmin(axis=1)
    turned = np.take_along_axis(faces, (start[:, None] + np.arange(3)) % 3, axis=1)
    _, first = np.unique(turned, axis=0, return_index=True)
    three = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return np.sort(first[three[first]])


def _single_faces(mesh: TriangleMesh) -> tuple[TriangleMesh, list[str]]:
    """The mesh without the second of two faces on the same three corners, whichever way they are wound."""
    _, first = np.unique(np.sort(mesh.faces, axis=1), axis=0, return_index=True)
    repairs = counted(len(mesh.faces) - len(first), "double-sided face made single", "double-sided faces made single")
    return triangle_mesh(mesh.vertices, mesh.faces[np.sort(first)]), repairs
