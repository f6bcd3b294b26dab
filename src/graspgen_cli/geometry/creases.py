"""Where the surface of a solid is concave: its reflex edges, the planes that hold them, and the axes along which it turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.meshes import cross, face_areas, face_normals
from graspgen_cli.records import Floats

FACINGS = 6
"""Directions, of those that most of the surface faces, that an aligned frame is sought among."""
WORTHWHILE = 0.01
"""Share of the surface's alignment that another frame must gain over the mesh's own."""


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
    weight = np.linalg.norm(along, axis=1, keepdims=True) * np.abs(second - first)
    return ReflexEdges(ends[reflex], weight[reflex])


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
        near = slice(int(start), int(stop))
        within = (edge_low[near] <= high + self._tolerance).all(axis=1) & (edge_high[near] >= low - self._tolerance).all(axis=1)
        place, weight = place[near][within], weight[near][within]
        if not len(place):
            return Crease(0.0, 0.0)
        plane = np.concatenate([[0], np.cumsum(np.diff(place) > self._tolerance)])
        total = np.bincount(plane, weights=weight)
        heaviest = int(total.argmax())
        return Crease(float(place[np.searchsorted(plane, heaviest)]), float(total[heaviest]))


def aligned_frame(vertices: Floats, faces: NDArray[np.integer]) -> Floats:
    """The rotation (3, 3) into a frame whose axes most of a surface faces: rows are its axes.

    Of the mesh's own frame, its principal axes, and frames made of two directions that much of the surface faces, the one with the
    least area-weighted sum of |normal|₁, which is 1 for a surface that faces only along axes. The own frame is kept unless another
    gains something.
    """
    triangles = vertices[faces]
    normals, areas = face_normals(triangles), face_areas(triangles)
    _, principal = np.linalg.eigh(np.cov(triangles.mean(axis=1).T, aweights=areas))
    frames = [np.eye(3), principal.T, *_facing_frames(normals, areas)]
    scores = [float((np.abs(normals @ frame.T).sum(axis=1) * areas).sum() / areas.sum()) for frame in frames]
    best = int(np.argmin(scores))
    chosen = frames[best if scores[best] < scores[0] - WORTHWHILE else 0]
    return np.asarray(chosen * np.sign(np.linalg.det(chosen)))


def _facing_frames(normals: Floats, areas: Floats) -> list[Floats]:
    """Frames (3, 3) of two directions at right angles among those that most area faces, either way.

    Each direction is the normal of the largest triangle that faces it, which is exact where an average is not.
    """
    by_area = np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)]  # a face without area faces nowhere
    normals, areas = normals[by_area], areas[by_area]
    sign = np.sign(normals[np.arange(len(normals)), np.abs(normals).argmax(axis=1)])
    _, largest, kind = np.unique(np.round(normals * sign[:, None], 2), axis=0, return_index=True, return_inverse=True)
    most = np.argsort(-np.bincount(kind.reshape(-1), weights=areas), kind="stable")[:FACINGS]
    frames = []
    for first in normals[largest[most]]:
        for second in normals[largest[most]]:
            across = second - first * (first @ second)
            if abs(first @ second) < 0.05:
                across /= np.linalg.norm(across)
                frames.append(np.stack([across, np.cross(first, across), first]))
    return frames
