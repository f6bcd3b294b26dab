"""Every command on the pages about the dataset and training is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from graspgen_cli.app import main

OTHER_TOOLS = {"--models", "--results", "--logdir"}
"""Flags of GraspGen's docker/run.sh and of TensorBoard."""
DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("dataset.md", "training.md")


def commands(page: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("graspgen ")]


@pytest.mark.parametrize("command", [command for page in PAGES for command in commands(page)])
def test_commands_can_be_typed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*shlex.split(command)[1:], "--show-settings"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("page", PAGES)
def test_flags_and_links_are_there(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    known = set(re.findall(r"`(--[a-z-]+)`", (DOCS / "commands.md").read_text("utf-8")))
    named = set(re.findall(r"(--[a-z][a-z-]+)(?!\w)", text)) - OTHER_TOOLS
    assert named <= known, named - known
    assert len(commands(page)) >= 5
    assert all((DOCS / target).exists() for target in re.findall(r"\]\(([^)#:]+)\)", text))
