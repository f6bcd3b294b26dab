"""Reader of URDF files (https://wiki.ros.org/urdf/XML), and the parts that it shares with the reader of SDF files."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import trimesh
from mujoco import mjtGeom
from scipy.spatial.transform import Rotation

from graspgen_cli.errors import GripperError, install_command, one_line
from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.geometry.poses import pose
from graspgen_cli.grippers.links import Joint, Link, Mimic, Motion, Shape, draft_from_links
from graspgen_cli.grippers.model import Draft, Drive
from graspgen_cli.records import Floats, TriangleMesh

_MOTIONS = {"fixed": Motion.FIXED, "revolute": Motion.HINGE, "continuous": Motion.HINGE, "prismatic": Motion.SLIDE}
_ROUND = {"sphere": mjtGeom.mjGEOM_SPHERE, "cylinder": mjtGeom.mjGEOM_CYLINDER, "capsule": mjtGeom.mjGEOM_CAPSULE}
_MOMENTS = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")


class UrdfModel:
    """A URDF file: values are attributes, a pose is an <origin>. files: every file read so far."""

    uri_key = "filename"

    def __init__(self, path: Path, package_root: Path | None) -> None:
        self.path, self.source, self.package_root = path, str(path), package_root
        self.files = [path]
        try:
            self.root = ET.parse(path).getroot()
        except (OSError, ET.ParseError) as error:
            raise GripperError(f"not readable as XML: {one_line(error)}", path=path) from error

    def error(self, reason: str, advice: str = "") -> GripperError:
        """An error about this file."""
        return GripperError(reason, path=self.source, advice=advice)

    def value(self, element: ET.Element, key: str) -> str | None:
        """Text of a value of an element; None if absent."""
        return element.get(key)

    def pose(self, element: ET.Element) -> Floats:
        """(4, 4) pose of an element in its link's frame."""
        origin = element.find("origin")
        if origin is None:
            return np.eye(4)
        return pose_from_rpy(self.numbers(origin.get("xyz"), "0 0 0", 3), self.numbers(origin.get("rpy"), "0 0 0", 3))

    def mass(self, inertial: ET.Element) -> float | None:
        """kg."""
        mass = inertial.find("mass")
        return None if mass is None else self.number(mass.get("value"))

    def joint(self, element: ET.Element) -> Joint:
        """A joint. Raises GripperError for other kinds than hinges, slides and fixed joints."""
        kind, motion = element.get("type", ""), self.motion(element)
        parent, child, axis, limit = (element.find(tag) for tag in ("parent", "child", "axis", "limit"))
        bounds = {} if limit is None else {key: self.number(limit.get(key)) for key in ("lower", "upper", "effort", "velocity")}
        ranged = kind in ("revolute", "prismatic") and limit is not None
        return Joint(
            name=element.get("name", ""),
            motion=motion,
            parent="" if parent is None else parent.get("link", ""),
            child="" if child is None else child.get("link", ""),
            pose_joint_in_parent=self.pose(element),
            pose_joint_in_child=np.eye(4),
            axis=unit(self.numbers(None if axis is None else axis.get("xyz"), "1 0 0", 3)),
            lower=(bounds.get("lower") or 0.0) if ranged else None,
            upper=(bounds.get("upper") or 0.0) if ranged else None,
            drive=None if kind == "fixed" else Drive(bounds.get("effort"), bounds.get("velocity")),
            mimic=self.mimic(element.find("mimic")),
        )

    def mimic(self, element: ET.Element | None) -> Mimic | None:
        """A joint's coupling; None without one."""
        if element is None:
            return None
        multiplier, offset, reference = (self.number(self.value(element, key)) for key in ("multiplier", "offset", "reference"))
        factor = 1.0 if multiplier is None else multiplier
        return Mimic(element.get("joint", ""), factor, (offset or 0.0) - factor * (reference or 0.0))

    def draft(self, links: list[ET.Element], joints: list[ET.Element], base: str | None) -> Draft:
        """The model of links and joints; with a base, of that link and its descendants, so that no other mesh has to exist."""
        elements = {element.get("name", ""): element for element in links}
        all_joints = [self.joint(element) for element in joints]
        kept = set(elements) if base is None else _descendants(base, elements, all_joints, self.source)
        kept_links = [self.link(element) for name, element in elements.items() if name in kept]
        kept_joints = all_joints if base is None else [joint for joint in all_joints if joint.parent in kept]
        return draft_from_links(kept_links, kept_joints, source=self.source, files=self.files)

    def link(self, element: ET.Element) -> Link:
        """A link with its collision shapes, or its visual shapes if it has no collision shapes."""
        name, tag = element.get("name", ""), "collision" if element.find("collision") is not None else "visual"
        shapes = tuple(self._shape(e) for e in element.findall(tag))
        inertial = element.find("inertial")
        if inertial is None:
            return Link(name, shapes, tag == "visual")
        inertia = inertial.find("inertia")
        moments = None if inertia is None else self._inertia(inertia)
        return Link(name, shapes, tag == "visual", self.mass(inertial), self.pose(inertial), moments)

    def _inertia(self, element: ET.Element) -> Floats:
        xx, yy, zz, xy, xz, yz = (self.number(self.value(element, key)) or 0.0 for key in _MOMENTS)
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])

    def _shape(self, element: ET.Element) -> Shape:
        frame, geometry = self.pose(element), next(element.iterfind("geometry/*"), None)
        if geometry is None:
            raise self.error(f"a <{element.tag}> has no geometry")
        if geometry.tag == "mesh":
            uri = self.value(geometry, self.uri_key)
            if not uri:
                raise self.error("a mesh names no file")
            file = self._find_mesh(uri.strip())
            self.files.append(file)
            return Shape(mjtGeom.mjGEOM_MESH, frame, mesh=self._read_mesh(file, self.numbers(self.value(geometry, "scale"), "1 1 1", 3)))
        if geometry.tag == "box":
            return Shape(mjtGeom.mjGEOM_BOX, frame, tuple((self.numbers(self.value(geometry, "size"), "", 3) / 2).tolist()))
        if geometry.tag not in _ROUND:
            raise self.error(f"a {geometry.tag} as geometry is not known", "use box, cylinder, capsule, sphere or mesh")
        radius = self.number(self.value(geometry, "radius")) or 0.0
        half = () if geometry.tag == "sphere" else ((self.number(self.value(geometry, "length")) or 0.0) / 2,)
        return Shape(_ROUND[geometry.tag], frame, (radius, *half))

    def _find_mesh(self, uri: str) -> Path:
        """The file of a path relative to the model's folder, or of a file://, package:// or model:// address.

        A package is searched in package_root, then in the model's folder and every folder above: as a folder of its name, or as the
        folder itself.
        """
        parsed, folder = urlparse(uri), self.path.parent
        if parsed.scheme in ("package", "model"):
            relative = unquote(parsed.netloc + parsed.path)
            for root in [*([self.package_root] if self.package_root else []), folder, *folder.resolve().parents]:
                if (root / relative).is_file():
                    return root / relative
                inside = root / unquote(parsed.path.lstrip("/"))
                if root.resolve().name == parsed.netloc and inside.is_file():
                    return inside
            raise self.error(
                f"mesh {uri} is not in {folder} or any folder above it",
                f"put the package {parsed.netloc} there, or name the folder that holds it with --package-root",
            )
        file = Path(unquote(parsed.path)) if parsed.scheme == "file" else folder / uri
        if not file.is_file():
            raise self.error(f"mesh {file} does not exist")
        return file

    def _read_mesh(self, path: Path, scale: Floats) -> TriangleMesh:
        """The triangles of a mesh file, m, scaled by `scale` (3,)."""
        try:
            loaded = trimesh.load(path, force="mesh", process=False)
        except ImportError as error:
            raise self.error(f"reading {path.name} needs {error.name}", f"run {install_command('grippers')}") from error
        except Exception as error:  # trimesh's parsers raise errors of many kinds
            raise self.error(f"mesh {path} cannot be read: {one_line(error, 120)}") from error
        vertices = np.asarray(loaded.vertices, np.float64) * scale * _metres_per_unit(path)
        if len(loaded.faces) == 0 or not np.isfinite(vertices).all():
            raise self.error(f"mesh {path} holds no triangles, or coordinates that are no numbers")
        faces = np.asarray(loaded.faces)
        return triangle_mesh(vertices, faces if np.prod(scale) > 0 else faces[:, ::-1])

    def motion(self, element: ET.Element) -> Motion:
        """The kind of a joint. Raises GripperError for other kinds."""
        kind = element.get("type", "")
        if kind not in _MOTIONS:
            raise self.error(
                f"joint {element.get('name', '')} is of type {kind!r}", "a gripper's joints are revolute, prismatic, continuous or fixed"
            )
        return _MOTIONS[kind]

    def numbers(self, text: str | None, default: str, count: int) -> Floats:
        """`count` numbers of a text such as ``0 0 1``. Raises GripperError for other text."""
        try:
            values = np.array((text or default).split(), np.float64)
        except ValueError:
            values = np.zeros(0)
        if values.shape != (count,) or not np.isfinite(values).all():
            raise self.error(f"{text!r} should be {count} numbers")
        return values

    def number(self, text: str | None) -> float | None:
        """The number of a text; None for no text. Raises GripperError for other text."""
        return None if text is None else float(self.numbers(text, "0", 1)[0])


def _metres_per_unit(path: Path) -> float:
    """Unit of a COLLADA file, m; 1 for other formats. The up axis is ignored, as in tools that show URDF."""
    if path.suffix.lower() != ".dae":
        return 1.0
    found = re.search(r"<unit[^>]*\bmeter\s*=\s*[\"']([0-9.eE+-]+)", path.read_text("utf-8", errors="replace"))
    return float(found.group(1)) if found else 1.0


def _descendants(base: str, links: dict[str, ET.Element], joints: list[Joint], source: str) -> set[str]:
    """Names of the base and its descendants. Raises GripperError for an unknown base."""
    if base not in links:
        raise GripperError(f"no link is called {base}", path=source, advice=f"there are {', '.join(links)}")
    found: set[str] = set()
    new = {base}
    while new:
        found |= new
        new = {joint.child for joint in joints if joint.parent in new} - found
    return found


def pose_from_rpy(xyz: Floats, rpy: Floats) -> Floats:
    """(4, 4) from a translation, m, and rotations about the fixed axes x, y, z, rad."""
    return pose(Rotation.from_euler("xyz", rpy).as_matrix(), xyz)


def unit(axis: Floats) -> Floats:
    """The unit vector (3,) of an axis; zero stays zero."""
    return axis / (np.linalg.norm(axis) or 1.0)


def read_urdf(path: Path, *, base: str | None = None, package_root: Path | None = None) -> Draft:
    """Read a URDF file; with a base, only that link and its descendants. Raises GripperError.

    package_root: folder of the `package://` folders; None: the file's folder and the folders above.
    """
    file = UrdfModel(path, package_root)
    if file.root.tag != "robot":
        raise GripperError(
            f"not a URDF: its root element is <{file.root.tag}>, not <robot>", path=path, advice="run xacro on a .xacro file first"
        )
    return file.draft(file.root.findall("link"), file.root.findall("joint"), base)
