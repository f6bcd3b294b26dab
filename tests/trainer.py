"""What GraspGen's trainer does with a dataset, written from the facts of its readers: which files it opens, what it takes for an
object, what it raises on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

FEWEST_POSITIVES = 5


def read_dataset(dataset: Path, gripper: str, objects: Path) -> dict[str, tuple[trimesh.Trimesh, np.ndarray, np.ndarray]]:
    """Object id -> mesh (m), held poses (P, 4, 4), failed poses (Q, 4, 4), for every object of both splits."""
    grasps = dataset / "grasp_data" / gripper
    assert not list(grasps.glob("*.tar")), "a tar makes the trainer read the folder as WebDataset"
    listed = json.loads((grasps / "map_uuid_to_path.json").read_text())
    found = {}
    for split in ("train", "valid"):
        for line in (dataset / "splits" / gripper / f"{split}.txt").read_text().splitlines():
            found[line.strip()] = read_object(json.loads((grasps / listed[line.strip()]).read_text()), objects)
    return found


def read_object(document: dict[str, Any], objects: Path) -> tuple[trimesh.Trimesh, np.ndarray, np.ndarray]:
    """One grasp file."""
    loaded = trimesh.load(objects / document["object"]["file"])
    mesh = loaded.to_geometry() if isinstance(loaded, trimesh.Scene) else loaded
    mesh.apply_scale(document["object"]["scale"])
    poses = np.array(document["grasps"]["transforms"])
    mask = np.array(document["grasps"]["object_in_gripper"])
    assert mask.dtype == bool, "integers would be taken for indices"
    assert poses.shape == (len(mask), 4, 4) and len(mask) > 0
    return mesh, poses[mask], poses[~mask]
