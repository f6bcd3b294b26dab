"""Triangles of mesh files, in the frame and with the node transforms that GraspGen's trainer sees.

The trainer calls ``trimesh.load(file)``, dumps and concatenates a scene, and scales the result. This module does the same, without
changing vertices.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from trimesh.resolvers import FilePathResolver

from graspgen_cli.errors import ObjectError, one_line
from graspgen_cli.geometry.meshes import join_meshes, triangle_mesh
from graspgen_cli.objects.read_usd import USD_SUFFIXES, read_usd
from graspgen_cli.records import Floats, TriangleMesh

MESH_SUFFIXES = (".obj", ".stl", ".ply", ".glb", ".gltf", ".off")
LARGEST_FILE = 1_000_000_000  # bytes
EXTENT_LIMITS = (0.0005, 5.0)  # m: limits of an object's largest extent. Beyond them the scale is probably in the wrong unit

# Without a handler Python prints trimesh's warnings to the terminal; errors of this module repeat the important ones.
logging.getLogger("trimesh").addHandler(logging.NullHandler())


@dataclass(frozen=True, eq=False)
class RawMesh:
    """A mesh file's triangles after scaling, m, otherwise unchanged, and the SHA-256 hex digest of file contents and scale."""

    mesh: TriangleMesh
    content_hash: str


def read_mesh(path: Path, scale: float) -> RawMesh:
    """The triangles of a mesh file, scaled to metres. Raises ObjectError, one line with the file's name, for a file without a usable mesh
    and for a scaled size beyond EXTENT_LIMITS."""
    mesh, contents = _triangles(path)
    scaled = triangle_mesh(mesh.vertices * scale, mesh.faces)
    _check_size(path, _used_extents(scaled), scale)
    return RawMesh(scaled, _digest(contents, scale))


def read_extents(path: Path) -> Floats:
    """(3,) extents of the mesh along its axes in the file's unit. Raises ObjectError for a file without a usable mesh."""
    return _used_extents(_triangles(path)[0])


def content_hash(path: Path, scale: float) -> str:
    """The digest of `read_mesh`, without parsing for formats of a single file. Raises ObjectError as `read_mesh` does."""
    if path.suffix.lower() in (".gltf", ".glb", *USD_SUFFIXES):
        return read_mesh(path, scale).content_hash
    return _digest([_read_bytes(path)], scale)


def _used_extents(mesh: TriangleMesh) -> Floats:
    """(3,) extents of the mesh without unused vertices."""
    return np.asarray(np.ptp(mesh.vertices[np.unique(mesh.faces)], axis=0))


def _triangles(path: Path) -> tuple[TriangleMesh, list[bytes]]:
    """The triangles in the file's unit, and the contents of the file and of its side files."""
    content = _read_bytes(path)
    suffix = path.suffix.lower()
    if suffix in MESH_SUFFIXES:
        mesh, side_files = _parse(path, content)
    elif suffix in USD_SUFFIXES:
        mesh, side_files = read_usd(path)
    else:
        known = " ".join((*MESH_SUFFIXES, *USD_SUFFIXES))
        raise ObjectError("not a known mesh format", path=path, advice=f"convert it to one of {known}")
    _check_triangles(path, mesh)
    return mesh, [content, *side_files]


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ObjectError("is a folder", path=path, advice="name a mesh file")
        if path.stat().st_size > LARGEST_FILE:
            raise ObjectError(f"larger than {LARGEST_FILE // 10**9} GB", path=path, advice="simplify the mesh")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ObjectError("no such file", path=path, advice="check the scales file and --object-dataset") from None
    except (OSError, ValueError) as error:
        raise ObjectError(f"cannot be read ({_reason(error)})", path=path) from None
    if not content.strip():
        raise ObjectError("empty file", path=path, advice="export the mesh again")
    return content


class _RecordingResolver(FilePathResolver):  # type: ignore[misc]
    """Side files from the mesh's folder, recorded: a glTF's buffers are part of the object."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.contents: list[bytes] = []

    def get(self, name: str) -> bytes:
        content: bytes = super().get(name)
        self.contents.append(content)
        return content


def _parse(path: Path, content: bytes) -> tuple[TriangleMesh, list[bytes]]:
    """The triangles in the file's unit, and the contents of the side files."""
    resolver = _RecordingResolver(path)
    kind = path.suffix.lower()[1:]
    try:
        with _quiet():
            scene = trimesh.load_scene(
                io.BytesIO(_checked(kind, content)), file_type=kind, resolver=resolver, process=False, skip_materials=True
            )
            meshes = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh)]
    except Exception as error:  # the parsers raise any exception for damaged files
        raise ObjectError(f"cannot be read as {kind.upper()} ({_reason(error)})", path=path, advice="export the mesh again") from None
    if not meshes:
        holds = "only points or curves" if scene.geometry else "no geometry"
        raise ObjectError(f"holds {holds}, no faces", path=path, advice="export a triangle mesh")
    return join_meshes([triangle_mesh(part.vertices, part.faces) for part in meshes]), resolver.contents


def _checked(kind: str, content: bytes) -> bytes:
    """The content for the parser: a glTF must be JSON; text that is not UTF-8 is decoded as Latin-1, a common encoding of comments."""
    if kind == "gltf":
        json.loads(content)
    if kind in ("obj", "off"):
        try:
            content.decode()
        except UnicodeDecodeError:
            return content.decode("latin-1").encode()
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps numerical warnings off the terminal, and turns the warning of an unreadable number into an error."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="string or file could not be read")
        yield


def _check_triangles(path: Path, mesh: TriangleMesh) -> None:
    if not len(mesh.faces):
        raise ObjectError("has no faces", path=path, advice="export a triangle mesh")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise ObjectError("a face names a vertex that does not exist", path=path, advice="export the mesh again")
    if not np.isfinite(mesh.vertices).all():
        bad = int((~np.isfinite(mesh.vertices).all(axis=1)).sum())
        raise ObjectError(f"{bad} of {len(mesh.vertices)} vertices are NaN or infinite", path=path, advice="export the mesh again")


def _check_size(path: Path, extents: Floats, scale: float) -> None:
    largest = float(extents.max())
    if largest == 0:
        raise ObjectError("all its faces lie in one point", path=path, advice="export the mesh again")
    low, high = EXTENT_LIMITS
    if not low <= largest <= high:
        size = f"{largest * 1000:.3g} mm" if largest < 1 else f"{largest:.3g} m"
        bound = f"over {high:g} m" if largest > high else f"under {low * 1000:g} mm"
        raise ObjectError(
            f"is {size} large at scale {scale:g}, {bound}", path=path, advice="the scale may be in the wrong unit (metres a mesh unit)"
        )


def _digest(contents: list[bytes], scale: float) -> str:
    """Digest of byte strings and a scale. The length of each string is included, so that different splits give different digests."""
    digest = hashlib.sha256()
    for content in (*contents, repr(scale).encode()):
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    """The error's reason on one line."""
    if isinstance(error, FileNotFoundError):
        return f"it needs the file {error.filename or error}, which is missing"
    # A parser's last resort for unreadable bytes is another package.
    return "its bytes are no mesh" if isinstance(error, ImportError) else one_line(error, 120)
