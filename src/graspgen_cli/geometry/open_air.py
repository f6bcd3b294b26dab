"""The air around a mesh that balls of a given radius reach from outside, on a grid. Every approximation takes in more air, not less."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label

from graspgen_cli.geometry.meshes import bounds, face_areas
from graspgen_cli.records import Floats, TriangleMesh

FINEST = 3.0
"""Spacings of the grid to a ball's radius, where there is room for them."""
COARSEST = 1.65
"""As few must there be: on a coarser grid balls would pass through a sheet."""
MOST_NODES = 4_000_000
MOST_SAMPLES = 1_000_000
HALF_DIAGONAL = np.sqrt(3) / 2
"""Of a cell of the grid, in spacings: no point is farther from a node."""
BODY_CENTRED = np.sqrt(5) / 2
"""The same for the nodes whose coordinates are all even or all odd: a quarter as many."""
ROUNDING = 1e-9
"""m: a node so little behind a plane counts as in it."""
_SLANT = np.sqrt(1.25)


@dataclass(frozen=True, eq=False)
class OpenAir:
    """Nodes of a body-centred cubic lattice: wherever a ball's centre may be on its way from outside, one is within `near` (m) of it.

    They are those of two cubic lattices with a spacing of `step` (m): at origins (2, 3) m plus so many steps along each axis, where the
    mask says so.
    """

    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    origins: Floats
    step: float
    near: float

    @cached_property
    def nodes(self) -> Floats:
        """(N, 3) m."""
        return np.concatenate([origin + np.argwhere(mask) * self.step for mask, origin in zip(self.masks, self.origins, strict=True)])

    def before(self, points: Floats, normal: Floats, radius: float) -> tuple[NDArray[np.intp], Floats]:
        """The nodes within a radius (m) of points (N, 3), and some a little farther off, but none behind the planes through them with
        normals (N, 3), which may be zero: the point, (P,), and the node, (P, 3)."""
        reach = radius / self.step + HALF_DIAGONAL
        line = np.arange(-int(reach), int(reach) + 1)
        steps = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
        steps = steps[(steps**2).sum(axis=1) <= reach**2]
        heights = normal @ steps.T * self.step  # (N, S)
        found = []
        for mask, origin in zip(self.masks, self.origins, strict=True):
            wide = np.pad(mask, len(line))
            strides = np.array([wide.shape[1] * wide.shape[2], wide.shape[2], 1])
            cell = np.rint((points - origin) / self.step).astype(np.intp)
            lowest = np.einsum("ij,ij->i", points - (origin + cell * self.step), normal)
            there = wide.ravel()[((cell + len(line)) @ strides)[:, None] + steps @ strides]
            index, step = np.nonzero(there & (heights >= lowest[:, None] - ROUNDING))
            found.append((index, origin + (cell[index] + steps[step]) * self.step))
        return np.concatenate([index for index, _ in found]), np.concatenate([node for _, node in found])


def open_air(mesh: TriangleMesh, radius: float, margin: float) -> OpenAir | None:
    """The air around a mesh, as far as `margin` (m) from its box, that balls of a radius (m) reach; None where that would take too fine a
    grid.

    A node nearest to a centre is at most half a cell's diagonal nearer to the surface than the ball's radius, and neighbouring centres
    have neighbouring nodes. Of the surface samples are taken, which are never nearer than it is.
    """
    low, high = bounds(mesh) + np.array([[-1.0], [1.0]]) * margin
    triangles = mesh.vertices[mesh.faces]
    finest = max(
        radius / FINEST,
        float(np.prod(high - low) / MOST_NODES) ** (1 / 3),
        float(2 * face_areas(triangles).sum() / MOST_SAMPLES) ** (1 / 2),
    )
    if finest > radius / COARSEST:
        return None
    shape = np.ceil((high - low) / finest).astype(np.intp) + 2
    origin = low - finest / 2
    samples, near = cover_points(triangles, finest), finest * BODY_CENTRED
    labels = label(~_closer(samples, origin, finest, shape, radius - finest * HALF_DIAGONAL))[0]
    beside = binary_dilation(labels == labels[0, 0, 0], np.ones((3, 3, 3), np.bool_))
    beside &= ~_closer(samples, origin, finest, shape, radius - near)
    masks = beside[0::2, 0::2, 0::2], beside[1::2, 1::2, 1::2]
    return OpenAir(masks, np.stack([origin, origin + finest]), 2 * finest, near)


def cover_points(triangles: Floats, radius: float) -> Floats:
    """Points (N, 3) of triangles (T, 3, 3): every point of a triangle is within `radius` (m) of one of its.

    Rows along the longest side, each a step higher than the one before. Straight below a point there is one of the row below.
    """
    step = radius / _SLANT
    lengths = np.linalg.norm(np.roll(triangles, -1, axis=1) - triangles, axis=2)
    first, every = lengths.argmax(axis=1), np.arange(len(triangles))
    start, end, top = (triangles[every, (first + turn) % 3] for turn in range(3))
    base = lengths[every, first]
    height = np.divide(2 * face_areas(triangles), base, out=np.zeros_like(base), where=base > 0)
    rows = np.maximum(1, np.ceil(height / step)).astype(np.intp)
    of_row = np.repeat(every, rows)
    up = _counted(rows) / rows[of_row]
    points = np.maximum(1, np.ceil(base[of_row] * (1 - up) / step)).astype(np.intp)
    row = np.repeat(np.arange(len(of_row)), points)
    owner, up, along = of_row[row], up[row, None], ((_counted(points) + 0.5) / points[row])[:, None]
    return np.asarray((1 - up) * ((1 - along) * start[owner] + along * end[owner]) + up * top[owner])


def _counted(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """0, 1, … below each number, one after the other."""
    return np.arange(numbers.sum()) - np.repeat(np.cumsum(numbers) - numbers, numbers)


def _closer(samples: Floats, origin: Floats, spacing: float, shape: NDArray[np.intp], radius: float) -> NDArray[np.bool_]:
    """Which nodes of a grid are nearer than a radius to one of the samples (N, 3)."""
    place = (samples - origin) / spacing
    cell = np.floor(place).astype(np.intp)
    inside = (place - cell).astype(np.float32)
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    flat = cell @ strides
    near = np.zeros(int(np.prod(shape)), np.bool_)
    reach = radius / spacing
    steps = np.arange(-int(reach) - 1, int(reach) + 3)
    squares = [(steps[:, None].astype(np.float32) - inside[:, axis]) ** 2 for axis in range(3)]
    for i, j, k in itertools.product(range(len(steps)), repeat=3):
        offset = steps[[i, j, k]]
        if np.linalg.norm(np.maximum(np.maximum(-offset, offset - 1), 0)) >= reach:
            continue
        close = squares[0][i] + squares[1][j] + squares[2][k] < reach**2
        near[flat[close] + offset @ strides] = True
    return near.reshape(tuple(shape))
