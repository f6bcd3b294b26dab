"""One object's grasps brought to their quotas: guess what is missing, try it, again until nothing is missing or the limit is met.

The state of this loop is the grasps and the number of tries made, both of which the grasp file holds. So a run that is stopped after
the guesses and taken up again ends in the same grasps as one that was not.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.guess.loop import GuessResult, make_guesses, near_duplicates
from graspgen_cli.records import GraspBatch, Measure, Outcome, TargetObject
from graspgen_cli.settings.commands import MakingSettings
from graspgen_cli.settings.guesses import QuotaSettings
from graspgen_cli.validate.engine import Backend
from graspgen_cli.validate.trials import TrialResult, run_trials

FAILED = (Outcome.COLLISION, Outcome.DROPPED, Outcome.UNSTABLE)
TRIED = (Outcome.HELD, Outcome.DROPPED, Outcome.UNSTABLE)
LEAST_HELD_RATE = 0.1
"""Held rate assumed where fewer are held, so that an object that nothing holds does not ask for guesses without end."""
MARGIN = 2.33
"""Deviations of the number of held grasps that a round allows for."""
MOST_SPARE = 2.0
"""How many times what is needed on average a round asks for at most."""
REPLACEMENTS = 5
"""Times that near-duplicates are replaced by new guesses before the round is left as it is."""
BARREN_ROUNDS = 10
"""Rounds of trials in a row without one held grasp after which an object is given up."""


@dataclass(frozen=True, eq=False)
class ObjectWork:
    """An object, a gripper and what is needed to guess and try grasps of one on the other."""

    target: TargetObject
    shape: ObjectShape
    gripper: GripperShape
    backend: Backend | None
    settings: MakingSettings


@dataclass(frozen=True, eq=False)
class ObjectState:
    """Where an object stands.

    tries: rounds of sampling made since the object's first.
    tested, tested_held, started_inside: grasps tried in this run, how many of them held, and how many began inside the gripper.
    turned_down: free guesses that each rule for picking up from a table turned down in this run.
    reason: why the last guesses fell short, in words; empty if they did not.
    """

    grasps: GraspBatch
    tries: int
    tested: int = 0
    tested_held: int = 0
    started_inside: int = 0
    turned_down: Counter[str] = field(default_factory=Counter)
    reason: str = ""


def guess_missing(work: ObjectWork, state: ObjectState) -> ObjectState:
    """Adds guesses for the held and failed grasps that are missing, as many as the held rate so far calls for with some to spare;
    near-duplicates of grasps that are there are replaced."""
    grasps = state.grasps
    # Hard negatives were made to be dropped; they say nothing of what guesses do.
    guessed = grasps[np.isnan(grasps.measured[:, Measure.OFFSET])]
    tried = guessed.count(*TRIED)
    rate = max(guessed.count(Outcome.HELD) / tried, LEAST_HELD_RATE) if tried else 1.0
    wanted = grasps.count(Outcome.UNVALIDATED) + guesses_for(max(_missing(work.settings.quotas, grasps), 0), rate)
    for _ in range(REPLACEMENTS):
        before = state
        state = _guess_once(work, state, wanted - state.grasps.count(Outcome.UNVALIDATED))
        found_all = not is_short(work.settings.quotas, state.grasps) and state.grasps.count(Outcome.UNVALIDATED) >= wanted
        if found_all or state.tries == before.tries or state.reason:
            break
    return state


def guesses_for(held: int, rate: float) -> int:
    """Guesses of which so many will be held but for one time in a hundred, where this share of them is: a binomial's mean less
    MARGIN deviations, and at most MOST_SPARE times as many as on average. Each round of an object waits for the one before, so that one
    more costs more than some trials too many."""
    if held == 0 or rate >= 1.0:
        return held
    spread = MARGIN * math.sqrt(rate * (1.0 - rate))
    # n rate - spread sqrt(n) = held, solved for sqrt(n)
    safe = ((spread + math.sqrt(spread**2 + 4.0 * rate * held)) / (2.0 * rate)) ** 2
    return math.ceil(min(safe, MOST_SPARE * held / rate))


def _guess_once(work: ObjectWork, state: ObjectState, num_free: int) -> ObjectState:
    quotas, grasps = work.settings.quotas, state.grasps
    left = quotas.max_guess_tries - state.tries
    if quotas.max_guess_tries and left <= 0:
        return replace(state, reason=state.reason or "no tries left")
    result: GuessResult = make_guesses(
        work.shape,
        work.gripper,
        work.settings.guess,
        object_id=work.target.object_id,
        num_free=max(num_free, 0),
        num_colliding=max(quotas.num_colliding_grasps - grasps.count(*FAILED), 0),
        first_try=state.tries,
        max_tries=left if quotas.max_guess_tries else 0,
        pick_up=work.settings.pick_up,
    )
    known, new = grasps.pose_gripper_in_object, result.grasps.pose_gripper_in_object
    fresh = result.grasps[~near_duplicates(work.gripper.gripper, known, new)]
    joined = GraspBatch.join([grasps, fresh])
    short = _missing(quotas, joined) > 0 and len(fresh) == len(result.grasps)
    return replace(
        state,
        grasps=joined,
        tries=state.tries + result.tries,
        turned_down=state.turned_down + result.turned_down(),
        reason=result.reason() if short else "",
    )


def _missing(quotas: QuotaSettings, grasps: GraspBatch) -> int:
    # Grasps that --max-num-grasps leaves untried count as wanted ones: more guesses would not be tried either.
    return quotas.num_collision_free_grasps - grasps.count(Outcome.HELD, Outcome.UNVALIDATED)


def test_pending(work: ObjectWork, state: ObjectState) -> ObjectState:
    """Tries every grasp that is still unvalidated, and leaves out held ones beyond the quota, the last first: guesses are independent
    draws, so the first are as good a choice as any."""
    pending = state.grasps.outcome == Outcome.UNVALIDATED
    if work.backend is None or not pending.any():
        return state
    model, settings = work.gripper.gripper, work.settings
    result: TrialResult = run_trials(
        work.backend,
        model,
        work.target,
        state.grasps[pending],
        settings.simulation,
        criterion=settings.judge,
        randomization=settings.randomization,
    )
    outcome = state.grasps.outcome.copy()
    outcome[pending] = result.grasps.outcome
    quality = state.grasps.measured.copy()
    quality[pending] = result.grasps.measured
    surplus = pending & (outcome == Outcome.HELD)
    surplus &= np.cumsum(outcome == Outcome.HELD) > work.settings.quotas.num_collision_free_grasps
    kept = replace(state.grasps, outcome=outcome, quality=quality)[~surplus]
    return replace(
        state,
        grasps=kept,
        tested=state.tested + int(result.tested.sum()),
        tested_held=state.tested_held + result.grasps[result.tested].count(Outcome.HELD),
        started_inside=state.started_inside + result.started_inside,
    )


def fill_quotas(work: ObjectWork, state: ObjectState) -> ObjectState:
    """Rounds of guessing and trying until the quotas are full, the limit of tries is met or nothing comes of it any more."""
    state = test_pending(work, state)
    barren = 0
    while is_short(work.settings.quotas, state.grasps) and barren < BARREN_ROUNDS:
        before = state
        state = test_pending(work, guess_missing(work, state))
        if len(state.grasps) == len(before.grasps):
            break
        barren = 0 if state.grasps.count(Outcome.HELD) > before.grasps.count(Outcome.HELD) else barren + 1
    return state


def is_short(quotas: QuotaSettings, grasps: GraspBatch) -> bool:
    """Whether held or failed grasps are missing from the quotas."""
    return _missing(quotas, grasps) > 0 or grasps.count(*FAILED) < quotas.num_colliding_grasps
