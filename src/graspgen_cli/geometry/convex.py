"""Convex pieces that stand for an object in the simulation, and how far they stand off its mesh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from graspgen_cli.errors import ObjectError
from graspgen_cli.geometry.creases import aligned_frame
from graspgen_cli.geometry.cutting import CutLimits, arrays, cut
from graspgen_cli.geometry.gaps import GapBound, Gaps, measure_gap, spread_points, summed_up
from graspgen_cli.geometry.merging import MergeLimits, merge, share_out, single_groups
from graspgen_cli.geometry.meshes import convex_hull, extents, mesh_from_solid, solid_from_mesh, triangle_mesh
from graspgen_cli.geometry.spheres import SURFACE_POINTS, fill_with_spheres, sphere_mesh
from graspgen_cli.records import Floats, TriangleMesh
from graspgen_cli.settings.models import CollisionApproximation

ALGORITHM = 2
"""Goes up whenever the same mesh gives other pieces than before: kept pieces are then made anew."""

CUT_GAP = 0.0004
"""m: mean gap under which a part is not cut further."""
MERGE_GAP = 0.0015
"""m: mean gap that a joined hull may leave."""
LARGEST_GAP = 0.0015
"""m: largest gap that a hull may leave, so that no hole or rim as wide as a fingertip is filled."""
SMALLEST_PART = 0.003
"""m."""
LARGEST_SHARE = 0.015
"""Share of the object's size that the largest gap may be where that is more than LARGEST_GAP."""
ORDINARY_SIZE = (0.03, 0.5)
"""m: objects smaller or larger than these have all lengths above in proportion to their size."""
MOST_PARTS = 600
MANY_PIECES = 80
TIGHTENED = (1.0, 0.9, 0.75, 0.5)
"""Multiples of all lengths above that are tried in turn while the pieces stand farther off the mesh than they may."""
RELAXED = (1.0, 1.33)
"""Multiples of the largest gap that are tried in turn while there are many pieces: wide thin shells need hundreds."""
MANY_FACES = 20_000
SIMPLIFIED = 0.0001
"""m: how far a mesh of many faces may move before it is cut; its pieces may lie inside it by as much."""


@dataclass(frozen=True, eq=False)
class ConvexPieces:
    """Convex pieces and how far their surface stands off the mesh.

    Spheres lie inside the mesh: theirs are the distances from the mesh to them. A signed distance field has the mesh itself for its
    only piece, not convex, without gaps.
    """

    pieces: tuple[TriangleMesh, ...]
    gaps: Gaps


def convex_pieces(mesh: TriangleMesh, approximation: CollisionApproximation, max_surface_gap: float | None = None) -> ConvexPieces:
    """The pieces of a closed mesh; the same for the same mesh, whatever the machine's load or number of cores.

    max_surface_gap: m that pieces of a decomposition should stand off the mesh at most; None: see `allowed_gap`.
    Raises ObjectError where the approximation needs a package that is missing.
    """
    if approximation is CollisionApproximation.CONVEX_DECOMPOSITION:
        return _cut_and_merge(mesh, max_surface_gap)
    return _METHODS[approximation](mesh)


def allowed_gap(mesh: TriangleMesh, max_surface_gap: float | None = None) -> float:
    """m that the pieces of a decomposition should stand off the mesh at most: what is asked for, else LARGEST_GAP (in proportion for
    very small and very large objects) or LARGEST_SHARE of the object's size, whichever is more."""
    if max_surface_gap is not None:
        return max_surface_gap
    return max(LARGEST_GAP * _unit(mesh), LARGEST_SHARE * float(extents(mesh).max()))


def recipe(approximation: CollisionApproximation, max_surface_gap: float | None = None) -> str:
    """Names everything but the mesh that the pieces depend on: the method, its version and its setting."""
    package = "coacd" if approximation is CollisionApproximation.COACD else "manifold3d"
    bound = "" if max_surface_gap is None else f" {max_surface_gap!r}"
    try:
        return f"{approximation.value} {ALGORITHM}{bound} {package} {version(package)}"
    except ModuleNotFoundError:
        return f"{approximation.value} {ALGORITHM}{bound}"


def _unit(mesh: TriangleMesh) -> float:
    """What all lengths above are multiplied by."""
    size = float(extents(mesh).max())
    return size / float(np.clip(size, *ORDINARY_SIZE))


def _cut_and_merge(mesh: TriangleMesh, max_surface_gap: float | None) -> ConvexPieces:
    """Pieces that stand off no farther than allowed, or the nearest of those tried. They are aimed at a bound of LARGEST_GAP where none
    is asked for, and all other lengths go with the bound."""
    allowed = allowed_gap(mesh, max_surface_gap)
    unit = _unit(mesh) if max_surface_gap is None else max_surface_gap / LARGEST_GAP
    tried: list[ConvexPieces] = []
    for tightened in TIGHTENED:
        tried.append(_decomposed(mesh, unit * tightened))
        if tried[-1].gaps.largest <= allowed:
            break
    return min(tried, key=lambda convex: convex.gaps.largest)


def _decomposed(mesh: TriangleMesh, unit: float) -> ConvexPieces:
    """Cut until parts are nearly convex, then join neighbours while their hull stays near the mesh."""
    frame = aligned_frame(mesh.vertices, mesh.faces)
    solid = solid_from_mesh(triangle_mesh(mesh.vertices @ frame.T, mesh.faces))
    if len(mesh.faces) > MANY_FACES:
        solid = solid.simplify(SIMPLIFIED * unit)
    bound = GapBound(mesh_from_solid(solid), LARGEST_GAP * unit)
    groups = single_groups(cut(solid, CutLimits(CUT_GAP * unit, SMALLEST_PART * unit, MOST_PARTS), bound))
    if not groups:  # nothing but crumbs: a surface that is everywhere folded on itself
        return _one_hull(mesh)
    for relaxed in RELAXED:
        limits = MergeLimits(MERGE_GAP * unit, relaxed)
        groups = merge(groups, limits, bound)
        if len(groups) <= MANY_PIECES:
            break
    corners = [arrays(group.part.hull)[0] @ frame for group in share_out(groups, limits, bound)]
    return _measured(corners, mesh)


def _measured(corners: list[Floats], mesh: TriangleMesh) -> ConvexPieces:
    """The convex hulls of sets of points (N, 3); crumbs without volume are left out."""
    hulls = [convex_hull(points) for points in corners]
    pieces = tuple(hull for hull in hulls if hull is not None)
    return ConvexPieces(pieces, measure_gap(pieces, mesh))


def _one_hull(mesh: TriangleMesh) -> ConvexPieces:
    return _measured([mesh.vertices], mesh)


def _coacd(mesh: TriangleMesh) -> ConvexPieces:
    """CoACD (Wei et al. 2022) with its own defaults and a fixed seed."""
    try:
        import coacd
    except ImportError:
        raise ObjectError("--collision-approximation coacd needs CoACD; run: pip install 'graspgen-cli[coacd]'") from None
    coacd.set_log_level("off")
    parts = coacd.run_coacd(coacd.Mesh(mesh.vertices, mesh.faces), seed=0)
    return _measured([vertices for vertices, _ in parts], mesh)


def _spheres(mesh: TriangleMesh) -> ConvexPieces:
    centers, radii = fill_with_spheres(mesh)
    points, _ = spread_points(mesh.vertices[mesh.faces], SURFACE_POINTS)
    gaps = (np.linalg.norm(points[:, None] - centers, axis=-1) - radii).min(axis=1).clip(min=0.0)
    pieces = tuple(sphere_mesh(center, float(radius)) for center, radius in zip(centers, radii, strict=True))
    return ConvexPieces(pieces, summed_up(gaps, gaps[:0]))


def _itself(mesh: TriangleMesh) -> ConvexPieces:
    """For a signed distance field, which the simulation makes of the mesh."""
    return ConvexPieces((mesh,), Gaps(0.0, 0.0, 0.0))


_METHODS: dict[CollisionApproximation, Callable[[TriangleMesh], ConvexPieces]] = {
    CollisionApproximation.COACD: _coacd,
    CollisionApproximation.CONVEX_HULL: _one_hull,
    CollisionApproximation.SPHERE_FILL: _spheres,
    CollisionApproximation.SDF: _itself,
}
