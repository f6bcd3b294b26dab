"""Hands a gripper to GraspGen: the .yaml, the .py and the mesh of its `config/grippers`.

GraspGen's convention (docs/GRIPPER_DESCRIPTION.md of NVlabs/GraspGen): approach +Z, closing along X, origin at the base link.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path

import manifold3d
import numpy as np
import yaml
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from graspgen_cli.errors import OutputError
from graspgen_cli.files import write_atomically
from graspgen_cli.geometry.meshes import mesh_from_solid, solid_from_mesh, triangle_mesh
from graspgen_cli.geometry.poses import inverse, transform_points
from graspgen_cli.records import Floats, Gripper, TriangleMesh

_DECIMALS = 9
_TOLERANCE = 1e-6
"""m: detail of the mesh that is dropped."""
_MOST_LINES = 24
"""Lines of a difference that are shown."""


class FileStatus(StrEnum):
    """What was done with a file."""

    WRITTEN = "written"
    KEPT = "kept"
    """It was there already, with the same content."""
    DIFFERS = "differs"
    """It was there with other content, and was left alone."""


@dataclass(frozen=True)
class ConfigFile:
    """One file of a gripper config.

    difference: how the file that was there differs from what was measured, in lines; empty where it does not, or was not there.
    """

    path: Path
    status: FileStatus
    difference: str = ""


def write_graspgen_config(gripper: Gripper, folder: Path, *, overwrite: bool) -> tuple[ConfigFile, ...]:
    """Writes GraspGen's description of the gripper into a folder, which is made where it does not exist.

    A file that is there with other content is replaced only with `overwrite`. Raises OutputError.
    """
    contents = {
        ".yaml": graspgen_yaml(gripper),
        ".py": resources.files("graspgen_cli.grippers").joinpath("graspgen_module.py.txt").read_text("utf-8"),
        ".obj": obj_text(graspgen_mesh(gripper)),
    }
    return tuple(_write(folder / f"{gripper.name}{suffix}", text.encode(), overwrite=overwrite) for suffix, text in contents.items())


def graspgen_offset(gripper: Gripper) -> tuple[list[float], list[float]]:
    """Translation (m) and quaternion (xyzw) of GraspGen's `transform_offset_from_asset_to_graspgen_convention`.

    The trainer computes ``grasp @ offset``: the offset is the pose of GraspGen's frame in the base frame.
    """
    offset = inverse(gripper.pose_base_in_graspgen)
    quaternion_xyzw = Rotation.from_matrix(offset[:3, :3]).as_quat(canonical=True)
    return _rounded(offset[:3, 3]).tolist(), _rounded(quaternion_xyzw).tolist()


def graspgen_yaml(gripper: Gripper) -> str:
    """The text of GraspGen's `<name>.yaml`."""
    content = {
        "width": round(gripper.width, _DECIMALS),
        "depth": round(gripper.depth, _DECIMALS),
        "transform_offset_from_asset_to_graspgen_convention": list(graspgen_offset(gripper)),
        "symmetric_antipodal": gripper.symmetric,
    }
    head = f"# {gripper.name}, measured by `graspgen gripper-config`; lengths in metres; the offset is [[x, y, z], [qx, qy, qz, qw]].\n"
    return f"{head}{yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=1000)}"


def graspgen_mesh(gripper: Gripper) -> TriangleMesh:
    """The fully open gripper as one closed surface, m, for GraspGen's loader.

    The loader applies the offset, which the trainer defines as the pose of GraspGen's frame in the base, to the mesh as well, where
    its inverse belongs. So the mesh is given in the frame from which the offset leads to GraspGen's convention; that is the base
    frame wherever the offset is its own inverse, and always with the offset of the built-in grippers, the identity.
    """
    solids = [
        solid_from_mesh(triangle_mesh(transform_points(pose, part.vertices), part.faces))
        for pose, parts in zip(gripper.pose_body_in_base[-1], gripper.collision_parts, strict=True)
        for part in parts
    ]
    # Within the tolerance, faces that touch become one: the surface stays closed when a reader merges equal vertices.
    union = mesh_from_solid(manifold3d.Manifold.batch_boolean(solids, manifold3d.OpType.Add).set_tolerance(_TOLERANCE))
    twice = gripper.pose_base_in_graspgen @ gripper.pose_base_in_graspgen
    return triangle_mesh(transform_points(twice, union.vertices), union.faces)


def obj_text(mesh: TriangleMesh) -> str:
    """A mesh as a Wavefront OBJ file, m."""
    lines = ["# Lengths in metres."]
    lines += [f"v {x:.{_DECIMALS}f} {y:.{_DECIMALS}f} {z:.{_DECIMALS}f}" for x, y, z in _rounded(mesh.vertices)]
    lines += [f"f {a} {b} {c}" for a, b, c in mesh.faces + 1]
    return "\n".join(lines) + "\n"


def _rounded(values: Floats) -> Floats:
    """Rounded, and without minus zeros, so that the same gripper gives the same text."""
    return np.asarray(np.round(values, _DECIMALS) + 0.0)


def _write(path: Path, content: bytes, *, overwrite: bool) -> ConfigFile:
    try:
        existing = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror or error}); check the permissions") from error
    if existing == content:
        return ConfigFile(path, FileStatus.KEPT)
    difference = "" if existing is None else _difference(path, existing, content)
    if existing is not None and not overwrite:
        return ConfigFile(path, FileStatus.DIFFERS, difference)
    write_atomically(path, content)
    return ConfigFile(path, FileStatus.WRITTEN, difference)


def _difference(path: Path, existing: bytes, content: bytes) -> str:
    """What changes from the existing content to the new: a unified diff, or for a mesh how far its corners lie apart."""
    there, measured = existing.decode("utf-8", "replace"), content.decode()
    if path.suffix == ".obj":
        return _mesh_difference(there, measured)
    names = f"{path.name} (there)", f"{path.name} (measured)"
    lines = list(difflib.unified_diff(there.splitlines(), measured.splitlines(), *names, n=0, lineterm=""))
    return "\n".join(lines[:_MOST_LINES] + ([f"... {len(lines) - _MOST_LINES} more lines"] if len(lines) > _MOST_LINES else []))


def _mesh_difference(there: str, measured: str) -> str:
    try:
        first, second = _obj_vertices(there), _obj_vertices(measured)
        apart = max(float(KDTree(a).query(b)[0].max()) for a, b in ((first, second), (second, first)))
    except ValueError:
        return "the file that is there is no mesh"
    if apart <= _TOLERANCE:
        return "the mesh has the same corners; its faces, their order or the comments differ"
    return f"the mesh differs by up to {apart * 1000:.3g} mm ({len(first)} corners there, {len(second)} measured)"


def _obj_vertices(text: str) -> Floats:
    """Vertices (V, 3) of a Wavefront OBJ file. Raises ValueError where there are none."""
    vertices = np.array([line.split()[1:4] for line in text.splitlines() if line.startswith("v ")], np.float64)
    if vertices.shape[1:] != (3,) or not np.isfinite(vertices).all():
        raise ValueError("no vertices")
    return vertices
