"""Convex pieces: they cover the solid, are convex, stay near it, leave holes open, and are the same every time."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from manifold3d import CrossSection, Manifold, OpType

from graspgen_cli.errors import ObjectError, install_command
from graspgen_cli.geometry.convex import LARGEST_GAP, MANY_FACES, RELAXED, SIMPLIFIED, ConvexPieces, convex_pieces, recipe
from graspgen_cli.geometry.gaps import GapBound, Surface, depth_outside, measure_gaps
from graspgen_cli.geometry.meshes import is_closed, mesh_from_solid, signed_volume, triangle_mesh, winding_number
from graspgen_cli.records import TriangleMesh
from graspgen_cli.settings.trials import CollisionApproximation as Approximation

MM = 0.001
TURN = trimesh.transformations.rotation_matrix(0.7, (3, -1, 2))[:3, :3]


def cylinder(height: float, radius: float, bottom: float = 0.0) -> Manifold:
    return Manifold.cylinder(height, radius, radius, 48).translate((0, 0, bottom))


def revolved(*profile: tuple[float, float]) -> Manifold:
    return Manifold.revolve(CrossSection([np.array(profile)]), 48)


def mug() -> TriangleMesh:
    body = cylinder(95, 40) - cylinder(95, 37, bottom=4)
    handle = Manifold.revolve(CrossSection([np.array([(25, -4), (31, -4), (31, 4), (25, 4)])]), 40).rotate((90, 0, 0))
    return mesh_from_solid((body + (handle.translate((40, 0, 47)) - cylinder(95, 39))).scale((MM, MM, MM)))


def bowl() -> TriangleMesh:
    shell = Manifold.sphere(60, 48) - Manifold.sphere(57, 48)
    return mesh_from_solid(shell.trim_by_plane((0, 0, -1), 0).scale((MM, MM, MM)))


def ring() -> TriangleMesh:
    return mesh_from_solid((cylinder(6, 12) - cylinder(6, 9)).scale((MM, MM, MM)))


def table() -> TriangleMesh:
    legs = [Manifold.cube((10, 10, 70)).translate((x, y, 0)) for x in (0, 110) for y in (0, 70)]
    made = sum(legs, Manifold.cube((120, 80, 8)).translate((0, 0, 70)))
    return mesh_from_solid(made.scale((MM, MM, MM)))


def bottle() -> TriangleMesh:
    return mesh_from_solid(revolved((0, 0), (32, 0), (32, 120), (12, 150), (12, 190), (0, 190)).scale((MM, MM, MM)))


SHAPES = {"mug": mug, "bowl": bowl, "ring": ring, "table": table, "bottle": bottle}


@pytest.fixture(scope="module")
def cut() -> dict[str, tuple[TriangleMesh, ConvexPieces]]:
    meshes = {name: make() for name, make in SHAPES.items()}
    return {name: (mesh, convex_pieces(mesh, Approximation.CONVEX_DECOMPOSITION)) for name, mesh in meshes.items()}


def outside(points: np.ndarray, pieces: tuple[TriangleMesh, ...]) -> np.ndarray:
    """How far each point (N, 3) is from being inside any piece, m."""
    return np.min([depth_outside(points, piece) for piece in pieces], axis=0)


def is_convex(piece: TriangleMesh) -> bool:
    return bool((depth_outside(piece.vertices, piece) < 1e-9).all()) and is_closed(piece) and signed_volume(piece) > 0


@pytest.mark.parametrize("name", SHAPES)
def test_pieces_are_convex_and_cover_the_solid(cut: dict[str, tuple[TriangleMesh, ConvexPieces]], name: str) -> None:
    mesh, convex = cut[name]
    assert all(is_convex(piece) for piece in convex.pieces)
    corners = mesh.vertices[mesh.faces]
    weights = np.random.Generator(np.random.Philox(0)).dirichlet((1, 1, 1), (5, len(corners)))
    on_faces = np.einsum("nfk,fki->nfi", weights, corners).reshape(-1, 3)
    assert outside(mesh.vertices, convex.pieces).max() < 1e-9
    assert outside(on_faces, convex.pieces).max() < 1e-9


@pytest.mark.parametrize(("name", "most"), [("mug", 32), ("bowl", 84), ("ring", 8), ("table", 5), ("bottle", 3)])
def test_pieces_are_few_and_near(cut: dict[str, tuple[TriangleMesh, ConvexPieces]], name: str, most: int) -> None:
    """The bowl has so many pieces that the bound is relaxed, as far as it is allowed."""
    mesh, convex = cut[name]
    assert len(convex.pieces) <= most
    size = np.ptp(mesh.vertices, axis=0).max()
    aimed_at = LARGEST_GAP * min(1, size / 0.03)
    allowed = max(aimed_at, 0.015 * size) if name == "bowl" else 1.1 * aimed_at
    assert 0 <= convex.gaps.mean <= convex.gaps.p95 + 1e-12 <= convex.gaps.largest + 2e-12 <= allowed + 2e-12


def test_boxes_of_a_table_come_out_exactly(cut: dict[str, tuple[TriangleMesh, ConvexPieces]]) -> None:
    mesh, convex = cut["table"]
    assert sum(signed_volume(piece) for piece in convex.pieces) == pytest.approx(signed_volume(mesh), rel=1e-9)
    assert all(len(piece.vertices) == 8 for piece in convex.pieces)
    assert convex.gaps.largest < 1e-9


@pytest.mark.parametrize(
    ("name", "point"),
    [("mug", (0, 0, 50)), ("mug", (0, 0, 93)), ("mug", (53, 0, 47)), ("bowl", (0, 0, -3)), ("ring", (0, 0, 3)), ("table", (60, 40, 60))],
)
def test_what_is_open_stays_open(cut: dict[str, tuple[TriangleMesh, ConvexPieces]], name: str, point: tuple[float, ...]) -> None:
    """Inside of a mug, its brim, its handle's eye, a bowl, a ring, under a table: air is not covered."""
    mesh, convex = cut[name]
    place = np.array([point]) * MM
    free = Surface(mesh).distance(place[0])
    assert outside(place, convex.pieces)[0] > 0.3 * free


@pytest.mark.parametrize("approximation", [Approximation.CONVEX_DECOMPOSITION, Approximation.CONVEX_HULL])
@given(size=st.tuples(*[st.floats(0.002, 0.3)] * 3), place=st.tuples(*[st.floats(-0.5, 0.5)] * 3))
@settings(max_examples=6, deadline=None)
def test_a_box_is_its_own_only_piece(approximation: Approximation, size: tuple[float, ...], place: tuple[float, ...]) -> None:
    box = trimesh.creation.box(size)
    mesh = triangle_mesh(box.vertices @ TURN.T + place, box.faces)
    convex = convex_pieces(mesh, approximation)
    (piece,) = convex.pieces
    assert signed_volume(piece) == pytest.approx(np.prod(size), rel=1e-6)
    assert convex.gaps.largest < 1e-9


@given(st.lists(st.tuples(*[st.floats(0, 0.08)] * 3, *[st.floats(0.004, 0.06)] * 3), min_size=2, max_size=5))
@settings(max_examples=15, deadline=None)
def test_any_pile_of_boxes_is_covered_and_nothing_far_is(boxes: list[tuple[float, ...]]) -> None:
    solid = Manifold.batch_boolean([Manifold.cube(box[3:]).translate(box[:3]) for box in boxes], OpType.Add)
    mesh = mesh_from_solid(solid)
    convex = convex_pieces(mesh, Approximation.CONVEX_DECOMPOSITION)
    # Steps between boxes of less than a micrometre are melted by the solids' own precision.
    assert outside(mesh.vertices, convex.pieces).max() < 1e-7
    assert convex.gaps.largest < 1.2 * LARGEST_GAP * RELAXED
    union = Manifold.batch_boolean([Manifold.hull_points(piece.vertices) for piece in convex.pieces], OpType.Add)
    assert (solid - union).volume() < 1e-6 * solid.volume()


@pytest.mark.parametrize(
    ("factor", "proportional"), [(0.2, True), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((2.0, True), (20.0, False)))]
)
def test_lengths_go_with_objects_below_the_ordinary_size(factor: float, proportional: bool) -> None:
    small, other = (convex_pieces(scaled(ring(), f), Approximation.CONVEX_DECOMPOSITION) for f in (0.5, 0.5 * factor))
    assert (len(small.pieces) == len(other.pieces)) == proportional
    # A ring may be begun at any of its corners, and rounding says at which; the gap differs by a little with it.
    assert (other.gaps.mean == pytest.approx(factor * small.gaps.mean, rel=0.05)) == proportional


def scaled(mesh: TriangleMesh, factor: float) -> TriangleMesh:
    return triangle_mesh(mesh.vertices * factor, mesh.faces)


def test_a_turned_object_is_cut_as_well_as_an_upright_one(cut: dict[str, tuple[TriangleMesh, ConvexPieces]]) -> None:
    mesh, upright = cut["table"]
    turned = convex_pieces(triangle_mesh(mesh.vertices @ TURN.T, mesh.faces), Approximation.CONVEX_DECOMPOSITION)
    assert len(turned.pieces) == len(upright.pieces) and turned.gaps.largest < 1e-9


@pytest.mark.slow
def test_a_mesh_of_many_faces_is_covered_but_for_what_it_is_simplified_by() -> None:
    waves = trimesh.creation.icosphere(subdivisions=5, radius=0.04)
    assert len(waves.faces) > MANY_FACES
    height = 1 + 0.1 * np.sin(2 * np.arctan2(waves.vertices[:, 1], waves.vertices[:, 0]))
    mesh = triangle_mesh(waves.vertices * height[:, None], waves.faces)
    convex = convex_pieces(mesh, Approximation.CONVEX_DECOMPOSITION)
    assert 1e-6 < outside(mesh.vertices, convex.pieces).max() < 1.2 * SIMPLIFIED
    assert convex.gaps.largest < 1.2 * LARGEST_GAP * RELAXED


def digest(convex: ConvexPieces) -> str:
    content = b"".join(piece.vertices.tobytes() + piece.faces.tobytes() for piece in convex.pieces)
    return f"{hashlib.sha256(content).hexdigest()} {convex.gaps.mean.hex()} {convex.gaps.largest.hex()}"


@pytest.mark.slow
def test_another_process_hash_seed_and_one_core_make_no_difference(cut: dict[str, tuple[TriangleMesh, ConvexPieces]]) -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    other = subprocess.run(
        [sys.executable, "-c", "import test_convex as t; print(t.digest(t.convex_pieces(t.mug(), t.Approximation.CONVEX_DECOMPOSITION)))"],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "7"},
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == digest(cut["mug"][1])


def test_the_gap_of_a_hull_is_known() -> None:
    """Two cubes of side a, a apart: their hull has four open faces among fourteen, whose distance to the cubes is even from 0 to a/2:
    a/4 on average, and more than t at (1 - 2 t / a) of them, which is a twentieth of all faces at 0.4125 a."""
    side = 0.02
    cubes = Manifold.cube((side,) * 3) + Manifold.cube((side,) * 3).translate((2 * side, 0, 0))
    convex = convex_pieces(mesh_from_solid(cubes), Approximation.CONVEX_HULL)
    assert convex.gaps.largest == pytest.approx(side / 2, rel=0.02)
    assert convex.gaps.mean == pytest.approx((4 * side / 4) / (4 * 3 + 2), rel=0.03)
    assert convex.gaps.p95 == pytest.approx(0.4125 * side, rel=0.03)


def three_cubes(side: float) -> tuple[Manifold, Manifold, Manifold]:
    """`side` and two sides apart along x."""
    first, second, third = (Manifold.cube((side,) * 3).translate((x * side, 0, 0)) for x in (0, 2, 5))
    return first, second, third


def test_each_piece_answers_for_its_own_gap() -> None:
    """The hull of two cubes a side apart stands half a side off them in the middle; the third cube is its own piece."""
    side = 0.02
    first, second, third = three_cubes(side)
    pieces = [mesh_from_solid(Manifold.batch_hull([first, second])), mesh_from_solid(third)]
    gaps, farthest = measure_gaps(pieces, Surface(mesh_from_solid(first + second + third)))
    assert farthest == pytest.approx([side / 2, 0], abs=0.02 * side)
    assert gaps.largest == farthest.max()


@pytest.mark.parametrize(("share", "kept"), [(0.3, False), (0.45, False), (0.55, True), (2.0, True)])
def test_a_hull_keeps_a_bound_above_its_gap_and_no_other(share: float, kept: bool) -> None:
    side = 0.02
    first, second, third = three_cubes(side)
    joined = Manifold.batch_hull([first, second])
    hull = mesh_from_solid(joined)
    bound = GapBound(mesh_from_solid(first + second + third), side)
    assert bound.times(share).keeps(hull.vertices[hull.faces], void=joined.volume() - 2 * side**3) == kept


def test_faces_between_pieces_are_no_gap() -> None:
    block = mesh_from_solid(Manifold.cube((0.06, 0.06, 0.06)))
    octants = [Manifold.cube((0.03,) * 3).translate((x, y, z)) for x in (0, 0.03) for y in (0, 0.03) for z in (0, 0.03)]
    assert measure_gaps([mesh_from_solid(octant) for octant in octants], Surface(block))[0].largest < 1e-12
    assert measure_gaps([block, block], Surface(block))[0].largest < 1e-12


@pytest.mark.parametrize("name", [pytest.param("mug", marks=pytest.mark.slow), "ring"])
def test_spheres_lie_inside_and_few_suffice(name: str) -> None:
    mesh = SHAPES[name]()
    convex = convex_pieces(mesh, Approximation.SPHERE_FILL)
    assert 1 < len(convex.pieces) <= 128
    assert all(is_convex(piece) for piece in convex.pieces)
    centers = np.array([piece.vertices.mean(axis=0) for piece in convex.pieces])
    radii = np.array([np.linalg.norm(piece.vertices[0] - center) for piece, center in zip(convex.pieces, centers, strict=True)])
    surface = Surface(mesh)
    free = np.array([surface.distance(center) for center in centers])
    assert (radii < free + 1e-9).all()
    assert (winding_number(mesh, centers) > 0.5).all()
    gaps = (np.linalg.norm(mesh.vertices[:, None] - centers, axis=-1) - radii).min(axis=1)
    assert gaps.max() < 1.5 * convex.gaps.largest


def test_a_distance_field_has_the_mesh_for_its_piece() -> None:
    mesh = ring()
    convex = convex_pieces(mesh, Approximation.SDF)
    assert convex.pieces == (mesh,) and convex.gaps.largest == 0


def test_coacd_is_asked_for_only_when_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coacd", None)
    with pytest.raises(ObjectError, match=re.escape(install_command("coacd"))):
        convex_pieces(ring(), Approximation.COACD)


@pytest.mark.slow
def test_coacd_pieces_are_convex(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("coacd", reason="coacd is not installed")
    convex = convex_pieces(table(), Approximation.COACD)
    assert all(is_convex(piece) for piece in convex.pieces) and convex.gaps.mean < 0.005
    assert capfd.readouterr() == ("", "")


def test_recipes_differ() -> None:
    assert len({recipe(approximation) for approximation in Approximation}) == len(Approximation)
    assert len({recipe(Approximation.CONVEX_DECOMPOSITION, gap) for gap in (None, 0.001, 0.0015)}) == 3
