"""Repair of a mesh file's triangles to a mesh that encloses a volume. No vertex moves.

Each step changes only what is broken and reports the change: duplicate vertices and faces, winding, open boundaries, inward normals,
overlapping bodies. A body that stays open is replaced by its convex hull.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import manifold3d
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graspgen_cli.errors import ObjectError
from graspgen_cli.geometry.boundaries import lids_of, make_winding_consistent
from graspgen_cli.geometry.gaps import sample_surface
from graspgen_cli.geometry.meshes import (
    bounds,
    component_labels,
    convex_hull,
    face_normals,
    inverted,
    is_closed,
    join_meshes,
    longest_side,
    mesh_from_solid,
    signed_volume,
    solid_from_mesh,
    split_bodies,
    submesh,
    surface_area,
    triangle_mesh,
    winding_number,
)
from graspgen_cli.geometry.rays import SKEW_DIRECTIONS, RayCaster
from graspgen_cli.records import Floats, Ints, TriangleMesh

ROUNDING = 1e-6  # distance of equal vertices as a share of the mesh's size: single-precision files round by 1e-7
THINNEST = 1e-6  # volume over (area x size) of a sheet: a 10 µm foil of 10 cm has 5e-5
SHEETS = 0.05  # share of the surface that may be dropped as sheets without volume
OVERLAP = 1e-6  # share of the volume that overlapping bodies have in common
TESTED_POINTS = 256
WRONG = 0.05  # share of the surface that may enclose nothing: small folds are common and harmless
STEP = 1e-5  # offset of points from the surface as a share of the size: far above single precision, far below any wall
MOST_CROSSINGS = 32


@dataclass(frozen=True, eq=False)
class RepairedMesh:
    """The repaired mesh, m, and the repairs in words."""

    mesh: TriangleMesh
    repairs: tuple[str, ...]


def repair(raw: TriangleMesh, *, path: Path) -> RepairedMesh:
    """The mesh with closed surfaces and outward normals; bodies stay separate unless they overlap. `path` is for error messages. Raises
    ObjectError for a flat sheet, whose convex hull has no volume either."""
    mesh, repairs = _weld(raw)
    closed, broken = _sort_out(mesh)
    if broken:
        mended, done = _close(join_meshes(broken))
        repairs += done
        whole, broken = _sort_out(mended)
        closed += whole
    hulls = [hull for hull in map(_body_hull, broken) if hull is not None]
    sheets = [body for body in broken if _body_hull(body) is None]
    if not closed + hulls or sum(surface_area(sheet) for sheet in sheets) > SHEETS * surface_area(mesh):
        hull = _body_hull(mesh)
        if hull is None:
            raise ObjectError("is a flat sheet without volume", path=path, advice="give it a thickness")
        return RepairedMesh(hull, ("does not enclose a volume: its convex hull stands for it",))
    repairs += _counted(len(sheets), "flat sheet without volume left out", "flat sheets without volume left out")
    repairs += _counted(
        len(hulls), "body that cannot be closed replaced by its convex hull", "bodies that cannot be closed replaced by their convex hulls"
    )
    joined, done = _join_bodies(closed + hulls)
    return RepairedMesh(joined, (*repairs, *done))


def _counted(count: int, singular: str, plural: str) -> list[str]:
    """A repair in words, with its count; nothing for a count of 0."""
    return [f"{count} {singular if count == 1 else plural}"] if count else []


def _sort_out(mesh: TriangleMesh) -> tuple[list[TriangleMesh], list[TriangleMesh]]:
    """The bodies that enclose a volume, and the other bodies."""
    bodies = split_bodies(mesh)
    good = [_encloses_volume(body) for body in bodies]
    return list(compress(bodies, good)), [body for body, enclosing in zip(bodies, good, strict=True) if not enclosing]


def _close(mesh: TriangleMesh) -> tuple[TriangleMesh, list[str]]:
    """The mesh with single, consistently wound faces and closed boundaries, as far as possible; and the repairs."""
    _, first = np.unique(np.sort(mesh.faces, axis=1), axis=0, return_index=True)
    repairs = _counted(len(mesh.faces) - len(first), "double-sided face made single", "double-sided faces made single")
    faces, turned = make_winding_consistent(TriangleMesh(mesh.vertices, mesh.faces[np.sort(first)]))
    repairs += _counted(turned, "inverted face turned", "inverted faces turned")
    lids, loops = lids_of(TriangleMesh(mesh.vertices, faces))
    widest = max((float(np.ptp(mesh.vertices[loop], axis=0).max()) for loop in loops), default=0.0)
    closed = f"closed, the widest {widest * 1000:.1f} mm"
    repairs += _counted(len(loops), f"open boundary {closed}", f"open boundaries {closed}")
    return triangle_mesh(mesh.vertices, np.concatenate([faces, lids])), repairs


def _encloses_volume(mesh: TriangleMesh) -> bool:
    """Whether the mesh is a closed, oriented 2-manifold that neither crosses itself backwards nor is a folded sheet."""
    if len(mesh.faces) < 4 or not is_closed(mesh) or _is_sheet(abs(signed_volume(mesh)), mesh):
        return False
    if solid_from_mesh(mesh).status() != manifold3d.Error.NoError:
        return False
    return _encloses_its_inside(mesh if signed_volume(mesh) > 0 else inverted(mesh))


def _encloses_its_inside(mesh: TriangleMesh) -> bool:
    """Whether a closed mesh with outward normals has a winding number of at least 1 just behind its faces and at least 0 in front of
    them. A mesh that crosses itself forwards, as a looped tube does, has winding number 2 in places, which is harmless."""
    triangles = mesh.vertices[mesh.faces]
    points, face = sample_surface(triangles, TESTED_POINTS)
    step = STEP * longest_side(mesh)
    off = face_normals(triangles)[face] * step
    rays = RayCaster(mesh)
    behind, before = (_turns_around(rays, points + side * off, step) for side in (-1, 1))
    return float(((behind < 1) | (before < 0)).mean()) < WRONG


def _turns_around(rays: RayCaster, points: Floats, step: float) -> NDArray[np.int64]:
    """(N,) winding number of a closed mesh around points (N, 3): the faces through which a ray leaves minus those through which it
    enters. Faster than `winding_number` on large meshes. The ray continues `step` (m) behind each hit."""
    turns = np.zeros(len(points), np.int64)
    origin = points.copy()
    under_way = np.arange(len(points))
    for _ in range(MOST_CROSSINGS):
        direction = np.broadcast_to(SKEW_DIRECTIONS[0], (len(under_way), 3))
        distance, face = rays.first_hit(origin[under_way], direction)
        turns[under_way] += np.where(face < 0, 0, np.where(rays.leaving(face, direction), 1, -1))
        under_way, distance = under_way[face >= 0], distance[face >= 0]
        if not len(under_way):
            break
        origin[under_way] += (distance[:, None] + step) * SKEW_DIRECTIONS[0]
    return turns


def _is_sheet(volume: float, mesh: TriangleMesh) -> bool:
    return volume <= THINNEST * surface_area(mesh) * longest_side(mesh)


def _body_hull(mesh: TriangleMesh) -> TriangleMesh | None:
    """The convex hull of a mesh's vertices; None for a sheet."""
    hull = convex_hull(mesh.vertices)
    return None if hull is None or _is_sheet(signed_volume(hull), mesh) else hull


def _weld(raw: TriangleMesh) -> tuple[TriangleMesh, list[str]]:
    """Drops unused vertices, merges equal ones (for an open mesh also those a rounding error apart) and drops improper faces."""
    used = submesh(raw.vertices, raw.faces)
    mesh = _merge_vertices(used, np.unique(used.vertices + 0.0, axis=0, return_inverse=True)[1].reshape(-1))  # + 0.0: -0 is 0
    if not is_closed(mesh):
        near = cKDTree(mesh.vertices).query_pairs(ROUNDING * longest_side(mesh), output_type="ndarray")
        mesh = _merge_vertices(mesh, component_labels(near, len(mesh.vertices)))
    repairs = _counted(len(used.vertices) - len(mesh.vertices), "duplicate vertex merged", "duplicate vertices merged")
    kept = _proper_faces(mesh.faces)
    repairs += _counted(len(mesh.faces) - len(kept), "degenerate or duplicate face removed", "degenerate or duplicate faces removed")
    return triangle_mesh(mesh.vertices, mesh.faces[kept]), repairs


def _merge_vertices(mesh: TriangleMesh, group: NDArray[np.integer]) -> TriangleMesh:
    """The mesh with the vertices of each group (V,) replaced by the first of them; vertices keep their order."""
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    leaders, index = np.unique(first[inverse], return_inverse=True)
    return triangle_mesh(mesh.vertices[leaders], index[mesh.faces])


def _proper_faces(faces: Ints) -> NDArray[np.intp]:
    """Indices of the faces (F, 3) with three distinct corners, without repetitions; the opposite winding is a different face."""
    start = faces.argmin(axis=1)
    turned = np.take_along_axis(faces, (start[:, None] + np.arange(3)) % 3, axis=1)
    _, first = np.unique(turned, axis=0, return_index=True)
    three = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return np.sort(first[three[first]])


def _join_bodies(bodies: list[TriangleMesh]) -> tuple[TriangleMesh, list[str]]:
    """One mesh of closed bodies with outward normals, overlapping bodies united, and the repairs. A body with inward normals inside
    another body is a cavity and stays; any other is turned."""
    bodies = [part for body in bodies for part in _loosened(body)]
    inside = _containment(bodies)
    inwards = np.array([signed_volume(body) < 0 for body in bodies])
    outermost = inwards & ~inside.any(axis=1)
    turned = outermost | inside[:, outermost].any(axis=1)
    bodies = [inverted(body) if turn else body for body, turn in zip(bodies, turned, strict=True)]
    repairs = _counted(int(turned.sum()), "body with normals inwards turned", "bodies with normals inwards turned")
    united = _union(bodies, inside)
    if united is not None:
        return united, [*repairs, f"{len(bodies)} overlapping bodies united"]
    return join_meshes(bodies), repairs


def _loosened(body: TriangleMesh) -> list[TriangleMesh]:
    """The closed parts of a closed body that only touch, at vertices, edges or faces."""
    parts = solid_from_mesh(body).decompose()
    return [mesh_from_solid(part) for part in parts] if len(parts) > 1 else [body]


def _containment(bodies: list[TriangleMesh]) -> NDArray[np.bool_]:
    """[i, j]: body i lies inside body j, judged by one point of i."""
    boxes = np.stack([bounds(body) for body in bodies])  # (N, 2, 3)
    inside: NDArray[np.bool_] = np.array(
        (boxes[:, None, 0] >= boxes[None, :, 0]).all(-1) & (boxes[:, None, 1] <= boxes[None, :, 1]).all(-1)
    )
    np.fill_diagonal(inside, False)
    for i, j in np.argwhere(inside):
        point = bodies[i].vertices[bodies[i].faces[0]].mean(axis=0)
        inside[i, j] = winding_number(bodies[j], point[None])[0] != 0
    return inside


def _union(bodies: list[TriangleMesh], inside: NDArray[np.bool_]) -> TriangleMesh | None:
    """The union of the bodies, each minus its cavities; None if they do not overlap, or the union fails."""
    volumes = np.array([signed_volume(body) for body in bodies])
    full = np.flatnonzero(volumes > 0)
    boxes = np.stack([bounds(bodies[index]) for index in full])
    meet = (boxes[:, None, 0] < boxes[None, :, 1]).all(-1)
    if not (meet & meet.T).sum() > len(full):
        return None
    hollowed = {int(index): solid_from_mesh(bodies[index]) for index in full}
    for cavity in np.flatnonzero(volumes < 0):
        around = [int(index) for index in full if inside[cavity, index]]
        if around:
            owner = min(around, key=lambda index: float(volumes[index]))
            hollowed[owner] -= solid_from_mesh(inverted(bodies[cavity]))
    union = manifold3d.Manifold.batch_boolean(list(hollowed.values()), manifold3d.OpType.Add)
    if union.status() != manifold3d.Error.NoError or union.is_empty():
        return None
    return mesh_from_solid(union) if volumes.sum() - union.volume() > OVERLAP * volumes.sum() else None
