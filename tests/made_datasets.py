"""Datasets made in the tests, without any work on objects."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from graspgen_cli import __version__
from graspgen_cli.dataset.object_map import read_object_map, write_object_map
from graspgen_cli.dataset.paths import DatasetPaths, grasp_file_names
from graspgen_cli.dataset.splits import update_splits
from graspgen_cli.formats.graspgen_json import encode
from graspgen_cli.formats.json_text import CHECKSUM, checksum
from graspgen_cli.records import GraspBatch, GraspDataset, Outcome

OFFSET = ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])
GRIPPER = "robotiq_2f_85"


def grasp_dataset(object_id: str, *, scale: float = 1.0, gripper: str = GRIPPER, outcomes: Iterable[Outcome] | None = None) -> GraspDataset:
    """Six held grasps and two failed ones in a row, unless told otherwise."""
    found = [Outcome.HELD] * 6 + [Outcome.COLLISION, Outcome.DROPPED] if outcomes is None else list(outcomes)
    poses = np.tile(np.eye(4), (len(found), 1, 1))
    poses[:, 0, 3] = np.arange(len(found)) * 0.01
    grasps = GraspBatch(poses, np.full(len(found), 0.05), np.array(found, np.int8))
    record = {"digest": "0" * 64, "object_digest": "1" * 64, "gripper_digest": "2" * 64, "versions": {"graspgen-cli": __version__}}
    return GraspDataset(object_id, scale, gripper, 0.085, 0.13, grasps, {"guess": record, "simulation": record, "tries": 1})


def make_dataset(root: Path, object_ids: Iterable[str], *, gripper: str = GRIPPER) -> DatasetPaths:
    """A whole and sound dataset: grasp files, map, splits."""
    paths = DatasetPaths(root, gripper)
    paths.grasps.mkdir(parents=True)
    names = grasp_file_names([(object_id, 1.0) for object_id in object_ids], {})
    for object_id, name in names.items():
        (paths.grasps / name).write_bytes(encode(grasp_dataset(object_id, gripper=gripper), OFFSET))
        make_older(paths.grasps / name)
    write_object_map(paths, read_object_map(paths))
    update_splits(paths.splits, sorted(names), fraction=0.3, seed=0)
    return paths


def make_older(path: Path, seconds: float = 600.0) -> None:
    """Puts the time of change into the past, so that the index trusts the file."""
    past = time.time() - seconds
    os.utime(path, (past, past))


def change_unseen(path: Path, content: bytes) -> None:
    """Gives a file other content of the same length and the same time of change: the index takes the file for the one that it knows."""
    status = path.stat()
    assert len(content) == status.st_size
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def document(object_id: str = "a.obj") -> dict[str, Any]:
    """A grasp file's content as plain values."""
    return dict(json.loads(encode(grasp_dataset(object_id), OFFSET)))


def signed(content: dict[str, Any]) -> bytes:
    """The content with a checksum that matches, as a careless writer would make it."""
    return json.dumps({**content, CHECKSUM: checksum(content)}).encode()


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a dataset but the index, the logs and the locks, which say when and who."""
    files = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    return {name: content for name, content in files.items() if not name.startswith(("index", "locks", "failures", "runs.jsonl"))}
