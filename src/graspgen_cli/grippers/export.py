"""A gripper's files for GraspGen: `<name>.yaml`, `<name>.py` and `<name>.obj` in its `config/grippers`; and a gripper's values as a table.

GraspGen's convention (docs/GRIPPER_DESCRIPTION.md of NVlabs/GraspGen): approach +Z, closing along X, origin at the base link.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import manifold3d
import numpy as np
import yaml
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from graspgen_cli.errors import OutputError, one_line
from graspgen_cli.files import Placed, write_atomically
from graspgen_cli.geometry.collision import parts_in_base
from graspgen_cli.geometry.meshes import mesh_from_solid, solid_from_mesh, transform_mesh
from graspgen_cli.geometry.poses import inverse, rotation_angle
from graspgen_cli.records import Floats, Gripper, TriangleMesh

_DECIMALS = 9
_TOLERANCE = 1e-6  # m: detail removed from the mesh
_MOST_LINES = 24  # shown of a difference
STRAIGHT = 5e-5
"""m: fingertips that advance by less while closing move straight."""


@dataclass(frozen=True)
class ConfigFile:
    """A file of a gripper config. difference: lines that differ between an existing file and the measured content, or empty."""

    path: Path
    status: Placed
    difference: str = ""


def write_graspgen_config(gripper: Gripper, folder: Path, *, overwrite: bool) -> tuple[ConfigFile, ...]:
    """Write GraspGen's description of the gripper into a folder, which is created if missing.

    overwrite: replace existing files with other content. Raises OutputError.
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

    The loader applies the offset to the mesh, although the trainer defines the offset as the pose of GraspGen's frame in the base, whose
    inverse would be right for a mesh. So the mesh is given in a frame from which the offset leads to GraspGen's convention: the base frame
    if the offset is its own inverse, as the identity of the built-in grippers is.
    """
    solids = [solid_from_mesh(part) for part in parts_in_base(gripper, -1)]
    # Within the tolerance, touching faces are merged: the surface stays closed if a reader merges equal vertices.
    union = mesh_from_solid(manifold3d.Manifold.batch_boolean(solids, manifold3d.OpType.Add).set_tolerance(_TOLERANCE))
    return transform_mesh(gripper.pose_base_in_graspgen @ gripper.pose_base_in_graspgen, union)


def obj_text(mesh: TriangleMesh) -> str:
    """A mesh as a Wavefront OBJ file, m."""
    lines = ["# Lengths in metres."]
    lines += [f"v {x:.{_DECIMALS}f} {y:.{_DECIMALS}f} {z:.{_DECIMALS}f}" for x, y, z in _rounded(mesh.vertices)]
    lines += [f"f {a} {b} {c}" for a, b, c in mesh.faces + 1]
    return "\n".join(lines) + "\n"


def _rounded(values: Floats) -> Floats:
    """Rounded, without minus zeros, so that the same gripper gives the same text."""
    return np.asarray(np.round(values, _DECIMALS) + 0.0)


def _write(path: Path, content: bytes, *, overwrite: bool) -> ConfigFile:
    try:
        existing = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise OutputError(f"cannot be read ({one_line(error)})", path=path, advice="check the permissions") from error
    if existing == content:
        return ConfigFile(path, Placed.KEPT)
    difference = "" if existing is None else _difference(path, existing.decode("utf-8", "replace"), content.decode())
    if existing is not None and not overwrite:
        return ConfigFile(path, Placed.DIFFERS, difference)
    write_atomically(path, content)
    return ConfigFile(path, Placed.WRITTEN, difference)


def _difference(path: Path, there: str, measured: str) -> str:
    """Difference between the existing and the measured content: a unified diff, or for meshes the distance between their vertices."""
    if path.suffix == ".obj":
        return _mesh_difference(there, measured)
    names = f"{path.name} (there)", f"{path.name} (measured)"
    lines = list(difflib.unified_diff(there.splitlines(), measured.splitlines(), *names, n=0, lineterm=""))
    return "\n".join(lines[:_MOST_LINES] + ([f"... {len(lines) - _MOST_LINES} more lines"] if len(lines) > _MOST_LINES else []))


def _mesh_difference(there: str, measured: str) -> str:
    try:
        vertices = [[line.split()[1:4] for line in text.splitlines() if line.startswith("v ")] for text in (there, measured)]
        first, second = (np.array(values, np.float64) for values in vertices)
        apart = max(float(KDTree(a).query(b)[0].max()) for a, b in ((first, second), (second, first)))
    except ValueError:  # no vertices, or none of three finite numbers
        return "the file that is there is no mesh"
    if apart <= _TOLERANCE:
        return "the mesh has the same corners; its faces, their order or the comments differ"
    return f"the mesh differs by up to {apart * 1000:.3g} mm ({len(first)} corners there, {len(second)} measured)"


def gripper_table(gripper: Gripper) -> list[tuple[str, str]]:
    """A gripper's name and values, a row each, for people."""
    along, across, forward = (1000 * size for size in (*gripper.pad_size, fingertip_advance(gripper)))
    turn = finger_turn(gripper)
    driven = [name for name, effort in zip(gripper.joint_names, gripper.joint_effort, strict=True) if effort]
    translation, quaternion_xyzw = graspgen_offset(gripper)
    rows = [
        ("gripper", gripper.name),
        ("opening width", f"{gripper.opening_width[0] * 1000:.1f} to {gripper.width * 1000:.1f} mm"),
        ("depth, base to fingertips", f"{gripper.depth * 1000:.1f} mm, open"),
        ("pads, length x width", f"{along:.1f} x {across:.1f} mm"),
        ("bite, fingertip to contact", f"{gripper.bite * 1000:.1f} mm"),
        ("fingertips as it closes", f"{forward:+.1f} mm along the approach axis" if abs(forward) > 1000 * STRAIGHT else "straight"),
        ("fingers as it closes", f"turn by {np.degrees(turn):.1f}°" if turn > 1e-3 else "stay parallel"),
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
    """A gripper's values for programs: SI units, angles in rad."""
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
        "graspgen_offset": list(graspgen_offset(gripper)),
        "notes": list(gripper.notes),
    }


def fingertip_advance(gripper: Gripper) -> float:
    """Motion of the fingertips along the approach axis from open to closed, m."""
    path = (gripper.fingertip_in_base @ gripper.approach_axis_in_base).mean(axis=1)
    return float(path[0] - path[-1])


def finger_turn(gripper: Gripper) -> float:
    """Rotation angle of finger 0 in the base's frame from open to closed, rad."""
    poses = gripper.pose_body_in_base[:, gripper.body_names.index(gripper.finger_bodies[0])]
    turned = inverse(poses[:1]) @ poses[-1:]
    return float(rotation_angle(turned[:, :3, :3])[0])


def contact_points(gripper: Gripper, opening: int) -> Floats:
    """(2, 3) m: the pads' contact points at an opening index, in the base's frame."""
    return gripper.fingertip_in_base[opening] - gripper.bite * gripper.approach_axis_in_base


def _vector(values: Floats | list[float]) -> str:
    return "[" + ", ".join(f"{value + 0.0:.4g}" for value in np.round(values, 6)) + "]"
