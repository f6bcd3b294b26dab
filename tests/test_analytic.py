"""Trials whose end is known from mechanics, and laws that no label may break."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from examples import example_object, gripper_by_name
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.geometry.convex import convex_pieces
from graspgen_cli.geometry.poses import inverse, pose, transform_points
from graspgen_cli.guess.loop import make_guesses
from graspgen_cli.records import Floats, GraspBatch, Gripper, Outcome, TargetObject, TriangleMesh
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.trials import CollisionApproximation, SimulationSettings
from graspgen_cli.validate.engine import Variation, make_backend
from graspgen_cli.validate.judge import judge
from graspgen_cli.validate.protocols import STANDARD_GRAVITY
from graspgen_cli.validate.trials import run_trials
from shapes import box, sphere, target
from test_validate import grasp_at_origin

BISECTIONS = 8
MASS = 0.5
"""kg."""


@pytest.fixture(scope="module")
def panda() -> GripperShape:
    """Two parallel pads with nothing between finger and drive that would tighten or loosen under load."""
    return gripper_by_name("franka_panda")


def pull(direction: tuple[float, float, float], force: float, *, friction: float, seconds: float = 0.5) -> SimulationSettings:
    """A steady force (N), looked at to its end."""
    return SimulationSettings(
        tug_sequences=((seconds, direction, 1.0),),
        friction=friction,
        object_mass=MASS,
        force_magnitude=force / (MASS * STANDARD_GRAVITY),
        steady_motion=0.0,
    )


def slipping_force(panda: GripperShape, held: TargetObject, *, friction: float, direction: tuple[float, float, float]) -> float:
    """N: largest steady force along a direction (z approach, x closing) under which both fingers still touch after half a second."""
    gripper, backend = panda.gripper, make_backend("mujoco", threads=1)
    low, high = 0.0, 8 * friction * gripper.grip_force
    for _ in range(BISECTIONS):
        force = (low + high) / 2
        settings = pull(direction, force, friction=friction)
        outcome = judge(backend.run(gripper, held, grasp_at_origin(gripper), settings))[0]
        low, high = (force, high) if outcome == Outcome.HELD else (low, force)
    return (low + high) / 2


def cylinder(*, along: tuple[float, float, float], radius: float = 0.012, height: float = 0.03) -> TargetObject:
    """A cylinder about the origin with its axis along a direction."""
    solid = trimesh.creation.cylinder(radius, height, sections=64)
    solid.apply_transform(trimesh.geometry.align_vectors([0, 0, 1], along))
    return target(solid, object_id="cylinder.obj")


@pytest.mark.parametrize("friction", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.0, 0.6, 0.8)])
def test_a_box_slips_at_coulombs_force(panda: GripperShape, friction: float, direction: tuple[float, float, float]) -> None:
    found = slipping_force(panda, box(0.03, 0.02, 0.02), friction=friction, direction=direction)
    assert found == pytest.approx(2 * friction * panda.gripper.grip_force, rel=0.05)


@pytest.mark.slow
def test_a_box_slips_at_coulombs_force_on_the_other_engine(panda: GripperShape) -> None:
    """Held at 95 % of it, lost at 105 %."""
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend

    gripper, backend = panda.gripper, MujocoWarpBackend(threads=1, device="cpu", worlds=2)
    for share, expected in ((0.95, Outcome.HELD), (1.05, Outcome.DROPPED)):
        force = share * 2 * 0.5 * gripper.grip_force
        settings = pull((0.0, 0.0, 1.0), force, friction=0.5)
        assert judge(backend.run(gripper, box(0.03, 0.02, 0.02), grasp_at_origin(gripper), settings))[0] == expected


@pytest.mark.parametrize("shape", ["sphere", "cylinder by its ends", "cylinder along the approach", "cylinder across"])
def test_round_objects_slip_at_coulombs_force_too(panda: GripperShape, shape: str) -> None:
    """Between two fixed pads nothing rolls without sliding on one of them; the pull goes through the centre."""
    closing, approach = panda.gripper.closing_axis_in_base, panda.gripper.approach_axis_in_base
    objects = {
        "sphere": sphere(0.015),
        "cylinder by its ends": cylinder(along=tuple(closing)),
        "cylinder along the approach": cylinder(along=tuple(approach)),
        "cylinder across": cylinder(along=tuple(np.cross(approach, closing))),
    }
    found = slipping_force(panda, objects[shape], friction=0.5, direction=(0.0, 0.0, 1.0))
    assert found == pytest.approx(2 * 0.5 * panda.gripper.grip_force, rel=0.05)


def held_at_points(gripper: Gripper, lever: float) -> TargetObject:
    """An octahedron with a corner at each pad, and its centre of mass `lever` metres before them."""
    corners = 0.015 * np.concatenate([np.eye(3), -np.eye(3)]) @ gripper.pose_base_in_graspgen[:3, :3]
    return replace(target(trimesh.convex.convex_hull(corners)), center_of_mass=lever * gripper.approach_axis_in_base)


@pytest.mark.parametrize("patch", [0.0015, 0.003])
def test_what_the_pads_meet_at_points_turns_at_the_moment_that_the_patches_bear(panda: GripperShape, patch: float) -> None:
    """Its centre of mass lies 20 mm before the pads, so that a pull F across turns it about the closing axis. Two thirds of the patch's
    radius, times friction and grip force, is what each patch bears, and it shares the cone of friction with the pull itself:

        (F / 2 N0 friction)² + (F 0.02 m / 2 N0 friction (2/3 patch))² = 1"""
    gripper, backend, lever, friction = panda.gripper, make_backend("mujoco", threads=1), 0.02, 0.5
    held = held_at_points(gripper, lever)
    expected = 2 * gripper.grip_force * friction / np.hypot(1.0, lever / (2 / 3 * patch))
    low, high = 0.0, 3 * expected
    for _ in range(BISECTIONS):
        force = (low + high) / 2
        settings = pull((0.0, 1.0, 0.0), force, friction=friction).model_copy(update={"contact_patch": patch})
        stays = backend.run(gripper, held, grasp_at_origin(gripper), settings).slip[0, 1] < 0.15
        low, high = (force, high) if stays else (low, force)
    assert (low + high) / 2 == pytest.approx(expected, rel=0.05)


def test_a_point_bears_no_moment(panda: GripperShape) -> None:
    gripper, backend = panda.gripper, make_backend("mujoco", threads=1)
    held = held_at_points(gripper, 0.02)
    settings = pull((0.0, 1.0, 0.0), 1.0, friction=0.5).model_copy(update={"contact_patch": 0.0})
    assert backend.run(gripper, held, grasp_at_origin(gripper), settings).slip[0, 1] > 0.15


PLATE = {"thickness": 0.004, "length": 0.08}
"""m; 20 mm wide, and held by 10 mm of its edge."""
HELD_BY = 0.01


def by_its_edge(gripper: Gripper) -> tuple[TargetObject, GraspBatch]:
    """A plate between the ends of the pads, the rest of it before the gripper."""
    solid = trimesh.creation.box((PLATE["thickness"], 0.02, PLATE["length"]))
    upright = gripper.pose_base_in_graspgen[:3, :3].T
    k = int(gripper.nearest_opening(np.array([PLATE["thickness"]]))[0])
    center = gripper.fingertip_in_base[k].mean(axis=0) + (PLATE["length"] / 2 - HELD_BY) * gripper.approach_axis_in_base
    poses = pose(upright.T, -(upright.T @ center))[None]
    return target(solid, object_id="plate.obj"), GraspBatch(poses, np.array([0.02]), np.zeros(1, np.int8))


def rolling_force(gripper: Gripper, friction: float) -> float:
    """N, across the plate at its middle, at the distance L from the middle of what is held: then the pads press on the two ends of what is
    held alone, and rub along its two sides in opposite directions. N0 being the grip force, w what is held, t the thickness,

        F L = 2 N0 w / 2 + friction (N0 - F / 2) t

    since of the two fingers, which move together, one presses with F / 2 more and the other with F / 2 less than N0."""
    lever, thickness = PLATE["length"] / 2 - HELD_BY / 2, PLATE["thickness"]
    return gripper.grip_force * (HELD_BY + friction * thickness) / (lever + friction * thickness / 2)


@pytest.mark.slow
@pytest.mark.parametrize("friction", [0.1, 0.3])
def test_a_plate_held_by_its_edge_rolls_out_at_the_moment_that_the_pads_can_bear(panda: GripperShape, friction: float) -> None:
    """It begins to roll slowly, so that it is given two seconds."""
    gripper, backend, (plate, grasp) = panda.gripper, make_backend("mujoco", threads=1), by_its_edge(panda.gripper)
    low, high = 0.0, 3 * rolling_force(gripper, friction)
    for _ in range(BISECTIONS):
        force = (low + high) / 2
        settings = pull((1.0, 0.0, 0.0), force, friction=friction, seconds=2.0)
        held = judge(backend.run(gripper, plate, grasp, settings))[0] == Outcome.HELD
        low, high = (force, high) if held else (low, force)
    assert (low + high) / 2 == pytest.approx(rolling_force(gripper, friction), rel=0.05)


@pytest.mark.slow
def test_a_plate_rolls_out_at_that_moment_on_the_other_engine(panda: GripperShape) -> None:
    """Held at 95 % of it, lost at 105 %."""
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend

    backend, (plate, grasp) = MujocoWarpBackend(threads=1, device="cpu", worlds=2), by_its_edge(panda.gripper)
    settings = pull((1.0, 0.0, 0.0), rolling_force(panda.gripper, 0.1), friction=0.1)
    state = backend.run(panda.gripper, plate, GraspBatch.join([grasp, grasp]), settings, Variation.of_tugs(np.array([0.95, 1.05])))
    assert judge(state).tolist() == [Outcome.HELD, Outcome.DROPPED]


def test_an_object_wider_than_the_gripper_is_never_held(panda: GripperShape) -> None:
    gripper = panda.gripper
    wide = gripper.width + 0.03
    state = make_backend("mujoco", threads=1).run(gripper, box(wide, wide, 0.02), grasp_at_origin(gripper), SimulationSettings())
    assert state.started_inside[0]
    in_front = grasp_at_origin(gripper)
    away = pose(np.eye(3), -(0.05 * gripper.approach_axis_in_base))
    in_front = replace(in_front, pose_gripper_in_object=away @ in_front.pose_gripper_in_object)
    state = make_backend("mujoco", threads=1).run(gripper, box(wide, wide, 0.02), in_front, SimulationSettings())
    assert not state.started_inside[0] and judge(state)[0] == Outcome.DROPPED


# --- invariances ------------------------------------------------------------------------------------------------------------------


def moved(held: TargetObject, pose_old_in_new: Floats) -> TargetObject:
    """The object in another frame; the pose may be a reflection."""
    flip = np.linalg.det(pose_old_in_new[:3, :3]) < 0

    def mesh(old: TriangleMesh) -> TriangleMesh:
        faces = old.faces[:, ::-1] if flip else old.faces
        return TriangleMesh(transform_points(pose_old_in_new, old.vertices), np.ascontiguousarray(faces))

    turn = pose_old_in_new[:3, :3]
    return replace(
        held,
        mesh=mesh(held.mesh),
        pieces=tuple(mesh(piece) for piece in held.pieces),
        center_of_mass=transform_points(pose_old_in_new, held.center_of_mass[None])[0],
        unit_inertia=turn @ held.unit_inertia @ turn.T,
    )


def guesses(panda: GripperShape, held: TargetObject, count: int) -> GraspBatch:
    return make_guesses(
        ObjectShape(held), panda, GuessSettings(), object_id="invariance", num_free=count, num_colliding=0, first_try=0, max_tries=100
    ).grasps


def labels(panda: GripperShape, held: TargetObject, grasps: GraspBatch) -> GraspBatch:
    return run_trials(make_backend("mujoco", threads=2), panda.gripper, held, grasps, SimulationSettings(friction=0.4)).grasps


@pytest.fixture(scope="module")
def tool(panda: GripperShape) -> tuple[TargetObject, GraspBatch, GraspBatch]:
    """Fifteen convex pieces, and grasps of which friction this low drops some."""
    held = example_object("spanner.stl", pieces=True)
    grasps = guesses(panda, held, 100)
    return held, grasps, labels(panda, held, grasps)


def agreement(first: GraspBatch, second: GraspBatch) -> float:
    return float((first.outcome == second.outcome).mean())


MOTION = pose(Rotation.from_rotvec([0.3, -1.1, 2.0]).as_matrix(), np.array([0.2, -0.4, 0.1]))


@pytest.mark.slow
def test_a_label_does_not_depend_on_the_frame_of_the_object(panda: GripperShape, tool: tuple[TargetObject, GraspBatch, GraspBatch]) -> None:
    held, grasps, before = tool
    again = labels(panda, moved(held, MOTION), replace(grasps, pose_gripper_in_object=MOTION @ grasps.pose_gripper_in_object))
    assert 0.1 < before.count(Outcome.HELD) / len(before) < 0.97
    assert agreement(before, again) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bowl.obj", "caltrop.off", "hammer.obj", "mug.obj", "ring.ply"])
def test_nor_does_it_where_the_pieces_are_cut_in_the_other_frame(panda: GripperShape, name: str) -> None:
    """The caltrop has no principal axes of its own and lies between holding and dropping; the ring and the bowl are turned."""
    held = example_object(name, pieces=True)
    grasps, other = guesses(panda, held, 100), moved(held, MOTION)
    cut = convex_pieces(other.mesh, CollisionApproximation.CONVEX_DECOMPOSITION)
    other = replace(other, pieces=cut.pieces, largest_gap=cut.gaps.largest)
    again = labels(panda, other, replace(grasps, pose_gripper_in_object=MOTION @ grasps.pose_gripper_in_object))
    assert agreement(labels(panda, held, grasps), again) >= 0.99


@pytest.mark.slow
def test_a_label_does_not_depend_on_the_order_of_the_pieces(panda: GripperShape, tool: tuple[TargetObject, GraspBatch, GraspBatch]) -> None:
    held, grasps, before = tool
    assert agreement(before, labels(panda, replace(held, pieces=held.pieces[::-1]), grasps)) >= 0.99


@pytest.mark.slow
def test_a_label_does_not_depend_on_its_place_in_the_batch(panda: GripperShape, tool: tuple[TargetObject, GraspBatch, GraspBatch]) -> None:
    held, grasps, before = tool
    some = np.arange(0, len(grasps), 5)[::-1]
    again = labels(panda, held, grasps[some])
    np.testing.assert_array_equal(again.measured, before.measured[some])
    np.testing.assert_array_equal(again.outcome, before.outcome[some])


def test_a_mirrored_scene_ends_mirrored(panda: GripperShape) -> None:
    """The hand is its own mirror image through the plane between its pads, and the usual tugs are as well."""
    gripper = panda.gripper
    mirror = np.eye(4)
    mirror[:3, :3] -= 2 * np.outer(gripper.closing_axis_in_base, gripper.closing_axis_in_base)
    rng = np.random.Generator(np.random.Philox(11))
    start = grasp_at_origin(gripper, count=60)
    places = rng.normal(0, [0.008, 0.008, 0.012], (60, 3))
    turns = Rotation.from_rotvec(rng.normal(0, 0.2, (60, 3))).as_matrix()
    poses = start.pose_gripper_in_object @ pose(turns, places)
    settings = SimulationSettings(friction=0.4, tug_sequences=((0.5, (0.0, 1.0, 1.0), 1.0), (0.5, (0.0, -2.0, 1.0), 1.0)))
    backend, held = make_backend("mujoco", threads=2), box(0.03, 0.02, 0.04)
    first = backend.run(gripper, held, replace(start, pose_gripper_in_object=poses), settings)
    second = backend.run(gripper, moved(held, mirror), replace(start, pose_gripper_in_object=mirror @ poses @ mirror), settings)
    assert 0.1 < (judge(first) == Outcome.HELD).mean() < 0.97
    assert (judge(first) == judge(second)).mean() >= 0.95
    both = (judge(first) == Outcome.HELD) & (judge(second) == Outcome.HELD)
    ended = mirror @ second.pose_object_in_gripper[both] @ mirror
    shift = np.linalg.norm((inverse(first.pose_object_in_gripper[both]) @ ended)[:, :3, 3], axis=1)
    assert np.median(shift) < 0.0005
