"""When a grasp counts as held, judged at once and again from what the file holds."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from graspgen_cli.app import main
from graspgen_cli.dataset.object_map import write_object_map
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.dataset.provenance import StepRecord, digest, simulation_record
from graspgen_cli.formats.graspgen_json import encode, read_grasp_file
from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import Floats, Measure, Outcome, TrialState
from graspgen_cli.settings.trials import JudgeSettings, SimulationSettings
from graspgen_cli.validate.engine import make_backend
from graspgen_cli.validate.judge import Rejudging, judge, measures
from made_datasets import GRIPPER, OFFSET, grasp_dataset
from shapes import box
from test_validate import grasp_at_origin

HELD, COLLISION, DROPPED, UNSTABLE, UNVALIDATED = (
    Outcome.HELD, Outcome.COLLISION, Outcome.DROPPED, Outcome.UNSTABLE, Outcome.UNVALIDATED,
)  # fmt: skip
CRITERIA = (
    JudgeSettings(),
    JudgeSettings(max_slip=0.001),
    JudgeSettings(max_turn=1.0),
    JudgeSettings(min_contact_force=50.0),
    JudgeSettings(still=0.000048),
    JudgeSettings(max_penetration=0.0003),
    JudgeSettings(max_slip=0.002, max_turn=3.0, min_contact_force=1.0, still=0.001),
)


def row(
    *, slip: float = 0.001, turn: float = 0.01, force: float = 5.0, lost: float = np.nan, motion: float = 0.0001, overlap: float = 0.0005
) -> list[float]:
    values = [np.nan] * len(Measure)
    values[: Measure.MOTION + 1] = [slip, turn, force, lost, motion]
    values[Measure.PENETRATION] = overlap
    return values


def judged_again(outcome: NDArray[np.int8], quality: Floats, criterion: JudgeSettings) -> NDArray[np.int8]:
    return Rejudging(criterion).judge(outcome, quality)


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (JudgeSettings(), [HELD, HELD, HELD, HELD, HELD, DROPPED]),
        (JudgeSettings(max_slip=0.005), [HELD, DROPPED, HELD, HELD, HELD, DROPPED]),
        (JudgeSettings(max_turn=5.0), [HELD, HELD, DROPPED, HELD, HELD, DROPPED]),
        (JudgeSettings(min_contact_force=1e-9), [HELD, HELD, HELD, DROPPED, HELD, DROPPED]),
        (JudgeSettings(still=0.001), [HELD, HELD, HELD, HELD, DROPPED, DROPPED]),
        (JudgeSettings(max_penetration=0.0004), [DROPPED] * 6),
        (JudgeSettings(max_slip=0.005, max_turn=5.0, still=0.001), [HELD, DROPPED, DROPPED, HELD, DROPPED, DROPPED]),
    ],
)
def test_each_limit_drops_what_is_beyond_it(criterion: JudgeSettings, expected: list[Outcome]) -> None:
    quality = np.array([row(), row(slip=0.006), row(turn=0.1), row(force=0.0), row(motion=0.002), row(lost=1.3)])
    again = judged_again(np.full(6, DROPPED, np.int8), quality, criterion)
    np.testing.assert_array_equal(again, expected)


def test_a_limit_that_is_just_met_is_met() -> None:
    quality = np.array([row(slip=0.005)])
    assert judged_again(np.array([HELD], np.int8), quality, JudgeSettings(max_slip=0.005))[0] == HELD


def test_what_lacks_the_number_that_a_limit_needs_stays_as_it_is() -> None:
    """Files that were made before the overlap was measured."""
    quality = np.array([row(overlap=0.002), row(overlap=np.nan), row(overlap=0.0001)])
    again = judged_again(np.full(3, HELD, np.int8), quality, JudgeSettings(max_penetration=0.001))
    np.testing.assert_array_equal(again, [DROPPED, HELD, HELD])
    np.testing.assert_array_equal(judged_again(np.full(3, HELD, np.int8), quality, JudgeSettings(max_slip=0.0001)), [DROPPED] * 3)


def test_what_was_not_judged_by_a_trial_stays_as_it_is() -> None:
    outcome = np.array([COLLISION, UNVALIDATED, UNSTABLE, HELD, DROPPED], np.int8)
    quality = np.array([row(slip=1.0), row(slip=1.0), row(slip=1.0), [np.nan] * len(Measure), [np.nan] * len(Measure)])
    np.testing.assert_array_equal(judged_again(outcome, quality, JudgeSettings(max_slip=0.001)), outcome)


@pytest.fixture(scope="module")
def trials() -> TrialState:
    """Forty trials near the good grasp of a box, some of which slide and turn."""
    from examples import gripper_by_name

    gripper = gripper_by_name("franka_panda").gripper
    rng = np.random.Generator(np.random.Philox(5))
    start = grasp_at_origin(gripper, count=40)
    moved = start.pose_gripper_in_object @ pose(np.eye(3), rng.normal(0, 0.008, (40, 3)))
    settings = SimulationSettings(friction=0.5, object_mass=5.0)
    return make_backend("mujoco", threads=2).run(gripper, box(0.03, 0.02, 0.04), replace(start, pose_gripper_in_object=moved), settings)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_numbers_give_the_label_of_the_trial(trials: TrialState, criterion: JudgeSettings) -> None:
    first = judge(trials)
    now = judge(trials, criterion)
    np.testing.assert_array_equal(judged_again(first, measures(trials), criterion), now)
    np.testing.assert_array_equal(judged_again(now, measures(trials), JudgeSettings()), first)


def test_the_criteria_of_these_tests_tell_trials_apart(trials: TrialState) -> None:
    held = [int((judge(trials, criterion) == HELD).sum()) for criterion in CRITERIA]
    assert held[0] > 10 and all(0 < count < held[0] for count in held[1:])


def test_the_record_of_relabelled_trials_is_that_of_trials_judged_so() -> None:
    def record(**limits: float) -> StepRecord:
        criterion = JudgeSettings(**limits)
        return simulation_record(
            object_digest="o", gripper_digest="g", settings=SimulationSettings(), backend="mujoco", criterion=criterion
        )

    plain, strict = record(), record(max_slip=0.005)
    assert "max_slip" not in plain.settings and strict.settings["max_slip"] == 0.005
    assert plain.judged_by(JudgeSettings(max_slip=0.005)) == strict
    assert strict.judged_by(JudgeSettings()) == plain
    assert plain.digest == digest({key: value for key, value in plain.document().items() if key != "digest"})


def measured_dataset(root: Path) -> Path:
    """Six held grasps that slid 1 to 6 mm, a collision and a dropped one."""
    made = grasp_dataset("mug.obj")
    quality = np.array([*(row(slip=0.001 * (i + 1)) for i in range(6)), [np.nan] * len(Measure), row(lost=1.2, force=0.0)])
    record = simulation_record(object_digest="o", gripper_digest="g", settings=SimulationSettings(), backend="mujoco")
    provenance = {**made.provenance, "simulation": record.document()}
    paths = DatasetPaths(root, GRIPPER)
    paths.grasps.mkdir(parents=True)
    file = paths.grasps / "mug.1.0.grasps.json"
    content = encode(replace(made, grasps=replace(made.grasps, quality=quality), provenance=provenance), OFFSET, beside={"note": "mine"})
    file.write_bytes(content)
    write_object_map(paths, {"mug.obj": file.name})
    return file


def test_relabel_changes_labels_flags_and_record_and_can_be_undone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = measured_dataset(tmp_path)
    before = file.read_bytes()
    assert main(["relabel", str(tmp_path), "--max-slip", "0.0035", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["objects"]
    assert found == {"object_id": "mug.obj", "held_before": 6, "held": 3, "changed": 3, "without_numbers": 0, "file": file.name}
    document = orjson.loads(file.read_bytes())
    assert document["grasps"]["object_in_gripper"] == [True] * 3 + [False] * 5
    assert document["grasps"]["outcome"][3:] == ["dropped"] * 3 + ["collision", "dropped"]
    assert document["provenance"]["simulation"]["settings"]["max_slip"] == 0.0035 and document["note"] == "mine"
    assert main(["relabel", str(tmp_path), "--quiet"]) == 0
    assert file.read_bytes() == before


def test_relabel_by_the_same_criterion_writes_nothing(tmp_path: Path) -> None:
    file = measured_dataset(tmp_path)
    stamp = file.stat().st_mtime_ns
    assert main(["relabel", str(tmp_path), "--quiet"]) == 0
    assert file.stat().st_mtime_ns == stamp


def test_grasps_without_numbers_keep_their_labels_and_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = measured_dataset(tmp_path)
    file.write_bytes(encode(grasp_dataset("mug.obj"), OFFSET))
    content = file.read_bytes()
    assert main(["relabel", str(tmp_path), "--max-slip", "0.0001", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "mug.1.0.grasps.json: 7 grasps lack the numbers" in said and file.read_bytes() == content


def test_a_file_of_before_the_overlap_was_measured_is_named_and_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = measured_dataset(tmp_path)
    read = read_grasp_file(file)
    quality = read.grasps.measured.copy()
    quality[:, Measure.PENETRATION] = np.nan
    file.write_bytes(encode(replace(read, grasps=replace(read.grasps, quality=quality)), OFFSET))
    content = file.read_bytes()
    assert main(["relabel", str(tmp_path), "--max-penetration", "0.0001", "--quiet"]) == 0
    assert "mug.1.0.grasps.json: 7 grasps lack the numbers" in capsys.readouterr().out and file.read_bytes() == content


def test_a_damaged_file_is_named_and_the_others_are_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = measured_dataset(tmp_path)
    shutil.copy(file, file.with_name("cup.1.0.grasps.json"))
    file.with_name("cup.1.0.grasps.json").write_bytes(file.read_bytes().replace(b"mug.obj", b"cup.obj"))
    write_object_map(DatasetPaths(tmp_path, GRIPPER), {"mug.obj": file.name, "cup.obj": "cup.1.0.grasps.json"})
    assert main(["relabel", str(tmp_path), "--max-slip", "0.0035", "--quiet"]) == 1
    assert "cup.1.0.grasps.json: damaged" in capsys.readouterr().err
    assert read_grasp_file(file).grasps.count(Outcome.HELD) == 3


def test_no_dataset_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["relabel", str(tmp_path / "none")]) == 3
    assert "no grasp files" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flag", [["--max-penetration", "0"], ["--max-slip", "0"], ["--max-turn", "200"], ["--min-contact-force", "-1"], ["--still", "x"]]
)
def test_a_limit_that_is_none_is_refused(flag: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["relabel", str(tmp_path), *flag]) == 2
    assert flag[0] in capsys.readouterr().err
