"""Meshes of USD files; needs usd-core."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.errors import ObjectError, install_command
from graspgen_cli.geometry.meshes import face_crosses, join_meshes, polygon_normal, triangle_mesh, triangulate_polygons
from graspgen_cli.records import Floats, Ints, TriangleMesh

USD_SUFFIXES = (".usd", ".usda", ".usdc", ".usdz")


def read_usd(path: Path) -> tuple[TriangleMesh, list[bytes]]:
    """All visible meshes of a USD stage in world coordinates, m, and the contents of the other files of the stage.

    Lengths are multiplied by the stage's metersPerUnit (USD's default: 0.01); the axes stay. Subdivision surfaces are read as their
    control mesh. Raises ObjectError if usd-core is missing, the file cannot be opened, or the stage has no mesh.
    """
    try:
        from pxr import Tf, Usd, UsdGeom, UsdUtils
    except ImportError:
        raise ObjectError("reading USD needs usd-core", path=path, advice=f"run {install_command('usd')}") from None
    listener = UsdUtils.CoalescingDiagnosticDelegate()  # collects the warnings that USD would print
    try:
        stage = Usd.Stage.Open(str(path))
        missing = stage.GetCompositionErrors()
        transforms = UsdGeom.XformCache()
        parts = [_world_mesh(prim, transforms) for prim in _mesh_prims(stage)]
        side_files = [Path(layer.realPath).read_bytes() for layer in _side_layers(stage)]
    except (Tf.ErrorException, ValueError, IndexError, OSError) as error:
        raise ObjectError(f"cannot be read as USD ({_first_cause(error)})", path=path, advice="export the stage again") from None
    finally:
        listener.TakeUncoalescedDiagnostics()
    if missing:
        raise ObjectError(f"a file that it refers to cannot be composed ({_first_cause(missing[0])})", path=path, advice="put it back")
    if not parts:
        raise ObjectError("holds no visible UsdGeom mesh", path=path, advice="export the object as a mesh")
    joined = join_meshes(parts)
    return triangle_mesh(joined.vertices * UsdGeom.GetStageMetersPerUnit(stage), joined.faces), side_files


def _mesh_prims(stage: Any) -> list[Any]:
    """The meshes that a renderer shows: visible, no guides or proxies, instances included."""
    from pxr import Usd, UsdGeom

    shown = (UsdGeom.Tokens.default_, UsdGeom.Tokens.render)
    prims = []
    for prim in Usd.PrimRange.Stage(stage, Usd.TraverseInstanceProxies()):
        if prim.IsA(UsdGeom.Mesh):
            image = UsdGeom.Imageable(prim)
            if image.ComputeVisibility() != UsdGeom.Tokens.invisible and image.ComputePurpose() in shown:
                prims.append(prim)
    return prims


def _side_layers(stage: Any) -> list[Any]:
    """The layers on disk other than the stage's own file, by name."""
    layers = [layer for layer in stage.GetUsedLayers() if layer.realPath and layer != stage.GetRootLayer()]
    return sorted((layer for layer in layers if Path(layer.realPath).is_file()), key=lambda layer: str(layer.identifier))


def _world_mesh(prim: Any, transforms: Any) -> TriangleMesh:
    """The prim's triangles in world coordinates and stage units, counter-clockwise seen from outside."""
    from pxr import UsdGeom

    mesh = UsdGeom.Mesh(prim)
    points = np.asarray(mesh.GetPointsAttr().Get() or [], np.float64).reshape(-1, 3)
    corners = np.asarray(mesh.GetFaceVertexIndicesAttr().Get() or [], np.int64)
    counts = np.asarray(mesh.GetFaceVertexCountsAttr().Get() or [], np.int64)
    if corners.size != counts.sum() or (counts < 0).any() or (corners.size and not 0 <= corners.min() <= corners.max() < len(points)):
        raise ValueError(f"{prim.GetPath()}: its faces name points that do not exist")
    holes = np.asarray(mesh.GetHoleIndicesAttr().Get() or [], np.int64)
    faces = _triangulate_faces(points, corners, counts, holes)
    world = np.asarray(transforms.GetLocalToWorldTransform(prim))  # for row vectors
    mirrored = np.linalg.det(world[:3, :3]) < 0
    left_handed = mesh.GetOrientationAttr().Get() == UsdGeom.Tokens.leftHanded
    return triangle_mesh(points @ world[:3, :3] + world[3, :3], faces[:, ::-1] if mirrored != left_handed else faces)


def _triangulate_faces(points: Floats, corners: NDArray[np.int64], counts: NDArray[np.int64], holes: NDArray[np.int64]) -> Ints:
    """Triangles (T, 3) of polygons, given as the concatenated corners of all polygons (indices of points) and the corners per polygon;
    polygons in `holes` are left out."""
    starts = np.cumsum(counts) - counts
    kept = np.setdiff1d(np.flatnonzero(counts >= 3), holes)
    ready = corners[starts[kept[counts[kept] == 3], None] + np.arange(3)]
    loops = [corners[starts[face] : starts[face] + counts[face]] for face in kept[counts[kept] > 3]]
    return np.concatenate([ready, *(loop[_triangulate_polygon(points[loop])] for loop in loops)]).astype(np.int32)


def _triangulate_polygon(polygon: Floats) -> NDArray[np.integer]:
    """Triangles (n - 2, 3) of one polygon (n, 3): the fan about its first corner if the fan stays inside."""
    last = np.arange(2, len(polygon))
    fan = np.stack([np.zeros_like(last), last - 1, last], axis=1)
    normals = face_crosses(polygon[fan])
    return fan if (normals @ polygon_normal(polygon) > 0).all() else triangulate_polygons([polygon])


def _first_cause(error: object) -> str:
    """The first cause in USD's message, on one line of at most 160 characters."""
    text = " ".join(str(error).split())
    cause = re.search(r" : '(.*?)'( Error in |$)", text)
    return (cause[1] if cause else text)[:160]
