"""Makes the list of objects and scales: from a folder of meshes, or from the scales that grasp files state."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import orjson

from graspgen_cli.dataset.collection import open_collection, read_entry
from graspgen_cli.errors import GraspFileError, InputError, ObjectError, OutputError
from graspgen_cli.files import write_atomically
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.guess.proposals import seeded_generator
from graspgen_cli.objects.read import EXTENT_LIMITS, MESH_SUFFIXES, read_extents
from graspgen_cli.objects.read_usd import USD_SUFFIXES
from graspgen_cli.objects.scales import ScalesList, id_problem, scale_problem
from graspgen_cli.records import Floats
from graspgen_cli.settings.commands import ObjectScalesCommand
from graspgen_cli.settings.datasets import NameSource, ScalesSettings

FIT = 0.8
"""Largest share of the widest opening for the smallest extent of an object: the rest is clearance for the approach."""
_MOST_FILES = 2_000_000

OnStart = Callable[[int], None]
OnObject = Callable[[str], None]


@dataclass(frozen=True)
class ScaleRule:
    """How the scale of an object follows from its size.

    metres_per_unit: m per mesh unit. factors: bounds of the random factor. max_extent, opening: upper bounds of the largest extent and,
    with FIT, of the smallest, m; None: no bound.
    """

    metres_per_unit: float
    seed: int
    factors: tuple[float, float] | None = None
    max_extent: float | None = None
    opening: float | None = None

    def scale(self, object_id: str, extents: Floats) -> float:
        """The scale of an object with these extents (3,) in mesh units: m per mesh unit times the random factor, within the bounds."""
        scale = self.metres_per_unit * self._factor(object_id)
        if self.max_extent is not None:
            scale = min(scale, self.max_extent / float(extents.max()))
        smallest = float(extents.min())
        if self.opening is not None and smallest > 0:
            scale = min(scale, FIT * self.opening / smallest)
        return float(f"{scale:.9g}")

    def _factor(self, object_id: str) -> float:
        """The random factor, by the seed and the id of the object alone."""
        if self.factors is None:
            return 1.0
        low, high = np.log(self.factors)
        return float(np.exp(seeded_generator(self.seed, object_id.encode()).uniform(low, high)))


def scale_meshes(folder: Path, rule: ScaleRule, *, on_start: OnStart, on_object: OnObject) -> ScalesList:
    """The scales of all meshes in a folder. The id of an object is its path in the folder. Raises InputError if there is no mesh."""
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
    """Sorted paths of the mesh files in a folder and its subfolders, relative to it. Links to folders are not followed."""
    if not folder.is_dir():
        raise InputError("no such folder", path=folder, advice="name the folder of the meshes with --object-dataset")
    known = (*MESH_SUFFIXES, *USD_SUFFIXES)
    found: list[str] = []
    for name, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        inside = Path(name).relative_to(folder)
        found += [(inside / file).as_posix() for file in files if Path(file).suffix.lower() in known and not file.startswith(".")]
        if len(found) > _MOST_FILES:
            raise InputError(f"more than {_MOST_FILES} meshes", path=folder, advice="name a folder with fewer")
    if not found:
        raise InputError("no meshes in it", path=folder, advice=f"there is {' '.join(known)}")
    return sorted(found)


def _scale(folder: Path, object_id: str, rule: ScaleRule) -> float:
    wrong = id_problem(object_id)
    if wrong:
        raise ObjectError(f"{object_id!a} {wrong}")
    extents = read_extents(folder / object_id)
    largest = float(extents.max())
    if largest <= 0:
        raise ObjectError("all its faces lie in one point", path=folder / object_id, advice="export the mesh again")
    scale = rule.scale(object_id, extents)
    low, high = EXTENT_LIMITS
    if not low <= largest * scale <= high or scale_problem(scale):
        size = f"{largest * scale:.3g} m"
        raise ObjectError(
            f"would be {size} large, not {low:g} to {high:g} m", path=folder / object_id, advice="give its --unit, or --max-extent"
        )
    return scale


def scales_of_grasps(path: Path, settings: ScalesSettings, *, on_start: OnStart, on_object: OnObject) -> ScalesList:
    """The scales that grasp files state. Unreadable files and objects with several scales are in `problems`. Raises InputError if there is
    no file to read."""
    collection = open_collection(path)
    on_start(len(collection.entries))
    scales: dict[str, float] = {}
    problems = [(Path(error.path or "").name, error.summary) for error in collection.damaged]
    for entry in collection.entries:
        name = _with_suffix(entry.name, settings)
        try:
            dataset = read_entry(entry).dataset
            name = _with_suffix(entry.name if settings.object_names is NameSource.UUID else dataset.object_id, settings)
            if reason := _problem(name, dataset.scale, scales):
                raise GraspFileError(f"{name!a} {reason}", path=entry.shown)
            scales[name] = dataset.scale
        except GraspFileError as error:
            problems.append((name, error.summary))
        on_object(name)
    return ScalesList(tuple(sorted(scales.items())), tuple(problems))


def _with_suffix(name: str, settings: ScalesSettings) -> str:
    return name if PurePosixPath(name).suffix else name + (settings.mesh_suffix or "")


def _problem(name: str, scale: float, scales: dict[str, float]) -> str:
    known = scales.get(name, scale)
    different = f"has the scale {scale:g} here and {known:g} elsewhere; the first is kept" if known != scale else ""
    return id_problem(name) or scale_problem(scale) or different


def make_scales(settings: ObjectScalesCommand, *, on_start: OnStart, on_object: OnObject) -> ScalesList:
    """Writes the scales file and returns its content, with the objects that were left out as problems.

    on_start: gets the number of objects. on_object: gets each name. Raises SettingsError, InputError or OutputError if nothing is written.
    """
    chosen, file = settings.scales, settings.scales.scales_file
    if file.exists() and not chosen.overwrite_scales:
        raise OutputError("exists", path=file, advice="choose another --scales-file, or replace it with --overwrite-scales")
    source = chosen.from_graspgen or settings.meshes.object_dataset
    if chosen.from_graspgen is not None:
        listed = scales_of_grasps(source, chosen, on_start=on_start, on_object=on_object)
    else:
        listed = scale_meshes(source, _rule(settings), on_start=on_start, on_object=on_object)
    if not listed.entries:
        raise InputError(f"no object can be used, {listed.problems[0][1]}", path=source)
    write_atomically(file, orjson.dumps(dict(listed.entries), option=orjson.OPT_INDENT_2) + b"\n")
    return listed


def _rule(settings: ObjectScalesCommand) -> ScaleRule:
    gripper = load_gripper(settings.gripper.gripper_config, options=settings.gripper) if settings.scales.fit_to_gripper else None
    return ScaleRule(
        metres_per_unit=settings.scales.unit.metres,
        seed=settings.random.seed,
        factors=settings.scales.random_scale,
        max_extent=settings.scales.max_extent,
        opening=None if gripper is None else gripper.width,
    )
