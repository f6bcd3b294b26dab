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
    return measure_gripper(read_mjcf_text(text, source="jaw.xml", base_body=file.base_body, keep=file.finger_bodies or ()), file)


lengths = st.floats(0.002, 0.05)


@settings(max_examples=10, deadline=None)
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
        (parallel_jaw(names=("left", "right")).replace("-1 0 0", "1 0 0"), {}, "no two bodies move towards each other"),
        (parallel_jaw().replace("-1 0 0", "1 0 0"), {"finger_bodies": ["left", "right"]}, "do not move towards each other"),
        (parallel_jaw().replace('range="0 0.03"', ""), {}, "no limit stops"),
        (parallel_jaw(), {"finger_bodies": ["left", "thumb"]}, "no body is called thumb"),
        (parallel_jaw(), {"base_body": "wrist"}, "no body is called wrist"),
        (parallel_jaw(), {"base_body": "left"}, "no joint below its base"),
        (parallel_jaw().replace("</worldbody>", "<body/></worldbody>"), {}, "2 bodies stand in the world"),
        ("<mujoco><worldbody><body><geom size='1'/></body></worldbody></mujoco>", {}, "no joint"),
        ("<mujoco><wrong/></mujoco>", {}, "not a readable MJCF"),
        ("not xml", {}, "not a readable MJCF"),
        (parallel_jaw(extra="<body><joint type='ball'/><geom size='0.01'/></body>"), {}, "neither a hinge nor a slide"),
        (parallel_jaw().replace('type="box"', 'type="sdf"'), {}, "MuJoCo cannot compile the model"),
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


# --- what files leave out ------------------------------------------------------------------------------------------------------


def test_uncoupled_fingers_are_driven_as_mirror_images() -> None:
    coupled, free = measured(parallel_jaw()), measured(parallel_jaw(coupling=""))
    assert free.opening_width == pytest.approx(coupled.opening_width, abs=1e-9)
    assert free.joint_position == pytest.approx(coupled.joint_position, abs=1e-9)
    assert any("left_slide and right_slide are not coupled" in note for note in free.notes)
    assert not any("not coupled" in note for note in coupled.notes)


def test_uncoupled_fingers_with_axes_along_one_direction_are_mirrored_too() -> None:
    """As robosuite's Panda: both slides along one axis, one of them with a negative range."""
    text = parallel_jaw(coupling="").replace('axis="-1 0 0" range="0 0.03"', 'axis="1 0 0" range="-0.03 0"')
    gripper = measured(text)
    assert gripper.opening_width[[0, -1]] == pytest.approx([0.0, 0.06], abs=1e-9)
    assert gripper.joint_position[-1] == pytest.approx([-0.03, 0.03], abs=1e-9)


def test_a_motor_that_moves_no_finger_is_held() -> None:
    lid = '<body name="lid" pos="0 0 0.01"><joint name="lid_hinge" type="hinge" range="0 1"/><geom size="0.005"/></body>'
    gripper = measured(parallel_jaw(extra=lid, coupling=""))
    assert gripper.width == pytest.approx(0.06, abs=1e-9)
    assert gripper.joint_position[:, gripper.joint_names.index("lid_hinge")] == pytest.approx(np.zeros(65), abs=1e-9)
    assert any("held where they are: lid_hinge" in note for note in gripper.notes)


def test_a_wrist_in_front_of_the_gripper_is_refused() -> None:
    text = parallel_jaw(extra='<body name="hand" pos="0 0 0.1"><joint name="wrist" range="-1 1"/><geom size="0.01"/></body>')
    with pytest.raises(GripperError, match="--base-frame"):
        measured(text)


@pytest.mark.parametrize(
    ("approach", "turn"),
    [
        ([0, 0, 1], "0 0 0"),
        ([1, 0, 0], "0 1.5707963267948966 0"),
        ([0, -1, 0], "1.5707963267948966 0 0"),
        ([0, 0, -1], "3.141592653589793 0 0"),
    ],
)
def test_approach_axis_is_found_whichever_way_the_base_stands(approach: list[int], turn: str) -> None:
    """The gripper turned within its base's frame: same sizes, other axes."""
    inner = parallel_jaw().split('<body name="palm" >')[1].rsplit("</body>", 1)[0]
    text = f"""<mujoco><compiler angle="radian" autolimits="true" eulerseq="XYZ"/><worldbody><body name="palm">
    <frame euler="{turn}">{inner}</frame></body></worldbody>
    <equality><joint joint1="left_slide" joint2="right_slide"/></equality></mujoco>"""
    gripper = measured(text)
    assert gripper.approach_axis_in_base == pytest.approx(approach, abs=1e-6)
    assert gripper.width == pytest.approx(0.06, abs=1e-6)
    assert gripper.depth == pytest.approx(0.095, abs=1e-6)
    tips = transform_points(gripper.pose_base_in_graspgen, gripper.fingertip_in_base[-1])
    assert tips == pytest.approx(np.array([[-0.03, 0, 0.095], [0.03, 0, 0.095]]), abs=1e-6)


def test_fingers_of_several_links_are_the_outermost_that_meet() -> None:
    """Each finger carries a nail that moves with it, and a knuckle behind it moves the same way."""
    knuckle = """<body name="{0}_knuckle" pos="{1} 0 0.05"><joint name="{0}_knuckle" type="slide" axis="{2} 0 0" range="0 0.03"/>
    <geom type="box" size="0.004 0.004 0.004" mass="0.01"/></body>"""
    text = parallel_jaw(extra=knuckle.format("left", -0.006, -1) + knuckle.format("right", 0.006, 1), coupling="")
    couplings = "".join(f'<joint joint1="{name}" joint2="left_slide"/>' for name in ("right_slide", "left_knuckle", "right_knuckle"))
    gripper = measured(text.replace("</mujoco>", f"<equality>{couplings}</equality></mujoco>"))
    assert gripper.finger_bodies == ("left", "right")
    assert gripper.width == pytest.approx(0.06, abs=1e-9)


SWINGING = """
<mujoco><compiler angle="radian" autolimits="true"/><worldbody><body name="palm">
  <geom type="box" size="0.03 0.02 0.02" mass="0.5"/>
  <body name="left" pos="-0.02 0 0.03"><joint name="left_hinge" axis="0 -1 0" range="0 0.5"/>
    <geom type="box" size="0.005 0.01 0.03" pos="0.015 0 0.03" mass="0.05"/></body>
  <body name="right" pos="0.02 0 0.03"><joint name="right_hinge" axis="0 1 0" range="0 0.5"/>
    <geom type="box" size="0.005 0.01 0.03" pos="-0.015 0 0.03" mass="0.05"/></body>
</body></worldbody><equality><joint joint1="left_hinge" joint2="right_hinge"/></equality></mujoco>"""


def test_swinging_fingers_open_by_the_gap_between_their_contact_points() -> None:
    """Hinges at x = 0.02, z = 0.03; pads at x = 0 when closed, from z = 0.03 to 0.09; the contact points at their middles, z = 0.06."""
    gripper = measured(SWINGING)
    angle = gripper.joint_position[:, 1]
    # The middle of the right pad is at (-0.02, 0.03) from its hinge.
    expected = 2 * (0.02 - 0.02 * np.cos(angle) + 0.03 * np.sin(angle))
    assert gripper.opening_width == pytest.approx(expected, abs=1e-7)
    assert (gripper.opening_width[0], angle[-1]) == pytest.approx((0.0, 0.5), abs=1e-6)
    assert gripper.pad_size == pytest.approx([0.06, 0.02], abs=1e-6)
    contact = gripper.fingertip_in_base[:, 1] - gripper.bite * gripper.approach_axis_in_base
    assert contact[:, 2] == pytest.approx(0.03 + 0.03 * np.cos(angle) + 0.02 * np.sin(angle), abs=1e-7)


def test_open_configuration_sets_what_counts_as_open() -> None:
    assert measured(parallel_jaw(), open_configuration={"left_slide": 0.02}).width == pytest.approx(0.04, abs=1e-9)
    for wanted, complaint in (
        ({"thumb": 0.0}, "no joint is called thumb"),
        ({"left_slide": 0.5}, "goes from 0 to 0.03"),
        ({"left_slide": 0.02, "right_slide": 0.01}, "cannot have"),
    ):
        with pytest.raises(GripperError, match=complaint):
            measured(parallel_jaw(), open_configuration=wanted)


def test_convergence_is_measured_when_asked_for() -> None:
    file = GripperFile(name="jaw", model="jaw.xml")
    gripper = measure_gripper(read_mjcf_text(parallel_jaw(), source="jaw.xml"), file, convergence=True)
    assert any(note.startswith("convergence: largest constraint residual") for note in gripper.notes)


def test_force_comes_from_the_actuators_and_is_refused_where_it_is_nonsense() -> None:
    for force, grip in ((30.0, 30.0), (90000.0, 50.0)):
        motors = "".join(f'<motor joint="{side}_slide" forcerange="-{force} {force}"/>' for side in ("left", "right"))
        gripper = measured(parallel_jaw().replace("</mujoco>", f"<actuator>{motors}</actuator></mujoco>"))
        assert gripper.grip_force == pytest.approx(grip)
    assert any("unlikely" in note for note in gripper.notes)


def test_light_fingers_get_the_armature_that_a_trial_needs() -> None:
    light = measured(parallel_jaw(), grip_force=60.0, closing_speed=0.1)
    armature = mujoco.MjSpec.from_string(light.mjcf).compile().dof_armature
    assert armature == pytest.approx(0.004 * light.joint_damping, rel=1e-5)
    heavy = measured(parallel_jaw().replace('type="slide"', 'type="slide" armature="20"'), grip_force=60.0, closing_speed=0.1)
    assert mujoco.MjSpec.from_string(heavy.mjcf).compile().dof_armature == pytest.approx([20.0, 20.0])
    assert any("armature" in note for note in light.notes) and not any("armature" in note for note in heavy.notes)


def parallelogram(side: int) -> str:
    """A finger on two bars of (0.02, 0.04) that stand 0.015 apart, the inner one closed by a connect constraint."""
    name, out = ("left", "right")[side > 0], side * 0.02
    return f"""
    <body name="{name}_bar" pos="{side * 0.03} 0 0.05"><joint name="{name}_motor" axis="0 {-side} 0" range="0 0.7"/>
      <geom type="box" size="0.004 0.004 0.015" pos="{out / 2} 0 0.02" mass="0.02"/>
      <body name="{name}_finger" pos="{out} 0 0.04"><joint name="{name}_finger" axis="0 {side} 0"/>
        <geom type="box" size="0.004 0.01 0.015" pos="{-side * 0.016} 0 0.02" mass="0.02"/>
        <site name="{name}_on_finger" pos="{-side * 0.015} 0 0"/></body></body>
    <body name="{name}_inner" pos="{side * 0.015} 0 0.05"><joint name="{name}_inner" axis="0 {side} 0"/>
      <geom type="box" size="0.003 0.004 0.01" pos="{out / 2} 0 0.02" mass="0.02"/>
      <site name="{name}_on_inner" pos="{out} 0 0.04"/></body>"""


def test_closed_loops_keep_the_pads_parallel_on_their_arc() -> None:
    loops = "".join(f'<connect site1="{name}_on_finger" site2="{name}_on_inner"/>' for name in ("left", "right"))
    gripper = measured(f"""
    <mujoco><compiler angle="radian" autolimits="true"/><worldbody><body name="palm">
      <geom type="box" size="0.03 0.02 0.02" mass="0.5"/>{parallelogram(-1)}{parallelogram(1)}
    </body></worldbody><equality>{loops}</equality>
    <actuator><motor joint="left_motor" forcerange="-2 2"/><motor joint="right_motor" forcerange="-2 2"/></actuator></mujoco>""")
    assert gripper.finger_bodies == ("left_finger", "right_finger")
    angle = gripper.joint_position[:, gripper.joint_names.index("right_motor")]
    # The bar turns by the angle about y from (0.02, 0.04); the pad's surface stays 0.02 further inwards and the finger upright.
    bar = np.stack([0.02 * np.cos(angle) - 0.04 * np.sin(angle), 0.02 * np.sin(angle) + 0.04 * np.cos(angle)], axis=1)
    assert gripper.opening_width == pytest.approx(2 * (0.03 + bar[:, 0] - 0.02), abs=1e-6)
    assert gripper.fingertip_in_base[:, 1, 2] == pytest.approx(0.05 + bar[:, 1] + 0.035, abs=1e-6)
    finger = gripper.body_names.index("right_finger")
    assert gripper.pose_body_in_base[:, finger, :3, :3] == pytest.approx(np.tile(np.eye(3), (65, 1, 1)), abs=1e-6)
    assert (gripper.joint_effort != 0).sum() == 2 and gripper.joint_effort[gripper.joint_names.index("right_motor")] != 0
    travel = abs(angle[-1] - angle[0])
    assert gripper.grip_force == pytest.approx(2 * 2.0 * travel / (gripper.width - gripper.opening_width[0]), rel=1e-5)
