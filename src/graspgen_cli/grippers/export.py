"""Hands a gripper to GraspGen: the .yaml, the .py and the mesh of its `config/grippers`.

GraspGen's convention (docs/GRIPPER_DESCRIPTION.md of NVlabs/GraspGen): approach +Z, closing along X, origin at the base link.

What was measured of a gripper, in words and as a document."""

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
from graspgen_cli.geometry.poses import inverse, rotation_angle, transform_points
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


_STRAIGHT = 5e-5
"""m: fingertips that leave a straight line by less are said to move straight."""


def gripper_table(gripper: Gripper) -> list[tuple[str, str]]:
    """What and how much, a row each, for people."""
    along, beside, forward = (1000 * size for size in (*gripper.pad_size, fingertip_advance(gripper)))
    driven = [name for name, effort in zip(gripper.joint_names, gripper.joint_effort, strict=True) if effort]
    translation, quaternion_xyzw = graspgen_offset(gripper)
    rows = [
        ("gripper", gripper.name),
        ("opening width", f"{gripper.opening_width[0] * 1000:.1f} to {gripper.width * 1000:.1f} mm"),
        ("depth, base to fingertips", f"{gripper.depth * 1000:.1f} mm, open"),
        ("pads, length x width", f"{along:.1f} x {beside:.1f} mm"),
        ("bite, fingertip to contact", f"{gripper.bite * 1000:.1f} mm"),
        ("fingertips as it closes", f"{forward:+.1f} mm along the approach axis" if abs(forward) > 1000 * _STRAIGHT else "straight"),
        ("fingers as it closes", f"turn by {np.degrees(finger_turn(gripper)):.1f}°" if finger_turn(gripper) > 1e-3 else "stay parallel"),
        ("approach axis in base", _vector(gripper.approach_axis_in_base)),
        ("closing axis in base", _vector(gripper.closing_axis_in_base)),
        ("symmetric by a half turn", "yes" if gripper.symmetric else "no"),
        ("grip force, each pad", f"{gripper.grip_force:g} N"),
        ("closing speed", f"{gripper.closing_speed * 1000:g} mm/s"),
        ("base, fingers", f"{gripper.base_body}, {gripper.finger_bodies[0]}, {gripper.finger_bodies[1]}"),
        ("joints", f"{len(gripper.joint_names)}, driven: {', '.join(driven)}"),
        ("collision parts", f"{sum(map(len, gripper.collision_parts))} in {len(gripper.body_names)} bodies"),
        ("GraspGen's frame in base", f"{_vector(translation)} m, quaternion xyzw {_vector(quaternion_xyzw)}"),
    ]
    return rows + [("note", note) for note in gripper.notes]


def gripper_document(gripper: Gripper) -> dict[str, object]:
    """The same for programs: SI units, angles in rad."""
    translation, quaternion_xyzw = graspgen_offset(gripper)
    return {
        "name": gripper.name,
        "content_hash": gripper.content_hash,
        "width": gripper.width,
        "narrowest_width": float(gripper.opening_width[0]),
        "depth": gripper.depth,
        "pad_size": gripper.pad_size.tolist(),
        "bite": gripper.bite,
        "fingertip_advance": fingertip_advance(gripper),
        "finger_turn": finger_turn(gripper),
        "approach_axis": gripper.approach_axis_in_base.tolist(),
        "closing_axis": gripper.closing_axis_in_base.tolist(),
        "symmetric": gripper.symmetric,
        "grip_force": gripper.grip_force,
        "closing_speed": gripper.closing_speed,
        "base_body": gripper.base_body,
        "finger_bodies": list(gripper.finger_bodies),
        "joint_effort": dict(zip(gripper.joint_names, gripper.joint_effort.tolist(), strict=True)),
        "graspgen_offset": [translation, quaternion_xyzw],
        "notes": list(gripper.notes),
    }


def fingertip_advance(gripper: Gripper) -> float:
    """How far the fingertips move along the approach axis from open to closed, m."""
    path = (gripper.fingertip_in_base @ gripper.approach_axis_in_base).mean(axis=1)
    return float(path[0] - path[-1])


def finger_turn(gripper: Gripper) -> float:
    """The angle by which finger 0 turns in the base's frame from open to closed, rad."""
    poses = gripper.pose_body_in_base[:, gripper.body_names.index(gripper.finger_bodies[0])]
    turned = inverse(poses[:1]) @ poses[-1:]
    return float(rotation_angle(turned[:, :3, :3])[0])


def _vector(values: Floats | list[float]) -> str:
    return "[" + ", ".join(f"{value + 0.0:.4g}" for value in np.round(values, 6)) + "]"
