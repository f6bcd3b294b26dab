"""Objects and scales as grasps of any format state them, such as GraspGen's published dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from graspgen_cli.dataset.collection import open_collection
from graspgen_cli.dataset.object_grasps import DamagedFile
from graspgen_cli.objects.scales import ScalesList, id_problem, scale_problem
from graspgen_cli.settings.handoff_models import NameSource


def scales_of_grasps(
    path: Path, *, names: NameSource, suffix: str, on_start: Callable[[int], None], on_object: Callable[[str], None]
) -> ScalesList:
    """The scale at which the grasps of each object were made, by id. What cannot be read or used, and objects of which the files give
    several scales, are in `problems`. Raises InputError where there is nothing to read."""
    collection = open_collection(path)
    on_start(len(collection.entries))
    scales: dict[str, float] = {}
    problems = [(damaged.path.name, f"{damaged.path}: {damaged.reason}") for damaged in collection.damaged]
    for entry, (object_id, found) in zip(collection.entries, collection, strict=True):
        name = _named(entry.name if names is NameSource.UUID else object_id, suffix)
        if isinstance(found, DamagedFile):
            problems.append((name, f"{found.path}: {found.reason}"))
        else:
            reason = _problem(name, found.dataset.scale, scales)
            if reason:
                problems.append((name, f"{entry.shown}: {name!a} {reason}"))
            else:
                scales[name] = found.dataset.scale
        on_object(name)
    return ScalesList(tuple(sorted(scales.items())), tuple(problems))


def _named(name: str, suffix: str) -> str:
    return name if PurePosixPath(name).suffix else name + suffix


def _problem(name: str, scale: float, scales: dict[str, float]) -> str:
    known = scales.get(name, scale)
    different = f"has the scale {scale:g} here and {known:g} elsewhere; the first is kept" if known != scale else ""
    return id_problem(name) or scale_problem(scale) or different
