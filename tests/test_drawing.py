"""Figures, colours, models and pictures: what is drawn is where the file says, in the outcome's colour."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from graspgen_cli.drawing import render as opengl
from graspgen_cli.drawing.colours import OBJECT, OUTCOMES, PAPER
from graspgen_cli.drawing.gripper_page import pad_corners
from graspgen_cli.drawing.render import Solid, camera_around, renderer
from graspgen_cli.drawing.scenes import GraspScene, Instances, gripper_figure, line_figure
from graspgen_cli.drawing.view import grasp_model, grasp_picture, gripper_model
from graspgen_cli.errors import OutputError, install_command
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.poses import pose, transform_points
from graspgen_cli.grippers.export import contact_points
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Gripper, Outcome
from graspgen_cli.settings.datasets import FigureKind
from shapes import box

OUTCOMES_OF_FOUR = (Outcome.HELD, Outcome.COLLISION, Outcome.HELD, Outcome.DROPPED)
CUBE = box(0.04, 0.04, 0.04)


def has_opengl() -> bool:
    try:
        opengl.working_system()
    except OutputError:
        return False
    return True


needs_opengl = pytest.mark.skipif(not has_opengl(), reason="neither EGL nor OSMesa works here; apt-get install libosmesa6")


@pytest.fixture(params=("robotiq_2f_85", "franka_panda", "onrobot_rg6"))
def gripper(request: pytest.FixtureRequest, gripper_shape: Callable[[str], GripperShape]) -> Gripper:
    return gripper_shape(request.param).gripper


def turned(angle: float) -> Floats:
    return np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])


def four_grasps(gripper: Gripper) -> GraspDataset:
    """Four grasps around a cube, each at another opening; of the last the opening is not known."""
    rotation = np.stack([turned(angle) for angle in (0.0, 1.0, 2.0, 4.0)])
    poses = pose(rotation, np.array([[0.2, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.2], [-0.2, 0.0, 0.1]]))
    width = np.array([gripper.opening_width[3], gripper.opening_width[20], gripper.width, np.nan])
    grasps = GraspBatch(poses, width, np.array(OUTCOMES_OF_FOUR, np.int8))
    return GraspDataset("cube.obj", 1.0, gripper.name, gripper.width, gripper.depth, grasps)


def scene_of(gripper: Gripper | None, dataset: GraspDataset) -> GraspScene:
    return GraspScene("cube", dataset, np.arange(len(dataset.grasps)) + 10, CUBE.mesh, gripper)


def placed(part: Instances, number: int) -> Floats:
    return transform_points(part.pose[number], part.mesh.vertices * part.scale[number])


def test_the_gripper_is_drawn_where_its_collision_parts_are(gripper: Gripper) -> None:
    dataset = four_grasps(gripper)
    for part in gripper_figure(gripper, dataset.grasps):
        vertices = np.concatenate([piece.vertices for piece in gripper.collision_parts[part.body]])
        for number, opening in enumerate((3, 20, -1, -1)):
            expected = transform_points(
                dataset.grasps.pose_gripper_in_object[number] @ gripper.pose_body_in_base[opening, part.body], vertices
            )
            assert placed(part, number) == pytest.approx(expected, abs=1e-12)


def test_the_fingers_of_the_lines_end_at_the_fingertips_of_the_opening(gripper: Gripper) -> None:
    dataset = four_grasps(gripper)
    (lines,) = line_figure(dataset, gripper)
    assert len(lines.grasp) == 16
    for number, opening in enumerate((3, 20, -1, -1)):
        tips = transform_points(dataset.grasps.pose_gripper_in_object[number], gripper.fingertip_in_base[opening])
        for line, tip in zip(np.flatnonzero(lines.grasp == number)[2:], tips, strict=True):
            assert np.linalg.norm(placed(lines, int(line)) - tip, axis=1).min() < 0.0015


def test_lines_of_an_unknown_gripper_have_the_files_width_and_depth() -> None:
    grasps = GraspBatch(np.eye(4)[None], np.array([np.nan]), np.array([Outcome.HELD], np.int8))
    (lines,) = line_figure(GraspDataset("a.obj", 1.0, "who", 0.1, 0.2, grasps), None)
    corners = np.concatenate([placed(lines, n) for n in range(4)])
    assert np.ptp(corners, axis=0) == pytest.approx([0.1, 0.0, 0.2], abs=0.003)
    (lines,) = line_figure(GraspDataset("a.obj", 1.0, "who", np.nan, np.nan, grasps), None)
    assert np.isfinite(lines.pose).all()


def test_pads_and_contact_points_are_between_the_fingers(gripper: Gripper) -> None:
    for opening in (0, 30, -1):
        first, second = contact_points(gripper, opening)
        assert (second - first) @ gripper.closing_axis_in_base == pytest.approx(gripper.opening_width[opening], abs=1e-6)
        corners = pad_corners(gripper, opening)
        assert np.linalg.norm(corners[0, 1] - corners[0, 0]) == pytest.approx(gripper.pad_size[1])
        assert np.linalg.norm(corners[0, 3] - corners[0, 0]) == pytest.approx(gripper.pad_size[0])


# Brettel, Viénot and Mollon's dichromats, in the linear form of Viénot, Brettel and Mollon (1999), of linear RGB.
DICHROMATS = {
    "protan": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deutan": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
}


@pytest.mark.parametrize("kind", DICHROMATS)
def test_the_outcomes_colours_stay_apart_for_the_colour_blind(kind: str) -> None:
    def seen(colour: tuple[int, int, int]) -> Floats:
        linear = (np.array(colour) / 255) ** 2.2
        return 255 * np.clip(DICHROMATS[kind] @ linear, 0.0, 1.0) ** (1 / 2.2)

    apart = {(a, b): float(np.linalg.norm(seen(OUTCOMES[a]) - seen(OUTCOMES[b]))) for a, b in combinations(Outcome, 2)}
    assert min(apart.values()) > 30, min(apart, key=lambda pair: apart[pair])


def test_a_model_has_a_node_for_every_grasp_at_its_place(gripper: Gripper) -> None:
    dataset = four_grasps(gripper)
    model = trimesh.load_scene(io.BytesIO(grasp_model(scene_of(gripper, dataset), FigureKind.GRIPPER)), file_type="glb")
    nodes = list(model.graph.nodes_geometry)
    for number, outcome in enumerate(OUTCOMES_OF_FOUR):
        mine = [node for node in nodes if node.startswith(f"grasp_{number + 10}_{outcome.label}/")]
        assert len(mine) == sum(bool(parts) for parts in gripper.collision_parts)
    matrix, name = model.graph[f"grasp_11_collision/{gripper.base_body}"]
    assert model.geometry[name].visual.material.main_color[:3].tolist() == list(OUTCOMES[Outcome.COLLISION])
    assert matrix == pytest.approx(dataset.grasps.pose_gripper_in_object[1] @ gripper.pose_body_in_base[20, 0], abs=1e-6)
    assert model.geometry["object"].volume == pytest.approx(0.04**3)


def test_a_grippers_model_has_its_bodies(gripper: Gripper) -> None:
    model = trimesh.load_scene(io.BytesIO(gripper_model(gripper)), file_type="glb")
    assert set(model.geometry) == {name for name, parts in zip(gripper.body_names, gripper.collision_parts, strict=True) if parts}


def test_the_camera_holds_every_point() -> None:
    points = np.random.Generator(np.random.Philox(7)).uniform(-0.3, 0.5, (200, 3))
    camera = camera_around(points, towards=np.array([0.3, 1.0, -0.4]), up=np.array([0.0, 0.0, 1.0]), aspect=1.5)
    seen = (points - camera.position) @ np.stack([np.cross(camera.forward, camera.up), camera.up, camera.forward]).T
    angle = np.abs(seen[:, :2] / seen[:, 2:]) / np.tan(camera.half_height)
    assert (seen[:, 2] > 0).all() and (angle <= [1.5, 1.0]).all()
    assert max(angle[:, 0].max() / 1.5, angle[:, 1].max()) > 0.6, "and is no farther away than it has to be"


def near(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: float = 0.1) -> np.ndarray:
    """Pixels of a hue: shading changes how bright a colour is, not what share of it is red, green and blue."""
    share = pixels / np.maximum(pixels.sum(axis=-1, keepdims=True), 1)
    wanted = np.array(colour) / sum(colour)
    return (np.abs(share - wanted).sum(axis=-1) < tolerance) & (pixels.sum(axis=-1) > 60)


@needs_opengl
def test_a_cube_is_drawn_as_large_as_it_is_and_where_it_is() -> None:
    cube, size = CUBE.mesh, (300, 200)
    camera = camera_around(
        np.array([[-0.1, 0, -0.1], [0.1, 0, 0.1]]), towards=np.array([0.0, 1.0, 0.0]), up=np.array([0.0, 0.0, 1.0]), aspect=1.5
    )
    blue = OUTCOMES[Outcome.HELD]
    with renderer([cube], size, radius=0.3) as drawing:
        middle, right = (drawing.picture([Solid(0, pose(np.eye(3), np.array([x, 0.0, 0.0])), blue)], camera) for x in (0.0, 0.05))
    assert middle[5, 5] == pytest.approx(PAPER, abs=2)
    rows, columns = np.nonzero(near(middle, blue))
    width = np.ptp(columns) + 1
    assert width == pytest.approx(np.ptp(rows) + 1, abs=2)
    assert (columns.mean(), rows.mean()) == pytest.approx((149.5, 99.5), abs=1.0)
    assert np.nonzero(near(right, blue))[1].mean() - columns.mean() == pytest.approx(width * 0.05 / 0.04, rel=0.1)


@needs_opengl
def test_a_picture_shows_the_object_and_each_outcome_in_its_colour(gripper: Gripper) -> None:
    scene = scene_of(gripper, four_grasps(gripper))
    pixels = np.asarray(Image.open(io.BytesIO(grasp_picture(scene, FigureKind.GRIPPER, width=480))).convert("RGB")).astype(float)[40:-40]
    assert pixels.shape == (280, 480, 3)
    shown = {outcome: int(near(pixels, OUTCOMES[outcome], 0.06).sum()) for outcome in Outcome}
    assert all(shown[outcome] > 100 for outcome in set(OUTCOMES_OF_FOUR)), shown
    assert shown[Outcome.UNSTABLE] == 0
    assert near(pixels, OBJECT, 0.03).sum() > 20


def test_without_any_opengl_the_error_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that try EGL and OSMesa find a mujoco that can load neither."""
    pytest.importorskip("OpenGL", reason="PyOpenGL is not installed: pip install '.[replay]'")
    opengl.working_system.cache_clear()
    (tmp_path / "mujoco").mkdir()
    (tmp_path / "mujoco" / "__init__.py").touch()
    for system in opengl.SYSTEMS:
        (tmp_path / "mujoco" / f"{system}.py").write_text(f"raise ImportError('cannot load lib{system}')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(OutputError, match=r"EGL or OSMesa \(egl: ImportError: cannot load libegl, osmesa: .*apt-get install libegl1"):
        opengl.working_system()
    opengl.working_system.cache_clear()


def test_without_pyopengl_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    opengl.working_system.cache_clear()
    monkeypatch.setitem(sys.modules, "OpenGL", None)
    with pytest.raises(OutputError, match=re.escape(f"PyOpenGL; run {install_command('replay')}")):
        opengl.working_system()
    opengl.working_system.cache_clear()
