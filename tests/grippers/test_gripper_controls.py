"""Two trials whose end is known show that a gripper grips: every built-in one does, and a broken one is refused."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from graspgen_cli.errors import GripperError
from graspgen_cli.execution import gripper_run
from graspgen_cli.execution.gripper_run import run_control_trials
from graspgen_cli.records import GraspBatch, Gripper


def test_a_built_in_gripper_holds_what_is_between_its_pads_and_nothing_beside_them(gripper: Gripper) -> None:
    start = time.perf_counter()
    run_control_trials(gripper)
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize("force", [1.0, 10.0, 1000.0])
def test_weak_and_strong_grippers_pass(panda: Gripper, force: float) -> None:
    factor = force / panda.grip_force
    run_control_trials(
        dataclasses.replace(panda, grip_force=force, joint_effort=panda.joint_effort * factor, joint_damping=panda.joint_damping * factor)
    )


def test_a_gripper_that_opens_instead_of_closing_is_refused(gripper: Gripper) -> None:
    with pytest.raises(GripperError, match="between the pads is not held") as refusal:
        run_control_trials(dataclasses.replace(gripper, joint_effort=-gripper.joint_effort))
    assert "\n" not in str(refusal.value) and gripper.name in str(refusal.value)


def test_fingers_that_are_not_the_ones_that_grip_are_refused(robotiq: Gripper) -> None:
    with pytest.raises(GripperError, match=r"between the pads is not held.*finger_bodies"):
        run_control_trials(dataclasses.replace(robotiq, finger_bodies=("left_outer_link", "right_outer_link")))


def test_a_gripper_too_weak_for_its_word_is_refused(panda: Gripper) -> None:
    with pytest.raises(GripperError, match="between the pads is not held"):
        run_control_trials(dataclasses.replace(panda, joint_effort=panda.joint_effort / 20))


def test_an_opening_that_is_not_there_is_refused(panda: Gripper) -> None:
    with pytest.raises(GripperError, match="overlaps the open gripper"):
        run_control_trials(dataclasses.replace(panda, opening_width=panda.opening_width * 3))


def test_the_box_beside_must_not_be_held(panda: Gripper, monkeypatch: pytest.MonkeyPatch) -> None:
    """With both boxes between the pads, the one that should be beside them is held."""
    grasps = gripper_run._control_grasps

    def both_between(gripper: Gripper) -> GraspBatch:
        return grasps(gripper)[np.array([0, 0])]

    monkeypatch.setattr(gripper_run, "_control_grasps", both_between)
    with pytest.raises(GripperError, match="beside the pads is held instead of dropped"):
        run_control_trials(panda)
