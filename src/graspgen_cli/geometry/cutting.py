"""Exact cuts of a solid by axis-aligned planes until every part is nearly convex."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import manifold3d
import numpy as np

from graspgen_cli.geometry.gaps import GapBound
from graspgen_cli.geometry.meshes import bounds, cross, directed_edges, face_normals, longest_side, mesh_from_solid
from graspgen_cli.records import Floats, TriangleMesh

SHARP = 0.15  # share of a part's reflex edges (by weight) in one plane above which the part is cut there
BLIND = 0.1  # share of a part's void below which the best cut is not trusted: halving a tube removes nothing, but quartering it does

Solid: TypeAlias = Any  # manifold3d.Manifold, which has no type information


def reflex_edges(mesh: TriangleMesh) -> tuple[Floats, Floats]:
    """The E reflex edges of a closed mesh (dihedral angle over pi inside the solid): ends (E, 2, 3) m, and weight (E, 3) m, length times
    change of the normal along each axis."""
    edges = directed_edges(mesh.faces).reshape(-1, 2)
    order = np.argsort(edges.min(axis=1) * len(mesh.vertices) + edges.max(axis=1), kind="stable")
    one, other = order[0::2], order[1::2]  # every edge of a closed mesh occurs twice
    normals = face_normals(mesh.vertices[mesh.faces])
    first, second = normals[one // 3], normals[other // 3]
    ends = mesh.vertices[edges[one]]
    along = ends[:, 1] - ends[:, 0]
    reflex = np.einsum("ei,ei->e", cross(first, second), along) < 0
    return ends[reflex], np.linalg.norm(along[reflex], axis=1, keepdims=True) * np.abs(second[reflex] - first[reflex])


class CreasePlanes:
    """The axis-aligned planes that contain reflex edges of a solid."""

    def __init__(self, surface: TriangleMesh) -> None:
        self._tolerance = 1e-6 * longest_side(surface)
        ends, weight = reflex_edges(surface)
        low, high = ends.min(axis=1), ends.max(axis=1)
        self._across = []
        for axis in range(3):
            flat = np.flatnonzero(high[:, axis] - low[:, axis] < self._tolerance)
            flat = flat[np.argsort(low[flat, axis], kind="stable")]
            self._across.append((low[flat, axis], weight[flat].sum(axis=1), low[flat], high[flat]))

    def sharpest(self, axis: int, low: Floats, high: Floats, *, margin: float) -> tuple[float, float]:
        """Weight and coordinate (m) of the heaviest plane across `axis` in the box between corners (3,), at least `margin` (m) inside the
        box; weight 0 stands for no plane."""
        place, weight, edge_low, edge_high = self._across[axis]
        near = slice(*np.searchsorted(place, [low[axis] + margin, high[axis] - margin]))
        within = (edge_low[near] <= high + self._tolerance).all(axis=1) & (edge_high[near] >= low - self._tolerance).all(axis=1)
        place, weight = place[near][within], weight[near][within]
        if not len(place):
            return 0.0, 0.0
        plane = np.concatenate([[0], np.cumsum(np.diff(place) > self._tolerance)])
        total = np.bincount(plane, weights=weight)
        heaviest = int(total.argmax())
        return float(total[heaviest]), float(place[np.searchsorted(plane, heaviest)])


@dataclass(frozen=True, eq=False)
class Part:
    """The convex hull of a part of the solid, the solid volume in the hull (m³), and the solid itself for a part not yet merged."""

    hull: Solid
    volume: float
    solid: Solid = None

    @cached_property
    def surface(self) -> TriangleMesh:
        """The hull's surface."""
        return mesh_from_solid(self.hull)

    @cached_property
    def corners(self) -> frozenset[bytes]:
        """The hull's vertices as bytes."""
        return frozenset(rows(self.surface.vertices))

    @cached_property
    def void(self) -> float:
        """Volume of the hull outside the solid, m³."""
        return float(self.hull.volume() - self.volume)

    @cached_property
    def mean_gap(self) -> float:
        """Void over half the hull's area, m: for a thin wall the mean gap on one side."""
        return self.void / max(float(self.hull.surface_area()) / 2, 1e-18)


@dataclass(frozen=True)
class CutLimits:
    """Limits of cutting: mean gap (m) of a finished part, size (m) of the smallest part, number of parts."""

    mean_gap: float
    smallest: float
    most: int

    def times(self, factor: float) -> CutLimits:
        """The limits with scaled lengths."""
        return CutLimits(self.mean_gap * factor, self.smallest * factor, self.most)


def cut(solid: Solid, limits: CutLimits, bound: GapBound) -> list[Part]:
    """Parts of the solid whose hulls keep the mean gap and the bound, as far as the limits allow. The part with most void is cut first.
    Cuts halve cells of the solid's box, not of the part's, so that cuts of neighbours meet and their parts can be merged."""
    creases = CreasePlanes(mesh_from_solid(solid))
    done: list[Part] = []
    todo: list[tuple[float, int, Part, Floats]] = []
    number = itertools.count()
    fresh = [(solid, box_of(solid))]
    while fresh or todo:
        for piece, cell in fresh:
            for connected in piece.decompose():
                part = Part(connected.hull(), float(connected.volume()), connected)
                if part.volume <= 0:
                    continue
                small = np.ptp(box_of(connected), axis=0).max() < limits.smallest
                if small or (part.mean_gap < limits.mean_gap and bound.keeps(part.surface.vertices[part.surface.faces], void=part.void)):
                    done.append(part)
                else:
                    heapq.heappush(todo, (-part.void, next(number), part, cell))
        if len(done) + len(todo) >= limits.most:
            return done + [part for _, _, part, _ in sorted(todo, key=lambda entry: entry[:2])]
        fresh = _cut_once(*heapq.heappop(todo)[2:], creases=creases, smallest=limits.smallest) if todo else []
    return done


def _cut_once(part: Part, cell: Floats, *, creases: CreasePlanes, smallest: float) -> list[tuple[Solid, Floats]]:
    """The two sides of the best plane through a part, each with its cell (2, 3)."""
    cell = _smallest_cell(cell, box_of(part.solid), smallest)
    axis, place = _choose_plane(part, cell, creases, smallest)
    above, below = part.solid.split_by_plane(np.eye(3)[axis], place)
    cell_above, cell_below = cell.copy(), cell.copy()
    cell_above[0, axis] = cell_below[1, axis] = place
    return [(above, cell_above), (below, cell_below)]


def _choose_plane(part: Part, cell: Floats, creases: CreasePlanes, smallest: float) -> tuple[int, float]:
    """(axis, coordinate in m) of the cutting plane. A plane that contains many of the part's reflex edges splits box-like solids into
    their boxes. Otherwise the candidates are the middle of the cell and the sharpest crease across each axis; the plane with the least
    hull volume wins. If the volume hardly shrinks, the cut crosses the axis along which the concave surface turns most."""
    surface = mesh_from_solid(part.solid)
    turning = reflex_edges(surface)[1].sum(axis=0)  # (3,) m: turn of the concave surface along each axis
    low, high = bounds(surface)
    axes = [axis for axis in range(3) if high[axis] - low[axis] >= smallest]
    sharpest = {axis: creases.sharpest(axis, low, high, margin=smallest / 8) for axis in axes}
    axis = max(axes, key=lambda axis: sharpest[axis][0])
    if sharpest[axis][0] > max(0.0, SHARP * turning.sum()):
        return axis, sharpest[axis][1]
    planes = [(axis, float(cell[:, axis].mean())) for axis in axes]
    planes += [(axis, place) for axis, (weight, place) in sharpest.items() if weight > 0]
    volume = {plane: _cut_hull_volume(surface, *plane) for plane in planes}
    best = min(planes, key=lambda plane: volume[plane])
    if part.hull.volume() - volume[best] < BLIND * part.void:
        axis = max(axes, key=lambda axis: float(turning[axis]))
        best = min((plane for plane in planes if plane[0] == axis), key=lambda plane: volume[plane])
    return best


def _cut_hull_volume(surface: TriangleMesh, axis: int, place: float) -> float:
    """Sum of the hull volumes on both sides of a plane, m³: hulls of the vertices and of the points where edges cross the plane."""
    height = surface.vertices[:, axis] - place
    start, end = surface.faces.ravel(), surface.faces[:, [1, 2, 0]].ravel()
    crossing = (height < 0)[start] & (height > 0)[end]
    start, end = start[crossing], end[crossing]
    share = (height[start] / (height[start] - height[end]))[:, None]
    rim = surface.vertices[start] * (1 - share) + surface.vertices[end] * share
    sides = (np.concatenate([surface.vertices[side], rim]) for side in (height >= 0, height <= 0))
    return sum(float(manifold3d.Manifold.hull_points(points).volume()) for points in sides)


def _smallest_cell(cell: Floats, box: Floats, smallest: float) -> Floats:
    """The smallest cell (2, 3), reached by halving, that contains a part's box (2, 3)."""
    low, high = cell.copy()
    for axis in range(3):
        while high[axis] - low[axis] > smallest:
            middle = (low[axis] + high[axis]) / 2
            if box[0, axis] >= middle - 1e-9:
                low[axis] = middle
            elif box[1, axis] <= middle + 1e-9:
                high[axis] = middle
            else:
                break
    return np.stack([low, high])


def box_of(solid: Solid) -> Floats:
    """(2, 3) m lowest and highest corner of a solid's bounding box."""
    return np.array(solid.bounding_box()).reshape(2, 3)


def rows(points: Floats) -> list[bytes]:
    """Points (N, 3) as bytes, for exact comparison."""
    return list((points + 0.0).view((np.void, 24)).ravel().tolist())
