"""Convex pieces that stand for an object in the simulation."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TypeAlias

import manifold3d
import numpy as np

from graspgen_cli.geometry.meshes import mesh_from_solid, solid_from_mesh
from graspgen_cli.records import TriangleMesh
from graspgen_cli.settings.models import CollisionApproximation

Solid: TypeAlias = manifold3d.Manifold


@dataclass(frozen=True, eq=False)
class ConvexPieces:
    """Convex pieces and how far they stand off the mesh: mean and largest distance from their surface to it, m."""

    pieces: tuple[TriangleMesh, ...]
    mean_gap: float
    largest_gap: float


def convex_pieces(mesh: TriangleMesh, approximation: CollisionApproximation) -> ConvexPieces:
    """The pieces of a closed mesh."""
    solid = solid_from_mesh(mesh)
    if approximation is CollisionApproximation.CONVEX_HULL:
        return ConvexPieces((mesh_from_solid(solid.hull()),), 0.0, 0.0)
    hulls = _merge(_cut(solid, 0.0005), 0.001)
    return ConvexPieces(tuple(mesh_from_solid(h) for h in hulls), 0.0, 0.0)


def _mean_gap(hull: Solid, volume: float) -> float:
    return float((hull.volume() - volume) / max(hull.surface_area() / 2, 1e-12))


def _cut(solid: Solid, tolerance: float, smallest: float = 0.004, most: int = 2000) -> list[tuple[Solid, float]]:
    done: list[tuple[Solid, float]] = []
    todo = [solid]
    while todo:
        piece = todo.pop()
        parts = piece.decompose()
        if len(parts) > 1:
            todo += parts
            continue
        volume = piece.volume()
        if volume < 1e-12:
            continue
        hull = piece.hull()
        low, high = np.array(piece.bounding_box()).reshape(2, 3)
        if _mean_gap(hull, volume) < tolerance or (high - low).max() < smallest or len(done) + len(todo) > most:
            done.append((hull, volume))
            continue
        halves = []
        for axis in range(3):
            if high[axis] - low[axis] >= smallest:
                a, b = piece.split_by_plane(np.eye(3)[axis], float(low[axis] + high[axis]) / 2)
                halves.append((a.hull().volume() + b.hull().volume(), axis, a, b))
        todo += min(halves, key=lambda h: h[:2])[2:]
    return done


def _merge(pieces: list[tuple[Solid, float]], tolerance: float) -> list[Solid]:
    alive = {i: (hull, volume, np.array(hull.bounding_box()).reshape(2, 3)) for i, (hull, volume) in enumerate(pieces)}
    near: dict[int, set[int]] = {i: set() for i in alive}
    heap: list[tuple[float, int, int]] = []

    def consider(i: int, j: int) -> None:
        near[i].add(j)
        near[j].add(i)
        union = Solid.batch_hull([alive[i][0], alive[j][0]])
        gap = _mean_gap(union, alive[i][1] + alive[j][1])
        if gap < tolerance:
            heapq.heappush(heap, (gap, i, j))

    ids = list(alive)
    for i in ids:
        for j in ids[i + 1 :]:
            (lo_i, hi_i), (lo_j, hi_j) = alive[i][2], alive[j][2]
            if np.all(lo_i <= hi_j + 1e-5) and np.all(lo_j <= hi_i + 1e-5):
                consider(i, j)
    while heap:
        _, i, j = heapq.heappop(heap)
        if i not in alive or j not in alive:
            continue
        hull = Solid.batch_hull([alive[i][0], alive[j][0]])
        neighbours = (near[i] | near[j]) - {i, j}
        new = max(near) + 1
        near[new] = set()
        alive[new] = (hull, alive[i][1] + alive[j][1], np.array(hull.bounding_box()).reshape(2, 3))
        del alive[i], alive[j]
        for k in sorted(neighbours & alive.keys()):
            consider(new, k)
    return [hull for hull, _, _ in alive.values()]


def recipe(approximation: CollisionApproximation) -> str:
    """Names everything but the mesh that the pieces depend on."""
    return f"{approximation.value} 1"
