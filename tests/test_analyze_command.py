"""`graspgen analyze` as a user meets it: every form of output with a good, an empty, a broken and a mixed dataset."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analysed import HELD, hand_made, made, write_dataset
from examples import OBJECTS
from graspgen_cli.analysis.charts import MOST_FACES, SIZE, thinned, thumbnail, worst_and_best
from graspgen_cli.app import main
from graspgen_cli.errors import ExitCode, install_command
from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.records import TriangleMesh
from test_analysis import analysed, facts_of

Streams = pytest.CaptureFixture[str]
needs_plotly = pytest.mark.skipif(importlib.util.find_spec("plotly") is None, reason="plotly is not installed; pip install plotly")


def good(root: Path) -> None:
    write_dataset(root, [made("mug.obj", [HELD] * 8), made("bowl.obj", [HELD] * 5)])


def empty(root: Path) -> None:
    (root / "grasp_data" / "robotiq_2f_85").mkdir(parents=True)


def broken(root: Path) -> None:
    folder = root / "grasp_data" / "robotiq_2f_85"
    folder.mkdir(parents=True)
    (folder / "a.grasps.json").write_text("{")
    (folder / "b.grasps.json").write_text("[]")


def mixed(root: Path) -> None:
    write_dataset(root, hand_made())
    (root / "grasp_data" / "robotiq_2f_85" / "a.grasps.json").write_text("{")


Make = Callable[[Path], None]
DATASETS: dict[str, tuple[Make, ExitCode, int, int]] = {
    # objects and broken files in it
    "good": (good, ExitCode.OK, 2, 0),
    "empty": (empty, ExitCode.BAD_INPUT, 0, 0),
    "broken": (broken, ExitCode.FAILED, 0, 2),
    "mixed": (mixed, ExitCode.FAILED, 3, 1),
}


@pytest.fixture(params=DATASETS)
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, ExitCode, int, int]:
    make, code, objects, damaged = DATASETS[request.param]
    make(tmp_path / "d")
    return tmp_path / "d", code, objects, damaged


Case = tuple[Path, ExitCode, int, int]


def test_the_tables(dataset: Case, capsys: Streams) -> None:
    root, code, objects, damaged = dataset
    assert main(["analyze", str(root)]) == code
    streams = capsys.readouterr()
    if code is ExitCode.BAD_INPUT:
        assert streams.out == "" and "no grasps found" in streams.err and streams.err.count("\n") == 1
        return
    assert f"total, {objects} objects" in streams.out
    assert streams.err.count("\n") == damaged and streams.out.count("unreadable") == damaged


def test_the_document(dataset: Case, capsys: Streams) -> None:
    root, code, objects, damaged = dataset
    assert main(["analyze", str(root), "--json", "--quiet"]) == code
    out = capsys.readouterr().out
    if code is ExitCode.BAD_INPUT:
        assert out == ""
        return
    found = json.loads(out)
    assert found["command"] == "analyze" and found["passed"] is (code is ExitCode.OK)
    assert len(found["objects"]) == found["total"]["objects"] == objects
    assert sum(finding["kind"] == "unreadable" for finding in found["findings"]) == damaged


@pytest.mark.parametrize("form", ["json", "csv", pytest.param("html", marks=needs_plotly)])
def test_the_files(dataset: Case, form: str, tmp_path: Path, capsys: Streams) -> None:
    root, code, objects, damaged = dataset
    file = tmp_path / "out" / f"result.{form}"
    assert main(["analyze", str(root), "--output", str(file)]) == code
    assert file.exists() is (code is not ExitCode.BAD_INPUT)
    if code is ExitCode.BAD_INPUT:
        return
    assert f"written: {file}" in capsys.readouterr().err
    text = file.read_text()
    if form == "json":
        assert len(json.loads(text)["objects"]) == objects
    elif form == "csv":
        assert len(list(csv.DictReader(io.StringIO(text)))) == objects
    else:
        assert text.count('<td data-key="usual">') + text.count('<td data-key="–">') == objects
        assert text.count("<td>unreadable</td>") == damaged
        # Nothing on the page is fetched: addresses stand only in the script that it carries.
        assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', text.split("<script>")[0]) == []


@needs_plotly
def test_several_outputs_at_once(tmp_path: Path) -> None:
    good(tmp_path / "d")
    files = [tmp_path / f"r.{form}" for form in ("json", "csv", "html")]
    assert main(["analyze", str(tmp_path / "d"), "--quiet", *(word for file in files for word in ("--output", str(file)))]) == 0
    assert all(file.stat().st_size > 100 for file in files)


def test_an_unknown_form_is_refused_before_anything_is_read(tmp_path: Path, capsys: Streams) -> None:
    assert main(["analyze", "/no/such", "--output", str(tmp_path / "r.pdf")]) == ExitCode.USAGE
    assert "r.pdf' is not allowed; give a path that ends in .json, .csv or .html" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_an_error_of_its_own(tmp_path: Path, capsys: Streams) -> None:
    good(tmp_path / "d")
    (tmp_path / "file").write_text("")
    assert main(["analyze", str(tmp_path / "d"), "--output", str(tmp_path / "file" / "r.csv")]) == ExitCode.OUTPUT
    assert "r.csv: cannot be written" in capsys.readouterr().err


def test_what_is_short_comes_with_a_command_that_can_be_typed(tmp_path: Path, capsys: Streams) -> None:
    good(tmp_path / "my data")
    assert main(["analyze", str(tmp_path / "my data"), "--min-success", "7", "--min-total", "9"]) == ExitCode.FAILED
    out = capsys.readouterr().out
    assert "  bowl.obj: 5 of 7 held, 2 more needed\n" in out and "  mug.obj: 8 of 9 total, 1 more needed\n" in out
    command = next(line for line in out.splitlines() if line.startswith("next:")).removeprefix("next:")
    words = shlex.split(command)
    assert words[:4] == ["graspgen", "fill", "--grasp-dataset", str(tmp_path / "my data")]
    assert words[4:] == ["--num-collision-free-grasps", "9"]
    assert main([*words[1:], "--show-settings"]) == ExitCode.OK


@pytest.mark.slow
def test_only_the_gripper_that_is_named_is_counted(tmp_path: Path, capsys: Streams) -> None:
    good(tmp_path / "d")
    write_dataset(tmp_path / "d", [made("pan.obj", [HELD] * 8)], gripper="franka_panda")
    main(["analyze", str(tmp_path / "d")])
    assert "total, 3 objects" in capsys.readouterr().out
    main(["analyze", "--grasp-dataset", str(tmp_path / "d")])
    assert "total, 2 objects" in capsys.readouterr().out
    main(["analyze", str(tmp_path / "d"), "--gripper-config", "franka_panda"])
    assert "total, 1 objects" in capsys.readouterr().out
    assert main(["analyze", str(tmp_path / "d"), "--gripper-config", "onrobot_rg6"]) == ExitCode.BAD_INPUT
    assert "there is franka_panda, robotiq_2f_85" in capsys.readouterr().err


def test_the_terminal_shows_the_worst_of_many_objects(tmp_path: Path, capsys: Streams) -> None:
    write_dataset(tmp_path / "d", [made(f"o{k}.obj", [HELD] * 6) for k in range(50)])
    main(["analyze", str(tmp_path / "d")])
    out = capsys.readouterr().out
    assert "… 30 more that hold more often" in out and "total, 50 objects" in out


def test_hidden_formulas_stay_text(tmp_path: Path, capsys: Streams) -> None:
    write_dataset(tmp_path / "d", [made("=1+1.obj", [HELD] * 6)])
    main(["analyze", str(tmp_path / "d"), "--quiet", "--output", str(tmp_path / "r.csv")])
    assert next(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))["object_id"] == "'=1+1.obj"


@needs_plotly
def test_no_object_can_write_into_the_page(tmp_path: Path) -> None:
    bad = '</script><script>alert(1)</script><img src=x onerror="alert(2)">.obj'
    write_dataset(tmp_path / "d", [made(bad, [HELD] * 6)])
    main(["analyze", str(tmp_path / "d"), "--quiet", "--output", str(tmp_path / "r.html")])
    text = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in text and "<img src=x" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_a_report_without_plotly_says_what_to_install(tmp_path: Path, capsys: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    good(tmp_path / "d")
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert main(["analyze", str(tmp_path / "d"), "--output", str(tmp_path / "r.html")]) == ExitCode.BAD_INPUT
    assert install_command("report") in capsys.readouterr().err


# --- what the report shows -------------------------------------------------------------------------------------------------------


def test_worst_and_best_never_share_an_object(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", hand_made())
    facts = analysed(tmp_path / "d").objects
    worst, best = worst_and_best(facts)
    # Both hold 3 of 4; the one that was tried more often comes first. The rod was never tried.
    assert [each.object_id for each in (*worst, *best)] == ["mug.obj", "bowl.obj"]
    assert worst_and_best([]) == ([], [])
    assert worst_and_best([facts_of(made("a", [HELD]))])[1] == []


def wavy_sheet(count: int) -> TriangleMesh:
    """A square of 2 (count - 1)² triangles."""
    grid = [(x / count, y / count, 0.0) for x in range(count) for y in range(count)]
    faces = []
    for x in range(count - 1):
        for y in range(count - 1):
            a, b = x * count + y, (x + 1) * count + y
            faces += [(a, b, a + 1), (b, b + 1, a + 1)]
    return triangle_mesh(grid, faces)


def test_large_meshes_are_thinned_for_the_page() -> None:
    mesh = wavy_sheet(150)
    thin = thinned(mesh)
    assert len(mesh.faces) > MOST_FACES >= len(thin.faces) > 1000
    assert abs(thin.vertices.max() - mesh.vertices.max()) < 0.02
    assert thinned(wavy_sheet(10)).faces.shape == wavy_sheet(10).faces.shape


def test_a_thumbnail_shows_the_object() -> None:
    from PIL import Image

    from examples import example_object

    pictures = [Image.open(io.BytesIO(thumbnail(example_object(name).mesh))).convert("L") for name in ("box.stl", "ring.ply")]
    for picture in pictures:
        assert picture.size == (SIZE, SIZE)
        dark = sum(value < 250 for value in picture.tobytes())
        assert SIZE * SIZE * 0.05 < dark < SIZE * SIZE * 0.9
    assert pictures[0].tobytes() != pictures[1].tobytes()


@pytest.mark.slow
def test_the_drift_of_held_grasps_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real run, whose files have the measures."""
    where = ["--object-scales-json", str(OBJECTS / "graspgen_example.json"), "--grasp-dataset", str(tmp_path), "--quiet"]
    scales = tmp_path / "one.json"
    scales.write_text('{"box.stl": 0.001}')
    where[1] = str(scales)
    quotas = ["--num-collision-free-grasps", "4", "--num-colliding-grasps", "1"]
    assert main(["validate", *where, "--object-dataset", str(OBJECTS), *quotas, "--gripper-config", "franka_panda"]) == 0
    capsys.readouterr()
    main(["analyze", str(tmp_path), "--json"])
    drift = json.loads(capsys.readouterr().out)["drift"]["franka_panda"]
    assert drift["held_grasps"] == 4 and 0 < drift["slip_m"]["0.5"] < 0.05
    main(["analyze", str(tmp_path)])
    assert "franka_panda: drift of 4 held grasps: " in capsys.readouterr().out
