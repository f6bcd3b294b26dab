"""What docs/extending.md says works: its examples are added as it says, and used."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import trimesh

from graspgen_cli import tables
from graspgen_cli.app import main
from graspgen_cli.tables import ENGINES, PROTOCOLS

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "extending.md").read_text("utf-8")


def section(heading: str) -> str:
    return TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def added_row(text: str) -> dict[str, Any]:
    """The row that a section shows between backquotes after "The row:", as a table of its own."""
    [row] = re.findall(r"The row: `([^`]+)`", text.replace("\n", " "))
    return dict(eval(f"{{{row}}}", vars(tables)))


@pytest.fixture
def all_of_one_box(tmp_path: Path) -> list[str]:
    """`graspgen all` on one small box."""
    trimesh.creation.box((0.03, 0.03, 0.04)).export(tmp_path / "box.obj")
    (tmp_path / "list.json").write_text('{"box.obj": 1.0}')
    where = [
        "--object-scales-json",
        str(tmp_path / "list.json"),
        "--object-dataset",
        str(tmp_path),
        "--grasp-dataset",
        str(tmp_path / "out"),
    ]
    quotas = ["--num-collision-free-grasps", "2", "--num-colliding-grasps", "1", "--workers", "1", "--do-not-run-controls"]
    return ["all", *where, *quotas, "--gripper-config", "franka_panda", "--quiet"]


def simulation_of(folder: Path) -> dict[str, Any]:
    """The settings of the trials in the only grasp file."""
    [file] = folder.glob("out/grasp_data/*/*.grasps.json")
    return dict(json.loads(file.read_text())["provenance"]["simulation"]["settings"])


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine of the documentation, in a folder of its own, and its row; its name."""
    [source] = re.findall(r"```python\n(.*?)```", section("An engine"), re.S)
    (tmp_path / "coulomb.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    [(name, row)] = added_row(section("An engine")).items()
    monkeypatch.setitem(ENGINES, name, row)
    return name


def test_an_engine(all_of_one_box: list[str], engine: str, tmp_path: Path) -> None:
    assert main([*all_of_one_box, "--backend", engine]) == 0
    assert simulation_of(tmp_path)["backend"] == engine and "contact" not in simulation_of(tmp_path)


def test_an_engine_decides_the_labels(all_of_one_box: list[str], engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*all_of_one_box, "--backend", engine, "--friction", "0.001", "--max-guess-tries", "1"]) == 0
    assert "0 of 2 held" in capsys.readouterr().out


def test_an_engine_without_a_row_is_refused_with_the_names_there_are(all_of_one_box: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*all_of_one_box, "--backend", "coulomb"]) == 2
    assert f"'coulomb' is not allowed; give one of auto, {', '.join(ENGINES)}" in capsys.readouterr().err


def test_a_protocol(all_of_one_box: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [(name, row)] = added_row(section("A protocol")).items()
    monkeypatch.setitem(PROTOCOLS, name, row)
    assert main([*all_of_one_box, "--protocol", name, "--fps", "100"]) == 0
    tried_with = simulation_of(tmp_path)
    assert tried_with["tug_sequences"] == [] and tried_with["shake_sequences"] == [list(shake) for shake in row.shakes]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_has_a_line_in_the_documentation(name: str) -> None:
    assert re.search(rf"^\| `{name}`", (DOCS / "judging.md").read_text("utf-8"), re.M)
