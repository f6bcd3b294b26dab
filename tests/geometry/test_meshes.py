"""Meshes: mass properties, closedness, containment, polygons."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graspgen_cli.geometry.gaps import Surface
from graspgen_cli.geometry.meshes import (
    bounds,
    convex_hull,
    extents,
    is_closed,
    join_meshes,
    mass_properties,
    mesh_from_solid,
    signed_volume,
    solid_from_mesh,
    surface_area,
    triangle_mesh,
    triangulate_polygons,
    winding_number,
)
from graspgen_cli.records import TriangleMesh

ROTATION = trimesh.transformations.rotation_matrix(1.1, (1, 2, -1))[:3, :3]


def box(size: tuple[float, ...], center: tuple[float, ...] = (0, 0, 0)) -> TriangleMesh:
    made = trimesh.creation.box(size)
    return triangle_mesh(made.vertices + center, made.faces)


@given(st.tuples(*[st.floats(0.005, 0.2)] * 3), st.tuples(*[st.floats(-1, 1)] * 3))
@settings(deadline=None)
def test_a_turned_box_has_the_mass_properties_of_a_box(size: tuple[float, ...], center: tuple[float, ...]) -> None:
    upright = box(size)
    mesh = triangle_mesh(upright.vertices @ ROTATION.T + center, upright.faces)
    mass = mass_properties(mesh)
    squares = np.array(size) ** 2
    assert mass.volume == pytest.approx(np.prod(size), rel=1e-9) == signed_volume(mesh)
    np.testing.assert_allclose(mass.center_of_mass, center, atol=1e-12)
    expected = ROTATION @ np.diag((squares.sum() - squares) / 12) @ ROTATION.T
    np.testing.assert_allclose(mass.unit_inertia, expected, atol=1e-12 * squares.sum() + 1e-16)


def test_bodies_add_up_by_the_parallel_axis_theorem() -> None:
    mass = mass_properties(join_meshes([box((0.02,) * 3, (-0.05, 0, 0)), box((0.02,) * 3, (0.05, 0, 0))]))
    own = 0.02**2 / 6
    np.testing.assert_allclose(mass.unit_inertia, np.diag([own, own + 0.05**2, own + 0.05**2]), atol=1e-12)
    np.testing.assert_allclose(mass.center_of_mass, 0, atol=1e-12)


def test_size_and_area() -> None:
    mesh = box((0.1, 0.2, 0.3), (1, 2, 3))
    np.testing.assert_allclose(bounds(mesh), [[0.95, 1.9, 2.85], [1.05, 2.1, 3.15]])
    np.testing.assert_allclose(extents(mesh), [0.1, 0.2, 0.3])
    assert surface_area(mesh) == pytest.approx(2 * (0.02 + 0.03 + 0.06))


def test_closed_means_every_edge_is_met() -> None:
    mesh = box((1, 1, 1))
    assert is_closed(mesh)
    assert not is_closed(triangle_mesh(mesh.vertices, mesh.faces[1:]))
    turned = mesh.faces.copy()
    turned[0] = turned[0, ::-1]
    assert not is_closed(triangle_mesh(mesh.vertices, turned))
    assert not is_closed(triangle_mesh(mesh.vertices, np.zeros((0, 3))))


def test_solids_keep_coordinates_exactly() -> None:
    mesh = box((0.1, 0.2, 0.3), (1 / 3, 1 / 7, 1 / 11))
    back = mesh_from_solid(solid_from_mesh(mesh))
    assert {tuple(row) for row in back.vertices.tolist()} == {tuple(row) for row in mesh.vertices.tolist()}


def test_winding_tells_inside_from_outside() -> None:
    outer, inner = box((1, 1, 1)), box((0.5, 0.5, 0.5))
    points = np.array([[0, 0, 0], [0.4, 0, 0], [0.6, 0, 0], [3.0, 2, 1]])
    np.testing.assert_array_equal(winding_number(outer, points), [1, 1, 0, 0])
    hollow = join_meshes([outer, triangle_mesh(inner.vertices, inner.faces[:, ::-1])])
    np.testing.assert_array_equal(winding_number(hollow, points), [0, 1, 0, 0])


def solid_angles(mesh: TriangleMesh, point: np.ndarray) -> float:
    """How often the mesh winds around a point: the solid angles of its faces (van Oosterom and Strackee 1983, eq. 8) over 4 pi."""
    corners = mesh.vertices[mesh.faces] - point
    a, b, c = corners.swapaxes(0, 1)
    la, lb, lc = (np.linalg.norm(corner, axis=1) for corner in (a, b, c))
    below = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
    return float(np.arctan2(np.linalg.det(corners), below).sum() / (2 * np.pi))


grid = st.integers(-6, 6).map(lambda step: step / 4)


@given(place=st.tuples(grid, grid, grid), shift=st.tuples(grid, grid, grid), turned=st.booleans(), inwards=st.booleans())
def test_windings_are_those_of_the_solid_angles_also_along_edges_and_through_corners(
    place: tuple[float, float, float], shift: tuple[float, float, float], turned: bool, inwards: bool
) -> None:
    """Two boxes and an octahedron, which may run through each other; points on the same grid as their corners."""
    octahedron = convex_hull(np.concatenate([np.eye(3), -np.eye(3)]))
    assert octahedron is not None
    first, second = box((2, 2, 2)), box((1, 1, 2), shift)
    mesh = join_meshes([first, triangle_mesh(second.vertices, second.faces[:, ::-1] if inwards else second.faces), octahedron])
    turn = ROTATION if turned else np.eye(3)
    mesh, point = triangle_mesh(mesh.vertices @ turn.T, mesh.faces), turn @ place
    assume(Surface(mesh).distance(point) > 1e-6)
    assert winding_number(mesh, point[None])[0] == pytest.approx(solid_angles(mesh, point), abs=1e-6)


def polygon_area(points: np.ndarray, triangles: np.ndarray) -> float:
    a, b, c = points[triangles].swapaxes(0, 1)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


@pytest.mark.parametrize("rotation", [np.eye(3), ROTATION, -np.eye(3)[[1, 0, 2]]])
def test_polygons_are_filled_within_their_outline(rotation: np.ndarray) -> None:
    ell = np.array([(0, 0, 0), (3, 0, 0), (3, 1, 0), (1, 1, 0), (1, 3, 0), (0, 3, 0)], float) @ rotation.T
    triangles = triangulate_polygons([ell])
    assert len(triangles) == 4
    assert polygon_area(ell, triangles) == pytest.approx(5)
    normals = np.cross(ell[triangles[:, 1]] - ell[triangles[:, 0]], ell[triangles[:, 2]] - ell[triangles[:, 0]])
    assert (normals @ rotation[:, 2] * np.linalg.det(rotation) > 0).all()


def test_a_hole_is_left_open() -> None:
    outer = np.array([(0, 0, 1), (4, 0, 1), (4, 4, 1), (0, 4, 1)], float)
    hole = np.array([(1, 1, 1), (1, 2, 1), (2, 2, 1), (2, 1, 1)], float)
    triangles = triangulate_polygons([outer, hole])
    assert polygon_area(np.concatenate([outer, hole]), triangles) == pytest.approx(15)
