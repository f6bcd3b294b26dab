"""Grippers by name from the package robot_descriptions: the real package, with the repository that it would clone made here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from panda_files import write_urdf

from graspgen_cli.errors import GripperError
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.records import Gripper

pytest.importorskip("robot_descriptions", reason="robot_descriptions is not installed: pip install '.[grippers]'")

NAME, REPOSITORY = "robotiq_2f85_description", "robotiq_arg85_description"
"""A module of the package, and the repository that its URDF is in."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache of the package's own, and nowhere to clone from."""
    monkeypatch.setenv("ROBOT_DESCRIPTIONS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    monkeypatch.delitem(sys.modules, f"robot_descriptions.{NAME}", raising=False)


def committed(folder: Path) -> str:
    """The commit of a new repository with all that is in a folder."""
    who = ("-c", "user.name=someone", "-c", "user.email=someone@example.com")
    for command in (("init", "--quiet"), ("add", "--all"), (*who, "commit", "--quiet", "--message", "all")):
        subprocess.run(("git", *command), cwd=folder, check=True)
    return subprocess.run(("git", "rev-parse", "HEAD"), cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_a_description_is_read_by_its_name(
    panda: Gripper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = write_urdf(panda, tmp_path / REPOSITORY, mesh_prefix=f"package://{REPOSITORY}/meshes/")
    (tmp_path / REPOSITORY / "robots").mkdir()
    made.rename(tmp_path / REPOSITORY / "robots" / f"{REPOSITORY}.URDF")
    commit = committed(tmp_path / REPOSITORY)
    place = tmp_path / "cache" / f"{REPOSITORY}-{commit}"
    place.mkdir(parents=True)
    (tmp_path / REPOSITORY).rename(place / REPOSITORY)
    monkeypatch.setenv("ROBOT_DESCRIPTION_COMMIT", commit)
    read = load_gripper(f"robot_descriptions:{NAME}")
    assert read.opening_width == pytest.approx(panda.opening_width, abs=1e-4)
    assert capsys.readouterr().out == ""


def test_what_cannot_be_fetched_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(GripperError, match="cannot be fetched") as refusal:
        load_gripper(f"robot_descriptions:{NAME}")
    assert "\n" not in str(refusal.value)
    assert capsys.readouterr().out == ""  # the package tells of its progress, and our data goes there
