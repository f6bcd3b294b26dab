"""GraspGen's JSON form of one object's grasps.

The trainer reads ``object.file``, ``object.scale``, ``grasps.transforms`` and ``grasps.object_in_gripper`` (GraspGen,
docs/GRASP_DATASET_FORMAT.md) and ignores the keys that are ours: ``grasps.outcome``, ``grasps.opening_width``,
``grasps.quality``, ``provenance`` and ``checksum``.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import orjson
from numpy.typing import NDArray

from graspgen_cli.errors import GraspFileError, NotFiniteError
from graspgen_cli.files import read_bounded
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Measure, Outcome

CHECKSUM = "checksum"
QUALITY = "quality"
_LABELS = {outcome.label: int(outcome) for outcome in Outcome}
_POSITIVE = (Outcome.UNVALIDATED, Outcome.HELD)
"""Outcomes that the trainer sees as positive: until they are tested, guesses free of collision count as grasps."""
_IS_POSITIVE = np.array([outcome in _POSITIVE for outcome in Outcome])
_ANEW = "make it anew with --overwrite-grasps, or move it aside with `graspgen doctor --repair`"
_MALFORMED = (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError, RecursionError, MemoryError)
"""What an arbitrary document can lead the reader to."""


def encode(dataset: GraspDataset, offset: tuple[list[float], list[float]] | None, *, beside: Mapping[str, Any] | None = None) -> bytes:
    """The file's content.

    offset: the gripper's translation and quaternion (xyzw) to GraspGen's convention; None where it is not known.
    beside: what else the file is to say: keys at the top, or within ``object``, ``gripper`` and ``grasps``, that are not ours.

    Raises ValueError for a dataset without grasps: the trainer's reader fails on such a file, so none may be written.
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
            "opening_width": [None if np.isnan(w) else w for w in grasps.opening_width.tolist()],
        },
        "provenance": dataset.provenance,
    }
    if grasps.quality is not None and (columns := _quality_columns(grasps.quality)):
        document["grasps"][QUALITY] = columns
    document = _joined(document, beside) if beside else document
    return orjson.dumps({**document, CHECKSUM: checksum(document)}) + b"\n"


def _quality_columns(quality: Floats) -> dict[str, list[float | None]]:
    """The columns by name; those of which nothing is known are left out."""
    columns = {measure.label: quality[:, measure] for measure in Measure}
    return {
        name: [None if np.isnan(value) else value for value in column.tolist()]
        for name, column in columns.items()
        if not np.isnan(column).all()
    }


def _joined(document: dict[str, Any], beside: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the keys of `beside` that it does not have."""
    joined = {**document, **{key: value for key, value in beside.items() if key not in document and key != CHECKSUM}}
    for section in ("object", "gripper", "grasps"):
        more = beside.get(section)
        kept = {key: value for key, value in more.items() if not _is_quality(key, value)} if isinstance(more, dict) else {}
        joined[section] = {**kept, **document[section]}
    return joined


def _is_quality(key: str, value: object) -> bool:
    """Whether it is our measures: those of grasps that are not the ones of this document must not be taken over."""
    return key == QUALITY and isinstance(value, dict) and any(measure.label in value for measure in Measure)


@dataclass(frozen=True, eq=False)
class PoseText:
    """What stands for ``grasps.transforms`` in a document that was read: poses (N, 4, 4), and the text that they were read from."""

    poses: Floats
    text: bytes


def checksum(document: Mapping[str, Any], *, pose_text: bool = False) -> str:
    """SHA-256 (hex) of a document's values without the checksum itself, whatever the order of keys and the white space in the file.

    pose_text: take the text of the poses as it is, which is quicker and the same where it is written as `encode` writes it.
    """

    def plain(value: object) -> object:
        if not isinstance(value, PoseText):
            raise TypeError(type(value).__name__)
        return orjson.Fragment(value.text) if pose_text else value.poses.tolist()

    rest = {key: value for key, value in document.items() if key != CHECKSUM}
    return hashlib.sha256(orjson.dumps(rest, default=plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS)).hexdigest()


def read_grasp_file(path: Path) -> GraspDataset:
    """Reads a grasp file, ours or another tool's. Raises GraspFileError naming the file and what is wrong with it."""
    document = read_document(path)
    require_intact(path, document)
    return decode(path, document)


def read_document(path: Path) -> dict[str, Any]:
    """The JSON object that a grasp file holds. Raises GraspFileError where it holds none or is too large."""
    try:
        content = read_bounded(path)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise GraspFileError(f"{path}: cannot be read as JSON ({problem}); {_ANEW}") from error
    return parse_document(path, content)


def parse_document(path: Path, content: bytes) -> dict[str, Any]:
    """The JSON object in the content of a grasp file; `path` is for messages. Raises GraspFileError where it is none."""
    try:
        document = _parse(content)
    except (ValueError, RecursionError, MemoryError) as error:
        raise GraspFileError(f"{path}: cannot be read as JSON ({str(error) or type(error).__name__}); {_ANEW}") from error
    if not isinstance(document, dict):
        raise GraspFileError(f"{path}: not a grasp file (the top level is not an object); {_ANEW}")
    return document


_POSES_BEGIN, _POSES_END = b'"transforms":[[[', b"]]]"
_NUMBERS = b"0123456789+-.eE \t\r\n"
_POSE = b"[[,,,],[,,,],[,,,],[,,,]]"
"""What is left of a pose without its numbers."""


def _parse(content: bytes) -> Any:
    """The values of a JSON text. Of a grasp file as most tools write it ``grasps.transforms`` comes as PoseText: as lists the poses
    would take three times as long as all the rest."""
    begin = content.find(_POSES_BEGIN)
    if begin < 0:
        return _plain(content)
    begin += _POSES_BEGIN.index(b"[")
    # Up to the next text there are the poses and no others; one letter is found ten times as fast as the brackets at their end.
    quote = content.find(b'"', begin)
    end = content.rfind(_POSES_END, begin, quote if quote >= 0 else len(content)) + len(_POSES_END)
    text = content[begin:end]
    poses = _pose_array(text)
    if poses is not None:
        rest = content[:begin] + b"[]" + content[end:]
        document = orjson.loads(rest) if rest.count(b'"transforms"') == 1 else None
        if isinstance(document, dict) and isinstance(grasps := document.get("grasps"), dict) and grasps.get("transforms") == []:
            grasps["transforms"] = PoseText(poses, text)
            return document
    return _plain(content)


def _pose_array(text: bytes) -> Floats | None:
    """The array (N, 4, 4) that a JSON text stands for; None where it is anything else."""
    marks = text.translate(None, _NUMBERS)
    count = (len(marks) - 1) // (len(_POSE) + 1)
    if count < 1 or marks != b"[" + b",".join([_POSE] * count) + b"]":
        return None
    try:
        numbers: list[float] = orjson.loads(_without_brackets(text))
    except orjson.JSONDecodeError:
        return None
    poses = np.empty((count, 4, 4))
    struct.pack_into(f"{len(numbers)}d", poses.data, 0, *numbers)  # three times as fast as NumPy's own way from a list to an array
    return poses


def _without_brackets(text: bytes) -> memoryview:
    """A JSON text with all brackets but the outermost as white space: of the bits of 13 ``[`` has those of a tab, ``]`` of a return."""
    letters = np.frombuffer(text, np.uint8)
    bracket = (letters - ord("[") & ~np.uint8(ord("]") - ord("["))) == 0
    result = letters & ~(bracket * np.uint8(255 - 13))
    result[[0, -1]] = letters[[0, -1]]
    return result.data


def _plain(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        # Python writes NaN, and takes a mark of the byte order.
        if b"NaN" in content or b"Infinity" in content or content.startswith(b"\xef\xbb\xbf"):
            return json.loads(content)
        raise


def require_intact(path: Path, document: Mapping[str, Any]) -> None:
    """Raises GraspFileError where a file of ours is not as it was written. Files of other tools have neither checksum nor provenance."""
    if CHECKSUM not in document and not document.get("provenance"):
        return
    try:
        intact = any(document.get(CHECKSUM) == checksum(document, pose_text=quick) for quick in (True, False))
    except (TypeError, RecursionError, MemoryError):  # a value that we would not have written
        intact = False
    if not intact:
        raise GraspFileError(f"{path}: damaged: its checksum does not match; {_ANEW}")


def decode(path: Path, document: Mapping[str, Any]) -> GraspDataset:
    """The grasps of a document that was read from `path`. Raises GraspFileError, in one line, where it is no grasp file."""
    try:
        return _decoded(document)
    except _MALFORMED as error:
        problem = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split()) or type(error).__name__
        kind = NotFiniteError if isinstance(error, _NotFinite) else GraspFileError
        raise kind(f"{path}: not a grasp file ({problem[:200]}); {_ANEW}") from error


def _decoded(document: Mapping[str, Any]) -> GraspDataset:
    grasps, gripper = document["grasps"], document.get("gripper") or {}
    poses = _poses(grasps["transforms"])
    provenance = document.get("provenance") or {}
    if not isinstance(provenance, dict):
        raise ValueError("provenance is not an object")
    return GraspDataset(
        object_id=_object_id(document["object"]["file"]),
        scale=_scale(document["object"]["scale"]),
        gripper_name=str(gripper.get("name", "")),
        gripper_width=_length(gripper.get("width")),
        gripper_depth=_length(gripper.get("depth")),
        grasps=GraspBatch(poses, _openings(grasps, len(poses)), _outcomes(grasps, len(poses)), _quality(grasps, len(poses))),
        provenance=provenance,
    )


class _NotFinite(ValueError):
    """A number that is not finite."""


def _object_id(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("object.file is not the name of a file")
    value.encode()  # half of a surrogate pair could not be written anywhere
    return value


def _scale(value: object) -> float:
    if not _is_number(value) or not 0 < (scale := float(value)) < math.inf:
        raise ValueError("object.scale is not a positive number")
    return scale


def _length(value: object) -> float:
    return math.nan if value is None else float(value)  # type: ignore[arg-type]  # what is no number raises


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _poses(listed: object) -> Floats:
    """(N, 4, 4), finite."""
    if isinstance(listed, list) and not listed:
        raise ValueError("it holds no grasps")
    poses = listed.poses if isinstance(listed, PoseText) else _array_of_lists(listed)
    if not np.isfinite(poses).all():
        raise _NotFinite("grasps.transforms holds values that are not finite numbers")
    return poses


def _array_of_lists(listed: object) -> Floats:
    """NumPy alone would take text and nothing for numbers."""
    poses = np.asarray(listed, dtype=np.float64)
    if not isinstance(listed, list) or poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise ValueError(f"grasps.transforms has shape {poses.shape}, not (N, 4, 4)")
    if not all(type(value) in (float, int) for pose in listed for row in pose for value in row):
        raise ValueError("grasps.transforms holds values that are not finite numbers")
    return poses


def _openings(grasps: dict[str, Any], count: int) -> Floats:
    listed = grasps.get("opening_width")
    if listed is None:
        return np.full(count, np.nan)
    if not isinstance(listed, list) or not set(map(type, listed)) <= {float, int, type(None)}:
        raise ValueError("grasps.opening_width is not a list of numbers")
    if len(listed) != count:
        raise ValueError(f"{len(listed)} opening widths for {count} grasps")
    widths = np.array(listed, np.float64)  # None becomes NaN
    if np.isinf(widths).any():
        raise ValueError("grasps.opening_width holds an infinite width")
    return widths


def _quality(grasps: dict[str, Any], count: int) -> Floats | None:
    """The measures that the file has; None where it has none of ours."""
    found = grasps.get(QUALITY)
    if not isinstance(found, dict) or not _is_quality(QUALITY, found):
        return None
    columns = {measure: found[measure.label] for measure in Measure if measure.label in found}
    quality = np.full((count, len(Measure)), np.nan)
    for measure, listed in columns.items():
        if not isinstance(listed, list) or not set(map(type, listed)) <= {float, int, type(None)} or len(listed) != count:
            raise ValueError(f"grasps.quality.{measure.label} is not a list of {count} numbers")
        quality[:, measure] = np.array(listed, np.float64)
    if np.isinf(quality).any():
        raise ValueError("grasps.quality holds an infinite number")
    return quality


def _outcomes(grasps: dict[str, Any], count: int) -> NDArray[np.int8]:
    """Outcomes by name where they are given; else from the trainer's flags, which say only held or not."""
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
