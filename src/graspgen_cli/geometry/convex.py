"""Spheres that fill a solid from inside, each touching its surface.

Convex pieces that stand for an object in the simulation, and how far they stand off its outer surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from graspgen_cli.errors import ObjectError, install_command
from graspgen_cli.geometry.cutting import CutLimits, Part, brought, cut, frames_to_cut_in
from graspgen_cli.geometry.gaps import GapBound, Gaps, Surface, look_again, measure_gap, measure_gaps, spread_points, summed_up
from graspgen_cli.geometry.merging import Group, merge, share_out, single_groups
from graspgen_cli.geometry.meshes import convex_hull, extents, face_normals, mesh_from_solid, solid_from_mesh, triangle_mesh
from graspgen_cli.geometry.poses import inverse, transform_points
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.geometry.reach import outer_surface
from graspgen_cli.records import Floats, TriangleMesh
from graspgen_cli.settings.trials import CollisionApproximation

DENSE_POINTS = 40_000
"""Points of the surface that spheres shrink away from."""
SURFACE_POINTS = 3000
"""Points of the surface that the spheres have to come near."""
CANDIDATES = 1000
MOST_SPHERES = 128
ROUNDS = 20
"""Most steps of shrinking; spheres settle in fewer than ten."""
FINEST = 0.02
COARSER = 1.1
"""The tolerance starts at this share of the object's size and grows by this factor until few enough spheres do."""


def fill_with_spheres(mesh: TriangleMesh) -> tuple[Floats, Floats]:
    """Centres (S, 3) m and radii (S,) m of at most 128 spheres inside a closed mesh, chosen to come near all of its surface.

    Candidates are the largest inscribed spheres at points of the surface. Of those, one after the other, that is taken which comes near
    most points that none is near yet; the tolerance is the least, in steps of a tenth, at which the spheres suffice.
    """
    triangles = mesh.vertices[mesh.faces]
    touched, face = spread_points(triangles, CANDIDATES)
    size = float(extents(mesh).max())
    dense, _ = spread_points(triangles, DENSE_POINTS)
    centers = inscribed_centers(dense, touched, face_normals(triangles)[face], largest=size / 2)
    centers = centers[RayCaster(mesh).inside(centers)]
    surface = Surface(mesh)
    radii = np.array([surface.distance(center) for center in centers])
    beyond = cdist(centers, spread_points(triangles, SURFACE_POINTS)[0]) - radii[:, None]  # (C, N) m
    tolerance = FINEST * size
    picked = _cover(beyond <= tolerance)
    while picked is None:
        tolerance *= COARSER
        picked = _cover(beyond <= tolerance)
    return centers[picked], radii[picked]


def inscribed_centers(points: Floats, touched: Floats, normals: Floats, *, largest: float) -> Floats:
    """Centres (C, 3) of the largest spheres that touch a surface from inside at given places and hold none of its points (N, 3).

    touched, normals: (C, 3) places on the surface and its unit normals there, outwards. Each sphere starts with the largest radius and
    shrinks to pass through the point nearest to its centre until none is inside (Ma, Bae and Choi 2012, "3D medial axis point
    approximation using nearest neighbors and the normal field").
    """
    tree = cKDTree(points)
    radii = np.full(len(touched), largest)
    for _ in range(ROUNDS):
        centers = touched - normals * radii[:, None]
        distance, nearest = tree.query(centers)
        toward = touched - points[nearest]
        along = np.einsum("ij,ij->i", toward, normals)
        shrunk = np.einsum("ij,ij->i", toward, toward) / np.where(along > 0, 2 * along, np.inf)
        shrinks = (distance < radii * (1 - 1e-6)) & (shrunk > 0)
        if not shrinks.any():
            break
        radii[shrinks] = np.minimum(radii, shrunk)[shrinks]
    return np.asarray(touched - normals * radii[:, None])


def _cover(near: NDArray[np.bool_]) -> NDArray[np.intp] | None:
    """Candidates whose rows of (C, N) together cover all columns, greedily; None where more than the most spheres are needed."""
    picked: list[int] = []
    gain = near.sum(axis=1)
    bare = np.ones(near.shape[1], np.bool_)
    while bare.any():
        best = int(gain.argmax())
        if len(picked) == MOST_SPHERES or gain[best] == 0:
            return None
        picked.append(best)
        covered = np.flatnonzero(bare & near[best])
        bare[covered] = False
        gain -= near[:, covered].sum(axis=1)
    return np.array(picked, np.intp)


def sphere_mesh(center: Floats, radius: float) -> TriangleMesh:
    """An icosahedron, once subdivided, with its 42 vertices on the sphere."""
    vertices, faces = _icosahedron()
    corners = vertices[faces]
    middles = (corners + np.roll(corners, -1, axis=1)) / 2  # of the edges 01, 12, 20
    a, b, c = corners.swapaxes(0, 1)
    ab, bc, ca = middles.swapaxes(0, 1)
    triangles = np.concatenate([np.stack(three, axis=1) for three in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    unique, index = np.unique(np.round(triangles.reshape(-1, 3), 12), axis=0, return_inverse=True)
    on_sphere = unique / np.linalg.norm(unique, axis=1, keepdims=True)
    return triangle_mesh(center + radius * on_sphere, index.reshape(-1, 3))


def _icosahedron() -> tuple[Floats, NDArray[np.intp]]:
    golden = (1 + 5**0.5) / 2
    signs = [(one, other * golden) for one in (-1, 1) for other in (-1, 1)]
    vertices = np.array([np.roll((0, one, other), shift) for shift in range(3) for one, other in signs], np.float64)
    near = np.isclose(cdist(vertices, vertices), 2)
    faces = [(i, j, k) for i in range(12) for j in range(i) for k in range(j) if near[i, j] and near[j, k] and near[k, i]]
    outwards = [(i, j, k) if np.linalg.det(vertices[[i, j, k]]) > 0 else (i, k, j) for i, j, k in faces]
    return vertices, np.array(outwards)


ALGORITHM = 5
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
TIGHTENED = (0.9, 0.75, 0.5)
"""Multiples of all lengths above with which pieces that stand farther off the mesh than they may are made anew, in turn."""
RELAXED = 1.33
"""Multiple of the largest gap that is taken, as far as it is allowed, where there are many pieces: wide thin shells need hundreds."""
FAR_ABOVE_ROUNDING = 1 - 1e-6
"""Share of a size that is taken where it must not be too large: coordinates are rounded before anything is cut."""
CLOSE = 0.8
"""Share of the allowed gap above which the largest one found is looked for at many more points."""
MANY_FACES = 20_000
SIMPLIFIED = 0.0001
"""m: how far a mesh of many faces may move before it is cut; its pieces may lie inside it by as much."""


@dataclass(frozen=True, eq=False)
class ConvexPieces:
    """Convex pieces and how far their surface stands off the mesh's outer surface.

    Spheres lie inside it: theirs are the distances from it to them. A signed distance field has the outer surface itself for its only
    piece, not convex, without gaps.
    """

    pieces: tuple[TriangleMesh, ...]
    gaps: Gaps


def convex_pieces(mesh: TriangleMesh, approximation: CollisionApproximation, max_surface_gap: float | None = None) -> ConvexPieces:
    """The pieces of a closed mesh; the same for the same mesh, whatever the machine's load or number of cores.

    They fill the mesh's outer surface (`geometry.reach.outer_surface`): what is enclosed, parts and cavities, no gripper can touch. They
    are made in that surface's own frame (`geometry.own_frame`), so that a file with other axes gets the same.

    max_surface_gap: m that pieces of a decomposition should stand off the mesh at most; None: see `allowed_gap`.
    Raises ObjectError where the approximation needs a package that is missing.
    """
    outer = outer_surface(mesh)
    if approximation is CollisionApproximation.SDF:
        return ConvexPieces((outer,), Gaps(0.0, 0.0, 0.0))
    frames = frames_to_cut_in(outer)
    if approximation is CollisionApproximation.CONVEX_DECOMPOSITION:
        return _cut_and_merge(outer, frames, max_surface_gap)
    return _taken_back(_METHODS[approximation](brought(outer, frames[0])), frames[0])


def allowed_gap(mesh: TriangleMesh, max_surface_gap: float | None = None) -> float:
    """m that the pieces of a decomposition should stand off the mesh at most: what is asked for, else LARGEST_GAP (in proportion for
    very small and very large objects) or LARGEST_SHARE of the object's size, whichever is more. The size is the longest side of the box
    around the object in the frame in which it is cut."""
    if max_surface_gap is not None:
        return max_surface_gap
    outer = outer_surface(mesh)
    return _allowed(brought(outer, frames_to_cut_in(outer)[0]))


def least_allowed_gap(mesh: TriangleMesh, max_surface_gap: float | None = None) -> float:
    """m that `allowed_gap` does not fall below, found at once: it grows with the object's size, and a box in any frame around two
    points has a side of their distance over √3 or more."""
    if max_surface_gap is not None:
        return max_surface_gap
    return _allowed_for(float(extents(mesh).max()) / 3**0.5 * FAR_ABOVE_ROUNDING)


def _allowed(mesh: TriangleMesh) -> float:
    """`allowed_gap` of an outer surface in the frame in which it is cut."""
    return _allowed_for(float(extents(mesh).max()))


def _allowed_for(size: float) -> float:
    return max(LARGEST_GAP * _unit(size), LARGEST_SHARE * size)


def _taken_back(convex: ConvexPieces, pose_mesh_in_frame: Floats) -> ConvexPieces:
    """Pieces in the mesh's own frame that were made in another."""
    back = inverse(pose_mesh_in_frame)
    return ConvexPieces(tuple(triangle_mesh(transform_points(back, piece.vertices), piece.faces) for piece in convex.pieces), convex.gaps)


def recipe(approximation: CollisionApproximation, max_surface_gap: float | None = None) -> str:
    """Names everything but the mesh that the pieces depend on: the method, its version and its setting."""
    package = "coacd" if approximation is CollisionApproximation.COACD else "manifold3d"
    bound = "" if max_surface_gap is None else f" {max_surface_gap!r}"
    try:
        return f"{approximation.value} {ALGORITHM}{bound} {package} {version(package)}"
    except ModuleNotFoundError:
        return f"{approximation.value} {ALGORITHM}{bound}"


def _unit(size: float) -> float:
    """What all lengths above are multiplied by for an object of a size, m."""
    return size / float(np.clip(size, *ORDINARY_SIZE))


def _cut_and_merge(mesh: TriangleMesh, frames: list[Floats], max_surface_gap: float | None) -> ConvexPieces:
    """Pieces that stand off no farther than allowed, or the nearest of those tried: where cuts in one frame do not lead there, those in
    another do."""
    allowed = _allowed(brought(mesh, frames[0])) if max_surface_gap is None else max_surface_gap
    best = None
    for frame in frames:
        made = _taken_back(_cut_in_frame(brought(mesh, frame), max_surface_gap, allowed), frame)
        best = made if best is None else min(best, made, key=lambda convex: convex.gaps.largest)
        if best.gaps.largest <= allowed:
            break
    assert best is not None, "there is always a frame"
    return best


def _cut_in_frame(mesh: TriangleMesh, max_surface_gap: float | None, allowed: float) -> ConvexPieces:
    """Cut until parts are nearly convex, joined while their hull stays near the mesh, and made finer where they turn out to stand too far
    off."""
    draft = _Draft.of(mesh, max_surface_gap, allowed)
    if not draft.groups:  # nothing but crumbs: a surface that is everywhere folded on itself
        return _one_hull(mesh)
    best, farthest = draft.measured(allowed)
    for tightened in TIGHTENED:
        if best.gaps.largest <= allowed:
            break
        draft = draft.finer(farthest > allowed, tightened)
        convex, farthest = draft.measured(allowed)
        best = min(best, convex, key=lambda convex: convex.gaps.largest)
    return best


@dataclass(frozen=True, eq=False)
class _Draft:
    """Groups of parts whose hulls are to be the pieces, in a frame of their own, and what they were aimed at."""

    groups: list[Group]
    limits: CutLimits
    mean_gap: float
    bound: GapBound
    surface: Surface
    """The mesh's, to which gaps are measured."""

    @staticmethod
    def of(mesh: TriangleMesh, max_surface_gap: float | None, allowed: float) -> _Draft:
        """A first one. It is aimed at a bound of LARGEST_GAP where none is asked for, and all other lengths go with the bound."""
        unit = _unit(float(extents(mesh).max())) if max_surface_gap is None else max_surface_gap / LARGEST_GAP
        many = len(mesh.faces) > MANY_FACES
        solid = solid_from_mesh(mesh).simplify(SIMPLIFIED * unit) if many else solid_from_mesh(mesh)
        bound = GapBound(mesh_from_solid(solid), LARGEST_GAP * unit)
        surface = Surface(mesh) if many else bound.surface
        limits, mean_gap = CutLimits(CUT_GAP * unit, SMALLEST_PART * unit, MOST_PARTS), MERGE_GAP * unit
        groups = single_groups(cut(solid, limits, bound))
        groups = merge(groups, mean_gap, bound) if groups else []
        relaxed = bound.times(min(RELAXED, allowed / bound.bound))
        if len(groups) > MANY_PIECES and relaxed.bound > bound.bound:
            groups = merge(groups, mean_gap, relaxed)
            return _Draft(share_out(groups, mean_gap, relaxed), limits, mean_gap, bound, surface)
        return _Draft(share_out(groups, mean_gap, bound), limits, mean_gap, bound, surface)

    def finer(self, broken: NDArray[np.bool_], tightened: float) -> _Draft:
        """The groups that are `broken` (G,) taken apart, single parts cut again, and joined anew with each other or with the rest, all with
        tightened lengths."""
        kept = [group for group, bad in zip(self.groups, broken, strict=True) if not bad]
        parts: list[Part] = []
        for group, bad in zip(self.groups, broken, strict=True):
            if bad and len(group.members) > 1:
                parts += group.members
            elif bad:
                parts += cut(group.part.solid, self.limits.times(tightened), self.bound.times(tightened))
        anew = merge(kept + single_groups(parts), self.mean_gap * tightened, self.bound.times(tightened), settled=len(kept))
        return replace(self, groups=anew)

    def measured(self, allowed: float) -> tuple[ConvexPieces, Floats]:
        """The pieces, and how far each group's stands off at most, (G,) m."""
        hulls = [convex_hull(group.part.arrays[0]) for group in self.groups]
        pieces = tuple(hull for hull in hulls if hull is not None)
        gaps, farthest = measure_gaps(pieces, self.surface)
        if gaps.largest > CLOSE * allowed:
            gaps, farthest = look_again(pieces, self.bound.times(allowed / self.bound.bound), self.surface, gaps, farthest)
        of_group = np.zeros(len(hulls))
        of_group[[hull is not None for hull in hulls]] = farthest
        return ConvexPieces(pieces, gaps), of_group


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
        raise ObjectError(f"--collision-approximation coacd needs CoACD; run {install_command('coacd')}") from None
    coacd.set_log_level("off")
    parts = coacd.run_coacd(coacd.Mesh(mesh.vertices, mesh.faces), seed=0)
    return _measured([vertices for vertices, _ in parts], mesh)


def _spheres(mesh: TriangleMesh) -> ConvexPieces:
    centers, radii = fill_with_spheres(mesh)
    points, _ = spread_points(mesh.vertices[mesh.faces], SURFACE_POINTS)
    gaps = (np.linalg.norm(points[:, None] - centers, axis=-1) - radii).min(axis=1).clip(min=0.0)
    pieces = tuple(sphere_mesh(center, float(radius)) for center, radius in zip(centers, radii, strict=True))
    return ConvexPieces(pieces, summed_up(gaps, gaps[:0]))


_METHODS: dict[CollisionApproximation, Callable[[TriangleMesh], ConvexPieces]] = {
    CollisionApproximation.COACD: _coacd,
    CollisionApproximation.CONVEX_HULL: _one_hull,
    CollisionApproximation.SPHERE_FILL: _spheres,
}
