"""The pieces of the example objects leave free what fingers need, and stand off the mesh no farther than they may."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from manifold3d import Manifold, OpType

from examples import EXAMPLES, OBJECTS, example_object
from graspgen_cli.geometry.convex import allowed_gap, convex_pieces
from graspgen_cli.geometry.gaps import Surface
from graspgen_cli.geometry.meshes import mesh_from_solid, triangle_mesh
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.objects.load import load_object
from graspgen_cli.records import TargetObject, TriangleMesh
from graspgen_cli.settings.trials import CollisionApproximation as Approximation

Place = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Sides and middle of a box, mm."""
FINGERS: dict[str, tuple[str, Place]] = {
    "through the mug's handle": ("mug.obj", ((16, 60, 22), (53, 0, 50))),
    "in the mug": ("mug.obj", ((30, 30, 60), (0, 0, 70))),
    "through the ring": ("ring.ply", ((26, 26, 60), (0, 0, 0))),
    "inside the bowl's rim": ("bowl.obj", ((6, 22, 18), (62, 0, 62))),
    "outside the bowl's rim": ("bowl.obj", ((6, 22, 18), (78, 0, 62))),
    "in the bowl": ("bowl.obj", ((40, 40, 60), (0, 0, 50))),
}


def shared(pieces: tuple[TriangleMesh, ...], place: Place) -> float:
    """Volume (m³) that a box shares with convex pieces."""
    sides, middle = np.array(place) / 1000
    finger = Manifold.cube(sides, True).translate(middle)
    return sum((Manifold.hull_points(piece.vertices) ^ finger).volume() for piece in pieces)


@pytest.mark.slow
@pytest.mark.parametrize("name", FINGERS)
def test_a_finger_goes_where_the_object_leaves_room(name: str) -> None:
    object_id, place = FINGERS[name]
    assert shared(example_object(object_id, pieces=True).pieces, place) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FINGERS if "outside" not in name])
def test_one_hull_would_fill_that_room(name: str) -> None:
    object_id, place = FINGERS[name]
    hull = load_object(object_id, EXAMPLES[object_id], root=OBJECTS, approximation=Approximation.CONVEX_HULL, cache=None)
    assert shared(hull.pieces, place) > 1e-6


def ring() -> TriangleMesh:
    return mesh_from_solid((Manifold.cylinder(12, 30, 30, 48) - Manifold.cylinder(12, 22, 22, 48)).scale((0.001,) * 3))


def test_a_bound_of_ones_own_is_kept() -> None:
    usual, tight = (convex_pieces(ring(), Approximation.CONVEX_DECOMPOSITION, gap) for gap in (None, 0.0004))
    assert tight.gaps.largest <= 0.0004 < usual.gaps.largest
    assert len(tight.pieces) > len(usual.pieces)


@pytest.mark.parametrize(("size", "gap"), [(0.004, 0.0002), (0.06, 0.0015), (0.2, 0.003), (1.0, 0.015)])
def test_what_is_allowed_goes_with_the_size(size: float, gap: float) -> None:
    box = trimesh.creation.box((size, size / 2, size / 4))
    mesh = triangle_mesh(box.vertices, box.faces)
    assert allowed_gap(mesh) == pytest.approx(gap)
    assert allowed_gap(mesh, 0.0007) == 0.0007


def cut_example(name: str) -> TargetObject:
    return load_object(name, EXAMPLES[name], root=OBJECTS, approximation=Approximation.CONVEX_DECOMPOSITION, cache=None)


def test_only_pieces_that_stand_too_far_off_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    mended = cut_example("stack.obj")
    monkeypatch.setattr("graspgen_cli.geometry.convex.TIGHTENED", ())
    monkeypatch.setattr("graspgen_cli.geometry.frames.MOST_FRAMES", 1)
    first = cut_example("stack.obj")
    assert mended.largest_gap <= allowed_gap(first.mesh) < first.largest_gap
    alike = {piece.vertices.tobytes() for piece in first.pieces} & {piece.vertices.tobytes() for piece in mended.pieces}
    assert len(alike) > len(first.pieces) / 3


def farthest_off(target: TargetObject) -> float:
    """m: largest distance from the solid union of the pieces to the mesh, at many points outside of it. The union's surface within the
    mesh, in cracks between pieces, is no gap."""
    union = Manifold.batch_boolean([Manifold.hull_points(piece.vertices) for piece in target.pieces], OpType.Add)
    mesh = mesh_from_solid(union)
    points, faces = trimesh.sample.sample_surface(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), 10_000, seed=0)
    points = points + trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).face_normals[faces] * 1e-7
    surface = Surface(target.mesh)
    return max(surface.distance(point) for point in points[~RayCaster(target.mesh).inside(points)])


@pytest.mark.slow
@pytest.mark.parametrize("object_id", EXAMPLES)
def test_every_example_keeps_within_what_is_allowed(object_id: str) -> None:
    target = example_object(object_id, pieces=True)
    allowed = max(0.0015, 0.015 * float(np.ptp(target.mesh.vertices, axis=0).max()))
    assert target.largest_gap <= allowed
    assert farthest_off(target) <= allowed


@pytest.mark.slow
def test_the_examples_need_at_most_64_pieces_on_average() -> None:
    assert np.mean([len(example_object(object_id, pieces=True).pieces) for object_id in EXAMPLES]) <= 64
