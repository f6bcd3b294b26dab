"""New outcomes for grasps that were tried before, by another criterion and the measures in the files, without simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from graspgen_cli.dataset.locks import object_lock
from graspgen_cli.dataset.object_map import read_object_map
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.dataset.provenance import Provenance, StepRecord
from graspgen_cli.errors import GraspFileError, InputError
from graspgen_cli.files import write_atomically
from graspgen_cli.formats.format import offset_pose, offset_values
from graspgen_cli.formats.graspgen_json import decode, encode, read_document
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.records import GraspDataset, Outcome
from graspgen_cli.settings.commands import RelabelCommand
from graspgen_cli.settings.fields import command_line
from graspgen_cli.settings.trials import JudgeSettings
from graspgen_cli.validate.judge import Rejudging


@dataclass(frozen=True)
class RelabelledObject:
    """One object. file: name of its file; held_before, held: held grasps before and now; changed: grasps with a new outcome;
    without_numbers: tried grasps without the measures for the criterion."""

    object_id: str
    file: str
    held_before: int
    held: int
    changed: int
    without_numbers: int


@dataclass(frozen=True)
class Relabelling:
    """The relabelled objects, and a line for each unreadable file."""

    objects: tuple[RelabelledObject, ...]
    broken: tuple[str, ...]


def relabel_dataset(settings: RelabelCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> Relabelling:
    """Judges the grasps of every file of the gripper's dataset again, in place. The measures stay, so another call can undo the change.

    Raises InputError if there is no dataset, OutputError if a file cannot be written.
    """
    paths = DatasetPaths(settings.dataset.grasp_dataset, load_gripper(settings.gripper.gripper_config, options=settings.gripper).name)
    entries = read_object_map(paths)
    if not entries:
        advice = f"run `{command_line('all', settings)}` first, or name another --grasp-dataset"
        raise InputError("no grasp files", path=paths.grasps, advice=advice)
    on_start(len(entries))
    objects, broken = [], []
    for object_id, name in sorted(entries.items()):
        try:
            with object_lock(paths, object_id, wait=True):
                objects.append(_relabel_file(paths.grasps / name, settings.judge, settings.threshold.randomize_threshold))
        except GraspFileError as error:
            broken.append(str(error))
        on_object(object_id)
    return Relabelling(tuple(objects), tuple(broken))


def _relabel_file(path: Path, criterion: JudgeSettings, threshold: float) -> RelabelledObject:
    """Writes the file if an outcome or the record changes. Raises GraspFileError if the file is damaged."""
    document = read_document(path)
    before = decode(path, document)
    rejudging = _rejudging(path, before, criterion, threshold)
    now = relabelled(before, rejudging)
    if now.provenance != before.provenance or (now.grasps.outcome != before.grasps.outcome).any():
        offset = offset_pose((document.get("gripper") or {}).get("transform_offset_from_asset_to_graspgen_convention"))
        write_atomically(path, encode(now, None if offset is None else offset_values(offset), beside=_not_ours(document)))
    tried = np.isin(before.grasps.outcome, (Outcome.HELD, Outcome.DROPPED))
    judged = rejudging.can_judge(before.grasps.outcome, before.grasps.measured)
    return RelabelledObject(
        object_id=before.object_id,
        file=path.name,
        held_before=before.grasps.count(Outcome.HELD),
        held=now.grasps.count(Outcome.HELD),
        changed=int((now.grasps.outcome != before.grasps.outcome).sum()),
        without_numbers=int((tried & ~judged).sum()),
    )


def _rejudging(path: Path, dataset: GraspDataset, criterion: JudgeSettings, threshold: float) -> Rejudging:
    simulation = _simulation(dataset)
    try:
        by_draws = JudgeSettings() if simulation is None else simulation.criterion()
    except ValueError as error:
        raise GraspFileError("the record of its trials cannot be read", path=path, advice="make it anew with --overwrite-grasps") from error
    return Rejudging(criterion, by_draws, threshold)


def relabelled(dataset: GraspDataset, rejudging: Rejudging) -> GraspDataset:
    """The dataset with outcomes by the criterion. The record of the trials then names the criterion, as if they had been judged by it,
    unless no grasp has the measures for it."""
    grasps, simulation, provenance = dataset.grasps, _simulation(dataset), dataset.provenance
    if simulation is not None and simulation.settings and rejudging.can_judge(grasps.outcome, grasps.measured).any():
        provenance = {**provenance, "simulation": simulation.judged_by(rejudging.criterion, rejudging.threshold).document()}
    outcome = rejudging.judge(grasps.outcome, grasps.measured)
    return replace(dataset, grasps=replace(grasps, outcome=outcome), provenance=provenance)


def _simulation(dataset: GraspDataset) -> StepRecord | None:
    made = Provenance.of(dataset)
    return made.simulation if made else None


def _not_ours(document: dict[str, Any]) -> dict[str, Any]:
    """The other keys of the file, which stay as they are."""
    return {key: value for key, value in document.items() if key != "provenance"}
