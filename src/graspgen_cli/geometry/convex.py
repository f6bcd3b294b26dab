"""Convex pieces that represent an object in the simulation, and their gaps to its outer surface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from graspgen_cli.errors import ObjectError, install_command
from graspgen_cli.geometry.cutting import CutLimits, Part, cut
from graspgen_cli.geometry.frames import cutting_frames, snap_to_frame
from graspgen_cli.geometry.gaps import GapBound, Gaps, Surface, measure_densely, measure_gaps, sample_surface
from graspgen_cli.geometry.merging import Group, dissolve_small, merge, single_groups
from graspgen_cli.geometry.meshes import convex_hull, face_normals, longest_side, mesh_from_solid, solid_from_mesh, transform_mesh
from graspgen_cli.geometry.poses import inverse
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.geometry.reach import outer_surface
from graspgen_cli.records import Floats, TriangleMesh
from graspgen_cli.settings.trials import CollisionApproximation

ALGORITHM = 5  # version of the decomposition. Increment when the same mesh gives other pieces: cached pieces are then replaced
CUT_GAP = 0.0004  # m: mean gap below which a part is not cut further. This and the following lengths hold for objects of ORDINARY_SIZE
MERGE_GAP = 0.0015  # m: largest mean gap of a merged hull
LARGEST_GAP = 0.0015  # m: bound on the gaps of a hull, so that no hole or rim as wide as a fingertip is filled
SMALLEST_PART = 0.003  # m
ORDINARY_SIZE = (0.03, 0.5)  # m: for smaller or larger objects the lengths above are in proportion to the size
LARGEST_SHARE = 0.015  # allowed gap as a share of the object's size, where larger than LARGEST_GAP
MOST_PARTS = 600
MANY_PIECES = 80
TIGHTENED = (0.9, 0.75, 0.5)  # factors on the lengths with which pieces beyond the allowed gap are made again, in turn
RELAXED = 1.33  # factor on the bound, within the allowed gap, for shapes with many pieces: wide thin shells need hundreds
FAR_ABOVE_ROUNDING = 1 - 1e-6  # factor that keeps a lower bound on a size below the size of rounded coordinates
CLOSE = 0.8  # share of the allowed gap above which the largest gap is measured at many more points
MANY_FACES = 20_000
SIMPLIFIED = 0.0001  # m by which a mesh of many faces may change before it is cut; pieces may lie inside the mesh by as much
THINNEST = 1e-6  # least thickness of a piece as a share of the object's size; a thinner piece is a rounding error that engines refuse

DENSE_POINTS = 40_000  # surface points that spheres must not contain
SURFACE_POINTS = 3000  # surface points that the spheres must come near
CANDIDATES = 1000
MOST_SPHERES = 128
ROUNDS = 20  # most steps of shrinking; spheres settle in fewer than ten
FINEST = 0.02
COARSER = 1.1  # the tolerance of a sphere fill starts at FINEST of the object's size and grows by this factor until MOST_SPHERES suffice


@dataclass(frozen=True, eq=False)
class ConvexPieces:
    """Convex pieces and the gaps between their surface and the mesh's outer surface.

    Spheres lie inside the mesh: their gaps are the distances from the outer surface to the spheres. A signed distance field has the outer
    surface as its only piece, not convex, without gaps.
    """

    pieces: tuple[TriangleMesh, ...]
    gaps: Gaps


def convex_pieces(mesh: TriangleMesh, approximation: CollisionApproximation, max_surface_gap: float | None = None) -> ConvexPieces:
    """The pieces of a closed mesh. The same mesh gives the same pieces, independent of load, cores and the file's axes.

    The pieces fill the mesh's outer surface (`outer_surface`): enclosed parts and cavities are out of reach.
    max_surface_gap: m, aim for the largest gap of a decomposition; None stands for `allowed_gap`. Raises ObjectError if the approximation
    needs a package that is not installed.
    """
    outer = outer_surface(mesh)
    if approximation is CollisionApproximation.SDF:
        return ConvexPieces((outer,), Gaps(0.0, 0.0, 0.0))
    frames = cutting_frames(outer)
    if approximation is CollisionApproximation.CONVEX_DECOMPOSITION:
        return _decompose(outer, frames, max_surface_gap)
    return _transform_back(_METHODS[approximation](snap_to_frame(outer, frames[0])), frames[0])


def recipe(approximation: CollisionApproximation, max_surface_gap: float | None = None) -> str:
    """Name of everything except the mesh that determines the pieces: method, version and setting."""
    package = "coacd" if approximation is CollisionApproximation.COACD else "manifold3d"
    bound = "" if max_surface_gap is None else f" {max_surface_gap!r}"
    try:
        return f"{approximation.value} {ALGORITHM}{bound} {package} {version(package)}"
    except ModuleNotFoundError:
        return f"{approximation.value} {ALGORITHM}{bound}"


def allowed_gap(mesh: TriangleMesh, max_surface_gap: float | None = None) -> float:
    """Largest gap (m) that a decomposition aims for: `max_surface_gap`, or the larger of LARGEST_GAP (in proportion beyond ORDINARY_SIZE)
    and LARGEST_SHARE of the size, the longest side of the bounding box in the cutting frame."""
    if max_surface_gap is not None:
        return max_surface_gap
    outer = outer_surface(mesh)
    return _allowed(longest_side(snap_to_frame(outer, cutting_frames(outer)[0])))


def least_allowed_gap(mesh: TriangleMesh, max_surface_gap: float | None = None) -> float:
    """A lower bound on `allowed_gap` (m) without its search for a frame: in any frame the box around two points has a side of at least
    their distance over √3."""
    if max_surface_gap is not None:
        return max_surface_gap
    return _allowed(longest_side(mesh) / 3**0.5 * FAR_ABOVE_ROUNDING)


def _allowed(size: float) -> float:
    return max(LARGEST_GAP * _unit(size), LARGEST_SHARE * size)


def _unit(size: float) -> float:
    """Factor on the lengths above for an object of a size (m)."""
    return size / float(np.clip(size, *ORDINARY_SIZE))


def without_slivers(pieces: tuple[TriangleMesh, ...], size: float) -> tuple[TriangleMesh, ...]:
    """The pieces of an object of a size (m) above the least thickness; all pieces if none is."""
    thick = tuple(piece for piece in pieces if thickness(piece) > THINNEST * size)
    return thick or pieces


def thickness(piece: TriangleMesh) -> float:
    """Extent (m) along the direction of least spread of the vertices (the last principal axis)."""
    spread = piece.vertices - piece.vertices.mean(axis=0)
    across = np.linalg.svd(spread, full_matrices=False)[2][-1]
    return float(np.ptp(spread @ across))


def _transform_back(convex: ConvexPieces, pose_mesh_in_frame: Floats) -> ConvexPieces:
    """Pieces made in another frame, in the mesh's frame."""
    back = inverse(pose_mesh_in_frame)
    return replace(convex, pieces=tuple(transform_mesh(back, piece) for piece in convex.pieces))


def _decompose(mesh: TriangleMesh, frames: list[Floats], max_surface_gap: float | None) -> ConvexPieces:
    """The pieces of the first frame that keep the allowed gap, or the pieces with the smallest largest gap."""
    allowed = _allowed(longest_side(snap_to_frame(mesh, frames[0]))) if max_surface_gap is None else max_surface_gap
    in_frames = ((frame, _drafts(snap_to_frame(mesh, frame), max_surface_gap, allowed)) for frame in frames)
    return _first_within(allowed, (_transform_back(_first_within(allowed, drafts), frame) for frame, drafts in in_frames))


def _first_within(allowed: float, candidates: Iterable[ConvexPieces]) -> ConvexPieces:
    """The first candidate that keeps the allowed gap (m), or the candidate with the smallest largest gap."""
    tried: list[ConvexPieces] = []
    for convex in candidates:
        tried.append(convex)
        if convex.gaps.largest <= allowed:
            break
    return min(tried, key=lambda convex: convex.gaps.largest)


def _drafts(mesh: TriangleMesh, max_surface_gap: float | None, allowed: float) -> Iterator[ConvexPieces]:
    """The pieces of nearly convex, merged parts; then pieces of ever finer parts in place of the pieces beyond the allowed gap."""
    draft = _Draft.of(mesh, max_surface_gap, allowed)
    if not draft.groups:  # a surface folded on itself everywhere leaves no part with volume
        yield _hulls([mesh.vertices], mesh)
        return
    convex, farthest = draft.measured(allowed)
    yield convex
    for tightened in TIGHTENED:
        draft = draft.refined(farthest > allowed, tightened)
        convex, farthest = draft.measured(allowed)
        yield convex


@dataclass(frozen=True, eq=False)
class _Draft:
    """Groups of parts, whose hulls become the pieces, and the limits that they were made with. surface: the mesh's, for gaps."""

    groups: list[Group]
    limits: CutLimits
    mean_gap: float
    bound: GapBound
    surface: Surface

    @staticmethod
    def of(mesh: TriangleMesh, max_surface_gap: float | None, allowed: float) -> _Draft:
        """A first draft. The bound is LARGEST_GAP or `max_surface_gap`; all other lengths are in proportion."""
        unit = _unit(longest_side(mesh)) if max_surface_gap is None else max_surface_gap / LARGEST_GAP
        many = len(mesh.faces) > MANY_FACES
        solid = solid_from_mesh(mesh).simplify(SIMPLIFIED * unit) if many else solid_from_mesh(mesh)
        bound = GapBound(mesh_from_solid(solid), LARGEST_GAP * unit)
        limits, mean_gap = CutLimits(CUT_GAP * unit, SMALLEST_PART * unit, MOST_PARTS), MERGE_GAP * unit
        groups = single_groups(cut(solid, limits, bound))
        groups = merge(groups, mean_gap, bound) if groups else []
        used, relaxed = bound, bound.times(min(RELAXED, allowed / bound.bound))
        if len(groups) > MANY_PIECES and relaxed.bound > bound.bound:
            used, groups = relaxed, merge(groups, mean_gap, relaxed)
        return _Draft(dissolve_small(groups, mean_gap, used), limits, mean_gap, bound, Surface(mesh) if many else bound.surface)

    def refined(self, broken: NDArray[np.bool_], tightened: float) -> _Draft:
        """A draft in which `broken` (G,) groups are split into their parts, or a single part cut again, and merged anew with each other
        and the rest, with lengths scaled by `tightened`."""
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
        """The pieces, and the largest gap of each group, (G,) m."""
        hulls = [convex_hull(group.part.surface.vertices) for group in self.groups]
        pieces = tuple(hull for hull in hulls if hull is not None)
        gaps, farthest = measure_gaps(pieces, self.surface)
        if gaps.largest > CLOSE * allowed:
            gaps, farthest = measure_densely(pieces, self.bound.times(allowed / self.bound.bound), self.surface, gaps, farthest)
        of_group = np.zeros(len(hulls))
        of_group[[hull is not None for hull in hulls]] = farthest
        return ConvexPieces(pieces, gaps), of_group


def _hulls(point_sets: list[Floats], mesh: TriangleMesh) -> ConvexPieces:
    """The convex hulls of sets of points (N, 3), without flat sets."""
    hulls = [convex_hull(points) for points in point_sets]
    pieces = tuple(hull for hull in hulls if hull is not None)
    return ConvexPieces(pieces, measure_gaps(pieces, Surface(mesh))[0])


def _coacd(mesh: TriangleMesh) -> ConvexPieces:
    """CoACD (Wei et al. 2022) with its own defaults and a fixed seed."""
    try:
        import coacd
    except ImportError:
        raise ObjectError(f"--collision-approximation coacd needs CoACD; run {install_command('coacd')}") from None
    coacd.set_log_level("off")
    parts = coacd.run_coacd(coacd.Mesh(mesh.vertices, mesh.faces), seed=0)
    return _hulls([vertices for vertices, _ in parts], mesh)


def _spheres(mesh: TriangleMesh) -> ConvexPieces:
    """At most MOST_SPHERES spheres inside a closed mesh that come near all of its surface.

    Candidates are the largest inscribed spheres at surface points. A greedy cover takes the sphere near most uncovered points first, at
    the smallest tolerance, in steps of COARSER, for which the spheres suffice.
    """
    triangles = mesh.vertices[mesh.faces]
    touched, face = sample_surface(triangles, CANDIDATES)
    size = longest_side(mesh)
    dense, _ = sample_surface(triangles, DENSE_POINTS)
    centers = _inscribed_centers(dense, touched, face_normals(triangles)[face], largest=size / 2)
    centers = centers[RayCaster(mesh).inside(centers)]
    radii = Surface(mesh).distances(centers)
    beyond = cdist(centers, sample_surface(triangles, SURFACE_POINTS)[0]) - radii[:, None]  # (C, N) m
    tolerance = FINEST * size
    picked = _cover(beyond <= tolerance)
    while picked is None:
        tolerance *= COARSER
        picked = _cover(beyond <= tolerance)
    pieces = tuple(_sphere_mesh(center, float(radius)) for center, radius in zip(centers[picked], radii[picked], strict=True))
    return ConvexPieces(pieces, Gaps.of(beyond[picked].min(axis=0).clip(min=0.0), np.zeros(0)))


def _inscribed_centers(points: Floats, touched: Floats, normals: Floats, *, largest: float) -> Floats:
    """Centres (C, 3) of the largest spheres that touch a surface from inside at given places and contain none of its points (N, 3).

    touched, normals: (C, 3) places and outward unit normals. Spheres shrink from radius `largest` until empty (Ma, Bae and Choi 2012, "3D
    medial axis point approximation using nearest neighbors and the normal field").
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
    """Greedy set cover: candidates whose rows of (C, N) cover all columns; None if MOST_SPHERES do not suffice."""
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


def _sphere_mesh(center: Floats, radius: float) -> TriangleMesh:
    """A sphere as an icosahedron, subdivided once: 42 vertices."""
    vertices, faces = _icosahedron()
    corners = vertices[faces]
    middles = (corners + np.roll(corners, -1, axis=1)) / 2  # of the edges 01, 12, 20
    a, b, c = corners.swapaxes(0, 1)
    ab, bc, ca = middles.swapaxes(0, 1)
    triangles = np.concatenate([np.stack(three, axis=1) for three in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    unique, index = np.unique(np.round(triangles.reshape(-1, 3), 12), axis=0, return_inverse=True)
    on_sphere = unique / np.linalg.norm(unique, axis=1, keepdims=True)
    return TriangleMesh(center + radius * on_sphere, index.reshape(-1, 3).astype(np.int32))


def _icosahedron() -> tuple[Floats, NDArray[np.intp]]:
    golden = (1 + 5**0.5) / 2
    signs = [(one, other * golden) for one in (-1, 1) for other in (-1, 1)]
    vertices = np.array([np.roll((0, one, other), shift) for shift in range(3) for one, other in signs], np.float64)
    near = np.isclose(cdist(vertices, vertices), 2)
    faces = [(i, j, k) for i in range(12) for j in range(i) for k in range(j) if near[i, j] and near[j, k] and near[k, i]]
    outwards = [(i, j, k) if np.linalg.det(vertices[[i, j, k]]) > 0 else (i, k, j) for i, j, k in faces]
    return vertices, np.array(outwards)


_METHODS: dict[CollisionApproximation, Callable[[TriangleMesh], ConvexPieces]] = {
    CollisionApproximation.COACD: _coacd,
    CollisionApproximation.CONVEX_HULL: lambda mesh: _hulls([mesh.vertices], mesh),
    CollisionApproximation.SPHERE_FILL: _spheres,
}
