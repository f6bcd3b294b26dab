"""Connected bodies of a mesh: turned outwards, and united where they overlap."""

from __future__ import annotations

import manifold3d
import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.meshes import bounds, join_meshes, mesh_from_solid, signed_volume, solid_from_mesh, triangle_mesh, winding_number
from graspgen_cli.records import TriangleMesh

OVERLAP = 1e-6
"""Share of the volume that bodies must have in common to count as overlapping."""


def counted(count: int, singular: str, plural: str) -> list[str]:
    """The repair in words, with its count; nothing where there was none."""
    return [f"{count} {singular if count == 1 else plural}"] if count else []


def join_bodies(bodies: list[TriangleMesh]) -> tuple[TriangleMesh, list[str]]:
    """One mesh of closed bodies with normals outwards, and what was done: bodies turned, overlapping bodies united.

    A body with normals inwards inside another is a cavity of it and stays; any other is turned.
    """
    bodies = [part for body in bodies for part in _loosened(body)]
    inside = _containment(bodies)
    turned = _turned(bodies, inside)
    bodies = [_reversed(body) if turn else body for body, turn in zip(bodies, turned, strict=True)]
    repairs = counted(int(turned.sum()), "body with normals inwards turned", "bodies with normals inwards turned")
    united = _union(bodies, inside)
    if united is not None:
        return united, [*repairs, f"{len(bodies)} overlapping bodies united"]
    return join_meshes(bodies), repairs


def _loosened(body: TriangleMesh) -> list[TriangleMesh]:
    """The closed parts of a closed body that only touch, in vertices, edges or faces."""
    parts = solid_from_mesh(body).decompose()
    return [mesh_from_solid(part) for part in parts] if len(parts) > 1 else [body]


def _containment(bodies: list[TriangleMesh]) -> NDArray[np.bool_]:
    """[i, j]: body i lies inside body j, judged by one point of i."""
    boxes = np.stack([bounds(body) for body in bodies])  # (N, 2, 3)
    inside: NDArray[np.bool_] = np.array(
        (boxes[:, None, 0] >= boxes[None, :, 0]).all(-1) & (boxes[:, None, 1] <= boxes[None, :, 1]).all(-1)
    )
    np.fill_diagonal(inside, False)
    for i, j in np.argwhere(inside):
        point = bodies[i].vertices[bodies[i].faces[0]].mean(axis=0)
        inside[i, j] = winding_number(bodies[j], point[None])[0] != 0
    return inside


def _turned(bodies: list[TriangleMesh], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which bodies to turn: the outermost ones with normals inwards, each together with what lies inside it."""
    inwards = np.array([signed_volume(body) < 0 for body in bodies])
    outermost = inwards & ~inside.any(axis=1)
    return np.asarray(outermost | inside[:, outermost].any(axis=1))


def _reversed(mesh: TriangleMesh) -> TriangleMesh:
    return triangle_mesh(mesh.vertices, mesh.faces[:, ::-1])


def _union(bodies: list[TriangleMesh], inside: NDArray[np.bool_]) -> TriangleMesh | None:
    """The union of the bodies, each less its cavities; None where they do not overlap, or it cannot be made."""
    volumes = np.array([signed_volume(body) for body in bodies])
    full = np.flatnonzero(volumes > 0)
    if not _boxes_meet([bodies[index] for index in full]):
        return None
    hollowed = {int(index): solid_from_mesh(bodies[index]) for index in full}
    for cavity in np.flatnonzero(volumes < 0):
        around = [int(index) for index in full if inside[cavity, index]]
        if around:
            owner = min(around, key=lambda index: float(volumes[index]))
            hollowed[owner] -= solid_from_mesh(_reversed(bodies[cavity]))
    union = manifold3d.Manifold.batch_boolean(list(hollowed.values()), manifold3d.OpType.Add)
    if union.status() != manifold3d.Error.NoError or union.is_empty():
        return None
    return mesh_from_solid(union) if volumes.sum() - union.volume() > OVERLAP * volumes.sum() else None


def _boxes_meet(bodies: list[TriangleMesh]) -> bool:
    boxes = np.stack([bounds(body) for body in bodies])
    meet = (boxes[:, None, 0] < boxes[None, :, 1]).all(-1) & (boxes[:, None, 1] > boxes[None, :, 0]).all(-1)
    return bool(meet.sum() > len(bodies))
