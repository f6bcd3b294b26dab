"""Randomised physics: what is drawn, that both engines simulate it, and what becomes of the label."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import orjson
import pytest
import trimesh
from mujoco import batch

from backend_contract import grasps_at_origin
from examples import gripper_by_name
from graspgen_cli.app import main
from graspgen_cli.dataset.object_map import write_object_map
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.dataset.provenance import StepRecord, simulation_record
from graspgen_cli.formats.graspgen_json import encode, read_grasp_file
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import GraspBatch, Gripper, Measure, Outcome, TargetObject, TrialState
from graspgen_cli.settings.trials import JudgeSettings, RandomizationSettings, SimulationSettings
from graspgen_cli.validate.engine import Backend, Variation, make_backend, rows
from graspgen_cli.validate.engines.mujoco import varied_fields, vary
from graspgen_cli.validate.engines.mujoco_warp.packing import FIELDS_OF_TRIALS
from graspgen_cli.validate.judge import Rejudging, judge
from graspgen_cli.validate.scene import build_scene
from graspgen_cli.validate.trials import drawn_trials, nominal_rows, run_trials
from made_datasets import GRIPPER, OFFSET, grasp_dataset
from shapes import box

SETTINGS = SimulationSettings()
TARGET = box(0.03, 0.02, 0.02, (0.01, 0.0, 0.02))
DRAWS = RandomizationSettings(randomize=True, randomize_draws=5)
NOTHING = RandomizationSettings(
    randomize=True,
    randomize_draws=1,
    randomize_friction=(1.0, 1.0),
    randomize_mass=(1.0, 1.0),
    randomize_center_of_mass=0.0,
    randomize_position=0.0,
    randomize_rotation=0.0,
    randomize_grip_force=(1.0, 1.0),
)
"""Ranges of no width: every draw is the trial as it is."""
KNOWN = [measure for measure in Measure if measure is not Measure.HELD_FRACTION]


@pytest.fixture
def panda(gripper_shape: Callable[[str], GripperShape]) -> Gripper:
    return gripper_shape("franka_panda").gripper


def nominal(count: int) -> Variation:
    return Variation.of_tugs(np.ones(count))


def on_target(gripper: Gripper, count: int = 6) -> GraspBatch:
    """Grasps of TARGET along the pads; the last ones miss it."""
    near = grasps_at_origin(gripper, count=count)
    return replace(near, pose_gripper_in_object=pose(np.eye(3), TARGET.center_of_mass) @ near.pose_gripper_in_object)


# --- what is drawn ----------------------------------------------------------------------------------------------------------------


def numbers(grasps: GraspBatch, variation: Variation) -> np.ndarray:
    columns = [variation.friction, variation.mass, variation.grip_force, variation.center_offset]
    return np.column_stack([grasps.pose_gripper_in_object.reshape(len(grasps), 16), *columns])


def test_a_draw_depends_on_seed_object_and_grasp_alone(panda: Gripper) -> None:
    grasps = on_target(panda)
    drawn = numbers(*drawn_trials(panda, "a.obj", grasps, DRAWS)).reshape(6, 6, -1)
    backwards = numbers(*drawn_trials(panda, "a.obj", grasps[np.arange(6)[::-1]], DRAWS)).reshape(6, 6, -1)
    np.testing.assert_array_equal(drawn, backwards[::-1])
    more = numbers(*drawn_trials(panda, "a.obj", grasps[2:3], DRAWS.model_copy(update={"randomize_draws": 9})))
    np.testing.assert_array_equal(drawn[2], more[:6])
    for other in (drawn_trials(panda, "b.obj", grasps, DRAWS), drawn_trials(panda, "a.obj", grasps, DRAWS.model_copy(update={"seed": 1}))):
        assert (numbers(*other).reshape(6, 6, -1)[:, 1:, 16:] != drawn[:, 1:, 16:]).all()


def test_draws_keep_within_their_ranges_and_fill_them(panda: Gripper) -> None:
    settings = RandomizationSettings(
        randomize_draws=400, randomize_friction=(0.5, 0.9), randomize_mass=(1.0, 3.0), randomize_grip_force=(0.7, 0.8)
    )
    grasps = on_target(panda, 3)
    trials, drawn = drawn_trials(panda, "a.obj", grasps, settings)
    first = nominal_rows(3, settings)
    np.testing.assert_array_equal(trials.pose_gripper_in_object[first], grasps.pose_gripper_in_object)
    assert (numbers(trials, drawn)[first, 16:] == [1, 1, 1, 0, 0, 0]).all()
    rest = np.setdiff1d(np.arange(len(trials)), first)
    for values, low, high in ((drawn.friction, 0.5, 0.9), (drawn.mass, 1.0, 3.0), (drawn.grip_force, 0.7, 0.8)):
        assert low <= values[rest].min() < low + 0.02 * (high - low) and high - 0.02 * (high - low) < values[rest].max() <= high
    assert 0.0049 < np.abs(drawn.center_offset).max() <= 0.005
    np.testing.assert_allclose(drawn.center_offset[rest].mean(axis=0), 0.0, atol=3e-4)


def test_the_gripper_moves_about_the_middle_between_its_pads(panda: Gripper) -> None:
    settings = RandomizationSettings(randomize_draws=600, randomize_position=0.002, randomize_rotation=0.05)
    grasp = on_target(panda, 1)
    trials, _ = drawn_trials(panda, "a.obj", grasp, settings)
    center = panda.grip_center(panda.nearest_opening(trials.opening_width))
    at = np.einsum("nij,nj->ni", trials.pose_gripper_in_object[:, :3, :3], center) + trials.pose_gripper_in_object[:, :3, 3]
    turned = grasp.pose_gripper_in_object[0, :3, :3].T @ trials.pose_gripper_in_object[1:, :3, :3]
    np.testing.assert_allclose((at[1:] - at[0]).std(axis=0), 0.002, rtol=0.1)
    np.testing.assert_allclose(turned[:, [2, 0, 1], [1, 2, 0]].std(axis=0), 0.05, rtol=0.1)


# --- what is simulated ------------------------------------------------------------------------------------------------------------


def test_a_varied_simulation_is_that_of_a_scene_built_so(panda: Gripper) -> None:
    """Every field that a GPU gets is what the compiler makes of an object of that mass and friction."""
    variation = Variation(np.array([1.0, 0.5]), np.array([1.0, 3.0]), np.ones(2), np.ones(2), np.zeros((2, 3)))
    scene = build_scene(panda, TARGET, SETTINGS)
    built = build_scene(panda, TARGET, SETTINGS.model_copy(update={"friction": 0.5, "object_mass": 3.0}))
    fields = varied_fields(scene, variation, FIELDS_OF_TRIALS)
    derived = {"body_invweight0", "dof_invweight0", "body_subtreemass"}
    assert {"geom_friction", "body_mass", "body_inertia", "body_ipos"} | derived <= set(fields)
    for name, values in fields.items():
        np.testing.assert_array_equal(values[0], getattr(scene.model, name), err_msg=name)
        if name != "geom_friction":
            np.testing.assert_allclose(values[1], getattr(built.model, name), rtol=1e-9, err_msg=name)
    pieces = scene.model.geom_bodyid == scene.object_body
    np.testing.assert_allclose(fields["geom_friction"][1][pieces, 0], 0.5)
    np.testing.assert_array_equal(fields["geom_friction"][1][~pieces], scene.model.geom_friction[~pieces])


@pytest.mark.parametrize("target", [TARGET, box(0.04, 0.03, 0.02), box(0.02, 0.03, 0.04)], ids=["turned", "descending", "ascending"])
def test_the_centre_of_mass_moves_in_the_objects_axes(panda: Gripper, target: TargetObject) -> None:
    """Also that of a body whose axes of inertia are those of its frame, of which the engine assumes more."""
    scene = build_scene(panda, target, SETTINGS)
    simulations = batch.Batch(scene.model, 2, nthread=1)
    vary(simulations, scene, replace(nominal(2), center_offset=np.array([[0.0, 0, 0], [0.001, -0.002, 0.003]])))
    data = mujoco.MjData(scene.model)
    mujoco.mj_forward(simulations.get_model(1), data)
    axes = data.xmat[scene.object_body].reshape(3, 3) @ scene.pose_object_in_body[:3, :3]
    moved = axes.T @ (data.xipos[scene.object_body] - data.xpos[scene.object_body])
    np.testing.assert_allclose(moved, [0.001, -0.002, 0.003], atol=1e-12)


def state_bytes(state: TrialState) -> list[bytes]:
    return [np.ascontiguousarray(getattr(state, name)).tobytes() for name in TrialState.__dataclass_fields__]


def check_engine(backend: Backend, gripper: Gripper) -> None:
    """What a variation of nothing leaves as it is, bit by bit, and that each part of it counts."""
    grasps = on_target(gripper)
    plain = backend.run(gripper, TARGET, grasps, SETTINGS)
    # A seventh trial differs, so that all of them go the way of those that do.
    beside = replace(nominal(7), friction=np.array([1.0] * 6 + [0.5]))
    seven = backend.run(gripper, TARGET, GraspBatch.join([grasps, grasps[:1]]), SETTINGS, beside)
    assert state_bytes(rows(seven, np.arange(6))) == state_bytes(plain)
    assert state_bytes(backend.run(gripper, TARGET, grasps, SETTINGS, nominal(6))) == state_bytes(plain)
    check_that_all_counts(backend, gripper)


def check_that_all_counts(backend: Backend, gripper: Gripper) -> None:
    """By Coulomb's law: two pads resist 2 x friction x grip force. The tug of 0.7 times that would need twice the force, half the
    friction or half the grip."""
    grasps = on_target(gripper)[np.zeros(8, np.intp)]
    settings = SimulationSettings(
        friction=0.5, tug_sequences=((0.5, (0.0, 0.0, 1.0), 1.0),), force_magnitude=0.7 * 2 * 0.5 * gripper.grip_force / 9.81
    )
    halved = np.array([1.0, 0.5])
    variation = replace(
        nominal(8),
        friction=np.concatenate([halved, np.ones(6)]),
        mass=np.concatenate([np.ones(2), 1 / halved, np.ones(4)]),
        grip_force=np.concatenate([np.ones(4), halved, np.ones(2)]),
        tug_force=np.concatenate([np.ones(6), 1 / halved]),
    )
    state = backend.run(gripper, TARGET, grasps, settings, variation)
    held, dropped = Outcome.HELD, Outcome.DROPPED
    assert (judge(backend.run(gripper, TARGET, grasps, settings)) == held).all(), "the next trials are as usual"
    np.testing.assert_array_equal(judge(state), [held, dropped, held, dropped, held, dropped, held, dropped])


def test_the_reference_engine_simulates_what_varies(panda: Gripper) -> None:
    check_engine(make_backend("mujoco", threads=2), panda)


@pytest.mark.slow
def test_so_does_the_gpu_engine() -> None:
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend

    check_engine(MujocoWarpBackend(threads=1, device="cpu", worlds=8), gripper_by_name("franka_panda").gripper)


@pytest.mark.parametrize("max_num_envs", [0, 4])
def test_trials_do_not_depend_on_how_many_run_at_once(panda: Gripper, max_num_envs: int) -> None:
    trials, variation = drawn_trials(panda, "a.obj", on_target(panda, 3), DRAWS)
    settings = SETTINGS.model_copy(update={"max_num_envs": max_num_envs})
    together = make_backend("mujoco", threads=2).run(panda, TARGET, trials, settings, variation)
    for row in (0, 7, 17):
        alone = make_backend("mujoco", threads=1).run(panda, TARGET, trials[row : row + 1], SETTINGS, variation[slice(row, row + 1)])
        np.testing.assert_array_equal(together.pose_object_in_gripper[row], alone.pose_object_in_gripper[0])


# --- what becomes of the label ----------------------------------------------------------------------------------------------------


def run(gripper: Gripper, randomization: RandomizationSettings | None, target: TargetObject = TARGET) -> GraspBatch:
    backend, grasps = make_backend("mujoco", threads=2), on_target(gripper, 8)
    return run_trials(backend, gripper, target, grasps, SETTINGS, randomization=randomization).grasps


def test_ranges_of_no_width_change_nothing(panda: Gripper) -> None:
    plain, drawn = run(panda, None), run(panda, NOTHING)
    assert plain.outcome.tobytes() == drawn.outcome.tobytes() and len(set(plain.outcome.tolist())) == 2
    assert plain.measured[:, KNOWN].tobytes() == drawn.measured[:, KNOWN].tobytes()
    np.testing.assert_array_equal(drawn.measured[:, Measure.HELD_FRACTION], plain.outcome == Outcome.HELD)
    off = run(panda, DRAWS.model_copy(update={"randomize": False}))
    assert off.measured.tobytes() == plain.measured.tobytes() and off.outcome.tobytes() == plain.outcome.tobytes()


def test_the_share_that_held_is_kept_and_its_threshold_is_the_label(panda: Gripper) -> None:
    wide = DRAWS.model_copy(update={"randomize_position": 0.01, "randomize_draws": 8})
    plain, drawn = run(panda, None), run(panda, wide)
    fraction = drawn.measured[:, Measure.HELD_FRACTION]
    assert ((fraction > 0) & (fraction < 1)).any() and np.isin(fraction * 8, np.arange(9)).all()
    np.testing.assert_array_equal(drawn.outcome == Outcome.HELD, fraction >= 0.5)
    np.testing.assert_array_equal(drawn.measured[:, KNOWN], plain.measured[:, KNOWN])
    strict = run(panda, wide.model_copy(update={"randomize_threshold": 1.0}))
    np.testing.assert_array_equal(strict.measured, drawn.measured)
    np.testing.assert_array_equal(strict.outcome == Outcome.HELD, fraction == 1)


def test_what_diverges_as_it_is_stays_unstable(panda: Gripper) -> None:
    settings = SimulationSettings(force_magnitude=1e300)
    backend = make_backend("mujoco", threads=1)
    grasps = run_trials(backend, panda, TARGET, on_target(panda, 1), settings, randomization=DRAWS).grasps
    assert grasps.outcome[0] == Outcome.UNSTABLE and grasps.measured[0, Measure.HELD_FRACTION] == 0


def test_the_record_of_randomised_trials_gives_the_settings_back() -> None:
    drawn = RandomizationSettings(randomize=True, randomize_friction=(0.5, 1.5), randomize_draws=3, seed=11)
    made: dict[str, Any] = {"object_digest": "o", "gripper_digest": "g", "settings": SETTINGS, "backend": "mujoco"}
    record = simulation_record(**made, randomization=drawn)
    found = StepRecord.parse(orjson.loads(orjson.dumps(record.document())))
    assert found is not None and found.randomization() == drawn
    usual = simulation_record(**made, randomization=RandomizationSettings(seed=11))
    assert usual.randomization() is None and not any("randomize" in name for name in usual.settings)


def drawn_dataset(root: Path) -> Path:
    """Six grasps that held in 0/5 to 5/5 of their draws, a collision and an untested one, judged with a limit on slip."""
    made = grasp_dataset("mug.obj")
    quality = np.full((8, len(Measure)), np.nan)
    quality[:6, Measure.SMALLEST_FORCE], quality[:6, Measure.HELD_FRACTION] = 1.0, np.arange(6) / 5
    outcome = np.array([3, 3, 3, 1, 1, 1, 2, 0], np.int8)
    record = simulation_record(
        object_digest="o",
        gripper_digest="g",
        settings=SETTINGS,
        backend="mujoco",
        criterion=JudgeSettings(max_slip=0.005),
        randomization=RandomizationSettings(randomize=True),
    )
    paths = DatasetPaths(root, GRIPPER)
    paths.grasps.mkdir(parents=True)
    file = paths.grasps / "mug.1.0.grasps.json"
    grasps = replace(made.grasps, quality=quality, outcome=outcome)
    file.write_bytes(encode(replace(made, grasps=grasps, provenance={"simulation": record.document()}), OFFSET))
    write_object_map(paths, {"mug.obj": file.name})
    return file


def test_relabel_takes_another_threshold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = drawn_dataset(tmp_path)
    before = file.read_bytes()
    same = ["--max-slip", "0.005", "--quiet"]
    assert main(["relabel", str(tmp_path), *same, "--randomize-threshold", "0.8"]) == 0
    assert read_grasp_file(file).grasps.outcome.tolist() == [3, 3, 3, 3, 1, 1, 2, 0]
    assert orjson.loads(file.read_bytes())["provenance"]["simulation"]["settings"]["randomize_threshold"] == 0.8
    assert main(["relabel", str(tmp_path), *same]) == 0
    assert file.read_bytes() == before


def test_the_share_says_nothing_of_another_criterion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = drawn_dataset(tmp_path)
    before = file.read_bytes()
    assert main(["relabel", str(tmp_path), "--max-slip", "0.002", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["objects"]
    assert found["without_numbers"] == 6 and found["changed"] == 0 and file.read_bytes() == before


def test_a_held_fraction_needs_no_other_number() -> None:
    quality = np.full((2, len(Measure)), np.nan)
    quality[:, Measure.HELD_FRACTION] = [0.4, 0.6]
    quality[:, Measure.LOSS_TIME] = [np.nan, 1.0]
    again = Rejudging(JudgeSettings()).judge(np.array([1, 3], np.int8), quality)
    np.testing.assert_array_equal(again, [Outcome.DROPPED, Outcome.HELD])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--randomize-friction", "[1.2, 0.8]"], "randomize-friction"),
        (["--randomize-mass", "[0, 1]"], "randomize-mass"),
        (["--randomize-draws", "0"], "randomize-draws"),
        (["--randomize-threshold", "1.5"], "randomize-threshold"),
    ],
)
def test_wrong_settings_are_one_line(flags: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--grasp-dataset", str(tmp_path), *flags]) == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error


@pytest.mark.slow
def test_replay_shows_the_grasp_as_it_is_and_each_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file's share is that of its draws, tried again one by one; without a draw the trial is that of the file's other numbers."""
    trimesh.creation.box((0.02, 0.03, 0.04)).export(tmp_path / "box.obj")
    (tmp_path / "list.json").write_text('{"box.obj": 1.0}')
    where = ["--object-scales-json", str(tmp_path / "list.json"), "--object-dataset", str(tmp_path), "--gripper-config", "franka_panda"]
    flags = ["--randomize", "--randomize-draws", "3", "--randomize-position", "0.008", "--fps", "100", "--backend", "mujoco"]
    quotas = ["--num-collision-free-grasps", "4", "--num-colliding-grasps", "0", "--friction", "0.2", "--max-slip", "0.01"]
    assert main(["validate", *where, *quotas, *flags, "--workers", "1", "--grasp-dataset", str(tmp_path / "out"), "--quiet"]) == 0
    [file] = (tmp_path / "out").rglob("*.grasps.json")
    capsys.readouterr()
    fraction = read_grasp_file(file).grasps.measured[:, Measure.HELD_FRACTION]
    mixed = np.flatnonzero((fraction > 0) & (fraction < 1))

    def replay(row: int, *more: str) -> str:
        assert main(["replay", str(file), *where, "--grasp", str(row), "--json", *more]) == 0
        output, errors = capsys.readouterr()
        assert "randomised draws" in errors
        return str(json.loads(output)["outcome"])

    for row in map(int, mixed[:2]):
        held = [replay(row, "--draw", str(draw)) == "held" for draw in (1, 2, 3)]
        assert np.mean(held) == pytest.approx(fraction[row], abs=1e-6)
        replay(row)
    assert len(mixed)
    assert main(["replay", str(file), *where, "--draw", "4"]) != 0
    assert "there is no draw 4" in capsys.readouterr().err
