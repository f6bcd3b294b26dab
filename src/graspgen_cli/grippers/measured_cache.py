"""Measured grippers kept on disk, by the content of the files that they were made from. Never needed, only faster."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from graspgen_cli.errors import OutputError
from graspgen_cli.files import default_cache, read_bounded, write_atomically
from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.records import Gripper, TriangleMesh

ALGORITHM = 3
"""Goes up whenever the same files measure otherwise than before: kept grippers are then made anew."""


def load_measured(main: Path, key: str) -> Gripper | None:
    """The gripper kept for a file and options; None where there is none, it is broken, or any file that it was made from changed."""
    try:
        with np.load(_place(main, key), allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
        record = json.loads(content["record"].tobytes())
        if record["files"] != _digests(main, [main.parent / name for name in record["files"]]):
            return None
        return _gripper(record, content)
    except (OSError, ValueError, KeyError, IndexError, EOFError, TypeError, AttributeError, zipfile.BadZipFile):
        return None


def store_measured(main: Path, key: str, gripper: Gripper, files: tuple[Path, ...]) -> None:
    """Keeps a gripper. A folder that cannot be written is no error."""
    with contextlib.suppress(OSError, ValueError, OutputError):
        buffer = io.BytesIO()
        np.savez(buffer, **_content(gripper, _digests(main, list(files))))
        write_atomically(_place(main, key), buffer.getvalue())


def _place(main: Path, key: str) -> Path:
    digest = hashlib.sha256(f"{ALGORITHM} {mujoco.__version__} {main.name} {key}\n".encode())
    digest.update(read_bounded(main))
    return default_cache() / "grippers" / f"{digest.hexdigest()}.npz"


def _digests(main: Path, files: list[Path]) -> dict[str, str]:
    """Each file by its way from the main one, with the digest of its content."""
    return {os.path.relpath(file, main.parent): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _content(gripper: Gripper, files: dict[str, str]) -> dict[str, Any]:
    """The arrays of a gripper by name, and everything else as JSON under `record`."""
    values = {field.name: getattr(gripper, field.name) for field in fields(gripper)}
    assets, parts = values.pop("assets"), values.pop("collision_parts")
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    plain: dict[str, Any] = {name: value for name, value in values.items() if name not in arrays}
    meshes = [part for body in parts for part in body]
    arrays["part_counts"] = np.array([len(body) for body in parts])
    arrays["mesh_counts"] = np.array([[len(mesh.vertices), len(mesh.faces)] for mesh in meshes]).reshape(-1, 2)
    arrays["vertices"] = np.concatenate([np.zeros((0, 3)), *(mesh.vertices for mesh in meshes)])
    arrays["faces"] = np.concatenate([np.zeros((0, 3), np.int32), *(mesh.faces for mesh in meshes)])
    for number, content in enumerate(assets.values()):
        arrays[f"asset_{number}"] = np.frombuffer(content, np.uint8)
    record = json.dumps({"files": files, "assets": list(assets), "plain": plain})
    return {"record": np.frombuffer(record.encode(), np.uint8), **arrays}


def _gripper(record: dict[str, Any], content: dict[str, Any]) -> Gripper:
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in record["plain"].items()}
    assets = {name: content[f"asset_{number}"].tobytes() for number, name in enumerate(record["assets"])}
    stored = {field.name for field in fields(Gripper)}
    arrays: dict[str, Any] = {name: value for name, value in content.items() if name in stored}
    return Gripper(**plain, **arrays, assets=assets, collision_parts=_parts(content))


def _parts(content: dict[str, Any]) -> tuple[tuple[TriangleMesh, ...], ...]:
    ends = np.cumsum(content["mesh_counts"], axis=0)[:-1]
    if len(content["mesh_counts"]) == 0:
        return tuple(() for _ in content["part_counts"])
    pairs = zip(np.split(content["vertices"], ends[:, 0]), np.split(content["faces"], ends[:, 1]), strict=True)
    meshes = iter([triangle_mesh(corners, faces) for corners, faces in pairs])
    return tuple(tuple(next(meshes) for _ in range(count)) for count in content["part_counts"])
