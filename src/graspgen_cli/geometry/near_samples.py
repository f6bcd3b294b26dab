"""Whether points are near samples, told at once for most that are: a grid names a sample beside each cell."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.records import Floats

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
