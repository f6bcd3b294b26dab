"""What of a mesh can be touched from outside: nothing that lies wholly inside a closed surface, whatever touches it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.gaps import Surface
from graspgen_cli.geometry.meshes import bounds, is_closed, join_meshes, split_bodies, winding_number
from graspgen_cli.records import TriangleMesh


def outer_surface(mesh: TriangleMesh) -> TriangleMesh:
    """The mesh without its connected bodies that lie wholly inside another, closed, one: solid parts and walls of cavities alike, so that
    what is left is filled. The mesh itself where there are none.

    A body that meets the surface around it stays, and an open body encloses nothing. Exact up to rounding: no sampling.
    """
    bodies = split_bodies(mesh)
    enclosed = _enclosed_bodies(bodies)
    return join_meshes([body for body, inside in zip(bodies, enclosed, strict=True) if not inside]) if enclosed.any() else mesh


def _enclosed_bodies(bodies: Sequence[TriangleMesh]) -> NDArray[np.bool_]:
    """Which of N bodies, each connected, another one that is closed encloses, (N,)."""
    enclosed = np.zeros(len(bodies), np.bool_)
    if len(bodies) < 2:
        return enclosed
    low, high = np.stack([bounds(body) for body in bodies], axis=1)  # (N, 3) each
    along = int((high.max(axis=0) - low.min(axis=0)).argmax())
    order = np.argsort(low[:, along], kind="stable")
    first, last = np.searchsorted(low[order, along], [low[:, along], high[:, along]], side="right")
    # The largest first: what it encloses need not be asked what it encloses itself.
    for body in np.argsort(-np.prod(high - low, axis=1), kind="stable").tolist():
        if enclosed[body]:
            continue
        near = order[first[body] : last[body]]
        near = near[(low[near] > low[body]).all(axis=1) & (high[near] < high[body]).all(axis=1) & ~enclosed[near]]
        if len(near) and is_closed(bodies[body]):
            enclosed[near] = _encloses(bodies[body], [bodies[other] for other in near.tolist()])
    return enclosed


def _encloses(closed: TriangleMesh, others: Sequence[TriangleMesh]) -> NDArray[np.bool_]:
    """Whether each of N connected bodies lies wholly inside a closed one, (N,): one point does, and the surfaces do not meet."""
    enclosed = winding_number(closed, np.stack([other.vertices[other.faces[0, 0]] for other in others])) != 0
    surface = Surface(closed)
    for index in np.flatnonzero(enclosed).tolist():
        enclosed[index] = not surface.meets(Surface(others[index]))
    return enclosed
