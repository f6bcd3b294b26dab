"""The tree of a USD articulation: its joints as they hang from the base, whichever way round the file gives them.

Reads USD: UsdPhysics articulations, where usd-core is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import inverse, pose
from graspgen_cli.grippers.links import Joint, Mimic, Motion, draft_from_links
from graspgen_cli.grippers.model import Draft, Drive
from graspgen_cli.grippers.usd_shapes import link_from_prim
from graspgen_cli.records import Floats


def pick_base(bodies: Sequence[str], joints: Sequence[Joint], wanted: str | None, source: str) -> str:
    """The base: the one asked for, or the one body that no joint gives as its second. Raises GripperError where it is not clear."""
    if wanted is not None:
        if wanted not in bodies:
            raise GripperError(f"{source}: no body is called {wanted}; there are {', '.join(bodies)}")
        return wanted
    ends = {joint.parent for joint in joints} | {joint.child for joint in joints}
    hanging = {joint.child for joint in joints if not joint.closes_loop}
    roots = [body for body in bodies if body in ends and body not in hanging]
    if len(roots) != 1:
        raise GripperError(f"{source}: {len(roots)} bodies hang on no joint; name the base with --base-frame: {', '.join(bodies)}")
    return roots[0]


def joint_tree(base: str, joints: Sequence[Joint]) -> tuple[list[Joint], list[str]]:
    """The joints below the base with parents nearer to it, and the links that they reach, the base first.

    A joint that the file leads towards the base is turned round. One that is marked as outside the articulation, or that would reach a
    link a second time, closes a loop.
    """
    tree: list[Joint] = []
    reached = [base]
    waiting = [base]
    used: set[int] = set()
    while waiting:
        link = waiting.pop(0)
        for index, joint in enumerate(joints):
            if index in used or joint.closes_loop or link not in (joint.parent, joint.child):
                continue
            used.add(index)
            ahead = joint if joint.parent == link else turned(joint)
            if ahead.child in reached:
                tree.append(replace(joint, closes_loop=True))
                continue
            tree.append(ahead)
            reached.append(ahead.child)
            waiting.append(ahead.child)
    loops = [joint for joint in joints if joint.closes_loop and joint.parent in reached and joint.child in reached]
    return [*tree, *loops], reached


def turned(joint: Joint) -> Joint:
    """The same joint with its links the other way round: the same motion has the same position, along the opposite axis."""
    return replace(
        joint,
        parent=joint.child,
        child=joint.parent,
        pose_joint_in_parent=joint.pose_joint_in_child,
        pose_joint_in_child=joint.pose_joint_in_parent,
        axis=-joint.axis,
    )


_AXES = {"X": (1.0, 0.0, 0.0), "Y": (0.0, 1.0, 0.0), "Z": (0.0, 0.0, 1.0)}


def draft_from_usd(path: Path, *, base: str | None = None) -> Draft:
    """What the physics of a USD stage holds; with a base, of that body and what hangs on it only.

    Lengths are multiplied by metersPerUnit. The stage's up axis turns the world, not the gripper: a body's frame is its prim's.
    Raises GripperError where usd-core is missing or the stage cannot be used.
    """
    try:
        from pxr import Tf, Usd, UsdUtils
    except ImportError:
        raise GripperError(f"{path}: reading USD needs usd-core; run: pip install 'graspgen-cli[usd]'") from None
    listener = UsdUtils.CoalescingDiagnosticDelegate()  # takes the warnings that USD would print
    try:
        stage = Usd.Stage.Open(str(path))
        missing = stage.GetCompositionErrors()
        if missing:
            raise GripperError(f"{path}: a file that it refers to cannot be composed ({_last_line(str(missing[0]))}); put it back")
        return _Reader(stage, path).draft(base)
    except (Tf.ErrorException, ValueError, OSError) as error:
        raise GripperError(f"{path}: cannot be read as USD ({_last_line(str(error))}); export the stage again") from None
    finally:
        listener.TakeUncoalescedDiagnostics()


@dataclass(frozen=True, eq=False)
class StageFrames:
    """Places in a stage, in metres and without scale.

    meters: a stage unit, m.
    """

    transforms: Any
    meters: float

    def matrix(self, prim: Any) -> Floats:
        """(4, 4) from the prim's space, scale and all, to the stage's, in stage units; it multiplies column vectors."""
        return np.asarray(self.transforms.GetLocalToWorldTransform(prim), np.float64).T

    def rigid(self, prim: Any) -> Floats:
        """(4, 4) pose of the prim's frame in the stage, m."""
        matrix = self.matrix(prim)
        return pose(_rotation(matrix[:3, :3]), matrix[:3, 3] * self.meters)


class _Reader:
    def __init__(self, stage: Any, path: Path) -> None:
        from pxr import UsdGeom

        self.stage, self.path, self.source = stage, path, str(path)
        self.frames = StageFrames(UsdGeom.XformCache(), UsdGeom.GetStageMetersPerUnit(stage))
        self.prims = list(_prims(stage))
        self.bodies = _named([prim for prim in self.prims if _has_api(prim, "PhysicsRigidBodyAPI")])

    def draft(self, wanted: str | None) -> Draft:
        if not self.bodies:
            raise GripperError(f"{self.source}: no prim has the UsdPhysics rigid body API; export the gripper with its physics")
        joints = [joint for prim in self.prims if (joint := self._joint(prim)) is not None]
        base = pick_base(list(self.bodies), joints, wanted, self.source)
        tree, names = joint_tree(base, joints)
        meters = self.frames.meters
        links = [link_from_prim(name, self.bodies[name], self.prims, self.frames) for name in names]
        unit = f"lengths in the file are in units of {meters:g} m" if meters != 1.0 else ""
        return draft_from_links(links, tree, source=self.source, notes=[unit] if unit else [], files=self._files())

    def _joint(self, prim: Any) -> Joint | None:
        """A joint between two bodies; None for prims that are none, and for joints to the world."""
        from pxr import UsdPhysics

        if not prim.IsA(UsdPhysics.Joint):
            return None
        joint = UsdPhysics.Joint(prim)
        if joint.GetJointEnabledAttr().Get() is False:
            return None
        ends = [self._body(rel.GetTargets()) for rel in (joint.GetBody0Rel(), joint.GetBody1Rel())]
        if None in ends:
            return None
        motion, axis = self._motion(prim)
        lower, upper = self._limits(prim, motion)
        return Joint(
            name=prim.GetName(),
            motion=motion,
            parent=str(ends[0]),
            child=str(ends[1]),
            pose_joint_in_parent=self._frame(joint.GetBody0Rel(), joint.GetLocalPos0Attr(), joint.GetLocalRot0Attr(), str(ends[0])),
            pose_joint_in_child=self._frame(joint.GetBody1Rel(), joint.GetLocalPos1Attr(), joint.GetLocalRot1Attr(), str(ends[1])),
            axis=axis,
            lower=lower,
            upper=upper,
            drive=self._drive(prim, motion),
            mimic=self._mimic(prim, motion),
            closes_loop=bool(joint.GetExcludeFromArticulationAttr().Get()),
        )

    def _body(self, targets: Any) -> str | None:
        """The body that a joint's end names, or the nearest one above it."""
        names = {str(prim.GetPath()): name for name, prim in self.bodies.items()}
        path = str(targets[0]) if targets else ""
        while path and path not in names:
            path = path.rpartition("/")[0]
        return names.get(path)

    def _frame(self, rel: Any, position: Any, rotation: Any, body: str) -> Floats:
        """The joint's frame in the body's frame, m: USD gives it in the space of the prim that the joint names, scale and all."""
        prim = self.stage.GetPrimAtPath(rel.GetTargets()[0])
        matrix = self.frames.matrix(prim)
        local = np.array([*(position.Get() or (0.0, 0.0, 0.0)), 1.0])
        turn = rotation.Get()
        quaternion = [1.0, 0.0, 0.0, 0.0] if turn is None else [turn.GetReal(), *turn.GetImaginary()]
        own = Rotation.from_quat(quaternion, scalar_first=True).as_matrix()
        in_stage = pose(_rotation(matrix[:3, :3]) @ own, (matrix @ local)[:3] * self.frames.meters)
        return inverse(self.frames.rigid(self.bodies[body])) @ in_stage

    def _motion(self, prim: Any) -> tuple[Motion, Floats]:
        from pxr import UsdPhysics

        kinds = ((UsdPhysics.RevoluteJoint, Motion.HINGE), (UsdPhysics.PrismaticJoint, Motion.SLIDE))
        for kind, motion in kinds:
            if prim.IsA(kind):
                return motion, np.array(_AXES[kind(prim).GetAxisAttr().Get() or "X"])
        if prim.IsA(UsdPhysics.FixedJoint):
            return Motion.FIXED, np.array(_AXES["X"])
        raise GripperError(
            f"{self.source}: joint {prim.GetName()} is a {prim.GetTypeName()}; a gripper's joints are revolute, prismatic or fixed"
        )

    def _limits(self, prim: Any, motion: Motion) -> tuple[float | None, float | None]:
        """m or rad; USD gives degrees."""
        if motion is Motion.FIXED:
            return None, None
        values = [_attribute(prim, f"physics:{end}Limit") for end in ("lower", "upper")]
        if any(value is None or not np.isfinite(value) for value in values):
            return None, None
        factor = np.pi / 180 if motion is Motion.HINGE else self.frames.meters
        low, high = (float(value) * factor for value in values if value is not None)
        return low, high

    def _drive(self, prim: Any, motion: Motion) -> Drive | None:
        """The joint's motor. USD leaves forces without a limit at infinity. A joint with a drive of no strength has none."""
        if motion is Motion.FIXED:
            return None
        name = "angular" if motion is Motion.HINGE else "linear"
        if not _has_api(prim, f"PhysicsDriveAPI:{name}"):
            return None
        force = _attribute(prim, f"drive:{name}:physics:maxForce")
        gains = [_attribute(prim, f"drive:{name}:physics:{gain}") or 0.0 for gain in ("stiffness", "damping")]
        if force == 0 or not any(gains):
            return None
        speed = _attribute(prim, "physxJoint:maxJointVelocity")
        factor = np.pi / 180 if motion is Motion.HINGE else self.frames.meters
        # PhysX counts a torque in mass x length² / time², in stage lengths; a force in mass x length / time².
        newton = self.frames.meters ** (2 if motion is Motion.HINGE else 1)
        return Drive(_finite(force, newton), _finite(speed, factor))

    def _mimic(self, prim: Any, motion: Motion) -> Mimic | None:
        """PhysX's mimic joint: position + gearing x reference position + offset = 0; or Newton's: offset + multiplier x position."""
        for axis in ("rotX", "rotY", "rotZ", "transX", "transY", "transZ"):
            key = f"physxMimicJoint:{axis}"
            targets = _targets(prim, f"{key}:referenceJoint")
            if targets:
                gearing, offset = _attribute(prim, f"{key}:gearing"), _attribute(prim, f"{key}:offset") or 0.0
                factor = np.pi / 180 if motion is Motion.HINGE else self.frames.meters
                return Mimic(targets[0].rpartition("/")[2], -(1.0 if gearing is None else gearing), -offset * factor)
        targets = _targets(prim, "newton:mimicJoint")
        if targets:
            multiplier, offset = _attribute(prim, "newton:mimicCoef1"), _attribute(prim, "newton:mimicCoef0") or 0.0
            return Mimic(targets[0].rpartition("/")[2], 1.0 if multiplier is None else multiplier, offset)
        return None

    def _files(self) -> list[Path]:
        """The stage's own file and the others that it is composed of, in the order of their names."""
        paths = {Path(layer.realPath) for layer in self.stage.GetUsedLayers() if layer.realPath}
        return [self.path, *sorted(path for path in paths if path.is_file() and path.resolve() != self.path.resolve())]


def _prims(stage: Any) -> Any:
    """Every active prim, those of instances included."""
    from pxr import Usd

    return Usd.PrimRange.Stage(stage, Usd.TraverseInstanceProxies())


def _named(prims: list[Any]) -> dict[str, Any]:
    """Prims by name; where two share one, by their path with _ for /."""
    names = [prim.GetName() for prim in prims]
    unique = [n if names.count(n) == 1 else str(p.GetPath()).strip("/").replace("/", "_") for n, p in zip(names, prims, strict=True)]
    return dict(zip(unique, prims, strict=True))


def _has_api(prim: Any, name: str) -> bool:
    return name in prim.GetAppliedSchemas()


def _attribute(prim: Any, name: str) -> float | None:
    attribute = prim.GetAttribute(name)
    value = attribute.Get() if attribute and attribute.IsValid() else None
    return None if value is None else float(value)


def _targets(prim: Any, name: str) -> list[str]:
    relationship = prim.GetRelationship(name)
    return [str(target) for target in relationship.GetTargets()] if relationship and relationship.IsValid() else []


def _finite(value: float | None, factor: float) -> float | None:
    return None if value is None or not np.isfinite(value) or value > 1e9 or value < 0 else value * factor


def _rotation(matrix: Floats) -> Floats:
    """The nearest rotation (3, 3) to a matrix that may scale, too."""
    left, _, right = np.linalg.svd(matrix)
    rotation: Floats = left @ right
    return rotation if np.linalg.det(rotation) > 0 else -rotation


def _last_line(text: str) -> str:
    """The last clause of USD's message, on one line, shortened."""
    return " ".join(text.split()).split(" : ")[-1][:120]
