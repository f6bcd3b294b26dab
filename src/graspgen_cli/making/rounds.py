"""Rounds of guessing and trying, until the quotas of an object are full or a limit is reached.

The state of this loop is the grasps and the number of tries, and the grasp file holds both. So a run that stops after the guesses and a
later run that tries them make the same grasps as one run.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.guess.loop import GuessResult, make_guesses, near_duplicates
from graspgen_cli.making.task import FAILED
from graspgen_cli.records import GraspBatch, Measure, Outcome, TargetObject
from graspgen_cli.settings.commands import MakingSettings
from graspgen_cli.settings.guesses import QuotaSettings
from graspgen_cli.validate.engine import Backend
from graspgen_cli.validate.trials import TrialResult, run_trials

TRIED = (Outcome.HELD, Outcome.DROPPED, Outcome.UNSTABLE)
LEAST_HELD_RATE = 0.1
"""Lower bound of the held rate, which limits the guesses for an object that no grasp holds."""
MARGIN = 2.33
"""Standard deviations of the number of held grasps that a round allows for: 99 % confidence."""
MOST_SPARE = 2.0
"""Upper bound of the guesses of a round, as a multiple of the mean number needed."""
REPLACEMENTS = 5
"""Times that a round replaces near-duplicates by new guesses."""
BARREN_ROUNDS = 10
"""Rounds in a row without a held grasp after which the loop ends."""


@dataclass(frozen=True, eq=False)
class ObjectWork:
    """An object and a gripper, with their search trees, the settings and the engine; backend: None if nothing is tried."""

    target: TargetObject
    shape: ObjectShape
    gripper: GripperShape
    backend: Backend | None
    settings: MakingSettings


@dataclass(frozen=True, eq=False)
class ObjectState:
    """The state of the loop.

    tries: rounds of sampling since the first run. tested, tested_held, started_inside: numbers of grasps that this run tried, that held,
    and that began inside the gripper. turned_down: free guesses that each rule for picking up from a table rejected in this run. reason:
    why the last guesses fell short, in words.
    """

    grasps: GraspBatch
    tries: int
    tested: int = 0
    tested_held: int = 0
    started_inside: int = 0
    turned_down: Counter[str] = field(default_factory=Counter)
    reason: str = ""


def guess_missing(work: ObjectWork, state: ObjectState) -> ObjectState:
    """Adds guesses for the missing held and failed grasps, by the held rate so far, and replaces near-duplicates of other grasps."""
    grasps = state.grasps
    # Hard negatives are made to drop, so they do not count in the held rate of guesses.
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
    """Guesses needed to hold `held` with 99 % confidence, if each holds with probability `rate`, by the normal approximation of the
    binomial distribution; at most MOST_SPARE times the mean. Another round costs more than some surplus trials."""
    if held == 0 or rate >= 1.0:
        return held
    spread = MARGIN * math.sqrt(rate * (1.0 - rate))
    # Solves n rate - spread sqrt(n) = held for sqrt(n).
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
    # Grasps that --max-num-grasps leaves untested count as held: more guesses would stay untested too.
    return quotas.num_collision_free_grasps - grasps.count(Outcome.HELD, Outcome.UNVALIDATED)


def test_pending(work: ObjectWork, state: ObjectState) -> ObjectState:
    """Tries every untested grasp, and drops held ones beyond the quota from the end: guesses are independent draws, so the first ones are
    an unbiased choice."""
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
    """Guesses and tries until the quotas are full, the tries are used up, or a round adds nothing."""
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
    """Whether held or failed grasps are missing."""
    return _missing(quotas, grasps) > 0 or grasps.count(*FAILED) < quotas.num_colliding_grasps
