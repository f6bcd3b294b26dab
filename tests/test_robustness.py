"""The largest force that a held grasp survives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from examples import gripper_by_name
from graspgen_cli.dataset.graspgen_json import read_grasp_file
from graspgen_cli.execution.robustness import LARGEST, add_robustness
from graspgen_cli.execution.rounds import ObjectState, ObjectWork
from graspgen_cli.geometry.collision import ObjectShape
from graspgen_cli.records import GraspBatch, Gripper, Measure, Outcome, TargetObject, TrialState
from graspgen_cli.settings.commands import GraspCommand
from graspgen_cli.settings.models import SimulationSettings
from shapes import box
from test_hard_negatives import run
from test_validate import grasp_at_origin

STEP = LARGEST ** (1 / 32)


class FixedForce:
    """Stands for an engine that has one force for all its trials, so that it cannot be asked for another."""

    def run(self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings) -> TrialState:
        raise AssertionError("asked for another force")


def test_the_score_is_coulombs_force(tmp_path: Path) -> None:
    """Whatever engine the run has. A single pull along the approach, which two pads resist with 2 x 0.5 x the grip force."""
    shape, held = gripper_by_name("franka_panda"), box(0.03, 0.02, 0.02)
    settings = GraspCommand(tug_sequences=((0.5, (0.0, 0.0, 1.0), 1.0),), friction=0.5, object_mass=0.5, robustness=True)
    work = ObjectWork(held, ObjectShape(held), shape, FixedForce(), settings)
    grasps = grasp_at_origin(shape.gripper, count=3)
    outcome = np.array([Outcome.HELD, Outcome.DROPPED, Outcome.HELD], np.int8)
    found = add_robustness(work, ObjectState(replace(grasps, outcome=outcome), 0)).grasps
    score = found.measured[:, Measure.ROBUSTNESS]
    limit = 2 * 0.5 * shape.gripper.grip_force / (0.5 * 9.81)
    assert np.isnan(score[1]) and score[0] == score[2]
    assert limit / STEP * 0.95 < score[0] <= limit * 1.05
    np.testing.assert_array_equal(found.outcome, outcome)


def test_it_goes_into_the_file_where_it_is_asked_for(tmp_path: Path) -> None:
    plain = read_grasp_file(run("validate", tmp_path / "plain"))
    file = run("validate", tmp_path / "scored", "--robustness")
    scored = read_grasp_file(file)
    score = scored.grasps.measured[:, Measure.ROBUSTNESS]
    held = scored.grasps.outcome == Outcome.HELD
    assert (score[held] >= 1.0).all() and (score[held] < LARGEST).all() and np.isnan(score[~held]).all()
    np.testing.assert_array_equal(scored.grasps.outcome, plain.grasps.outcome)
    np.testing.assert_array_equal(scored.grasps.measured[:, :5], plain.grasps.measured[:, :5])
    assert json.loads(file.read_bytes())["provenance"]["robustness"] == {"largest": 32.0, "rounds": 5}
    assert "robustness" not in plain.provenance


def test_no_force_has_no_multiple() -> None:
    with pytest.raises(ValueError, match="robustness needs a force-magnitude above 0"):
        GraspCommand(force_magnitude=0.0, robustness=True)
