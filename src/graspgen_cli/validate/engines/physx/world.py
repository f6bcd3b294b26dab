"""Environments of PhysX side by side: what they report of the trials, and what acts on them, in our frames, orders and arrays.

ovphysx calls its bulk arrays tensor bindings and announces their end; `PhysX.read` and `PhysX.write`, their successors, have no reading of
contact forces and one array a joint (ovphysx 0.6, read_write/limitations).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.poses import inverse, pose, quaternion_wxyz, rotation_from_wxyz
from graspgen_cli.records import Floats, GraspBatch, Gripper, TargetObject
from graspgen_cli.validate.engine import Variation
from graspgen_cli.validate.engines.physx.mechanism import Mechanism
from graspgen_cli.validate.engines.physx.usd import ENVIRONMENTS, GRIPPER, OBJECT, body_name, joint_name
from graspgen_cli.validate.progress import Observation, bounds
from graspgen_cli.validate.shaking import Bodies, inertial_wrench

_CONTACTS = 512
"""Contact points of gripper and object that can be read, as a mean over the environments."""


class Session:
    """PhysX in this process, which can have one scene at a time. Made once: PhysX keeps its state to the end of the process."""

    def __init__(self, *, device: str) -> None:
        """device: "cpu" or "cuda:0" and the like."""
        import ovphysx
        import ovstage

        self.on_gpu = device != "cpu"
        ovphysx.set_log_level(ovphysx.LogLevel.NONE)
        ovphysx.enable_default_log_output(False)
        if not self.on_gpu:
            ovphysx.PhysX.set_cpu_mode(True)
        more: dict[str, Any] = {"active_cuda_gpus": device.partition(":")[2]} if self.on_gpu else {}
        quiet = {"/ovphysx/schemas/warnMissingNewtonSchema": False}  # No scene of ours uses Newton's schema.
        overrides = {**quiet, "/physics/suppressReadback": True} if self.on_gpu else quiet
        self.physx = ovphysx.PhysX(config=ovphysx.PhysXConfig(num_threads=1, carbonite_overrides=overrides, **more))
        ovstage.population.register_usd_schemas([str(ovphysx.codeless_schema_root())])

    def load(self, path: Path) -> Any:
        """The stage of a USD file, on which PhysX works until it is detached."""
        import ovstage

        stage = ovstage.Stage(path.stem)
        try:
            ovstage.population.open_usd(stage, str(path), ordinal=1, domains=ovstage.PopulationDomain.PHYSICS)
            stage.advance_write_floor(ordinal=1).wait()
            self.physx.attach_ovstage(stage, read_ordinal=1)
        except Exception:
            stage.destroy()
            raise
        return stage


class World:
    """N environments on a grid, each with one trial. The base of the gripper is at the origin of its environment, unturned."""

    def __init__(
        self, session: Session, path: Path, gripper: Gripper, target: TargetObject, parts: Mechanism, *, count: int, step: float
    ) -> None:
        """Loads the scene and clones its environment. step: s. `close` frees the scene."""
        self._physx, self._parts, self._step, self.count = session.physx, parts, step, count
        self._bound: dict[str, Any] = {}
        self._origin = _grid(count, spacing=2.0 * bounds(gripper, target).reach)
        self._stage = session.load(path)
        self._clone()
        fingers = [f"{GRIPPER}/{body_name(int(parts.model.body(name).id))}" for name in gripper.finger_bodies]
        solid = [name for name, pieces in zip(gripper.body_names, gripper.collision_parts, strict=True) if len(pieces)]
        colliders = [f"{GRIPPER}/{body_name(int(parts.model.body(name).id))}" for name in solid]
        self._fingers = self._contacts(fingers, [OBJECT], most=0)
        self._touch = self._contacts([OBJECT], colliders, most=_CONTACTS * count)
        self._finger_rows = _rows(self._fingers.sensor_paths, fingers)
        dofs = self._binding("ARTICULATION_DOF_POSITION").dof_names
        self._columns = np.array([dofs.index(joint_name(joint)) for joint in range(len(parts.effort))])
        self._set_drives()
        if session.on_gpu:
            self.advance()  # PhysX on a GPU accepts states after its first step only.

    def close(self) -> None:
        """Frees the scene."""
        for binding in (*self._bound.values(), self._fingers, self._touch):
            binding.destroy()
        self._physx.detach_ovstage()
        self._stage.destroy()

    def vary(self, variation: Variation) -> None:
        """Gives each trial's object its friction, mass and centre of mass."""
        friction = self.read("RIGID_BODY_SHAPE_FRICTION_AND_RESTITUTION")
        friction[:, :, :2] *= variation.friction[:, None, None]
        self.write("RIGID_BODY_SHAPE_FRICTION_AND_RESTITUTION", friction)
        self.write("RIGID_BODY_MASS", self.read("RIGID_BODY_MASS") * variation.mass)
        self.write("RIGID_BODY_INERTIA", self.read("RIGID_BODY_INERTIA") * variation.mass[:, None])
        center = self.read("RIGID_BODY_COM_POSE")
        center[:, :3] += variation.center_offset
        self.write("RIGID_BODY_COM_POSE", center)

    def place(self, gripper: Gripper, grasps: GraspBatch) -> None:
        """Gripper at the grasps' openings, object at their poses, all at rest."""
        joints = gripper.joint_position[gripper.nearest_opening(grasps.opening_width)] - self._parts.reference
        self.write("ARTICULATION_DOF_POSITION", self._of_joints(joints))
        self.write("ARTICULATION_DOF_VELOCITY", np.zeros_like(joints))
        object_in_base = inverse(grasps.pose_gripper_in_object)
        xyzw = np.roll(quaternion_wxyz(object_in_base[:, :3, :3]), -1, axis=1)
        self.write("RIGID_BODY_POSE", np.concatenate([object_in_base[:, :3, 3] + self._origin, xyzw], axis=1))
        self.write("RIGID_BODY_VELOCITY", np.zeros((self.count, 6)))

    def press(self, grip_force: Floats) -> None:
        """The efforts that close the grippers, times (N,), for one step."""
        self.write("ARTICULATION_DOF_ACTUATION_FORCE", self._of_joints(np.outer(grip_force, self._parts.effort)))

    def pull(self, force: Floats) -> None:
        """Forces (N, 3) N on the objects' centres of mass, in the frame of the base, for one step."""
        self.write("RIGID_BODY_FORCE", force)

    def shake(self, motion: Floats, force: Floats) -> None:
        """Inertial forces of the motion (N, 9) of the bases on all bodies (see `validate.shaking`), and forces (N, 3) N on the objects, for
        one step."""
        of_object, of_links = self._bodies("RIGID_BODY", "RIGID_BODY"), self._bodies("ARTICULATION_LINK", "ARTICULATION_BODY")
        on_object, on_links = inertial_wrench(motion, of_object), inertial_wrench(motion, of_links)
        on_object[:, 0, :3] += force
        self.write("RIGID_BODY_WRENCH", np.concatenate([on_object, of_object.position + self._origin[:, None]], axis=2)[:, 0])
        self.write("ARTICULATION_LINK_WRENCH", np.concatenate([on_links, of_links.position + self._origin[:, None]], axis=2))

    def advance(self) -> None:
        """One step."""
        self._physx.step_sync(self._step)

    def observe(self) -> Observation:
        """The trials as they are now."""
        force = self._finger_force()
        joints = self.read("ARTICULATION_DOF_POSITION")[:, self._columns] + self._parts.reference
        seven = self.read("RIGID_BODY_POSE")
        finite = np.isfinite(np.concatenate([seven, joints], axis=1)).all(axis=1)
        return Observation(_poses(seven, self._origin), force, force > 0, joints, finite, self._overlap())

    def read(self, name: str) -> Floats:
        """The values of a tensor of ovphysx, by its name in `TensorType`."""
        return _read(self._binding(name), self._binding(name).shape, self._binding(name).read)

    def write(self, name: str, values: Floats) -> None:
        """Sets the values of a tensor."""
        binding = self._binding(name)
        content = np.ascontiguousarray(np.broadcast_to(values, binding.shape), np.float32)
        binding.write(content if _is_on_host(binding) else _to_gpu(content, binding))

    def _clone(self) -> None:
        targets = [f"{ENVIRONMENTS}/env{number}" for number in range(1, self.count)]
        if targets:
            anchors = [(*map(float, at), 0.0, 0.0, 0.0, 1.0) for at in self._origin[1:]]
            self._physx.clone(f"{ENVIRONMENTS}/env0", targets, anchor_transforms=anchors)
        self._physx.wait_all()

    def _binding(self, name: str) -> Any:
        if name not in self._bound:
            from ovphysx.types import TensorType

            prim = OBJECT if name.startswith("RIGID_BODY") else GRIPPER
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                made = self._physx.create_tensor_binding(f"{ENVIRONMENTS}/env*/{prim}", tensor_type=TensorType[name])
            if not (_rows(made.prim_paths, [prim])[0] == np.arange(self.count)).all():
                raise RuntimeError("PhysX lists the environments in another order")
            self._bound[name] = made
        return self._bound[name]

    def _contacts(self, sensors: list[str], filters: list[str], *, most: int) -> Any:
        """Reads the contacts of `sensors` with `filters`, prims of every environment."""
        patterns = [[f"{ENVIRONMENTS}/env*/{name}" for name in names] for names in (sensors, filters)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return self._physx.create_contact_binding(
                patterns[0], patterns[1] * len(sensors), filters_per_sensor=len(filters), max_contact_data_count=most or 16 * self.count
            )

    def _of_joints(self, values: Floats) -> Floats:
        """Values (…, J) of `Gripper.joint_names` in PhysX's order of the joints."""
        ordered = np.empty_like(values)
        ordered[..., self._columns] = values
        return ordered

    def _set_drives(self) -> None:
        """Joints close against an implicit damper, as in every engine."""
        self.write("ARTICULATION_DOF_DAMPING", self._of_joints(self._parts.damping))
        self.write("ARTICULATION_DOF_ARMATURE", self._of_joints(self._parts.armature))

    def _finger_force(self) -> Floats:
        """(N, 2) N: magnitude of the net force between each finger and the object, friction included."""
        shape = (self._fingers.sensor_count, self._fingers.filter_count, 3)
        normal = _read(self._fingers, shape, self._fingers.read_normal_force_matrix)
        total = normal + _read(self._fingers, shape, self._fingers.read_friction_force_matrix)
        return np.nan_to_num(np.linalg.norm(total[self._finger_rows].sum(axis=2), axis=2)).T

    def _overlap(self) -> Floats:
        """(N,) m, at least 0: the depth of the deepest contact of object and gripper; NaN where PhysX found more contacts than fit."""
        most, pairs = self._touch.max_contact_data_count, (self._touch.sensor_count, self._touch.filter_count)
        kinds = [np.float32] * 4 + [np.uint32] * 2
        shapes = ((most, 1), (most, 3), (most, 3), (most, 1), pairs, pairs)
        buffers: list[Any] = [np.zeros(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]
        like = self._binding("RIGID_BODY_POSE")
        if not _is_on_host(like):
            buffers = [_to_gpu(buffer, like) for buffer in buffers]
        found = self._touch.read_normal_contact_data(*buffers)
        separation, counts, starts = (each if isinstance(each, np.ndarray) else each.numpy() for each in buffers[3:])
        deepest = np.zeros(self.count)
        for row, column in zip(*np.nonzero(counts), strict=True):
            first, length = int(starts[row, column]), int(counts[row, column])
            deepest[row] = max(deepest[row], -float(separation[first : first + length].min()))
        return np.full(self.count, np.nan) if found > most else deepest

    def _bodies(self, motion: str, mass: str) -> Bodies:
        """The object, or the links of the gripper, as they are and move, in the frame of the base. motion, mass: how the names of their
        tensors begin."""
        names = (f"{motion}_POSE", f"{motion}_VELOCITY", f"{mass}_MASS", f"{mass}_INERTIA", f"{mass}_COM_POSE")
        seven, six, mass_values, nine, center = (self.read(name) for name in names)
        masses = mass_values.reshape(self.count, -1)
        shape = masses.shape
        body = _poses(seven.reshape(-1, 7), np.repeat(self._origin, shape[1], axis=0))
        at = (body @ _poses(center.reshape(-1, 7), np.zeros(3))).reshape(*shape, 4, 4)
        moments, axes = np.linalg.eigh(nine.reshape(*shape, 3, 3))
        moving = six.reshape(*shape, 6)
        return Bodies(masses, moments, at[..., :3, 3], at[..., :3, :3] @ axes, moving[..., :3], moving[..., 3:])


def _grid(count: int, *, spacing: float) -> Floats:
    """(N, 3) m: environments in a square, near the origin, where single precision is finest."""
    side = math.ceil(math.sqrt(count))
    number = np.arange(count)
    return spacing * np.stack([number % side, number // side, np.zeros(count)], axis=1).astype(np.float64)


def _rows(paths: Iterable[str], prims: list[str]) -> NDArray[np.intp]:
    """(prims, N): where the path of each prim in each environment is among `paths`."""
    at = {path.removeprefix(f"{ENVIRONMENTS}/env"): row for row, path in enumerate(paths)}
    count = len(at) // len(prims)
    return np.array([[at[f"{number}/{prim}"] for number in range(count)] for prim in prims])


def _poses(seven: Floats, origin: Floats) -> Floats:
    """(N, 4, 4) of positions and xyzw quaternions (N, 7), from an origin; a pose that diverged has no rotation."""
    wxyz = np.roll(seven[:, 3:], 1, axis=1)
    usable = np.where(np.isfinite(wxyz).all(axis=1, keepdims=True), wxyz, [1.0, 0.0, 0.0, 0.0])
    return pose(rotation_from_wxyz(usable), seven[:, :3] - origin)


def _is_on_host(binding: Any) -> bool:
    return int(binding.native_device.device_type.value) == 1  # kDLCPU of DLPack


def _to_gpu(values: NDArray[Any], binding: Any) -> Any:
    import warp

    return warp.array(values, device=f"cuda:{binding.native_device.device_id}")


def _read(binding: Any, shape: tuple[int, ...], read: Any) -> Floats:
    """What a reading call of a binding writes into an array of this shape."""
    content = np.zeros(shape, np.float32)
    if not hasattr(binding, "native_device") or _is_on_host(binding):
        read(content)
        return content.astype(np.float64)
    on_gpu = _to_gpu(content, binding)
    read(on_gpu)
    return np.asarray(on_gpu.numpy(), np.float64)
