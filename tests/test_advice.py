"""Every command line that the tool prints runs as printed: hints after `next:`, and commands in backticks in notes and errors."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from examples import OBJECTS
from graspgen_cli.app import main
from graspgen_cli.errors import ExitCode
from made_datasets import signed
from stand_in_checkout import make_checkout, make_run

Streams = pytest.CaptureFixture[str]
Run = Callable[..., list[str]]
GRIPPER = "franka_panda"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Streams) -> Run:
    """Runs graspgen in a folder with a list of one object, and returns the command lines that it printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my list.json").write_text('{"box.stl": 0.001}')
    (tmp_path / "study.yaml").write_text("num-colliding-grasps: 1\ntug-sequences: [[0.1, [0, 0, 1], 1]]\n")
    monkeypatch.setenv("GRASP_DATASET_DIR", "out put")
    monkeypatch.setenv("GRASPGEN_GRASPGEN_SOURCE", "no checkout")

    def graspgen(*arguments: str, code: ExitCode = ExitCode.OK) -> list[str]:
        capsys.readouterr()
        found = main(arguments)
        streams = capsys.readouterr()
        assert found == code, streams.err
        text = f"{streams.out}\n{streams.err}"
        return re.findall(r"^next:  (.*)$", text, re.MULTILINE) + re.findall(r"`((?:graspgen|pip|bash|cd) [^`]*)`", text)

    return graspgen


OBJECTS_AND_QUOTAS = ["--object-dataset", str(OBJECTS), "--object-scales-json", "my list.json", "--num-collision-free-grasps", "2"]
HAND = ["--gripper-config", GRIPPER, "--grip-force", "65", "--open-configuration", '{"left_finger_joint": 0.035}', "--workers", "1"]
STUDY = [*OBJECTS_AND_QUOTAS, *HAND, "--config", "study.yaml"]


def heed(run: Run, line: str, *, code: ExitCode = ExitCode.OK) -> list[str]:
    """Runs a command line that was printed, in an environment without settings: it says all by itself."""
    words = shlex.split(line)
    assert words[0] == "graspgen"
    return run(*words[1:], code=code)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Takes the settings of the run out of the environment."""

    def unset() -> None:
        monkeypatch.delenv("GRASP_DATASET_DIR")

    return unset


def test_the_steps_after_guesses(run: Run, bare: Callable[[], None], tmp_path: Path) -> None:
    (validate,) = run("guess", *STUDY)
    assert validate.endswith(" --config study.yaml") and "--num-colliding-grasps" not in validate
    bare()
    (splits,) = heed(run, validate)
    assert heed(run, splits) == []
    (file,) = (tmp_path / "out put" / "grasp_data" / GRIPPER).glob("box*")
    content = json.loads(file.read_text())
    assert sum(content["grasps"]["object_in_gripper"]) >= 1 and content["provenance"]["gripper"]["grip_force"] == 65
    assert content["provenance"]["simulation"]["settings"]["tug_sequences"] == [[0.1, [0.0, 0.0, 1.0], 1.0]]
    assert (tmp_path / "out put" / "splits" / GRIPPER / "train.txt").exists() and not (tmp_path / "results").exists()


def test_all_of_guesses_then_validation(run: Run, bare: Callable[[], None]) -> None:
    (validate,) = run("all", *STUDY, "--guess-only", "--overwrite-grasps")
    bare()
    heed(run, validate)
    (analyze,) = run("fill", *STUDY, "--grasp-dataset", "out put")
    heed(run, analyze)


def test_one_shard_then_the_splits(run: Run, bare: Callable[[], None]) -> None:
    (splits,) = run("all", *STUDY, "--shard", "0/1", "--by-folder")
    bare()
    assert "--by-folder" in splits and heed(run, splits) == []


def test_a_dataset_below_the_thresholds_is_filled(run: Run, bare: Callable[[], None]) -> None:
    run("all", *STUDY)
    analyze = ["analyze", "--gripper-config", GRIPPER, "--min-success", "4", "--min-failed", "2", *OBJECTS_AND_QUOTAS[:4]]
    (fill,) = run(*analyze, code=ExitCode.FAILED)
    assert run(*analyze[:1], "out put", *analyze[3:], code=ExitCode.FAILED) == [fill]
    bare()
    heed(run, fill)
    assert run(*analyze, "--grasp-dataset", "out put") == []


@pytest.mark.parametrize("command", [["splits", *OBJECTS_AND_QUOTAS[:4]], ["analyze", *OBJECTS_AND_QUOTAS[:4]]])
def test_a_command_without_a_dataset_names_the_one_that_makes_it(command: list[str], run: Run, bare: Callable[[], None]) -> None:
    (made_first,) = run(*command, "--gripper-config", GRIPPER, code=ExitCode.BAD_INPUT)
    bare()
    heed(run, made_first)
    run(*command, "--gripper-config", GRIPPER, "--grasp-dataset", "out put")


def test_a_list_of_objects_is_followed_by_its_dataset(run: Run, bare: Callable[[], None], tmp_path: Path) -> None:
    (tmp_path / "my meshes").mkdir()
    shutil.copy(OBJECTS / "box.stl", tmp_path / "my meshes")
    (everything,) = run("object-scales", "my meshes", "--unit", "mm", "--scales-file", "made.json", "--fit-to-gripper", *HAND[:4])
    (analyze,) = heed(run, everything)
    assert GRIPPER in analyze and json.loads((tmp_path / "made.json").read_text()).keys() == {"box.stl"}
    heed(run, analyze)


def test_a_conversion_is_followed_by_its_analysis(run: Run, tmp_path: Path, made_dataset: Path) -> None:
    (analyze,) = run("convert", str(made_dataset), "--output-dataset", "con verted")
    heed(run, analyze)
    content = json.loads(next((made_dataset / "grasp_data" / "robotiq_2f_85").glob("*.grasps.json")).read_text())
    content["gripper"]["name"] = "of_another_tool"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.grasps.json").write_bytes(signed(content))
    (analyze,) = run("convert", "other", "--output-dataset", "other converted")
    heed(run, analyze)


def test_grasps_without_numbers_are_tried_again(run: Run, bare: Callable[[], None], tmp_path: Path) -> None:
    run("guess", *STUDY)
    (file,) = (tmp_path / "out put" / "grasp_data" / GRIPPER).glob("box*")
    content = json.loads(file.read_text())
    content["grasps"]["outcome"] = ["held"] * len(content["grasps"]["outcome"])
    content["grasps"]["object_in_gripper"] = [True] * len(content["grasps"]["outcome"])
    file.write_bytes(signed(content))
    (validate,) = run("relabel", "--gripper-config", GRIPPER, "--max-slip", "0.01")
    bare()
    assert "--load-guesses" in validate and "--max-slip 0.01" in validate and "--grasp-dataset 'out put'" in validate


def test_training_is_prepared_and_started_by_the_lines_that_are_printed(
    run: Run, tmp_path: Path, made_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRASPGEN_GRASPGEN_SOURCE")
    checkout = make_checkout(tmp_path / "GraspGen", "robotiq_2f_140")
    for role in ("gen", "dis"):
        make_run(tmp_path / "training", "robotiq_2f_85", role)
    where = ["--graspgen-source", str(checkout), "--training-results", str(tmp_path / "training")]
    data = ["--grasp-dataset", str(made_dataset), "--object-dataset", str(OBJECTS)]
    lines = run("training-scripts", *where, *data, code=ExitCode.BAD_INPUT)
    assert len(set(lines)) == 1
    heed(run, lines[0])
    (start,) = run("training-scripts", *where, *data)
    (demo,) = run("inference-config", *where)
    for line in (*start.split(", then "), demo):
        assert "stand-in" in subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, cwd=tmp_path).stdout


def test_mistakes_name_the_help(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("zzz: 1\n")
    for arguments in (["all", "--sead", "3"], ["gues"], ["splits", "--config", "wrong.yaml"]):
        (line,) = run(*arguments, code=ExitCode.USAGE)
        assert line.endswith("--help")
        heed(run, line)


@pytest.mark.slow
def test_the_machine_is_checked_and_timed_again(
    run: Run, bare: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    pytest.importorskip("mujoco_warp", reason="mujoco-warp is not installed: pip install '.[gpu]'")
    (doctor,) = run("validate", *STUDY, "--backend", "mujoco-warp", code=ExitCode.USAGE)
    bare()
    advised = heed(run, doctor)
    assert all(line.startswith("pip install ") for line in advised)
    (tmp_path / "before.json").write_text('{"command": "all"}')
    bench = ["bench", *OBJECTS_AND_QUOTAS, "--trials", "1", "--workers", "1"]
    (again,) = run(*bench, "--compare", "before.json", code=ExitCode.BAD_INPUT)
    heed(run, again)
