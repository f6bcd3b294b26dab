"""The documentation: every command in it can be given, every link leads somewhere, every example is what it says it is."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

import graspgen_cli
from graspgen_cli.app import main
from graspgen_cli.settings.fields import Setting, flag, known_settings
from graspgen_cli.settings.guesses import GuessSettings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])
TOOLS = {
    "bash",
    "cd",
    "cp",
    "docker",
    "docker/build.sh",
    "docker/run.sh",
    "export",
    "git",
    "graspgen",
    "mkdir",
    "nox",
    "pip",
    "python",
    "ray",
}
"""What may be called in the documentation."""
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.M | re.S)


def blocks(page: Path, language: str) -> list[str]:
    found = FENCE.findall(page.read_text("utf-8"))
    return [re.sub(f"^{indent}", "", text, flags=re.M) for indent, name, text in found if name == language]


def commands(script: str) -> Iterator[list[str]]:
    """The simple commands of a shell script, in words: split at && and |, comments and redirections left out."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for token in [*lexer, "&&"]:
            if token in ("&&", "|", ";"):
                if words:
                    yield words
                words = []
            else:
                words.append(token)


def words_of(page: Path) -> list[list[str]]:
    return [words for script in blocks(page, "sh") for words in commands(script)]


def graspgen_commands(page: Path) -> Iterator[list[str]]:
    """What `graspgen` is called with, also within a container."""
    for words in words_of(page):
        if "graspgen" in words and words[0] not in ("git", "cd"):
            at = [number for number, word in enumerate(words, 1) if word == "graspgen" and words[number - 2] != "--to"][-1]
            ended = [number for number, word in enumerate(words) if number >= at and word in (">", "<")]
            yield words[at : ended[0] if ended else None]


FOUND = {tuple(words): page for page in reversed(PAGES) for words in graspgen_commands(page)}
"""Each command, with the first page that gives it."""
ALL_COMMANDS = [pytest.param(list(words), id=f"{page.stem}: {' '.join(words)[:60]}") for words, page in FOUND.items()]


@pytest.mark.parametrize("words", ALL_COMMANDS)
def test_a_command_can_be_given(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its flags and values are resolved into settings; nothing is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    words = [word.replace("$SLURM_ARRAY_TASK_ID", "0") for word in words]
    for at, word in enumerate(words[:-1]):
        if word == "--config":
            Path(words[at + 1]).write_text("num-offsets: 16\n")
    assert main([*words, "--show-settings"]) == 0, capsys.readouterr().err


def test_there_are_commands_to_look_at() -> None:
    assert len(ALL_COMMANDS) > 60
    assert list(commands("a 'b c' && d --e='[1, 2]'\nf | g  # h\ni \\\n  j")) == [
        ["a", "b c"],
        ["d", "--e=[1, 2]"],
        ["f"],
        ["g"],
        ["i", "j"],
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_only_known_tools_are_called(page: Path) -> None:
    called = {words[0] for words in words_of(page)}
    assert called <= TOOLS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_are_sound(page: Path) -> None:
    for script in blocks(page, "sh"):
        assert "…" not in script
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_container_scripts_take_what_they_are_given(tmp_path: Path) -> None:
    """With --dry-run, in a folder that has the folders that they name."""
    called = [words for page in PAGES for words in words_of(page) if words[0].startswith("docker/")]
    assert len(called) >= 3
    for words in called:
        words = [word.replace("~", str(tmp_path)) for word in words]
        for at, word in enumerate(words[:-1]):
            if word.endswith(("_dataset", "_code")):
                (tmp_path / words[at + 1]).mkdir(parents=True, exist_ok=True)
        done = subprocess.run([ROOT / words[0], "--dry-run", *words[1:]], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_data_and_code_can_be_read(page: Path) -> None:
    for text in blocks(page, "json"):
        json.loads(text)
    for text in blocks(page, "yaml"):
        yaml.safe_load(text)
    for text in blocks(page, "python"):
        taken = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module == "graspgen_cli"]
        assert {alias.name for node in taken for alias in node.names} <= set(graspgen_cli.__all__)


def test_the_grasp_file_of_the_readme_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "mug.grasps.json"
    file.write_text(blocks(ROOT / "README.md", "json")[0])
    read = graspgen_cli.read_grasp_file(file)
    assert read.grasps.count(graspgen_cli.Outcome.HELD) == len(read.grasps) == 1
    assert np.linalg.norm(read.grasps.pose_gripper_in_object[0, :3, :3], axis=0) == pytest.approx(1)


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 600


@pytest.mark.slow
def test_the_example_in_memory_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    exec(blocks(DOCS / "api.md", "python")[1], {})
    assert capsys.readouterr().out.startswith("(")


def test_every_name_of_the_api_is_described() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    assert [name for name in graspgen_cli.__all__ if name != "__version__" and f"`{name}" not in text] == []


def test_the_flags_that_are_said_to_be_the_same_are_here() -> None:
    page = (DOCS / "moving.md").read_text("utf-8")
    same = re.findall(r"`(--[a-z_]+)`", page.partition("The same here as there")[2].partition("\n\n")[0])
    table = page.partition("| flag there | here | |")[2].partition("\n\n")[0].splitlines()[2:]
    new = [name for row in table for name in re.findall(r"(--[a-z-]+)", row.split("|")[2])]
    known = {flag(name) for name in known_settings()} | {Setting(GuessSettings, "center_finger_opening").off_flag}
    assert len(same) > 30 and {name.replace("_", "-") for name in same} | set(new) <= known


# --- links ---------------------------------------------------------------------------------------------------------------------


def prose(page: Path) -> str:
    """The page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text("utf-8")))


def anchors(page: Path) -> set[str]:
    """The ids that Markdown's table of contents gives to the headings."""
    headings = re.findall(r"^#+ +(.*)$", FENCE.sub("", page.read_text("utf-8")), re.M)
    return {slug(heading) for heading in headings}


def slug(heading: str) -> str:
    plain = unicodedata.normalize("NFKD", heading.replace("`", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One, two\n[a](#one-two)")
    test_links_lead_somewhere(page)
    for wrong in ("[a](#two)", "[a](gone.md)"):
        page.write_text(f"# One\n{wrong}")
        with pytest.raises(AssertionError):
            test_links_lead_somewhere(page)


def test_every_page_is_in_the_site() -> None:
    def pages(nav: object) -> Iterator[str]:
        if isinstance(nav, str):
            yield nav
        elif isinstance(nav, (list, dict)):
            for part in nav.values() if isinstance(nav, dict) else nav:
                yield from pages(part)

    listed = list(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
