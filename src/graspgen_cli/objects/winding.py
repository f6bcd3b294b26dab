"""Faces turned so that neighbours agree on which side is outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from graspgen_cli.geometry.meshes import directed_edges, triangle_mesh
from graspgen_cli.objects.bodies import counted
from graspgen_cli.records import TriangleMesh


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
