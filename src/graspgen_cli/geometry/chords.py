"""Chords: segments inside convex parts. A chord that meets the object's surface proves a collision, far cheaper than the exact test
that has to confirm what no chord refutes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.rays import RayCaster, Segments
from graspgen_cli.records import Floats

SHRINK = 0.999
"""Share of each chord that is kept, so that rounding never carries its ends out of the part."""
OFF_CENTRE = 0.98
"""Where the outer chords lie, as a share of the part's half extents."""

_OTHER_AXES = np.array([[1, 2], [0, 2], [0, 1]])
_GROUPS = (
    ((0, 0, 0),),
    ((1, 0, 0), (2, 0, 0)),
    tuple((axis, *shift) for axis in range(3) for shift in ((-1, 0), (1, 0), (0, -1), (0, 1))),
    tuple((axis, first, second) for axis in range(3) for first in (-1, 1) for second in (-1, 1)),
)
"""The lines of each group: along which principal axis, the longest first, and where on the other two, as shares of the half extents."""


@dataclass(frozen=True, eq=False)
class Chords:
    """C segments in one frame. start, direction: (C, 3) m, unit; length: (C,) m."""

    start: Floats
    direction: Floats
    length: Floats

    @cached_property
    def segments(self) -> Segments:
        """The same for the ray caster."""
        return Segments.between(self.start, self.direction, self.length)

    @staticmethod
    def join(chords: list[Chords]) -> Chords:
        """All chords, in order."""
        return Chords(*(np.concatenate([getattr(c, name) for c in chords]) for name in ("start", "direction", "length")))

    def moved(self, pose: Floats) -> Chords:
        """The chords taken by a pose (4, 4)."""
        rotation = pose[:3, :3]
        return Chords(self.start @ rotation.T + pose[:3, 3], self.direction @ rotation.T, self.length)


def part_chords(vertices: Floats, planes: Floats) -> tuple[Chords, ...]:
    """Chords of a convex part in groups, those that tell most for their number first: the longest along a principal axis through the
    middle; the two shorter ones; along every side, those through its middle; four near the edges along every axis.

    vertices: (V, 3) m; planes: (F, 4) outward half spaces of the part, inside where n . x + d <= 0.
    """
    center = vertices.mean(axis=0)
    axes = np.linalg.svd(vertices - center, full_matrices=False)[2]
    local = (vertices - center) @ axes.T
    order = np.argsort(-np.ptp(local, axis=0))
    axes, half = axes[order], np.ptp(local, axis=0)[order] / 2 * OFF_CENTRE
    center = center + ((local.max(axis=0) + local.min(axis=0)) / 2)[order] @ axes
    chords = []
    for group in _GROUPS:
        along = np.array([axis for axis, _, _ in group])
        first, second = _OTHER_AXES[along].T
        shift = np.array([shift for _, *shift in group])
        start = center + shift[:, :1] * half[first, None] * axes[first] + shift[:, 1:] * half[second, None] * axes[second]
        chords.append(_clipped(start, axes[along], planes))
    return tuple(chords)


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
    return np.asarray(rays.blocked(poses, chords.segments).any(axis=1))
