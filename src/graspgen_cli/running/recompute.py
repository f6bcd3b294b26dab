"""Every number of a grasp file made again, from the file, its provenance and the mesh, and compared with what the file says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.dataset.provenance import (
    GUESS_ONLY,
    Record,
    differences,
    gripper_options,
    guess_provenance,
    recorded_criterion,
    recorded_randomization,
    simulation_provenance,
)
from graspgen_cli.errors import GraspFileError, GraspgenError
from graspgen_cli.formats.graspgen_json import read_grasp_file
from graspgen_cli.geometry.collision import GripperShape, ObjectShape, in_collision
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.making.extras import add_hard_negatives, scores
from graspgen_cli.making.rounds import TRIED, ObjectState, ObjectWork, fill_quotas, guess_missing
from graspgen_cli.objects.load import load_object
from graspgen_cli.objects.scales import id_problem
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Measure, Outcome
from graspgen_cli.running.machine import usable_cores
from graspgen_cli.settings.commands import GraspCommand
from graspgen_cli.settings.judge_models import JudgeSettings
from graspgen_cli.settings.models import GripperSettings
from graspgen_cli.validate.contact import recorded_contact
from graspgen_cli.validate.engine import make_backend
from graspgen_cli.validate.judge import Rejudging
from graspgen_cli.validate.trials import run_trials

REPRODUCIBLE = "mujoco"
"""The engine whose trials end in the same bits every time."""


@dataclass(frozen=True)
class Recomputation:
    """What came of one file. grasps: how many were compared. differences: what comes out otherwise, a line each. notes: what could not be
    made again and why."""

    path: Path
    grasps: int
    differences: tuple[str, ...]
    notes: tuple[str, ...] = ()


def recompute_file(path: Path, *, meshes: Path) -> Recomputation:
    """Makes a file's numbers again: its pieces and gaps, and guesses, trials and labels as the runs made them that it records; where its
    grasps came from elsewhere, their trials alone.

    meshes: folder that the object's name starts from. Raises GraspgenError where file, mesh or gripper cannot be read.
    """
    dataset = read_grasp_file(path)
    if not dataset.provenance:
        return Recomputation(path, 0, (), ("another tool's file: it does not say how it was made",))
    try:
        settings = _recorded_settings(dataset.provenance)
        scored_by = recorded_criterion({"settings": dataset.provenance.get("robustness")})
    except (ValueError, TypeError) as error:
        raise GraspFileError(f"{path}: its provenance cannot be used ({str(error).splitlines()[0][:200]})") from error
    work = _work(dataset, settings, meshes)
    unlike, notes = _not_the_same(dataset, work)
    if unlike:
        return Recomputation(path, 0, tuple(unlike), tuple(notes))
    found = [*_object_differences(dataset, work)]
    again, why_not = _made_again(dataset, work)
    if again is None:
        return Recomputation(path, 0, tuple(found), (*notes, why_not))
    if again.tries != dataset.provenance.get("tries"):
        found.append(f"tries: {dataset.provenance.get('tries')} in the file, {again.tries} come out")
    work = replace(work, settings=work.settings.model_copy(update=dict(scored_by)))
    found += _grasp_differences(dataset, again.grasps, work)
    return Recomputation(path, len(dataset.grasps), tuple(found), (*notes, *([why_not] if why_not else [])))


def _recorded_settings(made: Record) -> GraspCommand:
    """The settings of the runs that made a file, but for what changed from run to run. Raises ValueError where the record is malformed."""
    values: dict[str, Any] = {}
    for part in ("guess", "simulation"):
        record = made.get(part) or {}
        values |= {name: value for name, value in record.get("settings", {}).items() if name in GraspCommand.model_fields}
    randomization = recorded_randomization(made.get("simulation") or {})
    if randomization is not None:
        values |= {"randomize": True, "seed": randomization.seed}
    backend = ((made.get("simulation") or {}).get("settings") or {}).get("backend", REPRODUCIBLE)
    values |= {"backend": backend, **made.get("gripper", {})}
    return GraspCommand.model_validate(values)


def _work(dataset: GraspDataset, settings: GraspCommand, meshes: Path) -> ObjectWork:
    if problem := id_problem(dataset.object_id):
        raise GraspFileError(f"{dataset.object_id[:80]!r} {problem}")
    simulated = bool(dataset.provenance.get("simulation"))
    gripper = GripperShape(load_gripper(dataset.gripper_name, options=GripperSettings(**gripper_options(settings))))
    target = load_object(
        dataset.object_id,
        dataset.scale,
        root=meshes,
        approximation=settings.collision_approximation if simulated else None,
        cache=None,  # what is there may have been made by another version
        max_surface_gap=settings.max_surface_gap,
        reach=gripper.reach(settings.reach),
    )
    backend = make_backend(REPRODUCIBLE, threads=usable_cores()) if simulated else None
    return ObjectWork(target, ObjectShape(target), gripper, backend, settings)


def _not_the_same(dataset: GraspDataset, work: ObjectWork) -> tuple[list[str], list[str]]:
    """Why the file's numbers cannot come out, and what may keep them from coming out: other versions of packages."""
    made, backend = dataset.provenance, work.settings.backend.value
    digests = {"object_digest": work.target.content_hash, "gripper_digest": work.gripper.gripper.content_hash}
    guess = guess_provenance(**digests, settings=work.settings)
    simulation = simulation_provenance(**digests, settings=work.settings, backend=backend, contact=recorded_contact(backend))
    found = dict.fromkeys(differences(made.get("guess"), guess) + differences(made.get("simulation"), simulation))
    versions = {**guess["versions"], **simulation["versions"]}
    of_versions = [line for line in found if line.partition(" ")[0] in versions]
    return [line for line in found if line not in of_versions], of_versions


def _object_differences(dataset: GraspDataset, work: ObjectWork) -> Iterator[str]:
    """What is on record of object and gripper, as far as the file has it."""
    target, gripper = work.target, work.gripper.gripper
    recorded = {**(dataset.provenance.get("object") or {}), "width": dataset.gripper_width, "depth": dataset.gripper_depth}
    now = {"repairs": list(target.repairs), "pieces": len(target.pieces), "width": gripper.width, "depth": gripper.depth}
    now |= {name: getattr(target, name) for name in ("mean_gap", "gap_95", "largest_gap")}
    for name, value in now.items():
        if name in recorded and recorded[name] != value:
            yield f"{name}: {recorded[name]} in the file, {value} comes out"


def _made_again(dataset: GraspDataset, work: ObjectWork) -> tuple[ObjectState | None, str]:
    """What comes out, the grasps in any order, or None; and what could not be made again."""
    made = dataset.provenance
    earlier = made.get("earlier") or []
    if any(record.get("simulation") for record in earlier):
        return None, "grasps: tried under other settings before (provenance.earlier), so that not all are of the settings on record"
    if work.backend is not None and work.settings.backend.value != REPRODUCIBLE:
        return None, f"grasps: the trials of {work.settings.backend} are not the same to the bit from run to run"
    if made.get("quotas") and made.get("guess"):
        return _as_the_runs_did(dataset, work), ""
    return _tried_again(dataset, work), "poses: they came from elsewhere, so only their trials were made again"


def _as_the_runs_did(dataset: GraspDataset, work: ObjectWork) -> ObjectState:
    """Guesses and trials, run after run, then judged by what counts now: the file may have been relabelled."""
    made, state = dataset.provenance, ObjectState(GraspBatch.empty(), 0)
    criterion = JudgeSettings()
    for run in made["quotas"]:
        limits = {name: run.get(name) for name in JudgeSettings.model_fields}
        settings = work.settings.model_copy(update={name: value for name, value in run.items() if name != GUESS_ONLY} | limits)
        work = replace(work, settings=settings)
        state = replace(state, grasps=_judged(state.grasps, settings, by_draws=criterion))
        criterion = _criterion(settings)
        state = guess_missing(work, state) if run.get(GUESS_ONLY) else add_hard_negatives(work, fill_quotas(work, state))
    simulation = made.get("simulation") or {}
    now = work.settings.model_copy(update=_recorded_judgement(simulation))
    return replace(state, grasps=_judged(state.grasps, now, by_draws=criterion))


def _recorded_judgement(simulation: Record) -> Record:
    """The criterion and the threshold by which the outcomes in a file were found."""
    randomization = recorded_randomization(simulation)
    threshold = {} if randomization is None else {"randomize_threshold": randomization.randomize_threshold}
    return {**dict(recorded_criterion(simulation)), **threshold}


def _criterion(settings: GraspCommand) -> JudgeSettings:
    return JudgeSettings(**settings.model_dump(include=set(JudgeSettings.model_fields)))


def _judged(grasps: GraspBatch, settings: GraspCommand, *, by_draws: JudgeSettings) -> GraspBatch:
    rejudging = Rejudging(_criterion(settings), by_draws, settings.randomize_threshold)
    return replace(grasps, outcome=rejudging.judge(grasps.outcome, grasps.measured))


def _tried_again(dataset: GraspDataset, work: ObjectWork) -> ObjectState:
    """The file's grasps with what their trials say; those in collision with what geometry says."""
    grasps, gripper = dataset.grasps, work.gripper.gripper
    outcome = grasps.outcome.copy()
    colliding = np.flatnonzero(outcome == Outcome.COLLISION)
    opening = gripper.nearest_opening(grasps.opening_width[colliding])
    hit = in_collision(work.shape, work.gripper, grasps.pose_gripper_in_object[colliding], opening)
    outcome[colliding[~hit]] = Outcome.UNVALIDATED
    tried = np.isin(grasps.outcome, TRIED)
    made = ObjectState(replace(grasps, outcome=outcome), dataset.provenance.get("tries", 0))
    if work.backend is None or not tried.any():
        return made
    settings = work.settings.model_copy(update={"max_num_grasps": 0})
    quality = grasps.measured.copy()
    quality[:, Measure.ROBUSTNESS] = np.nan
    result = run_trials(
        work.backend,
        gripper,
        work.target,
        replace(grasps, quality=quality)[tried],
        settings,
        criterion=settings,
        randomization=settings,
    ).grasps
    outcome[tried], quality[tried] = result.outcome, result.measured
    return replace(made, grasps=replace(grasps, outcome=outcome, quality=quality))


def _grasp_differences(dataset: GraspDataset, again: GraspBatch, scoring: ObjectWork) -> Iterator[str]:
    """Grasps are found again by their pose and opening, bit by bit, since a copy of a dataset may hold some of them only. scoring: with the
    criterion by which the file's grasps were scored."""
    grasps = dataset.grasps
    rows = {key: row for row, key in enumerate(_keys(again))}
    found = np.array([rows.get(key, -1) for key in _keys(grasps)])
    if (found < 0).any():
        yield f"poses: {(found < 0).sum()} of {len(grasps)} do not come out, first that of grasp {np.flatnonzero(found < 0)[0]}"
    if not dataset.provenance.get("subset") and len(again) != len(grasps):
        yield f"poses: {len(again)} grasps come out, the file has {len(grasps)}"
    there = np.flatnonzero(found >= 0)
    theirs, ours = grasps[there], again[found[there]]
    yield from _column(there, "outcome", theirs.outcome != ours.outcome)
    for measure in Measure:
        before = theirs.measured[:, measure]
        now = _scores_again(scoring, theirs) if measure is Measure.ROBUSTNESS else ours.measured[:, measure]
        yield from _column(there, f"quality.{measure.label}", (before != now) & ~(np.isnan(before) & np.isnan(now)))


def _scores_again(work: ObjectWork, grasps: GraspBatch) -> Floats:
    """(N,) of the grasps that the file has a score of: which runs asked for scores is not on record, and what they found held need not be
    held by the criterion that counts now."""
    found = np.full(len(grasps), np.nan)
    scored = ~np.isnan(grasps.measured[:, Measure.ROBUSTNESS])
    if work.backend is not None and scored.any():
        found[scored] = scores(work, grasps[scored])
    return found


def _column(rows: NDArray[np.intp], name: str, differ: NDArray[np.bool_]) -> Iterator[str]:
    if differ.any():
        yield f"{name}: {differ.sum()} of {len(rows)} grasps come out otherwise, first grasp {rows[differ][0]}"


def _keys(grasps: GraspBatch) -> list[bytes]:
    numbers = np.column_stack([grasps.pose_gripper_in_object.reshape(len(grasps), 16), grasps.opening_width]) + 0.0
    return [row.tobytes() for row in numbers]


def recompute_some(paths: list[Path], count: int, *, meshes: Path) -> Iterator[Recomputation]:
    """At most `count` of the files, evenly over their order; what cannot be read becomes a difference."""
    count = min(count, len(paths))
    for path in (paths[number * len(paths) // count] for number in range(count)):
        try:
            yield recompute_file(path, meshes=meshes)
        except GraspgenError as error:
            yield Recomputation(path, 0, (str(error),))
