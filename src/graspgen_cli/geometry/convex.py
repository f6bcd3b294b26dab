"""Convex pieces that stand for an object in the simulation, and how far they stand off its mesh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import manifold3d
import numpy as np

from graspgen_cli.geometry.creases import aligned_frame
from graspgen_cli.geometry.cutting import CutLimits, cut
from graspgen_cli.geometry.gaps import GapBound, measure_gap
from graspgen_cli.geometry.merging import MergeLimits, merge, share_out, single_groups
from graspgen_cli.geometry.meshes import extents, mesh_from_solid, solid_from_mesh, triangle_mesh
from graspgen_cli.records import TriangleMesh
from graspgen_cli.settings.models import CollisionApproximation

ALGORITHM = 2
"""Goes up whenever the same mesh gives other pieces than before: kept pieces are then made anew."""

CUT_GAP = 0.0004
"""m: mean gap under which a part is not cut further."""
MERGE_GAP = 0.0015
"""m: mean gap that a joined hull may leave."""
LARGEST_GAP = 0.0015
"""m: largest gap that a hull may leave."""
SMALLEST_PART = 0.003
"""m."""
ORDINARY_SIZE = (0.03, 0.5)
"""m: objects smaller or larger than these have all lengths above in proportion to their size."""
MOST_PARTS = 600
MANY_PIECES = 80
RELAXED = (1.0, 1.33)
"""Multiples of the largest gap that are tried in turn while there are many pieces."""


@dataclass(frozen=True, eq=False)
class ConvexPieces:
    """Convex pieces and how far they stand off the mesh: mean and largest distance from their surface to it, m."""

    pieces: tuple[TriangleMesh, ...]
    mean_gap: float
    largest_gap: float


def convex_pieces(mesh: TriangleMesh, approximation: CollisionApproximation) -> ConvexPieces:
    """The pieces of a closed mesh."""
    pieces = tuple(_METHODS[approximation](mesh))
    return ConvexPieces(pieces, *measure_gap(pieces, mesh))


def recipe(approximation: CollisionApproximation) -> str:
    """Names everything but the mesh that the pieces depend on."""
    return f"{approximation.value} {ALGORITHM}"


def _cut_and_merge(mesh: TriangleMesh) -> list[TriangleMesh]:
    """Cut until parts are nearly convex, then join neighbours while their hull stays near the mesh."""
    size = float(extents(mesh).max())
    unit = size / float(np.clip(size, *ORDINARY_SIZE))
    frame = aligned_frame(mesh.vertices, mesh.faces)
    aligned = triangle_mesh(mesh.vertices @ frame.T, mesh.faces)
    bound = GapBound(aligned, LARGEST_GAP * unit)
    parts = cut(solid_from_mesh(aligned), CutLimits(CUT_GAP * unit, SMALLEST_PART * unit, MOST_PARTS), bound)
    groups = single_groups(parts)
    for relaxed in RELAXED:
        limits = MergeLimits(MERGE_GAP * unit, relaxed)
        groups = merge(groups, limits, bound)
        if len(groups) <= MANY_PIECES:
            break
    hulls = [mesh_from_solid(group.part.hull) for group in share_out(groups, limits, bound)]
    return [triangle_mesh(hull.vertices @ frame, hull.faces) for hull in hulls]


def _one_hull(mesh: TriangleMesh) -> list[TriangleMesh]:
    return [mesh_from_solid(manifold3d.Manifold.hull_points(mesh.vertices))]


_METHODS: dict[CollisionApproximation, Callable[[TriangleMesh], list[TriangleMesh]]] = {
    CollisionApproximation.CONVEX_DECOMPOSITION: _cut_and_merge,
    CollisionApproximation.CONVEX_HULL: _one_hull,
}
