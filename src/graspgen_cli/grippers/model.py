"""The model that every reader ends in: MJCF text with the base at the origin of the world, everything named, nothing only for looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import mujoco

from graspgen_cli.errors import GripperError

_PREFIX = "graspgen-cut-out-"
"""MuJoCo wants names changed where a part of a model becomes one of its own; the text has them without this again."""


_HELD = "graspgen-held-"


@dataclass(frozen=True)
class Drive:
    """What a file says of the motor of a joint: largest effort, N or N m, and speed, m/s or rad/s; None where it does not say."""

    effort: float | None = None
    speed: float | None = None


@dataclass(frozen=True, eq=False)
class GripperModel:
    """A gripper's model as every reader returns it.

    source: the file it came from, for messages.
    mjcf, assets: MJCF text and the mesh files that it names; the base body stands at the origin of the world, without joints.
    base_body: name of the one body in the world.
    model: the same, compiled.
    drives: the joints that have a motor of their own; empty where the file does not say.
    notes: what was assumed, a line each.
    """

    source: str
    mjcf: str
    assets: dict[str, bytes]
    base_body: str
    model: mujoco.MjModel
    drives: Mapping[str, Drive] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Draft:
    """What a reader found in a file, before the base is chosen.

    spec: the model, its meshes named by keys of `assets`; files: every file that was read.
    """

    spec: mujoco.MjSpec
    source: str
    assets: dict[str, bytes] = field(default_factory=dict)
    drives: Mapping[str, Drive] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def build_model(draft: Draft, *, base_body: str | None = None, keep: Sequence[str] = ()) -> GripperModel:
    """Keeps the base and what hangs on it, joins bodies without joints to the body that carries them, and compiles.

    base_body: name of the base; default: the one body in the world, or the first below it that has a shape.
    keep: bodies that stay bodies of their own even without joints.
    Raises GripperError where the base is not clear or MuJoCo cannot compile the model.
    """
    source = draft.source
    try:
        spec, base, notes = _subtree(draft, base_body)
        mjcf, base = _fused(spec, draft.assets, base, keep), base.removeprefix(_PREFIX)
        text = mujoco.MjSpec.from_string(mjcf, assets=draft.assets)
        _name_all("body", text.bodies)
        _name_all("joint", text.joints)
        result = _compiled(text, draft.assets, source, base)
    except ValueError as error:
        raise GripperError(f"{source}: MuJoCo cannot compile the model: {one_line(error)}") from error
    _check_joints(result.model, source)
    names = {result.model.joint(j).name for j in range(result.model.njnt)}
    drives = draft.drives or _actuated(result.model)
    return replace(result, drives={name: drive for name, drive in drives.items() if name in names}, notes=(*draft.notes, *notes))


def edited(gripper: GripperModel, edit: Callable[[mujoco.MjSpec], None], *notes: str) -> GripperModel:
    """The gripper with its model changed. Raises GripperError where MuJoCo cannot compile the change."""
    spec = mujoco.MjSpec.from_string(gripper.mjcf, assets=gripper.assets)
    edit(spec)
    try:
        changed = _compiled(spec, gripper.assets, gripper.source, gripper.base_body)
    except ValueError as error:
        raise GripperError(f"{gripper.source}: MuJoCo cannot compile the model: {one_line(error)}") from error
    return replace(changed, drives=gripper.drives, notes=(*gripper.notes, *notes))


def one_line(error: Exception) -> str:
    """The error's message on one line."""
    return " ".join(str(error).split())


def _compiled(spec: mujoco.MjSpec, assets: dict[str, bytes], source: str, base: str) -> GripperModel:
    """The text, not the spec, is what the simulation gets, and its numbers are rounded: so the text is what is measured."""
    spec.compile()
    mjcf = spec.to_xml()
    used = {mesh.file: assets[mesh.file] for mesh in spec.meshes if mesh.file}
    return GripperModel(source, mjcf, used, base, mujoco.MjSpec.from_string(mjcf, assets=used).compile())


def _subtree(draft: Draft, name: str | None) -> tuple[mujoco.MjSpec, str, tuple[str, ...]]:
    """The spec with the base alone in the world, at its origin and without joints; the base's name; what was assumed."""
    spec = draft.spec
    base, notes = _pick_base(spec, draft.source, name)
    if base.parent.name != "world":
        spec, base = _cut_out(base)
    for other in [body for body in spec.bodies if body.parent is not None and body.parent.name == "world" and body.name != base.name]:
        spec.delete(other)
    for element in [*base.joints, *spec.worldbody.geoms, *spec.keys, *spec.sensors, *spec.lights, *spec.cameras]:
        spec.delete(element)
    _remove_paint(spec)
    base.mocap = False
    base.set_frame(spec.worldbody.add_frame())
    base.pos = [0.0, 0.0, 0.0]
    base.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT
    base.quat = [1.0, 0.0, 0.0, 0.0]
    if any(geom.contype or geom.conaffinity for geom in spec.geoms):
        spec.discard_visual()
    else:
        notes = (*notes, "no shape of the file collides: those that are for looks stand in for them")
        for geom in spec.geoms:
            geom.contype = geom.conaffinity = 1
    return spec, str(base.name), notes


def _remove_paint(spec: mujoco.MjSpec) -> None:
    """Without materials and textures, whose files are often not there."""
    for geom in spec.geoms:
        geom.material = ""
    for element in [*spec.materials, *spec.textures, *spec.skins]:
        spec.delete(element)


def _cut_out(body: mujoco.MjsBody) -> tuple[mujoco.MjSpec, mujoco.MjsBody]:
    """A spec of its own for a body and what hangs on it."""
    alone = mujoco.MjSpec()
    return alone, alone.worldbody.add_frame().attach_body(body, _PREFIX, "")


def _fused(spec: mujoco.MjSpec, assets: dict[str, bytes], base: str, keep: Sequence[str]) -> str:
    """MJCF text in which every body below the base has a joint, but for those to keep, and its mass as a number."""
    for site in [site for site in spec.sites if not site.name]:
        spec.delete(site)
    # The base has to move while MuJoCo joins what stands still, or it would join the world; so has what is to stay.
    spec.body(base).add_freejoint()
    for body in [body for body in spec.bodies if body.name in (*keep, *(f"{_PREFIX}{name}" for name in keep)) and not list(body.joints)]:
        body.add_joint(name=f"{_HELD}{body.name}")
    spec.assets.update(assets)
    spec.compiler.fusestatic = True
    spec.compiler.saveinertial = True
    spec.compile()
    text = spec.to_xml().replace(f'class="{_PREFIX}main"', 'class="cut_out"').replace(_PREFIX, "")
    fused = mujoco.MjSpec.from_string(text, assets=assets)
    for joint in [*fused.body(base.removeprefix(_PREFIX)).joints, *(joint for joint in fused.joints if joint.name.startswith(_HELD))]:
        fused.delete(joint)
    fused.compile()
    return str(fused.to_xml())


def _pick_base(spec: mujoco.MjSpec, source: str, wanted: str | None) -> tuple[mujoco.MjsBody, tuple[str, ...]]:
    bodies = [body for body in spec.bodies if body.parent is not None]
    if wanted is not None:
        found = [body for body in bodies if body.name == wanted]
        if found:
            return found[0], ()
        names = ", ".join(body.name for body in bodies if body.name) or "none with a name"
        raise GripperError(f"{source}: no body is called {wanted}; there are {names}")
    roots = [body for body in bodies if body.parent.name == "world"]
    if len(roots) != 1:
        raise GripperError(f"{source}: {len(roots)} bodies stand in the world; name the gripper's base with --base-frame")
    base = roots[0]
    while not list(base.geoms) and len(list(base.bodies)) == 1:
        base = base.first_body()
    if not base.name:
        base.name = "base"
    return base, () if base.name == roots[0].name else (f"the base is {base.name}: {roots[0].name} has no shape",)


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


def _actuated(model: mujoco.MjModel) -> dict[str, Drive]:
    """The joints that the model's actuators move, directly or through a tendon, with the largest effort on each."""
    drives: dict[str, Drive] = {}
    for actuator in range(model.nu):
        effort = float(abs(model.actuator_forcerange[actuator]).max()) if model.actuator_forcelimited[actuator] else None
        for joint, coefficient in _moved_joints(model, actuator):
            gear = abs(coefficient * model.actuator_gear[actuator, 0])
            drives[model.joint(joint).name] = Drive(effort=None if effort is None else float(effort * gear))
    return drives


def _moved_joints(model: mujoco.MjModel, actuator: int) -> list[tuple[int, float]]:
    """Joints that an actuator acts on, with the effort on each for a unit of the actuator's force."""
    target = int(model.actuator_trnid[actuator, 0])
    if model.actuator_trntype[actuator] == mujoco.mjtTrn.mjTRN_JOINT:
        return [(target, 1.0)]
    if model.actuator_trntype[actuator] != mujoco.mjtTrn.mjTRN_TENDON:
        return []
    first, count = model.tendon_adr[target], model.tendon_num[target]
    wraps = [w for w in range(first, first + count) if model.wrap_type[w] == mujoco.mjtWrap.mjWRAP_JOINT]
    return [(int(model.wrap_objid[w]), float(model.wrap_prm[w])) for w in wraps]
