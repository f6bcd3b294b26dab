"""Convex pieces kept on disk, by the content that they are made from. Safe with several processes; never needed, only faster."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from dataclasses import astuple
from pathlib import Path

import numpy as np

from graspgen_cli.errors import OutputError
from graspgen_cli.files import write_atomically
from graspgen_cli.geometry.convex import ConvexPieces
from graspgen_cli.geometry.gaps import Gaps
from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.records import TriangleMesh


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
