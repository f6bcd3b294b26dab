"""Grasp files as other tools write them, made in the tests from the facts of their formats."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from graspgen_cli.geometry.poses import pose, quaternion_wxyz
from graspgen_cli.records import Floats


def random_poses(count: int, seed: int = 0) -> Floats:
    """(N, 4, 4) rigid transforms."""
    rng = np.random.default_rng(seed)
    rotations, _ = np.linalg.qr(rng.normal(size=(count, 3, 3)))
    rotations[:, :, 0] *= np.linalg.det(rotations)[:, None]
    return pose(rotations, rng.normal(size=(count, 3)) * 0.1)


def datagen_document(object_id: str = "cups/mug.obj", *, count: int = 8, scale: float = 0.5, seed: int = 0) -> dict[str, Any]:
    """What GraspDataGen writes: neither outcomes nor openings, checksum or provenance; every fourth grasp failed."""
    return {
        "object": {"file": object_id, "scale": scale},
        "gripper": {
            "name": "robotiq_2f_85",
            "file_name": "bots/robotiq_2f_85.usd",
            "width": 0.087,
            "depth": 0.13,
            "transform_offset_from_asset_to_graspgen_convention": [[0.0, 0.0, 0.0], [0.0, 0.0, 0.7071067811865476, 0.7071067811865476]],
        },
        "grasps": {
            "transforms": random_poses(count, seed).tolist(),
            "object_in_gripper": [index % 4 != 3 for index in range(count)],
        },
    }


def write_datagen(root: Path, object_ids: list[str], *, gripper: str = "robotiq_2f_85") -> Path:
    """A dataset as GraspDataGen leaves it; returns the folder of the grasp files."""
    folder = root / "grasp_data" / gripper
    folder.mkdir(parents=True)
    names = {object_id: f"{Path(object_id).stem}.0.5.grasps.json" for object_id in object_ids}
    for seed, (object_id, name) in enumerate(names.items()):
        (folder / name).write_text(json.dumps(datagen_document(object_id, seed=seed), indent=2))
    (folder / "map_uuid_to_path.json").write_text(json.dumps(names, indent=2))
    return folder


def isaac_document(*, count: int = 5, spelling: str = "gripper_frame_link", version: object = "1.0", **fields: Any) -> dict[str, Any]:
    """What grasp_sim of GraspDataGen writes; every third grasp failed."""
    poses = random_poses(count, seed=3)
    grasps = {
        f"grasp_{index}_7": {
            "confidence": 0.0 if index % 3 == 2 else 1.0,
            "position": poses[index, :3, 3].tolist(),
            "orientation": {"w": float(q[0]), "xyz": q[1:].tolist()},
            "cspace_position": {"finger_joint": 0.1 * index, "other_joint": -0.2},
            "bite_point": [0.0, 0.01, 0.12],
            "pregrasp_cspace_position": {"finger_joint": 0.0, "other_joint": 0.0},
            "pregrasp_bite_point": [0.0, 0.02, 0.11],
        }
        for index, q in enumerate(quaternion_wxyz(poses[:, :3, :3]))
    }
    header = {
        "format": "isaac_grasp",
        "format_version": version,
        "created_with": "grasp_sim",
        "object_file": "cups/mug.obj",
        "object_scale": 0.5,
        "gripper_file": "bots/onrobot_rg6.usd",
        spelling: "base_frame",
        "open_limit": "lower",
        "finger_colliders": ["right_inner_finger", "left_inner_finger"],
        "bite_point": [0.0, 0.01, 0.12],
    }
    return {**header, **fields, "grasps": grasps}


def write_yaml(path: Path, document: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def write_shard(path: Path, members: dict[str, bytes]) -> Path:
    """A tar with these members, as any tool may write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_webdataset(folder: Path, object_ids: list[str]) -> Path:
    """GraspGen's published form: one shard an object, uuids without a dot."""
    index = {}
    for number, object_id in enumerate(object_ids):
        uuid = Path(object_id).stem
        content = json.dumps(datagen_document(object_id, seed=number)).encode()
        write_shard(folder / f"shard_{number:03d}.tar", {f"{uuid}.grasps.json": content, f"{uuid}.integer_id": b"7"})
        index[uuid] = number
    (folder / "uuid_index.json").write_text(json.dumps(index))
    return folder


def write_acronym(path: Path, *, count: int = 10, **changed: Any) -> Path:
    """An HDF5 file of ACRONYM's layout; every second grasp failed."""
    import h5py

    fields = {
        "grasps/transforms": random_poses(count),
        "grasps/qualities/flex/object_in_gripper": np.arange(count) % 2,
        "gripper/type": "panda",
        "gripper/configuration": np.array([0.04]),
        "object/file": "meshes/Mug/10f6.obj",
        "object/scale": 0.25,
    }
    with h5py.File(path, "w") as file:
        for name, value in {**fields, **changed}.items():
            if value is not None:
                file[name] = value
    return path
