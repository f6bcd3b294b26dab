"""Where the surface of a solid is concave: its reflex edges, the planes that hold them, and the axes along which it turns.

The frames in which a mesh is cut into pieces and looked at: they go with its shape, wherever a file puts it.

Exact cuts of a solid by axis-aligned planes until every part is nearly convex."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import manifold3d
import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.gaps import GapBound
from graspgen_cli.geometry.meshes import cross, face_areas, face_normals, farthest_direction, pose_in_own_frame, triangle_mesh
from graspgen_cli.geometry.poses import pose, transform_points
from graspgen_cli.records import Floats, TriangleMesh

FACINGS = 6
"""Directions, of those that most of the surface faces, that an aligned frame is sought among."""
WORTHWHILE = 0.01
"""Share of the surface's alignment that another frame must gain over that about the axis of symmetry."""
DISTINCT = 1e-3
"""Share of the largest principal spread of a surface by which another must differ to have an axis of its own."""

SAFE_DECIMALS = 9
"""Of numbers that are compared: of equal ones the first is to be taken, whatever rounding does to them."""


@dataclass(frozen=True, eq=False)
class ReflexEdges:
    """The E edges at which a closed surface is concave: ends (E, 2, 3) m, and weight (E, 3) m: how far the surface turns there along
    each axis, the edge's length times the change of the normal."""

    ends: Floats
    weight: Floats


def reflex_edges(vertices: Floats, faces: NDArray[np.integer]) -> ReflexEdges:
    """The edges of a closed mesh at which the solid takes up more than half a turn."""
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    order = np.argsort(edges.min(axis=1) * len(vertices) + edges.max(axis=1), kind="stable")
    one, other = order[0::2], order[1::2]  # the mesh is closed: every edge comes twice
    normals = face_normals(vertices[faces])
    first, second = normals[one // 3], normals[other // 3]
    ends = vertices[edges[one]]
    along = ends[:, 1] - ends[:, 0]
    reflex = np.einsum("ei,ei->e", cross(first, second), along) < 0
    weight = np.linalg.norm(along[reflex], axis=1, keepdims=True) * np.abs(second[reflex] - first[reflex])
    return ReflexEdges(ends[reflex], weight)


@dataclass(frozen=True, eq=False)
class Crease:
    """A plane across an axis: its coordinate (m) and the weight of the reflex edges in it (m); no weight where there is none."""

    place: float
    weight: float


class CreasePlanes:
    """The axis-aligned planes that hold reflex edges of a solid."""

    def __init__(self, edges: ReflexEdges, *, tolerance: float) -> None:
        self._tolerance = tolerance
        low, high = edges.ends.min(axis=1), edges.ends.max(axis=1)
        self._across = []
        for axis in range(3):
            flat = np.flatnonzero(high[:, axis] - low[:, axis] < tolerance)
            flat = flat[np.argsort(low[flat, axis], kind="stable")]
            self._across.append((low[flat, axis], edges.weight[flat].sum(axis=1), low[flat], high[flat]))

    def sharpest(self, axis: int, low: Floats, high: Floats, *, margin: float) -> Crease:
        """The plane across `axis` with most weight of edges in the box between corners (3,), at least `margin` inside it."""
        place, weight, edge_low, edge_high = self._across[axis]
        start, stop = np.searchsorted(place, [low[axis] + margin, high[axis] - margin])
        if start >= stop:
            return Crease(0.0, 0.0)
        near = slice(int(start), int(stop))
        within = (edge_low[near] <= high + self._tolerance).all(axis=1) & (edge_high[near] >= low - self._tolerance).all(axis=1)
        place, weight = place[near][within], weight[near][within]
        if not len(place):
            return Crease(0.0, 0.0)
        plane = np.concatenate([[0], np.cumsum(np.diff(place) > self._tolerance)])
        total = np.bincount(plane, weights=weight)
        heaviest = int(total.argmax())
        return Crease(float(place[np.searchsorted(plane, heaviest)]), float(total[heaviest]))


def aligned_frames(vertices: Floats, faces: NDArray[np.integer]) -> list[Floats]:
    """Rotations (3, 3) into frames whose axes most of a surface faces, the best first: rows are their axes.

    Of a frame about the axis of symmetry, the principal axes, and frames made of two directions that much of the surface faces, the one
    with the least area-weighted sum of |normal|₁, which is 1 for a surface that faces only along axes. The first is kept unless another
    gains something.
    """
    triangles = vertices[faces]
    normals, areas = face_normals(triangles), face_areas(triangles)
    frames = [*_principal_frames(triangles.mean(axis=1), areas, vertices), *_facing_frames(normals, areas)]
    scores = np.array([(np.abs(normals @ frame.T).sum(axis=1) * areas).sum() / areas.sum() for frame in frames])
    scores[0] -= WORTHWHILE
    order = np.argsort(np.round(scores, SAFE_DECIMALS), kind="stable")
    return [frames[index] * np.sign(np.linalg.det(frames[index])) for index in order]


def _principal_frames(points: Floats, weights: Floats, vertices: Floats) -> list[Floats]:
    """A frame (3, 3) about the principal axis that differs most from the others, the axis of symmetry where there is one, and the principal
    axes. Where several axes would do as well, what LAPACK takes are a processor's last bits: the vertices say instead."""
    covariance = np.cov(points.T, aweights=weights)
    spread, columns = np.linalg.eigh(covariance)
    low, high = np.diff(spread)
    if low + high < DISTINCT * spread[2]:
        return [np.eye(3)]
    rough = np.round(columns.T, SAFE_DECIMALS)
    axes = columns.T * np.sign(rough[np.arange(3), np.abs(rough).argmax(axis=1)])[:, None]
    about = _frame_about(axes[0 if low > high else 2], vertices)
    return [about, axes] if min(low, high) > DISTINCT * spread[2] else [about]


def _frame_about(axis: Floats, vertices: Floats) -> Floats:
    """The frame (3, 3) of an axis (3,) whose first row points to the vertex farthest from it: to a corner of what was turned."""
    across = vertices - vertices.mean(axis=0)
    across -= np.outer(across @ axis, axis)
    first = farthest_direction(across, otherwise=np.eye(3)[np.abs(axis).argmin()])
    second = np.cross(axis, first)
    second /= np.linalg.norm(second)
    return np.stack([np.cross(second, axis), second, axis])


def _facing_frames(normals: Floats, areas: Floats) -> list[Floats]:
    """Frames (3, 3) of two directions at right angles among those that most area faces, either way.

    Each direction is the normal of the largest triangle that faces it, which is exact where an average is not.
    """
    areas = np.round(areas / areas.max(), SAFE_DECIMALS)
    by_area = np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)]  # a face without area faces nowhere
    normals, areas = normals[by_area], areas[by_area]
    rough = np.round(normals, SAFE_DECIMALS)
    sign = np.sign(rough[np.arange(len(rough)), np.abs(rough).argmax(axis=1)])
    _, largest, kind = np.unique(np.round(rough * sign[:, None], 2), axis=0, return_index=True, return_inverse=True)
    most = np.argsort(-np.round(np.bincount(kind.reshape(-1), weights=areas), SAFE_DECIMALS), kind="stable")[:FACINGS]
    frames = []
    for first in normals[largest[most]]:
        for second in normals[largest[most]]:
            across = second - first * (first @ second)
            if abs(first @ second) < 0.05:
                across /= np.linalg.norm(across)
                frames.append(np.stack([across, np.cross(first, across), first]))
    return frames


MOST_FRAMES = 3
"""Frames to cut in, one after another, as long as pieces stand too far off."""
FINEST = 2.0**-28
"""Share of an object's size to which coordinates are rounded before anything is cut: finer than any file, far coarser than last bits."""


def frames_to_cut_in(mesh: TriangleMesh) -> list[Floats]:
    """Poses (4, 4) of the mesh's frame in frames with axes along which to cut it, the best first."""
    pose_mesh_in_own = pose_in_own_frame(mesh.vertices, mesh.vertices.mean(axis=0))
    turns = aligned_frames(transform_points(pose_mesh_in_own, mesh.vertices), mesh.faces)
    return [pose(turn, np.zeros(3)) @ pose_mesh_in_own for turn in turns[:MOST_FRAMES]]


def brought(mesh: TriangleMesh, pose_mesh_in_frame: Floats) -> TriangleMesh:
    """The mesh in another frame, its coordinates rounded to FINEST of its size: faces across an axis lie in one plane, and it makes no
    difference which frame they came from."""
    vertices = transform_points(pose_mesh_in_frame, mesh.vertices)
    unit = 2.0 ** np.ceil(np.log2(np.ptp(vertices, axis=0).max())) * FINEST
    return triangle_mesh(np.round(vertices / unit) * unit, mesh.faces)


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
