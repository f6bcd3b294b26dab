"""`graspgen view`: what it finds, what it exports, and what it says of files that cannot be shown."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from examples import EXAMPLES, OBJECTS
from foreign_files import isaac_document, write_datagen, write_webdataset, write_yaml
from graspgen_cli.app import main
from graspgen_cli.drawing.grasp_page import GraspPage
from graspgen_cli.drawing.scenes import GraspScene, GraspSource
from graspgen_cli.drawing.view import open_view
from graspgen_cli.drawing.web import web_server
from graspgen_cli.errors import InputError, install_command
from graspgen_cli.formats.graspgen_json import read_grasp_file
from graspgen_cli.geometry.poses import inverse, pose
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.objects.read import read_mesh
from graspgen_cli.records import GraspBatch, GraspDataset, Gripper, Outcome
from graspgen_cli.settings.commands import ViewCommand
from graspgen_cli.settings.datasets import FigureKind, OutcomeName
from made_datasets import document, make_dataset, signed
from test_drawing import needs_opengl

FIGURES = list(FigureKind)


def source_of(path: Path | str, **settings: object) -> GraspSource:
    found = open_view(ViewCommand.of(grasp_dataset=path, object_dataset=OBJECTS, **settings)).source
    assert isinstance(found, GraspSource)
    return found


def view(*arguments: object) -> int:
    return main(["view", *(str(argument) for argument in arguments), "--object-dataset", str(OBJECTS)])


def test_a_dataset_lists_its_objects_and_a_scene_has_mesh_gripper_and_grasps(made_dataset: Path) -> None:
    source = source_of(made_dataset)
    assert source.titles == ("box.stl", "pear.obj")
    scene = source.scene(1)
    assert scene.notes == () and scene.gripper is not None and scene.gripper.name == "robotiq_2f_85"
    assert scene.mesh is not None and len(scene.mesh.faces) == len(read_mesh(OBJECTS / "pear.obj", EXAMPLES["pear.obj"]).mesh.faces)
    assert scene.grasp.tolist() == list(range(len(scene.dataset.grasps)))


def test_objects_are_found_by_part_of_their_name(made_dataset: Path) -> None:
    assert source_of(made_dataset, object="PEAR").first() == 1
    assert source_of(made_dataset).first() == 0
    with pytest.raises(InputError, match=r"no object with 'cup' in its name; there are box.stl, pear.obj"):
        source_of(made_dataset, object="cup").first()


def test_the_filters_leave_the_grasps_that_they_name(made_dataset: Path) -> None:
    source = source_of(made_dataset, outcome=OutcomeName.COLLISION)
    scene = source.scene(0)
    assert set(scene.dataset.grasps.outcome) == {Outcome.COLLISION} and len(scene.grasp) == 2
    assert source_of(made_dataset, grasp=3).scene(0).grasp.tolist() == [3]
    with pytest.raises(InputError, match=r"box.*grasps.json: there is no grasp 999; the last is"):
        source_of(made_dataset, grasp=999).scene(0)
    with pytest.raises(InputError, match=r"none of its \d+ grasps is unstable"):
        source_of(made_dataset, outcome=OutcomeName.UNSTABLE).scene(0)


def test_grasps_of_every_format_are_shown(tmp_path: Path) -> None:
    write_datagen(tmp_path / "theirs", ["mug.obj"])
    write_webdataset(tmp_path / "shards", ["mug.obj", "pear.obj"])
    write_yaml(tmp_path / "one.yaml", isaac_document(object_file="mug.obj", object_scale=0.001))
    for path, objects, grasps in (("theirs", 1, 8), ("shards", 2, 8), ("one.yaml", 1, 5)):
        source = source_of(tmp_path / path)
        assert len(source.titles) == objects
        assert all(len(source.scene(number).grasp) == grasps for number in range(objects))


def test_a_gripper_whose_frame_another_tool_turned_is_drawn_as_that_tool_means_it(tmp_path: Path) -> None:
    """The fingers open along Y there; GraspGen's frame, which the file gives as well, is the same for both."""
    folder = write_datagen(tmp_path, ["mug.obj"])
    raw = json.loads(next(folder.glob("mug*")).read_text())
    quarter = pose(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.zeros(3))
    scene = source_of(tmp_path).scene(0)
    assert scene.gripper is not None
    ours_in_graspgen = scene.gripper.pose_base_in_graspgen
    drawn = scene.dataset.grasps.pose_gripper_in_object @ inverse(ours_in_graspgen)
    assert drawn == pytest.approx(np.array(raw["grasps"]["transforms"]) @ quarter, abs=1e-9)


def test_a_missing_mesh_and_an_unknown_gripper_are_notes_and_the_grasps_are_still_shown(tmp_path: Path) -> None:
    (tmp_path / "a.grasps.json").write_text(json.dumps({k: v for k, v in document("gone.obj").items() if k in ("object", "grasps")}))
    scene = source_of(tmp_path).scene(0)
    assert scene.mesh is None and scene.gripper is None and len(scene.grasp) == 8
    assert [note.split(":")[0] for note in scene.notes] == ["the object is not drawn", "grasps are drawn as lines"]
    assert source_of(tmp_path, gripper_config="franka_panda").scene(0).gripper is not None


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.obj", "a\nb.obj"])
def test_a_file_cannot_make_us_read_a_mesh_outside_the_folder(tmp_path: Path, name: str) -> None:
    content = document("a.obj")
    content["object"]["file"] = name
    (tmp_path / "a.grasps.json").write_bytes(signed(content))
    scene = source_of(tmp_path).scene(0)
    assert scene.mesh is None and "not drawn" in scene.notes[0] and "\n" not in scene.notes[0]


@pytest.mark.parametrize("suffix", [".png", ".glb", ".html"])
@pytest.mark.parametrize("figure", FIGURES)
def test_every_form_of_export(
    made_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, figure: FigureKind
) -> None:
    if suffix == ".html":
        pytest.importorskip("viser", reason="viser is not installed")
    if suffix == ".png" and needs_opengl.args[0]:
        pytest.skip(needs_opengl.kwargs["reason"])
    path = tmp_path / f"pear{suffix}"
    assert view(made_dataset, "--object", "pear", "--figure", figure, "--export", path, "--picture-width", 320) == 0
    assert capsys.readouterr().out == f"file: {path}\n"
    content = path.read_bytes()
    if suffix == ".png":
        assert Image.open(io.BytesIO(content)).size == (320, 240)
    elif suffix == ".glb":
        nodes = trimesh.load_scene(io.BytesIO(content), file_type="glb").graph.nodes_geometry
        outcomes = read_grasp_file(next(made_dataset.rglob("pear*.grasps.json"))).grasps.outcome
        expected = {f"grasp_{n}_{Outcome(int(outcome)).label}" for n, outcome in enumerate(outcomes)}
        assert {node.partition("/")[0] for node in nodes} == {"object", *expected} and len(expected) >= 8
    else:
        assert content.startswith(b"<!doctype html>") and b"__VISER_EMBED_DATA__" in content
        assert b'src="http' not in content and b'href="http' not in content


@pytest.mark.parametrize("suffix", [".png", ".glb", ".html"])
def test_every_form_of_export_of_a_gripper(tmp_path: Path, suffix: str) -> None:
    if suffix == ".html":
        pytest.importorskip("viser", reason="viser is not installed")
    path = tmp_path / f"hand{suffix}"
    assert main(["view", "franka_panda", "--export", str(path), "--json"]) == 0
    assert len(path.read_bytes()) > 1000


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere"], 3, "nowhere: no such dataset, grasp file or gripper; grippers are franka_panda"),
        (["franka_pandas"], 3, "no such dataset, grasp file or gripper"),
        (["hand.urdf"], 3, "gripper model hand.urdf does not exist"),
        (["results", "--export", "a.jpg"], 2, "--export: 'a.jpg' is not allowed; give a path that ends in .png, .glb, .html"),
        (["results", "--figure", "hand"], 2, "--figure: 'hand' is not allowed; give one of lines, gripper"),
        (["results", "--port", "0"], 2, "--port: '0' is not allowed"),
    ],
)
def test_wrong_command_lines(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["view", *arguments]) == code
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


BROKEN = {
    "no JSON": b"\x00\x01{",
    "another thing": b'{"a": 1}',
    "damaged": signed(document("mug.obj")).replace(b"held", b"hled", 1),
    "not a rotation of numbers": b'{"object": {"file": "a", "scale": 1}, "grasps": {"transforms": [["x"]], "object_in_gripper": [true]}}',
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_file_is_named_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    path = tmp_path / "bad.grasps.json"
    path.write_bytes(BROKEN[how])
    assert view(path, "--export", tmp_path / "a.glb") == 1
    error = capsys.readouterr().err
    assert str(path) in error and error.count("\n") == 1
    assert not (tmp_path / "a.glb").exists()


@pytest.mark.parametrize("host", ["198.51.100.7", "no such name", "x" * 70])
def test_an_address_that_is_not_this_machines_is_refused(made_dataset: Path, capsys: pytest.CaptureFixture[str], host: str) -> None:
    pytest.importorskip("viser", reason="viser is not installed")
    assert view(made_dataset, "--host", host) == 4
    error = capsys.readouterr().err
    assert f"--host {host}: cannot be listened on" in error and error.count("\n") == 1


def test_an_unwritable_place_is_named(made_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert view(made_dataset, "--export", tmp_path / "file" / "a.glb") == 4
    assert "cannot be written" in capsys.readouterr().err


def test_a_damaged_archive_beside_good_files_is_named_and_the_exit_code_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_webdataset(tmp_path, ["mug.obj", "pear.obj"])
    (tmp_path / "shard_001.tar").write_bytes(b"no archive at all" * 100)
    assert view(tmp_path, "--export", tmp_path / "a.glb") == 1
    assert "shard_001.tar" in capsys.readouterr().err
    assert (tmp_path / "a.glb").exists()


def test_a_folder_of_nothing_but_a_damaged_archive_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shard_000.tar").write_bytes(b"no archive at all" * 100)
    assert view(tmp_path, "--export", tmp_path / "a.glb") == 3
    assert "shard_000.tar" in capsys.readouterr().err
    assert main(["replay", str(tmp_path)]) == 3
    assert "shard_000.tar" in capsys.readouterr().err


def test_without_viser_the_error_names_the_extra(
    made_dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "viser", None)
    assert view(made_dataset) == 4
    assert f"run {install_command('view')}" in capsys.readouterr().err


def many_grasps(count: int, gripper: Gripper) -> GraspScene:
    """A mug with thousands of grasps around it."""
    rng = np.random.Generator(np.random.Philox(3))
    rotation = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    rotation[:, :, 0] *= np.linalg.det(rotation)[:, None]
    width = rng.uniform(*gripper.opening_width[[0, -1]], count)
    grasps = GraspBatch(pose(rotation, rng.normal(size=(count, 3)) * 0.1), width, rng.integers(1, 4, count).astype(np.int8))
    mesh = read_mesh(OBJECTS / "mug.obj", EXAMPLES["mug.obj"]).mesh
    return GraspScene("mug", GraspDataset("mug.obj", 1.0, gripper.name, 0.08, 0.1, grasps), np.arange(count), mesh, gripper)


def test_three_thousand_grasps_are_few_messages_and_a_few_megabytes() -> None:
    """And hiding an outcome sends no grasp again."""
    pytest.importorskip("viser", reason="viser is not installed")
    scene = many_grasps(3000, load_gripper("robotiq_2f_85"))
    with web_server(host="127.0.0.1", port=0) as server:
        start = time.perf_counter()
        page = GraspPage(server, ["mug"], lambda _: scene, kind=FigureKind.GRIPPER)
        page.open(0)
        seconds = time.perf_counter() - start
        size = len(server.get_scene_serializer().serialize())
        messages = server._websock_server._broadcast_buffer.message_from_id.values()  # nothing public counts them
        sent = [message for message in messages if "Batched" in type(message).__name__]
    print(f"3,000 grippers of 7 bodies: {len(sent)} nodes, {size / 1e6:.2f} MB compressed, built in {seconds:.2f} s")
    assert len(sent) <= 3 * 7 + 7
    assert size < 4e6
    assert seconds < 10.0


def test_a_broken_file_picked_on_the_page_is_said_there_and_the_next_one_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("viser", reason="viser is not installed")
    paths = make_dataset(tmp_path, ["mug.obj", "pear.obj"])
    next(paths.grasps.glob("mug*")).write_bytes(b"{")
    source = source_of(tmp_path)
    with web_server(host="127.0.0.1", port=0) as server:
        page = GraspPage(server, source.titles, source.scene, kind=FigureKind.LINES)
        page.open(1)
        texts = []
        for title in ("mug.obj", "pear.obj"):
            page.pick(title)
            texts.append(page.summary)
    assert "Cannot be shown" in texts[0] and "mug" in texts[0]
    assert "6 held" in texts[1] and "Cannot" not in texts[1]


def test_what_a_file_says_is_text_on_the_page_and_never_markup(tmp_path: Path) -> None:
    pytest.importorskip("viser", reason="viser is not installed")
    name = "<img src=x onerror=alert(1)>.obj"
    (tmp_path / "a.grasps.json").write_bytes(signed(document(name)))
    source = source_of(tmp_path)
    with web_server(host="127.0.0.1", port=0) as server:
        page = GraspPage(server, source.titles, lambda number: replace(source.scene(number)), kind=FigureKind.LINES)
        page.open(0)
        assert "<img" not in page.summary and "&lt;img" in page.summary
