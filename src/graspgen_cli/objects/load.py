"""One object of the scales file: read, scaled, repaired, measured and cut into convex pieces, which a cache on disk keeps."""

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
from graspgen_cli.files import write_atomically
from graspgen_cli.geometry.convex import ConvexPieces, allowed_gap, convex_pieces, recipe, without_slivers
from graspgen_cli.geometry.gaps import Gaps
from graspgen_cli.geometry.meshes import is_closed, longest_side, mass_properties, triangle_mesh
from graspgen_cli.geometry.reach import outer_surface, reachable
from graspgen_cli.geometry.touch import FingerReach
from graspgen_cli.objects.read import read_mesh
from graspgen_cli.objects.repair import repair
from graspgen_cli.objects.scales import scale_problem
from graspgen_cli.records import TargetObject, TriangleMesh
from graspgen_cli.settings.trials import CollisionApproximation

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
    """The object with mesh file `root` / `object_id`, at `scale` metres per mesh unit.

    approximation: collision model for the simulation; None for no pieces, which guesses do not need.
    cache: folder that keeps pieces between runs; None for no cache.
    max_surface_gap: m, aim for the largest gap of a decomposition; None stands for `geometry.convex.allowed_gap`.
    reach: the gripper's; surfaces out of reach get no pieces and no guesses. None leaves out only what a closed surface encloses.

    Raises ObjectError, one line with the file's name, for an unusable object.
    """
    path = root / object_id
    problem = scale_problem(scale)
    if problem:
        raise ObjectError(f"{problem}", path=path)
    raw = read_mesh(path, scale)
    repaired = repair(raw.mesh, path=path)
    mesh = repaired.mesh
    surface = reachable(outer_surface(mesh), reach) if reach else None
    convex = NO_PIECES
    if approximation:
        hidden = surface if surface and surface.touched is not surface.mesh else None
        solid = hidden.filled(allowed_gap(mesh, max_surface_gap)) if hidden else mesh
        try:
            convex = _pieces(solid, approximation, max_surface_gap, cache)
        except ObjectError as error:
            raise ObjectError(f"{error}", path=path) from None
        convex = replace(convex, pieces=without_slivers(convex.pieces, longest_side(solid)))
    mass = mass_properties(mesh)
    return TargetObject(
        object_id=object_id,
        scale=scale,
        content_hash=raw.content_hash,
        mesh=mesh,
        watertight=is_closed(mesh),
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


def _pieces(mesh: TriangleMesh, approximation: CollisionApproximation, max_surface_gap: float | None, cache: Path | None) -> ConvexPieces:
    """The convex pieces of a mesh, from the cache where possible."""
    if cache is None:
        return convex_pieces(mesh, approximation, max_surface_gap)
    digest = hashlib.sha256(recipe(approximation, max_surface_gap).encode())
    for array in (mesh.vertices, mesh.faces):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    path = cache / "pieces" / f"{digest.hexdigest()}.npz"
    kept = _load_pieces(path)
    if kept is None:
        kept = convex_pieces(mesh, approximation, max_surface_gap)
        _store_pieces(path, kept)
    return kept


def _load_pieces(path: Path) -> ConvexPieces | None:
    """The pieces in a cache file; None for a missing or damaged file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            vertices, faces, counts, gaps = (arrays[name] for name in ("vertices", "faces", "counts", "gaps"))
        ends = np.cumsum(counts, axis=0)[:-1]
        pairs = zip(np.split(vertices, ends[:, 0]), np.split(faces, ends[:, 1]), strict=True)
        return ConvexPieces(tuple(triangle_mesh(*pair) for pair in pairs), Gaps(*gaps.tolist()))
    except (OSError, ValueError, KeyError, IndexError, EOFError, TypeError, zipfile.BadZipFile):
        return None


def _store_pieces(path: Path, convex: ConvexPieces) -> None:
    """Writes a cache file. A folder that cannot be written is no error: the cache only saves time."""
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
