"""Many simulations on one device with MuJoCo Warp: worlds, each with one trial of any object at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import trimesh
import warp as wp
from numpy.typing import NDArray

from graspgen_cli.geometry.meshes import convex_object, triangle_mesh
from graspgen_cli.records import Floats, Gripper, TargetObject
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engines.mujoco_warp.kernels import apply_motion, copy_rows, deepest_of_worlds, flat
from graspgen_cli.validate.engines.mujoco_warp.packing import (
    FIELDS_OF_OBJECTS,
    FIELDS_OF_TRIALS,
    Table,
    joined_meshes,
    mesh_of_geoms,
    rows_of_objects,
    rows_of_trials,
)
from graspgen_cli.validate.progress import Observation
from graspgen_cli.validate.protocols import STILL, motion_table, stages
from graspgen_cli.validate.scene import Scene, build_scene, contacts, object_pose

Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]
Overflow = NDArray[np.int32]

CONTACTS_PER_WORLD = 32
"""Capacity for contacts, as an average over the worlds."""
ROWS_PER_WORLD = 256
"""Capacity for constraint rows in each world."""
_PARKED = 100.0
"""m: coordinates of the objects in worlds without a trial."""
_HALVINGS = 4
"""A step takes all worlds, or the first half, quarter, … of the worlds, with this number of halvings at most."""
_PAUSE, _LOOKS = 5e-4, 4000
"""s between two looks at whether a GPU is done, which steps for some 50 ms; and the largest number of looks."""
_LEAST_ROWS = 1 << 18
"""Initial capacity (rows) of a table of meshes. When a table moves, the step is captured again, which takes a third of a second."""
_GROWTH = 4
"""Factor by which a full table grows."""
_LEAST_SIZES = {"npolygonmax": 96, "nmeshdegmax": 80}
"""Initial capacity for the corners of a polygon and for the polygons at a corner."""
_STEP_OF_SIZES = 32
"""Capacities are multiples of this number, so that they seldom change."""
_HARMLESS = ("ITERATIONS", "LS_ITERATIONS")
"""Limits that the solver may reach, as MuJoCo's own solver does, with a valid result."""


class Worlds:
    """`count` worlds of one gripper, for objects of up to `pieces` convex pieces.

    A caller addresses slots. The world of a slot changes when the running trials are gathered in the first worlds.
    """

    def __init__(self, gripper: Gripper, settings: SimulationSettings, *, count: int, pieces: int, device: str) -> None:
        self._device = wp.get_device(device)
        self._stream = wp.Stream(self._device) if self._device.is_cuda else None
        self.count = count
        self.scene = build_scene(gripper, _cube(pieces), settings, sees_distance=False)
        template = self.scene.model
        # MuJoCo Warp has no automatic reset, so the flag that disables it is dropped.
        template.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        with self._here():
            self._model = mjw.put_model(template)
            self._model.opt.warn_overflow = False
            for size, least in _LEAST_SIZES.items():
                setattr(self._model, size, max(getattr(self._model, size), least))
            self._data = mjw.make_data(template, nworld=count, nconmax=CONTACTS_PER_WORLD, njmax=ROWS_PER_WORLD)
            self._fields = {name: self._widened(name) for name in (*FIELDS_OF_TRIALS, "geom_dataid")}
            # The row of the table of motion that each world's next step takes.
            motion, self._first_row = motion_table(stages(gripper, settings, self.scene.mass))
            self._motion = wp.array(motion.astype(np.float32))
            self._row = wp.full((count, 1), STILL, dtype=wp.int32)
            self._data.qfrc_applied.assign(np.tile(self.scene.effort.astype(np.float32), (count, 1)))
            self._readings = Readings(self._data, links_of_no_finger(self.scene, gripper))
        # A step of fewer worlds costs less, so the running trials are kept in the first worlds.
        self._sizes = sorted({max(count >> halvings, 1) for halvings in range(_HALVINGS + 1)})
        self._frames: list[Floats] = []
        self._frame = np.tile(np.eye(4), (count, 1, 1))
        self._varied = np.zeros(count, bool)
        self._tables: dict[str, Any] = {}
        self._meshes: dict[str, Any] = {}
        self._used: dict[str, int] = {}
        self._graphs: dict[int, Any] = {}
        self._loaded = False
        self._pushed = self._sent = False
        self._push = np.zeros((count, template.nbody, 6), np.float32)
        self._world = np.arange(count)
        self._harmful = ~sum(int(mjw.OverflowType[name]) for name in _HARMLESS)

    def _widened(self, name: str) -> Any:
        """Gives a model's field one row for each world; returns its memory as a flat table."""
        field = getattr(self._model, name)
        wide = wp.empty((self.count, *field.shape[1:]), dtype=field.dtype)
        first, every = wp.zeros(self.count, dtype=wp.int32), wp.array(np.arange(self.count, dtype=np.int32))
        copy_rows(flat(field), first, flat(wide), every)
        setattr(self._model, name, wide)
        return flat(wide)

    def warm_up(self) -> None:
        """Compiles or loads every kernel of a step, with all worlds parked."""
        self.add_objects([self.scene])
        self.park(np.arange(self.count))
        self.step(2, np.arange(self.count))
        wp.synchronize_device(self._device)
        self.forget_objects()

    def forget_objects(self) -> None:
        """Drops all objects. No world may have a trial of them."""
        self._frames, self._used = [], {}

    def add_objects(self, scenes: list[Scene]) -> None:
        """Adds objects for later trials; they are numbered in the order in which they are added."""
        models = [scene.model for scene in scenes]
        with self._here():
            start = self._used.get("mesh_vertnum", 0)
            self._add_meshes(joined_meshes(models, used=self._used))
            rows = {name: rows_of_objects(self.scene.model, models, name) for name in FIELDS_OF_OBJECTS}
            tables: dict[str, Table] = {**rows, "geom_dataid": mesh_of_geoms(self.scene.model, models, first=start)}
            for name, table in tables.items():
                self._append(self._tables, name, table)
        self._frames += [scene.pose_object_in_body for scene in scenes]

    def _add_meshes(self, meshes: dict[str, Table]) -> None:
        """Appends meshes to the tables on the device. A captured graph stays valid while the tables keep their place."""
        for name, values in meshes.items():
            before = self._meshes.get(name)
            self._append(self._meshes, name, values, dtype=getattr(self._model, name).dtype)
            if self._meshes[name] is not before:
                setattr(self._model, name, self._meshes[name])
                self._graphs = {}
        for size, counts in (("npolygonmax", "mesh_polyvertnum"), ("nmeshdegmax", "mesh_polymapnum")):
            largest = -(-int(meshes[counts].max()) // _STEP_OF_SIZES) * _STEP_OF_SIZES
            if largest > getattr(self._model, size):
                setattr(self._model, size, largest)
                self._graphs = {}

    def _append(self, tables: dict[str, Any], name: str, values: Table, *, dtype: Any = None) -> None:
        """Appends values to a table on the device. A full table moves to larger memory."""
        used, table = self._used.get(name, 0), tables.get(name)
        if table is None or len(table) < used + len(values):
            rows = max(_GROWTH * (used + len(values)), _LEAST_ROWS if dtype else 0)
            shape = (rows, *values.shape[1:])
            larger = wp.zeros(rows if dtype else shape, dtype=dtype or wp.dtype_from_numpy(values.dtype))
            if table is not None and used:
                wp.copy(larger, table, count=used * (table.size // len(table)))
            tables[name] = table = larger
        width = table.size // len(table)
        if len(values):
            wp.copy(table, wp.array(values, dtype=table.dtype), dest_offset=used * width, count=len(values) * width)
        self._used[name] = used + len(values)

    def load(self, slots: Indices, objects: Indices, qpos: Floats) -> None:
        """Puts trials into `slots`: of objects with these numbers (len(slots),), at positions (len(slots), nq)."""
        self._frame[slots] = [self._frames[each] for each in objects]
        with self._here():
            to, of = wp.array(self._world[slots].astype(np.int32)), wp.array(objects.astype(np.int32))
            for name, table in self._tables.items():
                copy_rows(table, of, self._fields[name], to)
            rest = wp.array(np.arange(len(slots), dtype=np.int32))
            copy_rows(wp.array(qpos.astype(np.float32)), rest, flat(self._data.qpos), to)
            for state in (self._data.qvel, self._data.qacc_warmstart, self._data.qacc, self._data.overflow):
                width = state.size // self.count
                nothing = wp.zeros((len(slots), width), dtype=flat(state).dtype)
                copy_rows(nothing, rest, flat(state), to)
        self.push(slots, np.zeros((len(slots), 3)))
        self.move_base(slots, np.zeros(len(slots), np.intp))
        if self._varied[self._world[slots]].any():
            usual = np.asarray(self.scene.model.geom_friction)
            self.vary(slots, {"geom_friction": np.stack([usual] * len(slots))}, np.tile(self.scene.effort, (len(slots), 1)))
            self._varied[self._world[slots]] = False

    def vary(self, slots: Indices, fields: dict[str, Floats], effort: Floats) -> None:
        """Gives the trials in `slots` their own values (len(slots), ...) of model fields and their own closing efforts (len(slots), nv),
        until other trials are loaded there."""
        self._varied[self._world[slots]] = True
        with self._here():
            to, rest = wp.array(self._world[slots].astype(np.int32)), wp.array(np.arange(len(slots), dtype=np.int32))
            for name, values in fields.items():
                copy_rows(wp.array(rows_of_trials(self.scene.model, name, values)), rest, self._fields[name], to)
            copy_rows(wp.array(effort.astype(np.float32)), rest, flat(self._data.qfrc_applied), to)

    def push(self, slots: Indices, force_in_base: Floats) -> None:
        """Sets the forces (len(slots), 3) N on the objects' centres of mass."""
        self._push[self._world[slots], self.scene.object_body, :3] = force_in_base
        self._pushed = False

    def move_base(self, slots: Indices, stage: Indices) -> None:
        """Moves the gripper's base from the next step on as the stages of these numbers (len(slots),) say."""
        with self._here():
            of, to = wp.array(np.arange(len(slots), dtype=np.int32)), wp.array(self._world[slots].astype(np.int32))
            copy_rows(wp.array(self._first_row[stage].astype(np.int32)[:, None]), of, self._row, to)

    def park(self, slots: Indices) -> None:
        """Moves the objects of slots without a trial out of the gripper's reach."""
        qpos = np.tile(self.scene.model.qpos0, (len(slots), 1))
        qpos[:, self.scene.object_qpos] = _PARKED
        self.load(slots, np.zeros(len(slots), np.intp), qpos)

    def step(self, steps: int, running: Indices) -> None:
        """Steps the worlds of the `running` slots, and other worlds that share the launch. On a GPU it returns before the steps are
        made."""
        self._sent = False
        size = next(size for size in self._sizes if size >= len(running))
        if self._world[running].max() >= size:
            self._gather(running, size)
        with self._here():
            if not self._pushed:
                self._data.xfrc_applied.assign(self._push)
                self._pushed = True
            for _ in range(steps):
                self._step(size)

    def _gather(self, running: Indices, size: int) -> None:
        """Moves running trials from outside the first `size` worlds to worlds inside without a running trial."""
        far = running[self._world[running] >= size]
        source, slot_of_world = self._world[far], np.argsort(self._world)
        target = np.setdiff1d(np.arange(size), self._world[running])[: len(far)]
        data = self._data
        state = (data.qpos, data.qvel, data.qacc_warmstart, data.qacc, data.overflow, data.qfrc_applied, self._row)
        # The inertial forces of the next step follow from the bodies' state at the start of the last step.
        state += (data.xipos, data.ximat, data.cvel, data.subtree_com) if len(self._motion) > 1 else ()
        with self._here():
            of, to = wp.array(source.astype(np.int32)), wp.array(target.astype(np.int32))
            for table in (*self._fields.values(), *map(flat, state)):
                copy_rows(table, of, table, to)
        self._push[target], self._varied[target] = self._push[source], self._varied[source]
        idle = slot_of_world[target]
        self._world[far], self._world[idle] = target, source
        self.park(idle)

    def _step(self, size: int) -> None:
        self._data.nworld = size
        if not self._device.is_cuda:
            self._step_once()
        elif size in self._graphs:
            wp.capture_launch(self._graphs[size])
        else:
            # A capture fails for kernels that are not loaded yet, so the first step runs without a graph.
            if not self._loaded:
                self._step_once()
                self._loaded = True
                return
            with wp.ScopedCapture() as capture:
                self._step_once()
            self._graphs[size] = capture.graph
            wp.capture_launch(capture.graph)

    def _step_once(self) -> None:
        if len(self._motion) > 1:
            apply_motion(self._model, self._data, self._motion, self._row)
        mjw.step(self._model, self._data)

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        """On this device, in the worlds' own stream, so that other streams do not wait."""
        with wp.ScopedDevice(self._device), wp.ScopedStream(self._stream) if self._stream else contextlib.nullcontext():
            yield

    def mark(self) -> None:
        """Keeps the contacts of the last step for `marked`; on a GPU it returns before that step is made."""
        with self._here():
            self._readings.mark()

    def marked(self) -> Floats:
        """(count,) m, at most 0: distance of the deepest contact of each slot in the marked step. Call before the slots change worlds."""
        self._wait()
        return self._readings.marked()[self._world].astype(np.float64)

    def send(self) -> None:
        """Copies the state after the steps so far for `observe`; on a GPU it returns before the copy is made."""
        with self._here():
            self._readings.send()
        self._sent = True

    def observe(self) -> Observation:
        """The state of the slots' worlds."""
        if not self._sent:
            self.send()
        self._wait()
        qpos, sensordata, overflow, deepest, _ = self._readings.seen()
        position = qpos[self._world].astype(np.float64)
        touching, force = contacts(self.scene, sensordata[self._world].astype(np.float64))
        finite = np.isfinite(position).all(axis=1) & ((overflow[self._world] & self._harmful) == 0)
        pose = object_pose(self.scene, position, self._frame)
        depth = -deepest[self._world].astype(np.float64)
        return Observation(pose, force, touching, position[:, self.scene.joint_qpos], finite, depth)

    def depth_of_links(self) -> Floats:
        """(count,) m: depth of the links outside the fingers in each slot's object at the last `observe`."""
        return -self._readings.seen()[-1][self._world].astype(np.float64)

    def _wait(self) -> None:
        if not self._stream:
            return
        # Synchronising keeps a core busy that could prepare objects, so wait first; it is still called, since it reports errors.
        for _ in range(_LOOKS):
            if self._stream.is_complete:
                break
            time.sleep(_PAUSE)
        wp.synchronize_stream(self._stream)


def links_of_no_finger(scene: Scene, gripper: Gripper) -> NDArray[np.int32]:
    """(geoms,) 1 for geoms of the gripper outside the fingers, else 0."""
    model, fingers = scene.model, {scene.model.body(name).id for name in gripper.finger_bodies}
    on_finger = np.zeros(model.nbody, bool)
    for body in range(1, model.nbody):  # a parent has a smaller number than its children
        on_finger[body] = body in fingers or on_finger[model.body_parentid[body]]
    of_gripper = model.geom_bodyid != scene.object_body
    return np.asarray(of_gripper & ~on_finger[model.geom_bodyid], np.int32)


def _cube(pieces: int) -> TargetObject:
    """The object of the template scene; the fields of real objects replace its own."""
    box = trimesh.creation.box((0.02, 0.02, 0.02))
    cube = convex_object("cube", triangle_mesh(box.vertices, box.faces))
    return replace(cube, pieces=cube.pieces * pieces)


class Readings:
    """Copies of the worlds' state in the memory of this process, made in the worlds' own stream. `wp.array.numpy` would copy in the
    device's default stream, which waits for all other streams.

    `send` and `mark` return before the device has copied; call them in the worlds' stream."""

    def __init__(self, data: Any, is_link: NDArray[np.int32]) -> None:
        """data: MuJoCo Warp's, on the current device. is_link: (geoms,) 1 for geoms of the gripper outside the fingers."""
        self._data, self._is_link = data, wp.array(is_link)
        self._deepest, self._deepest_of_links = (wp.zeros(data.nworld, dtype=float) for _ in range(2))
        self._sources = (data.qpos, data.sensordata, data.overflow, self._deepest, self._deepest_of_links)
        self._seen = tuple(map(_twin, self._sources))
        self._marked = _twin(self._deepest)

    def send(self) -> None:
        """Copies the state after the steps so far."""
        self._find_deepest()
        for source, twin in zip(self._sources, self._seen, strict=True):
            wp.copy(twin, source)

    def mark(self) -> None:
        """Copies the deepest contacts of the last step so far, for `marked`."""
        self._find_deepest()
        wp.copy(self._marked, self._deepest)

    def seen(self) -> tuple[Floats, Floats, Overflow, Floats, Floats]:
        """qpos (worlds, nq), sensordata (worlds, nsensordata), overflow (worlds,), and distances (worlds,) m, at most 0, of the deepest
        contact and of the deepest contact of a link outside the fingers. Call after the stream has finished the last `send`."""
        qpos, sensordata, overflow, deepest, deepest_of_links = (twin.numpy() for twin in self._seen)
        return qpos, sensordata, overflow, deepest, deepest_of_links

    def marked(self) -> Floats:
        """(worlds,) m, at most 0: distance of the deepest contact. Call after the stream has finished the last `mark`."""
        marked: Floats = self._marked.numpy()
        return marked

    def _find_deepest(self) -> None:
        self._deepest.zero_()
        self._deepest_of_links.zero_()
        deepest_of_worlds(self._data, self._is_link, self._deepest, self._deepest_of_links)


def _twin(source: Any) -> Any:
    """An array of the same shape in this process, in pinned memory, so that the device copies by itself."""
    return wp.empty(source.shape, dtype=source.dtype, device="cpu", pinned=source.device.is_cuda)
