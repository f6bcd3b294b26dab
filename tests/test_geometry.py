"""Poses, rays, chords and exact collision: laws and cases worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from examples import gripper_by_name
from graspgen_cli.geometry.collision import GripperShape, ObjectShape, in_collision, part_chords
from graspgen_cli.geometry.poses import (
    inverse,
    is_rotation,
    pose,
    quaternion_wxyz,
    rotation_angle,
    rotation_from_wxyz,
    rounded,
    transform_points,
)
from graspgen_cli.records import TargetObject
from shapes import box, sphere, target

seeds = st.integers(0, 2**32 - 1)


def random_poses(count: int, seed: int, reach: float = 0.1) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(seed))
    return pose(Rotation.random(count, rng=rng).as_matrix(), rng.uniform(-reach, reach, (count, 3)))


@given(seeds)
def test_inverse_undoes_a_pose(seed: int) -> None:
    poses = random_poses(5, seed)
    np.testing.assert_allclose(poses @ inverse(poses), np.broadcast_to(np.eye(4), (5, 4, 4)), atol=1e-12)


@given(seeds)
def test_points_move_as_homogeneous_coordinates_do(seed: int) -> None:
    poses, points = random_poses(4, seed), np.random.Generator(np.random.Philox(seed)).normal(size=(4, 3, 3))
    expected = np.einsum("nij,npj->npi", poses, np.concatenate([points, np.ones((4, 3, 1))], axis=2))[..., :3]
    np.testing.assert_allclose(transform_points(poses, points), expected, atol=1e-12)


@given(seeds)
def test_quaternions_survive_both_ways(seed: int) -> None:
    rotation = random_poses(6, seed)[:, :3, :3]
    quaternion = quaternion_wxyz(rotation)
    np.testing.assert_allclose(rotation_from_wxyz(quaternion), rotation, atol=1e-12)


def test_quaternion_is_scalar_first() -> None:
    quarter_turn_about_z = np.array([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    np.testing.assert_allclose(np.abs(quaternion_wxyz(quarter_turn_about_z)[0]), [np.sqrt(0.5), 0, 0, np.sqrt(0.5)], atol=1e-12)


@given(st.floats(0, np.pi))
def test_rotation_angle(angle: float) -> None:
    turn = Rotation.from_rotvec([0, angle, 0]).as_matrix()[None]
    assert rotation_angle(turn)[0] == pytest.approx(angle, abs=1e-7)


def test_what_is_no_rotation_is_told_apart() -> None:
    poses = np.tile(np.eye(4), (6, 1, 1))
    poses[1, 0, 0] = -1.0  # a mirror
    poses[2, :3, :3] *= 2.0
    poses[3, 0, 3] = np.nan
    poses[4, 3] = 0.0
    np.testing.assert_array_equal(is_rotation(poses), [True, False, False, False, False, True])


def test_rounding_leaves_no_minus_zero() -> None:
    assert not np.signbit(rounded(np.full((1, 4, 4), -1e-12))).any()


def test_ray_hits_a_box_where_it_stands() -> None:
    rays = ObjectShape(box(0.02, 0.02, 0.02)).rays
    origin = np.array([[-0.05, 0.003, 0.001], [0.0, 0.002, 0.001], [-0.05, 0.02, 0.0]])
    distance, face = rays.first_hit(origin, np.tile([1.0, 0, 0], (3, 1)))
    np.testing.assert_allclose(distance, [0.04, 0.01, np.inf], atol=1e-12)
    np.testing.assert_array_equal(face >= 0, [True, True, False])
    np.testing.assert_array_equal(rays.leaving(face, np.tile([1.0, 0, 0], (3, 1))), [False, True, False])


@pytest.mark.slow
@given(seeds)
def test_inside_of_a_sphere_is_its_radius(seed: int) -> None:
    rng = np.random.Generator(np.random.Philox(seed))
    center = np.array([1.0, -2.0, 0.5])
    points = rng.normal(size=(50, 3))
    points *= (rng.uniform(0, 0.06, 50) / np.linalg.norm(points, axis=1))[:, None]
    distance = np.linalg.norm(points, axis=1)
    clear = np.abs(distance - 0.03) > 0.0005  # an icosphere's faces lie within its radius
    rays = ObjectShape(sphere(0.03, (1.0, -2.0, 0.5))).rays
    np.testing.assert_array_equal(rays.inside(points + center)[clear], (distance < 0.03)[clear])


def test_chords_lie_inside_their_part(gripper_shape: Callable[[str], GripperShape]) -> None:
    gripper = gripper_shape("robotiq_2f_85")
    parts = [part for body in gripper.gripper.collision_parts for part in body]
    for part, planes in zip(parts, chain.from_iterable(gripper.part_planes), strict=True):
        groups = part_chords(part.vertices, planes)
        assert len(groups[0].start) == 1 and sum(len(chords.start) for chords in groups) >= 5
        for chords in groups:
            for share in (0.0, 0.5, 1.0):
                point = chords.start + share * chords.length[:, None] * chords.direction
                assert (point @ planes[:, :3].T + planes[:, 3] <= 1e-9).all()


def test_a_chord_that_meets_the_object_proves_a_collision(
    gripper_shape: Callable[[str], GripperShape], example: Callable[..., TargetObject]
) -> None:
    gripper, shape = gripper_shape("franka_panda"), ObjectShape(example("mug.obj"))
    poses = random_poses(400, 1)
    refuted = np.zeros(400, bool)
    for chords in gripper.chords(range(len(gripper.gripper.body_names)), 40):
        refuted |= shape.rays.blocked(poses, chords)
    touches = np.array([shape.surface.meets(gripper.whole(40), p) for p in poses])
    assert refuted.sum() > 50
    assert touches[refuted].all()


def at(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    return pose(np.eye(3), np.array([x, y, z]))[None]


@pytest.mark.parametrize(("gap", "collides"), [(0.0005, False), (-0.0005, True)])
def test_a_pad_half_a_millimetre_off_or_in(gripper_shape: Callable[[str], GripperShape], gap: float, collides: bool) -> None:
    gripper = gripper_shape("franka_panda")
    widest = len(gripper.gripper.opening_width) - 1
    shape = ObjectShape(box(0.08 - 2 * gap, 0.01, 0.01, (0.0, 0.0, gripper.gripper.depth - 0.009)))
    assert in_collision(shape, gripper, at(), np.array([widest]))[0] == collides


def test_an_object_inside_a_finger_collides_though_no_surfaces_meet(gripper_shape: Callable[[str], GripperShape]) -> None:
    gripper = gripper_shape("franka_panda")
    pad = gripper.parts(64)[-1]
    middle = pad.vertices.mean(axis=0)
    shape = ObjectShape(sphere(0.002, tuple(middle)))
    assert not shape.surface.meets(gripper.whole(64), at()[0])
    assert in_collision(shape, gripper, at(), np.array([64]))[0]


def test_a_gripper_inside_an_object_collides_though_no_surfaces_meet(gripper_shape: Callable[[str], GripperShape]) -> None:
    gripper = gripper_shape("franka_panda")
    shape = ObjectShape(box(1.0, 1.0, 1.0))
    assert not shape.surface.meets(gripper.whole(10), at()[0])
    assert in_collision(shape, gripper, at(), np.array([10]))[0]
    assert not in_collision(shape, gripper, at(2.0), np.array([10]))[0]


def test_a_hollow_object_around_a_free_gripper_is_no_collision(gripper_shape: Callable[[str], GripperShape]) -> None:
    outer, inner = trimesh.creation.box((1, 1, 1)), trimesh.creation.box((0.9, 0.9, 0.9))
    inner.invert()
    gripper = gripper_shape("franka_panda")
    assert not in_collision(ObjectShape(target(trimesh.util.concatenate([outer, inner]))), gripper, at(), np.array([10]))[0]


@settings(max_examples=8)
@given(seeds)
def test_verdicts_do_not_depend_on_a_common_motion(seed: int) -> None:
    """A sphere and a gripper moved together collide as before."""
    gripper = gripper_by_name("franka_panda")
    center = np.array([0.0, 0.0, 0.10])
    moves = random_poses(3, seed, reach=0.5)
    original = in_collision(ObjectShape(sphere(0.012, tuple(center))), gripper, np.tile(np.eye(4), (1, 1, 1)), np.array([40]))[0]
    for move in moves:
        ball = trimesh.creation.icosphere(subdivisions=3, radius=0.012)
        ball.apply_translation(center)
        ball.apply_transform(move)
        assert in_collision(ObjectShape(target(ball)), gripper, move[None], np.array([40]))[0] == original
