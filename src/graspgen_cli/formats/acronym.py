"""ACRONYM's HDF5 files: one object's grasps with the Franka hand, tried in FleX.

Source: the ACRONYM dataset (Eppner, Mousavian, Fox, ICRA 2021) and its files: ``grasps/transforms`` (N, 4, 4) m in the frame of the scaled
mesh, ``grasps/qualities/flex/object_in_gripper`` (N,) 0 or 1, ``object/file``, ``object/scale``, ``gripper/type``.

Frames: the hand's closing direction is X, its approach axis +Z, its origin the flange: GraspGen's convention. The hand's own model
(``panda_hand``) closes along Y, a quarter turn about Z apart.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graspgen_cli.errors import GraspFileError, InputError, install_command, one_line
from graspgen_cli.files import LARGEST_FILE
from graspgen_cli.formats.format import MALFORMED, Entry, GraspFormat, ObjectGrasps, object_name, positive
from graspgen_cli.geometry.poses import is_rotation
from graspgen_cli.records import GraspBatch, GraspDataset, Outcome

WIDTH = 0.08
"""m: widest opening of the Franka hand: ``gripper/configuration`` is 0.04 for each finger."""
DEPTH = 0.1122
"""m: from the origin to the fingertips, as ACRONYM draws the hand."""
_MOST_GRASPS = 300_000
_LONGEST_TEXT = 4096
"""bytes."""


def _read(entry: Entry) -> ObjectGrasps:
    path = entry.path
    try:
        import h5py
    except ModuleNotFoundError:
        raise InputError("reading HDF5 needs the package h5py", path=path, advice=f"run {install_command('formats')}") from None
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"not a regular file of at most {LARGEST_FILE >> 20} MiB")
        with h5py.File(path, "r") as file:
            dataset = _decoded(file)
    except (*MALFORMED, OSError, RuntimeError) as error:
        raise GraspFileError(f"not an ACRONYM file ({one_line(error)})", path=path) from error
    return ObjectGrasps(dataset=dataset, gripper_frame="panda_hand turned to open along X", pose_graspgen_in_gripper=np.eye(4))


def _decoded(file: Any) -> GraspDataset:
    poses, held = _stored(file, "grasps/transforms"), _stored(file, "grasps/qualities/flex/object_in_gripper")
    count = held.shape[0] if len(held.shape) == 1 else -1
    # Shapes first: compressed values can be of any size.
    if not 0 < count <= _MOST_GRASPS or poses.shape != (count, 4, 4) or poses.dtype.kind != "f" or held.dtype.kind not in "iub":
        raise ValueError(f"transforms of shape {poses.shape} and flags of shape {held.shape}")
    pose_gripper_in_object = np.asarray(poses[()], np.float64)
    flags = np.asarray(held[()])
    wrong = np.flatnonzero(~is_rotation(pose_gripper_in_object, tolerance=1e-3))
    if len(wrong):
        raise ValueError(f"grasp {wrong[0]} is no rigid transform")
    if not np.isin(flags, (0, 1)).all():
        raise ValueError("object_in_gripper is not 0 or 1 for each grasp")
    outcome = np.where(flags != 0, Outcome.HELD, Outcome.DROPPED).astype(np.int8)
    return GraspDataset(
        object_id=object_name(_scalar(file, "object/file"), "object/file"),
        scale=positive(_scalar(file, "object/scale"), "object/scale"),
        gripper_name="franka_panda",
        gripper_width=WIDTH,
        gripper_depth=DEPTH,
        grasps=GraspBatch(pose_gripper_in_object, np.full(count, np.nan), outcome),
    )


def _stored(file: Any, name: str) -> Any:
    """A dataset whose values lie in this file. HDF5 can name any other file, and a chunk can unpack to more than memory holds."""
    stored = file[name]
    chunk = math.prod(stored.chunks or (1,)) * stored.dtype.itemsize
    if stored.file.filename != file.filename or stored.external or stored.is_virtual:
        raise ValueError(f"{name} lies in another file")
    if chunk > LARGEST_FILE:
        raise ValueError(f"{name} is stored in chunks of {chunk >> 20} MiB")
    return stored


def _scalar(file: Any, name: str) -> object:
    stored = _stored(file, name)
    if stored.size != 1 or stored.dtype.itemsize > _LONGEST_TEXT:
        raise ValueError(f"{name} is not one value")
    value = np.asarray(stored[()]).reshape(-1)[0]
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode() if isinstance(value, bytes) else value


FORMAT = GraspFormat(suffixes=(".h5", ".hdf5"), read=_read)
