"""Broken meshes, each with what mending must make of it; a vertex never moves."""

from __future__ import annotations

from pathlib import Path

import manifold3d
import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from manifold3d import Manifold

from graspgen_cli.errors import ObjectError
from graspgen_cli.geometry.meshes import (
    is_closed,
    join_meshes,
    mass_properties,
    mesh_from_solid,
    signed_volume,
    solid_from_mesh,
    triangle_mesh,
)
from graspgen_cli.objects.repair import RepairedMesh, repair
from graspgen_cli.records import TriangleMesh

FILE = Path("folder/object.obj")
SIDE = 0.04
CUBE = 64e-6


def box(low: tuple[float, ...] = (0, 0, 0), high: tuple[float, ...] = (SIDE, SIDE, SIDE)) -> TriangleMesh:
    made = trimesh.creation.box(bounds=[low, high])
    return triangle_mesh(made.vertices, made.faces)


def faces_of(mesh: TriangleMesh, faces: np.ndarray) -> TriangleMesh:
    return triangle_mesh(mesh.vertices, faces)


def inside_out(mesh: TriangleMesh) -> TriangleMesh:
    return faces_of(mesh, mesh.faces[:, ::-1])


def soup(mesh: TriangleMesh) -> TriangleMesh:
    return triangle_mesh(mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(3 * len(mesh.faces)))


def cup() -> TriangleMesh:
    outer = Manifold.cylinder(0.1, 0.04, 0.04, 48)
    return mesh_from_solid(outer - Manifold.cylinder(0.1, 0.035, 0.035, 48).translate((0, 0, 0.005)))


def without_rim(mesh: TriangleMesh) -> TriangleMesh:
    return faces_of(mesh, mesh.faces[mesh.vertices[mesh.faces][:, :, 2].min(axis=1) < 0.0999])


def mended(mesh: TriangleMesh, *, volume: float) -> tuple[str, ...]:
    """Mends the mesh, checks that it encloses the volume with vertices that were there before, and returns what was done."""
    result: RepairedMesh = repair(mesh, path=FILE)
    assert is_closed(result.mesh)
    assert solid_from_mesh(result.mesh).status() == manifold3d.Error.NoError
    assert signed_volume(result.mesh) == pytest.approx(volume, rel=1e-6)
    return result.repairs


def keeps_vertices(mesh: TriangleMesh) -> bool:
    given_rows = {tuple(row) for row in (mesh.vertices + 0.0).tolist()}
    return {tuple(row) for row in (repair(mesh, path=FILE).mesh.vertices + 0.0).tolist()} <= given_rows


def test_a_good_mesh_is_left_as_it_is() -> None:
    mesh = cup()
    result = repair(mesh, path=FILE)
    assert result.repairs == ()
    assert result.mesh.vertices.tobytes() == mesh.vertices.tobytes() and len(result.mesh.faces) == len(mesh.faces)


@given(
    st.permutations(range(12)),
    st.sets(st.integers(0, 11)),
    st.sampled_from([None, *range(12)]),
    st.booleans(),
    st.lists(st.integers(0, 11), max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_a_box_is_a_box_again(order: list[int], turned: set[int], missing: int | None, apart: bool, twice: list[int]) -> None:
    mesh = box()
    faces = mesh.faces.copy()
    faces[sorted(turned)] = faces[sorted(turned), ::-1]
    kept = [face for face in [*order, *twice] if face != missing]
    broken = faces_of(mesh, faces[kept])
    broken = soup(broken) if apart else broken
    mended(broken, volume=CUBE)
    assert keeps_vertices(broken)


def test_rounding_apart_is_welded() -> None:
    mesh = soup(box())
    noise = np.random.Generator(np.random.Philox(3)).uniform(-1e-9, 1e-9, mesh.vertices.shape)
    assert mended(triangle_mesh(mesh.vertices + noise, mesh.faces), volume=CUBE) == ("28 duplicate vertices merged",)


def test_a_fine_detail_is_not_welded() -> None:
    chip = mesh_from_solid(Manifold.cube((SIDE, SIDE, SIDE)) - Manifold.cube((2e-6, 2e-6, SIDE)))
    assert mended(chip, volume=CUBE - 4e-12 * SIDE) == ()
    assert len(repair(chip, path=FILE).mesh.vertices) == len(chip.vertices)


def test_degenerate_faces_go() -> None:
    mesh = box()
    extra = np.concatenate([mesh.faces, [[0, 0, 1], [3, 3, 3]]])
    assert mended(faces_of(mesh, extra), volume=CUBE) == ("2 degenerate or duplicate faces removed",)


def test_double_sided_faces_become_single() -> None:
    repairs = mended(join_meshes([box(), inside_out(box())]), volume=CUBE)
    assert "12 double-sided faces made single" in repairs


def test_inverted_bodies_are_turned_and_cavities_are_not() -> None:
    hole = box((0.01,) * 3, (0.03,) * 3)
    assert mended(inside_out(box()), volume=CUBE) == ("1 body with normals inwards turned",)
    assert mended(join_meshes([box(), inside_out(hole)]), volume=CUBE - 8e-6) == ()
    assert mended(join_meshes([inside_out(box()), hole]), volume=CUBE - 8e-6) == ("2 bodies with normals inwards turned",)
    apart = box((0.1,) * 3, (0.14,) * 3)
    assert mended(join_meshes([box(), inside_out(apart)]), volume=2 * CUBE) == ("1 body with normals inwards turned",)


def test_open_boundaries_are_closed() -> None:
    mesh = box()
    top = faces_of(mesh, mesh.faces[mesh.vertices[mesh.faces][:, :, 2].min(axis=1) < SIDE])
    assert mended(top, volume=CUBE) == ("1 open boundary closed, the widest 40.0 mm",)


def test_a_missing_rim_is_a_ring_not_two_lids() -> None:
    whole = cup()
    repairs = mended(without_rim(whole), volume=signed_volume(whole))
    assert repairs == ("2 open boundaries closed, the widest 80.0 mm",)


def test_two_openings_in_one_plane_are_two_lids() -> None:
    legs = Manifold.cube((0.03, 0.01, 0.01)).translate((0, 0, 0.02))
    legs += Manifold.cube((0.01, 0.01, 0.02)) + Manifold.cube((0.01, 0.01, 0.02)).translate((0.02, 0, 0))
    mesh = mesh_from_solid(legs)
    feet = mesh.vertices[mesh.faces][:, :, 2].max(axis=1) == 0
    assert feet.sum() == 4
    assert mended(faces_of(mesh, mesh.faces[~feet]), volume=7e-6) == ("2 open boundaries closed, the widest 10.0 mm",)


def test_overlapping_bodies_are_united_and_touching_ones_are_left() -> None:
    assert mended(join_meshes([box(), box((0.02, 0.01, 0.01), (0.08, 0.02, 0.02))]), volume=CUBE + 4e-6) == ("2 overlapping bodies united",)
    shared = join_meshes([box(), box((0, 0, 0), (0.08, 0.02, 0.04))])
    assert mended(shared, volume=96e-6)[-1] == "2 overlapping bodies united"
    for low in ((SIDE, 0, 0), (SIDE, SIDE, 0), (SIDE, SIDE, SIDE)):
        high = tuple(value + SIDE for value in low)
        assert "united" not in " ".join(mended(join_meshes([box(), box(low, high)]), volume=2 * CUBE))


def test_a_body_swallowed_by_another_vanishes() -> None:
    assert mended(join_meshes([box(), box((0.01,) * 3, (0.02,) * 3)]), volume=CUBE) == ("2 overlapping bodies united",)


def test_a_hollow_body_keeps_its_hollow_when_united() -> None:
    hollow = [box(), inside_out(box((0.01,) * 3, (0.03,) * 3))]
    rod = box((0.035, 0.018, 0.018), (0.08, 0.022, 0.022))
    assert mended(join_meshes([*hollow, rod]), volume=CUBE - 8e-6 + 16e-6 * 0.04) == ("3 overlapping bodies united",)


def test_a_label_is_left_out() -> None:
    label = triangle_mesh([[0.01, 0.01, 0.0401], [0.02, 0.01, 0.0401], [0.02, 0.02, 0.0401]], [[0, 1, 2]])
    assert "1 flat sheet without volume left out" in mended(join_meshes([box(), label]), volume=CUBE)


def test_scattered_triangles_become_their_hull() -> None:
    points = np.random.Generator(np.random.Philox(1)).uniform(0, 0.1, (90, 3))
    repairs = mended(triangle_mesh(points, np.arange(90)), volume=trimesh.convex.convex_hull(points).volume)
    assert repairs == ("does not enclose a volume: its convex hull stands for it",)


FLAT = triangle_mesh([[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0, 0.1, 0]], [[0, 1, 2], [0, 2, 3]])
TURN = trimesh.transformations.rotation_matrix(0.6, (1, 2, 3))[:3, :3]


@pytest.mark.parametrize(
    "sheet",
    [
        FLAT,
        join_meshes([FLAT, inside_out(FLAT)]),
        triangle_mesh(FLAT.vertices @ TURN.T + 0.3, FLAT.faces),
        triangle_mesh([[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]], [[0, 1, 2]]),
        triangle_mesh([[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0]], [[0, 1, 2]]),
        triangle_mesh([[0, 0, 0], [0.1, 0, 0]], [[0, 1, 1], [0, 0, 1]]),
    ],
    ids=["open", "double", "tilted", "line", "triangle", "degenerate"],
)
def test_a_flat_sheet_is_an_error(sheet: TriangleMesh) -> None:
    with pytest.raises(ObjectError, match="flat sheet without volume") as caught:
        repair(sheet, path=FILE)
    assert str(FILE) in str(caught.value) and "\n" not in str(caught.value)


def test_a_sheet_that_bends_has_a_volume() -> None:
    bent = triangle_mesh([[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0.03], [0, 0.1, 0]], FLAT.faces)
    mended(bent, volume=0.1 * 0.1 * 0.03 / 6)


def test_a_surface_of_one_side_still_ends_well() -> None:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)[:, None]
    across = np.array([[-0.01, 0.01]])
    reach = 0.04 + across * np.cos(angle / 2)
    points = np.stack([reach * np.cos(angle), reach * np.sin(angle), across * np.sin(angle / 2)], axis=-1).reshape(-1, 3)
    after = [[2 * i + 2, 2 * i + 3] for i in range(39)] + [[1, 0]]
    faces = [[2 * i, c, 2 * i + 1] for i, (c, _) in enumerate(after)] + [[2 * i + 1, c, d] for i, (c, d) in enumerate(after)]
    result = repair(triangle_mesh(points, faces), path=FILE)
    assert is_closed(result.mesh) and signed_volume(result.mesh) > 0 and result.repairs


def test_a_surface_folded_through_itself_becomes_its_hull() -> None:
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.03)
    folded = ball.vertices + np.random.Generator(np.random.Philox(2)).normal(0, 0.03, ball.vertices.shape)
    repairs = mended(triangle_mesh(folded, ball.faces), volume=trimesh.convex.convex_hull(folded).volume)
    assert repairs[-1] == "1 body that cannot be closed replaced by its convex hull"


def test_a_tube_that_runs_through_itself_is_left() -> None:
    angle = np.linspace(0, 2.2 * np.pi, 80)
    path = np.stack([0.05 * np.cos(angle), 0.05 * np.sin(angle), 0.0005 * angle], axis=1)
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    spokes = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    rings = path[:, None] + 0.005 * (np.cos(around)[:, None] * spokes[:, None] + np.sin(around)[:, None] * np.array([0, 0, 1.0]))
    i, j = np.meshgrid(np.arange(79), np.arange(12), indexing="ij")
    a, b, c, d = (k * 12 + m % 12 for k, m in ((i, j), (i, j + 1), (i + 1, j), (i + 1, j + 1)))
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    result = repair(triangle_mesh(rings.reshape(-1, 3), faces), path=FILE)
    assert not any("hull" in text for text in result.repairs)
    assert signed_volume(result.mesh) == pytest.approx(np.pi * 0.005**2 * 0.05 * 2.2 * np.pi, rel=0.1)


@given(st.integers(0, 2**32 - 1), st.integers(3, 20), st.integers(1, 40), st.booleans())
@settings(max_examples=25, deadline=None)
def test_whatever_the_triangles_the_result_encloses_a_volume_or_is_an_error(seed: int, points: int, faces: int, on_grid: bool) -> None:
    rng = np.random.Generator(np.random.Philox(seed))
    places = 0.02 * rng.integers(0, 4, (points, 3)) if on_grid else rng.normal(0, 0.03, (points, 3))
    try:
        mesh = repair(triangle_mesh(places, rng.integers(0, points, (faces, 3))), path=FILE).mesh
    except ObjectError as error:
        assert "flat sheet" in str(error)
        return
    mass = mass_properties(mesh)
    assert is_closed(mesh) and mass.volume > 0
    assert (np.linalg.eigvalsh(mass.unit_inertia) > 0).all()
    assert set(range(len(mesh.vertices))) == set(mesh.faces.ravel().tolist())


def test_the_same_mesh_is_mended_the_same_way() -> None:
    mesh = without_rim(cup())
    first, second = (repair(mesh, path=FILE).mesh for _ in range(2))
    assert first.vertices.tobytes() == second.vertices.tobytes() and first.faces.tobytes() == second.faces.tobytes()
