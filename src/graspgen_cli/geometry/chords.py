"""Chords: segments inside convex parts. A chord that meets the object's surface proves a collision, far cheaper than the exact test
that has to confirm what no chord refutes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.records import Floats

SHRINK = 0.999
"""Share of each chord that is kept, so that rounding never carries its ends out of the part."""
OFF_CENTRE = 0.98
"""Where the outer chords lie, as a share of the part's half extents."""


@dataclass(frozen=True, eq=False)
class Chords:
    """C segments in one frame. start, direction: (C, 3) m, unit; length: (C,) m."""

    start: Floats
    direction: Floats
    length: Floats

    @staticmethod
    def join(chords: list[Chords]) -> Chords:
        """All chords, in order."""
        if not chords:
            return Chords(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))
        return Chords(*(np.concatenate([getattr(c, name) for c in chords]) for name in ("start", "direction", "length")))

    def moved(self, pose: Floats) -> Chords:
        """The chords taken by a pose (4, 4)."""
        rotation = pose[:3, :3]
        return Chords(self.start @ rotation.T + pose[:3, 3], self.direction @ rotation.T, self.length)


def part_chords(vertices: Floats, planes: Floats) -> tuple[Chords, Chords]:
    """The longest chord through the middle of a convex part along a principal axis, and the others: the two shorter ones and those
    near the edges, four along each axis.

    vertices: (V, 3) m; planes: (F, 4) outward half spaces of the part, inside where n . x + d <= 0.
    """
    center = vertices.mean(axis=0)
    axes = np.linalg.svd(vertices - center, full_matrices=False)[2]
    local = (vertices - center) @ axes.T
    order = np.argsort(-np.ptp(local, axis=0))
    axes, half = axes[order], np.ptp(local, axis=0)[order] / 2 * OFF_CENTRE
    center = center + ((local.max(axis=0) + local.min(axis=0)) / 2)[order] @ axes
    start, along = [center, center], [axes[1], axes[2]]
    for axis in range(3):
        first, second = (a for a in range(3) if a != axis)
        for a, b in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            start.append(center + a * half[first] * axes[first] + b * half[second] * axes[second])
            along.append(axes[axis])
    return _clipped(center[None], axes[:1], planes), _clipped(np.stack(start), np.stack(along), planes)


def _clipped(point: Floats, direction: Floats, planes: Floats) -> Chords:
    """The parts of lines, through points (C, 3) along unit directions (C, 3), that lie inside the half spaces; lines that miss them
    are left out."""
    height = point @ planes[:, :3].T + planes[:, 3]
    slope = direction @ planes[:, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = -height / slope
    low = np.where(slope < -1e-12, meets, -np.inf).max(axis=1)
    high = np.where(slope > 1e-12, meets, np.inf).min(axis=1)
    outside = ((np.abs(slope) <= 1e-12) & (height > 0)).any(axis=1)
    keep = ~outside & (high - low > 1e-4)
    middle, length = (low + high)[keep] / 2, (high - low)[keep] * SHRINK
    start = point[keep] + (middle - length / 2)[:, None] * direction[keep]
    return Chords(start, direction[keep], length)


def meet(rays: RayCaster, poses: Floats, chords: Chords) -> NDArray[np.bool_]:
    """(N,) whether, at poses (N, 4, 4) of the base in the object, any chord meets the object's surface."""
    return np.asarray(rays.blocked(poses, chords.start, chords.direction, chords.length).any(axis=1))
