"""Mesh files as the trainer sees them; every way in which a file can be bad is one ObjectError of one line that names it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from graspgen_cli.errors import ObjectError
from graspgen_cli.objects.read import read_mesh

BOX_OBJ = """v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
f 1 4 3 2
f 5 6 7 8
f 1 2 6 5
f 2 3 7 6
f 3 4 8 7
f 4 1 5 8
"""
PLY_HEADER = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def corners(triangles: np.ndarray) -> np.ndarray:
    """Triangles (T, 3, 3) as a sorted set of rounded corners, however they are numbered."""
    return np.unique(np.round(triangles.reshape(-1, 9), 6), axis=0)


def two_bodies() -> trimesh.Scene:
    """Two boxes, one of them turned, moved and mirrored by its node."""
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box((0.1, 0.2, 0.3)), node_name="plain")
    pose = trimesh.transformations.rotation_matrix(0.7, (1, 2, 3), (0.1, 0, 0))
    pose[:3, 3] += (0.3, -0.1, 0.2)
    pose[:3, 0] *= -1
    scene.add_geometry(trimesh.creation.cylinder(0.05, 0.2, sections=7), node_name="mirrored", transform=pose)
    return scene


@pytest.mark.parametrize("suffix", ["obj", "stl", "ply", "glb", "off", "STL"])
def test_every_format_gives_the_same_box(tmp_path: Path, suffix: str) -> None:
    box = trimesh.creation.box((0.02, 0.04, 0.06))
    path = tmp_path / f"box.{suffix}"
    box.export(path, file_type=suffix.lower())
    mesh = read_mesh(path, 2.0).mesh
    assert mesh.vertices.dtype == np.float64 and mesh.faces.dtype == np.int32
    np.testing.assert_allclose(corners(mesh.vertices[mesh.faces]), corners(2 * box.triangles), atol=1e-6)


@pytest.mark.parametrize("suffix", ["glb", "gltf", "obj"])
def test_bodies_stand_where_the_trainer_sees_them(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"two.{suffix}"
    if suffix == "gltf":
        for name, content in trimesh.exchange.gltf.export_gltf(two_bodies()).items():
            write(tmp_path, "two.gltf" if name == "model.gltf" else name, content)
    else:
        two_bodies().export(path)
    seen = trimesh.load(path)
    seen = seen.to_mesh() if isinstance(seen, trimesh.Scene) else seen
    seen.apply_scale(0.5)
    mesh = read_mesh(path, 0.5).mesh
    np.testing.assert_allclose(corners(mesh.vertices[mesh.faces]), corners(seen.triangles), atol=1e-7)
    assert len(mesh.faces) == len(seen.faces)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume == pytest.approx(seen.volume) and seen.volume > 0


def test_several_materials_are_one_mesh(tmp_path: Path) -> None:
    lines = BOX_OBJ.splitlines(keepends=True)
    text = "mtllib missing.mtl\n" + "".join([*lines[:8], "usemtl red\n", *lines[8:11], "usemtl blue\n", *lines[11:]])
    mesh = read_mesh(write(tmp_path, "box.obj", text), 1.0).mesh
    assert len(mesh.faces) == 12
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume == pytest.approx(1.0)


def test_the_hash_is_of_bytes_and_scale(tmp_path: Path) -> None:
    first = read_mesh(write(tmp_path, "a.obj", BOX_OBJ), 0.1).content_hash
    assert len(first) == 64
    assert read_mesh(write(tmp_path, "b.obj", BOX_OBJ), 0.1).content_hash == first
    assert read_mesh(tmp_path / "a.obj", 0.2).content_hash != first
    assert read_mesh(write(tmp_path, "c.obj", BOX_OBJ + "#\n"), 0.1).content_hash != first


def test_materials_do_not_count_and_buffers_do(tmp_path: Path) -> None:
    path = write(tmp_path, "a.obj", "mtllib a.mtl\n" + BOX_OBJ)
    before = read_mesh(path, 0.1).content_hash
    write(tmp_path, "a.mtl", "newmtl red\nKd 1 0 0\n")
    assert read_mesh(path, 0.1).content_hash == before
    for name, content in trimesh.exchange.gltf.export_gltf(trimesh.Scene(trimesh.creation.box((0.1, 0.1, 0.1)))).items():
        write(tmp_path, name, content)
    before = read_mesh(tmp_path / "model.gltf", 1.0).content_hash
    buffer = min(tmp_path.glob("*.bin"), key=lambda path: path.stat().st_size)  # 8 vertices are smaller than 12 faces
    content = bytearray(buffer.read_bytes())
    content[0] ^= 1
    buffer.write_bytes(content)
    assert read_mesh(tmp_path / "model.gltf", 1.0).content_hash != before


def test_a_comment_in_latin_1_does_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path, "box.obj", "# größer\n".encode("latin-1") + BOX_OBJ.encode())
    assert len(read_mesh(path, 1.0).mesh.faces) == 12


BAD_FILES = [
    ("empty.obj", b"", "empty file"),
    ("blank.stl", b" \n\t ", "empty file"),
    ("noise.obj", bytes(range(256)) * 20, "no faces"),
    # Which of the two depends on trimesh, and on whether a package that tells text encodings apart is installed.
    ("noise.stl", bytes(range(256)) * 20, "cannot be read as STL|holds no geometry"),
    ("noise.ply", bytes(range(256)) * 20, "cannot be read as PLY"),
    ("noise.glb", bytes(range(256)) * 20, "cannot be read as GLB"),
    ("noise.gltf", bytes(range(256)) * 20, "cannot be read as GLTF"),
    ("noise.off", bytes(range(256)) * 20, "cannot be read as OFF"),
    ("text.obj", "this is not a mesh\n", "no faces"),
    ("points.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no faces"),
    ("points.ply", PLY_HEADER + "end_header\n0 0 0\n1 0 0\n0 1 0\n", "no faces"),
    ("nofaces.ply", PLY_HEADER + "element face 0\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n", "no faces"),
    ("lines.obj", "v 0 0 0\nv 1 0 0\nl 1 2\n", "no faces"),
    ("nofaces.off", "OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", "has no faces"),
    ("nan.obj", BOX_OBJ.replace("v 1 1 1", "v nan 1 1"), "NaN"),
    ("inf.obj", BOX_OBJ.replace("v 1 1 1", "v inf 1 1"), "NaN or infinite"),
    ("beyond.obj", BOX_OBJ + "f 1 2 99\n", "cannot be read as OBJ|a face names a vertex that does not exist"),
    ("beyond.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "cannot be read as OFF|a face names a vertex that does not exist"),
    ("cut.obj", BOX_OBJ[: BOX_OBJ.index("f 5")] + "f 5 6 x 8\n", "cannot be read as OBJ"),
    ("huge.off", "OFF\n999999999999 1 0\n0 0 0\n", "cannot be read as OFF"),
    ("point.obj", "v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "one point"),
    ("mesh.dae", "<COLLADA/>", "not a known mesh format"),
    ("mesh", BOX_OBJ, "not a known mesh format"),
    ("no_scene.gltf", json.dumps({"asset": {"version": "2.0"}}), "holds no geometry"),
    (
        "no_buffer.gltf",
        json.dumps({"asset": {"version": "2.0"}, "buffers": [{"uri": "gone.bin", "byteLength": 4}]}),
        "it needs the file .*gone.bin, which is missing",
    ),
    ("short.stl", b"\0" * 80 + struct.pack("<I", 10) + b"\0" * 50, "holds no geometry"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BAD_FILES, ids=[entry[0] for entry in BAD_FILES])
def test_a_bad_file_is_one_line_that_names_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: str | bytes, reason: str
) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(ObjectError, match=reason) as caught:
        read_mesh(path, 1.0)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ObjectError, match="no such file"):
        read_mesh(tmp_path / "none.obj", 1.0)
    (tmp_path / "folder.obj").mkdir()
    with pytest.raises(ObjectError, match="is a folder"):
        read_mesh(tmp_path / "folder.obj", 1.0)
    with pytest.raises(ObjectError, match="cannot be read"):
        read_mesh(write(tmp_path, "file", "x") / "below.obj", 1.0)


@pytest.mark.parametrize(
    ("scale", "reason"), [(1e-4, "0.1 mm large at scale 0.0001, under 0.5 mm"), (10.0, "10 m large at scale 10, over 5 m")]
)
def test_an_absurd_size_hints_at_the_unit(tmp_path: Path, scale: float, reason: str) -> None:
    path = write(tmp_path, "box.obj", BOX_OBJ)
    with pytest.raises(ObjectError, match=reason) as caught:
        read_mesh(path, scale)
    assert "wrong unit" in str(caught.value)


def test_a_good_file_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read_mesh(write(tmp_path, "box.obj", "mtllib gone.mtl\nusemtl gone\n" + BOX_OBJ), 1.0)
    assert capfd.readouterr() == ("", "")
