"""What of a mesh can be touched from outside: nothing wholly inside a closed surface, and nothing that a given
gripper cannot get to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import manifold3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from graspgen_cli.geometry.boundaries import lids_of
from graspgen_cli.geometry.cutting import brought, frames_to_cut_in
from graspgen_cli.geometry.finger_reach import FingerReach
from graspgen_cli.geometry.gaps import Surface
from graspgen_cli.geometry.meshes import (
    body_of_vertices,
    bounds,
    directed_edges,
    face_areas,
    is_closed,
    join_meshes,
    part_of,
    pose_in_own_frame,
    solid_from_mesh,
    split_bodies,
    winding_number,
)
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.geometry.touch import TouchTest, halved, has_hidden_parts
from graspgen_cli.records import Floats, TriangleMesh

WORTHWHILE = 0.01
"""Share of the surface under which a place that no gripper gets to is left as it is: it costs few pieces."""
LID_FINENESS = 0.25
"""Multiple of the tolerance at which lids are looked at."""
OVERLAP = 1e-4
"""Share of a closed cavity that may lie in what is solid already: rounding."""


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


@dataclass(frozen=True, eq=False)
class Reachable:
    """A closed mesh, as far as a gripper can touch it. touched: the mesh without the faces that it cannot."""

    mesh: TriangleMesh
    touched: TriangleMesh
    _hidden: tuple[NDArray[np.intp], ...] = ()
    _test: TouchTest | None = None

    def filled(self, tolerance: float) -> TriangleMesh:
        """The mesh without bodies that cannot be touched, and with lids on the cavities that cannot, which fills them; the mesh itself
        where there are none.

        A lid lies where no part gets to, or within `tolerance` (m) of the mesh, as the pieces themselves may. What cannot be closed like
        that stays open.
        """
        if self._test is None:
            return self.mesh
        faces = self.mesh.faces
        whole = _whole_bodies(self.mesh)
        kept = np.ones(len(faces), np.bool_)
        cavities = []
        for patch in self._hidden:
            if whole(patch):
                kept[patch] = False
            else:
                cavities.append(patch)
        solid = solid_from_mesh(part_of(self.mesh, faces[kept]))
        lids = []
        for patch in cavities:
            lid = _lid(self._test, self.mesh, patch, solid, tolerance)
            if lid is not None:
                kept[patch] = False
                lids.append(lid)
        if kept.all():
            return self.mesh
        filled = part_of(self.mesh, np.concatenate([faces[kept], *lids]))
        return filled if solid_from_mesh(filled).status() == manifold3d.Error.NoError else self.mesh


def _lid(
    test: TouchTest, mesh: TriangleMesh, patch: NDArray[np.intp], solid: manifold3d.Manifold, tolerance: float
) -> NDArray[np.int32] | None:
    """Faces (T, 3) that close a cavity of a mesh whose walls are the faces of a patch (P,); None where that is no cavity of the solid, or
    they would stand in the way of a part."""
    walls = mesh.faces[patch, ::-1]
    lid, _ = lids_of(TriangleMesh(mesh.vertices, walls), smallest=True)
    cavity = solid_from_mesh(part_of(mesh, np.concatenate([walls, lid])))
    if cavity.status() != manifold3d.Error.NoError or cavity.volume() <= 0:
        return None
    if (cavity ^ solid).volume() > OVERLAP * cavity.volume():
        return None
    return None if _in_the_way(test, test.mesh.vertices[lid], tolerance) else lid


def _in_the_way(test: TouchTest, triangles: Floats, tolerance: float) -> bool:
    """Whether a part gets to triangles (T, 3, 3) of a lid, in the test's frame, farther than a tolerance (m) from the mesh."""
    surface = Surface(test.mesh)
    # A large opening shows at once.
    for fineness, gets_to in ((2.0, test.any_seen_in_the_middle), (LID_FINENESS, test.any_touched)):
        corners, _ = halved(triangles, fineness * tolerance)
        far = np.array([surface.distance(point) > tolerance for point in corners.mean(axis=1)])
        if gets_to(corners[far]):
            return True
    return False


def reachable(mesh: TriangleMesh, reach: FingerReach | None) -> Reachable:
    """What a gripper can touch of a closed mesh; all of it where little is hidden, the reach is not known, or the mesh is too large for it.

    Sound up to what is said of `geometry.touch.TouchTest`: no face that a part can touch is left out.
    """
    everything = Reachable(mesh, mesh)
    if reach is None or not is_closed(mesh):
        return everything
    # Rays and grid are to lie in a mesh as they lie in a turned one.
    own = brought(mesh, pose_in_own_frame(mesh.vertices, mesh.vertices.mean(axis=0)))
    if not has_hidden_parts(own, RayCaster(own)):
        return everything
    test = TouchTest.of(brought(mesh, frames_to_cut_in(mesh)[0]), reach)
    if test is None:
        return everything
    hidden = _patches(mesh, np.flatnonzero(~test.faces()))
    if not hidden:
        return everything
    touched = np.delete(mesh.faces, np.concatenate(hidden), axis=0)
    return Reachable(mesh, part_of(mesh, touched), tuple(hidden), test)


def _patches(mesh: TriangleMesh, faces: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Those of some faces (N,) that hang together by their edges, where they are whole bodies or a worthwhile share of the surface."""
    edges = np.sort(directed_edges(mesh.faces[faces]).reshape(-1, 2), axis=1)
    _, edge = np.unique(edges, axis=0, return_inverse=True)
    owner = np.repeat(np.arange(len(faces)), 3)
    links = coo_array((np.ones(len(owner), np.int8), (owner, len(faces) + edge.reshape(-1))), shape=(len(faces) + 3 * len(faces),) * 2)
    _, label = connected_components(links, directed=False)
    areas = face_areas(mesh.vertices[mesh.faces])
    patches = [faces[label[: len(faces)] == each] for each in np.unique(label[: len(faces)])]
    whole = _whole_bodies(mesh)
    return [patch for patch in patches if areas[patch].sum() >= WORTHWHILE * areas.sum() or whole(patch)]


def _whole_bodies(mesh: TriangleMesh) -> Callable[[NDArray[np.intp]], bool]:
    """Tells whether faces (N,) that hang together are all those of a body."""
    body = body_of_vertices(mesh)[mesh.faces[:, 0]]
    counts = np.bincount(body)
    return lambda patch: len(patch) == counts[body[patch[0]]]
