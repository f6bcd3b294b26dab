"""Convex pieces kept on disk, by the content that they are made from. Safe with several processes; never needed, only faster.

One object of the scales file: read, scaled, mended, measured and cut into convex pieces."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import zipfile
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np

from graspgen_cli.errors import ObjectError, OutputError
from graspgen_cli.files import default_cache, write_atomically
from graspgen_cli.geometry.convex import ConvexPieces, allowed_gap, convex_pieces, recipe
from graspgen_cli.geometry.finger_reach import FingerReach
from graspgen_cli.geometry.gaps import Gaps
from graspgen_cli.geometry.meshes import extents, is_closed, mass_properties, triangle_mesh, without_slivers
from graspgen_cli.geometry.reach import Reachable, outer_surface, reachable
from graspgen_cli.objects.read import read_mesh
from graspgen_cli.objects.repair import repair
from graspgen_cli.objects.scales import scale_problem
from graspgen_cli.records import TargetObject, TriangleMesh
from graspgen_cli.settings.trials import CollisionApproximation


def pieces_file(cache: Path, mesh: TriangleMesh, recipe: str) -> Path:
    """The file for the pieces of a mesh; `recipe` names everything else that they depend on: method, parameters, versions."""
    digest = hashlib.sha256(recipe.encode())
    for array in (mesh.vertices, mesh.faces):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return cache / "pieces" / f"{digest.hexdigest()}.npz"


def load_pieces(path: Path) -> ConvexPieces | None:
    """The pieces kept in a file; None where there is none, or it is broken."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            vertices, faces, counts, gaps = (arrays[name] for name in ("vertices", "faces", "counts", "gaps"))
        ends = np.cumsum(counts, axis=0)[:-1]
        pairs = zip(np.split(vertices, ends[:, 0]), np.split(faces, ends[:, 1]), strict=True)
        pieces = tuple(triangle_mesh(corners, triangles) for corners, triangles in pairs)
        return ConvexPieces(pieces, Gaps(*gaps.tolist()))
    except (OSError, ValueError, KeyError, IndexError, EOFError, TypeError, zipfile.BadZipFile):
        return None


def store_pieces(path: Path, convex: ConvexPieces) -> None:
    """Keep the pieces, the file put in its place whole. A folder that cannot be written is no error."""
    content = io.BytesIO()
    np.savez(
        content,
        vertices=np.concatenate([piece.vertices for piece in convex.pieces]),
        faces=np.concatenate([piece.faces for piece in convex.pieces]),
        counts=np.array([[len(piece.vertices), len(piece.faces)] for piece in convex.pieces]),
        gaps=np.array(astuple(convex.gaps)),
    )
    with contextlib.suppress(OutputError):
        write_atomically(path, content.getvalue())


__all__ = ["default_cache", "load_object"]

NO_PIECES = ConvexPieces((), Gaps(math.nan, math.nan, math.nan))


def load_object(
    object_id: str,
    scale: float,
    *,
    root: Path,
    approximation: CollisionApproximation | None,
    cache: Path | None,
    max_surface_gap: float | None = None,
    reach: FingerReach | None = None,
) -> TargetObject:
    """The object whose mesh file is `root` / `object_id`, at `scale` metres a mesh unit.

    approximation: what stands for it in the simulation; None leaves the pieces out, for guesses alone.
    max_surface_gap: m that pieces of a decomposition should stand off the mesh at most; None: see geometry.convex.
    reach: of the gripper; what it cannot touch gets no pieces and no guesses. None: only what lies inside a closed surface is left out.
    cache: folder in which pieces are kept from run to run; None keeps none.

    Raises ObjectError, in one line that names the file, where the object cannot be used.
    """
    path = root / object_id
    problem = scale_problem(scale)
    if problem:
        raise ObjectError(f"{path}: {problem}")
    raw = read_mesh(path, scale)
    repaired = repair(raw.mesh, path=path)
    surface = reachable(outer_surface(repaired.mesh), reach) if reach else None
    try:
        convex = (
            _pieces(_solid(repaired.mesh, surface, max_surface_gap), approximation, max_surface_gap, cache) if approximation else NO_PIECES
        )
    except ObjectError as error:
        raise ObjectError(f"{path}: {error}") from None
    mass = mass_properties(repaired.mesh)
    return TargetObject(
        object_id=object_id,
        scale=scale,
        content_hash=raw.content_hash,
        mesh=repaired.mesh,
        watertight=is_closed(repaired.mesh),
        pieces=convex.pieces,
        mean_gap=convex.gaps.mean,
        gap_95=convex.gaps.p95,
        largest_gap=convex.gaps.largest,
        center_of_mass=mass.center_of_mass,
        volume=mass.volume,
        unit_inertia=mass.unit_inertia,
        repairs=repaired.repairs,
        touchable=surface.touched if surface else None,
    )


def _solid(mesh: TriangleMesh, surface: Reachable | None, max_surface_gap: float | None) -> TriangleMesh:
    """What pieces are to stand for: the mesh, but for what cannot be touched of it."""
    if surface is None or surface.touched is surface.mesh:
        return mesh
    return surface.filled(allowed_gap(mesh, max_surface_gap))


def _pieces(mesh: TriangleMesh, approximation: CollisionApproximation, max_surface_gap: float | None, cache: Path | None) -> ConvexPieces:
    """The mesh's convex pieces, from the cache where they are there."""
    convex = _kept_pieces(mesh, approximation, max_surface_gap, cache)
    return replace(convex, pieces=without_slivers(convex.pieces, float(extents(mesh).max())))


def _kept_pieces(
    mesh: TriangleMesh, approximation: CollisionApproximation, max_surface_gap: float | None, cache: Path | None
) -> ConvexPieces:
    if cache is None:
        return convex_pieces(mesh, approximation, max_surface_gap)
    file = pieces_file(cache, mesh, recipe(approximation, max_surface_gap))
    kept = load_pieces(file)
    if kept is None:
        kept = convex_pieces(mesh, approximation, max_surface_gap)
        store_pieces(file, kept)
    return kept
