"""What a run takes to be out of reach is on record, and counts again where a trial is replayed."""

from __future__ import annotations

from pathlib import Path

import pytest
import trimesh
from manifold3d import Manifold

from graspgen_cli.api import replay_trial
from graspgen_cli.app import main
from graspgen_cli.formats.graspgen_json import read_grasp_file
from graspgen_cli.geometry.meshes import mesh_from_solid


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hollow ball 40 mm wide with a slit of 2 mm."""
    folder = tmp_path_factory.mktemp("meshes")
    ball = Manifold.sphere(20, 40) - Manifold.sphere(17.5, 40) - Manifold.cube((2, 18, 12), True).translate((0, 0, 20))
    mesh = mesh_from_solid(ball)
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(folder / "ball.ply")
    (folder / "scales.json").write_text('{"ball.ply": 0.001}')
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("reach", ["gripper", "closed"])
def test_a_file_says_what_was_out_of_reach_where_that_is_not_the_usual(meshes: Path, tmp_path: Path, reach: str) -> None:
    where = ["--object-scales-json", str(meshes / "scales.json"), "--object-dataset", str(meshes), "--grasp-dataset", str(tmp_path)]
    few = ["--num-collision-free-grasps", "3", "--num-colliding-grasps", "1", "--backend", "mujoco", "--workers", "1", "--quiet"]
    assert main(["validate", *where, *few, "--do-not-run-controls", "--fps", "100", "--reach", reach]) == 0
    file = next(tmp_path.rglob("ball*.grasps.json"))
    made = read_grasp_file(file).provenance
    recorded = [made[part]["settings"].get("reach") for part in ("guess", "simulation")]
    assert recorded == ([None, None] if reach == "gripper" else ["closed", "closed"])
    assert (made["object"]["pieces"] == 1) == (reach == "gripper")
    replay = replay_trial(grasp_dataset=file, object_dataset=meshes)
    assert len(replay.target.pieces) == made["object"]["pieces"] and replay.agrees
    other = replay_trial(grasp_dataset=file, object_dataset=meshes, reach="closed" if reach == "gripper" else "gripper")
    assert (len(other.target.pieces) == 1) != (reach == "gripper")
    assert "reach is not what the file says: its outcome may be another one" in other.notes
