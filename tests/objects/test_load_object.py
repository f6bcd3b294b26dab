"""An object from file to record; and the cache of its pieces, which may be slow, broken or missing but never wrong."""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from graspgen_cli.errors import ObjectError
from graspgen_cli.files import default_cache
from graspgen_cli.geometry.convex import ALGORITHM, recipe
from graspgen_cli.objects.load import load_object
from graspgen_cli.records import TargetObject
from graspgen_cli.settings.trials import CollisionApproximation as Approximation

SIZE = np.array([0.04, 0.06, 0.1])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a box of 40 x 60 x 100 mm off its origin, in metres and in millimetres, and an L of two boxes."""
    folder = tmp_path / "meshes"
    (folder / "sub").mkdir(parents=True)
    box = trimesh.creation.box(SIZE)
    box.apply_translation((0.1, 0.2, 0.3))
    box.export(folder / "box.obj")
    box.apply_scale(1000)
    box.export(folder / "sub" / "box_mm.stl")
    ell = trimesh.util.concatenate([trimesh.creation.box((0.1, 0.02, 0.02)), trimesh.creation.box((0.02, 0.02, 0.1))])
    ell.export(folder / "ell.ply")
    return folder


def pieces_of(target: TargetObject) -> bytes:
    arrays = [array for piece in target.pieces for array in (piece.vertices, piece.faces)]
    return b"".join(array.tobytes() for array in arrays) + np.array([target.mean_gap, target.gap_95, target.largest_gap]).tobytes()


def loaded(root: Path, name: str = "ell.ply", *, cache: Path | None = None) -> TargetObject:
    return load_object(name, 1.0, root=root, approximation=Approximation.CONVEX_DECOMPOSITION, cache=cache)


@pytest.mark.parametrize(("name", "scale"), [("box.obj", 1.0), ("sub/box_mm.stl", 0.001)])
def test_a_box_is_measured_as_a_box(root: Path, name: str, scale: float) -> None:
    target = load_object(name, scale, root=root, approximation=Approximation.CONVEX_DECOMPOSITION, cache=None)
    assert (target.object_id, target.scale, target.watertight) == (name, scale, True)
    assert target.volume == pytest.approx(SIZE.prod(), rel=1e-5)
    np.testing.assert_allclose(target.center_of_mass, (0.1, 0.2, 0.3), atol=1e-6)
    squares = SIZE**2
    np.testing.assert_allclose(target.unit_inertia, np.diag(squares.sum() - squares) / 12, atol=1e-8)
    assert len(target.pieces) == 1 and target.mean_gap < 1e-7 and target.largest_gap < 1e-6


def test_an_l_is_two_boxes_united(root: Path) -> None:
    target = loaded(root)
    assert target.repairs == ("2 overlapping bodies united",)
    assert target.volume == pytest.approx(2 * 4e-5 - 8e-6, rel=1e-5)
    assert len(target.pieces) in (2, 3) and target.largest_gap < 1e-6


def test_scale_scales_everything(root: Path) -> None:
    one, two = (load_object("ell.ply", s, root=root, approximation=Approximation.CONVEX_HULL, cache=None) for s in (1.0, 2.0))
    np.testing.assert_allclose(two.mesh.vertices, 2 * one.mesh.vertices, rtol=1e-12)
    assert two.volume == pytest.approx(8 * one.volume)
    np.testing.assert_allclose(two.unit_inertia, 4 * one.unit_inertia, atol=1e-12)
    np.testing.assert_allclose(two.center_of_mass, 2 * one.center_of_mass, atol=1e-9)
    assert two.mean_gap == pytest.approx(2 * one.mean_gap, rel=1e-6) and one.mean_gap > 0
    assert two.content_hash != one.content_hash


def test_guesses_alone_need_no_pieces(root: Path) -> None:
    target = load_object("box.obj", 1.0, root=root, approximation=None, cache=None)
    assert target.pieces == () and np.isnan([target.mean_gap, target.gap_95, target.largest_gap]).all()
    assert target.volume == pytest.approx(SIZE.prod(), rel=1e-5)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 1e30])
def test_a_bad_scale_is_the_objects_error(root: Path, scale: float) -> None:
    with pytest.raises(ObjectError, match="scale") as caught:
        load_object("box.obj", scale, root=root, approximation=None, cache=None)
    assert str(root / "box.obj") in str(caught.value)


def test_an_error_of_the_pieces_names_the_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coacd", None)
    with pytest.raises(ObjectError, match=r"box\.obj: .*coacd"):
        load_object("box.obj", 1.0, root=root, approximation=Approximation.COACD, cache=None)


def test_kept_pieces_are_the_same_bytes_and_are_not_made_again(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fresh = loaded(root)
    first = loaded(root, cache=cache)
    (file,) = cache.rglob("*.npz")
    written = file.stat()
    kept = loaded(root, cache=cache)
    assert file.stat() == written
    assert pieces_of(fresh) == pieces_of(first) == pieces_of(kept)
    assert kept.pieces[0].vertices.dtype == np.float64 and kept.pieces[0].faces.dtype == np.int32


def test_what_the_pieces_depend_on_is_in_the_key(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def files() -> int:
        return len(list(cache.rglob("*.npz")))

    loaded(root, cache=cache)
    assert files() == 1
    load_object("ell.ply", 1.0, root=root, approximation=Approximation.CONVEX_HULL, cache=cache)
    assert files() == 2
    load_object("ell.ply", 1.5, root=root, approximation=Approximation.CONVEX_DECOMPOSITION, cache=cache)
    assert files() == 3
    load_object("ell.ply", 1.0, root=root, approximation=Approximation.CONVEX_DECOMPOSITION, cache=cache, max_surface_gap=0.0005)
    assert files() == 4
    (root / "copy.ply").write_bytes((root / "ell.ply").read_bytes())
    loaded(root, "copy.ply", cache=cache)
    assert files() == 4
    assert str(ALGORITHM) in recipe(Approximation.CONVEX_DECOMPOSITION).split()


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "flipped", "other"])
def test_a_broken_cache_file_is_made_again(root: Path, tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "cache"
    wanted = pieces_of(loaded(root, cache=cache))
    (file,) = cache.rglob("*.npz")
    content = file.read_bytes()
    middle = len(content) // 2
    broken = {
        "cut": content[:middle],
        "empty": b"",
        "noise": b"no archive",
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }
    if damage == "other":
        np.savez(file, vertices=np.zeros((1, 3)))
    else:
        file.write_bytes(broken[damage])
    assert pieces_of(loaded(root, cache=cache)) == wanted
    assert file.read_bytes() == content
    assert not list(cache.rglob("*.tmp"))


def test_a_cache_that_cannot_be_written_is_gone_without(root: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert pieces_of(loaded(root, cache=blocked / "cache")) == pieces_of(loaded(root))


def load_into(root: Path, cache: Path) -> bytes:
    return pieces_of(loaded(root, cache=cache))


@pytest.mark.slow
def test_processes_may_share_a_cache(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.starmap(load_into, [(root, cache)] * 4)
    assert set(results) == {pieces_of(loaded(root))}
    assert len(list(cache.rglob("*"))) == 2


def test_the_environment_names_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRASPGEN_CACHE_DIR", str(tmp_path / "mine"))
    assert default_cache() == tmp_path / "mine"
    monkeypatch.delenv("GRASPGEN_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "graspgen"
    assert os.environ.get("GRASPGEN_CACHE_DIR") is None
