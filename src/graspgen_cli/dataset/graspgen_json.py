"""GraspGen's JSON form of one object's grasps.

The trainer reads ``object.file``, ``object.scale``, ``grasps.transforms`` and ``grasps.object_in_gripper`` (GraspGen,
docs/GRASP_DATASET_FORMAT.md) and ignores the keys that are ours: ``grasps.outcome``, ``grasps.opening_width``, ``provenance``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from graspgen_cli.errors import GraspFileError
from graspgen_cli.files import LARGEST_FILE
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Outcome

_LABELS = {outcome.label: outcome for outcome in Outcome}
_POSITIVE = (Outcome.UNVALIDATED, Outcome.HELD)
"""Outcomes that the trainer sees as positive: until they are tested, guesses free of collision count as grasps."""


def encode(dataset: GraspDataset, offset: tuple[list[float], list[float]]) -> bytes:
    """The file's content. `offset` is the gripper's translation and quaternion (xyzw) to GraspGen's convention.

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
            "object_in_gripper": np.isin(grasps.outcome, _POSITIVE).tolist(),
            "outcome": [Outcome(o).label for o in grasps.outcome],
            "opening_width": [None if np.isnan(w) else w for w in grasps.opening_width.tolist()],
        },
        "provenance": dataset.provenance,
    }
    return orjson.dumps(document) + b"\n"


def read_grasp_file(path: Path) -> GraspDataset:
    """Reads a grasp file, ours or another tool's. Raises GraspFileError naming the file and what is wrong with it."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise GraspFileError(f"{path}: larger than {LARGEST_FILE >> 30} GiB; not a grasp file")
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise GraspFileError(f"{path}: cannot be read as JSON ({error}); make it anew with --overwrite-grasps") from error
    try:
        return _decode(document)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        problem = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise GraspFileError(f"{path}: not a grasp file ({problem}); make it anew with --overwrite-grasps") from error


def _decode(document: Any) -> GraspDataset:
    if not isinstance(document, dict):
        raise ValueError("the top level is not an object")
    grasps, gripper = document["grasps"], document.get("gripper") or {}
    poses = np.asarray(grasps["transforms"], dtype=np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise ValueError(f"grasps.transforms has shape {poses.shape}, not (N, 4, 4)")
    provenance = document.get("provenance") or {}
    if not isinstance(provenance, dict):
        raise ValueError("provenance is not an object")
    object_id, scale = document["object"]["file"], document["object"]["scale"]
    if not isinstance(object_id, str) or isinstance(scale, bool) or not isinstance(scale, int | float):
        raise ValueError("object.file is not a string or object.scale not a number")
    return GraspDataset(
        object_id=object_id,
        scale=float(scale),
        gripper_name=str(gripper.get("name", "")),
        gripper_width=float(gripper.get("width", np.nan)),
        gripper_depth=float(gripper.get("depth", np.nan)),
        grasps=GraspBatch(poses, _openings(grasps, len(poses)), _outcomes(grasps, len(poses))),
        provenance=provenance,
    )


def _openings(grasps: dict[str, Any], count: int) -> Floats:
    listed = grasps.get("opening_width")
    if listed is None:
        return np.full(count, np.nan)
    openings = np.array([np.nan if w is None else float(w) for w in listed])
    if len(openings) != count:
        raise ValueError(f"{len(openings)} opening widths for {count} grasps")
    return openings


def _outcomes(grasps: dict[str, Any], count: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Outcomes by name where they are given; else from the trainer's flags, which say only held or not."""
    flags = grasps["object_in_gripper"]
    if not isinstance(flags, list) or not all(isinstance(flag, bool) for flag in flags):
        raise ValueError("grasps.object_in_gripper is not a list of true and false")
    names = grasps.get("outcome")
    if names is None:
        outcomes = [Outcome.HELD if flag else Outcome.DROPPED for flag in flags]
    else:
        unknown = sorted({str(name) for name in names} - set(_LABELS))
        if unknown:
            raise ValueError(f"unknown outcome {unknown[0]}; there is {', '.join(_LABELS)}")
        outcomes = [_LABELS[name] for name in names]
    if not len(outcomes) == len(flags) == count:
        raise ValueError(f"{len(outcomes)} outcomes and {len(flags)} flags for {count} grasps")
    return np.array(outcomes, dtype=np.int8)
