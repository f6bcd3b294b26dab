"""Exact cuts of a solid by axis-aligned planes until every part is nearly convex."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import manifold3d
import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.creases import CreasePlanes, reflex_edges
from graspgen_cli.geometry.gaps import GapBound
from graspgen_cli.records import Floats

Solid: TypeAlias = Any  # manifold3d.Manifold, which brings no types

SHARP = 0.15
"""Share of a part's reflex edges (by length and angle) that a plane must hold to be cut along first."""
BLIND = 0.1
"""Share of the air under a part's hull that a cut must save to be believed; where none does, the axis is taken along which the
concave surface turns most: halving a tube saves nothing yet, but quartering it will."""


@dataclass(frozen=True, eq=False)
class Part:
    """The convex hull of a part of the solid, the volume (m³) that is solid in it, and that solid where it is a single one."""

    hull: Solid
    volume: float
    solid: Solid | None = None

    @cached_property
    def arrays(self) -> tuple[Floats, NDArray[np.int64]]:
        """Vertices (V, 3) and faces (F, 3) of the hull."""
        return arrays(self.hull)

    @cached_property
    def corners(self) -> frozenset[bytes]:
        """The hull's vertices, each as its bytes."""
        return frozenset(rows(self.arrays[0]))

    @cached_property
    def air(self) -> float:
        """m³ of the hull that are not solid."""
        return float(self.hull.volume() - self.volume)

    @cached_property
    def mean_gap(self) -> float:
        """Air over half of the hull's area, m: for a thin wall the mean gap on one of its sides."""
        return self.air / max(float(self.hull.surface_area()) / 2, 1e-18)


@dataclass(frozen=True)
class CutLimits:
    """When to stop: mean gap of a part (m), size of the smallest part (m), number of parts."""

    mean_gap: float
    smallest: float
    most: int

    def times(self, factor: float) -> CutLimits:
        """The same with other lengths."""
        return CutLimits(self.mean_gap * factor, self.smallest * factor, self.most)


def cut(solid: Solid, limits: CutLimits, bound: GapBound) -> list[Part]:
    """Parts of the solid whose hulls keep the mean gap and the bound, as far as the limits allow; those with most air are cut first.

    Coordinates halve cells of the solid's box rather than the part's, so that cuts of neighbours meet and their parts can be merged.
    """
    box = _box(solid)
    creases = CreasePlanes(reflex_edges(*arrays(solid)), tolerance=1e-6 * float((box[1] - box[0]).max()))
    done: list[Part] = []
    todo: list[tuple[float, int, Solid, Part, Floats]] = []
    number = itertools.count()
    fresh = [(solid, box)]
    while fresh or todo:
        for piece, cell in fresh:
            for connected in piece.decompose():
                part = Part(connected.hull(), float(connected.volume()), connected)
                if part.volume > 0 and _is_done(connected, part, limits, bound):
                    done.append(part)
                elif part.volume > 0:
                    heapq.heappush(todo, (-part.air, next(number), connected, part, cell))
        if len(done) + len(todo) >= limits.most:
            return done + [entry[3] for entry in sorted(todo, key=lambda entry: entry[:2])]
        fresh = _cut_once(*heapq.heappop(todo)[2:], creases=creases, smallest=limits.smallest) if todo else []
    return done


def _is_done(piece: Solid, part: Part, limits: CutLimits, bound: GapBound) -> bool:
    low, high = _box(piece)
    if (high - low).max() < limits.smallest:
        return True
    if part.mean_gap >= limits.mean_gap:
        return False
    vertices, faces = part.arrays
    return bound.keeps(vertices[faces], air=part.air)


def _cut_once(piece: Solid, part: Part, cell: Floats, *, creases: CreasePlanes, smallest: float) -> list[tuple[Solid, Floats]]:
    """The two sides of the best plane through a part, each with its cell (2, 3)."""
    cell = _halved_around(cell, _box(piece), smallest)
    axis, place = _choose_plane(piece, part, cell, creases, smallest)
    above, below = piece.split_by_plane(np.eye(3)[axis], place)
    cell_above, cell_below = cell.copy(), cell.copy()
    cell_above[0, axis] = cell_below[1, axis] = place
    return [(above, cell_above), (below, cell_below)]


def _choose_plane(piece: Solid, part: Part, cell: Floats, creases: CreasePlanes, smallest: float) -> tuple[int, float]:
    """(axis, coordinate) of the plane to cut along.

    It is the plane that holds much of the part's reflex edges, where box-like solids fall into their boxes; else, of the middle of
    the cell and the sharpest crease across each axis, the one that leaves the least hull volume.
    """
    surface = _Surface(*arrays(piece))
    low, high = surface.vertices.min(axis=0), surface.vertices.max(axis=0)
    axes = [axis for axis in range(3) if high[axis] - low[axis] >= smallest]
    sharpest = {axis: creases.sharpest(axis, low, high, margin=smallest / 8) for axis in axes}
    axis = max(axes, key=lambda axis: sharpest[axis].weight)
    if sharpest[axis].weight > 0 and sharpest[axis].weight > SHARP * surface.turning.sum():
        return axis, sharpest[axis].place
    planes = [(axis, float(cell[:, axis].mean())) for axis in axes]
    planes += [(axis, sharpest[axis].place) for axis in axes if sharpest[axis].weight > 0]
    volume = {plane: surface.cut_hull_volume(*plane) for plane in planes}
    best = min(planes, key=lambda plane: volume[plane])
    if part.hull.volume() - volume[best] < BLIND * part.air:
        axis = max(axes, key=lambda axis: float(surface.turning[axis]))
        best = min((plane for plane in planes if plane[0] == axis), key=lambda plane: volume[plane])
    return best


@dataclass(frozen=True, eq=False)
class _Surface:
    """Of a part: vertices (V, 3) m and faces (F, 3)."""

    vertices: Floats
    faces: NDArray[np.int64]

    @cached_property
    def turning(self) -> Floats:
        """(3,) m: how far the concave surface turns along each axis."""
        return np.asarray(reflex_edges(self.vertices, self.faces).weight.sum(axis=0))

    @cached_property
    def edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and end of every edge, both ways, (2 E,) each."""
        return self.faces.ravel(), self.faces[:, [1, 2, 0]].ravel()

    def cut_hull_volume(self, axis: int, place: float) -> float:
        """Sum of the hull volumes of both sides of a plane (m³), from the vertices and the points where edges cross the plane."""
        height = self.vertices[:, axis] - place
        start, end = self.edges
        crossing = (height < 0)[start] & (height > 0)[end]
        start, end = start[crossing], end[crossing]
        share = (height[start] / (height[start] - height[end]))[:, None]
        rim = self.vertices[start] * (1 - share) + self.vertices[end] * share
        sides = (np.concatenate([self.vertices[side], rim]) for side in (height >= 0, height <= 0))
        return sum(float(manifold3d.Manifold.hull_points(points).volume()) for points in sides)


def _halved_around(cell: Floats, box: Floats, smallest: float) -> Floats:
    """The smallest cell (2, 3), got by halving, that still holds a part's box (2, 3)."""
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


def _box(solid: Solid) -> Floats:
    """Lowest and highest corner, (2, 3) m."""
    return np.array(solid.bounding_box()).reshape(2, 3)


def rows(points: Floats) -> list[bytes]:
    """Each of some points (N, 3) as its bytes, to tell exactly equal ones."""
    return list((points + 0.0).view((np.void, 24)).ravel().tolist())


def arrays(solid: Solid) -> tuple[Floats, NDArray[np.int64]]:
    """Vertices (V, 3) and faces (F, 3) of a solid."""
    surface = solid.to_mesh64()
    return np.asarray(surface.vert_properties)[:, :3], np.asarray(surface.tri_verts).astype(np.int64)
