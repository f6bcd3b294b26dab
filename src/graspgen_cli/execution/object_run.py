"""One object from its mesh to its grasp file. The file, the settings and the seed decide what happens, never the order of the objects."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from graspgen_cli.dataset.graspgen_json import encode, read_grasp_file
from graspgen_cli.dataset.provenance import guess_provenance, simulation_provenance
from graspgen_cli.errors import GraspgenError
from graspgen_cli.execution.reports import ObjectReport, Phase, Status
from graspgen_cli.execution.rounds import FAILED, ObjectState, ObjectWork, fill_quotas, guess_missing, is_short, test_pending
from graspgen_cli.files import write_atomically
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.grippers.export import graspgen_offset
from graspgen_cli.guess.openings import fit_openings
from graspgen_cli.objects.load import default_cache, load_object
from graspgen_cli.records import GraspBatch, GraspDataset, Outcome
from graspgen_cli.settings.commands import GraspCommand
from graspgen_cli.validate.backend import Backend

BACKEND = "mujoco"


@dataclass(frozen=True)
class ObjectTask:
    """What to do for one object: everything that a worker needs besides the gripper."""

    object_id: str
    scale: float
    object_root: Path
    grasp_file: Path
    phase: Phase
    settings: GraspCommand


def run_object(task: ObjectTask, gripper: GripperShape, backend: Backend) -> ObjectReport:
    """Does the task and reports; whatever goes wrong with the object becomes a report with status FAILED."""
    start = time.perf_counter()
    try:
        report = _run(task, gripper, backend)
    except GraspgenError as error:
        report = failure_report(task, str(error))
    except Exception as error:  # one object's failure is one object's failure
        report = failure_report(task, f"{task.object_id}: unexpected {type(error).__name__}: {error}".replace("\n", " "))
    return replace(report, seconds=time.perf_counter() - start)


def failure_report(task: ObjectTask, message: str) -> ObjectReport:
    """The report of an object of which nothing was made."""
    return ObjectReport(
        object_id=task.object_id, status=Status.FAILED, held=0, failed=0, unvalidated=0, tested=0, message=message, seconds=0.0
    )


def _run(task: ObjectTask, gripper: GripperShape, backend: Backend) -> ObjectReport:
    settings = task.settings
    existing = _existing(task)
    if settings.load_guesses and existing is None:
        return _report(task, ObjectState(GraspBatch.empty(), 0), Status.SHORT, "no guesses on file; `graspgen fill` makes them")
    takes_up = settings.fill_grasps or settings.load_guesses
    if existing is not None and not takes_up:
        return _report(task, ObjectState(existing.grasps, 0), Status.KEPT, _why_kept(existing))
    if existing is not None and not settings.load_guesses and _is_full(task, existing.grasps):
        return _report(task, ObjectState(existing.grasps, 0), Status.KEPT, "file has its quotas")
    work = _prepare(task, gripper, backend)
    state = _advance(task, work, existing)
    if len(state.grasps) == 0:
        return _report(task, state, Status.SHORT, f"no grasp found, nothing written: {state.reason}")
    write_atomically(task.grasp_file, _content(task, work, state, existing))
    return _finished(task, state)


def _existing(task: ObjectTask) -> GraspDataset | None:
    """What the grasp file holds; None where there is none or it is to be made anew."""
    if task.settings.overwrite_grasps and not task.settings.load_guesses:
        return None
    return read_grasp_file(task.grasp_file) if task.grasp_file.exists() else None


def _why_kept(existing: GraspDataset) -> str:
    untested = existing.grasps.count(Outcome.UNVALIDATED)
    return f"file exists, {untested} guesses untested (--load-guesses tests them)" if untested else "file exists"


def _is_full(task: ObjectTask, grasps: GraspBatch) -> bool:
    pending = grasps.count(Outcome.UNVALIDATED) > 0 and task.phase is not Phase.GUESS
    return not pending and not is_short(task.settings, grasps)


def _prepare(task: ObjectTask, gripper: GripperShape, backend: Backend) -> ObjectWork:
    simulated = task.phase is not Phase.GUESS
    target = load_object(
        task.object_id,
        task.scale,
        root=task.object_root,
        approximation=task.settings.collision_approximation if simulated else None,
        cache=default_cache(),
    )
    return ObjectWork(target, ObjectShape(target), gripper, backend if simulated else None, task.settings)


def _advance(task: ObjectTask, work: ObjectWork, existing: GraspDataset | None) -> ObjectState:
    """The object's grasps after this phase."""
    state = _initial_state(existing)
    if task.settings.load_guesses:
        return _tested_again(work, state, existing)
    if task.phase is Phase.GUESS:
        return guess_missing(work, state)
    return fill_quotas(work, state)


def _initial_state(existing: GraspDataset | None) -> ObjectState:
    if existing is None:
        return ObjectState(GraspBatch.empty(), 0)
    tries = existing.provenance.get("tries", 0)
    return ObjectState(existing.grasps, tries if isinstance(tries, int) else 0)


def _tested_again(work: ObjectWork, state: ObjectState, existing: GraspDataset | None) -> ObjectState:
    """Tests what the file holds: geometric negatives stay, everything else is tried again. Our own guesses, still untested and made
    with the settings of this run, are then brought to their quotas as `all` would have done."""
    current = guess_provenance(work.target, work.gripper.gripper, work.settings)
    ours = existing is not None and existing.provenance.get("guess") == current
    untested = bool((state.grasps.outcome == Outcome.UNVALIDATED).any())
    if ours and untested:
        return fill_quotas(work, state)
    fitted = state.grasps if ours else fit_openings(work.shape, work.gripper, state.grasps)
    outcome = np.where(fitted.outcome == Outcome.COLLISION, Outcome.COLLISION, Outcome.UNVALIDATED).astype(np.int8)
    unlimited = replace(work, settings=work.settings.model_copy(update={"num_collision_free_grasps": len(fitted)}))
    return test_pending(unlimited, replace(state, grasps=replace(fitted, outcome=outcome)))


def _content(task: ObjectTask, work: ObjectWork, state: ObjectState, existing: GraspDataset | None) -> bytes:
    gripper, target = work.gripper.gripper, work.target
    guess: dict[str, Any] | Any = guess_provenance(target, gripper, task.settings)
    if existing is not None and existing.provenance.get("guess") != guess:
        # Poses that were made otherwise, or elsewhere: what the file said of them stays.
        guess = existing.provenance.get("guess")
    provenance: dict[str, Any] = {"guess": guess, "tries": state.tries, "object": {"repairs": list(target.repairs)}}
    if work.backend is not None:
        provenance["simulation"] = simulation_provenance(target, gripper, task.settings, BACKEND)
        provenance["object"] |= {"pieces": len(target.pieces), "mean_gap": target.mean_gap, "largest_gap": target.largest_gap}
    dataset = GraspDataset(
        object_id=task.object_id,
        scale=task.scale,
        gripper_name=gripper.name,
        gripper_width=gripper.width,
        gripper_depth=gripper.depth,
        grasps=state.grasps,
        provenance=provenance,
    )
    return encode(dataset, graspgen_offset(gripper))


def _finished(task: ObjectTask, state: ObjectState) -> ObjectReport:
    settings, grasps = task.settings, state.grasps
    wanted = Outcome.UNVALIDATED if task.phase is Phase.GUESS else Outcome.HELD
    lacks = []
    if grasps.count(Outcome.HELD, wanted) < settings.num_collision_free_grasps:
        kind = "guesses" if task.phase is Phase.GUESS else "held"
        lacks.append(f"{grasps.count(Outcome.HELD, wanted)} of {settings.num_collision_free_grasps} {kind}")
    if grasps.count(*FAILED) < settings.num_colliding_grasps:
        lacks.append(f"{grasps.count(*FAILED)} of {settings.num_colliding_grasps} failed")
    notes = [*lacks, *([state.reason] if lacks and state.reason else [])]
    if state.started_inside:
        notes.append(f"trials that began inside the gripper: {state.started_inside}")
    return _report(task, state, Status.SHORT if lacks else Status.MADE, "; ".join(notes))


def _report(task: ObjectTask, state: ObjectState, status: Status, message: str) -> ObjectReport:
    grasps = state.grasps
    return ObjectReport(
        object_id=task.object_id,
        status=status,
        held=grasps.count(Outcome.HELD),
        failed=grasps.count(*FAILED),
        unvalidated=grasps.count(Outcome.UNVALIDATED),
        tested=state.tested,
        message=message,
        seconds=0.0,
        tested_held=state.tested_held,
    )
