"""Open boundaries of a surface, closed with triangles between the vertices that are there."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.meshes import directed_edges, extents, face_areas, polygon_normal, triangle_mesh, triangulate_polygons
from graspgen_cli.records import Floats, Ints, TriangleMesh

FLAT = 1e-4
"""Share of the object's size within which the corners of a boundary lie in one plane."""

MOST_CORNERS = 256
"""Of a boundary for which the smallest lid is sought: the time goes with the cube."""

Loop = list[int]


def close_boundaries(mesh: TriangleMesh) -> tuple[TriangleMesh, list[str]]:
    """Close every open boundary of a consistently wound surface, and say how many and how wide.

    A boundary inside another one of the same plane is its hole: between the two rims of a cup without its edge a ring is put, not
    two lids.
    """
    lids, loops = lids_of(mesh)
    if not loops:
        return mesh, []
    widest = max(float(np.ptp(mesh.vertices[loop], axis=0).max()) for loop in loops)
    noun = "boundary" if len(loops) == 1 else "boundaries"
    return (
        triangle_mesh(mesh.vertices, np.concatenate([mesh.faces, lids])),
        [f"{len(loops)} open {noun} closed, the widest {widest * 1000:.1f} mm"],
    )


def lids_of(mesh: TriangleMesh, *, smallest: bool = False) -> tuple[NDArray[np.int32], list[Loop]]:
    """The triangles (T, 3) of the mesh's vertices that close its open boundaries, and those boundaries.

    smallest: a boundary without holes and of not too many corners gets the lid with the least area, however it winds through space.
    """
    loops = boundary_loops(mesh.faces)
    if not loops:
        return np.zeros((0, 3), np.int32), []
    groups = _with_holes([mesh.vertices[loop] for loop in loops], FLAT * float(extents(mesh).max()))
    lids = []
    for group in groups:
        first = np.array(loops[group[0]], np.int32)
        alone = smallest and len(group) == 1 and len(first) <= MOST_CORNERS
        lids.append(first[_smallest_lid(mesh.vertices[first])] if alone else _lid(mesh, [loops[index] for index in group]))
    return np.concatenate(lids), loops


def _smallest_lid(corners: Floats) -> NDArray[np.intp]:
    """The triangles (n - 2, 3) on a loop (n, 3) with the least area: found for ever longer stretches of the loop, each closed by a chord
    (Barequet and Sharir 1995)."""
    count = len(corners)
    area, apex = np.zeros((count, count)), np.zeros((count, count), np.intp)
    for length in range(2, count):
        start = np.arange(count - length)[:, None]
        middle, end = start + np.arange(1, length), start + length
        triangles = np.stack([corners[np.broadcast_to(each, middle.shape)] for each in (start, middle, end)], axis=2)
        total = face_areas(triangles.reshape(-1, 3, 3)).reshape(middle.shape) + area[start, middle] + area[middle, end]
        best = total.argmin(axis=1)
        area[start[:, 0], end[:, 0]] = total[start[:, 0], best]
        apex[start[:, 0], end[:, 0]] = best + start[:, 0] + 1
    stretches, chosen = [(0, count - 1)], []
    while stretches:
        first, last = stretches.pop()
        if last - first >= 2:
            middle_corner = int(apex[first, last])
            chosen.append((first, middle_corner, last))
            stretches += [(first, middle_corner), (middle_corner, last)]
    return np.array(chosen, np.intp)


def boundary_loops(faces: Ints) -> list[Loop]:
    """The open boundaries as closed walks over vertices, in the direction in which the missing faces run through them."""
    onward = _missing_edges(faces)
    loops: list[Loop] = []
    for start in sorted(onward):
        while onward[start]:
            loops += _walk(start, onward)
    return loops


def _missing_edges(faces: Ints) -> dict[int, Loop]:
    """The reverse of every directed edge without an opposite one: its start to its ends."""
    edges = directed_edges(faces).reshape(-1, 2)
    stride = int(faces.max()) + 1
    forward, times = np.unique(edges[:, 0] * stride + edges[:, 1], return_counts=True)
    backward, met = np.unique(edges[:, 1] * stride + edges[:, 0], return_counts=True)
    place = np.searchsorted(backward, forward).clip(max=len(backward) - 1)
    open_times = times - np.where(backward[place] == forward, met[place], 0)
    onward: dict[int, Loop] = defaultdict(list)
    for key, count in zip(forward, open_times, strict=True):
        if count > 0:
            onward[int(key % stride)] += [int(key // stride)] * int(count)
    return onward


def _walk(start: int, onward: dict[int, Loop]) -> list[Loop]:
    """Use up edges from `start` until it is reached again; where the walk meets itself, that part is a loop of its own.

    As many missing edges end in a vertex as start there (they bound a surface), so the walk cannot get stuck.
    """
    loops: list[Loop] = []
    path: Loop = [start]
    place = {start: 0}
    while path:
        ends = onward[path[-1]]
        if not ends:
            break
        vertex = ends.pop()
        if vertex in place:
            loop = path[place[vertex] :]
            del path[place[vertex] + 1 :]
            for gone in loop[1:]:
                del place[gone]
            loops.append(loop)
        else:
            place[vertex] = len(path)
            path.append(vertex)
    return [loop for loop in loops if len(loop) >= 3]


def _with_holes(loops: list[Floats], flat: float) -> list[list[int]]:
    """Indices of the loops (n, 3) in groups: an outer loop, then the loops in its plane that are holes in it."""
    normals = [polygon_normal(loop) for loop in loops]
    outer_of: dict[int, int] = {}
    by_area = sorted(range(len(loops)), key=lambda index: float(np.linalg.norm(normals[index])))
    for rank, hole in enumerate(by_area):
        for outer in by_area[rank + 1 :]:
            if normals[hole] @ normals[outer] < 0 and _inside(loops[hole], loops[outer], normals[outer], flat):
                outer_of[hole] = outer
                break
    groups = {index: [index] for index in range(len(loops)) if index not in outer_of}
    for hole, outer in outer_of.items():
        groups.setdefault(outer, [outer]).append(hole)
    return list(groups.values())


def _inside(hole: Floats, outer: Floats, normal: Floats, flat: float) -> bool:
    """Whether a loop (n, 3) lies in the plane of an outer loop with that normal, and inside it."""
    both = np.concatenate([hole, outer])
    if np.abs((both - outer[0]) @ (normal / np.linalg.norm(normal))).max() > flat:
        return False
    kept = np.delete(np.arange(3), np.abs(normal).argmax())
    return _even_odd(hole[0, kept], outer[:, kept])


def _even_odd(point: Floats, polygon: Floats) -> bool:
    """Whether a point (2,) lies in a polygon (n, 2): a ray along x crosses its edges an odd number of times."""
    ahead = np.roll(polygon, -1, axis=0)
    spans = (polygon[:, 1] > point[1]) != (ahead[:, 1] > point[1])
    a, b = polygon[spans], ahead[spans]
    crossing = a[:, 0] + (point[1] - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0])
    return bool((crossing > point[0]).sum() % 2)


def _lid(mesh: TriangleMesh, loops: list[Loop]) -> NDArray[np.int32]:
    """Triangles (T, 3) of the mesh's vertices that close a boundary and its holes."""
    corners = np.concatenate([np.array(loop, np.int32) for loop in loops])
    return corners[triangulate_polygons([mesh.vertices[loop] for loop in loops])]
