"""What is written for GraspGen loads the way GraspGen loads it, and mesh and control points agree."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
import yaml
from jaw_models import parallel_jaw

from graspgen_cli.errors import OutputError
from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.geometry.poses import pose
from graspgen_cli.grippers.export import finger_turn, graspgen_mesh, graspgen_offset, obj_text, write_graspgen_config
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.records import Floats, Gripper


def quaternion_matrix(translation: list[float], quaternion_xyzw: list[float]) -> Floats:
    """As GraspGen's parse_offset_transform_from_yaml: turned to wxyz for trimesh's quaternion_matrix."""
    matrix = trimesh.transformations.quaternion_matrix(quaternion_xyzw[-1:] + quaternion_xyzw[:-1])
    matrix[:3, 3] = translation
    return np.asarray(matrix)


class _Tensor(np.ndarray[Any, Any]):
    def float(self) -> _Tensor:
        return self.astype(np.float32)


@pytest.fixture
def graspgen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stand-ins for grasp_gen.robot, after its documented behaviour, and for torch; returns the folder of its gripper configs."""
    folder = tmp_path / "config" / "grippers"

    def control_points(config: dict[str, float]) -> Floats:
        w, d = config["width"], config["depth"]
        return np.array([[w / 2, 0, d / 2], [-w / 2, 0, d / 2], [w / 2, 0, d], [-w / 2, 0, d]])

    robot = types.ModuleType("grasp_gen.robot")
    robot.load_control_points_core = control_points  # type: ignore[attr-defined]
    robot.load_default_gripper_config = lambda name: yaml.safe_load((folder / f"{name}.yaml").read_text())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "grasp_gen", types.ModuleType("grasp_gen"))
    monkeypatch.setitem(sys.modules, "grasp_gen.robot", robot)
    torch = types.ModuleType("torch")
    torch.from_numpy = lambda array: np.asarray(array).view(_Tensor)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    return folder


def load_module(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tilted(gripper: Gripper) -> Gripper:
    """The same gripper with a base frame from which GraspGen's is a cyclic turn and a shift: neither undoes itself."""
    turn = pose(np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), np.array([0.01, -0.02, 0.03]))
    return dataclasses.replace(
        gripper,
        pose_base_in_graspgen=gripper.pose_base_in_graspgen @ turn,
        pose_body_in_base=np.linalg.inv(turn) @ gripper.pose_body_in_base,
    )


@pytest.mark.parametrize("change", [lambda gripper: gripper, tilted])
def test_config_loads_as_graspgen_loads_it(gripper: Gripper, graspgen: Path, change: Any) -> None:
    written = write_graspgen_config(change(gripper), graspgen, overwrite=False)
    assert [file.path.name for file in written] == [gripper.name + suffix for suffix in (".yaml", ".py", ".obj")]
    config = yaml.safe_load((graspgen / f"{gripper.name}.yaml").read_text())
    assert config["symmetric_antipodal"]
    assert change is tilted or (config["width"], config["depth"]) == pytest.approx((gripper.width, gripper.depth), abs=1e-9)
    module = load_module(graspgen / f"{gripper.name}.py")
    points = module.load_control_points()
    assert points.shape == (4, 5)
    assert points.dtype == np.float32
    w, d = config["width"], config["depth"]
    expected = [[w / 2, 0, d / 2, 1], [-w / 2, 0, d / 2, 1], [w / 2, 0, d, 1], [-w / 2, 0, d, 1], [0, 0, 0, 1]]
    assert np.abs(np.asarray(points).T - expected).max() < 1e-6
    assert module.load_control_points_for_visualization()[0].shape == (7, 3)
    assert module.get_transform_from_base_link_to_tool_tcp() == pytest.approx(trimesh.transformations.translation_matrix([0, 0, d]))
    offset = quaternion_matrix(*config["transform_offset_from_asset_to_graspgen_convention"])
    model = module.GripperModel()
    for mesh in (model.get_gripper_collision_mesh(), model.get_gripper_visual_mesh()):
        assert mesh.is_watertight
        mesh.apply_transform(offset)
        # Where fingers swing, the control points lie before the contact points, and the open fingertips a little beside them.
        swing = gripper.bite * np.sin(np.radians(30)) if finger_turn(gripper) > 0.01 else 0.0
        assert mesh.vertices[:, 2].max() == pytest.approx(gripper.depth, abs=1e-6 + swing)
        tip = mesh.vertices[mesh.vertices[:, 2] > mesh.vertices[:, 2].max() - 1e-4]
        assert tip[tip[:, 0] > 0, 0].min() == pytest.approx(gripper.width / 2, abs=1e-5 + swing)
        assert tip[tip[:, 0] < 0, 0].max() == pytest.approx(-gripper.width / 2, abs=1e-5 + swing)


def test_trainer_takes_a_grasp_to_graspgens_frame(gripper: Gripper) -> None:
    """grasp @ offset is the pose of GraspGen's frame: the fingertips, given in that frame, land where they are."""
    turned = tilted(gripper)
    grasp = pose(np.eye(3), np.array([1.0, 2.0, 3.0]))
    offset = quaternion_matrix(*graspgen_offset(turned))
    tips_in_graspgen = np.array([[-gripper.width / 2, 0, gripper.depth, 1], [gripper.width / 2, 0, gripper.depth, 1]])
    turn = np.linalg.inv(gripper.pose_base_in_graspgen) @ turned.pose_base_in_graspgen
    tips_in_base = np.column_stack([gripper.fingertip_in_base[-1], [1, 1]]) @ np.linalg.inv(turn).T
    assert tips_in_graspgen @ (grasp @ offset).T == pytest.approx(tips_in_base @ grasp.T, abs=1e-6)


def test_gripper_that_closes_along_y_gets_an_offset(tmp_path: Path, graspgen: Path) -> None:
    model = tmp_path / "jaw.xml"
    model.write_text(parallel_jaw(yaw=np.pi / 2))
    gripper = load_gripper(str(model))
    assert np.abs(gripper.closing_axis_in_base) == pytest.approx([0.0, 1.0, 0.0], abs=1e-6)
    write_graspgen_config(gripper, graspgen, overwrite=False)
    config = yaml.safe_load((graspgen / "jaw.yaml").read_text())
    mesh = load_module(graspgen / "jaw.py").GripperModel().get_gripper_collision_mesh()
    mesh.apply_transform(quaternion_matrix(*config["transform_offset_from_asset_to_graspgen_convention"]))
    tip = mesh.vertices[mesh.vertices[:, 2] > gripper.depth - 1e-4]
    assert np.abs(tip[:, 0]).min() == pytest.approx(gripper.width / 2, abs=1e-5)


def test_mesh_is_one_closed_surface_around_the_parts(gripper: Gripper) -> None:
    mesh = graspgen_mesh(gripper)
    surface = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert surface.is_volume
    parts = sum(trimesh.Trimesh(part.vertices, part.faces).volume for parts in gripper.collision_parts for part in parts)
    assert 0.7 * parts < surface.volume < parts


def test_files_are_only_replaced_when_asked(gripper: Gripper, tmp_path: Path) -> None:
    statuses = [file.status for file in write_graspgen_config(gripper, tmp_path / "new", overwrite=False)]
    assert statuses == ["written"] * 3
    mine = tmp_path / "new" / f"{gripper.name}.yaml"
    mine.write_text("width: 1\n")
    assert [file.status for file in write_graspgen_config(gripper, mine.parent, overwrite=False)] == ["differs", "kept", "kept"]
    assert mine.read_text() == "width: 1\n"
    assert [file.status for file in write_graspgen_config(gripper, mine.parent, overwrite=True)] == ["written", "kept", "kept"]
    assert "width: 1\n" not in mine.read_text()
    assert sorted(path.suffix for path in mine.parent.iterdir()) == [".obj", ".py", ".yaml"], "no temporary file is left"


def test_what_differs_is_told(panda: Gripper, robotiq: Gripper, tmp_path: Path) -> None:
    yaml_file, module, mesh = (file.path for file in write_graspgen_config(panda, tmp_path, overwrite=False))
    assert [file.difference for file in write_graspgen_config(panda, tmp_path, overwrite=False)] == ["", "", ""]
    other = dataclasses.replace(robotiq, name=panda.name)
    differences = [file.difference for file in write_graspgen_config(other, tmp_path, overwrite=False)]
    assert {"-width: 0.08", "+width: 0.085", "-depth: 0.1123", "+depth: 0.149"} <= set(differences[0].splitlines())
    assert differences[1] == ""
    assert re.fullmatch(r"the mesh differs by up to [\d.]+ mm \(\d+ corners there, \d+ measured\)", differences[2])
    mesh.write_text("not a mesh\n")
    module.write_text("\n".join(f"line {n}" for n in range(100)))
    yaml_file.write_bytes(b"\xff\n")
    differences = [file.difference for file in write_graspgen_config(panda, tmp_path, overwrite=False)]
    assert differences[2] == "the file that is there is no mesh"
    assert differences[1].splitlines()[-1].endswith("more lines") and len(differences[1].splitlines()) < 30
    assert all(differences)


@pytest.mark.parametrize("shift", [0.0025, 0.1])
def test_meshes_are_compared_by_how_far_they_are_apart(panda: Gripper, tmp_path: Path, shift: float) -> None:
    *_, mesh = (file.path for file in write_graspgen_config(panda, tmp_path, overwrite=False))
    there = trimesh.load(mesh, force="mesh")
    there.vertices[there.vertices[:, 2].argmax()] += [0, 0, shift]
    mesh.write_text(obj_text(triangle_mesh(there.vertices, there.faces)))
    *_, found = write_graspgen_config(panda, tmp_path, overwrite=False)
    assert f"by up to {shift * 1000:.3g} mm" in found.difference


def test_folder_that_cannot_be_made_is_refused_in_one_line(gripper: Gripper, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written") as refusal:
        write_graspgen_config(gripper, tmp_path / "file" / "grippers", overwrite=False)
    assert "\n" not in str(refusal.value)


def test_same_gripper_gives_the_same_bytes(gripper: Gripper, tmp_path: Path) -> None:
    first = [file.path.read_bytes() for file in write_graspgen_config(gripper, tmp_path / "a", overwrite=False)]
    again = [file.path.read_bytes() for file in write_graspgen_config(load_gripper(gripper.name), tmp_path / "b", overwrite=False)]
    assert first == again
