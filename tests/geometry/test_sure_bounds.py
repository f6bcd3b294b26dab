"""What is told by a cheap bound is what the full computation says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifold3d import Manifold
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from graspgen_cli.geometry.convex import allowed_gap, least_allowed_gap
from graspgen_cli.geometry.gaps import CHECKED_SPACING, GapBound, NearSamples, sample_surface
from graspgen_cli.geometry.meshes import face_areas, mesh_from_solid, triangle_mesh
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.records import Floats, TriangleMesh

SEEDS = st.integers(0, 2**32 - 1)
NEAR = 0.002


def cup() -> TriangleMesh:
    return mesh_from_solid(Manifold.cylinder(0.06, 0.03, 0.04, 32) - Manifold.cylinder(0.06, 0.027, 0.037, 32).translate((0, 0, 0.004)))


@given(SEEDS, st.floats(0.2, 2.0))
def test_what_is_surely_near_is_near(seed: int, times: float) -> None:
    rng = np.random.default_rng(seed)
    samples, distance = rng.uniform(-0.02, 0.03, (200, 3)), NEAR * times
    points = np.concatenate([samples + rng.normal(0, NEAR, samples.shape), rng.uniform(-0.1, 0.1, (200, 3))])
    near = NearSamples.of(samples, NEAR)
    assert near is not None
    truly = cKDTree(samples).query(points)[0] < distance
    assert not (near.surely_near(points, distance) & ~truly).any()


def test_most_of_what_is_near_a_surface_is_told_at_once() -> None:
    mesh = cup()
    samples, _ = sample_surface(mesh.vertices[mesh.faces], 10_000)
    near = NearSamples.of(samples, NEAR)
    assert near is not None
    points = sample_surface(mesh.vertices[mesh.faces], 3001)[0] + [0.0, 0.0, NEAR / 4]
    assert near.surely_near(points, NEAR).mean() > 0.9


def test_a_grid_of_too_many_cells_is_not_made() -> None:
    assert NearSamples.of(np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), 1e-4) is None


def well(points: Floats, mesh: TriangleMesh, bound: GapBound) -> bool:
    """Whether every point is inside the mesh or within the bound of it."""
    outside = points[~RayCaster(mesh).inside(points)]
    return bool((bound.surface.distances(outside) <= bound.bound).all())


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.33])
def test_a_bound_is_kept_where_every_point_keeps_it(factor: float) -> None:
    mesh, rng, answers = cup(), np.random.default_rng(0), []
    bound = GapBound(mesh, NEAR).times(factor)
    for _ in range(60):
        middle = mesh.vertices[rng.integers(len(mesh.vertices))]
        chosen = np.linalg.norm(mesh.vertices - middle, axis=1) < rng.uniform(0.006, 0.03)
        hull = mesh_from_solid(Manifold.hull_points(mesh.vertices[chosen] * [1.0, 1.0, 0.5] + [0.0, 0.0, 0.01]))
        if len(hull.faces):
            triangles = hull.vertices[hull.faces]
            count = int(face_areas(triangles).sum() / (CHECKED_SPACING * bound.bound) ** 2) + 1
            points = np.concatenate([sample_surface(triangles, count)[0], triangles.mean(axis=1)])
            answers.append(well(points, mesh, bound))
            assert bound.keeps(triangles, void=np.inf) == answers[-1]
    assert True in answers
    assert False in answers


@given(SEEDS, st.tuples(*[st.floats(0.005, 0.9)] * 3))
def test_the_gap_allowed_is_never_less_than_the_least(seed: int, sides: tuple[float, float, float]) -> None:
    box = mesh_from_solid(Manifold.cube(sides, True))
    turn = Rotation.random(random_state=seed).as_matrix()
    mesh = triangle_mesh(box.vertices @ turn.T, box.faces)
    assert allowed_gap(mesh) / 3 < least_allowed_gap(mesh) <= allowed_gap(mesh)


def test_a_gap_that_is_asked_for_is_the_least() -> None:
    assert least_allowed_gap(cup(), 0.0007) == 0.0007
