"""`graspgen replay`: the trial of a file's grasp ends as the file says, and what is drawn of it shows how."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from examples import OBJECTS
from foreign_files import datagen_document
from graspgen_cli.app import main
from graspgen_cli.drawing import film
from graspgen_cli.drawing.colours import OBJECT, OUTCOMES
from graspgen_cli.errors import install_command
from graspgen_cli.formats.graspgen_json import read_grasp_file
from graspgen_cli.records import Outcome
from made_datasets import document, signed
from test_drawing import near, needs_opengl

Answer = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str]) -> Answer:
    """Runs the command: its exit code, what it answers with --json, and what it says on stderr."""

    def run(*arguments: object) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        code = main(["replay", *map(str, arguments), "--object-dataset", str(OBJECTS), "--json"])
        output, errors = capsys.readouterr()
        return code, json.loads(output) if output else {}, errors

    return run


@cache
def box_file(dataset: Path) -> Path:
    return next(dataset.rglob("box*.grasps.json"))


@pytest.mark.slow
def test_every_grasp_of_a_file_ends_as_the_file_says(made_dataset: Path, replay: Answer) -> None:
    outcomes = read_grasp_file(box_file(made_dataset)).grasps.outcome
    tried = np.flatnonzero(outcomes != Outcome.COLLISION)
    assert {Outcome(int(o)) for o in outcomes} >= {Outcome.HELD, Outcome.DROPPED}
    for index in tried:
        code, answer, errors = replay(box_file(made_dataset), "--grasp", index)
        assert (code, errors) == (0, "")
        assert answer["outcome"] == answer["recorded"] == Outcome(int(outcomes[index])).label
        assert (answer["failed_at"] is None) == (answer["outcome"] == "held")


def test_without_a_number_it_takes_the_first_that_was_tried_or_has_the_outcome(made_dataset: Path, replay: Answer) -> None:
    outcomes = read_grasp_file(box_file(made_dataset)).grasps.outcome
    assert replay(made_dataset, "--object", "box")[1]["grasp"] == np.flatnonzero(outcomes != Outcome.COLLISION)[0]
    assert replay(box_file(made_dataset), "--outcome", "dropped")[1]["grasp"] == np.flatnonzero(outcomes == Outcome.DROPPED)[0]


def test_a_file_that_says_another_outcome_ends_with_1(made_dataset: Path, tmp_path: Path, replay: Answer) -> None:
    content = json.loads(box_file(made_dataset).read_bytes())
    index = content["grasps"]["outcome"].index("held")
    content["grasps"]["outcome"][index], content["grasps"]["object_in_gripper"][index] = "dropped", False
    path = tmp_path / "false.grasps.json"
    path.write_bytes(signed(content))
    code, _, errors = replay(path, "--grasp", index)
    assert code == 1
    assert f"{path}: grasp {index} is dropped in the file and held in this trial" in errors


@pytest.mark.slow
def test_the_files_own_settings_count_and_flags_replace_them(made_dataset: Path, tmp_path: Path, replay: Answer) -> None:
    path = box_file(made_dataset)
    assert replay(path, "--steady-motion", "0")[1]["steps"] == 875
    assert replay(path)[1]["steps"] < 875
    code, answer, errors = replay(path, "--outcome", "held", "--friction", "0", "--fps", "500")
    assert code == 1 and answer["outcome"] == "dropped"
    assert "fps is not what the file says" in errors and "friction is not what the file says" in errors
    content = json.loads(path.read_bytes())
    content["provenance"]["simulation"]["settings"]["tug_sequences"] = [[1.0, [0.0, 0.0, 1.0], 0.5]]
    other = tmp_path / "other.grasps.json"
    other.write_bytes(signed(content))
    held = content["grasps"]["outcome"].index("held")
    assert replay(other, "--grasp", held, "--steady-motion", "0")[1]["steps"] == 500


def test_what_is_no_longer_the_same_is_said(made_dataset: Path, tmp_path: Path, replay: Answer) -> None:
    content = json.loads(box_file(made_dataset).read_bytes())
    content["provenance"]["simulation"] |= {"object_digest": "0" * 64, "gripper_digest": "0" * 64}
    content["provenance"]["simulation"]["settings"]["backend"] = "another"
    content["provenance"]["simulation"]["settings"]["contact"]["tolerance"] = 0.5
    path = tmp_path / "changed.grasps.json"
    path.write_bytes(signed(content))
    notes = replay(path)[1]["notes"]
    assert [note.split()[1] for note in notes] == ["file's", "mesh", "gripper", "were"]


@pytest.mark.slow
def test_a_file_of_another_tool_is_tried_on_our_settings(tmp_path: Path, replay: Answer) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(datagen_document("mug.obj", scale=0.001)))
    code, answer, errors = replay(path, "--grasp", 0)
    assert answer["recorded"] == "held" and answer["outcome"] in {outcome.label for outcome in Outcome}
    assert "does not say how its grasps were tried" in errors and code in (0, 1)


def frames_of(path: Path) -> list[np.ndarray[Any, Any]]:
    if path.suffix == ".gif":
        return [np.asarray(frame.convert("RGB")).astype(float) for frame in ImageSequence.Iterator(Image.open(path))]
    import imageio_ffmpeg

    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return [np.frombuffer(frame, np.uint8).reshape(height, width, 3).astype(float) for frame in reader]


def object_pixels(frame: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where the object's colour is, above the plot and without what is written."""
    scene = frame[60 : round(len(frame) * 0.65)]
    return near(scene, OBJECT, 0.05) & (scene.max(axis=-1) - scene.min(axis=-1) > 8) & (scene.sum(axis=-1) < 690)


def overlap(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
    """Share of the object's pixels in either frame that are in both."""
    one, other = object_pixels(first), object_pixels(second)
    return float((one & other).sum() / max((one | other).sum(), 1))


def lost_grasp(dataset: Path, replay: Answer) -> int:
    """A dropped grasp whose object went out of reach; others stay between links that met it before the pads did."""
    dropped = np.flatnonzero(read_grasp_file(box_file(dataset)).grasps.outcome == Outcome.DROPPED)
    return next(int(index) for index in dropped if replay(box_file(dataset), "--grasp", index)[1]["steps"] < 875)


def badge(frame: np.ndarray[Any, Any], outcome: Outcome) -> int:
    return int(near(frame[:70, frame.shape[1] // 2 :], OUTCOMES[outcome], 0.1).sum())


@pytest.mark.slow
@needs_opengl
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_the_last_frame_of_a_video_shows_how_it_ended(
    made_dataset: Path, tmp_path: Path, replay: Answer, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A held box is where it was when the grip closed; a dropped one is gone from between the fingers, or has turned."""
    for package in ("matplotlib", "imageio_ffmpeg"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.setattr(film, "_RATE", {".mp4": 4, ".gif": 4})
    monkeypatch.setattr(film, "_SIZE", {".mp4": (480, 300), ".gif": (480, 300)})
    seen = {}
    for outcome, grasp in ((Outcome.HELD, "--outcome held"), (Outcome.DROPPED, f"--grasp {lost_grasp(made_dataset, replay)}")):
        path = tmp_path / f"{outcome.label}{suffix}"
        code, answer, _ = replay(box_file(made_dataset), *grasp.split(), "--video", path)
        assert code == 0 and answer["outcome"] == outcome.label
        seen[outcome] = frames_of(path)
    held, dropped = seen[Outcome.HELD], seen[Outcome.DROPPED]
    assert badge(held[-1], Outcome.HELD) > 300 and badge(held[-1], Outcome.DROPPED) == 0
    assert badge(dropped[-1], Outcome.DROPPED) > 300 and badge(dropped[-1], Outcome.HELD) == 0
    assert badge(held[0], Outcome.HELD) == badge(dropped[0], Outcome.DROPPED) == 0, "nothing is decided at the start"
    assert object_pixels(held[-1]).sum() > 500
    closed = 3  # at 0.75 s, before the first tug
    assert overlap(held[closed], held[-1]) > 0.8
    assert overlap(dropped[0], dropped[-1]) < 0.4


@pytest.mark.slow
@needs_opengl
def test_a_strip_shows_the_moments_above_the_plot(made_dataset: Path, tmp_path: Path, replay: Answer) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / "strip.png"
    assert replay(box_file(made_dataset), "--outcome", "dropped", "--video", path)[0] == 0
    picture = Image.open(path)
    assert picture.size == (2160, 680)
    assert badge(np.asarray(picture)[:, -360:].astype(float), Outcome.DROPPED) > 300


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", pytest.param(".svg", marks=pytest.mark.slow), pytest.param(".pdf", marks=pytest.mark.slow)])
def test_the_plot_marks_the_failure_and_is_the_same_every_time(made_dataset: Path, tmp_path: Path, replay: Answer, suffix: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    paths = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
    for path in paths:
        assert replay(box_file(made_dataset), "--outcome", "dropped", "--plot", path)[0] == 0
    one, two = (path.read_bytes() for path in paths)
    assert one == two
    if suffix == ".png":
        pixels = np.asarray(Image.open(io.BytesIO(one)).convert("RGB")).astype(float)
        columns = near(pixels, OUTCOMES[Outcome.DROPPED], 0.1).sum(axis=0)
        assert columns.max() > 0.6 * len(pixels), "a line from the top to the bottom of the axes"


def test_the_table_has_a_row_for_every_step(made_dataset: Path, tmp_path: Path, replay: Answer) -> None:
    path = tmp_path / "trial.csv"
    answer = replay(box_file(made_dataset), "--outcome", "held", "--plot", path)[1]
    rows = list(csv.DictReader(path.open()))
    assert len(rows) == answer["steps"]
    assert [float(rows[-1][f"force_{finger}_N"]) for finger in (1, 2)] == answer["finger_contact_force"]
    assert float(rows[-1]["slip_m"]) == pytest.approx(answer["slip"][0], abs=1e-12) and rows[0]["slip_m"] == ""
    assert float(rows[-1]["time_s"]) == pytest.approx(len(rows) / 250)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nothing"], 3, "nothing"),
        (["nowhere.json"], 3, "nowhere.json"),
        (["{box}", "--grasp", "999"], 3, "there is no grasp 999"),
        (["{box}", "--grasp", "1", "--outcome", "held"], 2, "grasp and outcome exclude each other"),
        (["{box}", "--video", "a.avi"], 2, "--video: 'a.avi' is not allowed; give a path that ends in .mp4, .gif, .png"),
        (["{box}", "--plot", "a.txt"], 2, "--plot: 'a.txt' is not allowed"),
        (["{box}", "--slow-motion", "0"], 2, "--slow-motion: '0' is not allowed; give a number above 0"),
        (["{box}", "--gripper-config", "nobody"], 3, "no gripper is called 'nobody'"),
        (["{box}", "--object-dataset", "nowhere"], 1, "no such file"),
    ],
)
def test_wrong_command_lines(made_dataset: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str) -> None:
    given = [str(box_file(made_dataset)) if argument == "{box}" else argument for argument in arguments]
    root = [] if "--object-dataset" in given else ["--object-dataset", str(OBJECTS)]
    assert main(["replay", *given, *root]) == code
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "settings", [{"fps": "many"}, {"tug_sequences": [[1]]}, {"friction": -1}, {"collision_approximation": "magic"}, {"object_mass": "nan"}]
)
def test_settings_that_a_broken_file_records_are_refused_in_one_line(tmp_path: Path, replay: Answer, settings: dict[str, Any]) -> None:
    content = document("box.stl")
    content["provenance"]["simulation"]["settings"] = settings
    path = tmp_path / "broken.grasps.json"
    path.write_bytes(signed(content))
    code, answer, errors = replay(path)
    assert (code, answer) == (1, {})
    assert f"{path}: its simulation settings cannot be used" in errors and errors.count("\n") == 1


def test_without_the_packages_the_errors_name_the_extra(
    made_dataset: Path, tmp_path: Path, replay: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    code, _, errors = replay(box_file(made_dataset), "--plot", tmp_path / "a.png")
    assert code == 4 and f"run {install_command('replay')}" in errors


def test_without_a_screen_the_viewer_says_so(made_dataset: Path, replay: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("glfw", reason="glfw is not installed")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    code, answer, errors = replay(box_file(made_dataset), "--interactive")
    assert code == 4 and answer["outcome"] in ("held", "dropped")
    assert "needs a screen" in errors
