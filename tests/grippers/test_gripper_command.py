"""`graspgen gripper-config` from end to end: the table, the files, the picture, what differs, and the user's own grippers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import orjson
import pytest
from jaw_models import parallel_jaw
from PIL import Image

from graspgen_cli.app import main
from graspgen_cli.commands.inputs import GRIPPER_CONFIG
from graspgen_cli.errors import ExitCode

Streams = pytest.CaptureFixture[str]
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "grippers.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a jaw in it, where nothing of the user's is found."""
    monkeypatch.setenv("GRASPGEN_CONFIG_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("GRASP_GEN_CODE_DIR", str(tmp_path / "no checkout"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jaw.xml").write_text(parallel_jaw())
    return tmp_path


def run(*arguments: str) -> int:
    return main(["gripper-config", *arguments])


def test_it_tells_what_was_measured_and_writes_the_files(folder: Path, capsys: Streams) -> None:
    assert run("robotiq_2f_85") == ExitCode.OK
    out = capsys.readouterr().out
    for row in (
        r"opening width +0\.0 to 85\.0 mm",
        r"depth, base to fingertips +149\.0 mm",
        r"fingertips as it closes +\+13\.9 mm along the approach axis",
        r"pads, length x width +37\.5 x 22\.0 mm",
        r"approach axis in base +\[0, 0, 1\]",
        r"symmetric by a half turn +yes",
        r"grip force, each pad +125 N",
        r"closing speed +150 mm/s",
        r"joints +6, driven: left_driver, right_driver",
        r"a box between the pads is held, a box beside them is not",
    ):
        assert re.search(row, out), row
    config = folder / "results" / "config" / "grippers"
    assert sorted(file.name for file in config.iterdir()) == [f"robotiq_2f_85.{suffix}" for suffix in ("obj", "png", "py", "yaml")]
    assert all(str(file.relative_to(folder)) in out for file in config.iterdir())
    assert Image.open(config / "robotiq_2f_85.png").format == "PNG"


def test_the_document_has_the_numbers_in_si_units(capsys: Streams) -> None:
    assert run("--gripper-config", "franka_panda", "--json", "--do-not-draw-picture") == ExitCode.OK
    document = orjson.loads(capsys.readouterr().out)
    gripper = document["gripper"]
    assert (gripper["name"], gripper["width"], gripper["grip_force"], gripper["closing_speed"]) == ("franka_panda", 0.08, 70.0, 0.1)
    assert gripper["graspgen_offset"] == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    assert [file["status"] for file in document["files"]] == ["written"] * 3
    assert (document["picture"], document["saved"]) == (None, None)


def test_what_differs_is_said_and_kept_until_told_otherwise(folder: Path, capsys: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRASPGEN_DRAW_PICTURE", "false")
    run("franka_panda", "--quiet")
    config = folder / "results" / "config" / "grippers"
    (config / "franka_panda.yaml").write_text((config / "franka_panda.yaml").read_text().replace("width: 0.08", "width: 0.1"))
    corners = (config / "franka_panda.obj").read_text().splitlines()
    corners[1] = re.sub(r"^v \S+", "v 0.2", corners[1])
    (config / "franka_panda.obj").write_text("\n".join(corners) + "\n")
    capsys.readouterr()
    assert run("franka_panda") == ExitCode.OK
    streams = capsys.readouterr()
    assert "    -width: 0.1\n    +width: 0.08\n" in streams.out
    assert re.search(r"the mesh differs by up to \d+ mm", streams.out)
    assert "kept: results/config/grippers/franka_panda.py" in streams.out
    assert "--overwrite-gripper-config" in streams.err
    assert "width: 0.1\n" in (config / "franka_panda.yaml").read_text()
    assert run("franka_panda", "--overwrite-gripper-config") == ExitCode.OK
    assert "width: 0.08\n" in (config / "franka_panda.yaml").read_text()


def test_a_gripper_of_ones_own_is_kept_by_name(folder: Path, capsys: Streams) -> None:
    assert run("--gripper-file", "jaw.xml", "--save", "my_jaw") == ExitCode.OK
    saved = folder / "user" / "grippers" / "my_jaw" / "gripper.yaml"
    assert f"saved as my_jaw: {saved}" in capsys.readouterr().out
    (folder / "jaw.xml").unlink()
    assert run("my_jaw") == ExitCode.OK
    assert "kept: results/config/grippers/my_jaw.yaml" in capsys.readouterr().out
    assert run("--list") == ExitCode.OK
    out = capsys.readouterr().out
    assert re.search(r"robotiq_2f_85 +built in", out) and re.search(rf"my_jaw +{saved.parent}", out)
    assert run("--list", "--json") == ExitCode.OK
    assert orjson.loads(capsys.readouterr().out)["saved"] == ["my_jaw"]


def test_listing_without_a_saved_one_says_how_to_keep_one(capsys: Streams) -> None:
    assert run("--list") == ExitCode.OK
    streams = capsys.readouterr()
    assert "onrobot_rg6" in streams.out and "--gripper-file with --save keeps one" in streams.err


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["nobody"], ExitCode.BAD_INPUT, "no gripper is called 'nobody'"),
        (["--gripper-file", "no.xml"], ExitCode.BAD_INPUT, "no.xml"),
        (["--gripper-file", "jaw.xml", "--save", "franka_panda"], ExitCode.BAD_INPUT, "a built-in gripper is called that"),
        (["--gripper-file", "jaw.xml", "--save", "../x"], ExitCode.BAD_INPUT, "a gripper's name has letters"),
        (["franka_panda", "--gripper-config", "onrobot_rg6"], ExitCode.USAGE, "exclude each other"),
        (["franka_panda", "--gripper-file", "jaw.xml"], ExitCode.USAGE, "exclude each other"),
        (["franka_panda", "onrobot_rg6"], ExitCode.USAGE, "onrobot_rg6"),
        ([""], ExitCode.USAGE, "--gripper-config"),
        (["--grasp-dataset", "jaw.xml"], ExitCode.OUTPUT, "cannot be"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], code: ExitCode, complaint: str, capsys: Streams) -> None:
    assert run(*arguments, "--quiet") == code
    streams = capsys.readouterr()
    assert streams.out == "" and streams.err.count("\n") == 1
    assert complaint in streams.err


def test_a_broken_gripper_writes_nothing(folder: Path, capsys: Streams) -> None:
    (folder / "jaw.xml").write_text(parallel_jaw().replace('pos="0 0 0.03"', 'pos="0 0 0.07"'))
    assert run("--gripper-file", "jaw.xml", "--save", "my_jaw") == ExitCode.BAD_INPUT
    assert "inside the base" in capsys.readouterr().err
    assert not (folder / "results").exists() and not (folder / "user").exists()


def documented() -> list[str]:
    text = DOCUMENTATION.read_text("utf-8")
    in_docs = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return [line.split("#")[0].strip() for line in (*GRIPPER_CONFIG.examples, *in_docs) if line.startswith("graspgen ")]


@pytest.mark.parametrize("line", documented())
def test_every_documented_command_is_understood(line: str, capsys: Streams) -> None:
    assert main([*shlex.split(line)[1:], "--show-settings"]) == ExitCode.OK
    assert capsys.readouterr().out
