"""Grasps of other formats, tried in place of guesses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples import OBJECTS
from graspgen_cli.app import main

FLAGS = ["--gripper-config", "franka_panda", "--num-collision-free-grasps", "6", "--num-colliding-grasps", "2", "--workers", "1"]


def outcomes(dataset: Path) -> dict[str, list[str]]:
    """By object."""
    files = sorted(dataset.rglob("*.grasps.json"))
    return {json.loads(file.read_text())["object"]["file"]: json.loads(file.read_text())["grasps"]["outcome"] for file in files}


def validate(out: Path, *flags: str) -> int:
    return main(["validate", *FLAGS, "--object-dataset", str(OBJECTS), "--grasp-dataset", str(out), "--quiet", *flags])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two objects with held and failed grasps."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "list.json").write_text('{"box.stl": 0.001, "stack.obj": 1.0}')
    assert validate(folder / "out", "--object-scales-json", str(folder / "list.json")) == 0
    return folder / "out"


@pytest.mark.parametrize("form", ["isaac-grasp", *(pytest.param(form, marks=pytest.mark.slow) for form in ("webdataset", "graspgen"))])
def test_grasps_of_every_format_are_tried_with_the_same_outcome(made: Path, tmp_path: Path, form: str) -> None:
    """isaac_grasp files know held and failed only, so a collision is tried there, and fails or not; held ones must be held again."""
    assert main(["convert", str(made), "--to", form, "--output-dataset", str(tmp_path / "other")]) == 0
    assert validate(tmp_path / "tried", "--grasps", str(tmp_path / "other")) == 0
    before, after = outcomes(made), outcomes(tmp_path / "tried")
    assert before.keys() == after.keys() == {"box.stl", "stack.obj"}
    for name, labels in before.items():
        again = [new for old, new in zip(labels, after[name], strict=True) if old == "held"]
        assert len(again) == 6 and again.count("held") == 6
    if form == "graspgen":
        assert before == after


@pytest.mark.slow
def test_what_was_tried_is_kept_until_it_is_to_be_tried_again(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(tmp_path / "tried", "--grasps", str(made)) == 0
    capsys.readouterr()
    assert validate(tmp_path / "tried", "--grasps", str(made), "--json") == 0
    assert {row["status"] for row in json.loads(capsys.readouterr().out)["objects"]} == {"kept"}
    assert validate(tmp_path / "tried", "--grasps", str(made), "--overwrite-grasps", "--json") == 0
    assert {row["status"] for row in json.loads(capsys.readouterr().out)["objects"]} == {"made"}


def test_a_damaged_file_is_named_and_the_others_are_tried(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    assert main(["convert", str(made), "--to", "isaac-grasp", "--output-dataset", str(other)]) == 0
    damaged = sorted(other.rglob("*.y*ml"))[0]
    damaged.write_text("format: isaac_grasp\ngrasps: [")
    capsys.readouterr()
    assert validate(tmp_path / "tried", "--grasps", str(other), "--json") == 1
    rows = json.loads(capsys.readouterr().out)["objects"]
    assert [row["status"] for row in rows].count("failed") == 1 and len(outcomes(tmp_path / "tried")) == 1
    assert damaged.name in next(row["message"] for row in rows if row["status"] == "failed")


def test_nothing_to_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(tmp_path / "tried", "--grasps", str(tmp_path / "none")) != 0
    assert "none" in capsys.readouterr().err.splitlines()[-1]
