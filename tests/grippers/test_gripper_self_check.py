"""Grippers with which no grasp can be made are refused, each in one line that names the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jaw_models import parallel_jaw

from graspgen_cli.errors import GripperError
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.grippers.self_check import check_gripper
from graspgen_cli.records import Gripper

JAW = parallel_jaw()
FINGERS = "finger_bodies: [left, right]\n"


def checked(folder: Path, model: str, parameters: str) -> None:
    (folder / "jaw.xml").write_text(model)
    (folder / "jaw.yaml").write_text(f"name: jaw\nmodel: jaw.xml\n{parameters}")
    check_gripper(load_gripper(str(folder / "jaw.yaml")))


def with_slides(left: str, right: str) -> str:
    """The jaw with other attributes for its two slides."""
    first = JAW.replace('axis="-1 0 0" range="0 0.03"', left)
    return first.replace('axis="1 0 0" range="0 0.03"', right)


def standing_fingers() -> str:
    """The two slides carry blocks at the sides; the named fingers stand still on the base."""
    still = '<body name="still_a" pos="-.03 0 .1"><geom size=".004"/></body><body name="still_b" pos=".03 0 .1"><geom size=".004"/></body>'
    return parallel_jaw(extra=still)


def test_a_sound_gripper_passes(tmp_path: Path, gripper: Gripper) -> None:
    check_gripper(gripper)
    checked(tmp_path, JAW, FINGERS)
    checked(tmp_path, JAW.replace('range="0 0.03"', 'range="0.005 0.03"'), FINGERS)


NO_MASS = "not a readable MJCF model|MuJoCo cannot compile the model|has mass .* and inertia .*; make them positive"
"""Which of them depends on what MuJoCo checks itself."""
BROKEN = {
    "fingers that do not move": (standing_fingers(), "finger_bodies: [still_a, still_b]\n", "not move|no body is called still_a"),
    "fingers that move the same way": (with_slides('axis="1 0 0" range="0 0.03"', 'axis="1 0 0" range="0 0.03"'), FINGERS, "not move"),
    "fingers that move beside each other": (
        with_slides('axis="0 -1 0" range="0 0.03"', 'axis="0 1 0" range="0 0.03"'),
        FINGERS,
        "never face|beside|never come near|approach axis|overlap",
    ),
    "fingers that never come near each other": (
        JAW.replace('range="0 0.03"', 'range="0.03 0.04"'),
        FINGERS,
        "never come near each other: 60.0 mm of 80.0 mm stay open",
    ),
    "fingers that pass each other": (
        JAW.replace('<body name="left" pos="-0.005 0 ', '<body name="left" pos="-0.005 0.05 '),
        FINGERS,
        "mm beside the other",
    ),
    "a finger behind the other": (JAW.replace('pos="-0.005 0 0.08"', 'pos="-0.005 0 0.03"'), FINGERS, "behind the other|overlap|inside"),
    "fingers that overlap": (
        JAW.replace(
            '<geom type="box" size="0.005 0.01 0.015" mass="0.05"/>',
            '<geom type="box" size="0.005 0.01 0.015" mass="0.05"/><geom type="box" size="0.04 0.004 0.004" pos="0 0 -0.02"/>',
        ),
        FINGERS,
        "overlap|cross each other",
    ),
    "fingertips in the base": (JAW.replace('pos="0 0 0.03"', 'pos="0 0 0.07"'), FINGERS, "inside the base"),
    "a base that reaches beyond the fingertips": (
        parallel_jaw(extra='<geom type="box" size="0.005 0.005 0.08" pos="0 0.04 0.08"/>'),
        FINGERS,
        "beyond the fingertips",
    ),
    "a base that is no root": (JAW, FINGERS + "base_body: left\n", "base|no joint"),
    "a base that is a finger": (JAW, "finger_bodies: [palm, right]\n", "palm|finger bodies right|right bodies"),
    "no mass": (JAW.replace('mass="0.05"', 'mass="0"'), FINGERS, NO_MASS),
    "negative mass": (JAW.replace('mass="0.05"', 'mass="-0.05"'), FINGERS, NO_MASS),
    "negative inertia": (
        JAW.replace('mass="0.05"/>', 'mass="0.05"/><inertial pos="0 0 0" mass="0.1" diaginertia="-1e-4 1e-4 1e-4"/>'),
        FINGERS,
        NO_MASS,
    ),
    "100 m wide": (parallel_jaw(scale=1700), FINGERS, "in metres"),
    "1 mm wide": (parallel_jaw(scale=0.015), FINGERS, "in metres"),
    "a few millimetres deep": (JAW.replace('0 0.08"', '0 -0.008"').replace('pos="0 0 0.03"', 'pos="0 0 -0.08"'), FINGERS, "approach_axis"),
    "an approach axis that points backwards": (JAW, FINGERS + "approach_axis: [0, 0, -1]\n", "approach_axis"),
    "an approach axis along the pads": (JAW, FINGERS + "approach_axis: [0, 1, 0]\n", "approach_axis"),
    "an approach axis along the closing axis": (JAW, FINGERS + "approach_axis: [1, 0, 0]\n", "approach axis|not move towards each other"),
    "a bite behind the base": (JAW, FINGERS + "bite: 0.2\n", "bite of 0.2 m"),
    "numbers that are none": (
        JAW.replace('size="0.005 0.01 0.015"', 'size="nan 0.01 0.015"'),
        FINGERS,
        "not a readable MJCF model|MuJoCo cannot compile the model",
    ),
    "joints without limits": (JAW.replace('range="0 0.03"', ""), FINGERS, "no limit stops"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_gripper_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    model, parameters, complaint = BROKEN[kind]
    with pytest.raises(GripperError, match=complaint) as refusal:
        checked(tmp_path, model, parameters)
    assert "\n" not in str(refusal.value)
    assert "jaw" in str(refusal.value).split(": ")[0]


def test_there_are_a_dozen_kinds() -> None:
    assert len(BROKEN) >= 12


Change = Callable[[Gripper], dict[str, object]]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda g: {"fingertip_in_base": np.repeat(g.fingertip_in_base[-1:], 65, axis=0)}, "do not move"),
        (lambda g: {"opening_width": np.append(g.opening_width[:0:-1], g.width)}, "move apart"),
        (lambda g: {"opening_width": g.opening_width * np.nan}, "opening width is not finite"),
        (lambda g: {"opening_width": g.opening_width * 100}, "opens to 8 m"),
        (lambda g: {"fingertip_in_base": g.fingertip_in_base * 100}, "more than 2 m"),
        (lambda g: {"joint_effort": g.joint_effort * 0}, "no joint drives"),
        (lambda g: {"grip_force": 0.0}, "grip_force"),
        (lambda g: {"base_body": "left_finger"}, "not the root"),
        (lambda g: {"approach_axis_in_base": np.array([0.6, 0.0, 0.8])}, "no approach axis"),
        (lambda g: {"mjcf": g.mjcf.replace("<worldbody>", "<worldbody><wrong/>")}, "cannot compile"),
    ],
)
def test_what_only_a_wrong_measurement_could_give_is_refused_too(panda: Gripper, change: Change, complaint: str) -> None:
    with pytest.raises(GripperError, match=complaint) as refusal:
        check_gripper(dataclasses.replace(panda, **change(panda)))
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith("gripper franka_panda: ")
