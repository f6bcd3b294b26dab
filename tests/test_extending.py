"""What docs/extending.md says works: its examples are added as it says, and used."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from graspgen_cli import tables
from graspgen_cli.app import main
from graspgen_cli.dataset.collection import open_collection, read_entry
from graspgen_cli.tables import ENGINES, FORMATS, PROTOCOLS
from made_datasets import make_dataset

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


def add_module(heading: str, file: str, table: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Puts the module of a section into a folder of its own, and its row into the table; returns the name."""
    [source] = re.findall(r"```python\n(.*?)```", section(heading), re.S)
    (folder / file).write_text(source)
    monkeypatch.syspath_prepend(folder)
    [(name, row)] = added_row(section(heading)).items()
    monkeypatch.setitem(table, name, row)
    return name


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the engine of the documentation."""
    return add_module("An engine", "coulomb.py", ENGINES, tmp_path, monkeypatch)


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


Streams = pytest.CaptureFixture[str]


@pytest.fixture
def table_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the format of the documentation."""
    return add_module("A format of grasp files", "grasp_table.py", FORMATS, tmp_path, monkeypatch)


def test_a_format_is_written_listed_and_read(table_format: str, tmp_path: Path) -> None:
    paths = make_dataset(tmp_path / "data", ["cups/mug.obj", "box.stl"])
    where = ["--grasp-dataset", str(paths.root), "--output-dataset", str(tmp_path / "tables"), "--quiet"]
    assert main(["convert", "--to", table_format, *where]) == 0
    written, before = ([read_entry(entry) for entry in open_collection(root).entries] for root in (tmp_path / "tables", paths.root))
    assert [each.dataset.object_id for each in written] == [each.dataset.object_id for each in before] == ["box.stl", "cups/mug.obj"]
    for each, other in zip(written, before, strict=True):
        one, two = each.dataset.grasps, other.dataset.grasps
        assert np.array_equal(one.outcome, two.outcome) and np.array_equal(one.opening_width, two.opening_width)
        assert np.allclose(one.pose_gripper_in_object, other.pose_graspgen_in_object, atol=1e-15)


def test_a_format_is_analysed_and_its_broken_files_are_named(table_format: str, tmp_path: Path, capsys: Streams) -> None:
    make_dataset(tmp_path / "data", ["cups/mug.obj"])
    assert main(["convert", str(tmp_path / "data"), "--to", table_format, "--output-dataset", str(tmp_path / "tables"), "--quiet"]) == 0
    (tmp_path / "tables" / "broken.grasptable").write_text("no table")
    capsys.readouterr()
    assert main(["analyze", str(tmp_path / "tables"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [row["object_id"] for row in found["objects"]] == ["cups/mug.obj"] and found["total"]["held"] == 6
    assert [(each["kind"], Path(each["source"]).name) for each in found["findings"]] == [("malformed", "broken.grasptable")]


def test_a_format_without_a_row_is_refused_with_the_names_there_are(capsys: Streams) -> None:
    assert main(["convert", "--to", "grasp-table"]) == 2
    assert "'grasp-table' is not allowed; give one of graspgen, isaac-grasp, webdataset" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name, row in FORMATS.items() if row.written])
def test_every_written_format_has_a_line_in_the_documentation(name: str) -> None:
    assert re.search(rf"^\|.*`--to {name}` \|$", (DOCS / "dataset.md").read_text("utf-8"), re.M)
