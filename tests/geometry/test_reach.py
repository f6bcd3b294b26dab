"""What lies wholly inside a closed surface gets no pieces; everything else keeps its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from manifold3d import Manifold

import shapes
from examples import gripper_by_name
from graspgen_cli.geometry.collision import ObjectShape
from graspgen_cli.geometry.convex import ConvexPieces, convex_pieces
from graspgen_cli.geometry.gaps import Surface, measure_gaps
from graspgen_cli.geometry.meshes import join_meshes, mesh_from_solid, signed_volume, solid_from_mesh, split_bodies, triangle_mesh
from graspgen_cli.geometry.reach import outer_surface
from graspgen_cli.guess.loop import make_guesses
from graspgen_cli.guess.proposals import propose
from graspgen_cli.objects.load import load_object
from graspgen_cli.records import GraspBatch, Outcome, TargetObject, TriangleMesh
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.trials import CollisionApproximation as Approximation
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import make_backend
from graspgen_cli.validate.trials import run_trials

Point = tuple[float, float, float]
ORIGIN: Point = (0.0, 0.0, 0.0)


def box(x: float, y: float, z: float, center: Point = ORIGIN) -> TriangleMesh:
    made = trimesh.creation.box((x, y, z))
    return triangle_mesh(made.vertices + center, made.faces)


def ball(radius: float, center: Point = ORIGIN, *, fineness: int = 2) -> TriangleMesh:
    made = trimesh.creation.icosphere(subdivisions=fineness, radius=radius)
    return triangle_mesh(made.vertices + center, made.faces)


def ring(radius: float, thickness: float) -> TriangleMesh:
    made = trimesh.creation.torus(radius, thickness, major_sections=24, minor_sections=12)
    return triangle_mesh(made.vertices, made.faces)


def inwards(mesh: TriangleMesh) -> TriangleMesh:
    return triangle_mesh(mesh.vertices, mesh.faces[:, ::-1])


def cup() -> TriangleMesh:
    """Outside 40 mm wide and 50 mm high on z = 0, inside 34 mm wide from z = 3 mm up."""
    return mesh_from_solid(Manifold.cylinder(0.05, 0.02, 0.02, 32) - Manifold.cylinder(0.05, 0.017, 0.017, 32).translate((0, 0, 0.003)))


def angle(inset: float) -> Manifold:
    """An L of 80 mm arms, 30 mm wide and 20 mm high, less `inset` (mm) all around."""
    width, height = 30 - 2 * inset, 20 - 2 * inset
    arms = Manifold.cube((80 - 2 * inset, width, height)) + Manifold.cube((width, 80 - 2 * inset, height))
    return arms.translate((inset, inset, inset)).scale((0.001,) * 3)


def filled_angle(*, hole: float = 0.0) -> TriangleMesh:
    """An L with a wall of 2 mm and a ring that floats in its cavity; with a hole of a radius (mm) in the wall where one is wanted."""
    inner, walls = ring(0.008, 0.003), angle(0) - angle(2)
    if hole:
        walls -= Manifold.cylinder(4, hole, hole).translate((60, 15, 17)).scale((0.001,) * 3)
    return join_meshes([mesh_from_solid(walls), triangle_mesh(inner.vertices + np.array((0.015, 0.015, 0.01)), inner.faces)])


def content(pieces: ConvexPieces) -> bytes:
    return b"".join(piece.vertices.tobytes() + piece.faces.tobytes() for piece in pieces.pieces)


def bodies_left(*bodies: TriangleMesh) -> set[bytes]:
    """The vertices of each body of the outer surface."""
    return {body.vertices.tobytes() for body in split_bodies(outer_surface(join_meshes(bodies)))}


def names(*bodies: TriangleMesh) -> set[bytes]:
    return {split_bodies(body)[0].vertices.tobytes() for body in bodies}


@pytest.mark.parametrize("approximation", [Approximation.CONVEX_DECOMPOSITION, Approximation.CONVEX_HULL, Approximation.SDF])
def test_a_hollow_ball_has_the_pieces_and_the_gaps_of_the_full_one(approximation: Approximation) -> None:
    full, hollow = ball(0.03), join_meshes([ball(0.03), inwards(ball(0.027))])
    wanted, found = (convex_pieces(mesh, approximation) for mesh in (full, hollow))
    assert content(found) == content(wanted) and found.gaps == wanted.gaps


@pytest.mark.slow
def test_the_pieces_of_a_hollow_ring_fill_it_are_few_and_keep_to_its_outside() -> None:
    """A wall of 1 mm: the hole stays open, and the gaps are those to the outside, also where pieces span the cavity. Once the wall has a
    hole, the cavity is outside, and the wall needs pieces of its own."""
    full, hollow = ring(0.03, 0.01), join_meshes([ring(0.03, 0.01), inwards(ring(0.03, 0.009))])
    wanted, found = (convex_pieces(mesh, Approximation.CONVEX_DECOMPOSITION) for mesh in (full, hollow))
    assert content(found) == content(wanted) and found.gaps == wanted.gaps
    assert 0.0005 < found.gaps.largest < 0.002
    of_hollow, of_full = (measure_gaps(found.pieces, Surface(mesh))[0] for mesh in (hollow, full))
    assert of_hollow.largest == pytest.approx(of_full.largest, rel=1e-9)
    hole = Manifold.cylinder(0.01, 0.001, 0.001).translate((0.03, 0, 0.005))
    pierced = mesh_from_solid(solid_from_mesh(full) - solid_from_mesh(ring(0.03, 0.009)) - hole)
    assert len(convex_pieces(pierced, Approximation.CONVEX_DECOMPOSITION).pieces) > 5 * len(found.pieces)


def test_bodies_side_by_side_stay() -> None:
    one, other = box(0.02, 0.02, 0.02), box(0.02, 0.02, 0.02, (0.03, 0, 0))
    mesh = join_meshes([one, other])
    assert outer_surface(mesh) is mesh
    assert len(convex_pieces(mesh, Approximation.CONVEX_DECOMPOSITION).pieces) == 2


@pytest.mark.parametrize("make", [cup, lambda: box(1, 2, 3)])
def test_a_mesh_of_one_body_is_passed_on_as_it_is(make: Callable[[], TriangleMesh]) -> None:
    mesh = make()
    assert outer_surface(mesh) is mesh


def test_a_part_that_pokes_through_the_wall_stays_though_its_ends_or_its_middle_are_inside() -> None:
    case = box(0.06, 0.06, 0.06)
    pin = box(0.004, 0.004, 0.05, (0, 0, 0.02))
    plate = box(0.08, 0.08, 0.002)  # all its corners outside
    assert bodies_left(case, pin, plate, ball(0.01, (0, 0.015, -0.015))) == names(case, pin, plate)


def test_a_part_between_the_arms_of_another_is_not_inside_though_all_its_corners_are() -> None:
    """A bar across the gap of a U: both ends in the arms, the middle in the open. Only where the surfaces meet tells."""
    arms = Manifold.cube((0.06, 0.02, 0.06), True) - Manifold.cube((0.03, 0.03, 0.05), True).translate((0, 0, 0.01))
    case, bar = mesh_from_solid(arms), box(0.05, 0.004, 0.004, (0, 0, 0.01))
    assert bodies_left(case, bar) == names(case, bar)


def test_an_open_cup_keeps_its_marble_and_a_closed_one_does_not() -> None:
    marble = ball(0.008, (0, 0, 0.02))
    assert bodies_left(cup(), marble) == names(cup(), marble)
    can, cavity = mesh_from_solid(Manifold.cylinder(0.05, 0.02, 0.02, 32)), mesh_from_solid(Manifold.cylinder(0.04, 0.017, 0.017, 32))
    raised = triangle_mesh(cavity.vertices + np.array((0, 0, 0.005)), cavity.faces)
    assert bodies_left(can, inwards(raised), marble) == names(can)


def test_a_marble_in_a_dent_of_the_outside_stays_whichever_way_the_dent_points() -> None:
    marble = ball(0.008)
    for turn in (trimesh.transformations.rotation_matrix(angle, (0, 1, 0))[:3, :3] for angle in np.arange(8) * np.pi / 4):
        dented = triangle_mesh((cup().vertices - np.array((0, 0, 0.025))) @ turn.T, cup().faces)
        assert bodies_left(dented, marble) == names(dented, marble)


def test_an_open_shell_encloses_nothing() -> None:
    shell, inner = box(0.04, 0.04, 0.04), box(0.02, 0.02, 0.02)
    opened = triangle_mesh(shell.vertices, shell.faces[1:])
    assert bodies_left(shell, inner) == names(shell)
    assert bodies_left(opened, inner) == names(opened, inner)


def test_what_is_enclosed_goes_at_every_depth_and_in_every_body() -> None:
    left, right = box(0.1, 0.1, 0.1, (-0.06, 0, 0)), ball(0.05, (0.06, 0, 0))
    cavity, boxed = inwards(box(0.08, 0.08, 0.08, (-0.06, 0, 0))), ball(0.03, (-0.06, 0, 0))
    hollowed, core = inwards(ball(0.02, (-0.06, 0, 0))), ball(0.005, (-0.06, 0, 0))
    seed = box(0.01, 0.01, 0.01, (0.06, 0.01, 0))
    for order in ([core, left, seed, hollowed, right, boxed, cavity], [left, cavity, boxed, hollowed, core, right, seed]):
        assert bodies_left(*order) == names(left, right)


def test_thousands_of_crumbs_are_told_apart() -> None:
    """Those well inside a ball from those well outside of it."""
    places = np.random.Generator(np.random.Philox(5)).uniform(-0.05, 0.05, (2000, 3))
    reach = np.linalg.norm(places, axis=1)
    clear = np.abs(reach - 0.03) > 0.001
    crumb = ball(0.0002, fineness=0)
    crumbs = [triangle_mesh(crumb.vertices + place, crumb.faces) for place in places[clear]]
    outer = outer_surface(join_meshes([*crumbs, ball(0.03, fineness=4)]))
    assert len(split_bodies(outer)) == 1 + (reach[clear] > 0.03).sum()


coordinates = st.floats(-0.05, 0.05)


@settings(max_examples=25, deadline=None)
@given(place=st.tuples(coordinates, coordinates, coordinates), radius=st.floats(0.001, 0.03), seed=st.integers(0, 99))
def test_a_ball_goes_just_where_a_box_holds_all_of_it_however_both_are_turned(place: Point, radius: float, seed: int) -> None:
    """The ball's corners reach as far as its radius along each axis; it is too small to hold the box."""
    half = np.array([0.02, 0.03, 0.04])
    room = float((half - np.abs(place) - radius).min())
    assume(abs(room) > 1e-6)
    turn = trimesh.transformations.random_rotation_matrix(np.random.Generator(np.random.Philox(seed)).random(3))[:3, :3]
    around, moved = (triangle_mesh(mesh.vertices @ turn.T, mesh.faces) for mesh in (box(0.04, 0.06, 0.08), ball(radius, place, fineness=1)))
    assert bodies_left(around, moved) == (names(around) if room > 0 else names(around, moved))


def loaded(folder: Path, made: TriangleMesh) -> TargetObject:
    trimesh.Trimesh(made.vertices, made.faces, process=False).export(folder / "angle.obj")
    return load_object("angle.obj", 1.0, root=folder, approximation=Approximation.CONVEX_DECOMPOSITION, cache=None)


def test_trials_and_mass_are_those_of_the_object_with_all_its_pieces(tmp_path: Path) -> None:
    """An object with a small hole in its wall, through which its cavity is outside, has all of them."""
    made = filled_angle()
    spared, whole = loaded(tmp_path, made), loaded(tmp_path, filled_angle(hole=0.5))
    assert len(spared.pieces) == 2 < len(whole.pieces)
    assert spared.volume == pytest.approx(signed_volume(made), rel=1e-5) == pytest.approx(whole.volume, rel=1e-3)
    assert spared.volume < 0.6 * angle(0).volume()
    np.testing.assert_allclose(spared.unit_inertia, whole.unit_inertia, rtol=1e-2, atol=1e-7)
    hand = gripper_by_name("franka_panda")
    guesses = make_guesses(
        ObjectShape(spared), hand, GuessSettings(), object_id="angle.obj", num_free=24, num_colliding=0, first_try=0, max_tries=100
    ).grasps
    backwards = np.array(guesses.pose_gripper_in_object)
    backwards[:, :3, 3] -= 0.06 * backwards[:, :3, :3] @ hand.gripper.approach_axis_in_base
    grasps = GraspBatch.join([guesses, replace(guesses, pose_gripper_in_object=backwards)])  # the second half closes on air
    one, other = (
        run_trials(make_backend("mujoco", threads=1), hand.gripper, target, grasps, SimulationSettings()).grasps.outcome
        for target in (spared, whole)
    )
    np.testing.assert_array_equal(one, other)
    assert (one[: len(guesses)] == Outcome.HELD).all() and (one[len(guesses) :] == Outcome.DROPPED).all()


def test_no_guess_is_made_in_a_sealed_cavity() -> None:
    """A cube lies in it, and grasps of that would be free of collision."""
    wall = join_meshes([box(0.4, 0.4, 0.4), inwards(box(0.39, 0.39, 0.39)), box(0.03, 0.03, 0.03)])
    held = ObjectShape(replace(shapes.box(0.1, 0.1, 0.1), mesh=wall))
    rng = np.random.Generator(np.random.Philox(3))
    contact = propose(held, gripper_by_name("franka_panda").gripper, GuessSettings(), 500, rng).contact
    np.testing.assert_allclose(np.abs(contact).max(axis=1), 0.2, atol=1e-9)
