"""Faces turned to a consistent winding, and open boundaries closed by triangles between existing vertices."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order

from graspgen_cli.geometry.meshes import component_labels, directed_edges, face_areas, longest_side, polygon_normal, triangulate_polygons
from graspgen_cli.records import Floats, Ints, TriangleMesh

FLAT = 1e-4  # distance as a share of the mesh's size within which the corners of a boundary are coplanar
MOST_CORNERS = 256  # most corners of a boundary for which the smallest lid is computed: the time is cubic

Loop = list[int]


def make_winding_consistent(mesh: TriangleMesh) -> tuple[Ints, int]:
    """Turns faces over until neighbours run through their common edge in opposite directions: all faces (F, 3), and the number turned.

    Of the two solutions of a component the one with fewer turned faces is taken. Edges of more than two faces impose nothing. A one-sided
    surface keeps some inconsistent neighbours.
    """
    pairs, same_direction = _neighbours(mesh)
    count = len(mesh.faces)
    part = component_labels(pairs, count)
    turned = _parity(pairs, same_direction, part)
    mostly = np.bincount(part, weights=turned) > np.bincount(part) / 2
    turned ^= mostly[part]
    return np.where(turned[:, None], mesh.faces[:, ::-1], mesh.faces), int(turned.sum())


def _neighbours(mesh: TriangleMesh) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Distinct pairs of faces (P, 2) that share an edge with no third face, and whether both run through it in the same direction (P,)."""
    edges = directed_edges(mesh.faces).reshape(-1, 2)
    key = edges.min(axis=1) * len(mesh.vertices) + edges.max(axis=1)
    order = np.argsort(key, kind="stable")
    _, start, times = np.unique(key[order], return_index=True, return_counts=True)
    first, second = order[start[times == 2]], order[start[times == 2] + 1]
    pairs = np.sort(np.stack([first, second], axis=1) // 3, axis=1)
    _, once = np.unique(pairs, axis=0, return_index=True)
    return pairs[once], (edges[first, 0] == edges[second, 0])[once]


def _parity(pairs: NDArray[np.intp], odd_pair: NDArray[np.bool_], part: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(F,) whether the path from each face to the first face of its component `part` (F,) has an odd number of odd pairs. An extra node
    is the root of a spanning tree. All faces walk to the root at once, in jumps of doubling length, and count odd pairs."""
    count = len(part)
    _, roots = np.unique(part, return_index=True)
    ends = (np.concatenate([pairs[:, 0], np.full(len(roots), count)]), np.concatenate([pairs[:, 1], roots]))
    values = np.concatenate([1 + odd_pair.astype(np.int8), np.ones(len(roots), np.int8)])
    graph = coo_array((values, ends), shape=(count + 1, count + 1)).tocsr()
    graph = graph + graph.T
    _, parent = breadth_first_order(graph, count, directed=False)
    parent[count] = count
    odd = np.zeros(count + 1, np.bool_)
    odd[:count] = np.asarray(graph[parent[:count], np.arange(count)]).reshape(-1) == 2
    while (parent != count).any():
        odd ^= odd[parent]
        parent = parent[parent]
    return odd[:count]


def lids_of(mesh: TriangleMesh, *, smallest: bool = False) -> tuple[NDArray[np.int32], list[Loop]]:
    """Triangles (T, 3) over a consistently wound mesh's vertices that close its open boundaries, and the boundaries.

    A boundary inside another one of the same plane is a hole in its lid: the edges of a cup without a rim get a ring, not two lids.
    smallest: a boundary without holes and with at most MOST_CORNERS corners gets the lid of least area, even if it is not flat.
    """
    onward, loops = _missing_edges(mesh.faces), []
    for start in sorted(onward):
        while onward[start]:
            loops += _walk(start, onward)
    if not loops:
        return np.zeros((0, 3), np.int32), []
    groups = _with_holes([mesh.vertices[loop] for loop in loops], FLAT * longest_side(mesh))
    lids = []
    for group in groups:
        corners = np.concatenate([np.array(loops[index], np.int32) for index in group])
        alone = smallest and len(group) == 1 and len(corners) <= MOST_CORNERS
        fill = _smallest_lid(mesh.vertices[corners]) if alone else triangulate_polygons([mesh.vertices[loops[index]] for index in group])
        lids.append(corners[fill])
    return np.concatenate(lids), loops


def _smallest_lid(corners: Floats) -> NDArray[np.intp]:
    """The triangulation (n - 2, 3) of a loop (n, 3) with the least area, by dynamic programming over stretches of the loop (Barequet and
    Sharir 1995, "Filling gaps in the boundary of a polyhedron")."""
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


def _missing_edges(faces: Ints) -> dict[int, Loop]:
    """The reverse of every directed edge without an opposite one: start vertex to end vertices."""
    edges = directed_edges(faces).reshape(-1, 2)
    stride = int(faces.max()) + 1
    keys, index = np.unique(np.concatenate([edges @ [stride, 1], edges @ [1, stride]]), return_inverse=True)
    missing = np.bincount(index, weights=np.repeat([-1, 1], len(edges))).clip(min=0).astype(np.intp)
    onward: dict[int, Loop] = defaultdict(list)
    for key in np.repeat(keys, missing).tolist():
        onward[key // stride].append(key % stride)
    return onward


def _walk(start: int, onward: dict[int, Loop]) -> list[Loop]:
    """Consumes edges from `start` until the walk is back there; where the walk meets itself, it splits off a loop. As many missing edges
    end at a vertex as start there, since they bound a surface: the walk cannot get stuck."""
    loops: list[Loop] = []
    path: Loop = [start]
    place = {start: 0}
    while onward[path[-1]]:
        vertex = onward[path[-1]].pop()
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
    """Groups of indices of loops (n, 3): an outer loop, then its holes, the loops inside it in its plane within `flat` (m)."""
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
    """Whether a loop (n, 3) lies within `flat` (m) of the plane of an outer loop with this normal, and inside the outer loop."""
    both = np.concatenate([hole, outer])
    if np.abs((both - outer[0]) @ (normal / np.linalg.norm(normal))).max() > flat:
        return False
    kept = np.delete(np.arange(3), np.abs(normal).argmax())
    point, polygon = hole[0, kept], outer[:, kept]
    # Even-odd rule: a ray along x crosses the polygon's edges an odd number of times.
    ahead = np.roll(polygon, -1, axis=0)
    spans = (polygon[:, 1] > point[1]) != (ahead[:, 1] > point[1])
    a, b = polygon[spans], ahead[spans]
    crossing = a[:, 0] + (point[1] - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0])
    return bool((crossing > point[0]).sum() % 2)
