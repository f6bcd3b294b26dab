"""isaac_grasp YAML 1.0: one object's grasps as Isaac Sim's grasp editor, Isaac ROS and GraspDataGen write them.

Source: the "Isaac Grasp File" page of the Isaac ROS documentation and GraspDataGen's docs/components/grasp-sim.md. ``position`` (m) and
``orientation`` {w, xyz} are the pose of the gripper's frame in the object's; ``confidence`` 0 is a failed grasp. The frame fields come
as ``gripper_frame`` and ``object_frame`` or with ``_link`` behind, the version as a number or as text.

Grasps as the text of an isaac_grasp file: what was read from one comes out again as it was."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from graspgen_cli import __version__
from graspgen_cli.errors import GraspFileError
from graspgen_cli.files import load_plain_yaml, read_bounded
from graspgen_cli.formats.object_grasps import IsaacFields, ObjectGrasps, Values, finite, offset_pose, offset_values
from graspgen_cli.geometry.poses import is_rotation, pose, quaternion_wxyz, rotation_from_wxyz
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Gripper, Outcome

FORMAT = "isaac_grasp"
OWN_FIELD = "graspgen"
"""Our own mapping at the top level of the files that we write: gripper, provenance."""
_GUESSER = "grasp_guess"
"""``created_with`` of files whose grasps were never simulated: confidence 1 is a free guess there, and 0 one in collision."""
_LARGEST = 1 << 26
"""bytes: YAML takes ten times the time and memory of JSON."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_OUTCOMES = {outcome.label: outcome for outcome in Outcome}
_MALFORMED = (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError, RecursionError, MemoryError)
"""What an arbitrary document can lead the reader to."""


def read_isaac_grasps(path: Path) -> ObjectGrasps:
    """Reads an isaac_grasp file. Raises GraspFileError, in one line, for whatever is none or cannot be used."""
    try:
        document = load_plain_yaml(read_bounded(path, largest=_LARGEST))
    except (OSError, ValueError) as error:
        raise GraspFileError(f"{path}: cannot be read as YAML ({getattr(error, 'strerror', None) or error})") from error
    try:
        return _decoded(document, path)
    except _MALFORMED as error:
        problem = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split()) or type(error).__name__
        raise GraspFileError(f"{path}: not an isaac_grasp file ({problem[:200]})") from error


def _decoded(document: Any, path: Path) -> ObjectGrasps:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"it does not say `format: {FORMAT}`")
    if str(document.get("format_version", "1.0")) not in ("1", "1.0"):
        raise ValueError(f"format_version {str(document['format_version'])[:20]}; 1.0 can be read")
    if not isinstance(document.get("grasps"), dict):
        raise ValueError("no mapping `grasps`")
    if not document["grasps"]:
        raise ValueError("it holds no grasps")
    header = _plain({key: value for key, value in document.items() if key != "grasps"})
    names = [str(name) for name in document["grasps"]]
    listed = [_plain(_mapping(grasp, name)) for name, grasp in zip(names, document["grasps"].values(), strict=True)]
    own = header.get(OWN_FIELD)
    own = own if isinstance(own, dict) else {}
    dataset, notes = _dataset(header, own, listed, path)
    return ObjectGrasps(
        dataset=dataset,
        gripper_frame=frame(header, "gripper") or "base",
        pose_graspgen_in_gripper=offset_pose(own.get("transform_offset")),
        isaac=IsaacFields(header, tuple({"name": name, **_without_position(grasp)} for name, grasp in zip(names, listed, strict=True))),
        notes=notes,
    )


def is_guessed(header: Values) -> bool:
    """Whether the file holds guesses that were never simulated."""
    return header.get("created_with") == _GUESSER


def frame(header: Values, of: str) -> str:
    """What the file calls the frame of the ``gripper`` or the ``object``, in either spelling; empty where it does not say."""
    return str(header.get(f"{of}_frame_link") or header.get(f"{of}_frame") or "")


def _mapping(value: object, name: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"grasp {name[:40]} is no mapping")
    return value


def _plain(value: Any) -> Any:
    """The value as JSON can hold it; YAML has dates and keys of any type besides."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"a value of the type {type(value).__name__}")


def _without_position(grasp: Values) -> dict[str, Any]:
    return {key: value for key, value in grasp.items() if key != "position"}


def _dataset(header: Values, own: Values, listed: list[dict[str, Any]], path: Path) -> tuple[GraspDataset, tuple[str, ...]]:
    notes = []
    object_id = header.get("object_file")
    if not object_id:
        object_id = path.stem
        notes.append(f"names no object_file; the object is called {object_id} after the file")
    if not isinstance(object_id, str):
        raise ValueError("object_file is not the name of a file")
    object_id.encode()
    given_scale = header.get("object_scale")
    if given_scale is None:
        notes.append("gives no object_scale; 1 is assumed")
    scale = 1.0 if given_scale is None else _number(given_scale, "object_scale")
    if scale <= 0:
        raise ValueError("object_scale is not positive")
    gripper, provenance = own.get("gripper"), own.get("provenance")
    gripper = gripper if isinstance(gripper, dict) else {}
    dataset = GraspDataset(
        object_id=object_id,
        scale=scale,
        gripper_name=str(gripper.get("name") or PurePosixPath(str(header.get("gripper_file") or "")).stem),
        gripper_width=_number(gripper.get("width", np.nan), "width", finite_only=False),
        gripper_depth=_number(gripper.get("depth", np.nan), "depth", finite_only=False),
        grasps=_batch(listed, guessed=is_guessed(header)),
        provenance=provenance if isinstance(provenance, dict) else {},
    )
    return dataset, tuple(notes)


def _batch(listed: list[dict[str, Any]], *, guessed: bool) -> GraspBatch:
    positions = np.array([_vector(grasp["position"], 3, "position") for grasp in listed])
    quaternions_wxyz = np.array([_quaternion_wxyz(grasp["orientation"]) for grasp in listed])
    widths = [_number(grasp.get("opening_width", np.nan), "opening_width", finite_only=False) for grasp in listed]
    outcomes = [stated_outcome(grasp, guessed=guessed) for grasp in listed]
    return GraspBatch(pose(rotation_from_wxyz(quaternions_wxyz), positions), np.array(widths), np.array(outcomes, np.int8))


def stated_outcome(grasp: Values, *, guessed: bool) -> Outcome:
    """The outcome that we wrote, where it does not contradict the confidence; else what the confidence says. Raises ValueError.

    guessed: the file holds guesses that were never simulated.
    """
    if "confidence" not in grasp:
        return Outcome.UNVALIDATED
    confidence = _number(grasp["confidence"], "confidence")
    own = _OUTCOMES.get(str(grasp.get("outcome")))
    if own is not None and (own in (Outcome.HELD, Outcome.UNVALIDATED)) is (confidence > 0):
        return own
    if guessed:
        return Outcome.UNVALIDATED if confidence > 0 else Outcome.COLLISION
    return Outcome.HELD if confidence > 0 else Outcome.DROPPED


def _number(value: object, what: str, *, finite_only: bool = True) -> float:
    """A number; YAML 1.1 takes 1e-5, without a point, for text."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if not finite_only and isinstance(value, float) and np.isnan(value):
        return value
    return finite(value, what)


def _vector(value: object, length: int, what: str) -> list[float]:
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{what} is not {length} numbers")
    return [_number(item, what) for item in value]


def _quaternion_wxyz(value: object) -> Floats:
    if not isinstance(value, Mapping):
        raise ValueError("orientation is not {w, xyz}")
    quaternion = np.array([_number(value["w"], "orientation.w"), *_vector(value["xyz"], 3, "orientation.xyz")])
    norm = float(np.linalg.norm(quaternion))
    # Hand-written files round to a few digits; further off, it is no rotation that anybody meant.
    if not abs(norm - 1.0) < 0.01:
        raise ValueError("orientation is not a unit quaternion")
    return quaternion / norm


_HEAD = (
    "# position (m) and orientation (w, xyz): pose of the gripper's frame in the frame of the object's mesh,"
    " after scaling by object_scale.\n"
    "# confidence 0 is a failed grasp; joint positions in rad or m.\n"
)
_POSITIVE = (Outcome.HELD, Outcome.UNVALIDATED)
_DERIVED = ("name", "position", "confidence", "outcome", "orientation", "opening_width")
"""Fields that are written from the grasps."""
_SAME = 1e-9
"""A quaternion that was read is written again where it gives the same rotation to within this."""


def isaac_text(found: ObjectGrasps, gripper: Gripper | None) -> bytes:
    """The file's content, UTF-8.

    gripper: where it is given, grasps with a known opening get ``pregrasp_cspace_position``, the joints at that opening, and
    ``cspace_position``, those of the closed gripper, unless they were read from a file.
    Raises ValueError for a pose that is no rigid transform, which a quaternion cannot say.
    """
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    document = {**_header(found), "grasps": dict(_grasps(found, gripper))}
    text = yaml.dump(document, Dumper=dumper, sort_keys=False, default_flow_style=None, width=1 << 20, allow_unicode=True)
    return (_HEAD + text).encode()


def _header(found: ObjectGrasps) -> dict[str, Any]:
    dataset = found.dataset
    if found.isaac is not None:
        header = {**found.isaac.header, "format": FORMAT}
    else:
        header = {"format": FORMAT, "format_version": "1.0", "created_with": f"graspgen-cli {__version__}"}
    if header.get("object_file") != dataset.object_id:
        header["object_file"] = dataset.object_id
    if header.get("object_scale") != dataset.scale:
        header["object_scale"] = dataset.scale
    if dataset.gripper_name:
        header.setdefault("gripper_file", dataset.gripper_name)
    if (frame(header, "gripper") or "base") != found.gripper_frame:
        header = {key: value for key, value in header.items() if key not in ("gripper_frame", "gripper_frame_link")}
        header["gripper_frame_link"] = found.gripper_frame
    own = _own(found)
    return {**header, OWN_FIELD: own} if own else header


def _own(found: ObjectGrasps) -> dict[str, Any]:
    """What the format has no field for; nothing where nothing is known."""
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
    grasps = found.dataset.grasps
    poses = grasps.pose_gripper_in_object
    wrong = np.flatnonzero(~is_rotation(poses))
    if len(wrong):
        raise ValueError(f"grasp {wrong[0]} is no rigid transform")
    quaternions = quaternion_wxyz(poses[:, :3, :3])
    guessed = found.isaac is not None and is_guessed(found.isaac.header)
    read = found.isaac.grasps if found.isaac is not None else tuple({"name": f"grasp_{i}"} for i in range(len(grasps)))
    joints = _joints(gripper, grasps.opening_width) if gripper is not None else [{}] * len(read)
    for i, fields in enumerate(read):
        stated = _stated(fields, Outcome(grasps.outcome[i]), guessed=guessed)
        where = {"position": poses[i, :3, 3].tolist(), "orientation": _orientation(fields.get("orientation"), poses[i], quaternions[i])}
        width = {"opening_width": float(grasps.opening_width[i])} if np.isfinite(grasps.opening_width[i]) else {}
        rest = {key: value for key, value in fields.items() if key not in _DERIVED}
        yield str(fields["name"]), {**stated, **where, **width, **joints[i], **rest}


def _stated(fields: Values, outcome: Outcome, *, guessed: bool) -> dict[str, Any]:
    """Confidence, and the outcome where the confidence alone would not bring it back."""
    confidence, positive = fields.get("confidence"), outcome in _POSITIVE
    if confidence is None and outcome is Outcome.UNVALIDATED:
        return {}
    stated = {"confidence": confidence if _means(confidence, positive) else float(positive)}
    needed = "outcome" in fields or stated_outcome(stated, guessed=guessed) is not outcome
    return {**stated, "outcome": outcome.label} if needed else stated


def _means(confidence: object, positive: bool) -> bool:
    """Whether a confidence that was read says just that; what is no number says nothing."""
    try:
        return (finite(confidence, "confidence") > 0) is positive
    except (ValueError, OverflowError):
        return False


def _orientation(read: object, pose: Floats, quaternion_wxyz: Floats) -> dict[str, Any]:
    """The orientation as it was read, where that is still the pose's; both signs of a quaternion mean the same."""
    if isinstance(read, dict):
        try:
            given = rotation_from_wxyz(np.array([[float(read["w"]), *map(float, read["xyz"])]]))[0]
            same = bool(np.abs(given - pose[:3, :3]).max() < _SAME)
        except (KeyError, TypeError, ValueError):
            same = False
        if same:
            return read
    return {"w": float(quaternion_wxyz[0]), "xyz": quaternion_wxyz[1:].tolist()}


def _joints(gripper: Gripper, widths: Floats) -> list[dict[str, dict[str, float]]]:
    """For each opening (N,) m the joints at it and those of the closed gripper; nothing where the opening is not known."""
    nearest = gripper.nearest_opening(np.nan_to_num(widths))
    closed = dict(zip(gripper.joint_names, gripper.joint_position[0].tolist(), strict=True))
    found: list[dict[str, dict[str, float]]] = []
    for width, k in zip(widths, nearest, strict=True):
        at_opening = dict(zip(gripper.joint_names, gripper.joint_position[k].tolist(), strict=True))
        found.append({"cspace_position": dict(closed), "pregrasp_cspace_position": at_opening} if np.isfinite(width) else {})
    return found
