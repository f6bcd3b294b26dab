"""Trials whose end is known show that a gripper grips: every built-in one does, and a broken one is refused."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from examples import OBJECTS
from graspgen_cli.app import main
from graspgen_cli.errors import ExitCode, GripperError
from graspgen_cli.files import default_cache
from graspgen_cli.geometry.poses import transform_points
from graspgen_cli.making import controls
from graspgen_cli.making.controls import require_controls, run_control_trials
from graspgen_cli.records import Gripper
from graspgen_cli.settings.trials import SimulationSettings


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


def test_the_box_beside_must_not_be_held(panda: Gripper) -> None:
    """A record that says that its pads end as far on the other side as the gripper reaches: the box that should be beside the pads is
    between them."""
    across = np.cross(panda.approach_axis_in_base, panda.closing_axis_in_base)
    placed = zip(panda.pose_body_in_base[-1], panda.collision_parts, strict=True)
    reach = max(float((transform_points(pose, part.vertices) @ across).max()) for pose, parts in placed for part in parts)
    with pytest.raises(GripperError, match="beside the pads is held instead of dropped"):
        run_control_trials(dataclasses.replace(panda, pad_size=np.array([panda.pad_size[0], -reach])))


@pytest.mark.parametrize("fps", [250, *(pytest.param(fps, marks=pytest.mark.slow) for fps in (100, 1000))])
def test_every_built_in_gripper_passes_all_controls(gripper: Gripper, fps: int) -> None:
    start = time.perf_counter()
    run_control_trials(gripper, SimulationSettings(fps=fps), basic=False)
    assert time.perf_counter() - start < 2.0


def changed(control: controls.Control, **values: object) -> controls.Control:
    return dataclasses.replace(control, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "values", "told"),
    [
        (2, {"pressing": 1}, "closes empty, ends with 0 fingers pressing instead of 1"),
        (3, {"pressing": 2}, "one finger alone meets ends with 1 fingers pressing instead of 2"),
        (4, {"lost_in": 0}, "too heavy for the grip is lost in tug 1 instead of while the grip closes"),
        (5, {"lost_in": 1}, "that the last tug alone can pull out is lost in tug 3 instead of in tug 1"),
    ],
)
def test_each_bad_trial_has_an_end_of_its_own(
    panda: Gripper, monkeypatch: pytest.MonkeyPatch, number: int, values: dict[str, object], told: str
) -> None:
    """What is told of a trial from which another end was expected is how it really ended."""
    usual = controls.controls

    def one_wrong(gripper: Gripper, settings: SimulationSettings) -> list[controls.Control]:
        return [changed(each, **values) if i == number else each for i, each in enumerate(usual(gripper, settings))]

    monkeypatch.setattr(controls, "controls", one_wrong)
    with pytest.raises(GripperError, match=told) as refusal:
        run_control_trials(panda, basic=False)
    assert "\n" not in str(refusal.value)


def test_a_grip_that_is_half_as_strong_as_it_says_is_found(panda: Gripper) -> None:
    """The box between the pads is light enough; only the trial that one tug alone should end shows it."""
    run_control_trials(dataclasses.replace(panda, joint_effort=panda.joint_effort / 2.2))
    with pytest.raises(GripperError, match=r"last tug alone .*lost in tug 2 instead of in tug 3"):
        run_control_trials(dataclasses.replace(panda, joint_effort=panda.joint_effort / 2.2), basic=False)


def test_too_little_time_to_close_stops_the_run(panda: Gripper) -> None:
    with pytest.raises(GripperError, match="control trial failed"):
        run_control_trials(panda, SimulationSettings(initial_grasp_duration=0.02))


def test_what_passed_once_is_not_tried_again_and_what_failed_is(panda: Gripper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that went well leaves a file."""
    monkeypatch.setenv("GRASPGEN_CACHE_DIR", str(default_cache() / "once"))

    def known() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (default_cache() / "controls").iterdir()}

    require_controls(panda, SimulationSettings(object_mass=1.0))
    first = known()
    require_controls(panda, SimulationSettings(object_mass=2.0))  # what the run tries does not matter
    assert known() == first and len(first) == 1
    require_controls(panda, SimulationSettings(fps=500))
    assert len(known()) == 2
    broken = dataclasses.replace(panda, content_hash="broken", joint_effort=-panda.joint_effort)
    for _ in range(2):
        with pytest.raises(GripperError, match="--do-not-run-controls"):
            require_controls(broken, SimulationSettings())
    assert len(known()) == 2


def test_a_run_stops_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scales = tmp_path / "scales.json"
    scales.write_text('{"box.stl": 1.0}')
    arguments = [
        "validate",
        "--object-scales-json",
        str(scales),
        "--object-dataset",
        str(OBJECTS),
        "--grasp-dataset",
        str(tmp_path / "out"),
    ]
    assert main([*arguments, "--initial-grasp-duration", "0.02", "--workers", "1"]) == ExitCode.BAD_INPUT
    told = capsys.readouterr().err.strip()
    assert "control trial failed" in told and "\n" not in told and not (tmp_path / "out").exists()
