"""Many simulations side by side on one device with MuJoCo Warp: worlds that each hold one trial of any object at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import trimesh
import warp as wp
from numpy.typing import NDArray

from graspgen_cli.records import Floats, Gripper, TargetObject, TriangleMesh
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engines.mujoco_warp.kernels import apply_motion, copy_rows, flat
from graspgen_cli.validate.engines.mujoco_warp.packing import (
    ADDRESSES,
    FIELDS_OF_OBJECTS,
    FIELDS_OF_TRIALS,
    Readings,
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

CONTACTS_A_WORLD = 32
"""Room for contacts, as an average over the worlds."""
ROWS_A_WORLD = 256
"""Room for constraint rows in each world."""
_PARKED = 100.0
"""m: where objects of worlds without a trial are."""
_HALVINGS = 4
_PAUSE, _LOOKS = 5e-4, 4000
"""s between two looks whether a GPU is done, which steps for some 50 ms, and how often at most."""
_LEAST_ROOM = 1 << 18
"""Rows that a table of meshes has room for from the start: where one moves, the step is captured anew, which takes a third of a second."""
_GROWTH = 4
"""How many times larger a table becomes where it is full."""
_LEAST_SIZES = {"npolygonmax": 96, "nmeshdegmax": 80}
"""Corners of a polygon and polygons at a corner that there is room for from the start."""
_STEP_OF_SIZES = 32
"""Sizes of buffers are multiples of this, so that they seldom change."""
_HARMLESS = ("ITERATIONS", "LS_ITERATIONS")
"""Limits that the solver may reach, as MuJoCo's own does, and still be right."""


class Worlds:
    """`count` worlds of one gripper, for objects of up to `pieces` pieces. Who uses them knows slots: which world a slot's trial is in
    changes when those that run are gathered in the first worlds."""

    def __init__(self, gripper: Gripper, settings: SimulationSettings, *, count: int, pieces: int, device: str) -> None:
        self._device = wp.get_device(device)
        self._stream = wp.Stream(self._device) if self._device.is_cuda else None
        self.count, self.pieces = count, pieces
        self.scene = build_scene(gripper, _cube(pieces), settings, sees_distance=False)
        template = self.scene.model
        # MuJoCo Warp knows no automatic reset, so there is nothing to switch off.
        template.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        with self._here():
            self._model = mjw.put_model(template)
            self._model.opt.warn_overflow = False
            for size, least in _LEAST_SIZES.items():
                setattr(self._model, size, max(getattr(self._model, size), least))
            self._data = mjw.make_data(template, nworld=count, nconmax=CONTACTS_A_WORLD, njmax=ROWS_A_WORLD)
            self._fields = {name: self._widened(name) for name in (*FIELDS_OF_TRIALS, "geom_dataid")}
            # Where the gripper is in its motion, in each world: the row that the next step takes.
            motion, self._first_row = motion_table(stages(gripper, settings, self.scene.mass))
            self._motion = wp.array(motion.astype(np.float32))
            self._row = wp.full((count, 1), STILL, dtype=wp.int32)
            self._data.qfrc_applied.assign(np.tile(self.scene.effort.astype(np.float32), (count, 1)))
            self._readings = Readings(self._data, links_of_no_finger(self.scene, gripper))
        # A step of fewer worlds costs less: those in use are the first.
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
        """The flat memory of a model's field, which now has one row a world."""
        field = getattr(self._model, name)
        wide = wp.empty((self.count, *field.shape[1:]), dtype=field.dtype)
        first, every = wp.zeros(self.count, dtype=wp.int32), wp.array(np.arange(self.count, dtype=np.int32))
        copy_rows(flat(field), first, flat(wide), every)
        setattr(self._model, name, wide)
        return flat(wide)

    def warm_up(self) -> None:
        """Compiles or loads every kernel of a step, with nothing in the worlds."""
        self.add_objects([self.scene])
        self.park(np.arange(self.count))
        self.step(2, np.arange(self.count))
        wp.synchronize_device(self._device)
        self.forget_objects()

    def forget_objects(self) -> None:
        """Makes room: no world has a trial of the objects so far any more."""
        self._frames, self._used = [], {}

    def add_objects(self, scenes: list[Scene]) -> None:
        """Adds objects for trials to come; they are numbered in the order in which they came."""
        models = [scene.model for scene in scenes]
        with self._here():
            start = self._used.get("mesh_vertnum", 0)
            meshes = joined_meshes(models)
            self._add_meshes(meshes)
            rows = {name: rows_of_objects(self.scene.model, models, name) for name in FIELDS_OF_OBJECTS}
            tables: dict[str, Table] = {**rows, "geom_dataid": mesh_of_geoms(self.scene.model, models, first=start)}
            for name, table in tables.items():
                self._append(self._tables, name, table)
        self._frames += [scene.pose_object_in_body for scene in scenes]

    def _add_meshes(self, meshes: dict[str, Table]) -> None:
        """Puts the meshes behind those that are there, into memory that stays in its place while it is large enough, so that the captured
        graph stays good."""
        starts = {name: self._used.get(name, 0) for name in meshes}
        for name, values in meshes.items():
            target = ADDRESSES.get(name)
            moved: Table = values
            if target is not None:
                moved = np.where(values < 0, values, values + starts[target]).astype(np.int32)
            room = self._meshes.get(name)
            self._append(self._meshes, name, moved, dtype=getattr(self._model, name).dtype)
            if self._meshes[name] is not room:
                setattr(self._model, name, self._meshes[name])
                self._graphs = {}
        for size, counts in (("npolygonmax", "mesh_polyvertnum"), ("nmeshdegmax", "mesh_polymapnum")):
            largest = -(-int(meshes[counts].max()) // _STEP_OF_SIZES) * _STEP_OF_SIZES
            if largest > getattr(self._model, size):
                setattr(self._model, size, largest)
                self._graphs = {}

    def _append(self, tables: dict[str, Any], name: str, values: Table, *, dtype: Any = None) -> None:
        """Writes values behind those of a table on the device, which moves to a larger place where it is full."""
        used, room = self._used.get(name, 0), tables.get(name)
        if room is None or len(room) < used + len(values):
            rows = max(_GROWTH * (used + len(values)), _LEAST_ROOM if dtype else 0)
            shape = (rows, *values.shape[1:])
            larger = wp.zeros(rows if dtype else shape, dtype=dtype or wp.dtype_from_numpy(values.dtype))
            if room is not None and used:
                wp.copy(larger, room, count=used * (room.size // len(room)))
            tables[name] = room = larger
        width = room.size // len(room)
        if len(values):
            wp.copy(room, wp.array(values, dtype=room.dtype), dest_offset=used * width, count=len(values) * width)
        self._used[name] = used + len(values)

    def load(self, slots: Indices, objects: Indices, qpos: Floats) -> None:
        """Puts trials into `slots`: of which of the objects taken, and from which positions (len(slots), nq)."""
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
        """Gives the trials in `slots` values of their own (len(slots), ...) of fields of the model, and the forces that close the
        gripper (len(slots), nv), until others are loaded there."""
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
        """Takes the objects of slots without a trial out of the gripper's reach."""
        qpos = np.tile(self.scene.model.qpos0, (len(slots), 1))
        qpos[:, self.scene.object_qpos] = _PARKED
        self.load(slots, np.zeros(len(slots), np.intp), qpos)

    def step(self, steps: int, running: Indices) -> None:
        """Steps the worlds of the slots that are `running`, and as many others as it is simpler not to leave out; on a GPU it returns
        before they have."""
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
        """Moves the running trials that are not in the first `size` worlds there, to where none is running."""
        far = running[self._world[running] >= size]
        source, slot_of_world = self._world[far], np.argsort(self._world)
        target = np.setdiff1d(np.arange(size), self._world[running])[: len(far)]
        data = self._data
        state = (data.qpos, data.qvel, data.qacc_warmstart, data.qacc, data.overflow, data.qfrc_applied, self._row)
        # What the gripper's motion does to the bodies goes by where they were as the last step began.
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
            # Kernels that are not loaded yet cannot be captured, so the very first step runs without a graph.
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
        """On this device, and in a stream of these worlds' own, so that others do not wait for them."""
        with wp.ScopedDevice(self._device), wp.ScopedStream(self._stream) if self._stream else contextlib.nullcontext():
            yield

    def mark(self) -> None:
        """Notes the contacts of the last step for `marked`; on a GPU it returns before that step is made."""
        with self._here():
            self._readings.mark()

    def marked(self) -> Floats:
        """(count,) m, at most 0: distance of the deepest contact in each slot's world in the step that was marked. Ask before any of them
        is stepped again."""
        self._wait()
        return self._readings.marked()[self._world].astype(np.float64)

    def send(self) -> None:
        """Has what the worlds look like after the steps so far made ready for `observe`; on a GPU it returns before it is."""
        with self._here():
            self._readings.send()
        self._sent = True

    def observe(self) -> Observation:
        """What the slots' worlds look like now."""
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
        """(count,) m: how deep a link of no finger was in the object in each slot's world when it was observed last."""
        return -self._readings.seen()[-1][self._world].astype(np.float64)

    def _wait(self) -> None:
        if not self._stream:
            return
        # To synchronise keeps a core busy, which those who prepare objects can use; but it tells of errors.
        for _ in range(_LOOKS):
            if self._stream.is_complete:
                break
            time.sleep(_PAUSE)
        wp.synchronize_stream(self._stream)


def links_of_no_finger(scene: Scene, gripper: Gripper) -> NDArray[np.int32]:
    """(geoms,) 1 for those of the gripper that are on no finger, 0 for the others."""
    model, fingers = scene.model, {scene.model.body(name).id for name in gripper.finger_bodies}
    on_finger = np.zeros(model.nbody, bool)
    for body in range(1, model.nbody):  # a body comes after the one that it hangs on
        on_finger[body] = body in fingers or on_finger[model.body_parentid[body]]
    of_gripper = model.geom_bodyid != scene.object_body
    return np.asarray(of_gripper & ~on_finger[model.geom_bodyid], np.int32)


def _cube(pieces: int) -> TargetObject:
    """What stands for every object in the scene that the objects' own fields are put into."""
    box = trimesh.creation.box((0.02, 0.02, 0.02))
    cube = TriangleMesh(np.asarray(box.vertices, np.float64), np.asarray(box.faces, np.int32))
    return TargetObject(
        object_id="cube",
        scale=1.0,
        content_hash="",
        mesh=cube,
        watertight=True,
        pieces=(cube,) * pieces,
        mean_gap=0.0,
        gap_95=0.0,
        largest_gap=0.0,
        center_of_mass=np.zeros(3),
        volume=float(box.volume),
        unit_inertia=np.asarray(box.moment_inertia / box.mass),
    )
