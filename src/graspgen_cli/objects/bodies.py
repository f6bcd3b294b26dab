"""Connected bodies of a mesh: turned outwards, and united where they overlap.

Faces turned so that neighbours agree on which side is outside."""

from __future__ import annotations

import manifold3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from graspgen_cli.geometry.meshes import (
    bounds,
    directed_edges,
    join_meshes,
    mesh_from_solid,
    signed_volume,
    solid_from_mesh,
    triangle_mesh,
    winding_number,
)
from graspgen_cli.records import TriangleMesh

OVERLAP = 1e-6
"""Share of the volume that bodies must have in common to count as overlapping."""


def counted(count: int, singular: str, plural: str) -> list[str]:
    """The repair in words, with its count; nothing where there was none."""
    return [f"{count} {singular if count == 1 else plural}"] if count else []


def join_bodies(bodies: list[TriangleMesh]) -> tuple[TriangleMesh, list[str]]:
    """One mesh of closed bodies with normals outwards, and what was done: bodies turned, overlapping bodies united.

    A body with normals inwards inside another is a cavity of it and stays; any other is turned.
    """
    bodies = [part for body in bodies for part in _loosened(body)]
    inside = _containment(bodies)
    turned = _turned(bodies, inside)
    bodies = [_reversed(body) if turn else body for body, turn in zip(bodies, turned, strict=True)]
    repairs = counted(int(turned.sum()), "body with normals inwards turned", "bodies with normals inwards turned")
    united = _union(bodies, inside)
    if united is not None:
        return united, [*repairs, f"{len(bodies)} overlapping bodies united"]
    return join_meshes(bodies), repairs


def _loosened(body: TriangleMesh) -> list[TriangleMesh]:
    """The closed parts of a closed body that only touch, in vertices, edges or faces."""
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


def _turned(bodies: list[TriangleMesh], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which bodies to turn: the outermost ones with normals inwards, each together with what lies inside it."""
    inwards = np.array([signed_volume(body) < 0 for body in bodies])
    outermost = inwards & ~inside.any(axis=1)
    return np.asarray(outermost | inside[:, outermost].any(axis=1))


def _reversed(mesh: TriangleMesh) -> TriangleMesh:
    return triangle_mesh(mesh.vertices, mesh.faces[:, ::-1])


def _union(bodies: list[TriangleMesh], inside: NDArray[np.bool_]) -> TriangleMesh | None:
    """The union of the bodies, each less its cavities; None where they do not overlap, or it cannot be made."""
    volumes = np.array([signed_volume(body) for body in bodies])
    full = np.flatnonzero(volumes > 0)
    if not _boxes_meet([bodies[index] for index in full]):
        return None
    hollowed = {int(index): solid_from_mesh(bodies[index]) for index in full}
    for cavity in np.flatnonzero(volumes < 0):
        around = [int(index) for index in full if inside[cavity, index]]
        if around:
            owner = min(around, key=lambda index: float(volumes[index]))
            hollowed[owner] -= solid_from_mesh(_reversed(bodies[cavity]))
    union = manifold3d.Manifold.batch_boolean(list(hollowed.values()), manifold3d.OpType.Add)
    if union.status() != manifold3d.Error.NoError or union.is_empty():
        return None
    return mesh_from_solid(union) if volumes.sum() - union.volume() > OVERLAP * volumes.sum() else None


def _boxes_meet(bodies: list[TriangleMesh]) -> bool:
    boxes = np.stack([bounds(body) for body in bodies])
    meet = (boxes[:, None, 0] < boxes[None, :, 1]).all(-1) & (boxes[:, None, 1] > boxes[None, :, 0]).all(-1)
    return bool(meet.sum() > len(bodies))


def make_winding_consistent(mesh: TriangleMesh) -> tuple[TriangleMesh, list[str]]:
    """Turn faces until every two that share an edge run through it in opposite directions, and say how many were turned.

    Of the two ways to do that in each connected part the one that turns fewer faces is taken. Edges of more than two faces
    bind nothing; on a surface that has no two sides some pairs stay at odds.
    """
    pairs, at_odds = _neighbours(mesh)
    count = len(mesh.faces)
    turned = _parity(pairs, at_odds, count)
    _, part = connected_components(coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count)), directed=False)
    mostly = np.bincount(part, weights=turned) > np.bincount(part) / 2
    turned ^= mostly[part]
    if not turned.any():
        return mesh, []
    faces = np.where(turned[:, None], mesh.faces[:, ::-1], mesh.faces)
    return triangle_mesh(mesh.vertices, faces), counted(int(turned.sum()), "inverted face turned", "inverted faces turned")


def _neighbours(mesh: TriangleMesh) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Pairs of faces (P, 2), each once, that alone share an edge, and whether they run through it in the same direction (P,)."""
    edges = directed_edges(mesh.faces).reshape(-1, 2)
    key = edges.min(axis=1) * len(mesh.vertices) + edges.max(axis=1)
    order = np.argsort(key, kind="stable")
    _, start, times = np.unique(key[order], return_index=True, return_counts=True)
    first, second = order[start[times == 2]], order[start[times == 2] + 1]
    pairs = np.sort(np.stack([first, second], axis=1) // 3, axis=1)
    _, once = np.unique(pairs, axis=0, return_index=True)
    return pairs[once], (edges[first, 0] == edges[second, 0])[once]


def _parity(pairs: NDArray[np.intp], at_odds: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Whether each of `count` faces is at odds with the first face of its connected part, (F,).

    A spanning tree of each part hangs from one extra node. Walking all faces up to it at once, by jumps that double in length,
    adds up the disagreements on the way.
    """
    links = coo_array((1 + at_odds, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, part = connected_components(links, directed=False)
    _, roots = np.unique(part, return_index=True)
    ends = (np.concatenate([pairs[:, 0], np.full(len(roots), count)]), np.concatenate([pairs[:, 1], roots]))
    values = np.concatenate([1 + at_odds.astype(np.int8), np.ones(len(roots), np.int8)])
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
