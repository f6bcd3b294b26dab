"""isaac_grasp YAML 1.0: one object's grasps as Isaac Sim's grasp editor, Isaac ROS and GraspDataGen write them.

Source: the "Isaac Grasp File" page of the Isaac ROS documentation and GraspDataGen's docs/components/grasp-sim.md. ``position`` (m) and
``orientation`` {w, xyz} are the pose of the gripper's frame in the object's; ``confidence`` 0 is a failed grasp. The frame fields come
as ``gripper_frame`` and ``object_frame`` or with ``_link`` behind, the version as a number or as text.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from graspgen_cli.dataset.object_grasps import IsaacFields, ObjectGrasps, Values, finite, offset_pose
from graspgen_cli.errors import GraspFileError
from graspgen_cli.files import MOST_VALUES, read_bounded
from graspgen_cli.geometry.poses import pose, rotation_from_wxyz
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Outcome

FORMAT = "isaac_grasp"
OWN_FIELD = "graspgen"
"""Our own mapping at the top level of the files that we write: gripper, provenance."""
_GUESSER = "grasp_guess"
"""``created_with`` of files whose grasps were never simulated: confidence 1 is a free guess there, and 0 one in collision."""
_LARGEST = 1 << 26
"""bytes: YAML takes ten times the time and memory of JSON."""
_DEEPEST = 8
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_OUTCOMES = {outcome.label: outcome for outcome in Outcome}
_MALFORMED = (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError, RecursionError, MemoryError)
"""What an arbitrary document can lead the reader to."""


def read_isaac_grasps(path: Path) -> ObjectGrasps:
    """Reads an isaac_grasp file. Raises GraspFileError, in one line, for whatever is none or cannot be used."""
    import yaml

    try:
        document = _load(read_bounded(path, largest=_LARGEST))
    except yaml.YAMLError as error:
        raise GraspFileError(f"{path}: not valid YAML ({' '.join(str(error).split())[:160]})") from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        problem = getattr(error, "strerror", None) or " ".join(str(error).split())[:160] or type(error).__name__
        raise GraspFileError(f"{path}: cannot be read as YAML ({problem})") from error
    try:
        return _decoded(document, path)
    except _MALFORMED as error:
        problem = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split()) or type(error).__name__
        raise GraspFileError(f"{path}: not an isaac_grasp file ({problem[:200]})") from error


def _load(content: bytes) -> Any:
    """The plain values of a YAML text, which is looked at event by event before anything is built from it: no references, for they
    can stand for more than memory holds, no depth, and no more values than JSON may have."""
    import yaml

    # The C parser is ten times as fast; both refuse every tag that could build an object.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = content.decode("utf-8-sig")
    depth = 0
    for values, event in enumerate(yaml.parse(text, Loader=loader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"line {event.start_mark.line + 1} refers to another value (*{event.anchor}); write it out")
        if depth > _DEEPEST or values > MOST_VALUES:
            raise ValueError(f"nested more than {_DEEPEST} deep, or more than {MOST_VALUES} values")
    return yaml.load(text, Loader=loader)


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
        grasps=_batch(listed, guessed=header.get("created_with") == _GUESSER),
        provenance=provenance if isinstance(provenance, dict) else {},
    )
    return dataset, tuple(notes)


def _batch(listed: list[dict[str, Any]], *, guessed: bool) -> GraspBatch:
    positions = np.array([_vector(grasp["position"], 3, "position") for grasp in listed])
    quaternions_wxyz = np.array([_quaternion_wxyz(grasp["orientation"]) for grasp in listed])
    widths = [_number(grasp.get("opening_width", np.nan), "opening_width", finite_only=False) for grasp in listed]
    outcomes = [_outcome(grasp, guessed=guessed) for grasp in listed]
    return GraspBatch(pose(rotation_from_wxyz(quaternions_wxyz), positions), np.array(widths), np.array(outcomes, np.int8))


def _outcome(grasp: Values, *, guessed: bool) -> Outcome:
    """The outcome that we wrote, where it does not contradict the confidence; else what the confidence says."""
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
