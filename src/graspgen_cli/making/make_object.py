"""One object from its mesh to its grasp file. The file, the settings and the seed decide what happens, never the order of the objects."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from graspgen_cli.dataset.locks import ObjectLocks
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.dataset.provenance import Record, differences, gripper_options, guess_provenance, simulation_provenance
from graspgen_cli.errors import GraspgenError
from graspgen_cli.files import default_cache, write_atomically
from graspgen_cli.formats.format import Entry
from graspgen_cli.formats.graspgen_json import encode, read_grasp_file
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.geometry.convex import allowed_gap, least_allowed_gap
from graspgen_cli.grippers.export import graspgen_offset
from graspgen_cli.guess.place import fit_openings
from graspgen_cli.making.extras import (
    STEP,
    STEP_TURN,
    add_hard_negatives,
    add_robustness,
    missing_hard_negatives,
    robustness_record,
    without_scores,
)
from graspgen_cli.making.given_grasps import read_given
from graspgen_cli.making.reports import ObjectReport, Phase, Status
from graspgen_cli.making.rounds import FAILED, ObjectState, ObjectWork, fill_quotas, guess_missing, is_short, test_pending
from graspgen_cli.objects.load import load_object
from graspgen_cli.objects.read import content_hash
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Gripper, Measure, Outcome, TargetObject
from graspgen_cli.settings.commands import MakingSettings
from graspgen_cli.settings.trials import CollisionApproximation, SimulationSettings
from graspgen_cli.validate.engine import Backend
from graspgen_cli.validate.scene import recorded_contact


@dataclass(frozen=True)
class ObjectTask:
    """What to do for one object: everything that a worker needs besides the gripper. backend: the name of the engine that tries the
    grasps. source: where grasps of another tool are that are to be tried."""

    object_id: str
    scale: float
    object_root: Path
    paths: DatasetPaths
    file_name: str
    phase: Phase
    settings: MakingSettings
    backend: str
    source: Entry | None = None

    @property
    def grasp_file(self) -> Path:
        """The object's grasp file."""
        return self.paths.grasps / self.file_name


def run_object(task: ObjectTask, gripper: GripperShape, backend: Backend, locks: ObjectLocks) -> ObjectReport:
    """Does the task and reports; whatever goes wrong with the object becomes a report with status FAILED."""
    start = time.perf_counter()
    try:
        report = _run(task, gripper, backend, locks)
    except GraspgenError as error:
        report = failure_report(task, str(error))
    except Exception as error:  # one object's failure is one object's failure
        message = f"{task.object_id}: unexpected {type(error).__name__}: {error}".replace("\n", " ")
        report = replace(failure_report(task, message), traceback=traceback.format_exc())
    return replace(report, seconds=time.perf_counter() - start)


def failure_report(task: ObjectTask, message: str) -> ObjectReport:
    """The report of an object of which nothing was made."""
    return ObjectReport(
        object_id=task.object_id, status=Status.FAILED, held=0, failed=0, unvalidated=0, tested=0, message=message, seconds=0.0
    )


def _run(task: ObjectTask, gripper: GripperShape, backend: Backend, locks: ObjectLocks) -> ObjectReport:
    """Looks first without the lock, so that walking over finished objects is quick, then again with it."""
    existing = _existing(task, gripper.gripper)
    finished = _finished_before(task, existing, gripper.gripper)
    if finished is not None:
        return finished
    with locks.held(task.object_id) as mine:
        if not mine:
            return _report(task, ObjectState(GraspBatch.empty(), 0), Status.BUSY, "another run has it in hand")
        existing = _existing(task, gripper.gripper)
        return _finished_before(task, existing, gripper.gripper) or _make(task, gripper, backend, existing)


def _finished_before(task: ObjectTask, existing: GraspDataset | None, gripper: Gripper) -> ObjectReport | None:
    """The report of an object for which there is nothing to do; None where there is."""
    settings = task.settings
    if existing is None:
        if not settings.mode.load_guesses:
            return None
        return _report(task, ObjectState(GraspBatch.empty(), 0), Status.SHORT, "no guesses on file; the command fill makes them")
    if task.source is not None and task.grasp_file.exists() and not settings.mode.overwrite_grasps:
        return _report(task, ObjectState(existing.grasps, 0), Status.KEPT, _why_kept(task, existing, gripper))
    if settings.mode.load_guesses:
        return None
    if settings.mode.fill_grasps and not _is_full(task, existing.grasps):
        return None
    return _report(task, ObjectState(existing.grasps, 0), Status.KEPT, _why_kept(task, existing, gripper))


def _why_kept(task: ObjectTask, existing: GraspDataset, gripper: Gripper) -> str:
    """What is to be known of a file that is left as it is; empty where it is just what this run would have made."""
    guess, simulation = current_records(task, content_hash(task.object_root / task.object_id, task.scale), gripper)
    recorded = existing.provenance
    unlike = differences(recorded.get("guess"), guess) + differences(recorded.get("simulation"), simulation)
    untested = existing.grasps.count(Outcome.UNVALIDATED)
    notes = []
    if unlike:
        shown = "; ".join(dict.fromkeys(unlike[:3])) + ("; …" if len(unlike) > 3 else "")
        notes.append(f"made with other settings ({shown}); --overwrite-grasps makes it anew")
    if untested and task.phase is not Phase.GUESS:
        notes.append(f"{untested} guesses untested; --load-guesses tests them")
    return "; ".join(notes)


def current_records(task: ObjectTask, object_digest: str, gripper: Gripper) -> tuple[Record, Record]:
    """The provenance of guesses and of trials that this run would make."""
    settings, reach = task.settings, task.settings.reach.reach
    guess = guess_provenance(
        object_digest=object_digest, gripper_digest=gripper.content_hash, settings=settings.guess, pick_up=settings.pick_up, reach=reach
    )
    simulation = simulation_provenance(
        object_digest=object_digest,
        gripper_digest=gripper.content_hash,
        settings=settings.simulation,
        backend=task.backend,
        contact=recorded_contact(task.backend),
        reach=reach,
        criterion=settings.judge,
        randomization=settings.randomization,
    )
    return guess, simulation


def _make(task: ObjectTask, gripper: GripperShape, backend: Backend, existing: GraspDataset | None) -> ObjectReport:
    work = _prepare(task, gripper, backend)
    state = _advance(task, work, existing)
    if len(state.grasps) == 0:
        return _report(task, state, Status.SHORT, f"no grasp found, nothing written: {state.reason}")
    write_atomically(task.grasp_file, _content(task, work, state, existing))
    return _finished(task, state, work.target)


def _existing(task: ObjectTask, gripper: Gripper) -> GraspDataset | None:
    """What the grasp file holds, or the file that is to be tried; None where there is none or it is to be made anew."""
    if task.source is not None and (task.settings.mode.overwrite_grasps or not task.grasp_file.exists()):
        return read_given(task.source, gripper, task.object_root)
    if task.settings.mode.overwrite_grasps and not task.settings.mode.load_guesses:
        return None
    return read_grasp_file(task.grasp_file) if task.grasp_file.exists() else None


def _is_full(task: ObjectTask, grasps: GraspBatch) -> bool:
    pending = grasps.count(Outcome.UNVALIDATED) > 0 and task.phase is not Phase.GUESS
    lacking = task.phase is not Phase.GUESS and missing_hard_negatives(task.settings.extras.hard_negatives, grasps) > 0
    return not pending and not lacking and not is_short(task.settings.quotas, grasps)


def _prepare(task: ObjectTask, gripper: GripperShape, backend: Backend) -> ObjectWork:
    simulated = task.phase is not Phase.GUESS
    target = load_object(
        task.object_id,
        task.scale,
        root=task.object_root,
        approximation=task.settings.simulation.collision_approximation if simulated else None,
        cache=default_cache(),
        max_surface_gap=task.settings.simulation.max_surface_gap,
        reach=gripper.reach(task.settings.reach.reach),
    )
    return ObjectWork(target, ObjectShape(target), gripper, backend if simulated else None, task.settings)


def _advance(task: ObjectTask, work: ObjectWork, existing: GraspDataset | None) -> ObjectState:
    """The object's grasps after this phase."""
    state = _initial_state(existing)
    if (
        existing is not None
        and task.settings.extras.robustness
        and existing.provenance.get("robustness") != robustness_record(task.settings.judge)
    ):
        state = without_scores(state)
    if task.settings.mode.load_guesses:
        guess, _ = current_records(task, work.target.content_hash, work.gripper.gripper)
        return _with_extras(work, _tested_again(work, state, ours=_is_ours(existing, guess), fills=_fills(task, existing, guess)))
    if task.phase is Phase.GUESS:
        return guess_missing(work, state)
    return _with_extras(work, fill_quotas(work, state))


def _with_extras(work: ObjectWork, state: ObjectState) -> ObjectState:
    """What is done beyond the quotas, where it is asked for."""
    return add_robustness(work, add_hard_negatives(work, state))


def _initial_state(existing: GraspDataset | None) -> ObjectState:
    if existing is None:
        return ObjectState(GraspBatch.empty(), 0)
    tries = existing.provenance.get("tries", 0)
    return ObjectState(existing.grasps, tries if isinstance(tries, int) else 0)


def _is_ours(existing: GraspDataset | None, guess: Record) -> bool:
    """Whether the file's guesses are those of this run's settings."""
    return existing is not None and existing.provenance.get("guess") == guess


def _fills(task: ObjectTask, existing: GraspDataset | None, guess: Record) -> bool:
    """Whether guesses are made where they are missing: always, but for files that are only to be tested, unless they hold guesses of this
    run's settings of which some are untested yet."""
    untested = existing is not None and existing.grasps.count(Outcome.UNVALIDATED) > 0
    return not task.settings.mode.load_guesses or (_is_ours(existing, guess) and untested)


def _tested_again(work: ObjectWork, state: ObjectState, *, ours: bool, fills: bool) -> ObjectState:
    """Tests what the file holds: geometric negatives stay, everything else is tried again. ours: whether it holds guesses made with the
    settings of this run. fills: whether they are then brought to their quotas as `all` would have done."""
    if fills:
        return fill_quotas(work, state)
    fitted = state.grasps if ours else fit_openings(work.shape, work.gripper, state.grasps)
    outcome = np.where(fitted.outcome == Outcome.COLLISION, Outcome.COLLISION, Outcome.UNVALIDATED).astype(np.int8)
    unlimited = replace(work, settings=work.settings.updated(num_collision_free_grasps=len(fitted)))
    return test_pending(unlimited, replace(state, grasps=replace(fitted, outcome=outcome, quality=_offsets(fitted))))


def _offsets(grasps: GraspBatch) -> Floats:
    """What is known of grasps besides what their trials said."""
    known = np.full_like(grasps.measured, np.nan)
    columns = [Measure.OFFSET, Measure.OFFSET_TURN]
    known[:, columns] = grasps.measured[:, columns]
    return known


def _content(task: ObjectTask, work: ObjectWork, state: ObjectState, existing: GraspDataset | None) -> bytes:
    gripper = work.gripper.gripper
    dataset = GraspDataset(
        object_id=task.object_id,
        scale=task.scale,
        gripper_name=gripper.name,
        gripper_width=gripper.width,
        gripper_depth=gripper.depth,
        grasps=state.grasps,
        provenance=_provenance(task, work, state, existing),
    )
    return encode(dataset, graspgen_offset(gripper))


def _provenance(task: ObjectTask, work: ObjectWork, state: ObjectState, existing: GraspDataset | None) -> Record:
    """How the grasps came about. Where grasps of an existing file were kept or tried again, what it said of them stays on record."""
    target = work.target
    guess, simulation = current_records(task, target.content_hash, work.gripper.gripper)
    before: Record = existing.provenance if existing is not None else {}
    earlier = _earlier(task, existing, guess, simulation)
    made: Record = {
        # Poses that were made otherwise, or elsewhere, and were only tried again, keep what the file said of them.
        "guess": before.get("guess") if existing is not None and task.settings.mode.load_guesses else guess,
        "tries": state.tries,
        "object": {"repairs": list(target.repairs)},
    }
    if options := gripper_options(task.settings.gripper):
        made["gripper"] = options
    if work.backend is not None:
        made["simulation"] = simulation
        if task.settings.extras.hard_negatives:
            made["hard_negatives"] = {"seed": task.settings.guess.seed, "step": STEP, "step_turn": STEP_TURN}
        if task.settings.extras.robustness:
            made["robustness"] = robustness_record(task.settings.judge)
        for name, measure in (("hard_negatives", Measure.OFFSET), ("robustness", Measure.ROBUSTNESS)):
            if name in before and not np.isnan(state.grasps.measured[:, measure]).all():
                made.setdefault(name, before[name])
        gaps = {"mean_gap": target.mean_gap, "gap_95": target.gap_95, "largest_gap": target.largest_gap}
        made["object"] |= {"pieces": len(target.pieces), **gaps}
    return {**made, "earlier": earlier} if earlier else made


def _earlier(task: ObjectTask, existing: GraspDataset | None, guess: Record, simulation: Record) -> list[Record]:
    """What is kept of the records that this run replaces: the outcomes before, of the file's grasps in their order, under the record
    of their trials; nothing where those were made as this run makes them, or never tried."""
    if existing is None:
        return []
    kept = existing.provenance.get("earlier")
    kept = list(kept) if isinstance(kept, list) else []
    replaced = existing.provenance.get("simulation")
    foreign = not existing.provenance and task.settings.mode.load_guesses
    if not foreign and not differences(replaced, simulation) and not differences(existing.provenance.get("guess"), guess):
        return kept
    outcomes = [Outcome(o).label for o in existing.grasps.outcome]
    return [*kept, {"guess": existing.provenance.get("guess"), "simulation": replaced, "outcome": outcomes}]


def _finished(task: ObjectTask, state: ObjectState, target: TargetObject) -> ObjectReport:
    settings, grasps = task.settings, state.grasps
    wanted = Outcome.UNVALIDATED if task.phase is Phase.GUESS else Outcome.HELD
    lacks = []
    if grasps.count(Outcome.HELD, wanted) < settings.quotas.num_collision_free_grasps:
        kind = "guesses" if task.phase is Phase.GUESS else "held"
        lacks.append(f"{grasps.count(Outcome.HELD, wanted)} of {settings.quotas.num_collision_free_grasps} {kind}")
    if grasps.count(*FAILED) < settings.quotas.num_colliding_grasps:
        lacks.append(f"{grasps.count(*FAILED)} of {settings.quotas.num_colliding_grasps} failed")
    lacking = 0 if task.phase is Phase.GUESS else missing_hard_negatives(settings.extras.hard_negatives, grasps)
    if lacking > 0:
        lacks.append(f"{settings.extras.hard_negatives - lacking} of {settings.extras.hard_negatives} hard negatives")
    notes = [*lacks, *([state.reason] if lacks and state.reason else [])]
    if state.started_inside:
        notes.append(f"trials that began inside the gripper: {state.started_inside}")
    if gap := _wide_gap(target, settings.simulation):
        notes.append(gap)
    if state.turned_down:
        notes.append("turned down: " + ", ".join(f"{count} {rule}" for rule, count in state.turned_down.items()))
    return _report(task, state, Status.SHORT if lacks else Status.MADE, "; ".join(notes))


def _wide_gap(target: TargetObject, settings: SimulationSettings) -> str:
    """In words, that a decomposition stands farther off the mesh than it may; empty where it does not."""
    if settings.collision_approximation is not CollisionApproximation.CONVEX_DECOMPOSITION:
        return ""
    if target.largest_gap <= least_allowed_gap(target.mesh, settings.max_surface_gap):  # spares most objects the exact one
        return ""
    allowed = allowed_gap(target.mesh, settings.max_surface_gap)
    if not target.largest_gap > allowed:
        return ""
    return f"convex pieces stand up to {target.largest_gap * 1e3:.2f} mm off the mesh, {allowed * 1e3:.2f} mm were asked for"


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
