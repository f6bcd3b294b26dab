"""Finds the mesh files that URDF and SDF name, and reads them.

Reads URDF."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.geometry.poses import pose
from graspgen_cli.grippers.links import Form, Joint, Link, Mimic, Motion, Shape, draft_from_links
from graspgen_cli.grippers.model import Draft, Drive
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


_MOTIONS = {"fixed": Motion.FIXED, "revolute": Motion.HINGE, "continuous": Motion.HINGE, "prismatic": Motion.SLIDE}


@dataclass(frozen=True)
class XmlFile:
    """An XML file that names mesh files.

    files: every file read so far.
    """

    path: Path
    root: ET.Element
    package_root: Path | None = None
    files: list[Path] = field(default_factory=list)

    @property
    def source(self) -> str:
        """What messages call it."""
        return str(self.path)

    def mesh(self, uri: str | None, scale: Floats, frame: Floats, *, collides: bool) -> Shape:
        """A mesh shape."""
        if not uri:
            raise GripperError(f"{self.source}: a mesh names no file")
        file = find_mesh(uri.strip(), self.path.parent, source=self.source, package_root=self.package_root)
        self.files.append(file)
        return Shape(Form.MESH, frame, mesh=read_mesh(file, scale, source=self.source), collides=collides)


def open_xml(path: Path, package_root: Path | None) -> XmlFile:
    """Parses an XML file. Raises GripperError where it cannot be read."""
    try:
        return XmlFile(path, ET.parse(path).getroot(), package_root, [path])
    except (OSError, ET.ParseError) as error:
        raise GripperError(f"{path}: not readable as XML: {getattr(error, 'strerror', None) or error}") from error


def draft_from_urdf(path: Path, *, base: str | None = None, package_root: Path | None = None) -> Draft:
    """What a URDF file holds; with a base, of that link and what hangs on it only, so that no other mesh has to be there.

    package_root: folder in which `package://` folders lie. Raises GripperError where it cannot be read.
    """
    file = open_xml(path, package_root)
    if file.root.tag != "robot":
        raise GripperError(f"{path}: not a URDF: its root element is <{file.root.tag}>, not <robot>; run xacro on a .xacro file first")
    joints = [_joint(element, file.source) for element in file.root.findall("joint")]
    elements = {element.get("name", ""): element for element in file.root.findall("link")}
    elements, joints = cut_out(base, elements, joints, file.source)
    links = [_link(element, file) for element in elements.values()]
    return draft_from_links(links, joints, source=file.source, files=file.files)


def cut_out(base: str | None, links: dict[str, ET.Element], joints: list[Joint], source: str) -> tuple[dict[str, ET.Element], list[Joint]]:
    """The base, every link that hangs on it, directly or not, and their joints; all where no base is given. Raises GripperError where
    there is no such link."""
    if base is None:
        return links, joints
    if base not in links:
        raise GripperError(f"{source}: no link is called {base}; there are {', '.join(links)}")
    found, waiting = {base}, [base]
    while waiting:
        parent = waiting.pop()
        new = {joint.child for joint in joints if joint.parent == parent} - found
        found |= new
        waiting += sorted(new)
    return {name: link for name, link in links.items() if name in found}, [joint for joint in joints if joint.parent in found]


def numbers(text: str | None, default: str, count: int, source: str) -> Floats:
    """`count` numbers of a text such as ``0 0 1``. Raises GripperError where they are not numbers."""
    try:
        values = np.array((text or default).split(), np.float64)
    except ValueError as error:
        raise GripperError(f"{source}: {text!r} should be {count} numbers") from error
    if values.shape != (count,) or not np.isfinite(values).all():
        raise GripperError(f"{source}: {text!r} should be {count} numbers")
    return values


def number(text: str | None, source: str) -> float | None:
    """The number in a text; None where there is none. Raises GripperError where it is no number."""
    return None if text is None else float(numbers(text, "0", 1, source)[0])


def pose_from_rpy(xyz: Floats, rpy: Floats) -> Floats:
    """(4, 4) from a translation, m, and turns about the fixed axes x, y, z, rad."""
    return pose(Rotation.from_euler("xyz", rpy).as_matrix(), xyz)


def _origin(element: ET.Element, source: str) -> Floats:
    origin = element.find("origin")
    if origin is None:
        return np.eye(4)
    return pose_from_rpy(numbers(origin.get("xyz"), "0 0 0", 3, source), numbers(origin.get("rpy"), "0 0 0", 3, source))


def _joint(element: ET.Element, source: str) -> Joint:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind not in _MOTIONS:
        raise GripperError(f"{source}: joint {name} is of type {kind!r}; a gripper's joints are revolute, prismatic, continuous or fixed")
    ends = [element.find(end) for end in ("parent", "child")]
    parent, child = ("" if end is None else end.get("link", "") for end in ends)
    axis, limit = element.find("axis"), element.find("limit")
    direction = numbers(None if axis is None else axis.get("xyz"), "1 0 0", 3, source)
    bounds: dict[str, float | None] = {}
    if limit is not None:
        bounds = {key: number(limit.get(key), source) for key in ("lower", "upper", "effort", "velocity")}
    ranged = kind in ("revolute", "prismatic") and limit is not None
    return Joint(
        name=name,
        motion=_MOTIONS[kind],
        parent=parent,
        child=child,
        pose_joint_in_parent=_origin(element, source),
        pose_joint_in_child=np.eye(4),
        axis=direction / (np.linalg.norm(direction) or 1.0),
        lower=(bounds.get("lower") or 0.0) if ranged else None,
        upper=(bounds.get("upper") or 0.0) if ranged else None,
        drive=None if kind == "fixed" else Drive(bounds.get("effort"), bounds.get("velocity")),
        mimic=_mimic(element.find("mimic"), source),
    )


def _mimic(element: ET.Element | None, source: str) -> Mimic | None:
    if element is None:
        return None
    multiplier = number(element.get("multiplier"), source)
    return Mimic(element.get("joint", ""), 1.0 if multiplier is None else multiplier, number(element.get("offset"), source) or 0.0)


def _link(element: ET.Element, file: XmlFile) -> Link:
    name = element.get("name", "")
    visual = [_shape(e, file, collides=False) for e in ([] if element.find("collision") is not None else element.findall("visual"))]
    shapes = [_shape(e, file, collides=True) for e in element.findall("collision")]
    inertial = element.find("inertial")
    if inertial is None:
        return Link(name, (*shapes, *visual))
    mass, inertia = inertial.find("mass"), inertial.find("inertia")
    return Link(
        name=name,
        shapes=(*shapes, *visual),
        mass=None if mass is None else number(mass.get("value"), file.source),
        pose_inertia_in_link=_origin(inertial, file.source),
        inertia=None if inertia is None else _inertia({key: inertia.get(key) for key in _MOMENTS}, file.source),
    )


_MOMENTS = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")


def _inertia(moments: dict[str, str | None], source: str) -> Floats:
    return symmetric([number(moments[key], source) or 0.0 for key in _MOMENTS])


def symmetric(moments: list[float]) -> Floats:
    """(3, 3) from xx, yy, zz, xy, xz, yz."""
    xx, yy, zz, xy, xz, yz = moments
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _shape(element: ET.Element, file: XmlFile, *, collides: bool) -> Shape:
    frame, source = _origin(element, file.source), file.source
    form = next(element.iterfind("geometry/*"), None)
    if form is None:
        raise GripperError(f"{source}: a <{element.tag}> has no geometry")
    if form.tag == "mesh":
        return file.mesh(form.get("filename"), numbers(form.get("scale"), "1 1 1", 3, source), frame, collides=collides)
    return primitive(form.tag, form.get, frame, source, collides=collides)


def primitive(tag: str, value: Callable[[str], str | None], frame: Floats, source: str, *, collides: bool) -> Shape:
    """A box, sphere, cylinder or capsule, whose sizes `value` gives by their names. Raises GripperError for anything else."""
    if tag == "box":
        size = tuple((numbers(value("size"), "", 3, source) / 2).tolist())
        return Shape(Form.BOX, frame, size, collides=collides)
    radius = number(value("radius"), source) or 0.0
    if tag == "sphere":
        return Shape(Form.SPHERE, frame, (radius,), collides=collides)
    if tag in ("cylinder", "capsule"):
        return Shape(Form(tag), frame, (radius, (number(value("length"), source) or 0.0) / 2), collides=collides)
    raise GripperError(f"{source}: a {tag} as geometry is not known; use box, cylinder, capsule, sphere or mesh")
