"""Finds the mesh files that URDF and SDF name, and reads them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import trimesh

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.records import Floats, TriangleMesh


def find_mesh(uri: str, folder: Path, *, source: str, package_root: Path | None = None) -> Path:
    """The file that a `filename` or `uri` names: a path from `folder`, file://, package:// or model://.

    A package is looked for in package_root, then in `folder` and every folder above it: as a folder of its name, or as the folder
    itself. Raises GripperError naming the file where there is none.
    """
    parsed = urlparse(uri)
    if parsed.scheme in ("package", "model"):
        relative = unquote(parsed.netloc + parsed.path)
        roots = [*([package_root] if package_root else []), folder, *folder.resolve().parents]
        for root in roots:
            if (root / relative).is_file():
                return root / relative
            inside = root / unquote(parsed.path.lstrip("/"))
            if root.resolve().name == parsed.netloc and inside.is_file():
                return inside
        raise GripperError(
            f"{source}: mesh {uri} is not in {folder} or any folder above it; put the package {parsed.netloc} there, or name the folder "
            "that holds it with --package-root"
        )
    file = Path(unquote(parsed.path)) if parsed.scheme == "file" else folder / uri
    if not file.is_file():
        raise GripperError(f"{source}: mesh {file} does not exist")
    return file


def read_mesh(path: Path, scale: Floats, *, source: str) -> TriangleMesh:
    """The triangles of a mesh file, m, its lengths multiplied by `scale` (3,). Raises GripperError where it cannot be read."""
    try:
        loaded = trimesh.load(path, force="mesh", process=False)
    except ImportError as error:
        raise GripperError(f"{source}: reading {path.name} needs {error.name}; run: pip install 'graspgen-cli[grippers]'") from error
    except Exception as error:  # trimesh's readers raise whatever their parsers raise
        raise GripperError(f"{source}: mesh {path} cannot be read: {' '.join(str(error).split())[:120]}") from error
    vertices = np.asarray(loaded.vertices, np.float64) * scale * _unit(path)
    if len(loaded.faces) == 0 or not np.isfinite(vertices).all():
        raise GripperError(f"{source}: mesh {path} holds no triangles, or coordinates that are no numbers")
    faces = np.asarray(loaded.faces)
    return triangle_mesh(vertices, faces if np.prod(scale) > 0 else faces[:, ::-1])


def _unit(path: Path) -> float:
    """m a unit of the file: COLLADA says it; its up axis is left alone, as the tools that show URDF do."""
    if path.suffix.lower() != ".dae":
        return 1.0
    found = re.search(r"<unit[^>]*\bmeter\s*=\s*[\"']([0-9.eE+-]+)", path.read_text("utf-8", errors="replace"))
    return float(found.group(1)) if found else 1.0
