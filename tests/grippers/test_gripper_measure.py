"""What is measured of a gripper does not depend on how its model is written."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaw_models import parallel_jaw

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import transform_points
from graspgen_cli.grippers.gripper_file import GripperFile
from graspgen_cli.grippers.measure import measure_gripper
from graspgen_cli.grippers.read_mjcf import read_mjcf_text
from graspgen_cli.records import Gripper


def measured(text: str, **parameters: object) -> Gripper:
    file = GripperFile.model_validate({"name": "jaw", "model": "jaw.xml", **parameters})
    return measure_gripper(read_mjcf_text(text, source="jaw.xml", base_body=file.base_body), file)


lengths = st.floats(0.002, 0.05)


@settings(max_examples=25, deadline=None)
@given(
    stroke=st.floats(0.01, 0.2),
    pad=st.tuples(lengths, lengths, lengths),
    yaw=st.floats(-3.1, 3.1),
    open_at_zero=st.booleans(),
    mirrored=st.booleans(),
)
def test_parallel_jaw_measures_what_it_was_made_with(
    stroke: float, pad: tuple[float, float, float], yaw: float, open_at_zero: bool, mirrored: bool
) -> None:
    names = ("b", "a") if mirrored else ("a", "b")
    text = parallel_jaw(stroke=stroke, pad=pad, yaw=yaw, open_at_zero=open_at_zero, names=names)
    gripper = measured(text, finger_bodies=names, grip_force=30.0, closing_speed=0.2)
    tolerance = 2e-6  # MuJoCo writes models with six digits
    assert gripper.opening_width[[0, -1]] == pytest.approx([0.0, stroke], abs=tolerance)
    assert gripper.pad_size == pytest.approx([2 * pad[2], 2 * pad[1]], abs=tolerance)
    assert gripper.closing_axis_in_base == pytest.approx([math.cos(yaw), math.sin(yaw), 0.0], abs=1e-5)
    assert gripper.depth == pytest.approx(0.08 + pad[2], abs=tolerance)
    assert gripper.bite == pytest.approx(pad[2], abs=tolerance)
    assert np.abs(gripper.joint_effort) == pytest.approx([30.0, 30.0], rel=1e-6)
    assert np.sign(gripper.joint_effort).tolist() == [-1.0, -1.0]
    assert gripper.joint_damping == pytest.approx([300.0, 300.0], rel=1e-6)
    tips = transform_points(gripper.pose_base_in_graspgen, gripper.fingertip_in_base[-1])
    assert tips == pytest.approx(np.array([[-stroke / 2, 0, 0.08 + pad[2]], [stroke / 2, 0, 0.08 + pad[2]]]), abs=tolerance)
    assert gripper.symmetric


def test_base_stands_at_the_origin_wherever_the_file_puts_it() -> None:
    here = measured(parallel_jaw())
    there = measured(parallel_jaw(base='pos="1 2 3" euler="0.1 0.2 0.3"', extra="<freejoint/>"))
    assert there.fingertip_in_base == pytest.approx(here.fingertip_in_base, abs=1e-9)
    assert there.joint_names == here.joint_names


def test_visual_geoms_are_left_out_and_their_mass_is_kept() -> None:
    visual = '<geom type="sphere" size="0.3" contype="0" conaffinity="0" mass="0.25"/>'
    gripper = measured(parallel_jaw(extra=visual))
    assert len(gripper.collision_parts[0]) == 1
    assert mujoco.MjSpec.from_string(gripper.mjcf).compile().body("palm").mass == pytest.approx(0.75)


def test_what_stands_beside_the_gripper_is_left_out() -> None:
    text = parallel_jaw().replace("</worldbody>", '<geom type="plane" size="1 1 1"/><body name="table"><geom size="1"/></body></worldbody>')
    assert measured(text, base_body="palm").body_names == ("palm", "left", "right")


def test_one_driven_finger_gets_the_whole_effort() -> None:
    text = parallel_jaw(coupling="").replace('<joint name="left_slide" type="slide" axis="-1 0 0" range="0 0.03"/>', "")
    gripper = measured(text, finger_bodies=("left", "right"), grip_force=30.0)
    assert gripper.width == pytest.approx(0.03)
    assert gripper.joint_effort == pytest.approx([-30.0])
    assert not gripper.symmetric


def test_gripper_that_never_closes_starts_at_its_smallest_opening() -> None:
    gripper = measured(
        parallel_jaw().replace('range="0 0.03"', 'range="0.005 0.03"').replace("<joint joint1", '<joint polycoef="0 1" joint1')
    )
    assert gripper.opening_width[[0, -1]] == pytest.approx([0.01, 0.06])


def test_gripper_whose_fingers_could_cross_starts_closed() -> None:
    gripper = measured(parallel_jaw().replace('range="0 0.03"', 'range="-0.01 0.03"'))
    assert gripper.opening_width[[0, -1]] == pytest.approx([0.0, 0.06], abs=1e-12)
    assert gripper.joint_position[0] == pytest.approx([0.0, 0.0], abs=1e-9)


@pytest.mark.parametrize(
    ("text", "parameters", "complaint"),
    [
        (parallel_jaw(scale=1000), {}, "in metres"),
        (parallel_jaw(scale=0.01), {}, "in metres"),
        (parallel_jaw(coupling=""), {}, "2 independent ways"),
        (parallel_jaw(names=("left", "right")).replace("-1 0 0", "1 0 0"), {}, "do not move oppositely"),
        (parallel_jaw().replace("-1 0 0", "1 0 0"), {"finger_bodies": ["left", "right"]}, "do not move towards each other"),
        (parallel_jaw().replace('range="0 0.03"', ""), {}, "no limit stops"),
        (parallel_jaw(), {"finger_bodies": ["left", "thumb"]}, "no body is called thumb"),
        (parallel_jaw(), {"base_body": "wrist"}, "no body is called wrist"),
        (parallel_jaw(), {"base_body": "left"}, "hangs on another body"),
        (parallel_jaw().replace("</worldbody>", "<body/></worldbody>"), {}, "2 bodies stand in the world"),
        ("<mujoco><worldbody><body><geom size='1'/></body></worldbody></mujoco>", {}, "no joint"),
        ("<mujoco><wrong/></mujoco>", {}, "not a readable MJCF"),
        ("not xml", {}, "not a readable MJCF"),
        (parallel_jaw(extra="<body><joint type='ball'/><geom size='0.01'/></body>"), {}, "neither a hinge nor a slide"),
        (parallel_jaw().replace('type="box"', 'type="sdf"'), {}, "MuJoCo|sdf"),
    ],
)
def test_what_is_no_gripper_is_refused_in_one_line(text: str, parameters: dict[str, object], complaint: str) -> None:
    with pytest.raises(GripperError, match=complaint) as refusal:
        measured(text, **parameters)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith("jaw.xml: ")


def test_base_in_a_frame_stands_at_the_origin_too() -> None:
    text = parallel_jaw(base='pos="1 0 0" mocap="true"').replace("<worldbody>", '<worldbody><frame pos="1 2 3" euler="0 1 0">')
    gripper = measured(text.replace("</worldbody>", "</frame></worldbody>"))
    assert (gripper.pose_body_in_base[:, 0] == np.eye(4)).all()
