"""The built-in grippers have the sizes of their data sheets, and every measured gripper obeys these laws."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
from scipy.spatial import ConvexHull, cKDTree

from graspgen_cli.geometry.meshes import is_closed
from graspgen_cli.geometry.poses import inverse, is_rotation, transform_points
from graspgen_cli.grippers.export import finger_turn, fingertip_advance
from graspgen_cli.grippers.find import builtin_grippers, load_gripper
from graspgen_cli.records import Gripper

ROBOTIQ_PIVOT = np.array([0.0306, 0.0549])
ROBOTIQ_LINK = np.array([0.0376, 0.0430])


def test_panda_has_the_sizes_of_its_data_sheet(panda: Gripper) -> None:
    assert panda.opening_width[[0, -1]] == pytest.approx([0.0, 0.080], abs=1e-12)
    assert panda.depth - panda.bite == pytest.approx(0.1034, abs=1e-4)  # tool centre
    body = np.concatenate([part.vertices for part in panda.collision_parts[0]])
    assert np.ptp(body, axis=0) == pytest.approx([0.204, 0.063, 0.066], abs=4e-3)


def test_robotiq_has_the_sizes_of_its_data_sheet(robotiq: Gripper) -> None:
    assert robotiq.opening_width[[0, -1]] == pytest.approx([0.0, 0.085], abs=1e-9)
    assert robotiq.fingertip_in_base[[-1, 0], :, 2] == pytest.approx(np.array([[0.149] * 2, [0.163] * 2]), abs=2e-4)
    assert robotiq.pad_size == pytest.approx([0.0375, 0.022], abs=1e-9)
    base = np.concatenate([part.vertices for part in robotiq.collision_parts[0]])
    assert np.ptp(base[:, 1]) == pytest.approx(0.075, abs=1e-3)


def test_panda_fingertips_move_straight(panda: Gripper) -> None:
    assert panda.fingertip_in_base[:, 1, 0] == pytest.approx(panda.opening_width / 2, abs=1e-12)
    assert np.ptp(panda.fingertip_in_base[:, :, 1:], axis=(0, 1)) == pytest.approx([0.0, 0.0], abs=1e-12)


def test_robotiq_pads_travel_on_the_arc_of_their_linkage(robotiq: Gripper) -> None:
    tips = robotiq.fingertip_in_base[:, 1][:, [0, 2]]
    pivot_of_tip = ROBOTIQ_PIVOT + tips[-1] - (ROBOTIQ_PIVOT + ROBOTIQ_LINK)
    assert np.linalg.norm(tips - pivot_of_tip, axis=1) == pytest.approx(np.full(len(tips), np.linalg.norm(ROBOTIQ_LINK)), abs=1e-9)
    # Forward as it closes, until the links stand upright 9.8 mm before the pads meet.
    assert (np.diff(tips[robotiq.opening_width > 0.0098, 1]) < 0).all()
    assert tips[0, 1] - tips[-1, 1] == pytest.approx(0.0139, abs=1e-4)


def test_2f_140_has_the_sizes_of_its_data_sheet() -> None:
    gripper = load_gripper("robotiq_2f_140")
    assert gripper.opening_width[[0, -1]] == pytest.approx([0.0, 0.140], abs=1e-9)
    assert gripper.pad_size == pytest.approx([0.065, 0.027], abs=1e-9)
    assert fingertip_advance(gripper) == pytest.approx(0.0235, abs=2e-4)
    assert 10 <= gripper.grip_force <= 125
    assert 0.03 <= gripper.closing_speed <= 0.25
    base = np.concatenate([part.vertices for part in gripper.collision_parts[0]])
    assert np.ptp(base[:, 1]) == pytest.approx(0.075, abs=1e-3)


def test_rg6_has_the_sizes_of_its_data_sheet() -> None:
    gripper = load_gripper("onrobot_rg6")
    assert gripper.opening_width[[0, -1]] == pytest.approx([0.0, 0.160], abs=2e-5)
    assert fingertip_advance(gripper) == pytest.approx(0.0542, abs=2e-4)
    assert 25 <= gripper.grip_force <= 120
    assert 0.051 <= gripper.closing_speed <= 0.160


@pytest.mark.parametrize(("name", "pivot", "length"), [("robotiq_2f_140", (0.0306, 0.0549), 0.1), ("onrobot_rg6", (0.02385, 0.1353), 0.08)])
def test_fingers_hang_on_links_of_the_published_length(name: str, pivot: tuple[float, float], length: float) -> None:
    gripper = load_gripper(name)
    finger = gripper.pose_body_in_base[:, gripper.body_names.index(gripper.finger_bodies[1])]
    assert np.linalg.norm(finger[:, [0, 2], 3] - pivot, axis=1) == pytest.approx(np.full(len(finger), length), abs=1e-4)


def test_mhc2_swings_as_far_as_its_data_sheet_says(swinging: Gripper) -> None:
    assert swinging.joint_position[[0, -1]] == pytest.approx(np.radians([[-20, -20], [20, 20]]), abs=1e-3)
    assert np.degrees(finger_turn(swinging)) == pytest.approx(40.0, abs=0.1)
    assert swinging.grip_force * 0.060 == pytest.approx(1.36, rel=0.05)  # holding moment at the middle of the pads
    # The pads are parallel, 52.6 mm apart, in the middle of the swing.
    k = int(np.abs(swinging.joint_position[:, 0]).argmin())
    assert swinging.opening_width[k] == pytest.approx(0.0526, abs=1e-3)


def test_contact_points_lie_on_the_pads_at_every_opening(gripper: Gripper) -> None:
    for finger, name in enumerate(gripper.finger_bodies):
        poses = gripper.pose_body_in_base[:, gripper.body_names.index(name)]
        contacts = gripper.fingertip_in_base[:, finger] - gripper.bite * gripper.approach_axis_in_base
        in_body = transform_points(inverse(poses), contacts[:, None])[:, 0]
        assert np.ptp(in_body, axis=0).max() < 1e-6
        sides = [ConvexHull(part.vertices).equations for part in gripper.collision_parts[gripper.body_names.index(name)]]
        assert min(float((planes[:, :3] @ in_body[0] + planes[:, 3]).max()) for planes in sides) == pytest.approx(0.0, abs=1e-5)


def test_fingers_of_parallel_grippers_do_not_turn(parallel_gripper: Gripper) -> None:
    gripper = parallel_gripper
    assert finger_turn(gripper) < 1e-9
    for finger in gripper.finger_bodies:
        rotation = gripper.pose_body_in_base[:, gripper.body_names.index(finger), :3, :3]
        assert np.abs(rotation - rotation[-1]).max() < 1e-9


def test_openings_are_uniform(gripper: Gripper) -> None:
    width = gripper.opening_width
    assert np.diff(width) == pytest.approx(np.full(64, (width[-1] - width[0]) / 64), abs=1e-9)


def test_openings_are_the_distance_between_the_pads(parallel_gripper: Gripper) -> None:
    gripper, width = parallel_gripper, parallel_gripper.opening_width
    for k in (0, 7, 64):
        gap = [
            transform_points(gripper.pose_body_in_base[k, body], np.concatenate([p.vertices for p in gripper.collision_parts[body]]))
            @ gripper.closing_axis_in_base
            for body in (gripper.body_names.index(name) for name in gripper.finger_bodies)
        ]
        assert gap[1].min() - gap[0].max() == pytest.approx(width[k], abs=1e-8)


def test_every_opening_meets_the_mechanism(gripper: Gripper) -> None:
    model = mujoco.MjSpec.from_string(gripper.mjcf, assets=gripper.assets).compile()
    data = mujoco.MjData(model)
    assert tuple(model.joint(j).name for j in range(model.njnt)) == gripper.joint_names
    for k, q in enumerate(gripper.joint_position):
        data.qpos[:] = q
        mujoco.mj_forward(model, data)
        assert data.ne == model.neq
        assert np.abs(data.efc_pos[: data.ne]).max() < 1e-9
        within = (q >= model.jnt_range[:, 0] - 1e-9) & (q <= model.jnt_range[:, 1] + 1e-9)
        assert within.all()
        for body, name in enumerate(gripper.body_names):
            pose = gripper.pose_body_in_base[k, body]
            assert pose[:3, 3] == pytest.approx(data.body(name).xpos, abs=1e-12)
            assert pose[:3, :3].ravel() == pytest.approx(data.body(name).xmat, abs=1e-12)


def test_base_is_first_and_stands_at_the_origin(gripper: Gripper) -> None:
    assert gripper.body_names[0] == gripper.base_body
    assert (gripper.pose_body_in_base[:, 0] == np.eye(4)).all()


def test_half_turn_about_the_approach_axis_swaps_the_fingers(gripper: Gripper) -> None:
    assert gripper.symmetric
    half_turn = np.diag([-1.0, -1.0, 1.0])
    assert gripper.fingertip_in_base[:, ::-1] == pytest.approx(gripper.fingertip_in_base @ half_turn, abs=1e-9)
    for k in (0, 20, 64):
        corners = np.concatenate(
            [
                transform_points(pose, part.vertices)
                for pose, parts in zip(gripper.pose_body_in_base[k], gripper.collision_parts, strict=True)
                for part in parts
            ]
        )
        there_and_back = cKDTree(corners).query(corners @ half_turn)[0]
        assert there_and_back.max() < 1e-6


def test_collision_parts_are_convex_and_closed(gripper: Gripper) -> None:
    assert all(gripper.collision_parts), "every body of the built-in grippers can be touched"
    for part in (part for parts in gripper.collision_parts for part in parts):
        assert is_closed(part)
        corners = part.vertices[part.faces]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        outside = normal @ part.vertices.T - np.einsum("fi,fi->f", normal, corners[:, 0])[:, None]
        assert outside.max() < 1e-7


def test_collision_parts_are_what_mujoco_collides(gripper: Gripper) -> None:
    """The bounding box that MuJoCo has of each geom is the part's."""
    model = mujoco.MjSpec.from_string(gripper.mjcf).compile()
    geom = 0
    for parts in gripper.collision_parts:
        for part in parts:
            rotation = np.zeros(9)
            mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
            local = (part.vertices - model.geom_pos[geom]) @ rotation.reshape(3, 3)
            center, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
            assert np.stack([local.min(axis=0), local.max(axis=0)]) == pytest.approx(np.stack([center - half, center + half]), abs=1e-6)
            geom += 1
    assert geom == model.ngeom


def test_drive_does_the_work_of_the_grip_at_its_speed(gripper: Gripper) -> None:
    travel = gripper.joint_position[0] - gripper.joint_position[-1]
    stroke = gripper.opening_width[-1] - gripper.opening_width[0]
    assert gripper.joint_effort @ travel == pytest.approx(gripper.grip_force * stroke, rel=1e-9)
    driven = gripper.joint_effort != 0
    assert driven.sum() == 2
    seconds = travel[driven] / (gripper.joint_effort[driven] / gripper.joint_damping[driven])
    assert seconds == pytest.approx(np.full(2, stroke / gripper.closing_speed), rel=1e-9)
    assert (gripper.joint_damping[~driven] == 0).all()


def test_graspgen_convention_is_the_base_frame(gripper: Gripper) -> None:
    assert gripper.pose_base_in_graspgen == pytest.approx(np.eye(4), abs=1e-12)
    assert is_rotation(gripper.pose_body_in_base.reshape(-1, 4, 4)).all()


def test_grip_force_and_speed_are_within_the_data_sheets(panda: Gripper, robotiq: Gripper) -> None:
    assert (panda.grip_force, panda.closing_speed) == (70.0, 0.1)
    assert 20 <= robotiq.grip_force <= 235
    assert 0.02 <= robotiq.closing_speed <= 0.15


def test_the_page_about_grippers_says_what_is_measured() -> None:
    page = (Path(__file__).parents[2] / "docs" / "grippers.md").read_text("utf-8")
    rows = {cells[1].strip(): cells[2:] for line in page.splitlines() if line.startswith("|") and (cells := line.split("|"))}
    grippers = [load_gripper(name.strip(" `")) for name in rows[""][:-1]]
    assert {gripper.name for gripper in grippers} == set(builtin_grippers())
    for column, gripper in enumerate(grippers):
        assert f"to {gripper.width * 1000:.4g} mm" in rows["opening width"][column] or gripper.name == "smc_mhc2_25"
        assert f"{gripper.depth * 1000:.1f} mm" in rows["depth: base to fingertips, open"][column]
        assert f"{gripper.grip_force:g} N" in rows["grip force, each pad"][column]
        assert f"{gripper.closing_speed * 1000:g} mm/s" in rows["closing speed, of the opening"][column]
        assert f"{gripper.bite * 1000:g} mm" in rows["bite: fingertip to contact point"][column]
        assert f"(pictures/{gripper.name}.png)" in page
        assert (Path(__file__).parents[2] / "docs" / "pictures" / f"{gripper.name}.png").stat().st_size < 60_000
