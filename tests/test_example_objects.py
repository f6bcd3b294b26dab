"""The example objects are what their table says: real sizes, closed bodies, places that a gripper can span, hard where stated."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

Floats = NDArray[np.float64]

OBJECTS = Path(__file__).parents[1] / "objects"
LISTS = ("graspgen_example.json", "hard_example.json")
SCALES = {name: json.loads((OBJECTS / name).read_text("utf-8")) for name in LISTS}
EXAMPLES, HARD = SCALES[LISTS[0]], SCALES[LISTS[1]]
MESH_FORMATS = {".obj", ".stl", ".ply", ".glb", ".off"}

SIZE_MM = {
    "mug.obj": (111.5, 80, 95),
    "bottle.obj": (66, 66, 205),
    "bowl.obj": (148.6, 148.6, 71),
    "box.stl": (40, 60, 120),
    "banana.obj": (179, 35, 60),
    "hammer.obj": (113, 28, 280),
    "ring.ply": (66, 66, 12),
    "caltrop.off": (57, 57, 57),
    "plate.obj": (220, 220, 23),
    "stack.obj": (72, 72, 58),
    "spanner.stl": (165, 36, 7),
    "spray_can.glb": (67, 67, 214),
    "pear.obj": (67, 67, 95),
    "hard/large_sphere.obj": (150, 150, 150),
    "hard/sheet.obj": (120, 80, 0.5),
    "hard/tiny_sphere.stl": (4, 4, 4),
    "hard/open_box.obj": (50, 70, 60),
    "hard/torn_ball.ply": (60, 60, 60),
}


@cache
def bodies_of(path: Path, scale: float) -> tuple[trimesh.Trimesh, ...]:
    """The file's bodies, in metres."""
    return tuple(body.apply_scale(scale) for body in trimesh.load_scene(path).dump())


def example_bodies(file: str) -> tuple[trimesh.Trimesh, ...]:
    return bodies_of(OBJECTS / file, {**EXAMPLES, **HARD}[file])


def thickness(file: str, samples: int = 2000) -> Floats:
    """(N,) m: material behind points spread evenly over the surface, straight inwards; inf where there is no far side."""
    mesh = trimesh.util.concatenate(example_bodies(file))
    points, faces = trimesh.sample.sample_surface(mesh, samples, seed=0)
    inwards = -mesh.face_normals[faces]
    skip = 1e-6
    hits, rays, _ = mesh.ray.intersects_location(points + inwards * skip, inwards, multiple_hits=True)
    found = np.full(samples, np.inf)
    np.minimum.at(found, rays, np.linalg.norm(hits - points[rays], axis=1))
    return found


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_examples", OBJECTS / "make_examples.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def remade(maker: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("remade")
    maker.make_all(folder)
    return folder


def test_the_lists_name_every_mesh_and_every_named_mesh_exists() -> None:
    there = {path.relative_to(OBJECTS).as_posix() for path in OBJECTS.rglob("*") if path.suffix in MESH_FORMATS}
    assert there == {*EXAMPLES, *HARD}
    assert {*EXAMPLES, *HARD} == {*SIZE_MM}
    assert not {*EXAMPLES} & {*HARD}


def test_the_table_names_every_object_with_its_scale() -> None:
    table = (OBJECTS / "README.md").read_text("utf-8")
    for file, scale in {**EXAMPLES, **HARD}.items():
        faces = sum(len(body.faces) for body in example_bodies(file))
        row = next(line for line in table.splitlines() if line.startswith(f"| `{file}` |"))
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        assert (cells[1], cells[4]) == (str(scale), f"{faces:,}")
        assert [float(size) for size in cells[3].split(" × ")] == pytest.approx(SIZE_MM[file], abs=0.6)


def test_there_are_many_formats_units_and_files_of_several_bodies() -> None:
    assert len(EXAMPLES) >= 10
    assert {Path(file).suffix for file in EXAMPLES} == MESH_FORMATS
    assert len(set(EXAMPLES.values())) >= 4
    assert [file for file in EXAMPLES if len(example_bodies(file)) > 1] == ["hammer.obj", "spray_can.glb"]


def test_all_files_together_stay_small() -> None:
    assert sum(path.stat().st_size for path in OBJECTS.rglob("*") if path.is_file()) < 2_000_000


@pytest.mark.parametrize("file", SIZE_MM)
def test_size_is_that_of_the_real_thing(file: str) -> None:
    extents = trimesh.util.concatenate(example_bodies(file)).extents * 1000
    assert extents == pytest.approx(SIZE_MM[file], rel=1e-6, abs=0.5 if file in EXAMPLES else 1e-3)


@pytest.mark.parametrize("file", EXAMPLES)
def test_each_body_is_closed_and_faces_outwards(file: str) -> None:
    bodies = example_bodies(file)
    assert sum(len(body.faces) for body in bodies) < 6000
    for body in bodies:
        assert body.is_watertight and body.is_winding_consistent and body.volume > 0
        assert body.area_faces.min() > 0


@pytest.mark.parametrize("file", EXAMPLES)
def test_much_of_each_example_fits_between_the_fingers(file: str) -> None:
    depth = thickness(file)
    assert np.mean((depth > 0.001) & (depth < 0.070)) > 0.8


def test_the_mug_has_a_wall_of_three_millimetres() -> None:
    depth = thickness("mug.obj")
    assert depth.min() > 0.0025
    assert np.median(depth) == pytest.approx(0.003, abs=1e-4)


def test_the_large_sphere_is_too_wide_everywhere() -> None:
    assert thickness("hard/large_sphere.obj").min() > 0.085


def test_the_sheet_is_thinner_than_a_millimetre() -> None:
    assert np.median(thickness("hard/sheet.obj")) == pytest.approx(0.0005, rel=1e-3)


@pytest.mark.parametrize("file", ["hard/open_box.obj", "hard/torn_ball.ply"])
def test_the_broken_meshes_are_broken(file: str) -> None:
    (mesh,) = example_bodies(file)
    assert not mesh.is_watertight


def test_the_torn_ball_has_every_fault() -> None:
    mesh = trimesh.load_mesh(OBJECTS / "hard/torn_ball.ply", process=False)
    assert len(mesh.vertices) == 3 * len(mesh.faces)
    outwards = np.einsum("ij,ij->i", mesh.face_normals, mesh.triangles_center) > 0
    assert 0.1 < 1 - outwards.mean() < 0.2
    mesh.merge_vertices()
    distinct = np.unique(np.sort(mesh.faces, axis=1), axis=0)
    assert len(distinct) < len(mesh.faces)
    assert len(distinct) < 1280  # an icosphere's faces: some are gone


def test_the_scene_nodes_of_the_spray_can_matter() -> None:
    geometry = trimesh.load_scene(OBJECTS / "spray_can.glb").geometry
    assert all(mesh.bounds[0, 2] == pytest.approx(0, abs=1e-6) for mesh in geometry.values())
    can, cap = sorted(example_bodies("spray_can.glb"), key=lambda body: float(body.bounds[0, 2]))
    assert cap.bounds[0, 2] - can.bounds[0, 2] > 0.15


def test_making_the_examples_twice_gives_the_same_bytes(maker: ModuleType, remade: Path, tmp_path: Path) -> None:
    maker.make_all(tmp_path)
    files = sorted(path.relative_to(remade) for path in remade.rglob("*") if path.is_file())
    assert len(files) == len(SIZE_MM) + 3  # two lists, one file of materials
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for file in files:
        assert (remade / file).read_bytes() == (tmp_path / file).read_bytes(), file


@pytest.mark.parametrize("name", [*LISTS, "hammer.mtl"])
def test_the_committed_text_is_what_the_script_writes(remade: Path, name: str) -> None:
    assert (remade / name).read_bytes() == (OBJECTS / name).read_bytes()


@pytest.mark.parametrize("file", SIZE_MM)
def test_the_committed_meshes_are_what_the_script_makes(remade: Path, file: str) -> None:
    """By shape, not by bytes: another release of the CSG library may order or cut the faces of a solid in another way."""
    committed = example_bodies(file)
    made = bodies_of(remade / file, {**EXAMPLES, **HARD}[file])
    assert [body.volume for body in made] == pytest.approx([body.volume for body in committed], rel=1e-5)
    assert [body.area for body in made] == pytest.approx([body.area for body in committed], rel=1e-5)
    assert np.array([body.bounds for body in made]) == pytest.approx(np.array([body.bounds for body in committed]), abs=1e-6)


def test_the_script_writes_to_the_folder_that_is_named(maker: ModuleType, tmp_path: Path) -> None:
    maker.write_example(maker.Example("deep/folder/box.stl", 0.5, maker.box), tmp_path)
    mesh = trimesh.load_mesh(tmp_path / "deep/folder/box.stl")
    assert mesh.extents * 0.5 == pytest.approx((0.04, 0.06, 0.12))
