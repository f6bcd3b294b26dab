"""Reads MJCF into a gripper model: the base at the origin of the world, everything named, nothing that is only looks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import mujoco

from graspgen_cli.errors import GripperError


@dataclass(frozen=True, eq=False)
class GripperModel:
    """A gripper's model as every reader returns it.

    source: the file it came from, for messages.
    mjcf, assets: MJCF text and the mesh files that it names; the base body stands at the origin of the world, without joints.
    base_body: name of the one body in the world.
    model: the same, compiled.
    """

    source: str
    mjcf: str
    assets: dict[str, bytes]
    base_body: str
    model: mujoco.MjModel


def read_mjcf_file(path: Path, *, base_body: str | None = None) -> GripperModel:
    """Reads an MJCF file with the files that it includes and the meshes that it names.

    Raises GripperError where MuJoCo cannot read the file or the base is not clear.
    """
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except (ValueError, OSError) as error:
        raise GripperError(f"{path}: not a readable MJCF model: {_one_line(error)}") from error
    return _gripper_model(spec, _read_meshes(spec, path), source=str(path), base_body=base_body)


def read_mjcf_text(text: str, *, source: str, base_body: str | None = None) -> GripperModel:
    """Reads MJCF text that names no other files; `source` is what messages call it. Raises GripperError as read_mjcf_file does."""
    try:
        spec = mujoco.MjSpec.from_string(text)
    except ValueError as error:
        raise GripperError(f"{source}: not a readable MJCF model: {_one_line(error)}") from error
    return _gripper_model(spec, {}, source=source, base_body=base_body)


def _gripper_model(spec: mujoco.MjSpec, assets: dict[str, bytes], *, source: str, base_body: str | None) -> GripperModel:
    try:
        base = _place_base(spec, source, base_body)
        _strip(spec)
        _name_all("body", spec.bodies)
        _name_all("joint", spec.joints)
        spec.compile()
        mjcf = spec.to_xml()
        used = {mesh.file: assets[mesh.file] for mesh in spec.meshes if mesh.file}
        # The text, not the spec, is what the simulation gets, and its numbers are rounded: so the text is what is measured.
        model = mujoco.MjSpec.from_string(mjcf, assets=used).compile()
    except ValueError as error:
        raise GripperError(f"{source}: MuJoCo cannot compile the model: {_one_line(error)}") from error
    _check_joints(model, source)
    return GripperModel(source=source, mjcf=mjcf, assets=used, base_body=base, model=model)


def _place_base(spec: mujoco.MjSpec, source: str, name: str | None) -> str:
    """Puts the base at the origin, without joints, alone in the world; returns its name."""
    roots = [body for body in spec.bodies if body.parent is not None and body.parent.name == "world"]
    base = _pick_base(roots, [body.name for body in spec.bodies if body.name != "world"], source, name)
    for other in roots:
        if other.name != base.name:
            spec.delete(other)
    for element in [*base.joints, *spec.worldbody.geoms]:
        spec.delete(element)
    base.mocap = False
    base.set_frame(spec.worldbody.add_frame())
    base.pos = [0.0, 0.0, 0.0]
    base.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT
    base.quat = [1.0, 0.0, 0.0, 0.0]
    return str(base.name)


def _pick_base(roots: list[mujoco.MjsBody], names: list[str], source: str, wanted: str | None) -> mujoco.MjsBody:
    if wanted is None:
        if len(roots) != 1:
            raise GripperError(f"{source}: {len(roots)} bodies stand in the world; name the gripper's base_body in a gripper .yaml")
        if not roots[0].name:
            roots[0].name = "base"
        return roots[0]
    for body in roots:
        if body.name == wanted:
            return body
    if wanted in names:
        raise GripperError(f"{source}: base_body {wanted} hangs on another body; the base must stand in the world")
    raise GripperError(f"{source}: no body is called {wanted}; there are {', '.join(filter(None, names)) or 'none with a name'}")


def _strip(spec: mujoco.MjSpec) -> None:
    """Removes what neither the measurement nor a trial uses; actuators stay, since they tell force and speed."""
    for element in [*spec.keys, *spec.sensors, *spec.lights, *spec.cameras]:
        spec.delete(element)
    spec.discard_visual()


def _name_all(kind: str, elements: Iterable[mujoco.MjsBody | mujoco.MjsJoint]) -> None:
    """Gives every element without a name one of its own."""
    elements = list(elements)
    taken = {element.name for element in elements}
    for number, element in enumerate(elements):
        if not element.name:
            name = f"{kind}_{number}"
            while name in taken:
                name += "_"
            element.name = name
            taken.add(name)


def _check_joints(model: mujoco.MjModel, source: str) -> None:
    if model.njnt == 0:
        raise GripperError(f"{source}: the model has no joint below its base, so no finger can move")
    scalar = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
    for joint in range(model.njnt):
        if mujoco.mjtJoint(int(model.jnt_type[joint])) not in scalar:
            raise GripperError(f"{source}: joint {model.joint(joint).name} is neither a hinge nor a slide")


def _read_meshes(spec: mujoco.MjSpec, path: Path) -> dict[str, bytes]:
    """Reads the mesh files that the spec names, and renames them in the spec so that folders no longer matter."""
    assets: dict[str, bytes] = {}
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
    spec.meshdir = ""
    spec.assets.update(assets)
    return assets


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
