"""The gap between the surface of convex pieces and the mesh that they approximate; exact distances and intersections of one mesh (FCL)."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import fcl
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graspgen_cli.geometry.meshes import bounds, centroids, face_areas, face_normals, longest_side
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.records import Floats, TriangleMesh

CELL = 0.5  # cell side of the sample grid as a share of the distance
SURE = 1 - 1e-6  # share of the distance that counts as near: the margin is far above rounding errors
MOST_CELLS = 16_000_000
SURFACE_SPACING = 0.75  # spacing of the samples of the mesh's surface as a share of the bound
MOST_SURFACE_SAMPLES = 200_000
CHECKED_SPACING = 1.0  # spacing of the checked points of a hull as a share of the bound
MOST_CHECKED_POINTS = 1500
FEW = 8  # every FEW-th point is checked first: most hulls that break the bound fail there
FAR = 3.0  # multiple of the bound beyond which the distances of points are not compared
LEAST_VOID = 0.05  # least void under a gap as large as the bound, as a share of the bound cubed; half a ball on a face has 2
REPORTED_POINTS = 3000
DENSE_POINTS = 20_000  # points for the check whether pieces keep a bound
OUTWARDS = 1e-6  # offset of points from the surface as a share of the object's size: far above rounding, far below any gap
_INWARDS = sorted(itertools.product((-1, 0, 1), repeat=3), key=lambda step: -sum(map(abs, step)))  # from farthest neighbours to a cell


@dataclass(frozen=True, eq=False)
class NearSamples:
    """A grid that finds a sample near most points without a search.

    samples: (N, 3) m; beside: for each cell the index of a sample in it or in a neighbour, or of any sample; lowest: (3,) m corner of the
    grid; side: m of a cell; strides: (3,) difference of cell numbers along each axis.
    """

    samples: Floats
    beside: NDArray[np.int32]
    lowest: Floats
    side: float
    strides: Floats

    @staticmethod
    def of(samples: Floats, distance: float) -> NearSamples | None:
        """For samples (N, 3) and queries with about this distance (m); None for too many cells."""
        side = distance * CELL
        lowest = samples.min(axis=0) - 2 * side
        shape = np.floor((samples.max(axis=0) - lowest) / side) + 3
        if np.prod(shape) > MOST_CELLS:
            return None
        strides = np.array([shape[1] * shape[2], shape[2], 1.0])
        cells = (np.floor((samples - lowest) / side) @ strides).astype(np.intp)
        numbers, beside = np.arange(len(samples), dtype=np.int32), np.zeros(int(np.prod(shape)), np.int32)
        for offset in _INWARDS:
            beside[cells + int(strides @ offset)] = numbers
        return NearSamples(samples, beside, lowest, side, strides)

    def surely_near(self, points: Floats, distance: float) -> NDArray[np.bool_]:
        """(N,) whether points (N, 3) have a sample within a distance (m). True is certain; False is not."""
        cells = (np.floor((points - self.lowest) / self.side) @ self.strides).astype(np.intp)
        apart = points - self.samples[self.beside.take(cells, mode="clip")]
        return np.asarray(np.einsum("ij,ij->i", apart, apart) < (SURE * distance) ** 2)


def sample_surface(triangles: Floats, count: int) -> tuple[Floats, NDArray[np.intp]]:
    """Points (count, 3) evenly distributed over triangles (T, 3, 3) by area, and the triangle of each, (count,). Deterministic. The
    low-discrepancy sequence R2 (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences"), folded into each triangle."""
    step = np.arange(count)
    upto = np.cumsum(face_areas(triangles))
    chosen = np.minimum(np.searchsorted(upto, (step + 0.5) / count * upto[-1]), len(triangles) - 1)
    root = np.sqrt(step * 0.7548776662466927 % 1.0)[:, None]
    along = (step * 0.5698402909980532 % 1.0)[:, None]
    first, second, third = triangles[chosen].swapaxes(0, 1)
    return (1 - root) * first + root * (1 - along) * second + root * along * third, chosen


class GapBound:
    """Tests whether hulls keep within `bound` (m) of a closed mesh, outside of it."""

    def __init__(self, mesh: TriangleMesh, bound: float) -> None:
        triangles = mesh.vertices[mesh.faces]
        count = int(min(MOST_SURFACE_SAMPLES, face_areas(triangles).sum() / (SURFACE_SPACING * bound) ** 2)) + 1
        samples = np.concatenate([sample_surface(triangles, count)[0], mesh.vertices])
        self._samples = cKDTree(samples, balanced_tree=False, compact_nodes=False)
        self._near_samples = NearSamples.of(samples, bound)
        self._rays = RayCaster(mesh)
        self.surface = Surface(mesh)
        self.bound = bound

    def times(self, factor: float) -> GapBound:
        """The same mesh with another bound."""
        other = copy.copy(self)
        other.bound = self.bound * factor
        return other

    def keeps(self, triangles: Floats, *, void: float) -> bool:
        """Whether triangles (T, 3, 3) of a convex hull lie inside the mesh or within the bound of it. Tested at points about one bound
        apart. void: volume of the hull outside the solid, m³; too small a volume has no room for a gap."""
        bound = self.bound
        if void < LEAST_VOID * bound**3 or not len(triangles):
            return True
        count = int(min(MOST_CHECKED_POINTS, face_areas(triangles).sum() / (CHECKED_SPACING * bound) ** 2)) + 1
        points = np.concatenate([sample_surface(triangles, count)[0], centroids(triangles)])
        first = np.arange(len(points)) % FEW == 0
        return self._all_near(points[first]) and self._all_near(points[~first])

    def excess(self, points: Floats, surface: Surface) -> Floats:
        """(N,) m distances of points (N, 3) to the mesh's surface where they exceed the bound; 0 elsewhere."""
        distance = np.zeros(len(points))
        far = self._undecided(points)
        far = far[np.isinf(self._samples.query(points[far], eps=1.0, distance_upper_bound=self.bound)[0])]
        distance[far] = surface.distances(points[far])
        return np.where(distance > self.bound, distance, 0.0)

    def _undecided(self, points: Floats) -> NDArray[np.intp]:
        """Indices of the points (N, 3) that the sample grid does not prove near."""
        if self._near_samples is None:
            return np.arange(len(points))
        return np.flatnonzero(~self._near_samples.surely_near(points, self.bound))

    def _all_near(self, points: Floats) -> bool:
        """Whether points (N, 3) all lie inside the mesh or within the bound of it."""
        points = points[self._undecided(points)]
        outside = points[~self._rays.inside(points)] if len(points) else points
        if not len(outside):
            return True
        # The search for the sample nearest to a very far point is slow, and its distance does not matter.
        distance = self._samples.query(outside, distance_upper_bound=FAR * self.bound)[0]
        left = np.flatnonzero(distance > self.bound)
        # The farthest point is the likeliest to break the bound, which ends the test.
        farthest_first = left[np.argsort(-distance[left], kind="stable")]
        return all(self.surface.distance(point) <= self.bound for point in outside[farthest_first])


@dataclass(frozen=True)
class Gaps:
    """Distances from the surface of convex pieces to the mesh, m: mean, 95th percentile and maximum over the surface."""

    mean: float
    p95: float
    largest: float

    @staticmethod
    def of(by_area: Floats, others: Floats) -> Gaps:
        """From distances (N,) m at evenly distributed points, and at further points (M,) that count for the maximum only."""
        return Gaps(float(by_area.mean()), float(np.percentile(by_area, 95)), float(max(by_area.max(), others.max(initial=0.0))))


def measure_gaps(pieces: Sequence[TriangleMesh], surface: Surface) -> tuple[Gaps, Floats]:
    """The gaps between the union of P convex pieces and a mesh's surface, and the largest gap of each piece, (P,) m. Distances are exact,
    at a few thousand points: evenly distributed points, and face centroids for the maximum only."""
    points, owner, by_area = _exposed_points(pieces, REPORTED_POINTS, surface.size)
    distance = surface.distances(points)
    return Gaps.of(distance[:by_area], distance[by_area:]), _largest_of_each(owner, distance, len(pieces))


def measure_densely(pieces: Sequence[TriangleMesh], bound: GapBound, surface: Surface, gaps: Gaps, largest: Floats) -> tuple[Gaps, Floats]:
    """The result of `measure_gaps`, with maxima raised to gaps above the bound that many more points find."""
    points, owner, _ = _exposed_points(pieces, DENSE_POINTS, surface.size)
    largest = np.maximum(largest, _largest_of_each(owner, bound.excess(points, surface), len(pieces)))
    return Gaps(gaps.mean, gaps.p95, float(max(gaps.largest, largest.max(initial=0.0)))), largest


def _largest_of_each(owner: NDArray[np.intp], distance: Floats, count: int) -> Floats:
    largest = np.zeros(count)
    np.maximum.at(largest, owner, distance)
    return largest


def _exposed_points(pieces: Sequence[TriangleMesh], count: int, size: float) -> tuple[Floats, NDArray[np.intp], int]:
    """Points (N, 3) on the union of convex pieces, their pieces (N,), and the number of evenly distributed points, which come first; face
    centroids follow. Up to `count` of each kind. size: m, of the mesh.

    Points inside other pieces are dropped: points are moved outwards a little, so that a face shared by two pieces is inside, and pieces
    are widened by less, which closes cracks.
    """
    triangles = np.concatenate([piece.vertices[piece.faces] for piece in pieces])
    owner = np.repeat(np.arange(len(pieces)), [len(piece.faces) for piece in pieces])
    samples, face = sample_surface(triangles, count)
    some = np.arange(0, len(triangles), 1 + len(triangles) // count)
    points = np.concatenate([samples, triangles[some].mean(axis=1)])
    face = np.concatenate([face, some])
    moved = points + face_normals(triangles)[face] * OUTWARDS * size
    widened = OUTWARDS * size / 100
    exposed, owner = np.ones(len(points), np.bool_), owner[face]
    columns = np.ascontiguousarray(moved.T)
    for index, piece in enumerate(pieces):
        low, high = bounds(piece)
        near = exposed & (owner != index)
        for column, least, most in zip(columns, low - widened, high + widened, strict=True):
            near &= (column >= least) & (column <= most)
        exposed[near] = depth_outside(moved[near], piece) > widened
    return points[exposed], owner[exposed], int(exposed[: len(samples)].sum())


def depth_outside(points: Floats, piece: TriangleMesh) -> Floats:
    """(N,) m largest height of points (N, 3) above the face planes of a convex piece; negative inside. Each plane goes through the
    piece's farthest vertex along the face normal, since the normal of a sliver is inaccurate."""
    normals = face_normals(piece.vertices[piece.faces])
    normals = normals[normals.any(axis=1)]
    offsets = (piece.vertices @ normals.T).max(axis=0)
    return np.asarray((points @ normals.T - offsets).max(axis=1, initial=-np.inf))


_COLLISION, _DISTANCE, _UNREAD = fcl.CollisionRequest(), fcl.DistanceRequest(), fcl.DistanceResult()


class Surface:
    """A mesh's surface for exact distances and intersections. size: longest side of the bounding box, m."""

    def __init__(self, mesh: TriangleMesh) -> None:
        model = fcl.BVHModel()
        model.beginModel(len(mesh.vertices), len(mesh.faces))
        model.addSubModel(mesh.vertices, mesh.faces)
        model.endModel()
        self._object = fcl.CollisionObject(model)
        self._dot = fcl.CollisionObject(fcl.Sphere(1e-12))
        self.size = longest_side(mesh)

    def distance(self, point: Floats) -> float:
        """Distance of a point (3,) to the surface, m."""
        self._dot.setTranslation(point)
        return max(0.0, float(fcl.distance(self._object, self._dot, _DISTANCE, _UNREAD)))

    def distances(self, points: Floats) -> Floats:
        """(N,) m distances of points (N, 3) to the surface."""
        return np.array([self.distance(point) for point in points])

    def meets(self, other: Surface, pose_other_in_self: Floats) -> bool:
        """Whether a triangle of this surface touches or crosses a triangle of another one at a pose (4, 4)."""
        other._object.setTransform(fcl.Transform(pose_other_in_self[:3, :3], pose_other_in_self[:3, 3]))
        return bool(fcl.collide(self._object, other._object, _COLLISION, fcl.CollisionResult()))
