"""USD meshes: units, transforms, polygons, handedness, what is not shown, and files that are broken."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from graspgen_cli.errors import ObjectError, install_command
from graspgen_cli.geometry.meshes import is_closed, signed_volume
from graspgen_cli.objects.read import read_mesh

CUBE = """
    point3f[] points = [(0,0,0), (1,0,0), (1,1,0), (0,1,0), (0,0,1), (1,0,1), (1,1,1), (0,1,1)]
    int[] faceVertexCounts = [4, 4, 4, 4, 4, 4]
    int[] faceVertexIndices = [0,3,2,1, 4,5,6,7, 0,1,5,4, 1,2,6,5, 2,3,7,6, 3,0,4,7]
"""


def stage(folder: Path, body: str, meta: str = "metersPerUnit = 1", name: str = "object.usda") -> Path:
    path = folder / name
    path.write_text(f"#usda 1.0\n(\n    {meta}\n)\n{body}\n")
    return path


def test_without_usd_core_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(ObjectError, match=re.escape(install_command("usd"))) as caught:
        read_mesh(stage(tmp_path, ""), 1.0)
    assert str(tmp_path) in str(caught.value)


@pytest.fixture
def usd() -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")


pytest_usd = pytest.mark.usefixtures("usd")


@pytest_usd
def test_units_and_scale_multiply(tmp_path: Path) -> None:
    mesh = read_mesh(stage(tmp_path, f'def Mesh "cube" {{ {CUBE} }}', "metersPerUnit = 0.01"), 5.0).mesh
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx([0.05] * 3)
    assert is_closed(mesh) and signed_volume(mesh) == pytest.approx(0.05**3)


@pytest_usd
def test_without_a_unit_usd_means_centimetres(tmp_path: Path) -> None:
    mesh = read_mesh(stage(tmp_path, f'def Mesh "cube" {{ {CUBE} }}', ""), 1.0).mesh
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx([0.01] * 3)


@pytest_usd
def test_transforms_of_parents_are_applied(tmp_path: Path) -> None:
    body = f"""
    def Xform "world" {{
        double3 xformOp:translate = (2, 0, 0)
        float xformOp:rotateZ = 90
        uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:rotateZ"]
        def Mesh "cube" {{ {CUBE}
            float3 xformOp:scale = (1, 2, 3)
            uniform token[] xformOpOrder = ["xformOp:scale"]
        }}
    }}"""
    mesh = read_mesh(stage(tmp_path, body), 1.0).mesh
    np.testing.assert_allclose([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)], [[0, 0, 0], [2, 1, 3]], atol=1e-6)
    assert signed_volume(mesh) == pytest.approx(6)


@pytest_usd
@pytest.mark.parametrize(("orientation", "mirror"), [("leftHanded", 1), ("rightHanded", -1), ("leftHanded", -1)])
def test_handedness_and_mirrors_keep_outside_outside(tmp_path: Path, orientation: str, mirror: int) -> None:
    cube = CUBE
    if orientation == "leftHanded":
        for face in ("0,3,2,1", "4,5,6,7", "0,1,5,4", "1,2,6,5", "2,3,7,6", "3,0,4,7"):
            cube = cube.replace(face, ",".join(reversed(face.split(","))).replace(",", ";"))
    body = f"""def Mesh "cube" {{ {cube.replace(";", ",")}
        uniform token orientation = "{orientation}"
        float3 xformOp:scale = ({mirror}, 1, 1)
        uniform token[] xformOpOrder = ["xformOp:scale"]
    }}"""
    assert signed_volume(read_mesh(stage(tmp_path, body), 1.0).mesh) == pytest.approx(1)


@pytest_usd
def test_concave_polygons_are_cut_inside(tmp_path: Path) -> None:
    ell = [(0, 0), (3, 0), (3, 1), (1, 1), (1, 3), (0, 3)]
    points = [(x, y, 0) for x, y in ell] + [(x, y, 1) for x, y in ell]
    sides = [4, 5, 0, 1, 2, 3]  # the loop starts at a corner from which a fan leaves the outline
    faces = [list(reversed(sides)), [6 + i for i in sides]] + [[i, (i + 1) % 6, 6 + (i + 1) % 6, 6 + i] for i in range(6)]
    body = f"""def Mesh "ell" {{
        point3f[] points = [{", ".join(map(str, points))}]
        int[] faceVertexCounts = [{", ".join(str(len(face)) for face in faces)}]
        int[] faceVertexIndices = [{", ".join(str(i) for face in faces for i in face)}]
    }}"""
    mesh = read_mesh(stage(tmp_path, body), 1.0).mesh
    assert is_closed(mesh) and signed_volume(mesh) == pytest.approx(5)
    triangles = mesh.vertices[mesh.faces]
    areas = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1) / 2
    assert areas.sum() == pytest.approx(2 * 5 + 12)


@pytest_usd
def test_only_what_is_shown_counts_and_instances_count_each(tmp_path: Path) -> None:
    stage(tmp_path, f'def Xform "root" {{\n def Mesh "cube" {{ {CUBE} }}\n}}', 'defaultPrim = "root"', "part.usda")
    moved = """def Xform "{0}" (
        instanceable = true
        prepend references = @./part.usda@
    ) {{
        double3 xformOp:translate = ({1}, 0, 0)
        uniform token[] xformOpOrder = ["xformOp:translate"]
    }}"""
    body = f"""
    {moved.format("one", 0)}
    {moved.format("two", 2)}
    def Mesh "hidden" {{ {CUBE}
        token visibility = "invisible"
    }}
    def Mesh "proxy" {{ {CUBE}
        uniform token purpose = "proxy"
    }}
    """
    raw = read_mesh(stage(tmp_path, body), 1.0)
    assert signed_volume(raw.mesh) == pytest.approx(2) and raw.mesh.vertices[:, 0].max() == pytest.approx(3)
    stage(tmp_path, f'def Xform "root" {{\n def Mesh "cube" {{ {CUBE}\ndouble more = 1\n}}\n}}', 'defaultPrim = "root"', "part.usda")
    pxr_sdf = sys.modules["pxr"].Sdf
    for layer in pxr_sdf.Layer.GetLoadedLayers():
        if layer.realPath.startswith(str(tmp_path)):  # USD's own schemas are layers too, and do not survive it
            layer.Reload()
    assert read_mesh(tmp_path / "object.usda", 1.0).content_hash != raw.content_hash


BROKEN = [
    ("not a usd layer", "cannot be read as USD"),
    ('#usda 1.0\ndef Xform "empty" { }\n', "no visible UsdGeom mesh"),
    ('#usda 1.0\ndef Xform "a" ( prepend references = @./gone.usda@ ) { }\n', "a file that it refers to cannot be composed"),
    (
        '#usda 1.0\ndef Mesh "m" {\npoint3f[] points = [(0,0,0)]\nint[] faceVertexCounts = [3]\nint[] faceVertexIndices = [0, 1, 2]\n}\n',
        "do not exist",
    ),
    (
        '#usda 1.0\ndef Mesh "m" {\npoint3f[] points = [(0,0,0)]\nint[] faceVertexCounts = [5]\nint[] faceVertexIndices = [0]\n}\n',
        "do not exist",
    ),
    ('#usda 1.0\ndef Mesh "m" { }\n', "no faces"),
]


@pytest_usd
@pytest.mark.parametrize(("content", "reason"), BROKEN)
def test_a_broken_stage_is_one_silent_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], content: str, reason: str) -> None:
    path = tmp_path / "broken.usda"
    path.write_text(content)
    with pytest.raises(ObjectError, match=reason) as caught:
        read_mesh(path, 1.0)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
