"""Spheres that fill a solid from inside, each touching its surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from graspgen_cli.geometry.gaps import Surface, spread_points
from graspgen_cli.geometry.meshes import extents, face_normals, triangle_mesh
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.records import Floats, TriangleMesh

DENSE_POINTS = 40_000
"""Points of the surface that spheres shrink away from."""
SURFACE_POINTS = 3000
"""Points of the surface that the spheres have to come near."""
CANDIDATES = 1000
MOST_SPHERES = 128
ROUNDS = 20
"""Most steps of shrinking; spheres settle in fewer than ten."""
FINEST = 0.02
COARSER = 1.1
"""The tolerance starts at this share of the object's size and grows by this factor until few enough spheres do."""


def fill_with_spheres(mesh: TriangleMesh) -> tuple[Floats, Floats]:
    """Centres (S, 3) m and radii (S,) m of at most 128 spheres inside a closed mesh, chosen to come near all of its surface.

    Candidates are the largest inscribed spheres at points of the surface. Of those, one after the other, that is taken which comes near
    most points that none is near yet; the tolerance is the least, in steps of a tenth, at which the spheres suffice.
    """
    triangles = mesh.vertices[mesh.faces]
    touched, face = spread_points(triangles, CANDIDATES)
    size = float(extents(mesh).max())
    dense, _ = spread_points(triangles, DENSE_POINTS)
    centers = inscribed_centers(dense, touched, face_normals(triangles)[face], largest=size / 2)
    centers = centers[RayCaster(mesh).inside(centers)]
    surface = Surface(mesh)
    radii = np.array([surface.distance(center) for center in centers])
    beyond = cdist(centers, spread_points(triangles, SURFACE_POINTS)[0]) - radii[:, None]  # (C, N) m
    tolerance = FINEST * size
    picked = _cover(beyond <= tolerance)
    while picked is None:
        tolerance *= COARSER
        picked = _cover(beyond <= tolerance)
    return centers[picked], radii[picked]


def inscribed_centers(points: Floats, touched: Floats, normals: Floats, *, largest: float) -> Floats:
    """Centres (C, 3) of the largest spheres that touch a surface from inside at given places and hold none of its points (N, 3).

    touched, normals: (C, 3) places on the surface and its unit normals there, outwards. Each sphere starts with the largest radius and
    shrinks to pass through the point nearest to its centre until none is inside (Ma, Bae and Choi 2012, "3D medial axis point
    approximation using nearest neighbors and the normal field").
    """
    tree = cKDTree(points)
    radii = np.full(len(touched), largest)
    for _ in range(ROUNDS):
        centers = touched - normals * radii[:, None]
        distance, nearest = tree.query(centers)
        toward = touched - points[nearest]
        along = np.einsum("ij,ij->i", toward, normals)
        shrunk = np.einsum("ij,ij->i", toward, toward) / np.where(along > 0, 2 * along, np.inf)
        shrinks = (distance < radii * (1 - 1e-6)) & (shrunk > 0)
        if not shrinks.any():
            break
        radii[shrinks] = np.minimum(radii, shrunk)[shrinks]
    return np.asarray(touched - normals * radii[:, None])


def _cover(near: NDArray[np.bool_]) -> NDArray[np.intp] | None:
    """Candidates whose rows of (C, N) together cover all columns, greedily; None where more than the most spheres are needed."""
    picked: list[int] = []
    gain = near.sum(axis=1)
    bare = np.ones(near.shape[1], np.bool_)
    while bare.any():
        best = int(gain.argmax())
        if len(picked) == MOST_SPHERES or gain[best] == 0:
            return None
        picked.append(best)
        covered = np.flatnonzero(bare & near[best])
        bare[covered] = False
        gain -= near[:, covered].sum(axis=1)
    return np.array(picked, np.intp)


def sphere_mesh(center: Floats, radius: float) -> TriangleMesh:
    """An icosahedron, once subdivided, with its 42 vertices on the sphere."""
    vertices, faces = _icosahedron()
    corners = vertices[faces]
    middles = (corners + np.roll(corners, -1, axis=1)) / 2  # of the edges 01, 12, 20
    a, b, c = corners.swapaxes(0, 1)
    ab, bc, ca = middles.swapaxes(0, 1)
    triangles = np.concatenate([np.stack(three, axis=1) for three in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    unique, index = np.unique(np.round(triangles.reshape(-1, 3), 12), axis=0, return_inverse=True)
    on_sphere = unique / np.linalg.norm(unique, axis=1, keepdims=True)
    return triangle_mesh(center + radius * on_sphere, index.reshape(-1, 3))


def _icosahedron() -> tuple[Floats, NDArray[np.intp]]:
    golden = (1 + 5**0.5) / 2
    signs = [(one, other * golden) for one in (-1, 1) for other in (-1, 1)]
    vertices = np.array([np.roll((0, one, other), shift) for shift in range(3) for one, other in signs], np.float64)
    near = np.isclose(cdist(vertices, vertices), 2)
    faces = [(i, j, k) for i in range(12) for j in range(i) for k in range(j) if near[i, j] and near[j, k] and near[k, i]]
    outwards = [(i, j, k) if np.linalg.det(vertices[[i, j, k]]) > 0 else (i, k, j) for i, j, k in faces]
    return vertices, np.array(outwards)
