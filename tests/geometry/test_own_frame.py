"""A shape's own frame: the same wherever the shape is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from examples import example_object
from graspgen_cli.geometry.convex import convex_pieces
from graspgen_cli.geometry.frames import in_own_frame, pose_in_own_frame
from graspgen_cli.geometry.poses import is_rotation, pose, transform_points
from graspgen_cli.records import Floats, TriangleMesh
from graspgen_cli.settings.trials import CollisionApproximation

SHAPES = {
    "cube": np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 0.02,
    "polygon": np.array([[np.cos(a), np.sin(a), 0.0] for a in np.linspace(0, 2 * np.pi, 32, endpoint=False)]) * 0.05,
    "line": np.array([[0.0, 0.0, z] for z in (-0.1, 0.0, 0.1)]),
    "point": np.zeros((3, 3)),
    "any": np.random.Generator(np.random.Philox(3)).normal(size=(40, 3)) * 0.1,
}


def coordinates(points: Floats) -> Floats:
    return in_own_frame(transform_points(pose_in_own_frame(points, points.mean(axis=0)), points))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(SHAPES)), st.integers(0, 2**32))
def test_a_shape_has_the_same_coordinates_wherever_it_is(name: str, seed: int) -> None:
    """Bit by bit, though the cube and the polygon have many frames that would do as well."""
    rng = np.random.Generator(np.random.Philox(seed))
    motion = pose(Rotation.random(rng=rng).as_matrix(), rng.normal(size=3))
    moved = transform_points(motion, SHAPES[name])
    if name != "line":  # which has no second direction of its own
        np.testing.assert_array_equal(coordinates(moved), coordinates(SHAPES[name]))
    assert is_rotation(pose_in_own_frame(moved, moved.mean(axis=0))[None]).all()


def test_its_axes_point_to_the_farthest_points() -> None:
    points = np.array([[0.0, 0.0, 3.0], [0.0, 2.0, 1.0], [1.0, 0.0, 0.0]])
    found = transform_points(pose_in_own_frame(points, np.zeros(3)), points)
    np.testing.assert_allclose(found, [[3.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, -1.0]], atol=1e-12)


@pytest.mark.parametrize(
    "name", [pytest.param("caltrop.off", marks=pytest.mark.slow), pytest.param("mug.obj", marks=pytest.mark.slow), "stack.obj"]
)
def test_pieces_are_the_same_in_every_frame(name: str) -> None:
    mesh = example_object(name, pieces=False).mesh
    motion = pose(Rotation.from_rotvec([0.3, -1.1, 2.0]).as_matrix(), np.array([0.2, -0.4, 0.1]))
    moved = TriangleMesh(transform_points(motion, mesh.vertices), mesh.faces)
    one, other = (convex_pieces(each, CollisionApproximation.CONVEX_DECOMPOSITION) for each in (mesh, moved))
    assert len(one.pieces) == len(other.pieces)
    for piece, again in zip(one.pieces, other.pieces, strict=True):
        np.testing.assert_allclose(transform_points(motion, piece.vertices), again.vertices, atol=1e-8)
        np.testing.assert_array_equal(piece.faces, again.faces)
    assert one.gaps == other.gaps
