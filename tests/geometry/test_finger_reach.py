"""What a gripper that comes from outside cannot touch gets no pieces and no guesses; all that it can keeps its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fcl
import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from manifold3d import CrossSection, Manifold, OpType
from scipy.spatial import ConvexHull, HalfspaceIntersection, cKDTree

from examples import EXAMPLES, example_object, gripper_by_name
from graspgen_cli.geometry.boundaries import lids_of
from graspgen_cli.geometry.collision import ObjectShape
from graspgen_cli.geometry.convex import allowed_gap, convex_pieces
from graspgen_cli.geometry.gaps import Surface
from graspgen_cli.geometry.meshes import is_closed, mesh_from_solid, signed_volume, split_bodies, triangle_mesh
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.geometry.reach import Reachable, reachable
from graspgen_cli.geometry.touch import FingerReach, cover_points, finger_reach, free_space, has_hidden_parts
from graspgen_cli.guess.loop import make_guesses
from graspgen_cli.guess.proposals import propose
from graspgen_cli.objects.load import load_object
from graspgen_cli.records import Floats, GraspBatch, Gripper, TargetObject, TriangleMesh
from graspgen_cli.settings.guesses import GuessSettings, Reach
from graspgen_cli.settings.trials import CollisionApproximation as Approximation
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import make_backend
from graspgen_cli.validate.trials import run_trials

PANDA = FingerReach(clearance=0.00255, length=0.0069)
"""About that of the Panda, in the tests that need no more."""


def scaled(solid: Manifold) -> TriangleMesh:
    """A solid in millimetres, in metres."""
    return mesh_from_solid(solid.scale((0.001,) * 3))


def hollow_box(slit: float, *, wall: float = 2.0, size: float = 44.0) -> TriangleMesh:
    """A box with a slit (mm) that goes through the middle of its upper wall, 30 mm long."""
    room = Manifold.cube((size,) * 3, True) - Manifold.cube((size - 2 * wall,) * 3, True)
    return scaled(room - Manifold.cube((slit, 30, 3 * wall), True).translate((0, 0, size / 2)))


def vented_ball(slit: float) -> TriangleMesh:
    """A hollow ball 50 mm wide with a wall of 2.5 mm and three slits (mm) in it."""
    ball = Manifold.sphere(25, 48) - Manifold.sphere(22.5, 48)
    cuts = [Manifold.cube((slit, 25, 20), True).translate((8.0 * at, 0, 25)) for at in (-1, 0, 1)]
    return scaled(ball - Manifold.batch_boolean(cuts, OpType.Add))


def assembly() -> TriangleMesh:
    """A case with vents, and parts on its floor and loose in it."""
    case = Manifold.cube((70, 50, 30), True) - Manifold.cube((66, 46, 26), True)
    case -= Manifold.batch_boolean([Manifold.cube((2.5, 30, 6), True).translate((7.0 * at, 0, 15)) for at in range(-3, 4)], OpType.Add)
    parts = [Manifold.cylinder(h, 2 + h / 8, -1, 16).translate((6.0 * h - 48, 2.0 * h - 20, -13.5)) for h in (4, 6, 8, 10, 12)]
    loose = [Manifold.cube((9, 7, 3), True).translate((-20 + 14.0 * at, 15 - 9 * at, 6)) for at in range(4)]
    return scaled(Manifold.batch_boolean([case, *parts, *loose], OpType.Add))


def filled(mesh: TriangleMesh, reach: FingerReach = PANDA) -> TriangleMesh:
    return reachable(mesh, reach).filled(allowed_gap(mesh))


def pieces(mesh: TriangleMesh) -> int:
    return len(convex_pieces(mesh, Approximation.CONVEX_DECOMPOSITION).pieces)


def volume(mesh: TriangleMesh) -> float:
    """Of the solid parts, cm³."""
    return signed_volume(mesh) * 1e6


def area(mesh: TriangleMesh) -> float:
    return float(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).area)


# what a gripper is


@pytest.mark.parametrize("name", ["franka_panda", "robotiq_2f_85", "onrobot_rg6", "robotiq_2f_140", "smc_mhc2_25"])
def test_balls_of_the_clearance_fit_all_parts_and_reach_their_corners(name: str) -> None:
    gripper = gripper_by_name(name).gripper
    reach = finger_reach(gripper)
    assert reach is not None
    assert 0.0015 < reach.clearance < reach.length < 0.008
    farthest = []
    for part in (part for body in gripper.collision_parts for part in body):
        planes = ConvexHull(part.vertices).equations
        planes[:, 3] += reach.clearance + 0.0005
        eroded = HalfspaceIntersection(planes, part.vertices.mean(axis=0)).intersections
        inner = Surface(triangle_mesh(eroded, ConvexHull(eroded).simplices))
        farthest.append(max(inner.distance(vertex) for vertex in part.vertices))
    assert max(farthest) == pytest.approx(reach.length, rel=1e-4)


def cuboid(x: float, y: float, z: float) -> TriangleMesh:
    made = trimesh.creation.box((x, y, z))
    return triangle_mesh(made.vertices, made.faces)


def with_parts(*parts: TriangleMesh) -> Gripper:
    gripper = gripper_by_name("franka_panda").gripper
    return replace(gripper, collision_parts=(tuple(parts), *(() for _ in gripper.collision_parts[1:])))


def test_the_reach_of_a_cuboid_is_that_of_its_corner() -> None:
    """0.9 of the half thickness is eroded, on all sides; 0.5 mm of that may be pressed in."""
    reach = finger_reach(with_parts(cuboid(0.02, 0.01, 0.03), cuboid(0.05, 0.05, 0.05)))
    assert reach is not None
    assert reach.clearance == pytest.approx(0.9 * 0.005 - 0.0005, rel=1e-6)
    assert reach.length == pytest.approx(0.9 * 0.005 * np.sqrt(3), rel=1e-6)


@pytest.mark.slow
def test_a_gripper_with_a_needle_or_without_parts_can_touch_all() -> None:
    assert finger_reach(with_parts(cuboid(0.02, 0.02, 0.02), cuboid(0.001, 0.001, 0.03))) is None
    assert finger_reach(with_parts()) is None
    mesh = hollow_box(2.5)
    needle = finger_reach(with_parts(cuboid(0.0024, 0.0024, 0.03)))
    assert needle is not None and filled(mesh, needle) is mesh
    assert reachable(mesh, None).touched is mesh


# what it cannot touch


@pytest.mark.slow
def test_a_box_with_a_narrow_slit_is_full_for_the_panda() -> None:
    mesh, reach = hollow_box(2.8), gripper_by_name("franka_panda").reach(Reach.GRIPPER)
    assert reach is not None
    full = filled(mesh, reach)
    assert volume(full) == pytest.approx(44**3 / 1000 - 2 * 2.8 * 30 / 1000, rel=1e-6)
    assert pieces(mesh) >= 5 and pieces(full) == 1
    touched = reachable(mesh, reach).touched
    assert area(touched) == pytest.approx(area(mesh) - 6 * 0.04**2 + 0.0028 * 0.03, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("slit", [3.6, 5.3, 7.0, 35.0])
def test_a_box_with_a_wide_slit_stays_as_it_is(slit: float) -> None:
    mesh = hollow_box(slit)
    assert filled(mesh) is mesh


@pytest.mark.parametrize("slit", [5.3, 7.0, 35.0])
def test_all_of_a_box_into_which_balls_get_can_be_touched(slit: float) -> None:
    mesh = hollow_box(slit)
    assert reachable(mesh, PANDA).touched is mesh


@pytest.mark.slow
def test_a_vented_ball_takes_one_piece_instead_of_many() -> None:
    mesh = vented_ball(2.2)
    full = filled(mesh)
    assert pieces(mesh) > 40 and pieces(full) == 1
    assert volume(full) > 0.95 * 4 / 3 * np.pi * 2.5**3 > 2 * volume(mesh)


@pytest.mark.slow
def test_a_slit_that_winds_around_a_ring_is_closed_and_its_hole_is_not() -> None:
    """Along more than half of the tube: flat lids would cut through it."""
    ring = CrossSection.circle(13, 32).translate((30, 0)).revolve(72) - CrossSection.circle(11, 32).translate((30, 0)).revolve(72)
    mesh = scaled(ring - Manifold.cube((26, 2, 40), True).translate((30, 0, 15)))
    full = filled(mesh)
    assert volume(full) == pytest.approx(2 * np.pi**2 * 3 * 1.3**2, rel=0.02)
    convex = convex_pieces(full, Approximation.CONVEX_DECOMPOSITION).pieces
    assert 4 * len(convex) < pieces(mesh)
    assert all(np.linalg.norm(piece.vertices[:, :2].mean(axis=0)) > 0.01 for piece in convex)


def test_the_smallest_lid_of_a_boundary_closes_it_and_follows_it() -> None:
    """Two arcs side by side, 2 mm apart: a strip between them, whose area is known."""
    angle = np.linspace(0.0, 1.2 * np.pi, 40)
    arc = np.stack([0.013 * np.cos(angle), np.zeros(40), 0.013 * np.sin(angle)], axis=1)
    loop = np.concatenate([arc, (arc + np.array([0, 0.002, 0]))[::-1]])
    rim = np.array([[i, (i + 1) % 80, 80 + i] for i in range(80)] + [[(i + 1) % 80, 80 + (i + 1) % 80, 80 + i] for i in range(80)])
    collar = triangle_mesh(np.concatenate([loop, 2 * loop]), rim)
    lids, loops = lids_of(collar, smallest=True)
    assert [len(each) for each in loops] == [80, 80] and len(lids) == 2 * 78
    assert is_closed(triangle_mesh(collar.vertices, np.concatenate([rim, lids])))
    assert area(triangle_mesh(collar.vertices, lids[(lids < 80).all(axis=1)])) == pytest.approx(0.002 * 0.013 * 1.2 * np.pi, rel=0.01)


@pytest.mark.slow
def test_what_is_behind_vents_gets_no_pieces() -> None:
    mesh = assembly()
    result = reachable(mesh, PANDA)
    full = result.filled(allowed_gap(mesh))
    assert len(split_bodies(full)) == 1 < len(split_bodies(mesh))
    assert volume(full) > 2 * volume(mesh) and pieces(full) == 1 and pieces(mesh) > 10
    inner = np.abs(result.touched.vertices[result.touched.faces].mean(axis=1)) < np.array([0.0329, 0.0229, 0.0129])
    assert not inner.all(axis=1).any()


@pytest.mark.slow
@pytest.mark.parametrize("make", [pytest.param(lambda: vented_ball(2.2), id="ball"), assembly])
def test_the_narrower_the_balls_the_more_can_be_touched(make: Callable[[], TriangleMesh]) -> None:
    mesh = make()
    areas = [area(reachable(mesh, FingerReach(clearance, 0.0069)).touched) for clearance in (0.0012, 0.002, 0.0026, 0.0032)]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > 0.99 * area(mesh) > areas[-1]


@pytest.mark.slow
@pytest.mark.parametrize("make", [pytest.param(lambda: vented_ball(2.2), id="ball"), pytest.param(assembly, marks=pytest.mark.slow)])
def test_a_rigid_motion_changes_nothing(make: Callable[[], TriangleMesh]) -> None:
    mesh = make()
    turn = trimesh.transformations.random_rotation_matrix(np.random.Generator(np.random.Philox(8)).random(3))[:3, :3]
    moved = triangle_mesh(mesh.vertices @ turn.T + np.array([0.3, -0.2, 0.1]), mesh.faces)
    one, other = filled(mesh), filled(moved)
    assert volume(one) > 1.5 * volume(mesh)
    assert volume(other) == pytest.approx(volume(one), rel=1e-4) and pieces(other) == pieces(one)


@pytest.mark.parametrize("object_id", sorted(EXAMPLES))
def test_the_example_objects_have_no_such_insides(object_id: str) -> None:
    mesh = example_object(object_id).mesh
    result = reachable(mesh, PANDA)
    assert result.touched is mesh and result.filled(0.001) is mesh


# that nothing is left out that can be touched


def two_chambers() -> TriangleMesh:
    """A box with an opening 9 mm wide into a chamber, from which a slit of 2 mm leads to another one."""
    box = Manifold.cube((70, 40, 40), True) - Manifold.cube((32, 36, 36), True).translate((-17, 0, 0))
    box -= Manifold.cube((30, 36, 36), True).translate((18, 0, 0))
    box -= Manifold.cube((9, 30, 6), True).translate((-17, 0, 20)) + Manifold.cube((6, 2, 30), True).translate((1, 0, 0))
    return scaled(box)


def ramp() -> TriangleMesh:
    """A box with a slit of 4.8 mm in its upper wall, 1 mm thick; the floor below falls from 0.3 to 14 mm under that. In faces of 2 mm."""
    room = CrossSection([[(-20, -1.3), (20, -15), (20, -1), (-20, -1)]]).extrude(36).rotate((90, 0, 0)).translate((0, 18, 0))
    box = Manifold.cube((44, 40, 18)).translate((-22, -20, -18)) - room - Manifold.cube((38, 4.8, 4), True)
    return scaled(box.refine_to_length(2.0))


def wedge() -> TriangleMesh:
    corners = np.array([[x, y, z] for z in (0.0, 0.03) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]) * (0.0035, 0.0035, 1)
    corners[:4, 0] *= 0.85
    return triangle_mesh(corners, ConvexHull(corners).simplices)


def bvh(mesh: TriangleMesh) -> fcl.CollisionObject:
    model = fcl.BVHModel()
    model.beginModel(len(mesh.vertices), len(mesh.faces))
    model.addSubModel(mesh.vertices, mesh.faces)
    model.endModel()
    return fcl.CollisionObject(model)


def meets(one: fcl.CollisionObject, other: fcl.CollisionObject, pose: Floats) -> bool:
    other.setTransform(fcl.Transform(pose[:3, :3], pose[:3, 3]))
    return bool(fcl.collide(one, other, fcl.CollisionRequest(), fcl.CollisionResult()))


def moved(pose: Floats, step: Floats, share: float) -> Floats:
    """A pose after a share of a step: a translation and a rotation vector."""
    result = pose.copy()
    angle = float(np.linalg.norm(step[3:])) * share
    result[:3, :3] = trimesh.transformations.rotation_matrix(angle, step[3:])[:3, :3] @ pose[:3, :3]
    result[:3, 3] += share * step[:3]
    return result


def bracket(still: fcl.CollisionObject, moving: fcl.CollisionObject, pose: Floats, step: Floats) -> tuple[float, float]:
    """Shares of a step, 0.4 % apart, between which a collision begins."""
    low, high = 0.0, 1.0
    while high - low > 0.004:
        half = (low + high) / 2
        low, high = (low, half) if meets(still, moving, moved(pose, step, half)) else (half, high)
    return low, high


def first_contacts(mesh: TriangleMesh, part: TriangleMesh, rng: np.random.Generator, *, walks: int, steps: int) -> list[Floats]:
    """Poses in which a part that came from outside without a collision has just begun to meet the mesh, by less than 5 µm."""
    still, moving, contacts = bvh(mesh), bvh(part), []
    size = float(np.ptp(mesh.vertices, axis=0).max())
    for _ in range(walks):
        pose = trimesh.transformations.random_rotation_matrix(rng.random(3))
        outwards = rng.normal(size=3)
        pose[:3, 3] = outwards / np.linalg.norm(outwards) * (size + 0.04)
        goal = rng.uniform(mesh.vertices.min(axis=0), mesh.vertices.max(axis=0))
        for _ in range(steps):
            way = goal - pose[:3, 3]
            length = min(float(np.linalg.norm(way)), 0.004 if np.linalg.norm(pose[:3, 3]) > size else 0.001)
            step = np.concatenate([way / np.linalg.norm(way) * length + rng.normal(size=3) * 0.0004, rng.normal(size=3) * 0.03])
            if not meets(still, moving, moved(pose, step, 1.0)):
                pose = moved(pose, step, 1.0)
                continue
            low, high = bracket(still, moving, pose, step)
            contacts.append(moved(pose, step, high))
            pose = moved(pose, step, low)
            goal = goal + rng.normal(size=3) * 0.01
    return contacts


ROD = cuboid(0.0065, 0.0065, 0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "part"),
    [
        pytest.param(two_chambers, ROD, id="chambers, rod"),
        pytest.param(two_chambers, wedge(), id="chambers, wedge", marks=pytest.mark.slow),
        pytest.param(lambda: vented_ball(2.6), ROD, id="ball, rod"),
        pytest.param(lambda: vented_ball(2.6), wedge(), id="ball, wedge", marks=pytest.mark.slow),
        pytest.param(ramp, ROD, id="ramp, rod", marks=pytest.mark.slow),
    ],
)
def test_no_part_that_comes_from_outside_touches_what_is_left_out(make: Callable[[], TriangleMesh], part: TriangleMesh) -> None:
    """It bumps along, inside and outside. What it meets first is among what is kept."""
    mesh, reach = make(), finger_reach(with_parts(part))
    touched = reachable(mesh, reach).touched
    assert len(touched.faces) < len(mesh.faces)
    kept, moving = bvh(touched), bvh(part)
    contacts = first_contacts(mesh, part, np.random.Generator(np.random.Philox(4)), walks=25, steps=90)
    assert len(contacts) > 300
    assert all(meets(kept, moving, pose) for pose in contacts)


def pokes(mesh: TriangleMesh, part: TriangleMesh, rng: np.random.Generator) -> list[Floats]:
    """Poses in which a cube let down on the ramp's slit, an edge first, has just begun to meet the box."""
    still, moving, contacts = bvh(mesh), bvh(part), []
    down = np.array([0, 0, -0.0005, 0, 0, 1e-9])
    for x in np.linspace(-0.0185, -0.0125, 30):
        pose = trimesh.transformations.euler_matrix(np.pi / 4 + rng.normal() * 0.05, rng.normal() * 0.05, 0.0)
        pose[:3, 3] = x, rng.normal() * 0.0002, 0.02
        while not meets(still, moving, moved(pose, down, 1.0)):
            pose = moved(pose, down, 1.0)
        contacts.append(moved(pose, down, bracket(still, moving, pose, down)[1]))
    return contacts


@pytest.mark.slow
def test_what_an_edge_touches_through_a_slit_stays() -> None:
    """It is some of the floor below, which is left out for a part that is taken for a blunter one: the control."""
    mesh, part = ramp(), cuboid(0.007, 0.007, 0.007)
    reach = finger_reach(with_parts(part))
    assert reach is not None
    contacts, moving = pokes(mesh, part, np.random.Generator(np.random.Philox(6))), bvh(part)

    def missed(length: float) -> int:
        kept = bvh(reachable(mesh, FingerReach(reach.clearance, length)).touched)
        return sum(not meets(kept, moving, pose) for pose in contacts)

    assert missed(reach.length) == 0 < missed(0.3 * reach.length)


@pytest.mark.slow
def test_a_rod_gets_into_the_first_chamber_and_not_into_the_second() -> None:
    """So that the test above is one; and all that it touches there stays."""
    mesh, rod = two_chambers(), ROD
    touched = reachable(mesh, finger_reach(with_parts(rod))).touched
    middles = touched.vertices[touched.faces].mean(axis=1)
    assert ((np.abs(middles - (-0.017, 0, 0)) < (0.0161, 0.0181, 0.0181)).all(axis=1)).sum() >= 10
    assert not (np.abs(middles - (0.018, 0, 0)) < (0.0149, 0.0179, 0.0179)).all(axis=1).any()
    contacts = first_contacts(mesh, rod, np.random.Generator(np.random.Philox(4)), walks=25, steps=90)
    assert any(np.abs(pose[2, 3]) < 0.015 and np.abs(pose[0, 3] + 0.017) < 0.012 for pose in contacts)


coordinates = st.floats(-0.05, 0.05)


@settings(max_examples=25, deadline=None)
@given(corners=st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=3, max_size=3), radius=st.floats(0.001, 0.02))
def test_points_cover_a_triangle(corners: list[tuple[float, float, float]], radius: float) -> None:
    triangle = np.array(corners)
    weights = np.random.Generator(np.random.Philox(2)).dirichlet((0.5, 0.5, 0.5), 300)
    points = np.concatenate([weights @ triangle, triangle])
    assert cKDTree(cover_points(triangle[None], radius)).query(points)[0].max() <= radius * (1 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), radius=st.floats(0.002, 0.005))
@pytest.mark.slow
def test_wherever_a_ball_gets_there_is_a_node(seed: int, radius: float) -> None:
    """It bumps about in and around a box with a slit of 7 mm."""
    mesh, rng = hollow_box(7.0, size=44.0), np.random.Generator(np.random.Philox(seed))
    found = free_space(mesh, radius, 0.01)
    assert found is not None
    nodes, near = found
    surface, tree = Surface(mesh), cKDTree(nodes)
    place = np.array([0.0, 0.0, 0.028])
    for _ in range(150):
        step = place + rng.normal(size=3) * 0.002 - (0, 0, 0.0005)
        if surface.distance(step) >= radius and np.abs(step).max() < 0.03 and np.linalg.norm(step - place) < radius:
            place = step
            assert tree.query(place)[0] <= near


# what follows from it


def exported(mesh: TriangleMesh, folder: Path) -> Path:
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(folder / "made.ply")
    return folder


def loaded(folder: Path, reach: FingerReach | None, cache: Path | None = None) -> TargetObject:
    return load_object("made.ply", 1.0, root=folder, approximation=Approximation.CONVEX_DECOMPOSITION, cache=cache, reach=reach)


@pytest.mark.slow
def test_labels_and_mass_are_those_of_the_object_with_all_its_pieces(tmp_path: Path) -> None:
    folder, hand = exported(vented_ball(2.2), tmp_path), gripper_by_name("franka_panda")
    spared, whole = (loaded(folder, hand.reach(chosen)) for chosen in (Reach.GRIPPER, Reach.CLOSED))
    assert 20 * len(spared.pieces) < len(whole.pieces)
    assert spared.volume == whole.volume < 0.5 * 4 / 3 * np.pi * 0.025**3
    np.testing.assert_array_equal(spared.unit_inertia, whole.unit_inertia)
    guesses = make_guesses(
        ObjectShape(spared), hand, GuessSettings(), object_id="made.ply", num_free=60, num_colliding=0, first_try=0, max_tries=100
    ).grasps
    backwards = np.array(guesses.pose_gripper_in_object)
    backwards[:, :3, 3] -= 0.03 * backwards[:, :3, :3] @ hand.gripper.approach_axis_in_base
    grasps = GraspBatch.join([guesses, replace(guesses, pose_gripper_in_object=backwards)])
    one, other = (
        run_trials(make_backend("mujoco", threads=2), hand.gripper, target, grasps, SimulationSettings()).grasps.outcome
        for target in (spared, whole)
    )
    assert (one == other).mean() >= 0.99
    assert len(np.unique(one)) == 2


@pytest.mark.slow
def test_no_guess_is_made_on_what_is_left_out_nor_on_a_lid(tmp_path: Path) -> None:
    hand = gripper_by_name("franka_panda")
    target = loaded(exported(assembly(), tmp_path), hand.reach(Reach.GRIPPER))
    contact = propose(ObjectShape(target), hand.gripper, GuessSettings(), 3000, np.random.Generator(np.random.Philox(3))).contact
    assert (np.abs(contact) > np.array([0.0329, 0.0229, 0.0129])).any(axis=1).all()
    surface = Surface(target.mesh)
    assert max(surface.distance(point) for point in contact) < 1e-9


@pytest.mark.slow
def test_grippers_with_the_same_outcome_share_what_is_kept(tmp_path: Path) -> None:
    folder, cache = exported(hollow_box(2.2), tmp_path), tmp_path / "cache"
    found = [loaded(folder, reach, cache) for reach in (PANDA, FingerReach(0.0028, 0.0075), None)]
    assert [len(target.pieces) for target in found] == [1, 1, len(found[2].pieces)] and len(found[2].pieces) > 1
    assert len(list(cache.rglob("*.npz"))) == 2


def test_an_object_too_large_for_the_grid_stays_as_it_is() -> None:
    mesh = hollow_box(2.5)
    large = triangle_mesh(mesh.vertices * 20, mesh.faces)
    assert has_hidden_parts(large, RayCaster(large)) and free_space(large, PANDA.clearance, PANDA.length + PANDA.clearance) is None
    assert isinstance(reachable(large, PANDA), Reachable) and filled(large) is large
