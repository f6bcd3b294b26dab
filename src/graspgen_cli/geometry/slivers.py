"""Pieces without thickness, which now and then are left where a cut runs along a face."""

from __future__ import annotations

import numpy as np

from graspgen_cli.records import TriangleMesh

THINNEST = 1e-6
"""Thickness of a piece as a share of the object's size, below which it is rounding and no part of the object: a physics engine makes no
hull of it. The thinnest pieces of real objects are thousands of times as thick."""


def without_slivers(pieces: tuple[TriangleMesh, ...], size: float) -> tuple[TriangleMesh, ...]:
    """The pieces of an object of this size (m) that have a thickness; all of them where none has."""
    thick = tuple(piece for piece in pieces if thickness(piece) > THINNEST * size)
    return thick or pieces


def thickness(piece: TriangleMesh) -> float:
    """m between the planes across the direction in which the vertices spread least (the last principal axis)."""
    spread = piece.vertices - piece.vertices.mean(axis=0)
    across = np.linalg.svd(spread, full_matrices=False)[2][-1]
    return float(np.ptp(spread @ across))
