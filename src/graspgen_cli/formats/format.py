"""What all formats of grasp files share: where an object's grasps are, what a file says of them, and the functions of a format.

A format is one module of this package with a `FORMAT`, and one row in :data:`graspgen_cli.tables.FORMATS` (docs/extending.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from graspgen_cli.errors import GraspFileError
from graspgen_cli.geometry.poses import is_rotation, pose, quaternion_wxyz, rotation_from_wxyz
from graspgen_cli.records import Floats, GraspDataset, Gripper
from graspgen_cli.tables import FORMATS

GRASP_SUFFIX = ".grasps.json"
"""Suffix of the grasp files of a GraspGen dataset."""
MALFORMED = (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError, RecursionError, MemoryError)
"""The errors to which an arbitrary document can lead a reader."""
Values = Mapping[str, Any]
"""Plain values, as in JSON."""


@dataclass(frozen=True)
class Entry:
    """Where one object's grasps are; small, for other processes.

    path: the file; its suffix decides the format. name: object id from the map of the folder, uuid in an archive, or the file's name
    without suffix; the file itself holds the object id. gripper: folder of the gripper in a dataset, else empty. span: offset and size
    (bytes) in an archive, None for a file of one object; the size of a sparse member is -1.
    """

    path: Path
    name: str
    gripper: str = ""
    span: tuple[int, int] | None = None

    @property
    def shown(self) -> Path:
        """The file for messages; a member as if the archive were a folder."""
        return self.path if self.span is None else self.path / f"{self.name}{GRASP_SUFFIX}"


@dataclass(frozen=True)
class IsaacFields:
    """The fields of an isaac_grasp file that the grasps do not hold, so that `convert` can write them again.

    header: the top level without ``grasps``. grasps: the fields of each grasp without ``position``; ``name`` is the key in the file.
    """

    header: Values
    grasps: tuple[Values, ...]


@dataclass(frozen=True, eq=False)
class ObjectGrasps:
    """One object's grasps as read from a file of any format.

    dataset: ``pose_gripper_in_object`` (N, 4, 4), m: pose of the file's gripper frame (`gripper_frame`) in the scaled object's frame.
    """

    dataset: GraspDataset
    gripper_frame: str
    """Name of the gripper's frame in the file, or ``base``."""
    pose_graspgen_in_gripper: Floats | None = None
    """(4, 4): pose of GraspGen's frame (approach axis +Z, closing direction X) in `gripper_frame`; the trainer uses ``grasp @ pose``. None
    if the file has no offset."""
    isaac: IsaacFields | None = None
    """Set for isaac_grasp files, and for files that were converted from isaac_grasp."""
    document: Values = field(default_factory=dict)
    """Content of a JSON file, so that foreign keys can be written again."""
    notes: tuple[str, ...] = ()
    """Assumptions in place of missing fields, in words."""

    @property
    def trainer_frame(self) -> Floats:
        """(4, 4): `pose_graspgen_in_gripper`, or the identity: a file without an offset counts as written in GraspGen's frame."""
        return np.eye(4) if self.pose_graspgen_in_gripper is None else self.pose_graspgen_in_gripper

    @property
    def pose_graspgen_in_object(self) -> Floats:
        """(N, 4, 4): poses of GraspGen's frame, in which the grasps of different grippers can be compared."""
        return self.dataset.grasps.pose_gripper_in_object @ self.trainer_frame


Listing = tuple[list[Entry], list[GraspFileError]]
"""The objects in files, and the files or archives that cannot be listed."""


def one_object_a_file(files: Sequence[Path]) -> Listing:
    """An entry for each file."""
    return [Entry(path, path.stem) for path in files], []


@dataclass(frozen=True)
class Archive:
    """How a format stores many objects in one file. If a folder has an archive, its other files are ignored, as GraspGen does.

    names: object ids -> name of each in the archives. write: writes (name, content) into archives of at most that many objects in a folder,
    and returns the file of each name; raises OutputError.
    """

    names: Callable[[Iterable[str]], dict[str, str]]
    write: Callable[[Path, Iterable[tuple[str, bytes]], int], dict[str, Path]]


@dataclass(frozen=True)
class GraspFormat:
    """The functions of one format. suffixes: of its files, lower case; the first one is written.

    read: the grasps of one object; raises GraspFileError for a bad file, InputError for a missing package.
    list_files: the objects in the files of one folder. encode: content of one object's file, for a gripper if it is known; raises one of
    MALFORMED for values that the format cannot hold. trainer_reads: `convert` writes into the folders of a dataset, with map and splits.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Entry], ObjectGrasps]
    list_files: Callable[[Sequence[Path]], Listing] = one_object_a_file
    encode: Callable[[ObjectGrasps, Gripper | None], bytes] | None = None
    trainer_reads: bool = False
    archive: Archive | None = None


def load_format(name: str) -> GraspFormat:
    """The format of a row in `FORMATS`."""
    module, _, attribute = FORMATS[name].place.partition(":")
    found: GraspFormat = getattr(import_module(module), attribute)
    return found


def formats_by_suffix() -> dict[str, GraspFormat]:
    """Suffix in lower case -> format."""
    formats = [load_format(name) for name in FORMATS]
    return {suffix: each for each in formats for suffix in each.suffixes}


def offset_pose(value: object) -> Floats | None:
    """The pose (4, 4) of an offset in a file: [[x, y, z], [qx, qy, qz, qw]], 16 numbers row by row, or 4 x 4; None for anything else."""
    try:
        if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(part, list | tuple) for part in value):
            return _rigid_pose(*map(tuple, value))
        matrix = np.asarray(value, np.float64).reshape(4, 4)
    except (TypeError, ValueError, OverflowError):
        return None
    return matrix if is_rotation(matrix[None])[0] else None


@lru_cache(maxsize=64)
def _rigid_pose(translation: tuple[float, ...], quaternion_xyzw: tuple[float, ...]) -> Floats | None:
    """Cached, since nearly every file of a dataset repeats it; the array is shared and read-only."""
    turned = rotation_from_wxyz(np.roll(np.asarray(quaternion_xyzw, np.float64), 1))
    matrix = pose(turned, np.asarray(translation, np.float64))
    matrix.flags.writeable = False
    return matrix if matrix.shape == (4, 4) and is_rotation(matrix[None])[0] else None


def offset_values(offset: Floats) -> tuple[list[float], list[float]]:
    """An offset's pose (4, 4) as files hold it: [x, y, z] m and [qx, qy, qz, qw]."""
    w, x, y, z = (quaternion_wxyz(offset[None, :3, :3])[0] + 0.0).tolist()
    return (offset[:3, 3] + 0.0).tolist(), [x, y, z, w]


def finite(value: object, what: str) -> float:
    """A finite number. Raises ValueError, naming `what`, for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} is not a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{what} is not finite")
    return number


def positive(value: object, what: str) -> float:
    """A finite number above 0. Raises ValueError, naming `what`, for any other value."""
    number = finite(value, what)
    if number <= 0:
        raise ValueError(f"{what} is not positive")
    return number


def object_name(value: object, what: str) -> str:
    """The id of an object. Raises ValueError, naming `what`, for any other value."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} is not the name of a file")
    value.encode()  # raises for half of a surrogate pair, which no file can hold
    return value
