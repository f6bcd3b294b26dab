"""Guesses to quota: rounds of sampling and placing, each with a random generator of its own, never without a bound."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.collision import GripperShape, ObjectShape, in_collision
from graspgen_cli.geometry.poses import DECIMALS
from graspgen_cli.guess.pick_up import PICK_UP_VERDICTS, reject_for_pick_up
from graspgen_cli.guess.place import Placements, Verdict, place
from graspgen_cli.guess.proposals import propose
from graspgen_cli.records import Floats, GraspBatch, Outcome
from graspgen_cli.settings.models import GuessSettings, PickUpSettings

FEWEST_CANDIDATES, MOST_CANDIDATES = 256, 1024
"""Candidates of a try: twice the grasps that are missing, within these bounds. More at once cost less each."""
BARREN_TRIES = 100
"""Tries without a single new grasp after which an object is given up, whatever the limit of tries."""


@dataclass(frozen=True, eq=False)
class GuessResult:
    """The guesses of one call.

    grasps: free ones (`unvalidated`) first, then colliding ones (`collision`).
    tries: rounds made, counted from the first round of this call.
    verdicts: how often each verdict was given.
    """

    grasps: GraspBatch
    tries: int
    verdicts: dict[Verdict, int] = field(default_factory=dict)

    def turned_down(self) -> Counter[str]:
        """How many free guesses each rule for picking up from a table turned down, by its name."""
        return Counter({verdict.label: self.verdicts.get(verdict, 0) for verdict in PICK_UP_VERDICTS})

    def reason(self) -> str:
        """Why there are fewer than wanted: the most frequent refusal, in words."""
        refused = {v: n for v, n in self.verdicts.items() if v is not Verdict.FREE and n}
        if not refused:
            return f"nothing found in {self.tries} tries"
        worst = max(refused, key=lambda v: (refused[v], -v))
        return f"{refused[worst]} of {sum(self.verdicts.values())} candidates: {worst.label}"


def try_generator(seed: int, object_id: str, number: int) -> np.random.Generator:
    """The generator of one object's round `number`: it depends on the seed, the object's id and the round, on nothing else."""
    digest = hashlib.sha256(object_id.encode()).digest()
    words = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4))
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(*words, number))))


def make_guesses(
    shape: ObjectShape,
    gripper: GripperShape,
    settings: GuessSettings,
    *,
    object_id: str,
    num_free: int,
    num_colliding: int,
    first_try: int,
    max_tries: int,
    pick_up: PickUpSettings | None = None,
) -> GuessResult:
    """Guesses `num_free` poses free of collision and `num_colliding` in collision, in rounds `first_try`, `first_try` + 1, … of at
    most `max_tries` (0: as long as rounds keep finding something). Free poses are those that `pick_up` lets through; without it, all."""
    free: list[GraspBatch] = []
    colliding: list[GraspBatch] = []
    verdicts = dict.fromkeys(Verdict, 0)
    tries = barren = have_free = have_colliding = 0
    while (have_free < num_free or have_colliding < num_colliding) and barren < BARREN_TRIES and not 0 < max_tries <= tries:
        rng = try_generator(settings.seed, object_id, first_try + tries)
        count = min(max(2 * (num_free - have_free), FEWEST_CANDIDATES), MOST_CANDIDATES)
        found = place(shape, gripper, propose(shape, gripper.gripper, settings, count, rng), settings)
        if pick_up is not None and pick_up.is_on:
            found = reject_for_pick_up(found, shape, gripper, pick_up)
        new_free = _free(gripper, found, num_free - have_free)
        new_colliding = _colliding(shape, gripper, found, num_colliding - have_colliding, rng)
        free.append(new_free)
        colliding.append(new_colliding)
        have_free, have_colliding = have_free + len(new_free), have_colliding + len(new_colliding)
        for verdict in Verdict:
            verdicts[verdict] += int((found.verdict == verdict).sum())
        barren = 0 if len(new_free) + len(new_colliding) else barren + 1
        tries += 1
    return GuessResult(GraspBatch.join([*free, *colliding]), tries, verdicts)


def _batch(gripper: GripperShape, poses: Floats, opening: NDArray[np.intp], outcome: Outcome) -> GraspBatch:
    return GraspBatch(poses, gripper.gripper.opening_width[opening], np.full(len(poses), outcome, np.int8))


def _free(gripper: GripperShape, found: Placements, wanted: int) -> GraspBatch:
    rows = np.flatnonzero(found.verdict == Verdict.FREE)[: max(wanted, 0)]
    return _batch(gripper, found.pose_gripper_in_object[rows], found.opening[rows], Outcome.UNVALIDATED)


def _colliding(shape: ObjectShape, gripper: GripperShape, found: Placements, wanted: int, rng: np.random.Generator) -> GraspBatch:
    """Negatives in true collision: candidates that were blocked, then free ones pushed into the object."""
    if wanted <= 0:
        return GraspBatch.empty()
    blocked = np.flatnonzero((found.verdict == Verdict.FINGER_BLOCKED) | (found.verdict == Verdict.GRIPPER_BLOCKED))
    poses, opening = found.pose_gripper_in_object[blocked], found.opening[blocked]
    pushed, pushed_opening = _pushed(gripper, found, rng)
    poses, opening = np.concatenate([poses, pushed]), np.concatenate([opening, pushed_opening])
    rows: list[int] = []
    for start in range(0, len(poses), wanted):
        chunk = slice(start, start + wanted)
        hit = in_collision(shape, gripper, poses[chunk], opening[chunk])
        rows += (start + np.flatnonzero(hit)).tolist()
        if len(rows) >= wanted:
            break
    chosen = rows[:wanted]
    return _batch(gripper, poses[chosen], opening[chosen], Outcome.COLLISION)


def _pushed(gripper: GripperShape, found: Placements, rng: np.random.Generator) -> tuple[Floats, NDArray[np.intp]]:
    """Free placements moved sideways, along the closing axis, by up to their opening, either way, and forward by up to their pads'
    length: poses near a grasp of which most are in collision."""
    rows = np.flatnonzero(found.verdict == Verdict.FREE)
    model = gripper.gripper
    poses, opening = found.pose_gripper_in_object[rows].copy(), found.opening[rows]
    sideways = (2 * rng.random(len(rows)) - 1) * model.opening_width[opening]
    forward = rng.random(len(rows)) * model.pad_size[0]
    step = sideways[:, None] * model.closing_axis_in_base + forward[:, None] * model.approach_axis_in_base
    poses[:, :3, 3] += np.einsum("nij,nj->ni", poses[:, :3, :3], step)
    return np.round(poses, DECIMALS) + 0.0, opening
