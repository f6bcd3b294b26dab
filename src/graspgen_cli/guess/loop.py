"""Near-duplicates: two poses that are one grasp for every purpose.

The metric: the grippers' base origins are less than `NEAR` apart and one orientation is turned into the other by less than `TURNED`;
for a symmetric gripper a half turn about its approach axis counts as no turn. Openings do not count.

The pick-up filter: which free guesses can be carried out on an object that stands on a table. Geometry only, and off by default:
GraspGen's own datasets hold grasps from all sides.

Guesses to quota: rounds of sampling and placing, each with a random generator of its own, never without a bound."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from graspgen_cli.geometry.collision import GripperShape, ObjectShape, in_collision
from graspgen_cli.geometry.poses import DECIMALS, rotation_angle
from graspgen_cli.guess.place import Placements, Verdict, place
from graspgen_cli.guess.proposals import propose
from graspgen_cli.records import Floats, GraspBatch, Gripper, Outcome
from graspgen_cli.settings.guesses import GuessSettings, PickUpSettings

NEAR = 0.001
"""m."""
TURNED = math.radians(1.0)
"""rad."""


def near_duplicates(gripper: Gripper, known: Floats, new: Floats) -> NDArray[np.bool_]:
    """(N,) which of the poses `new` (N, 4, 4) are near-duplicates of a pose of `known` (M, 4, 4) or of an earlier one of `new` that is
    none itself."""
    poses = np.concatenate([known, new])
    duplicate = np.zeros(len(poses), bool)
    if len(new) == 0:
        return duplicate[len(known) :]
    pairs = cKDTree(poses[:, :3, 3]).query_pairs(NEAR, output_type="ndarray")
    pairs = pairs[pairs[:, 1] >= len(known)]
    same = _turn(gripper, poses[pairs[:, 0], :3, :3], poses[pairs[:, 1], :3, :3]) < TURNED
    for first, second in sorted(map(tuple, pairs[same].tolist()), key=lambda pair: (pair[1], pair[0])):
        duplicate[second] |= not duplicate[first]
    return duplicate[len(known) :]


def _turn(gripper: Gripper, first: Floats, second: Floats) -> Floats:
    """(P,) rad between orientations (P, 3, 3), the smaller of both ways for a symmetric gripper."""
    if len(first) == 0:
        return np.zeros(0)
    between = np.swapaxes(first, 1, 2) @ second
    if not gripper.symmetric:
        return rotation_angle(between)
    half_turn = Rotation.from_rotvec(np.pi * gripper.approach_axis_in_base).as_matrix()
    return np.minimum(rotation_angle(between), rotation_angle(between @ half_turn))


PICK_UP_VERDICTS = (Verdict.OUTSIDE_APPROACH_CONE, Verdict.WRIST_BELOW_PADS, Verdict.TOO_NEAR_TABLE)
"""The rules' verdicts; where a guess breaks several, the first counts."""
_ANGLE_ERROR = 1e-9
"""In a cosine: what rounding of the poses may add to an angle."""


def reject_for_pick_up(found: Placements, shape: ObjectShape, gripper: GripperShape, settings: PickUpSettings) -> Placements:
    """The placements with the verdict of the first rule broken for every free one that breaks any. The table is the plane across
    `up_axis` through the object's lowest point."""
    up = np.array(settings.up_axis) / np.linalg.norm(settings.up_axis)
    verdict = found.verdict.copy()
    for k in np.unique(found.opening[verdict == Verdict.FREE]):
        rows = np.flatnonzero((verdict == Verdict.FREE) & (found.opening == k))
        verdict[rows] = _judged(found.pose_gripper_in_object[rows], int(k), shape, gripper, settings, up)
    return replace(found, verdict=verdict)


def _judged(
    poses: Floats, opening: int, shape: ObjectShape, gripper: GripperShape, settings: PickUpSettings, up: Floats
) -> NDArray[np.int8]:
    """(N,) verdicts of free poses (N, 4, 4) at one opening."""
    model = gripper.gripper
    verdict = np.full(len(poses), Verdict.FREE, np.int8)
    up_in_gripper = np.swapaxes(poses[:, :3, :3], 1, 2) @ up  # (N, 3)
    if settings.bottom_clearance is not None:
        corners = np.concatenate([part.vertices for part in gripper.parts(opening)])
        lowest = (up_in_gripper @ corners.T).min(axis=1) + poses[:, :3, 3] @ up
        table = float((shape.mesh.vertices[np.unique(shape.mesh.faces)] @ up).min())
        verdict[lowest - table < settings.bottom_clearance] = Verdict.TOO_NEAR_TABLE
    if settings.wrist_up:
        pads = model.fingertip_in_base[opening].mean(axis=0)
        verdict[up_in_gripper @ pads > 0] = Verdict.WRIST_BELOW_PADS
    if settings.approach_cone is not None:
        downward = -up_in_gripper @ model.approach_axis_in_base
        verdict[downward < np.cos(np.deg2rad(settings.approach_cone)) - _ANGLE_ERROR] = Verdict.OUTSIDE_APPROACH_CONE
    return verdict


FEWEST_CANDIDATES, MOST_CANDIDATES = 256, 4096
"""Bounds of the candidates of a try. More at once cost less each."""
SPARE = 1.2
"""How many times the candidates are drawn that would do, going by how many of the earlier ones were free."""
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
    tries = barren = have_free = have_colliding = drawn = 0
    while (have_free < num_free or have_colliding < num_colliding) and barren < BARREN_TRIES and not 0 < max_tries <= tries:
        rng = try_generator(settings.seed, object_id, first_try + tries)
        count = _candidates(num_free - have_free, drawn, verdicts[Verdict.FREE])
        drawn += count
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


def _candidates(missing: int, drawn: int, free: int) -> int:
    """How many to draw for the grasps that are missing, when so many of those drawn before were free; half of them, if nothing is known."""
    wanted = SPARE * missing * drawn / free if free else 2 * missing
    return int(min(max(wanted, FEWEST_CANDIDATES), MOST_CANDIDATES))


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
