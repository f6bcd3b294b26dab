"""The convex parts that stand for a collision mesh of a gripper."""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.cutting import CutLimits, cut
from graspgen_cli.geometry.gaps import GapBound
from graspgen_cli.geometry.merging import merge, share_out, single_groups
from graspgen_cli.geometry.meshes import extents, is_closed, mesh_from_solid, signed_volume, solid_from_mesh, triangle_mesh
from graspgen_cli.records import Floats, TriangleMesh

CONCAVE = 1.5
"""A mesh whose hull has more than this many times its volume is cut into convex parts."""
_CUT_GAP, _LARGEST_GAP = 0.001, 0.003
"""m: mean gap under which a part is not cut further, and the gap that a hull of joined parts may leave. A gripper needs less than an
object: its parts are many, and only its pads touch."""
_SMALLEST_PART = 0.005
_MOST_PARTS = 60
_THINNEST = 1e-4
"""m: flat meshes are made this thick, because a hull needs a volume."""


def mesh_parts(mesh: TriangleMesh, *, convex: bool = False) -> tuple[tuple[TriangleMesh, ...], str]:
    """Convex parts of a mesh, and what there is to say about them: its hull, or several parts where it is very concave.

    convex: the hull, whatever the mesh. Raises GripperError where the mesh has no three points apart.
    """
    hull = convex_hull(mesh.vertices)
    if convex:
        return (hull,), ""
    merged = _merged(mesh)
    volume = abs(signed_volume(merged)) if is_closed(merged) else 0.0
    if volume <= 0 or volume * CONCAVE > signed_volume(hull):
        return (hull,), ""
    solid = solid_from_mesh(merged if signed_volume(merged) > 0 else triangle_mesh(merged.vertices, merged.faces[:, ::-1]))
    if solid.is_empty():
        return (hull,), "a very concave collision mesh is not closed: its convex hull stands in for it"
    bound = GapBound(mesh_from_solid(solid), _LARGEST_GAP)
    groups = merge(single_groups(cut(solid, CutLimits(_CUT_GAP, _SMALLEST_PART, _MOST_PARTS), bound)), _LARGEST_GAP, bound)
    parts = tuple(mesh_from_solid(group.part.hull) for group in share_out(groups, _LARGEST_GAP, bound))
    return parts, f"a very concave collision mesh was cut into {len(parts)} convex parts"


def convex_hull(points: Floats) -> TriangleMesh:
    """The convex hull of points (P, 3), its faces counter-clockwise seen from outside; flat sets get a little thickness."""
    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError) as error:  # a flat set, or too few points
        if len(points) < 3 or np.linalg.matrix_rank(points - points[0], tol=1e-9) < 2:
            raise GripperError("a collision mesh has no three points apart") from error
        _, _, directions = np.linalg.svd(points - points.mean(axis=0), full_matrices=True)
        hull = ConvexHull(np.concatenate([points - _THINNEST / 2 * directions[2], points + _THINNEST / 2 * directions[2]]))
    corners = hull.points[hull.vertices]
    faces = np.searchsorted(hull.vertices, hull.simplices)
    triangles = corners[faces]
    inward = (
        np.einsum("fi,fi->f", np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), hull.equations[:, :3]) < 0
    )
    faces[inward] = faces[inward][:, ::-1]
    return triangle_mesh(corners, faces)


def mesh_bytes(mesh: TriangleMesh) -> bytes:
    """The mesh as a Wavefront file."""
    vertices = "".join(f"v {x:.9g} {y:.9g} {z:.9g}\n" for x, y, z in mesh.vertices)
    faces = "".join(f"f {a} {b} {c}\n" for a, b, c in mesh.faces + 1)
    return (vertices + faces).encode()


def _merged(mesh: TriangleMesh) -> TriangleMesh:
    """Corners that lie within a millionth of the mesh's size are one vertex, as files without shared vertices need."""
    grid = float(extents(mesh).max()) * 1e-6
    _, first, index = np.unique(np.round(mesh.vertices / grid), axis=0, return_index=True, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces]
    proper = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return triangle_mesh(mesh.vertices[first], faces[proper])
