"""Several objects in one launch of MuJoCo Warp: all meshes in one table, and one row per object for each model field that differs.

All scenes have the same gripper; they differ in the free object's pieces, mass and inertia. A template scene has the largest number of
pieces. A piece that an object lacks has the mesh index -1 (MuJoCo Warp, `Model.geom_dataid`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import mujoco
import numpy as np
from numpy.typing import NDArray

from graspgen_cli.records import Floats

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


def joined_meshes(models: list[mujoco.MjModel], *, used: Mapping[str, int] = MappingProxyType({})) -> dict[str, Table]:
    """The mesh tables of all models, one after another, as if one model had all meshes. used: rows that come before, of each table."""
    joined = {name: np.concatenate([_numbers(model, name) for model in models]) for name in _VALUES}
    for name, target in ADDRESSES.items():
        starts = np.cumsum([used.get(target, 0), *(len(getattr(model, target)) for model in models)])
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
