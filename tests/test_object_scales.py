"""Scales files made from meshes and from grasps: what is asked for, the same every time, and what cannot be used is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from foreign_files import datagen_document, isaac_document, write_datagen, write_shard, write_yaml
from graspgen_cli.app import main
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.making.object_scales import FIT, ScaleRule
from graspgen_cli.objects.scales import read_scales

SIZES = st.lists(st.floats(1e-3, 1e4), min_size=3, max_size=3).map(np.array)


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """Two good meshes in millimetres, one broken, and files that are none."""
    folder = tmp_path / "meshes"
    (folder / "cups").mkdir(parents=True)
    trimesh.creation.box((30, 40, 50)).export(folder / "brick.stl")
    trimesh.creation.box((300, 200, 400)).export(folder / "cups" / "Big.OBJ", file_type="obj")
    (folder / "notes.txt").write_text("no mesh")
    (folder / ".hidden.obj").write_text("no mesh")
    return folder


def make(meshes: Path, *flags: str, code: int = 0) -> dict[str, float]:
    output = meshes.parent / "scales.json"
    assert main(["object-scales", str(meshes), "--scales-file", str(output), "--overwrite-scales", "--quiet", *flags]) == code
    listed = read_scales(output)
    assert listed.problems == ()
    return dict(listed.entries)


def test_a_folder_of_meshes(meshes: Path) -> None:
    assert make(meshes, "--unit", "mm") == {"brick.stl": 0.001, "cups/Big.OBJ": 0.001}


def test_largest_extent(meshes: Path) -> None:
    assert make(meshes, "--unit", "mm", "--max-extent", "0.2") == {"brick.stl": 0.001, "cups/Big.OBJ": 0.0005}


def test_some_extent_fits_the_gripper(meshes: Path) -> None:
    width = load_gripper("franka_panda").width
    scales = make(meshes, "--unit", "mm", "--fit-to-gripper", "--gripper-config", "franka_panda")
    assert scales["brick.stl"] == 0.001
    assert scales["cups/Big.OBJ"] * 200 == pytest.approx(FIT * width)


def test_random_factors_are_the_objects_own(meshes: Path) -> None:
    flags = ["--unit", "mm", "--random-scale", "[0.5, 2]"]
    first = make(meshes, *flags)
    assert first == make(meshes, *flags)
    assert first != make(meshes, *flags, "--seed", "1")
    assert len(set(first.values())) == 2
    (meshes / "brick.stl").unlink()
    assert make(meshes, *flags)["cups/Big.OBJ"] == first["cups/Big.OBJ"]


@settings(max_examples=40)
@given(extents=SIZES, low=st.floats(0.1, 1), high=st.floats(1, 10), limit=st.floats(0.01, 1), opening=st.floats(0.01, 0.2))
def test_the_limits_hold_whatever_the_size(extents: np.ndarray, low: float, high: float, limit: float, opening: float) -> None:
    free = ScaleRule(metres_per_unit=0.001, seed=0, factors=(low, high)).scale("a", extents)
    assert low * 0.001 * (1 - 1e-8) <= free <= high * 0.001 * (1 + 1e-8)
    bound = ScaleRule(metres_per_unit=0.001, seed=0, factors=(low, high), max_extent=limit, opening=opening).scale("a", extents)
    assert bound <= free
    assert bound * extents.max() <= limit * (1 + 1e-8)
    assert bound * extents.min() <= FIT * opening * (1 + 1e-8)
    assert bound == free or max(bound * extents.max() / limit, bound * extents.min() / (FIT * opening)) == pytest.approx(1, rel=1e-7)


def test_what_cannot_be_used_is_named(meshes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (meshes / "broken.stl").write_bytes(b"no mesh")
    assert make(meshes, "--unit", "mm", code=1) == {"brick.stl": 0.001, "cups/Big.OBJ": 0.001}
    (line,) = capsys.readouterr().err.splitlines()
    assert "broken.stl" in line
    assert main(["object-scales", str(meshes), "--scales-file", str(meshes / "s.json"), "--quiet"]) == 3  # in metres: 50 m and 400 m large
    assert "give its --unit" in capsys.readouterr().err
    assert not (meshes / "s.json").exists()


def test_the_same_list_from_the_grasps_of_graspdatagen(tmp_path: Path) -> None:
    write_datagen(tmp_path, ["cups/mug.obj", "box.stl"])
    assert make(tmp_path / "x", "--from-graspgen", str(tmp_path)) == {"box.stl": 0.5, "cups/mug.obj": 0.5}
    write_yaml(tmp_path / "isaac" / "a.yaml", isaac_document())
    assert make(tmp_path / "x", "--from-graspgen", str(tmp_path / "isaac")) == {"cups/mug.obj": 0.5}


def test_the_published_shards_give_the_published_list(tmp_path: Path) -> None:
    """Objects by uuid, as in the archive, whatever the files call them; floats to the last bit."""
    rng = np.random.default_rng(0)
    expected = {f"{rng.bytes(16).hex()}.obj": float(scale) for scale in 10 ** rng.uniform(-4, 1, 50)}
    members = {}
    for name, scale in expected.items():
        document = datagen_document(f"xy/{name}", count=1, scale=scale)
        members[f"{name.removesuffix('.obj')}.grasps.json"] = json.dumps(document).encode()
    folder = tmp_path / "grasp_data" / "franka_panda"
    write_shard(folder / "shard_000.tar", members)
    (folder / "uuid_index.json").write_text(json.dumps({name.removesuffix(".obj"): 0 for name in expected}))
    found = make(tmp_path / "x", "--from-graspgen", str(tmp_path), "--object-names", "uuid", "--mesh-suffix", ".obj")
    assert found == expected
    assert list(found) == sorted(expected)


def test_several_scales_of_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for scale in (0.5, 1.0):
        (tmp_path / f"{scale}.json").write_text(json.dumps(datagen_document("mug.obj", scale=scale)))
    assert make(tmp_path / "x", "--from-graspgen", str(tmp_path), code=1) == {"mug.obj": 0.5}
    assert "has the scale 1 here and 0.5 elsewhere" in capsys.readouterr().err


def test_a_file_that_is_there_is_kept(meshes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = meshes / "mine.json"
    path.write_text("{}")
    assert main(["object-scales", str(meshes), "--scales-file", str(path), "--unit", "mm"]) == 4
    assert "--overwrite-scales" in capsys.readouterr().err
    assert path.read_text() == "{}"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 3, "no such folder"),
        (["."], 3, "no meshes"),
        ([".", "--random-scale", "[2, 1]"], 2, "the lower one first"),
        ([".", "--random-scale", "[0, 1]"], 2, "--random-scale"),
        (["--from-graspgen", "nowhere"], 3, "no such file or folder"),
        ([".", "--unit", "yard"], 2, "one of m, cm, mm, inch"),
    ],
)
def test_wrong_calls(arguments: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["object-scales", *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
