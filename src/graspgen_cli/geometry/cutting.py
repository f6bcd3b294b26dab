"""Exact cuts of a solid by axis-aligned planes until every part is nearly convex, and the frames whose axes suit a shape.

The frames depend on the shape alone: a mesh is cut into the same pieces in any file frame.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import manifold3d
import numpy as np

from graspgen_cli.geometry.gaps import GapBound
from graspgen_cli.geometry.meshes import (
    DECIMALS,
    bounds,
    cross,
    directed_edges,
    face_areas,
    face_normals,
    longest_side,
    mesh_from_solid,
    perpendicular_axes,
    pose_in_own_frame,
    transform_mesh,
    triangle_mesh,
)
from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import Floats, TriangleMesh

FACINGS = 6  # Number of the commonest normal directions that form candidate frames
WORTHWHILE = 0.01  # Alignment that another frame must gain over the frame about the axis of symmetry
DISTINCT = 1e-3  # Least difference between principal spreads with an axis of their own, as a share of the largest spread
MOST_FRAMES = 3  # Frames to cut in, in turn, until the pieces keep the allowed gap
FINEST = 2.0**-28  # grid of coordinates as a share of the object's size: finer than any file, far coarser than rounding errors
SHARP = 0.15  # Share of a part's reflex edges (by weight) in one plane above which the part is cut there
BLIND = 0.1
"""Share of a part's void below which the best cut is not trusted: halving a tube removes nothing, but quartering it does. The cut then
crosses the axis along which the concave surface turns most."""

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


def cutting_frames(mesh: TriangleMesh) -> list[Floats]:
    """Poses (4, 4) of the mesh's frame in frames with good axes for cuts, the best first."""
    pose_mesh_in_own = pose_in_own_frame(mesh.vertices, mesh.vertices.mean(axis=0))
    turns = _aligned_frames(transform_mesh(pose_mesh_in_own, mesh))
    return [pose(turn, np.zeros(3)) @ pose_mesh_in_own for turn in turns[:MOST_FRAMES]]


def snap_to_frame(mesh: TriangleMesh, pose_mesh_in_frame: Floats) -> TriangleMesh:
    """The mesh in another frame, with coordinates rounded to FINEST of its size: faces across an axis become exactly flat, and the result
    does not depend on the mesh's own frame."""
    moved = transform_mesh(pose_mesh_in_frame, mesh)
    unit = 2.0 ** np.ceil(np.log2(longest_side(moved))) * FINEST
    return triangle_mesh(np.round(moved.vertices / unit) * unit, mesh.faces)


def _aligned_frames(mesh: TriangleMesh) -> list[Floats]:
    """Rotations (3, 3) into frames whose axes (rows) are normal to most of the surface, the best first.

    Candidates are a frame about the axis of symmetry, the principal axes, and pairs of the commonest normals. The score to minimise is
    the area-weighted mean of |normal|₁, which is 1 for an axis-aligned surface.
    """
    triangles = mesh.vertices[mesh.faces]
    normals, areas = face_normals(triangles), face_areas(triangles)
    frames = [*_principal_frames(triangles.mean(axis=1), areas, mesh.vertices), *_facing_frames(normals, areas)]
    scores = np.array([(np.abs(normals @ frame.T).sum(axis=1) * areas).sum() / areas.sum() for frame in frames])
    scores[0] -= WORTHWHILE
    order = np.argsort(np.round(scores, DECIMALS), kind="stable")
    return [frames[index] * np.sign(np.linalg.det(frames[index])) for index in order]


def _principal_frames(points: Floats, weights: Floats, vertices: Floats) -> list[Floats]:
    """A frame (3, 3) about the axis of symmetry (the most distinct principal axis), then the principal axes.

    For equal spreads LAPACK's choice of axes depends on rounding errors; the vertices decide in its place.
    """
    spread, columns = np.linalg.eigh(np.cov(points.T, aweights=weights))
    low, high = np.diff(spread)
    if low + high < DISTINCT * spread[2]:
        return [np.eye(3)]
    axes = columns.T * _sign_of_largest(columns.T)
    axis = axes[0 if low > high else 2]
    first, second = perpendicular_axes(axis, vertices - vertices.mean(axis=0))
    about = np.stack([first, second, axis])
    return [about, axes] if min(low, high) > DISTINCT * spread[2] else [about]


def _sign_of_largest(vectors: Floats) -> Floats:
    """(N, 1) sign of the component of largest magnitude of vectors (N, 3)."""
    rough = np.round(vectors, DECIMALS)
    return np.asarray(np.sign(rough[np.arange(len(rough)), np.abs(rough).argmax(axis=1)])[:, None])


def _facing_frames(normals: Floats, areas: Floats) -> list[Floats]:
    """Frames (3, 3) of pairs of perpendicular directions among the commonest normals by area, sign ignored.

    A direction is the normal of its largest triangle: exact, unlike an average.
    """
    areas = np.round(areas / areas.max(), DECIMALS)
    by_area = np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)]  # degenerate faces have no normal
    normals, areas = normals[by_area], areas[by_area]
    rough = np.round(normals, DECIMALS) * _sign_of_largest(normals)
    _, largest, kind = np.unique(np.round(rough, 2), axis=0, return_index=True, return_inverse=True)
    most = np.argsort(-np.round(np.bincount(kind.reshape(-1), weights=areas), DECIMALS), kind="stable")[:FACINGS]
    frames = []
    for first, second in itertools.product(normals[largest[most]], repeat=2):
        across = second - first * (first @ second)
        if abs(first @ second) < 0.05:
            across /= np.linalg.norm(across)
            frames.append(np.stack([across, np.cross(first, across), first]))
    return frames


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

    Cuts halve cells of the solid's box, not of the part's, so that cuts of neighbours meet and their parts can be merged.
    """
    box = box_of(solid)
    creases = CreasePlanes(mesh_from_solid(solid))
    done: list[Part] = []
    todo: list[tuple[float, int, Part, Floats]] = []
    number = itertools.count()
    fresh = [(solid, box)]
    while fresh or todo:
        for piece, cell in fresh:
            for connected in piece.decompose():
                part = Part(connected.hull(), float(connected.volume()), connected)
                if part.volume > 0 and _is_done(part, limits, bound):
                    done.append(part)
                elif part.volume > 0:
                    heapq.heappush(todo, (-part.void, next(number), part, cell))
        if len(done) + len(todo) >= limits.most:
            return done + [part for _, _, part, _ in sorted(todo, key=lambda entry: entry[:2])]
        fresh = _cut_once(*heapq.heappop(todo)[2:], creases=creases, smallest=limits.smallest) if todo else []
    return done


def _is_done(part: Part, limits: CutLimits, bound: GapBound) -> bool:
    low, high = box_of(part.solid)
    if (high - low).max() < limits.smallest:
        return True
    if part.mean_gap >= limits.mean_gap:
        return False
    return bound.keeps(part.surface.vertices[part.surface.faces], void=part.void)


def _cut_once(part: Part, cell: Floats, *, creases: CreasePlanes, smallest: float) -> list[tuple[Solid, Floats]]:
    """The two sides of the best plane through a part, each with its cell (2, 3)."""
    cell = _smallest_cell(cell, box_of(part.solid), smallest)
    axis, place = _choose_plane(part, cell, creases, smallest)
    above, below = part.solid.split_by_plane(np.eye(3)[axis], place)
    cell_above, cell_below = cell.copy(), cell.copy()
    cell_above[0, axis] = cell_below[1, axis] = place
    return [(above, cell_above), (below, cell_below)]


def _choose_plane(part: Part, cell: Floats, creases: CreasePlanes, smallest: float) -> tuple[int, float]:
    """(axis, coordinate in m) of the cutting plane.

    A plane that contains many of the part's reflex edges splits box-like solids into their boxes. Otherwise the candidates are the middle
    of the cell and the sharpest crease across each axis; the plane with the least hull volume wins.
    """
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
