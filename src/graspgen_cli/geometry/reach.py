"""The part of a mesh that can be touched: nothing enclosed by a closed surface, and nothing out of a given gripper's reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import manifold3d
import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.boundaries import lids_of
from graspgen_cli.geometry.frames import cutting_frames, pose_in_own_frame, snap_to_frame
from graspgen_cli.geometry.gaps import Surface
from graspgen_cli.geometry.meshes import (
    body_of_vertices,
    bounds,
    component_labels,
    directed_edges,
    face_areas,
    is_closed,
    join_meshes,
    solid_from_mesh,
    split_bodies,
    submesh,
    winding_number,
)
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.geometry.touch import FingerReach, TouchTest, free_space, has_hidden_parts, subdivide
from graspgen_cli.records import Floats, TriangleMesh

WORTHWHILE = 0.01  # share of the surface below which an untouchable patch is kept: it costs few pieces
LID_FINENESS = 0.25  # radius of tested lid triangles as a multiple of the tolerance
OVERLAP = 1e-4  # share of a cavity's volume that may overlap the solid because of rounding


def outer_surface(mesh: TriangleMesh) -> TriangleMesh:
    """The mesh without bodies that lie wholly inside another, closed body: enclosed parts and cavity walls alike, which fills cavities.
    Returns the mesh itself if it has none.

    A body that meets the surface around it stays; an open body encloses nothing. Exact up to rounding, without sampling.
    """
    bodies = split_bodies(mesh)
    enclosed = _enclosed_bodies(bodies)
    return join_meshes([body for body, inside in zip(bodies, enclosed, strict=True) if not inside]) if enclosed.any() else mesh


def _enclosed_bodies(bodies: Sequence[TriangleMesh]) -> NDArray[np.bool_]:
    """(N,) whether another, closed body encloses each body."""
    enclosed = np.zeros(len(bodies), np.bool_)
    if len(bodies) < 2:
        return enclosed
    low, high = np.stack([bounds(body) for body in bodies], axis=1)  # (N, 3) each
    along = int((high.max(axis=0) - low.min(axis=0)).argmax())
    order = np.argsort(low[:, along], kind="stable")
    first, last = np.searchsorted(low[order, along], [low[:, along], high[:, along]], side="right")
    # The largest body first: bodies that it encloses are not tested themselves.
    for body in np.argsort(-np.prod(high - low, axis=1), kind="stable").tolist():
        if enclosed[body]:
            continue
        near = order[first[body] : last[body]]
        near = near[(low[near] > low[body]).all(axis=1) & (high[near] < high[body]).all(axis=1) & ~enclosed[near]]
        if len(near) and is_closed(bodies[body]):
            enclosed[near] = _encloses(bodies[body], [bodies[other] for other in near.tolist()])
    return enclosed


def _encloses(closed: TriangleMesh, others: Sequence[TriangleMesh]) -> NDArray[np.bool_]:
    """(N,) whether each body lies wholly inside a closed one: one point lies inside, and the surfaces do not meet."""
    enclosed = winding_number(closed, np.stack([other.vertices[other.faces[0, 0]] for other in others])) != 0
    surface = Surface(closed)
    for index in np.flatnonzero(enclosed).tolist():
        enclosed[index] = not surface.meets(Surface(others[index]), np.eye(4))
    return enclosed


@dataclass(frozen=True, eq=False)
class Reachable:
    """A closed mesh and the part that a gripper can touch: the mesh without its untouchable faces."""

    mesh: TriangleMesh
    touched: TriangleMesh
    _hidden: tuple[NDArray[np.intp], ...] = ()
    _test: TouchTest | None = None

    def filled(self, tolerance: float) -> TriangleMesh:
        """The mesh without untouchable bodies, and with untouchable cavities filled by lids; the mesh itself if it has none. A lid must
        lie out of the gripper's reach, or within `tolerance` (m) of the mesh, as pieces may. Other cavities stay open."""
        if self._test is None:
            return self.mesh
        faces = self.mesh.faces
        whole = _whole_bodies(self.mesh)
        kept = np.ones(len(faces), np.bool_)
        for patch in filter(whole, self._hidden):
            kept[patch] = False
        solid = solid_from_mesh(submesh(self.mesh.vertices, faces[kept]))
        lids = []
        for patch in self._hidden:
            lid = None if whole(patch) else _lid(self._test, self.mesh, patch, solid, tolerance)
            if lid is not None:
                kept[patch] = False
                lids.append(lid)
        if kept.all():
            return self.mesh
        filled = submesh(self.mesh.vertices, np.concatenate([faces[kept], *lids]))
        return filled if solid_from_mesh(filled).status() == manifold3d.Error.NoError else self.mesh


def _lid(
    test: TouchTest, mesh: TriangleMesh, patch: NDArray[np.intp], solid: manifold3d.Manifold, tolerance: float
) -> NDArray[np.int32] | None:
    """Faces (T, 3) that close the cavity with the faces of a patch (P,) as walls; None for a patch that is no cavity of the solid, or a
    lid in the gripper's reach."""
    walls = mesh.faces[patch, ::-1]
    lid, _ = lids_of(TriangleMesh(mesh.vertices, walls), smallest=True)
    cavity = solid_from_mesh(submesh(mesh.vertices, np.concatenate([walls, lid])))
    if cavity.status() != manifold3d.Error.NoError or cavity.volume() <= 0:
        return None
    if (cavity ^ solid).volume() > OVERLAP * cavity.volume():
        return None
    return None if _in_reach(test, test.mesh.vertices[lid], tolerance) else lid


def _in_reach(test: TouchTest, triangles: Floats, tolerance: float) -> bool:
    """Whether a part reaches triangles (T, 3, 3) of a lid, in the test's frame, farther than a tolerance (m) from the mesh."""
    surface = Surface(test.mesh)
    # The coarse first test detects a large opening.
    for fineness, reaches in ((2.0, test.any_centroid_seen), (LID_FINENESS, test.any_touched)):
        corners, _ = subdivide(triangles, fineness * tolerance)
        if reaches(corners[surface.distances(corners.mean(axis=1)) > tolerance]):
            return True
    return False


def reachable(mesh: TriangleMesh, reach: FingerReach | None) -> Reachable:
    """The part of a mesh that a gripper can touch, without loss of a touchable face (`TouchTest`); all of it if the mesh is open or too
    large for the test, little is hidden, or the reach is unknown."""
    everything = Reachable(mesh, mesh)
    if reach is None or not is_closed(mesh):
        return everything
    # Own frames, so that the result does not depend on the file's axes.
    own = snap_to_frame(mesh, pose_in_own_frame(mesh.vertices, mesh.vertices.mean(axis=0)))
    if not has_hidden_parts(own, RayCaster(own)):
        return everything
    cut = snap_to_frame(mesh, cutting_frames(mesh)[0])
    space = free_space(cut, reach.clearance, reach.length + reach.clearance)
    test = TouchTest(cut, reach, space) if space else None
    hidden = _patches(mesh, np.flatnonzero(~test.faces())) if test else []
    if not hidden:
        return everything
    return Reachable(mesh, submesh(mesh.vertices, np.delete(mesh.faces, np.concatenate(hidden), axis=0)), tuple(hidden), test)


def _patches(mesh: TriangleMesh, faces: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """The edge-connected patches of some faces (N,) that are whole bodies or a worthwhile share of the surface."""
    edges = np.sort(directed_edges(mesh.faces[faces]).reshape(-1, 2), axis=1)
    _, edge = np.unique(edges, axis=0, return_inverse=True)
    pairs = np.stack([np.repeat(np.arange(len(faces)), 3), len(faces) + edge.reshape(-1)], axis=1)
    label = component_labels(pairs, 4 * len(faces))[: len(faces)]
    areas = face_areas(mesh.vertices[mesh.faces])
    patches = [faces[label == each] for each in np.unique(label)]
    whole = _whole_bodies(mesh)
    return [patch for patch in patches if areas[patch].sum() >= WORTHWHILE * areas.sum() or whole(patch)]


def _whole_bodies(mesh: TriangleMesh) -> Callable[[NDArray[np.intp]], bool]:
    """A test whether connected faces (N,) are all faces of a body."""
    body = body_of_vertices(mesh)[mesh.faces[:, 0]]
    counts = np.bincount(body)
    return lambda patch: bool(len(patch) == counts[body[patch[0]]])
