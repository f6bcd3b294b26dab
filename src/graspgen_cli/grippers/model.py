"""Common form of a gripper model: MJCF text with the base body at the world's origin, named bodies and joints, no visual shapes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import mujoco

from graspgen_cli.errors import GripperError, one_line

_CUT_OUT = "graspgen-cut-out-"  # MuJoCo prefixes the names of an attached subtree; the final text is without the prefix
_KEEP_JOINT = "graspgen-held-"  # a temporary joint keeps MuJoCo from fusing a body with its parent


@dataclass(frozen=True)
class Drive:
    """Motor of a joint: largest effort (N or N m) and largest speed (m/s or rad/s); None if the file gives no value."""

    effort: float | None = None
    speed: float | None = None


@dataclass(frozen=True, eq=False)
class GripperModel:
    """A compiled gripper model.

    source: name of the file in messages.
    mjcf, assets: MJCF text and its mesh files; the base body stands at the world's origin and has no joints.
    base_body: name of the only body whose parent is the world.
    model: the compiled text.
    drives: the joints with a motor; empty if the file names no motors.
    notes: assumptions, a line each.
    """

    source: str
    mjcf: str
    assets: dict[str, bytes]
    base_body: str
    model: mujoco.MjModel
    drives: Mapping[str, Drive] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def spec(self) -> mujoco.MjSpec:
        """A copy of the model for `edited`."""
        return mujoco.MjSpec.from_string(self.mjcf, assets=self.assets)

    def edited(self, spec: mujoco.MjSpec, note: str) -> GripperModel:
        """The gripper with an edited model and a further note. Raises GripperError if MuJoCo cannot compile the model."""
        with _compile_errors(self.source):
            changed = _compiled(spec, self.assets, self.source, self.base_body)
        return replace(changed, drives=self.drives, notes=(*self.notes, note))

    @property
    def body_names(self) -> tuple[str, ...]:
        """(B) names, the base first."""
        return tuple(self.model.body(body).name for body in range(1, self.model.nbody))

    @property
    def joint_names(self) -> tuple[str, ...]:
        """(J) names in the model's order."""
        return tuple(self.model.joint(joint).name for joint in range(self.model.njnt))

    @property
    def motors(self) -> list[int]:
        """Indices of the joints with a motor."""
        return [joint for joint, name in enumerate(self.joint_names) if name in self.drives]


@dataclass(frozen=True, eq=False)
class Draft:
    """Content of a gripper file before the selection of a base.

    spec: the model; its meshes have the keys of `assets` as file names. files: every file that was read.
    """

    spec: mujoco.MjSpec
    source: str
    assets: dict[str, bytes] = field(default_factory=dict)
    drives: Mapping[str, Drive] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def build_model(draft: Draft, *, base_body: str | None = None, keep: Sequence[str] = ()) -> GripperModel:
    """Cut out the base and its descendants, fuse bodies without joints with their parents, and compile.

    base_body: name of the base; default: the only body in the world, or its first descendant with a shape.
    keep: bodies without joints that stay separate.
    Raises GripperError for an ambiguous base and for a model that MuJoCo cannot compile.
    """
    with _compile_errors(draft.source):
        spec, base, notes = _subtree(draft, base_body)
        mjcf, base = _fused(spec, draft.assets, base, keep), base.removeprefix(_CUT_OUT)
        text = mujoco.MjSpec.from_string(mjcf, assets=draft.assets)
        _name_all("body", text.bodies)
        _name_all("joint", text.joints)
        result = _compiled(text, draft.assets, draft.source, base)
    if not result.joint_names:
        raise GripperError("the model has no joint below its base, so no finger can move", path=draft.source)
    for name, kind in zip(result.joint_names, result.model.jnt_type, strict=True):
        if mujoco.mjtJoint(int(kind)) not in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
            raise GripperError(f"joint {name} is neither a hinge nor a slide", path=draft.source)
    drives = draft.drives or _actuated(result.model)
    kept = {name: drive for name, drive in drives.items() if name in result.joint_names}
    return replace(result, drives=kept, notes=(*draft.notes, *notes))


@contextlib.contextmanager
def _compile_errors(source: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise GripperError(f"MuJoCo cannot compile the model: {one_line(error)}", path=source) from error


def _compiled(spec: mujoco.MjSpec, assets: dict[str, bytes], source: str, base: str) -> GripperModel:
    """The model compiled from its text: the simulation gets the text, whose numbers are rounded, so the text is measured."""
    spec.compile()
    mjcf = spec.to_xml()
    used = {mesh.file: assets[mesh.file] for mesh in spec.meshes if mesh.file}
    return GripperModel(source, mjcf, used, base, mujoco.MjSpec.from_string(mjcf, assets=used).compile())


def _subtree(draft: Draft, name: str | None) -> tuple[mujoco.MjSpec, str, tuple[str, ...]]:
    """A spec with only the base and its descendants, the base at the origin without joints; the base's name; notes."""
    spec = draft.spec
    base, notes = _pick_base(spec, draft.source, name)
    if base.parent.name != "world":
        spec = mujoco.MjSpec()
        base = spec.worldbody.add_frame().attach_body(base, _CUT_OUT, "")
    for other in [body for body in spec.bodies if body.parent is not None and body.parent.name == "world" and body.name != base.name]:
        spec.delete(other)
    # The files of materials and textures are often missing.
    for geom in spec.geoms:
        geom.material = ""
    unused = [*base.joints, *spec.worldbody.geoms, *spec.keys, *spec.sensors, *spec.lights, *spec.cameras]
    for element in [*unused, *spec.materials, *spec.textures, *spec.skins]:
        spec.delete(element)
    base.mocap = False
    base.set_frame(spec.worldbody.add_frame())
    base.pos = [0.0, 0.0, 0.0]
    base.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT
    base.quat = [1.0, 0.0, 0.0, 0.0]
    if any(geom.contype or geom.conaffinity for geom in spec.geoms):
        spec.discard_visual()
    else:
        notes = (*notes, "the file has no collision shapes: visual shapes are used instead")
        for geom in spec.geoms:
            geom.contype = geom.conaffinity = 1
    return spec, str(base.name), notes


def _fused(spec: mujoco.MjSpec, assets: dict[str, bytes], base: str, keep: Sequence[str]) -> str:
    """MJCF text with a joint and an explicit mass for every body below the base, except the bodies to keep."""
    for site in [site for site in spec.sites if not site.name]:
        spec.delete(site)
    # MuJoCo fuses bodies without joints with their parents, the base with the world: a joint prevents that.
    spec.body(base).add_freejoint()
    for body in [body for body in spec.bodies if body.name in (*keep, *(f"{_CUT_OUT}{name}" for name in keep)) and not list(body.joints)]:
        body.add_joint(name=f"{_KEEP_JOINT}{body.name}")
    spec.assets.update(assets)
    spec.compiler.fusestatic = True
    spec.compiler.saveinertial = True
    spec.compile()
    text = spec.to_xml().replace(f'class="{_CUT_OUT}main"', 'class="cut_out"').replace(_CUT_OUT, "")
    fused = mujoco.MjSpec.from_string(text, assets=assets)
    temporary = [joint for joint in fused.joints if joint.name.startswith(_KEEP_JOINT)]
    for joint in [*fused.body(base.removeprefix(_CUT_OUT)).joints, *temporary]:
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
        raise GripperError(f"no body is called {wanted}", path=source, advice=f"there are {names}")
    roots = [body for body in bodies if body.parent.name == "world"]
    if len(roots) != 1:
        raise GripperError(f"{len(roots)} bodies stand in the world", path=source, advice="name the gripper's base with --base-frame")
    base = roots[0]
    while not list(base.geoms) and len(list(base.bodies)) == 1:
        base = base.first_body()
    if not base.name:
        base.name = "base"
    return base, () if base.name == roots[0].name else (f"the base is {base.name}: {roots[0].name} has no shape",)


def _name_all(kind: str, elements: Sequence[mujoco.MjsBody | mujoco.MjsJoint]) -> None:
    """Give every unnamed element a unique name."""
    taken = {element.name for element in elements}
    for number, element in enumerate(elements):
        if not element.name:
            name = f"{kind}_{number}"
            while name in taken:
                name += "_"
            element.name = name
            taken.add(name)


def _actuated(model: mujoco.MjModel) -> dict[str, Drive]:
    """The joints that actuators move, directly or through a tendon, with the largest effort on each joint."""
    drives: dict[str, Drive] = {}
    for actuator in range(model.nu):
        effort = float(abs(model.actuator_forcerange[actuator]).max()) if model.actuator_forcelimited[actuator] else None
        for joint, coefficient in _moved_joints(model, actuator):
            gear = abs(coefficient * model.actuator_gear[actuator, 0])
            drives[model.joint(joint).name] = Drive(effort=None if effort is None else float(effort * gear))
    return drives


def _moved_joints(model: mujoco.MjModel, actuator: int) -> list[tuple[int, float]]:
    """The joints that an actuator moves, with the effort on each joint per unit of actuator force."""
    target = int(model.actuator_trnid[actuator, 0])
    if model.actuator_trntype[actuator] == mujoco.mjtTrn.mjTRN_JOINT:
        return [(target, 1.0)]
    if model.actuator_trntype[actuator] != mujoco.mjtTrn.mjTRN_TENDON:
        return []
    first, count = model.tendon_adr[target], model.tendon_num[target]
    wraps = [w for w in range(first, first + count) if model.wrap_type[w] == mujoco.mjtWrap.mjWRAP_JOINT]
    return [(int(model.wrap_objid[w]), float(model.wrap_prm[w])) for w in wraps]
