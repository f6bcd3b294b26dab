"""Whether points are near samples, told at once for most that are: a grid names a sample beside each cell.

How far the surface of convex pieces stands off the mesh that they stand for."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import fcl
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graspgen_cli.geometry.meshes import bounds, extents, face_areas, face_normals
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.records import Floats, TriangleMesh

CELL = 0.5
"""Side of a cell, as a share of the distance that is near."""
SURE = 1 - 1e-6
"""Share of that distance that is taken: less by far more than rounding."""
MOST_CELLS = 16_000_000
_INWARDS = sorted(itertools.product((-1, 0, 1), repeat=3), key=lambda offset: -sum(map(abs, offset)))
"""Steps to a cell from those around it, the farthest first."""


@dataclass(frozen=True, eq=False)
class NearSamples:
    """Samples (N, 3) m, and for each cell of a grid, of `side` (m) from `lowest` (3,) m, the index of one in it or beside it; of any
    where there is none. strides: (3,) cells in a row from one to the next along each axis."""

    samples: Floats
    beside: NDArray[np.int32]
    lowest: Floats
    side: float
    strides: Floats

    @staticmethod
    def of(samples: Floats, distance: float) -> NearSamples | None:
        """For samples (N, 3) and a distance, m, or a little more; None where that takes too many cells."""
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
        """(N,) whether points (N, 3) are nearer than a distance (m) to one of the samples; not all that are."""
        cells = (np.floor((points - self.lowest) / self.side) @ self.strides).astype(np.intp)
        apart = points - self.samples[self.beside.take(cells, mode="clip")]
        return np.asarray(np.einsum("ij,ij->i", apart, apart) < (SURE * distance) ** 2)


SURFACE_SPACING = 0.75
"""Distance between samples of the mesh's surface, as a share of the bound."""
MOST_SURFACE_SAMPLES = 200_000
CHECKED_SPACING = 1.0
"""Distance between the points of a hull that are looked at, as a share of the bound."""
MOST_CHECKED_POINTS = 1500
FEW = 8
"""Every so many points are looked at first: most hulls that break the bound show it there."""
FAR = 3.0
"""Multiple of the bound from which on points are not told apart by their distance."""
LEAST_AIR = 0.05
"""Volume of air that a gap as large as the bound takes, as a share of the bound cubed: half a ball on a face, which is 2; less on edges."""
REPORTED_POINTS = 3000
DENSE_POINTS = 20_000
"""Of the surface, where it is to be found out whether pieces keep a bound."""
OUTWARDS = 1e-6
"""Share of the object's size: far above rounding, far below any gap."""


def spread_points(triangles: Floats, count: int) -> tuple[Floats, NDArray[np.intp]]:
    """Points (count, 3) spread evenly over triangles (T, 3, 3) by area, always the same ones, and the triangle of each, (count,).

    Low-discrepancy steps of the golden ratio's two-dimensional kin (Roberts 2018, "R2"), folded into each triangle.
    """
    step = np.arange(count)
    return _spread(triangles, face_areas(triangles), count, step, _shares(step))


def _shares(step: NDArray[np.intp]) -> Floats:
    """(3, N, 1): what steps of the sequence, (N,), take of each corner of a triangle."""
    root = np.sqrt(step * 0.7548776662466927 % 1.0)[:, None]
    along = (step * 0.5698402909980532 % 1.0)[:, None]
    return np.stack([1 - root, root * (1 - along), root * along])


def _spread(triangles: Floats, areas: Floats, count: int, step: NDArray[np.intp], shares: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Those of `count` points that are at given steps (N,) of the sequence."""
    upto = np.cumsum(areas)
    chosen = np.minimum(np.searchsorted(upto, (step + 0.5) / count * upto[-1]), len(areas) - 1)
    corners = triangles[chosen]
    return shares[0] * corners[:, 0] + shares[1] * corners[:, 1] + shares[2] * corners[:, 2], chosen


_STEPS = np.arange(MOST_CHECKED_POINTS + 1)
_STAGES = tuple((_STEPS[some], _shares(_STEPS[some])) for some in (_STEPS % FEW == 0, _STEPS % FEW != 0))
"""The steps at which a hull is looked at first, and then: the same for every hull, up to its count."""


class GapBound:
    """Tells whether hulls stand farther than `bound` (m) off a closed mesh, outside of it."""

    def __init__(self, mesh: TriangleMesh, bound: float) -> None:
        triangles = mesh.vertices[mesh.faces]
        count = int(min(MOST_SURFACE_SAMPLES, face_areas(triangles).sum() / (SURFACE_SPACING * bound) ** 2)) + 1
        samples = np.concatenate([spread_points(triangles, count)[0], mesh.vertices])
        self._samples = cKDTree(samples, balanced_tree=False, compact_nodes=False)
        self._near_samples = NearSamples.of(samples, bound)
        self._rays = RayCaster(mesh)
        self.surface = Surface(mesh)
        self.bound = bound

    def times(self, factor: float) -> GapBound:
        """The same for another bound."""
        other = copy.copy(self)
        other.bound = self.bound * factor
        return other

    def keeps(self, triangles: Floats, *, air: float) -> bool:
        """Whether triangles (T, 3, 3) of a convex hull stay inside the mesh or within the bound of it.

        Judged at points about as dense as the bound: those near samples of the surface and those inside the mesh are well, of the
        others the distance is taken. `air` is the volume (m³) of the hull that is not solid: too little of it cannot hold a gap.
        """
        bound = self.bound
        if air < LEAST_AIR * bound**3 or not len(triangles):
            return True
        areas = face_areas(triangles)
        count = int(min(MOST_CHECKED_POINTS, areas.sum() / (CHECKED_SPACING * bound) ** 2)) + 1
        middles = (triangles[:, 0] + triangles[:, 1] + triangles[:, 2]) / 3
        first = np.arange(len(middles)) % FEW == 0
        for (steps, shares), some in zip(_STAGES, (first, ~first), strict=True):
            number = int(np.searchsorted(steps, count))
            points = _spread(triangles, areas, count, steps[:number], shares[:, :number])[0]
            if not self._near(np.concatenate([points, middles[some]]), bound):
                return False
        return True

    def farther(self, points: Floats, surface: Surface) -> Floats:
        """(N,) m: the distances of those of points (N, 3) that stand farther than the bound off the mesh, whose
        surface is given, and 0 for the others."""
        distance = np.zeros(len(points))
        far = self._unsettled(points, self.bound)
        far = far[np.isinf(self._samples.query(points[far], eps=1.0, distance_upper_bound=self.bound)[0])]
        distance[far] = surface.distances(points[far])
        return np.where(distance > self.bound, distance, 0.0)

    def _unsettled(self, points: Floats, bound: float) -> NDArray[np.intp]:
        """Indices of those of points (N, 3) that are not near samples for sure."""
        if self._near_samples is None:
            return np.arange(len(points))
        return np.flatnonzero(~self._near_samples.surely_near(points, bound))

    def _near(self, points: Floats, bound: float) -> bool:
        points = points[self._unsettled(points, bound)]
        outside = points[~self._rays.inside(points)] if len(points) else points
        if not len(outside):
            return True
        # How far from samples the very far ones are takes long to find and does not matter.
        distance = self._samples.query(outside, distance_upper_bound=FAR * bound)[0]
        left = np.flatnonzero(distance > bound)
        # The farthest is the likeliest to be too far, which ends it.
        farthest_first = left[np.argsort(-distance[left], kind="stable")]
        return all(self.surface.distance(point) <= bound for point in outside[farthest_first])


@dataclass(frozen=True)
class Gaps:
    """How far convex pieces stand off the mesh, m: the mean over their surface, what 95 % of it keep within, and the largest."""

    mean: float
    p95: float
    largest: float


def summed_up(spread: Floats, others: Floats) -> Gaps:
    """Of distances at points spread by area, (N,), and at further points that count for the largest alone, (M,)."""
    return Gaps(float(spread.mean()), float(np.percentile(spread, 95)), float(max(spread.max(), others.max(initial=0.0))))


def measure_gap(pieces: Sequence[TriangleMesh], mesh: TriangleMesh) -> Gaps:
    """The distances from the surface of the union of convex pieces to a mesh: see `measure_gaps`."""
    return measure_gaps(pieces, Surface(mesh))[0]


def measure_gaps(pieces: Sequence[TriangleMesh], surface: Surface) -> tuple[Gaps, Floats]:
    """The distances from the surface of the union of P convex pieces to the mesh's, and the largest of each piece, (P,) m.

    Taken exactly at a few thousand points: spread by area, and middles of faces for the largest as well. Points of
    a piece that lie inside another one are no surface of the union: a point is moved outwards a little, to tell a face between two
    pieces from one that two pieces share, and what it then finds itself in is widened by less, to have no cracks.
    """
    points, owner, by_area = bare_points(pieces, REPORTED_POINTS, surface.size)
    distance = surface.distances(points)
    return summed_up(distance[:by_area], distance[by_area:]), _largest_of_each(owner, distance, len(pieces))


def _largest_of_each(owner: NDArray[np.intp], distance: Floats, count: int) -> Floats:
    largest = np.zeros(count)
    np.maximum.at(largest, owner, distance)
    return largest


def look_again(pieces: Sequence[TriangleMesh], bound: GapBound, surface: Surface, gaps: Gaps, largest: Floats) -> tuple[Gaps, Floats]:
    """What `measure_gaps` found, mended by gaps above the bound that only many more points show."""
    points, owner, _ = bare_points(pieces, DENSE_POINTS, surface.size)
    largest = np.maximum(largest, _largest_of_each(owner, bound.farther(points, surface), len(pieces)))
    return Gaps(gaps.mean, gaps.p95, float(max(gaps.largest, largest.max(initial=0.0)))), largest


def bare_points(pieces: Sequence[TriangleMesh], count: int, size: float) -> tuple[Floats, NDArray[np.intp], int]:
    """Points (N, 3) on the surface of the union of convex pieces, the piece of each (N,), and how many of them, the first, are spread by
    area; the others are middles of faces. Of `count` of each kind, those inside other pieces are left out. size: m, the mesh's."""
    triangles = np.concatenate([piece.vertices[piece.faces] for piece in pieces])
    owner = np.repeat(np.arange(len(pieces)), [len(piece.faces) for piece in pieces])
    spread, face = spread_points(triangles, count)
    some = np.arange(0, len(triangles), 1 + len(triangles) // count)
    points = np.concatenate([spread, triangles[some].mean(axis=1)])
    face = np.concatenate([face, some])
    moved = points + face_normals(triangles)[face] * OUTWARDS * size
    widened = OUTWARDS * size / 100
    bare, owner = np.ones(len(points), np.bool_), owner[face]
    columns = np.ascontiguousarray(moved.T)
    for index, piece in enumerate(pieces):
        low, high = bounds(piece)
        near = bare & (owner != index)
        for column, least, most in zip(columns, low - widened, high + widened, strict=True):
            near &= (column >= least) & (column <= most)
        bare[near] = depth_outside(moved[near], piece) > widened
    return points[bare], owner[bare], int(bare[: len(spread)].sum())


def depth_outside(points: Floats, piece: TriangleMesh) -> Floats:
    """How far each point (N, 3) lies beyond the farthest face plane of a convex piece, m; negative inside, (N,).

    A plane is taken at the piece's vertex that reaches farthest along the face's normal: the normal of a sliver is not to be trusted.
    """
    normals = face_normals(piece.vertices[piece.faces])
    normals = normals[normals.any(axis=1)]
    offsets = (piece.vertices @ normals.T).max(axis=0)
    return np.asarray((points @ normals.T - offsets).max(axis=1, initial=-np.inf))


class Surface:
    """A mesh's surface, for exact distances and meetings. size: m, its longest side."""

    def __init__(self, mesh: TriangleMesh) -> None:
        model = fcl.BVHModel()
        model.beginModel(len(mesh.vertices), len(mesh.faces))
        model.addSubModel(mesh.vertices, mesh.faces)
        model.endModel()
        self._object = fcl.CollisionObject(model)
        self._dot = fcl.CollisionObject(fcl.Sphere(1e-12))
        self._request, self._unread = fcl.DistanceRequest(), fcl.DistanceResult()
        self.size = float(extents(mesh).max())

    def distance(self, point: Floats) -> float:
        """Distance of a point (3,) to the surface, m."""
        self._dot.setTranslation(point)
        return max(0.0, float(fcl.distance(self._object, self._dot, self._request, self._unread)))

    def distances(self, points: Floats) -> Floats:
        """Those of points (N, 3), (N,) m."""
        return np.array([self.distance(point) for point in points])

    def meets(self, other: Surface) -> bool:
        """Whether a triangle of one touches or crosses a triangle of the other."""
        return bool(fcl.collide(self._object, other._object, fcl.CollisionRequest(), fcl.CollisionResult()))
