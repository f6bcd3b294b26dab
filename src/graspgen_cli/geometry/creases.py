"""Where the surface of a solid is concave: its reflex edges, the planes that hold them, and the axes along which it turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.meshes import cross, face_areas, face_normals
from graspgen_cli.geometry.own_frame import farthest_direction
from graspgen_cli.records import Floats

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
