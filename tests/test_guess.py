"""Guesses, checked by means that share nothing with the code under test: trimesh's collision manager on the mesh as it is in the
file, and rays intersected with every triangle in double precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import trimesh

from examples import EXAMPLES, GRIPPERS, OBJECTS
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.geometry.poses import is_rotation
from graspgen_cli.grippers.find import builtin_grippers
from graspgen_cli.guess.loop import GuessResult, make_guesses, near_duplicates
from graspgen_cli.guess.place import Verdict, bite_points, fit_openings, place
from graspgen_cli.guess.proposals import perpendicular_frame, propose, surface_points
from graspgen_cli.records import GraspBatch, Gripper, Outcome, TargetObject
from graspgen_cli.settings.guesses import GuessSettings, Sampler
from shapes import box, sphere


def guesses(
    shape: ObjectShape, gripper: GripperShape, *, settings: GuessSettings | None = None, free: int = 64, colliding: int = 16, first: int = 0
) -> GuessResult:
    return make_guesses(
        shape,
        gripper,
        settings or GuessSettings(),
        object_id="object",
        num_free=free,
        num_colliding=colliding,
        first_try=first,
        max_tries=60,
    )


def original_mesh(object_id: str) -> trimesh.Trimesh:
    """The file as GraspGen's trainer reads it."""
    loaded = trimesh.load(OBJECTS / object_id)
    mesh = loaded.to_geometry() if isinstance(loaded, trimesh.Scene) else loaded
    mesh.apply_scale(EXAMPLES[object_id])
    return mesh


def gripper_mesh(gripper: Gripper, opening: int) -> trimesh.Trimesh:
    parts = []
    for pose, body in zip(gripper.pose_body_in_base[opening], gripper.collision_parts, strict=True):
        parts += [trimesh.Trimesh(p.vertices, p.faces, process=False).apply_transform(pose) for p in body]
    return trimesh.util.concatenate(parts)


def collide_by_trimesh(mesh: trimesh.Trimesh, gripper: Gripper, batch: GraspBatch) -> np.ndarray:
    manager = trimesh.collision.CollisionManager()
    manager.add_object("object", mesh)
    opening = gripper.nearest_opening(batch.opening_width)
    np.testing.assert_allclose(gripper.opening_width[opening], batch.opening_width, atol=1e-12)
    meshes = {int(k): gripper_mesh(gripper, int(k)) for k in np.unique(opening)}
    touching = [manager.in_collision_single(meshes[int(k)], p) for k, p in zip(opening, batch.pose_gripper_in_object, strict=True)]
    return np.array(touching, bool)


def material_by_section(mesh: trimesh.Trimesh, gripper: Gripper, batch: GraspBatch) -> np.ndarray:
    """(N,) length (m) of the object between the pads' contact points where these meet it, or else come to rest, as the gripper closes:
    the mesh is cut by the plane in which the contact points move, and they are followed along their measured paths."""
    ends, approach, closing = bite_points(gripper, None), gripper.approach_axis_in_base, gripper.closing_axis_in_base
    chord = np.zeros(len(batch))
    for i, (k, pose) in enumerate(zip(gripper.nearest_opening(batch.opening_width), batch.pose_gripper_in_object, strict=True)):
        normal, origin = pose[:3, :3] @ np.cross(approach, closing), pose[:3, :3] @ ends[k, 0] + pose[:3, 3]
        cut = (trimesh.intersections.mesh_plane(mesh, normal, origin) - pose[:3, 3]) @ pose[:3, :3]  # (S, 2, 3), base frame
        width = np.arange(batch.opening_width[i], gripper.opening_width[0], -1e-5)
        level = np.interp(width, gripper.opening_width, ends[:, 0] @ approach)
        thick = chords_at(level, cut @ approach, cut @ closing, ends[k] @ closing)
        met = np.flatnonzero(thick >= width)
        chord[i] = thick[met[0] if len(met) else -1]
    return chord


def chords_at(level: np.ndarray, height: np.ndarray, place: np.ndarray, between: np.ndarray) -> np.ndarray:
    """(L,) m from the first to the last crossing of lines at levels (L,) with segments of heights and places (S, 2), of those that lie
    between two places (2,)."""
    first, last = np.full(len(level), np.inf), np.full(len(level), -np.inf)
    for (low, high), (start, end) in zip(height, place, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (level - low) / (high - low)
        at = start + share * (end - start)
        counts = (share >= 0) & (share <= 1) & (at > between[0]) & (at < between[1])
        first[counts], last[counts] = np.minimum(first, at)[counts], np.maximum(last, at)[counts]
    return np.maximum(last - first, 0.0)


QUICK = {("box.stl", "franka_panda"), ("mug.obj", "robotiq_2f_85"), ("banana.obj", "onrobot_rg6")}
PAIRS = {*product(EXAMPLES, GRIPPERS), *product(("mug.obj", "banana.obj", "box.stl"), ("onrobot_rg6", "smc_mhc2_25"))}


@pytest.mark.parametrize(
    ("object_id", "gripper_name"), [*sorted(QUICK), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in sorted(PAIRS - QUICK))]
)
def test_every_guess_of_every_example_is_what_it_says(
    object_id: str, gripper_name: str, gripper_shape: Callable[[str], GripperShape], example: Callable[..., TargetObject]
) -> None:
    gripper = gripper_shape(gripper_name)
    found = guesses(ObjectShape(example(object_id)), gripper, free=24, colliding=8)
    free = found.grasps[found.grasps.outcome == Outcome.UNVALIDATED]
    colliding = found.grasps[found.grasps.outcome == Outcome.COLLISION]
    assert (len(free), len(colliding)) == (24, 8)
    mesh = original_mesh(object_id)
    assert not collide_by_trimesh(mesh, gripper.gripper, free).any()
    assert collide_by_trimesh(mesh, gripper.gripper, colliding).all()
    assert (material_by_section(mesh, gripper.gripper, free) > 0).all()
    assert is_rotation(found.grasps.pose_gripper_in_object, 1e-7).all()


@pytest.mark.parametrize("sampler", [Sampler.ANTIPODAL, Sampler.ACRONYM])
@pytest.mark.parametrize("corrected", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_other_samplers_too(
    sampler: Sampler, corrected: bool, gripper_shape: Callable[[str], GripperShape], example: Callable[..., TargetObject]
) -> None:
    gripper = gripper_shape("robotiq_2f_85")
    settings = GuessSettings(sampler=sampler, correct_acronym_approach=corrected)
    found = guesses(ObjectShape(example("banana.obj")), gripper, settings=settings)
    free = found.grasps[found.grasps.outcome == Outcome.UNVALIDATED]
    assert len(free) == 64
    mesh = original_mesh("banana.obj")
    assert not collide_by_trimesh(mesh, gripper.gripper, free).any()
    if sampler is not Sampler.ACRONYM or corrected:
        assert (material_by_section(mesh, gripper.gripper, free) > 0).all()
    if sampler is Sampler.ACRONYM:
        np.testing.assert_array_equal(free.opening_width, gripper.gripper.width)


def test_correcting_acronym_moves_the_gripper_back_along_its_approach_only(gripper_shape: Callable[[str], GripperShape]) -> None:
    """The 2F-85's pads move forward as they close, so the corrected base starts farther back."""
    gripper, shape = gripper_shape("robotiq_2f_85"), ObjectShape(sphere(0.015))
    plain, corrected = (
        guesses(shape, gripper, settings=GuessSettings(sampler=Sampler.ACRONYM, correct_acronym_approach=on), free=20, colliding=0).grasps
        for on in (False, True)
    )
    depth = [
        np.einsum("ni,ni->n", -b.pose_gripper_in_object[:, :3, 3], b.pose_gripper_in_object[:, :3, 2]).mean() for b in (plain, corrected)
    ]
    assert depth[1] > depth[0] + 0.005


@pytest.mark.parametrize("gripper_name", GRIPPERS)
def test_the_opening_is_centred_on_the_material(gripper_name: str, gripper_shape: Callable[[str], GripperShape]) -> None:
    gripper = gripper_shape(gripper_name)
    found = guesses(ObjectShape(box(0.03, 0.03, 0.03)), gripper, free=40, colliding=0).grasps
    middle = bite_points(gripper.gripper, None)[gripper.gripper.nearest_opening(found.opening_width)].mean(axis=1)
    in_object = np.einsum("nij,nj->ni", found.pose_gripper_in_object[:, :3, :3], middle) + found.pose_gripper_in_object[:, :3, 3]
    along = np.einsum("ni,ni->n", in_object, found.pose_gripper_in_object[:, :3, 0])
    np.testing.assert_allclose(along, 0.0, atol=1e-7)


@pytest.mark.parametrize("gripper_name", builtin_grippers())
def test_the_pads_close_on_the_contact(gripper_name: str, gripper_shape: Callable[[str], GripperShape]) -> None:
    """Wherever the pads are when they are open: at the width at which they meet a ball, the ball's middle is between their points."""
    gripper, radius = gripper_shape(gripper_name).gripper, 0.02
    found = guesses(ObjectShape(sphere(radius)), gripper_shape(gripper_name), free=40, colliding=0).grasps
    points = bite_points(gripper, None).mean(axis=1)
    closed = np.array([np.interp(2 * radius, gripper.opening_width, points[:, axis]) for axis in range(3)])
    middle = found.pose_gripper_in_object[:, :3, :3] @ closed + found.pose_gripper_in_object[:, :3, 3]
    assert len(found) == 40
    # A line along a facet's normal misses the middle of the faceted ball by less than half a facet, and is that much shorter.
    assert np.linalg.norm(middle, axis=1).max() < 2e-3


def test_without_centring_the_first_pad_stands_off_by_a_multiple(gripper_shape: Callable[[str], GripperShape]) -> None:
    gripper = gripper_shape("franka_panda")
    settings = GuessSettings(center_finger_opening=False)
    found = guesses(ObjectShape(box(0.03, 0.03, 0.03)), gripper, settings=settings, free=40, colliding=0).grasps
    first = bite_points(gripper.gripper, None)[gripper.gripper.nearest_opening(found.opening_width), 0]
    in_object = np.einsum("nij,nj->ni", found.pose_gripper_in_object[:, :3, :3], first) + found.pose_gripper_in_object[:, :3, 3]
    standoff = np.abs(in_object).max(axis=1) - 0.015
    np.testing.assert_allclose(standoff, np.round(standoff, 3), atol=1e-7)
    assert (standoff > 0.0009).all() and (standoff < 0.0161).all()


def test_the_same_seed_gives_the_same_guesses_and_another_seed_others(gripper_shape: Callable[[str], GripperShape]) -> None:
    gripper, shape = gripper_shape("franka_panda"), ObjectShape(sphere(0.02))
    poses = [guesses(shape, gripper, settings=GuessSettings(seed=seed)).grasps.pose_gripper_in_object for seed in (7, 7, 8)]
    np.testing.assert_array_equal(poses[0], poses[1])
    assert not np.array_equal(poses[0], poses[2])


@pytest.mark.parametrize("centred", [True, False])
def test_a_candidate_fares_the_same_whatever_it_is_placed_with(
    centred: bool, gripper_shape: Callable[[str], GripperShape], example: Callable[..., TargetObject]
) -> None:
    gripper, shape = gripper_shape("robotiq_2f_85"), ObjectShape(example("mug.obj"))
    settings = GuessSettings(center_finger_opening=centred)
    proposals = propose(shape, gripper.gripper, settings, 300, np.random.Generator(np.random.Philox(11)))
    whole = place(shape, gripper, proposals, settings)
    assert len(np.unique(whole.verdict)) >= 3
    for part in np.array_split(np.random.Generator(np.random.Philox(12)).permutation(300), 7):
        alone = place(shape, gripper, proposals[np.isin(np.arange(300), part)], settings)
        np.testing.assert_array_equal(alone.verdict, whole.verdict[np.sort(part)])
        np.testing.assert_array_equal(alone.opening, whole.opening[np.sort(part)])
        np.testing.assert_array_equal(alone.pose_gripper_in_object, whole.pose_gripper_in_object[np.sort(part)])


def test_aligned_angles_are_quarter_turns(gripper_shape: Callable[[str], GripperShape]) -> None:
    settings = GuessSettings(percent_random_guess_angle=0.0)
    found = guesses(ObjectShape(box(0.03, 0.04, 0.05)), gripper_shape("franka_panda"), settings=settings, colliding=0).grasps
    rotation = np.abs(found.pose_gripper_in_object[:, :3, :3])
    np.testing.assert_allclose(np.sort(rotation.reshape(-1, 9), axis=1), np.tile([0.0] * 6 + [1.0] * 3, (64, 1)), atol=1e-7)


def test_orientations_share_their_contact_point(gripper_shape: Callable[[str], GripperShape]) -> None:
    settings = GuessSettings(num_orientations=8)
    found = guesses(ObjectShape(sphere(0.02)), gripper_shape("franka_panda"), settings=settings, free=64, colliding=0).grasps
    closing = np.round(found.pose_gripper_in_object[:, :3, 0], 6)
    assert len(np.unique(closing, axis=0)) <= 64 / 4


@pytest.mark.parametrize(
    ("target", "verdict"), [(box(0.2, 0.2, 0.2), Verdict.TOO_WIDE), (sphere(0.075), Verdict.TOO_WIDE)], ids=["cube", "sphere"]
)
def test_an_object_too_wide_ends_with_a_reason(
    target: TargetObject, verdict: Verdict, gripper_shape: Callable[[str], GripperShape]
) -> None:
    found = guesses(ObjectShape(target), gripper_shape("franka_panda"), free=8, colliding=0)
    assert found.grasps.count(Outcome.UNVALIDATED) < 8
    assert found.verdicts[verdict] > 0
    assert verdict.label in found.reason()


def test_a_four_millimetre_ball_is_never_inside_a_finger(gripper_shape: Callable[[str], GripperShape]) -> None:
    gripper, ball = gripper_shape("franka_panda"), sphere(0.002)
    found = guesses(ObjectShape(ball), gripper).grasps
    free = found[found.outcome == Outcome.UNVALIDATED]
    assert len(free) == 64
    for pose, k in zip(free.pose_gripper_in_object, gripper.gripper.nearest_opening(free.opening_width), strict=True):
        center = np.linalg.inv(pose)[:3, 3]
        for part in gripper.parts(int(k)):
            assert not trimesh.Trimesh(part.vertices, part.faces).contains([center])[0]


def test_surface_points_lie_on_the_surface_and_spread_by_area() -> None:
    rng = np.random.Generator(np.random.Philox(3))
    point, normal = surface_points(box(0.1, 0.1, 0.4).mesh, 20000, rng)
    on_face = np.isclose(np.abs(point), [0.05, 0.05, 0.2], atol=1e-12)
    assert (on_face.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(on_face, np.abs(normal) > 0.5)
    assert on_face[:, 2].mean() == pytest.approx(0.02 / 0.18, abs=0.01)


def test_perpendicular_frames_are_right_handed() -> None:
    axis = np.random.Generator(np.random.Philox(5)).normal(size=(100, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    first, second = perpendicular_frame(axis)
    frame = np.stack([first, second, axis], axis=2)
    np.testing.assert_allclose(np.swapaxes(frame, 1, 2) @ frame, np.tile(np.eye(3), (100, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(frame), 1.0, atol=1e-12)


def test_openings_of_foreign_grasps_come_from_the_mesh(gripper_shape: Callable[[str], GripperShape]) -> None:
    """A grasp without opening gets the widest free one; one that collides at every opening, or at its own, becomes a negative."""
    gripper, shape = gripper_shape("franka_panda"), ObjectShape(box(0.03, 0.03, 0.03))
    good = guesses(shape, gripper, free=3, colliding=0).grasps
    buried = np.eye(4)[None].copy()
    unknown = GraspBatch(
        np.concatenate([good.pose_gripper_in_object, buried, good.pose_gripper_in_object[:1]]),
        np.array([np.nan, np.nan, np.nan, np.nan, 0.01]),
        np.full(5, Outcome.HELD, np.int8),
    )
    fitted = fit_openings(shape, gripper, unknown)
    np.testing.assert_array_equal(fitted.outcome, [Outcome.HELD] * 3 + [Outcome.COLLISION] * 2)
    assert (fitted.opening_width[:3] >= good.opening_width - 1e-9).all()
    assert np.isin(np.round(fitted.opening_width, 9), np.round(gripper.gripper.opening_width, 9)).all()


def test_near_duplicates_are_the_same_place_and_turn(gripper_shape: Callable[[str], GripperShape]) -> None:
    gripper = gripper_shape("franka_panda").gripper
    known = np.eye(4)[None]
    new = np.tile(np.eye(4), (7, 1, 1))
    new[0, 0, 3] = 0.0009
    new[1, 0, 3] = 0.0011
    new[2, :3, :3] = trimesh.transformations.rotation_matrix(np.radians(0.9), [0, 1, 0])[:3, :3]
    new[3, :3, :3] = trimesh.transformations.rotation_matrix(np.radians(1.1), [0, 1, 0])[:3, :3]
    new[4, :3, :3] = np.diag([-1.0, -1.0, 1.0])  # a half turn about the approach axis, the same grasp of a symmetric gripper
    new[5, :3, 3] = 5.0
    new[6, :3, 3] = 5.0
    found = near_duplicates(gripper, known, new)
    np.testing.assert_array_equal(found, [True, False, True, False, True, False, True])
    lopsided = near_duplicates(replace(gripper, symmetric=False), known, new)
    np.testing.assert_array_equal(lopsided, [True, False, True, False, False, False, True])
    assert near_duplicates(gripper, known, new[:0]).shape == (0,)
