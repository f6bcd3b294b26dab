"""One object from its mesh to its grasp file. The result depends on the mesh, the gripper, the settings and an existing file, never on the
order of the objects."""

from __future__ import annotations

import time
import traceback
from dataclasses import replace

import numpy as np

from graspgen_cli.dataset.convert import read_converted
from graspgen_cli.dataset.locks import ObjectLocks
from graspgen_cli.dataset.provenance import EarlierRun, Provenance, Record, StepRecord, differences, gripper_options
from graspgen_cli.errors import GraspgenError
from graspgen_cli.files import default_cache, write_atomically
from graspgen_cli.formats.graspgen_json import encode, read_grasp_file
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.geometry.convex import allowed_gap, least_allowed_gap
from graspgen_cli.grippers.export import graspgen_offset
from graspgen_cli.guess.place import fit_openings
from graspgen_cli.making.extras import STEP, STEP_TURN, add_hard_negatives, add_robustness, robustness_record, without_scores
from graspgen_cli.making.reports import ObjectReport, Status
from graspgen_cli.making.rounds import ObjectState, ObjectWork, fill_quotas, guess_missing, test_pending
from graspgen_cli.making.task import Counts, Existing, ObjectTask, OnFile, decide, missing, report
from graspgen_cli.objects.load import load_object
from graspgen_cli.objects.read import content_hash
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Gripper, Measure, Outcome, TargetObject
from graspgen_cli.settings.trials import CollisionApproximation, SimulationSettings
from graspgen_cli.validate.engine import Backend


def run_object(task: ObjectTask, gripper: GripperShape, backend: Backend, locks: ObjectLocks) -> ObjectReport:
    """Does the task and reports; any error becomes a report with status FAILED."""
    start = time.perf_counter()
    try:
        done = _run(task, gripper, backend, locks)
    except GraspgenError as error:
        done = failure_report(task, str(error))
    except Exception as error:  # An error of one object must not end the run.
        message = f"{task.object_id}: unexpected {type(error).__name__}: {error}".replace("\n", " ")
        done = replace(failure_report(task, message), traceback=traceback.format_exc())
    return replace(done, seconds=time.perf_counter() - start)


def failure_report(task: ObjectTask, message: str) -> ObjectReport:
    """The report of an object without a result."""
    return ObjectReport(object_id=task.object_id, status=Status.FAILED, message=message)


def _run(task: ObjectTask, gripper: GripperShape, backend: Backend, locks: ObjectLocks) -> ObjectReport:
    """Decides without the lock first, which is fast for finished objects, and again with it."""
    if done := _done(task, gripper.gripper, _existing(task)):
        return done
    with locks.held(task.object_id) as mine:
        if not mine:
            return ObjectReport(object_id=task.object_id, status=Status.BUSY, message="another run is making it")
        existing = _existing(task)
        return _done(task, gripper.gripper, existing) or _make(task, gripper, backend, existing)


def _existing(task: ObjectTask) -> GraspDataset | None:
    """The grasp file; None if there is none or the run replaces it."""
    return read_grasp_file(task.grasp_file) if task.plan.existing is not Existing.REPLACE and task.grasp_file.exists() else None


def _done(task: ObjectTask, gripper: Gripper, existing: GraspDataset | None) -> ObjectReport | None:
    """The report of an object that is done; None if there is work to do."""
    found = None
    if existing is not None:
        found = OnFile.of_dataset(task, existing, content_hash(task.object_root / task.object_id, task.scale), gripper.content_hash)
    decision = decide(task, found)
    counts = found.counts if found else Counts()
    return None if decision.status is None else report(task, decision.status, counts, decision.message)


def _make(task: ObjectTask, gripper: GripperShape, backend: Backend, existing: GraspDataset | None) -> ObjectReport:
    start = existing if task.source is None else read_converted(task.source, gripper.gripper, task.object_root).dataset
    before = None if start is None else Provenance.of(start)
    work = _prepare(task, gripper, backend)
    grasps = GraspBatch.empty() if start is None else start.grasps
    state = _advance(task, work, ObjectState(grasps, before.tries if before else 0), before)
    if len(state.grasps) == 0:
        return _report(task, state, Status.SHORT, f"no grasp found, nothing written: {state.reason}")
    made = _provenance(task, work, state, before, outcome=[Outcome(o).label for o in grasps.outcome])
    write_atomically(task.grasp_file, _content(task, gripper.gripper, state.grasps, made))
    return _made_report(task, state, work.target)


def _prepare(task: ObjectTask, gripper: GripperShape, backend: Backend) -> ObjectWork:
    simulates, settings = task.plan.simulates, task.settings.simulation
    target = load_object(
        task.object_id,
        task.scale,
        root=task.object_root,
        approximation=settings.collision_approximation if simulates else None,
        cache=default_cache(),
        max_surface_gap=settings.max_surface_gap,
        reach=gripper.reach(task.settings.reach.reach),
    )
    return ObjectWork(target, ObjectShape(target), gripper, backend if simulates else None, task.settings)


def _advance(task: ObjectTask, work: ObjectWork, state: ObjectState, before: Provenance | None) -> ObjectState:
    """The grasps of the object after this run. before: the provenance of the grasps that it starts from."""
    scored_so = before is not None and before.robustness == robustness_record(task.settings.judge)
    if task.settings.extras.robustness and not scored_so and len(state.grasps):
        state = without_scores(state)
    if not task.tries_given and not task.plan.simulates:
        return guess_missing(work, state)
    state = _retried(task, work, state, before) if task.tries_given else fill_quotas(work, state)
    return add_robustness(work, add_hard_negatives(work, state))


def _retried(task: ObjectTask, work: ObjectWork, state: ObjectState, before: Provenance | None) -> ObjectState:
    """Tries the grasps that exist again, except geometric negatives. If they are guesses of this run's settings and some are untested, the
    quotas are filled as well, as `all` would have done."""
    guess, _ = task.records(work.target.content_hash, work.gripper.gripper.content_hash)
    ours = before is not None and before.guess == guess
    if ours and state.grasps.count(Outcome.UNVALIDATED):
        return fill_quotas(work, state)
    fitted = state.grasps if ours else fit_openings(work.shape, work.gripper, state.grasps)
    outcome = np.where(fitted.outcome == Outcome.COLLISION, Outcome.COLLISION, Outcome.UNVALIDATED).astype(np.int8)
    all_held = replace(work, settings=work.settings.updated(num_collision_free_grasps=len(fitted)))
    return test_pending(all_held, replace(state, grasps=replace(fitted, outcome=outcome, quality=_offsets(fitted))))


def _offsets(grasps: GraspBatch) -> Floats:
    """The measures of grasps that do not come from trials; NaN for the others."""
    offsets = np.full_like(grasps.measured, np.nan)
    columns = [Measure.OFFSET, Measure.OFFSET_TURN]
    offsets[:, columns] = grasps.measured[:, columns]
    return offsets


def _content(task: ObjectTask, gripper: Gripper, grasps: GraspBatch, provenance: Provenance) -> bytes:
    dataset = GraspDataset(
        object_id=task.object_id,
        scale=task.scale,
        gripper_name=gripper.name,
        gripper_width=gripper.width,
        gripper_depth=gripper.depth,
        grasps=grasps,
        provenance=provenance.document(),
    )
    return encode(dataset, graspgen_offset(gripper))


def _provenance(task: ObjectTask, work: ObjectWork, state: ObjectState, before: Provenance | None, *, outcome: list[str]) -> Provenance:
    """How the grasps were made. outcome: labels of the grasps that the run started from; before: their provenance."""
    target, settings = work.target, task.settings
    guess, simulation = task.records(target.content_hash, work.gripper.gripper.content_hash)
    made = Provenance(
        # Poses that the run only tried keep the record of their guesses.
        guess=(before.guess if before else None) if task.tries_given else guess,
        tries=state.tries,
        object={"repairs": list(target.repairs)},
        gripper=gripper_options(settings.gripper),
        earlier=_earlier(task, before, guess, simulation, outcome),
    )
    if work.backend is None:
        return made
    steps = {"seed": settings.guess.seed, "step": STEP, "step_turn": STEP_TURN}
    old = before or Provenance()
    gaps = {"mean_gap": target.mean_gap, "gap_95": target.gap_95, "largest_gap": target.largest_gap}
    return replace(
        made,
        object=made.object | {"pieces": len(target.pieces), **gaps},
        simulation=simulation,
        hard_negatives=steps if settings.extras.hard_negatives else _if_measured(state, Measure.OFFSET, old.hard_negatives),
        robustness=robustness_record(settings.judge)
        if settings.extras.robustness
        else _if_measured(state, Measure.ROBUSTNESS, old.robustness),
    )


def _if_measured(state: ObjectState, measure: Measure, record: Record) -> Record:
    return {} if np.isnan(state.grasps.measured[:, measure]).all() else record


def _earlier(
    task: ObjectTask, before: Provenance | None, guess: StepRecord, simulation: StepRecord, outcome: list[str]
) -> tuple[EarlierRun, ...]:
    """The runs that made the grasps before. The last of them is added if its records differ from those of this run."""
    if before is None:
        return (EarlierRun(None, None, tuple(outcome)),) if task.tries_given else ()
    if not differences(before.simulation, simulation) and not differences(before.guess, guess):
        return before.earlier
    return (*before.earlier, EarlierRun(before.guess, before.simulation, tuple(outcome)))


def _made_report(task: ObjectTask, state: ObjectState, target: TargetObject) -> ObjectReport:
    lacks = missing(task, Counts.of(state.grasps))
    notes = [*lacks, *([state.reason] if lacks and state.reason else [])]
    if state.started_inside:
        notes.append(f"trials that began inside the gripper: {state.started_inside}")
    if gap := _wide_gap(target, task.settings.simulation):
        notes.append(gap)
    if state.turned_down:
        notes.append("turned down: " + ", ".join(f"{count} {rule}" for rule, count in state.turned_down.items()))
    return _report(task, state, Status.SHORT if lacks else Status.MADE, "; ".join(notes))


def _wide_gap(target: TargetObject, settings: SimulationSettings) -> str:
    """A warning if the convex pieces exceed the allowed distance from the mesh."""
    if settings.collision_approximation is not CollisionApproximation.CONVEX_DECOMPOSITION:
        return ""
    if target.largest_gap <= least_allowed_gap(target.mesh, settings.max_surface_gap):  # This bound is fast, and enough for most objects.
        return ""
    allowed = allowed_gap(target.mesh, settings.max_surface_gap)
    if not target.largest_gap > allowed:
        return ""
    return f"convex pieces stand up to {target.largest_gap * 1e3:.2f} mm off the mesh, {allowed * 1e3:.2f} mm were asked for"


def _report(task: ObjectTask, state: ObjectState, status: Status, message: str) -> ObjectReport:
    found = report(task, status, Counts.of(state.grasps), message)
    return replace(found, tested=state.tested, tested_held=state.tested_held)
