"""Reader of SDF files, version 1.4 and later (http://sdformat.org/spec): the first model with its links, joints and shapes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import inverse
from graspgen_cli.grippers.links import Joint
from graspgen_cli.grippers.model import Draft, Drive
from graspgen_cli.grippers.read_urdf import UrdfModel, pose_from_rpy, unit
from graspgen_cli.records import Floats

_UNLIMITED = 1e9  # m or rad: SDF files give larger limits, such as 1e16, to unlimited joints


def read_sdf(path: Path, *, base: str | None = None, package_root: Path | None = None) -> Draft:
    """Read the first model of an SDF file; with a base, only that link and its descendants. Raises GripperError.

    package_root: folder of the `package://` and `model://` folders; None: the file's folder and the folders above.
    """
    file = _SdfModel(path, package_root)
    links = file.model.findall("link")
    names = {link.get("name", "") for link in links}
    joints = [joint for joint in file.model.findall("joint") if joint.findtext("parent", "").strip() in names]
    return file.draft(links, joints, base)


class _SdfModel(UrdfModel):
    """An SDF file: values are elements, a pose is a <pose>, which may be relative to another element's frame."""

    uri_key = "uri"

    def __init__(self, path: Path, package_root: Path | None) -> None:
        super().__init__(path, package_root)
        model = next(self.root.iter("model"), None)
        if self.root.tag != "sdf" or model is None:
            raise GripperError("not an SDF file with a model", path=path)
        self.model = model
        self.frames = {e.get("name", ""): e for tag in ("link", "joint", "frame") for e in model.findall(tag)}

    def value(self, element: ET.Element, key: str) -> str | None:
        return element.findtext(key)

    def mass(self, inertial: ET.Element) -> float | None:
        return self.number(inertial.findtext("mass"))

    def pose(self, element: ET.Element) -> Floats:
        values = self.numbers(element.findtext("pose"), "0 0 0 0 0 0", 6)
        return pose_from_rpy(values[:3], values[3:])

    def _pose_in_model(self, name: str, depth: int = 0) -> Floats:
        """(4, 4) pose of a link, joint or frame. depth: number of frames on the way to this one, against circular definitions."""
        element = self.frames.get(name)
        if element is None or depth > len(self.frames):
            raise self.error(f"frame {name} is not there, or given by itself")
        default, given = element.findtext("child") if element.tag == "joint" else element.get("attached_to"), element.find("pose")
        relative, own = default if given is None else given.get("relative_to", default), self.pose(element)
        return own if not relative or relative == "__model__" else self._pose_in_model(relative, depth + 1) @ own

    def joint(self, element: ET.Element) -> Joint:
        name, kind, motion = element.get("name", ""), element.get("type", ""), self.motion(element)
        parent, child = element.findtext("parent", "").strip(), element.findtext("child", "").strip()
        in_model = self._pose_in_model(name)
        axis = element.find("axis")
        lower, upper = self._limits(axis, kind)
        return Joint(
            name=name,
            motion=motion,
            parent=parent,
            child=child,
            pose_joint_in_parent=inverse(self._pose_in_model(parent)) @ in_model,
            pose_joint_in_child=inverse(self._pose_in_model(child)) @ in_model,
            axis=self._axis(axis, in_model),
            lower=lower,
            upper=upper,
            drive=None if axis is None or kind == "fixed" else self._drive(axis),
            mimic=self.mimic(None if axis is None else axis.find("mimic")),
        )

    def _axis(self, axis: ET.Element | None, joint_in_model: Floats) -> Floats:
        """Unit axis (3,) in the joint's frame; the file may give it in the model's frame (until 1.6) or another frame (from 1.7)."""
        xyz = None if axis is None else axis.find("xyz")
        direction = self.numbers(None if xyz is None else xyz.text, "0 0 1", 3)
        expressed_in = None if xyz is None else xyz.get("expressed_in")
        if axis is not None and axis.findtext("use_parent_model_frame", "0").strip() in ("1", "true"):
            direction = joint_in_model[:3, :3].T @ direction
        elif expressed_in:
            frame = np.eye(4) if expressed_in == "__model__" else self._pose_in_model(expressed_in)
            direction = joint_in_model[:3, :3].T @ frame[:3, :3] @ direction
        return unit(direction)

    def _limits(self, axis: ET.Element | None, kind: str) -> tuple[float | None, float | None]:
        if axis is None or kind == "continuous":
            return None, None
        lower, upper = (self.number(axis.findtext(f"limit/{end}")) for end in ("lower", "upper"))
        return (None, None) if lower is None or upper is None or max(-lower, upper) > _UNLIMITED else (lower, upper)

    def _drive(self, axis: ET.Element) -> Drive:
        """Negative values stand for unlimited effort and speed."""
        effort, speed = (self.number(axis.findtext(f"limit/{key}")) for key in ("effort", "velocity"))
        return Drive(effort if effort is not None and effort >= 0 else None, speed if speed is not None and speed >= 0 else None)
