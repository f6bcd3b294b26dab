"""Several objects in one launch of MuJoCo Warp: all meshes in one table, and one row per object for each model field that differs.

All scenes have the same gripper; they differ in the free object's pieces, mass and inertia. A template scene has the largest number of
pieces. A piece that an object lacks has the mesh index -1 (MuJoCo Warp, `Model.geom_dataid`)."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import warp as wp
from numpy.typing import NDArray

from graspgen_cli.records import Floats
from graspgen_cli.validate.engines.mujoco_warp.kernels import deepest_of_worlds

Table = NDArray[np.float32] | NDArray[np.int32]

FIELDS_OF_OBJECTS = (
    "geom_size", "geom_rbound", "geom_aabb", "geom_pos", "geom_quat", "body_mass", "body_subtreemass", "body_inertia",
    "body_invweight0", "body_ipos", "body_iquat", "dof_invweight0",
)  # fmt: skip
"""Fields of a model that depend on the object, except mesh indices."""
FIELDS_OF_TRIALS = (*FIELDS_OF_OBJECTS, "geom_friction")
"""Fields that may differ between the trials of one object."""

ADDRESSES = {
    "mesh_vertadr": "mesh_vert",
    "mesh_faceadr": "mesh_face",
    "mesh_normaladr": "mesh_normal",
    "mesh_graphadr": "mesh_graph",
    "mesh_polyadr": "mesh_polynormal",
    "mesh_polyvertadr": "mesh_polyvert",
    "mesh_polymapadr": "mesh_polymap",
}
"""Fields that hold indices into another field, which is joined too."""
_VALUES = (
    "mesh_vertnum", "mesh_normalnum", "mesh_vert", "mesh_normal", "mesh_face", "mesh_graph", "mesh_pos", "mesh_quat",
    "mesh_polynum", "mesh_polynormal", "mesh_polyvertnum", "mesh_polyvert", "mesh_polymapnum", "mesh_polymap",
)  # fmt: skip


def joined_meshes(models: list[mujoco.MjModel]) -> dict[str, Table]:
    """The mesh tables of all models, one after another, as if one model had all meshes."""
    joined = {name: np.concatenate([_numbers(model, name) for model in models]) for name in _VALUES}
    for name, target in ADDRESSES.items():
        starts = np.cumsum([0, *(len(getattr(model, target)) for model in models)])
        moved = []
        for model, start in zip(models, starts, strict=False):
            address = np.asarray(getattr(model, name), np.int32)
            moved.append(np.where(address < 0, address, address + np.int32(start)))
        joined[name] = np.concatenate(moved)
    return joined


def mesh_of_geoms(template: mujoco.MjModel, models: list[mujoco.MjModel], *, first: int = 0) -> NDArray[np.int32]:
    """(objects, geoms of the template) index into the joined meshes, which start at `first`; -1 for a geom without a mesh and for a piece
    that an object lacks."""
    starts = np.cumsum([first, *(model.nmesh for model in models)])
    rows = np.full((len(models), template.ngeom), -1, np.int32)
    for row, model, start in zip(rows, models, starts, strict=False):
        own = np.asarray(model.geom_dataid)
        row[: model.ngeom] = np.where(own < 0, -1, own + start)
    return rows


def rows_of_trials(template: mujoco.MjModel, field: str, values: Floats) -> NDArray[np.float32]:
    """(trials, values) of one of FIELDS_OF_TRIALS, flat, from values (trials, ...) of an object's own model."""
    rows = np.stack([np.asarray(getattr(template, field), np.float32)] * len(values))
    rows[:, : values.shape[1]] = values
    return rows.reshape(len(values), -1)


def rows_of_objects(template: mujoco.MjModel, models: list[mujoco.MjModel], field: str) -> NDArray[np.float32]:
    """(objects, values) of one of FIELDS_OF_OBJECTS, flat; pieces that an object lacks keep the template's values."""
    rows = np.stack([np.asarray(getattr(template, field), np.float32)] * len(models))
    for row, model in zip(rows, models, strict=True):
        own = np.asarray(getattr(model, field), np.float32)
        row[: len(own)] = own
    return rows.reshape(len(models), -1)


def _numbers(model: mujoco.MjModel, name: str) -> Table:
    values = np.asarray(getattr(model, name))
    return values.astype(np.float32) if values.dtype.kind == "f" else values.astype(np.int32)


Overflow = NDArray[np.int32]


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
