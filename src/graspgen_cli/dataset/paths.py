"""The folders and files of a dataset, and the names of grasp files."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from graspgen_cli.errors import InputError
from graspgen_cli.formats.format import GRASP_SUFFIX

LONGEST_STEM = 120
"""bytes of a base name that are kept: file systems allow 255 for the whole name."""


@dataclass(frozen=True)
class DatasetPaths:
    """The folders and files of one gripper's dataset in `root`."""

    root: Path
    gripper: str

    @property
    def grasps(self) -> Path:
        """Folder of the grasp files."""
        return self.root / "grasp_data" / self.gripper

    @property
    def object_map(self) -> Path:
        """The trainer's list of the grasp files."""
        return self.grasps / "map_uuid_to_path.json"

    @property
    def splits(self) -> Path:
        """Folder of the training and validation lists."""
        return self.root / "splits" / self.gripper

    @property
    def config(self) -> Path:
        """Folder of the gripper config if there is no GraspGen checkout."""
        return self.root / "config" / "grippers"

    @property
    def index(self) -> Path:
        """The index. Not beside the grasp files, where the trainer reads every JSON file as one."""
        return self.root / "index" / f"{self.gripper}.json"

    @property
    def quarantine(self) -> Path:
        """Folder of the broken grasp files that `doctor --repair` moved."""
        return self.root / "quarantine" / self.gripper

    @property
    def locks(self) -> Path:
        """Folder of the files that runs lock."""
        return self.root / "locks" / self.gripper

    @property
    def failures(self) -> Path:
        """Log of the failed objects, with the traceback."""
        return self.root / "failures" / f"{self.gripper}.jsonl"

    @property
    def run_log(self) -> Path:
        """Log of the runs: times, paths, failures."""
        return self.root / "runs.jsonl"


def gripper_names(root: Path, *parts: str) -> list[str]:
    """The grippers with a folder in one of these folders of a dataset, sorted. Raises InputError for a folder that cannot be read."""
    try:
        folders = [folder for part in parts if (root / part).is_dir() for folder in (root / part).iterdir() if folder.is_dir()]
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=root, advice="check the path and its permissions") from error
    return sorted({folder.name for folder in folders if not folder.name.startswith(".")})


def grasp_file_names(scales: Iterable[tuple[str, float]], taken: Mapping[str, str]) -> dict[str, str]:
    """File name of each object: ``<base name>.<scale>.grasps.json``, with a digest of the object id if two objects share the name.

    scales: (object id, scale); their order does not matter. taken: object id -> name of an existing file, which stays.
    """
    pairs = list(scales)
    plain = {object_id: _plain_name(object_id, scale) for object_id, scale in pairs}
    claims = Counter(_alike(name) for name in plain.values())
    foreign = {_alike(name) for object_id, name in taken.items() if object_id not in plain}
    names = {}
    for object_id, name in plain.items():
        unique = claims[_alike(name)] == 1 and _alike(name) not in foreign
        names[object_id] = taken.get(object_id) or (name if unique else _marked_name(name, object_id))
    return names


def _alike(name: str) -> str:
    """Equal for names that some file systems do not distinguish: by case, or by the encoding of accents."""
    return unicodedata.normalize("NFC", name).casefold()


def _plain_name(object_id: str, scale: float) -> str:
    stem = PurePosixPath(object_id.replace("\\", "/")).stem
    shown = "".join("_" if ord(c) < 32 or c in '<>:"|?*' else c for c in stem)
    name = f"{shown}.{scale!r}{GRASP_SUFFIX}"
    if len(shown.encode()) <= LONGEST_STEM and not shown.startswith("."):
        return name
    kept = shown.lstrip(".").encode()[:LONGEST_STEM].decode(errors="ignore") or "object"
    return _marked_name(f"{kept}.{scale!r}{GRASP_SUFFIX}", object_id)


def _marked_name(name: str, object_id: str) -> str:
    digest = hashlib.sha256(object_id.encode()).hexdigest()[:12]
    return f"{name.removesuffix(GRASP_SUFFIX)}.{digest}{GRASP_SUFFIX}"
