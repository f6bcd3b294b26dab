"""Guesses to quota, in rounds: each draws candidates with a generator of its own, places them and keeps what is still wanted.

Near-duplicates are two poses that count as one grasp: the origins of the gripper's base are less than `NEAR` apart, and the angle between
the orientations is less than `TURNED`. A half turn of a symmetric gripper about its approach axis counts as no turn. Openings do not count.

The pick-up filter removes free guesses that cannot be carried out on an object that stands on a table. It looks at geometry only and is off
by default: GraspGen's own datasets hold grasps from all sides.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from graspgen_cli.geometry.collision import GripperShape, ObjectShape, in_collision
from graspgen_cli.geometry.poses import rotation_angle, rounded
from graspgen_cli.guess.place import Placements, Verdict, place
from graspgen_cli.guess.proposals import propose, seeded_generator
from graspgen_cli.records import Floats, GraspBatch, Gripper, Outcome
from graspgen_cli.settings.guesses import GuessSettings, PickUpSettings

NEAR = 0.001
"""m."""
TURNED = math.radians(1.0)
"""rad."""
LEAST_CANDIDATES, MOST_CANDIDATES = 256, 4096
"""Bounds of the candidates of a round. More candidates at once cost less each."""
SPARE = 1.2
"""Candidates drawn over the number that the share of free ones so far asks for."""
BARREN_ROUNDS = 100
"""Rounds in a row without a new grasp after which the object is given up, whatever the limit of rounds."""
PICK_UP_VERDICTS = (Verdict.OUTSIDE_APPROACH_CONE, Verdict.WRIST_BELOW_PADS, Verdict.TOO_NEAR_TABLE)
"""The verdicts of the pick-up filter. A guess that breaks several rules gets the first of them."""
_ANGLE_ERROR = 1e-9
"""Tolerance of a cosine for the rounding of the poses."""


@dataclass(frozen=True, eq=False)
class GuessResult:
    """The guesses of one call.

    grasps: free ones (`unvalidated`) first, then colliding ones (`collision`). tries: rounds made. verdicts: candidates per verdict.
    """

    grasps: GraspBatch
    tries: int
    verdicts: dict[Verdict, int] = field(default_factory=dict)

    def turned_down(self) -> Counter[str]:
        """Free guesses that each rule of the pick-up filter refused, by the name of the rule."""
        return Counter({verdict.label: self.verdicts.get(verdict, 0) for verdict in PICK_UP_VERDICTS})

    def reason(self) -> str:
        """The most frequent reason why candidates were refused, in words."""
        refused = {v: n for v, n in self.verdicts.items() if v is not Verdict.FREE and n}
        if not refused:
            return f"nothing found in {self.tries} tries"
        worst = max(refused, key=lambda v: (refused[v], -v))
        return f"{refused[worst]} of {sum(self.verdicts.values())} candidates: {worst.label}"


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
    """Guesses `num_free` poses free of collision and `num_colliding` poses in collision, in at most `max_tries` rounds (0: no limit) that
    are numbered from `first_try`. pick_up: the filter for free poses; None: no filter."""
    free: list[GraspBatch] = []
    colliding: list[GraspBatch] = []
    verdicts = dict.fromkeys(Verdict, 0)
    tries = barren = have_free = have_colliding = drawn = 0
    while (have_free < num_free or have_colliding < num_colliding) and barren < BARREN_ROUNDS and not 0 < max_tries <= tries:
        rng = seeded_generator(settings.seed, object_id.encode(), first_try + tries)
        count = _candidates(num_free - have_free, drawn, verdicts[Verdict.FREE])
        drawn += count
        found = place(shape, gripper, propose(shape, gripper.gripper, settings, count, rng), settings)
        if pick_up is not None and pick_up.is_on:
            found = reject_for_pick_up(found, shape, gripper, pick_up)
        rows = np.flatnonzero(found.verdict == Verdict.FREE)[: max(num_free - have_free, 0)]
        free.append(_batch(gripper, found.pose_gripper_in_object[rows], found.opening[rows], Outcome.UNVALIDATED))
        colliding.append(_colliding(shape, gripper, found, num_colliding - have_colliding, rng))
        have_free, have_colliding = have_free + len(free[-1]), have_colliding + len(colliding[-1])
        for verdict in Verdict:
            verdicts[verdict] += int((found.verdict == verdict).sum())
        barren = 0 if len(free[-1]) + len(colliding[-1]) else barren + 1
        tries += 1
    return GuessResult(GraspBatch.join([*free, *colliding]), tries, verdicts)


def _candidates(missing: int, drawn: int, free: int) -> int:
    """Candidates to draw for the `missing` grasps if `free` of `drawn` earlier candidates were free; without any, half are assumed free."""
    wanted = SPARE * missing * drawn / free if free else 2 * missing
    return int(min(max(wanted, LEAST_CANDIDATES), MOST_CANDIDATES))


def _batch(gripper: GripperShape, poses: Floats, opening: NDArray[np.intp], outcome: Outcome) -> GraspBatch:
    return GraspBatch(poses, gripper.gripper.opening_width[opening], np.full(len(poses), outcome, np.int8))


def _colliding(shape: ObjectShape, gripper: GripperShape, found: Placements, wanted: int, rng: np.random.Generator) -> GraspBatch:
    """Negatives that really collide: blocked candidates first, then free ones pushed into the object."""
    if wanted <= 0:
        return GraspBatch.empty()
    blocked = np.flatnonzero((found.verdict == Verdict.FINGER_BLOCKED) | (found.verdict == Verdict.GRIPPER_BLOCKED))
    pushed, pushed_opening = _pushed(gripper, found, rng)
    poses = np.concatenate([found.pose_gripper_in_object[blocked], pushed])
    opening = np.concatenate([found.opening[blocked], pushed_opening])
    rows: list[int] = []
    for start in range(0, len(poses), wanted):
        chunk = slice(start, start + wanted)
        rows += (start + np.flatnonzero(in_collision(shape, gripper, poses[chunk], opening[chunk]))).tolist()
        if len(rows) >= wanted:
            break
    chosen = rows[:wanted]
    return _batch(gripper, poses[chosen], opening[chosen], Outcome.COLLISION)


def _pushed(gripper: GripperShape, found: Placements, rng: np.random.Generator) -> tuple[Floats, NDArray[np.intp]]:
    """Poses and openings of the free placements, moved along the closing axis by up to their opening, either way, and along the approach
    axis by up to the length of the pads. Most of these poses collide."""
    rows = np.flatnonzero(found.verdict == Verdict.FREE)
    model = gripper.gripper
    poses, opening = found.pose_gripper_in_object[rows].copy(), found.opening[rows]
    sideways = (2 * rng.random(len(rows)) - 1) * model.opening_width[opening]
    forward = rng.random(len(rows)) * model.pad_size[0]
    step = sideways[:, None] * model.closing_axis_in_base + forward[:, None] * model.approach_axis_in_base
    poses[:, :3, 3] += np.einsum("nij,nj->ni", poses[:, :3, :3], step)
    return rounded(poses), opening


def near_duplicates(gripper: Gripper, known: Floats, new: Floats) -> NDArray[np.bool_]:
    """(N,) poses of `new` (N, 4, 4) that are near-duplicates of a pose of `known` (M, 4, 4), or of an earlier pose of `new` that is
    none."""
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
    """(P,) rad between orientations (P, 3, 3); for a symmetric gripper the smaller angle of the two half turns."""
    if len(first) == 0:
        return np.zeros(0)
    between = np.swapaxes(first, 1, 2) @ second
    if not gripper.symmetric:
        return rotation_angle(between)
    half_turn = Rotation.from_rotvec(np.pi * gripper.approach_axis_in_base).as_matrix()
    return np.minimum(rotation_angle(between), rotation_angle(between @ half_turn))


def reject_for_pick_up(found: Placements, shape: ObjectShape, gripper: GripperShape, settings: PickUpSettings) -> Placements:
    """The placements, each free one that breaks a rule with the verdict of the first rule that it breaks. The table is the plane across
    `up_axis` through the object's lowest point."""
    up = np.array(settings.up_axis) / np.linalg.norm(settings.up_axis)
    verdict = found.verdict.copy()
    for k in np.unique(found.opening[verdict == Verdict.FREE]):
        rows = np.flatnonzero((verdict == Verdict.FREE) & (found.opening == k))
        verdict[rows] = _pick_up_verdicts(found.pose_gripper_in_object[rows], int(k), shape, gripper, settings, up)
    return replace(found, verdict=verdict)


def _pick_up_verdicts(
    poses: Floats, opening: int, shape: ObjectShape, gripper: GripperShape, settings: PickUpSettings, up: Floats
) -> NDArray[np.int8]:
    """(N,) verdicts of free poses (N, 4, 4) at one opening. up: (3,) unit, in the object's frame."""
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
