"""Pieces without thickness."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from examples import EXAMPLES, OBJECTS
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.geometry.convex import THINNEST, thickness, without_slivers
from graspgen_cli.objects.load import load_object
from graspgen_cli.records import TriangleMesh
from graspgen_cli.settings.trials import CollisionApproximation, SimulationSettings
from graspgen_cli.validate.scene import build_scene


def slab(thick: float, *, turned: int = 0) -> TriangleMesh:
    """A board of 0.1 x 0.06 m, turned at random."""
    box = trimesh.creation.box((0.1, 0.06, thick))
    turn = Rotation.random(random_state=turned).as_matrix()
    return TriangleMesh(np.asarray(box.vertices) @ turn.T + 0.3, np.asarray(box.faces, np.int32))


@given(st.floats(1e-9, 0.05), st.integers(0, 50))
def test_a_board_is_as_thick_as_it_is(thick: float, turned: int) -> None:
    assert thickness(slab(thick, turned=turned)) == pytest.approx(thick, abs=1e-14)


def test_what_has_no_thickness_is_left_out_unless_nothing_has() -> None:
    thick, thin = slab(0.1 * THINNEST * 1.01), slab(0.1 * THINNEST * 0.99)
    assert without_slivers((thin, thick, thin), 0.1) == (thick,)
    assert without_slivers((thin, thin), 0.1) == (thin, thin)


def test_a_cut_along_a_face_leaves_no_piece_that_the_engine_refuses(
    gripper_shape: Callable[[str], GripperShape], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Stretched by these factors, an example object was cut into five pieces, of which one was a triangle."""
    mesh = trimesh.load(OBJECTS / "stack.obj", force="mesh")
    stretch = np.random.Generator(np.random.Philox(np.random.SeedSequence((1738,)))).uniform(0.8, 1.25, size=3)
    mesh.apply_transform(np.diag([*stretch, 1.0]))
    folder = tmp_path_factory.mktemp("stack")
    mesh.export(folder / "stack.obj", include_texture=False)
    approximation, cache = CollisionApproximation.CONVEX_DECOMPOSITION, folder / "cache"
    scene = gripper_shape("robotiq_2f_85").gripper, SimulationSettings()
    for _ in range(2):  # made, and kept
        target = load_object("stack.obj", EXAMPLES["stack.obj"], root=folder, approximation=approximation, cache=cache)
        assert min(map(thickness, target.pieces)) > 1e-4
        build_scene(scene[0], target, scene[1])
