"""The largest force that a held grasp survives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fake_simulator
from examples import gripper_by_name
from graspgen_cli.app import main
from graspgen_cli.formats.graspgen_json import read_grasp_file
from graspgen_cli.geometry.collision import ObjectShape
from graspgen_cli.making.extras import LARGEST, ROUNDS, add_robustness
from graspgen_cli.making.rounds import ObjectState, ObjectWork
from graspgen_cli.records import Floats, GraspBatch, Gripper, Measure, Outcome, TargetObject, TrialState
from graspgen_cli.settings.commands import GraspCommand, MakingSettings
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.tables import ENGINES
from graspgen_cli.validate.engine import Backend, Variation
from graspgen_cli.validate.engines.mujoco import MujocoBackend
from graspgen_cli.validate.judge import judge
from shapes import box
from test_hard_negatives import run
from test_validate import grasp_at_origin

STEP = LARGEST ** (1 / 32)


class Counting(MujocoBackend):
    """Notes how many trials each call makes."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.calls: list[int] = []

    def run(
        self,
        gripper: Gripper,
        target: TargetObject,
        grasps: GraspBatch,
        settings: SimulationSettings,
        variation: Variation | None = None,
    ) -> TrialState:
        self.calls.append(len(grasps))
        return super().run(gripper, target, grasps, settings, variation)


def scored(backend: Backend, *, count: int = 3) -> tuple[Floats, float]:
    """(count,) scores of the same grasp, the second of which is said to be dropped, and what Coulomb's law says. A single pull along the
    approach, which two pads resist with 2 x 0.5 x the grip force."""
    shape, held = gripper_by_name("franka_panda"), box(0.03, 0.02, 0.02)
    settings = MakingSettings.of(tug_sequences=((0.5, (0.0, 0.0, 1.0), 1.0),), friction=0.5, object_mass=0.5, robustness=True)
    work = ObjectWork(held, ObjectShape(held), shape, backend, settings)
    outcome = np.array([Outcome.HELD, Outcome.DROPPED, Outcome.HELD], np.int8)[:count]
    grasps = replace(grasp_at_origin(shape.gripper, count=count), outcome=outcome)
    found = add_robustness(work, ObjectState(grasps, 0)).grasps
    np.testing.assert_array_equal(found.outcome, outcome)
    return found.measured[:, Measure.ROBUSTNESS], 2 * 0.5 * shape.gripper.grip_force / (0.5 * 9.81)


def test_the_score_is_coulombs_force() -> None:
    backend = Counting()
    score, limit = scored(backend)
    assert np.isnan(score[1]) and score[0] == score[2]
    assert limit / STEP * 0.95 < score[0] <= limit * 1.05
    assert backend.calls == [2] * ROUNDS


@pytest.mark.slow
def test_the_score_on_warp_is_that_of_the_reference() -> None:
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend

    [[reference], _], [[found], _] = (
        scored(MujocoBackend(threads=1), count=1),
        scored(MujocoWarpBackend(threads=1, device="cpu", worlds=1), count=1),
    )
    assert abs(np.log(found / reference)) < 1.01 * np.log(STEP)


def test_each_trial_has_its_own_force_and_it_is_the_settings_times_its_strength() -> None:
    gripper, backend = gripper_by_name("franka_panda").gripper, MujocoBackend(threads=1)
    settings = SimulationSettings(friction=0.3, max_num_envs=2, steady_motion=0.0)
    grasps, held = grasp_at_origin(gripper, count=3), box(0.03, 0.02, 0.02)
    strength = np.array([1.0, 3.0, 8.0])
    together = backend.run(gripper, held, grasps, settings, Variation.of_tugs(strength))
    for row, times in enumerate(strength):
        alone = backend.run(gripper, held, grasps[:1], settings.model_copy(update={"force_magnitude": times}))
        np.testing.assert_allclose(alone.pose_object_in_gripper[0], together.pose_object_in_gripper[row], atol=1e-9)
    assert (judge(together) == [Outcome.HELD, Outcome.HELD, Outcome.DROPPED]).all()


@pytest.mark.slow
def test_objects_in_the_pipeline_have_the_same_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The force of each trial goes to the simulator's process and back."""
    plain = read_grasp_file(run("validate", tmp_path / "plain", "--robustness")).grasps
    monkeypatch.setitem(ENGINES, "mujoco-warp", fake_simulator.ROW)
    far = read_grasp_file(run("validate", tmp_path / "far", "--robustness", "--backend", "mujoco-warp", "--device", "cpu")).grasps
    np.testing.assert_array_equal(far.measured, plain.measured)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_score_says_by_which_criterion_it_was_found_and_is_found_anew_for_another(tmp_path: Path) -> None:
    """Relabelling brings another criterion; the scores stay, marked as those of the first, until they are asked for again."""
    dataset = ["--grasp-dataset", str(tmp_path / "out"), "--gripper-config", "franka_panda"]
    file = run("validate", tmp_path, "--robustness")
    first = read_grasp_file(file)
    assert main(["relabel", *dataset, "--max-slip", "0.0001"]) == 0
    relabelled = read_grasp_file(file)
    assert relabelled.provenance["robustness"] == {"largest": 32.0, "rounds": 5}
    assert relabelled.provenance["simulation"]["settings"]["max_slip"] == 0.0001
    np.testing.assert_array_equal(relabelled.grasps.measured, first.grasps.measured)
    assert main(["relabel", *dataset]) == 0
    run("fill", tmp_path, "--num-collision-free-grasps", "9")
    plain = read_grasp_file(file)
    assert plain.provenance["robustness"] == {"largest": 32.0, "rounds": 5}
    assert np.isnan(plain.grasps.measured[:, Measure.ROBUSTNESS]).sum() > np.isnan(first.grasps.measured[:, Measure.ROBUSTNESS]).sum()
    run("fill", tmp_path, "--num-collision-free-grasps", "10", "--robustness", "--max-slip", "0.002")
    stricter = read_grasp_file(file)
    assert stricter.provenance["robustness"] == {"largest": 32.0, "rounds": 5, "max_slip": 0.002}
    held, rows = stricter.grasps.outcome == Outcome.HELD, slice(0, len(first.grasps))
    score, before = stricter.grasps.measured[:, Measure.ROBUSTNESS], first.grasps.measured[:, Measure.ROBUSTNESS]
    assert not np.isnan(score[held]).any()
    both = ~np.isnan(before) & held[rows]
    assert (score[rows][both] <= before[both]).all() and (score[rows][both] < before[both]).any()


def test_no_force_has_no_multiple() -> None:
    with pytest.raises(ValueError, match="robustness needs a force-magnitude above 0"):
        GraspCommand.of(force_magnitude=0.0, robustness=True)
