"""isaac_grasp YAML 1.0: one object's grasps as Isaac Sim's grasp editor, Isaac ROS and GraspDataGen write them.

Source: the "Isaac Grasp File" page of the Isaac ROS documentation and GraspDataGen's docs/components/grasp-sim.md. ``position`` (m) and
``orientation`` {w, xyz} are the pose of the gripper's frame in the object's; ``confidence`` 0 is a failed grasp. The frame fields come
as ``gripper_frame`` and ``object_frame`` or with the suffix ``_link``, the version as a number or as text. Grasps that were read from an
isaac_grasp file are written again unchanged.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from graspgen_cli import __version__
from graspgen_cli.errors import GraspFileError, MalformedFileError, one_line
from graspgen_cli.files import load_plain_yaml, read_bounded
from graspgen_cli.formats.format import (
    MALFORMED,
    Entry,
    GraspFormat,
    IsaacFields,
    ObjectGrasps,
    Values,
    finite,
    object_name,
    offset_pose,
    offset_values,
    positive,
)
from graspgen_cli.geometry.poses import is_rotation, pose, quaternion_wxyz, rotation_from_wxyz
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Gripper, Outcome

_NAME = "isaac_grasp"
_OWN_FIELD = "graspgen"
"""Our mapping at the top level of written files: gripper, provenance."""
_GUESSER = "grasp_guess"
"""``created_with`` of files of guesses: confidence 1 is a guess free of collision, 0 a guess in collision."""
_LARGEST = 1 << 26
"""bytes: YAML takes ten times the time and memory of JSON."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_OUTCOMES = {outcome.label: outcome for outcome in Outcome}
_POSITIVE = (Outcome.HELD, Outcome.UNVALIDATED)
_DERIVED = ("name", "position", "confidence", "outcome", "orientation", "opening_width")
"""Fields that are written from the grasps."""
_SAME = 1e-9
"""A quaternion that was read is written again if the entries of its rotation differ by less than this."""
_HEAD = (
    "# position (m) and orientation (w, xyz): pose of the gripper's frame in the frame of the object's mesh,"
    " after scaling by object_scale.\n"
    "# confidence 0 is a failed grasp; joint positions in rad or m.\n"
)


# --- reading -----------------------------------------------------------------------------------------------------------------------------


def _read(entry: Entry) -> ObjectGrasps:
    path = entry.path
    try:
        document = load_plain_yaml(read_bounded(path, largest=_LARGEST))
    except (OSError, ValueError) as error:
        raise GraspFileError(f"cannot be read as YAML ({one_line(error)})", path=path) from error
    try:
        return _decoded(document, path)
    except MALFORMED as error:
        raise MalformedFileError(f"not an isaac_grasp file ({one_line(error)})", path=path) from error


def _decoded(document: Any, path: Path) -> ObjectGrasps:
    if not isinstance(document, dict) or document.get("format") != _NAME:
        raise ValueError(f"it does not say `format: {_NAME}`")
    if str(document.get("format_version", "1.0")) not in ("1", "1.0"):
        raise ValueError(f"format_version {str(document['format_version'])[:20]}; 1.0 can be read")
    if not isinstance(document.get("grasps"), dict):
        raise ValueError("no mapping `grasps`")
    if not document["grasps"]:
        raise ValueError("it holds no grasps")
    header = _plain({key: value for key, value in document.items() if key != "grasps"})
    listed = [{**_grasp(name, grasp), "name": str(name)} for name, grasp in document["grasps"].items()]
    own = _mapping(header.get(_OWN_FIELD))
    dataset, notes = _dataset(header, own, listed, path)
    kept = ({key: value for key, value in grasp.items() if key != "position"} for grasp in listed)
    return ObjectGrasps(
        dataset=dataset,
        gripper_frame=_gripper_frame(header),
        pose_graspgen_in_gripper=offset_pose(own.get("transform_offset")),
        isaac=IsaacFields(header, tuple(kept)),
        notes=notes,
    )


def _grasp(name: object, grasp: object) -> dict[str, Any]:
    if not isinstance(grasp, dict):
        raise ValueError(f"grasp {str(name)[:40]} is no mapping")
    return dict(_plain(grasp))


def _plain(value: Any) -> Any:
    """The value as JSON holds it; YAML also has dates, and keys of any type."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"a value of the type {type(value).__name__}")


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _gripper_frame(header: Values) -> str:
    return str(header.get("gripper_frame_link") or header.get("gripper_frame") or "base")


def _is_guessed(header: Values) -> bool:
    """Whether the file holds guesses without trials."""
    return header.get("created_with") == _GUESSER


def _dataset(header: Values, own: Values, listed: Sequence[Values], path: Path) -> tuple[GraspDataset, tuple[str, ...]]:
    """The grasps, and notes on missing fields."""
    notes = []
    object_id, scale, gripper = header.get("object_file"), header.get("object_scale"), _mapping(own.get("gripper"))
    if not object_id:
        object_id = path.stem
        notes.append(f"names no object_file; the object is called {object_id} after the file")
    if scale is None:
        scale = 1.0
        notes.append("gives no object_scale; 1 is assumed")
    dataset = GraspDataset(
        object_id=object_name(object_id, "object_file"),
        scale=positive(_number(scale, "object_scale"), "object_scale"),
        gripper_name=str(gripper.get("name") or PurePosixPath(str(header.get("gripper_file") or "")).stem),
        gripper_width=_number_or_nan(gripper, "width"),
        gripper_depth=_number_or_nan(gripper, "depth"),
        grasps=_batch(listed, guessed=_is_guessed(header)),
        provenance=_mapping(own.get("provenance")),
    )
    return dataset, tuple(notes)


def _batch(listed: Sequence[Values], *, guessed: bool) -> GraspBatch:
    positions = np.array([_vector(grasp["position"], "position") for grasp in listed])
    quaternions_wxyz = np.array([_quaternion_wxyz(grasp["orientation"]) for grasp in listed])
    widths = np.array([_number_or_nan(grasp, "opening_width") for grasp in listed])
    outcomes = np.array([_outcome(grasp, guessed=guessed) for grasp in listed], np.int8)
    return GraspBatch(pose(rotation_from_wxyz(quaternions_wxyz), positions), widths, outcomes)


def _outcome(grasp: Values, *, guessed: bool) -> Outcome:
    """The outcome that graspgen wrote, unless it contradicts the confidence; else the outcome that the confidence means. Raises ValueError.

    guessed: the file holds guesses without trials.
    """
    if "confidence" not in grasp:
        return Outcome.UNVALIDATED
    positive = _number(grasp["confidence"], "confidence") > 0
    own = _OUTCOMES.get(str(grasp.get("outcome")))
    if own is not None and (own in _POSITIVE) is positive:
        return own
    if guessed:
        return Outcome.UNVALIDATED if positive else Outcome.COLLISION
    return Outcome.HELD if positive else Outcome.DROPPED


def _number(value: object, what: str) -> float:
    """A finite number; to YAML 1.1 a number without a point, such as 1e-5, is text."""
    return finite(float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value, what)


def _number_or_nan(values: Values, name: str) -> float:
    value = values.get(name, np.nan)
    return value if isinstance(value, float) and np.isnan(value) else _number(value, name)


def _vector(value: object, what: str) -> list[float]:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError(f"{what} is not 3 numbers")
    return [_number(item, what) for item in value]


def _quaternion_wxyz(value: object) -> Floats:
    if not isinstance(value, Mapping):
        raise ValueError("orientation is not {w, xyz}")
    quaternion = np.array([_number(value["w"], "orientation.w"), *_vector(value["xyz"], "orientation.xyz")])
    norm = float(np.linalg.norm(quaternion))
    # Hand-written files round to a few digits; a larger error is a mistake.
    if not abs(norm - 1.0) < 0.01:
        raise ValueError("orientation is not a unit quaternion")
    return quaternion / norm


# --- writing -----------------------------------------------------------------------------------------------------------------------------


def _content(found: ObjectGrasps, gripper: Gripper | None) -> bytes:
    """gripper: if given, grasps with a known opening get ``pregrasp_cspace_position``, the joint positions at that opening, and
    ``cspace_position``, those of the closed gripper, unless the source file has them. Raises ValueError for a pose that is not rigid."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    document = {**_header(found), "grasps": dict(_grasps(found, gripper))}
    text = yaml.dump(document, Dumper=dumper, sort_keys=False, default_flow_style=None, width=1 << 20, allow_unicode=True)
    return (_HEAD + text).encode()


def _header(found: ObjectGrasps) -> dict[str, Any]:
    dataset = found.dataset
    if found.isaac is not None:
        header = {**found.isaac.header, "format": _NAME}
    else:
        header = {"format": _NAME, "format_version": "1.0", "created_with": f"graspgen-cli {__version__}"}
    if header.get("object_file") != dataset.object_id:
        header["object_file"] = dataset.object_id
    if header.get("object_scale") != dataset.scale:
        header["object_scale"] = dataset.scale
    if dataset.gripper_name:
        header.setdefault("gripper_file", dataset.gripper_name)
    if _gripper_frame(header) != found.gripper_frame:
        header = {key: value for key, value in header.items() if key not in ("gripper_frame", "gripper_frame_link")}
        header["gripper_frame_link"] = found.gripper_frame
    own = _own(found)
    return {**header, _OWN_FIELD: own} if own else header


def _own(found: ObjectGrasps) -> dict[str, Any]:
    """Known values for which the format has no field."""
    dataset = found.dataset
    sizes = {"width": dataset.gripper_width, "depth": dataset.gripper_depth}
    known = {key: value for key, value in sizes.items() if np.isfinite(value)}
    own: dict[str, Any] = {"gripper": {"name": dataset.gripper_name, **known}} if known else {}
    if found.pose_graspgen_in_gripper is not None:
        own["transform_offset"] = [list(part) for part in offset_values(found.pose_graspgen_in_gripper)]
    if dataset.provenance:
        own["provenance"] = dataset.provenance
    return own


def _grasps(found: ObjectGrasps, gripper: Gripper | None) -> Iterator[tuple[str, dict[str, Any]]]:
    grasps, isaac = found.dataset.grasps, found.isaac
    poses = grasps.pose_gripper_in_object
    wrong = np.flatnonzero(~is_rotation(poses))
    if len(wrong):
        raise ValueError(f"grasp {wrong[0]} is no rigid transform")
    quaternions = quaternion_wxyz(poses[:, :3, :3])
    guessed = isaac is not None and _is_guessed(isaac.header)
    read = [{"name": f"grasp_{i}"} for i in range(len(grasps))] if isaac is None else isaac.grasps
    for i, (fields, width) in enumerate(zip(read, grasps.opening_width.tolist(), strict=True)):
        stated = _stated(fields, Outcome(grasps.outcome[i]), guessed=guessed)
        where = {"position": poses[i, :3, 3].tolist(), "orientation": _orientation(fields.get("orientation"), poses[i], quaternions[i])}
        known = {"opening_width": width, **_joints(gripper, width)} if np.isfinite(width) else {}
        rest = {key: value for key, value in fields.items() if key not in _DERIVED}
        yield str(fields["name"]), {**stated, **where, **known, **rest}


def _stated(fields: Values, outcome: Outcome, *, guessed: bool) -> dict[str, Any]:
    """Confidence, and the outcome if the confidence alone does not imply it."""
    confidence, positive = fields.get("confidence"), outcome in _POSITIVE
    if confidence is None and outcome is Outcome.UNVALIDATED:
        return {}
    stated = {"confidence": confidence if _means(confidence, positive) else float(positive)}
    needed = "outcome" in fields or _outcome(stated, guessed=guessed) is not outcome
    return {**stated, "outcome": outcome.label} if needed else stated


def _means(confidence: object, positive: bool) -> bool:
    """Whether a confidence that was read is a number with that meaning."""
    try:
        return (finite(confidence, "confidence") > 0) is positive
    except (ValueError, OverflowError):
        return False


def _orientation(read: object, pose: Floats, quaternion_wxyz: Floats) -> object:
    """The orientation as it was read, if the pose still has it; both signs of a quaternion are one rotation."""
    try:
        read_wxyz = [float(read["w"]), *map(float, read["xyz"])]  # type: ignore[index]  # raises for any other type
        if np.abs(rotation_from_wxyz(np.array([read_wxyz]))[0] - pose[:3, :3]).max() < _SAME:
            return read
    except (KeyError, TypeError, ValueError):
        pass
    return {"w": float(quaternion_wxyz[0]), "xyz": quaternion_wxyz[1:].tolist()}


def _joints(gripper: Gripper | None, width: float) -> dict[str, dict[str, float]]:
    """The joint positions of the closed gripper and those at an opening, m."""
    if gripper is None:
        return {}
    rows = {"cspace_position": 0, "pregrasp_cspace_position": int(gripper.nearest_opening(np.array([width]))[0])}
    return {name: dict(zip(gripper.joint_names, gripper.joint_position[k].tolist(), strict=True)) for name, k in rows.items()}


FORMAT = GraspFormat(suffixes=(".yaml", ".yml"), read=_read, encode=_content)
