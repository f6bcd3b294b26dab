"""Reads SDF 1.4 and later: one model, its links, joints and collision shapes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import inverse
from graspgen_cli.grippers.links import Joint, Link, Mimic, Motion, Shape, draft_from_links
from graspgen_cli.grippers.model import Draft, Drive
from graspgen_cli.grippers.read_urdf import XmlFile, cut_out, number, numbers, open_xml, pose_from_rpy, primitive, symmetric
from graspgen_cli.records import Floats

_MOTIONS = {"fixed": Motion.FIXED, "revolute": Motion.HINGE, "continuous": Motion.HINGE, "prismatic": Motion.SLIDE}
_UNLIMITED = 1e9
"""SDF writes limits of 1e16 where there are none."""


def draft_from_sdf(path: Path, *, base: str | None = None, package_root: Path | None = None) -> Draft:
    """What the first model of an SDF file holds; with a base, of that link and what hangs on it only.

    package_root: folder in which `package://` and `model://` folders lie. Raises GripperError where it cannot be read.
    """
    file = open_xml(path, package_root)
    model = next(file.root.iter("model"), None)
    if file.root.tag != "sdf" or model is None:
        raise GripperError(f"{path}: not an SDF file with a model")
    frames = _Frames(model, file.source)
    elements = {element.get("name", ""): element for element in model.findall("link")}
    inside = [element for element in model.findall("joint") if element.findtext("parent", "").strip() in elements]
    joints = [_joint(element, frames, file.source) for element in inside]
    elements, joints = cut_out(base, elements, joints, file.source)
    links = [_link(element, file) for element in elements.values()]
    return draft_from_links(links, joints, source=file.source, files=file.files)


class _Frames:
    """Poses of links and joints in the model's frame."""

    def __init__(self, model: ET.Element, source: str) -> None:
        self.source = source
        self.elements = {e.get("name", ""): e for tag in ("link", "joint", "frame") for e in model.findall(tag)}

    def pose_in_model(self, name: str, depth: int = 0) -> Floats:
        """(4, 4)."""
        element = self.elements.get(name)
        if element is None or depth > len(self.elements):
            raise GripperError(f"{self.source}: frame {name} is not there, or given by itself")
        return self.placed(element, element.findtext("child") if element.tag == "joint" else element.get("attached_to"), depth)

    def placed(self, element: ET.Element, default: str | None, depth: int = 0) -> Floats:
        """Pose of an element with a <pose>, relative to the frame that it names, or else to `default`."""
        given = element.find("pose")
        relative = default if given is None else given.get("relative_to", default)
        own = _pose(None if given is None else given.text, self.source)
        return own if not relative or relative == "__model__" else self.pose_in_model(relative, depth + 1) @ own


def _pose(text: str | None, source: str) -> Floats:
    values = numbers(text, "0 0 0 0 0 0", 6, source)
    return pose_from_rpy(values[:3], values[3:])


def _joint(element: ET.Element, frames: _Frames, source: str) -> Joint:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind not in _MOTIONS:
        raise GripperError(f"{source}: joint {name} is of type {kind!r}; a gripper's joints are revolute, prismatic, continuous or fixed")
    parent, child = element.findtext("parent", "").strip(), element.findtext("child", "").strip()
    in_model = frames.pose_in_model(name)
    axis = element.find("axis")
    lower, upper = _limits(axis, kind, source)
    return Joint(
        name=name,
        motion=_MOTIONS[kind],
        parent=parent,
        child=child,
        pose_joint_in_parent=inverse(frames.pose_in_model(parent)) @ in_model,
        pose_joint_in_child=inverse(frames.pose_in_model(child)) @ in_model,
        axis=_axis(axis, in_model, frames, source),
        lower=lower,
        upper=upper,
        drive=None if axis is None or kind == "fixed" else _drive(axis, source),
        mimic=_mimic(axis, source),
    )


def _axis(element: ET.Element | None, joint_in_model: Floats, frames: _Frames, source: str) -> Floats:
    """Unit axis in the joint's frame; SDF may give it in the model's (until 1.6) or another frame (from 1.7)."""
    xyz = None if element is None else element.find("xyz")
    direction = numbers(None if xyz is None else xyz.text, "0 0 1", 3, source)
    expressed_in = None if xyz is None else xyz.get("expressed_in")
    if element is not None and element.findtext("use_parent_model_frame", "0").strip() in ("1", "true"):
        direction = joint_in_model[:3, :3].T @ direction
    elif expressed_in:
        frame = np.eye(4) if expressed_in == "__model__" else frames.pose_in_model(expressed_in)
        direction = joint_in_model[:3, :3].T @ frame[:3, :3] @ direction
    return direction / (np.linalg.norm(direction) or 1.0)


def _limits(axis: ET.Element | None, kind: str, source: str) -> tuple[float | None, float | None]:
    if axis is None or kind == "continuous":
        return None, None
    lower, upper = number(axis.findtext("limit/lower"), source), number(axis.findtext("limit/upper"), source)
    return (None, None) if lower is None or upper is None or max(-lower, upper) > _UNLIMITED else (lower, upper)


def _drive(axis: ET.Element, source: str) -> Drive:
    effort, speed = number(axis.findtext("limit/effort"), source), number(axis.findtext("limit/velocity"), source)
    return Drive(effort if effort is not None and effort >= 0 else None, speed if speed is not None and speed >= 0 else None)


def _mimic(axis: ET.Element | None, source: str) -> Mimic | None:
    element = None if axis is None else axis.find("mimic")
    if element is None:
        return None
    multiplier = number(element.findtext("multiplier"), source)
    offset, reference = number(element.findtext("offset"), source) or 0.0, number(element.findtext("reference"), source) or 0.0
    factor = 1.0 if multiplier is None else multiplier
    return Mimic(element.get("joint", ""), factor, offset - factor * reference)


def _link(element: ET.Element, file: XmlFile) -> Link:
    source, inertial = file.source, element.find("inertial")
    tag = "collision" if element.find("collision") is not None else "visual"
    shapes = tuple(_shape(e, file, collides=tag == "collision") for e in element.findall(tag))
    name = element.get("name", "")
    if inertial is None:
        return Link(name, shapes)
    moments = [number(inertial.findtext(f"inertia/{key}"), source) or 0.0 for key in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")]
    return Link(
        name=name,
        shapes=shapes,
        mass=number(inertial.findtext("mass"), source),
        pose_inertia_in_link=_pose(inertial.findtext("pose"), source),
        inertia=None if inertial.find("inertia") is None else symmetric(moments),
    )


def _shape(element: ET.Element, file: XmlFile, *, collides: bool) -> Shape:
    frame, source = _pose(element.findtext("pose"), file.source), file.source
    form = next(element.iterfind("geometry/*"), None)
    if form is None:
        raise GripperError(f"{source}: a <{element.tag}> has no geometry")
    if form.tag == "mesh":
        return file.mesh(form.findtext("uri"), numbers(form.findtext("scale"), "1 1 1", 3, source), frame, collides=collides)
    return primitive(form.tag, form.findtext, frame, source, collides=collides)
