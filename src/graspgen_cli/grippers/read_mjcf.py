"""Reads MJCF."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import mujoco

from graspgen_cli.errors import GripperError
from graspgen_cli.grippers.model import Draft, GripperModel, build_model, one_line


def read_mjcf_file(path: Path, *, base_body: str | None = None, keep: Sequence[str] = ()) -> GripperModel:
    """Reads an MJCF file with the files that it includes and the meshes that it names.

    Raises GripperError where MuJoCo cannot read the file or the base is not clear.
    """
    return build_model(draft_from_mjcf(path), base_body=base_body, keep=keep)


def read_mjcf_text(text: str, *, source: str, base_body: str | None = None, keep: Sequence[str] = ()) -> GripperModel:
    """Reads MJCF text that names no other files; `source` is what messages call it. Raises GripperError as read_mjcf_file does."""
    try:
        spec = mujoco.MjSpec.from_string(text)
    except ValueError as error:
        raise GripperError(f"{source}: not a readable MJCF model: {one_line(error)}") from error
    return build_model(Draft(spec, source), base_body=base_body, keep=keep)


def draft_from_mjcf(path: Path) -> Draft:
    """What an MJCF file holds. Raises GripperError where it cannot be read."""
    spec, notes = _parse(path)
    if _means_radians(spec, path):
        spec.compiler.degree = False
        notes = (*notes, "the file does not say whether its angles are degrees; as such no joint would turn 7 degrees: read as radians")
    assets, files = _read_meshes(spec, path)
    return Draft(spec, str(path), assets, notes=notes, files=(path, *_included(path), *files))


def _parse(path: Path) -> tuple[mujoco.MjSpec, tuple[str, ...]]:
    try:
        return mujoco.MjSpec.from_file(str(path)), ()
    except (ValueError, OSError) as error:
        complaint = one_line(error)
        problem = GripperError(f"{path}: not a readable MJCF model: {complaint}")
    if "repeated name" not in complaint:
        raise problem
    text, repeated = _without_repeated_meshes(path)
    if not repeated:
        raise problem
    try:
        spec = mujoco.MjSpec.from_string(text)
    except ValueError as error:
        raise GripperError(f"{path}: not a readable MJCF model: {one_line(error)}") from error
    return spec, (f"mesh {', '.join(repeated)} is named twice in the file: the first one counts",)


def _means_radians(spec: mujoco.MjSpec, path: Path) -> bool:
    """Whether a file that names no unit of angle has hinges that would hardly turn: parts of models that are joined from several files
    leave the unit to another part."""
    text = path.read_text("utf-8", errors="replace")
    if re.search(r"<compiler[^>]*\bangle\s*=", text) or re.search(r"<include\b", text):
        return False
    hinges = [joint for joint in spec.joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE]
    ranges = [abs(float(end)) for joint in hinges for end in joint.range]
    return bool(ranges) and 0 < max(ranges) <= 2 * math.pi


def _without_repeated_meshes(path: Path) -> tuple[str, list[str]]:
    """The file's text without the meshes whose name an earlier one has; those names."""
    tree = ET.parse(path)
    taken: set[str] = set()
    repeated: list[str] = []
    for asset in tree.getroot().iter("asset"):
        for mesh in asset.findall("mesh"):
            name = mesh.get("name") or Path(mesh.get("file", "")).stem
            if name in taken:
                asset.remove(mesh)
                repeated.append(name)
            taken.add(name)
    return ET.tostring(tree.getroot(), encoding="unicode"), repeated


def _included(path: Path) -> list[Path]:
    """The files that an MJCF file includes, those that they include, and so on."""
    found: list[Path] = []
    waiting = [path]
    while waiting:
        names = re.findall(r"<include\s+file\s*=\s*[\"']([^\"']+)", waiting.pop().read_text("utf-8", errors="replace"))
        new = [file for file in (path.parent / name for name in names) if file not in found and file.is_file()]
        found += new
        waiting += new
    return found


def _read_meshes(spec: mujoco.MjSpec, path: Path) -> tuple[dict[str, bytes], list[Path]]:
    """Reads the mesh files that the spec names, and renames them in the spec so that folders no longer matter."""
    assets: dict[str, bytes] = {}
    files: list[Path] = []
    folder = path.parent / spec.meshdir
    for number, mesh in enumerate(spec.meshes):
        if not mesh.file:
            continue
        file = folder / mesh.file
        try:
            content = file.read_bytes()
        except OSError as error:
            raise GripperError(f"{path}: mesh {file} cannot be read: {error.strerror or error}") from error
        if not mesh.name:
            mesh.name = file.stem
        mesh.file = f"{number}_{file.name}"
        assets[mesh.file] = content
        files.append(file)
    spec.meshdir = ""
    spec.assets.update(assets)
    return assets, files
