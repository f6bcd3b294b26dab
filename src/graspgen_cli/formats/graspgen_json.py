"""GraspGen JSON: one object's grasps.

The trainer reads ``object.file``, ``object.scale``, ``grasps.transforms`` and ``grasps.object_in_gripper`` (GraspGen,
docs/GRASP_DATASET_FORMAT.md) and ignores our keys: ``grasps.outcome``, ``grasps.opening_width``, ``grasps.quality``, ``provenance`` and
``checksum``. A converted file names its frames in words under ``frames``, and keeps the fields of an isaac_grasp file under
``isaac_grasp``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from graspgen_cli.errors import DamagedFileError, GraspFileError, MalformedFileError, NotFiniteError, one_line
from graspgen_cli.files import read_bounded, read_json_map_if_sound
from graspgen_cli.formats.format import (
    GRASP_SUFFIX,
    MALFORMED,
    Entry,
    GraspFormat,
    IsaacFields,
    Listing,
    ObjectGrasps,
    object_name,
    offset_pose,
    offset_values,
    positive,
)
from graspgen_cli.formats.json_text import CHECKSUM, PoseText, checksum, parse_json
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Gripper, Measure, Outcome

OBJECT_MAP = "map_uuid_to_path.json"
"""The trainer's list of the grasp files of a folder: {object id: file name}."""
INDEX_NAME = "uuid_index.json"
"""The trainer's list of the objects in archives."""
_LISTS = (OBJECT_MAP, "map_uuid_to_path_simplified.json", INDEX_NAME)
QUALITY = "quality"
_FRAMES = "frames"
ISAAC_KEY = "isaac_grasp"
_LABELS = {outcome.label: int(outcome) for outcome in Outcome}
_IS_POSITIVE = np.array([outcome in (Outcome.UNVALIDATED, Outcome.HELD) for outcome in Outcome])
"""By outcome, whether the trainer sees a positive: a guess free of collision counts as a grasp until its trial."""
_ANEW = "make it anew with --overwrite-grasps, or move it aside with the command doctor and --repair"


def encode(dataset: GraspDataset, offset: tuple[list[float], list[float]] | None, *, beside: Mapping[str, Any] | None = None) -> bytes:
    """The content of a grasp file.

    offset: the gripper's translation and quaternion (xyzw) to GraspGen's convention; None if unknown.
    beside: foreign keys at the top, or within ``object``, ``gripper`` and ``grasps``.

    Raises ValueError for a dataset without grasps: the trainer's reader fails on such a file.
    """
    grasps = dataset.grasps
    if len(grasps) == 0:
        raise ValueError(f"{dataset.object_id}: a grasp file without grasps must not be written")
    document = {
        "object": {"file": dataset.object_id, "scale": dataset.scale},
        "gripper": {
            "name": dataset.gripper_name,
            "file_name": dataset.gripper_name,
            "width": dataset.gripper_width,
            "depth": dataset.gripper_depth,
            "transform_offset_from_asset_to_graspgen_convention": offset,
        },
        "grasps": {
            "transforms": grasps.pose_gripper_in_object.tolist(),
            "object_in_gripper": _IS_POSITIVE[grasps.outcome].tolist(),
            "outcome": [Outcome(o).label for o in grasps.outcome],
            "opening_width": _nulled(grasps.opening_width),
        },
        "provenance": dataset.provenance,
    }
    if grasps.quality is not None and (columns := _quality_columns(grasps.quality)):
        document["grasps"][QUALITY] = columns
    document = _joined(document, beside) if beside else document
    return orjson.dumps({**document, CHECKSUM: checksum(document)}) + b"\n"


def _quality_columns(quality: Floats) -> dict[str, list[float | None]]:
    """The measured columns by name."""
    return {measure.label: _nulled(quality[:, measure]) for measure in Measure if not np.isnan(quality[:, measure]).all()}


def _nulled(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]


def _joined(document: dict[str, Any], beside: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the keys of `beside` that it does not have."""
    joined = {**document, **{key: value for key, value in beside.items() if key not in document and key != CHECKSUM}}
    for section in ("object", "gripper", "grasps"):
        more = beside.get(section)
        kept = {key: value for key, value in more.items() if not _is_quality(key, value)} if isinstance(more, dict) else {}
        joined[section] = {**kept, **document[section]}
    return joined


def _is_quality(key: str, value: object) -> bool:
    """Whether a key holds our measures, which belong to the grasps of their own document only."""
    return key == QUALITY and isinstance(value, dict) and any(measure.label in value for measure in Measure)


def read_grasp_file(path: Path) -> GraspDataset:
    """Reads a grasp file, ours or another tool's. Raises GraspFileError."""
    return decode(path, read_document(path))


def read_document(path: Path) -> dict[str, Any]:
    """The JSON object in a grasp file. Raises GraspFileError, or DamagedFileError for a wrong checksum."""
    try:
        content = read_bounded(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, one_line(error)) from error
    return parse_document(path, content)


def _unreadable(path: Path, problem: str) -> GraspFileError:
    return GraspFileError(f"cannot be read as JSON ({problem})", path=path, advice=_ANEW)


def parse_document(path: Path, content: bytes) -> dict[str, Any]:
    """The JSON object in the content of a grasp file; `path` is for messages. Raises as `read_document` does."""
    try:
        document = parse_json(content)
    except (ValueError, RecursionError, MemoryError) as error:
        raise _unreadable(path, one_line(error)) from error
    if not isinstance(document, dict):
        raise GraspFileError("not a grasp file (the top level is not an object)", path=path, advice=_ANEW)
    if not _is_intact(document):
        raise DamagedFileError("damaged: its checksum does not match", path=path, advice=_ANEW)
    return document


def _is_intact(document: Mapping[str, Any]) -> bool:
    """Whether the content is as graspgen wrote it. Files of other tools have neither checksum nor provenance."""
    if CHECKSUM not in document and not document.get("provenance"):
        return True
    try:
        return any(document.get(CHECKSUM) == checksum(document, pose_text=quick) for quick in (True, False))
    except (TypeError, RecursionError, MemoryError):  # a value that graspgen does not write
        return False


def decode(path: Path, document: Mapping[str, Any]) -> GraspDataset:
    """The grasps of a document that was read from `path`. Raises MalformedFileError, or NotFiniteError for a pose."""
    try:
        return _decoded(document)
    except MALFORMED as error:
        kind = NotFiniteError if isinstance(error, _NotFinite) else MalformedFileError
        raise kind(f"not a grasp file ({one_line(error)})", path=path, advice=_ANEW) from error


def _decoded(document: Mapping[str, Any]) -> GraspDataset:
    grasps, gripper = document["grasps"], document.get("gripper") or {}
    poses = _poses(grasps["transforms"])
    provenance = document.get("provenance") or {}
    if not isinstance(provenance, dict):
        raise ValueError("provenance is not an object")
    return GraspDataset(
        object_id=object_name(document["object"]["file"], "object.file"),
        scale=positive(document["object"]["scale"], "object.scale"),
        gripper_name=str(gripper.get("name", "")),
        gripper_width=_length(gripper.get("width")),
        gripper_depth=_length(gripper.get("depth")),
        grasps=GraspBatch(poses, _openings(grasps, len(poses)), _outcomes(grasps, len(poses)), _quality(grasps, len(poses))),
        provenance=provenance,
    )


class _NotFinite(ValueError):
    """A number that is not finite."""


def _length(value: object) -> float:
    return math.nan if value is None else float(value)  # type: ignore[arg-type]  # raises for any other type


def _poses(listed: object) -> Floats:
    """(N, 4, 4), finite."""
    if isinstance(listed, list) and not listed:
        raise ValueError("it holds no grasps")
    poses = listed.poses if isinstance(listed, PoseText) else _array_of_lists(listed)
    if not np.isfinite(poses).all():
        raise _NotFinite("grasps.transforms holds values that are not finite numbers")
    return poses


def _array_of_lists(listed: object) -> Floats:
    """Checked value by value, since NumPy converts text and None to numbers."""
    poses = np.asarray(listed, dtype=np.float64)
    if not isinstance(listed, list) or poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise ValueError(f"grasps.transforms has shape {poses.shape}, not (N, 4, 4)")
    if not all(type(value) in (float, int) for pose in listed for row in pose for value in row):
        raise ValueError("grasps.transforms holds values that are not finite numbers")
    return poses


def _openings(grasps: dict[str, Any], count: int) -> Floats:
    listed = grasps.get("opening_width")
    return np.full(count, np.nan) if listed is None else _numbers(listed, "opening_width", count)


def _quality(grasps: dict[str, Any], count: int) -> Floats | None:
    """The measures in the file; None if there are none."""
    found = grasps.get(QUALITY)
    if not isinstance(found, dict) or not _is_quality(QUALITY, found):
        return None
    quality = np.full((count, len(Measure)), np.nan)
    for measure in Measure:
        if measure.label in found:
            quality[:, measure] = _numbers(found[measure.label], f"quality.{measure.label}", count)
    return quality


def _numbers(listed: object, name: str, count: int) -> Floats:
    """(N,) a number a grasp, NaN for null."""
    if not isinstance(listed, list) or not set(map(type, listed)) <= {float, int, type(None)} or len(listed) != count:
        raise ValueError(f"grasps.{name} is not a list of {count} numbers")
    numbers = np.array(listed, np.float64)
    if np.isinf(numbers).any():
        raise ValueError(f"grasps.{name} holds an infinite number")
    return numbers


def _outcomes(grasps: dict[str, Any], count: int) -> NDArray[np.int8]:
    """Outcomes by name, or from the trainer's flags, which say held or not."""
    flags = grasps["object_in_gripper"]
    if not isinstance(flags, list) or not set(map(type, flags)) <= {bool}:
        raise ValueError("grasps.object_in_gripper is not a list of true and false")
    names = grasps.get("outcome")
    held = np.frombuffer(bytearray(flags), bool)
    outcomes = np.where(held, np.int8(Outcome.HELD), np.int8(Outcome.DROPPED)) if names is None else _named(names)
    if not len(outcomes) == len(flags) == count:
        raise ValueError(f"{len(outcomes)} outcomes and {len(flags)} flags for {count} grasps")
    disagreeing = np.flatnonzero(_IS_POSITIVE[outcomes] != held)
    if len(disagreeing):
        raise ValueError(f"grasps.outcome and grasps.object_in_gripper disagree, first at grasp {disagreeing[0]}")
    return outcomes


def _named(names: object) -> NDArray[np.int8]:
    if not isinstance(names, list):
        raise ValueError("grasps.outcome is not a list")
    try:
        return np.frombuffer(bytearray([_LABELS[name] for name in names]), np.int8)
    except (KeyError, TypeError):
        unknown = next(name for name in names if not isinstance(name, str) or name not in _LABELS)
        raise ValueError(f"unknown outcome {ascii(unknown)[:40]}; there is {', '.join(_LABELS)}") from None


def object_grasps(path: Path, document: dict[str, Any]) -> ObjectGrasps:
    """The grasps of a document that was read from `path`, with its frames and foreign keys. Raises as `decode` does."""
    dataset = decode(path, document)
    gripper, frames = (found if isinstance(found := document.get(key), dict) else {} for key in ("gripper", _FRAMES))
    return ObjectGrasps(
        dataset=dataset,
        gripper_frame=str(frames.get("gripper") or "base"),
        pose_graspgen_in_gripper=offset_pose(gripper.get("transform_offset_from_asset_to_graspgen_convention")),
        isaac=_isaac_fields(document.get(ISAAC_KEY), len(dataset.grasps)),
        document=document,
    )


def _isaac_fields(kept: object, count: int) -> IsaacFields | None:
    """The fields of an isaac_grasp file that `convert` kept; None if they do not fit the grasps."""
    header, grasps = (kept.get("header"), kept.get("grasps")) if isinstance(kept, dict) else (None, None)
    if not isinstance(header, dict) or not isinstance(grasps, list) or len(grasps) != count:
        return None
    if not all(isinstance(grasp, dict) and isinstance(grasp.get("name"), str) for grasp in grasps):
        return None
    if len({grasp["name"] for grasp in grasps}) != count:  # names are keys of a mapping
        return None
    return IsaacFields(header, tuple(grasps))


def content_of(found: ObjectGrasps, _: Gripper | None = None) -> bytes:
    """The content of a grasp file, with the foreign keys of its source. Raises ValueError or TypeError for values that JSON cannot hold."""
    offset = found.pose_graspgen_in_gripper
    beside = {key: value for key, value in found.document.items() if key != _FRAMES}
    if found.isaac is not None:
        beside[ISAAC_KEY] = {"header": found.isaac.header, "grasps": found.isaac.grasps}
    beside[_FRAMES] = {
        "grasps.transforms": "pose of the gripper's frame in the frame of the object's mesh after scaling, row by row, m",
        "gripper": found.gripper_frame,
        "gripper.transform_offset_from_asset_to_graspgen_convention": "pose of GraspGen's frame (approach +Z, closing X) in the gripper's",
    }
    return encode(found.dataset, None if offset is None else offset_values(offset), beside=beside)


def _list_files(files: Sequence[Path]) -> Listing:
    """The grasp files of a folder, named by the folder's map."""
    names = {name: object_id for object_id, name in read_json_map_if_sound(files[0].parent / OBJECT_MAP).items() if isinstance(name, str)}
    return [Entry(path, names.get(path.name) or _stem(path)) for path in files if path.name not in _LISTS], []


def _stem(path: Path) -> str:
    return path.name.removesuffix(GRASP_SUFFIX) if path.name.endswith(GRASP_SUFFIX) else path.stem


FORMAT = GraspFormat(
    suffixes=(".json",),
    read=lambda entry: object_grasps(entry.path, read_document(entry.path)),
    list_files=_list_files,
    encode=content_of,
    trainer_reads=True,
)
