"""Scales for a folder of meshes: metres a mesh unit, and by how much each object is made smaller so that it can be gripped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graspgen_cli.errors import InputError, ObjectError
from graspgen_cli.objects.read import EXTENT_LIMITS, MESH_SUFFIXES, read_extents
from graspgen_cli.objects.read_usd import USD_SUFFIXES
from graspgen_cli.objects.scales import ScalesList, id_problem, scale_problem
from graspgen_cli.records import Floats

FIT = 0.8
"""Share of the widest opening that the smallest extent of an object may take: the rest is for the fingers' approach."""
_MOST_FILES = 2_000_000


@dataclass(frozen=True)
class ScaleRule:
    """How an object's scale follows from its size.

    metres_per_unit: m. factors: lowest and highest of the random factors. max_extent, opening: m; None where they do not matter.
    """

    metres_per_unit: float
    seed: int
    factors: tuple[float, float] | None = None
    max_extent: float | None = None
    opening: float | None = None

    def scale(self, object_id: str, extents: Floats) -> float:
        """Metres a mesh unit of an object of these extents (3,), in mesh units: the unit, times the random factor, and no more than the
        largest extent and the gripper's opening allow."""
        scale = self.metres_per_unit * self._factor(object_id)
        if self.max_extent is not None:
            scale = min(scale, self.max_extent / float(extents.max()))
        smallest = float(extents.min())
        if self.opening is not None and smallest > 0:
            scale = min(scale, FIT * self.opening / smallest)
        return float(f"{scale:.9g}")

    def _factor(self, object_id: str) -> float:
        """The object's own random factor: it depends on the seed and its id, not on which other objects there are."""
        if self.factors is None:
            return 1.0
        digest = hashlib.sha256(object_id.encode()).digest()
        words = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4))
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=words)))
        low, high = np.log(self.factors)
        return float(np.exp(rng.uniform(low, high)))


def scale_meshes(folder: Path, rule: ScaleRule, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> ScalesList:
    """The scale of every mesh under a folder, by id, which is the path in it. Raises InputError where there is no mesh."""
    object_ids = find_meshes(folder)
    on_start(len(object_ids))
    entries: list[tuple[str, float]] = []
    problems: list[tuple[str, str]] = []
    for object_id in object_ids:
        try:
            entries.append((object_id, _scale(folder, object_id, rule)))
        except ObjectError as error:
            problems.append((object_id, str(error)))
        on_object(object_id)
    return ScalesList(tuple(entries), tuple(problems))


def find_meshes(folder: Path) -> list[str]:
    """Paths, relative to the folder, of the mesh files in it and in its folders, sorted. Links to folders are not followed."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the folder of the meshes with --object-dataset")
    known = (*MESH_SUFFIXES, *USD_SUFFIXES)
    found: list[str] = []
    for name, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        inside = Path(name).relative_to(folder)
        found += [(inside / file).as_posix() for file in files if Path(file).suffix.lower() in known and not file.startswith(".")]
        if len(found) > _MOST_FILES:
            raise InputError(f"{folder}: more than {_MOST_FILES} meshes; name a folder with fewer")
    if not found:
        raise InputError(f"{folder}: no meshes in it; there is {' '.join(known)}")
    return sorted(found)


def _scale(folder: Path, object_id: str, rule: ScaleRule) -> float:
    wrong = id_problem(object_id)
    if wrong:
        raise ObjectError(f"{object_id!a} {wrong}")
    extents = read_extents(folder / object_id)
    largest = float(extents.max())
    if largest <= 0:
        raise ObjectError(f"{folder / object_id}: all its faces lie in one point; export the mesh again")
    scale = rule.scale(object_id, extents)
    low, high = EXTENT_LIMITS
    if not low <= largest * scale <= high or scale_problem(scale):
        size = f"{largest * scale:.3g} m"
        raise ObjectError(f"{folder / object_id}: would be {size} large, not {low:g} to {high:g} m; give its --unit, or --max-extent")
    return scale
