"""Reader of MJCF files (https://mujoco.readthedocs.io/en/stable/XMLreference.html)."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import mujoco

from graspgen_cli.errors import GripperError, one_line
from graspgen_cli.grippers.model import Draft, GripperModel, build_model


def read_mjcf_text(text: str, *, source: str, base_body: str | None = None, keep: Sequence[str] = ()) -> GripperModel:
    """Read MJCF text without references to files, and build its model (see `build_model`). source: name of the text in messages.

    Raises GripperError if MuJoCo cannot read the text, or as `build_model` does.
    """
    return build_model(Draft(_spec(text, source), source), base_body=base_body, keep=keep)


def read_mjcf(path: Path, *, base: str | None = None, package_root: Path | None = None) -> Draft:
    """Read an MJCF file with its includes and meshes; base and package_root have no effect. Raises GripperError."""
    spec, notes = _parse(path)
    if _means_radians(spec, path):
        spec.compiler.degree = False
        notes = (*notes, "the file names no unit of angles; in degrees no joint would turn by more than 7 degrees: read as radians")
    assets, files = _read_meshes(spec, path)
    return Draft(spec, str(path), assets, notes=notes, files=(path, *_included(path), *files))


def _spec(text: str, source: str) -> mujoco.MjSpec:
    try:
        return mujoco.MjSpec.from_string(text)
    except ValueError as error:
        raise GripperError(f"not a readable MJCF model: {one_line(error)}", path=source) from error


def _parse(path: Path) -> tuple[mujoco.MjSpec, tuple[str, ...]]:
    """The file's spec, and a note on meshes with a repeated name, which MuJoCo refuses: the first mesh of a name counts."""
    try:
        return mujoco.MjSpec.from_file(str(path)), ()
    except (ValueError, OSError) as error:
        problem = GripperError(f"not a readable MJCF model: {one_line(error)}", path=path)
    try:
        tree = ET.parse(path)
    except (ET.ParseError, OSError):
        raise problem from None
    taken: set[str] = set()
    repeated: list[str] = []
    for asset in tree.getroot().iter("asset"):
        for mesh in asset.findall("mesh"):
            name = mesh.get("name") or Path(mesh.get("file", "")).stem
            if name in taken:
                asset.remove(mesh)
                repeated.append(name)
            taken.add(name)
    if not repeated:
        raise problem
    note = f"mesh {', '.join(repeated)} is named twice in the file: the first one counts"
    return _spec(ET.tostring(tree.getroot(), encoding="unicode"), str(path)), (note,)


def _means_radians(spec: mujoco.MjSpec, path: Path) -> bool:
    """Whether the file names no unit of angles and its hinges would hardly turn in MuJoCo's default, degrees.

    Models assembled from several files often set the unit in another file.
    """
    text = path.read_text("utf-8", errors="replace")
    if re.search(r"<compiler[^>]*\bangle\s*=", text) or re.search(r"<include\b", text):
        return False
    hinges = [joint for joint in spec.joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE]
    return 0 < max((abs(float(end)) for joint in hinges for end in joint.range), default=0.0) <= 2 * math.pi


def _included(path: Path) -> list[Path]:
    """The files that an MJCF file includes, directly or indirectly."""
    found: list[Path] = []
    waiting = [path]
    while waiting:
        names = re.findall(r"<include\s+file\s*=\s*[\"']([^\"']+)", waiting.pop().read_text("utf-8", errors="replace"))
        new = [file for file in (path.parent / name for name in names) if file not in found and file.is_file()]
        found += new
        waiting += new
    return found


def _read_meshes(spec: mujoco.MjSpec, path: Path) -> tuple[dict[str, bytes], list[Path]]:
    """Read the spec's mesh files, and rename them in the spec to keys without folders."""
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
            raise GripperError(f"mesh {file} cannot be read: {one_line(error)}", path=path) from error
        if not mesh.name:
            mesh.name = file.stem
        mesh.file = f"{number}_{file.name}"
        assets[mesh.file] = content
        files.append(file)
    spec.meshdir = ""
    spec.assets.update(assets)
    return assets, files
