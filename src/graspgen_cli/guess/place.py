"""From a candidate to a pose: the pads around the material, at the widest opening at which the whole gripper is free of collision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.collision import GripperShape, ObjectShape, in_collision, one_contains_other
from graspgen_cli.geometry.poses import pose, rounded, transform_points
from graspgen_cli.guess.proposals import Proposals
from graspgen_cli.records import Floats, GraspBatch, Gripper, Outcome
from graspgen_cli.settings.guesses import GuessSettings, Sampler

LEAST_CHORD = 1e-5
"""m: least length of material on the line between the pads; with less, the line grazes the surface."""
AT_ONCE = 16
"""Stand-offs tried at once for the candidates whose first stand-off is blocked."""


class Verdict(IntEnum):
    """The result of placing a candidate."""

    FREE = 0
    TOO_WIDE = 1
    """The material on the closing line is thicker than the widest opening."""
    FINGER_BLOCKED = 2
    """The first finger collides at every stand-off."""
    GRIPPER_BLOCKED = 3
    """The gripper collides at every opening."""
    NO_MATERIAL = 4
    """Nothing lies between the pads."""
    OUTSIDE_APPROACH_CONE = 5
    """Free, but the approach axis is outside the cone about straight down."""
    WRIST_BELOW_PADS = 6
    """Free, but the wrist is below the pads."""
    TOO_NEAR_TABLE = 7
    """Free, but the gripper is too near to the table that the object stands on."""

    @property
    def label(self) -> str:
        """The words in reports."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, eq=False)
class Placements:
    """M candidates after placing.

    verdict: (M,) values of Verdict.
    pose_gripper_in_object: (M, 4, 4); for a blocked candidate the first pose tried: the widest opening, one stand-off from the surface.
    opening: (M,) index into the gripper's measured openings.
    """

    verdict: NDArray[np.int8]
    pose_gripper_in_object: Floats
    opening: NDArray[np.intp]


def bite_points(gripper: Gripper, bite: float | None) -> Floats:
    """(K, 2, 3) m in the base frame: each finger's contact point, `bite` m (default: the gripper's) behind the fingertip."""
    return gripper.fingertip_in_base - (gripper.bite if bite is None else bite) * gripper.approach_axis_in_base


def tried_openings(gripper: Gripper, settings: GuessSettings) -> list[int]:
    """Opening indices to try, widest first."""
    last = len(gripper.opening_width) - 1
    if settings.sampler is Sampler.ACRONYM:
        return [last]
    even = np.linspace(0, last, min(settings.pinch_width_resolution, last + 1)).round().astype(int)
    return [int(k) for k in even[::-1] if gripper.opening_width[k] > 0]


def place(shape: ObjectShape, gripper_shape: GripperShape, proposals: Proposals, settings: GuessSettings) -> Placements:
    """Places every candidate. Each FREE one has material where its pads close, and at its opening neither meets the object's surface nor
    lies inside it."""
    openings = tried_openings(gripper_shape.gripper, settings)
    bases = _BasePoses(proposals, settings, gripper_shape.gripper, openings)
    fits = proposals.crossings[:, 0] + 2 * settings.standoff_distance < gripper_shape.gripper.width
    standoff = _first_standoffs(shape, gripper_shape, bases, np.flatnonzero(fits))
    verdict = np.where(fits, Verdict.FINGER_BLOCKED, Verdict.TOO_WIDE).astype(np.int8)
    verdict[np.isfinite(standoff)] = Verdict.GRIPPER_BLOCKED
    poses = bases.first_finger_poses(np.arange(len(proposals)), np.full(len(proposals), settings.standoff_distance))
    chosen = np.zeros(len(proposals), np.intp)
    base = _BaseCollisions(shape, gripper_shape, len(proposals))
    left = np.flatnonzero(np.isfinite(standoff))
    for n, k in enumerate(openings):
        rows, positions = bases.positions(left, n, standoff)
        tried = pose(bases.rotation[rows], positions)
        free = _not_proven_to_collide(shape, gripper_shape, base, k, rows, tried)
        free = np.array([i for i in free if not shape.surface.meets(gripper_shape.whole(k), tried[i])], np.intp)
        verdict[rows[free]], chosen[rows[free]], poses[rows[free]] = Verdict.FREE, n, tried[free]
        left = left[verdict[left] != Verdict.FREE]
    opening = np.asarray(openings)[chosen]
    rows = np.flatnonzero(verdict == Verdict.FREE)
    verdict[rows[one_contains_other(shape, gripper_shape, poses[rows], opening[rows])]] = Verdict.GRIPPER_BLOCKED
    rows = np.flatnonzero(verdict == Verdict.FREE)
    between = material_between(shape, poses[rows], bases.closing_lines(rows, chosen[rows], standoff[rows]))
    verdict[rows[~between]] = Verdict.NO_MATERIAL
    return Placements(verdict, poses, opening)


def _first_standoffs(shape: ObjectShape, gripper_shape: GripperShape, bases: _BasePoses, rows: NDArray[np.intp]) -> Floats:
    """(M,) m: for the candidates in `rows` the least multiple of the stand-off at which no chord of the first finger, wide open, proves a
    collision; otherwise inf. The exact test of the whole gripper follows at each opening."""
    settings = bases.settings
    standoff = np.full(len(bases), np.inf)
    if settings.sampler is not Sampler.FINGER_PADS:
        standoff[rows] = settings.standoff_distance
        return standoff
    finger = gripper_shape.gripper.body_names.index(gripper_shape.gripper.finger_bodies[0])
    longest = gripper_shape.chords([finger], bases.openings[0])[0]
    for first in (1, *range(2, settings.num_offsets + 1, AT_ONCE)):
        gaps = settings.standoff_distance * np.arange(first, min(first + (1 if first == 1 else AT_ONCE), settings.num_offsets + 1))
        tried = bases.first_finger_poses(np.repeat(rows, len(gaps)), np.tile(gaps, len(rows)))
        free = ~shape.rays.blocked(tried, longest).reshape(len(rows), len(gaps))
        found = free.any(axis=1)
        standoff[rows[found]] = gaps[free[found].argmax(axis=1)]
        rows = rows[~found]
    return standoff


def _not_proven_to_collide(
    shape: ObjectShape, gripper_shape: GripperShape, base: _BaseCollisions, opening: int, rows: NDArray[np.intp], poses: Floats
) -> NDArray[np.intp]:
    """Indices of the poses (N, 4, 4), of candidates `rows`, for which no chord of the gripper at an opening proves a collision."""
    left = np.flatnonzero(~base.meet(rows, poses))
    moving = range(1, len(gripper_shape.gripper.body_names))
    for chords in gripper_shape.chords(moving, opening):
        left = left[~shape.rays.blocked(poses[left], chords)]
    return left


class _BaseCollisions:
    """The candidates whose bases are proved to collide. With pads that move straight and a centred opening, the base has the same pose at
    every opening, so the last result of each candidate is kept."""

    def __init__(self, shape: ObjectShape, gripper_shape: GripperShape, count: int) -> None:
        self._rays, self._chords = shape.rays, gripper_shape.chords([0], 0)
        self._position = np.full((count, 3), np.nan)
        self._meets = np.zeros(count, bool)

    def meet(self, rows: NDArray[np.intp], poses: Floats) -> NDArray[np.bool_]:
        """(N,) whether a chord of the base meets the object at poses (N, 4, 4) of candidates `rows`."""
        new = np.flatnonzero((self._position[rows] != poses[:, :3, 3]).any(axis=1))
        self._position[rows[new]] = poses[new, :3, 3]
        self._meets[rows[new]] = False
        for chords in self._chords:
            new = new[~self._meets[rows[new]]]
            self._meets[rows[new]] = self._rays.blocked(poses[new], chords)
        return self._meets[rows]


def material_between(shape: ObjectShape, pose_gripper_in_object: Floats, line_in_base: Floats) -> NDArray[np.bool_]:
    """(N,) whether lines (N, 2, 3) m, from the first to the second pad in the base frame, pass at poses (N, 4, 4) through at least
    LEAST_CHORD of the object and have both ends outside."""
    ends = transform_points(pose_gripper_in_object, line_in_base)
    span = ends[:, 1] - ends[:, 0]
    width = np.linalg.norm(span, axis=1)
    direction = span / width[:, None]
    from_first, _ = shape.rays.first_hit(ends[:, 0], direction)
    from_second, _ = shape.rays.first_hit(ends[:, 1], -direction)
    return (width - from_first - from_second >= LEAST_CHORD) & (from_first < width)


class _BasePoses:
    """The poses of the gripper's base at which the pads close on each candidate's contact.

    Pads may move along the approach axis as they close. So the first bite point is placed at a gap from the contact, and level with the
    contact once the distance of the pads equals the thickness of the material between them.
    """

    def __init__(self, proposals: Proposals, settings: GuessSettings, gripper: Gripper, openings: list[int]) -> None:
        self.settings, self.openings = settings, openings
        self.rotation = proposals.rotation_gripper_in_object
        self._contact, self._closing, self._crossings = proposals.contact, proposals.closing, proposals.crossings
        self._approach, self._widths = gripper.approach_axis_in_base, gripper.opening_width
        self._bite = bite_points(gripper, settings.bite)
        self._forward = self._bite[:, 0] @ gripper.approach_axis_in_base

    def __len__(self) -> int:
        return len(self._contact)

    def first_finger_poses(self, rows: NDArray[np.intp], gap: Floats) -> Floats:
        """(N, 4, 4) base poses of candidates `rows`, wide open, the first bite point `gap` (N,) m from the contact."""
        thick = self._thickness(rows, 0, gap)
        # Material that does not fit has its first crossing beyond the widest opening.
        thick = np.where(thick > 0, thick, self._crossings[rows, 0])
        return pose(self.rotation[rows], self._base(rows, 0, gap, thick))

    def positions(self, rows: NDArray[np.intp], n: int, standoff: Floats) -> tuple[NDArray[np.intp], Floats]:
        """The candidates of `rows` whose material fits at opening number n, and their base positions (N, 3) m in the object's frame.

        The first bite point's distance from the contact is the stand-off (M,) m, or half of the free width if the opening is centred.
        """
        thick = self._thickness(rows, n, standoff[rows])
        free = self._widths[self.openings[n]] - thick
        fits = (thick > 0) & (free >= 2 * self.settings.standoff_distance)
        rows, thick, free = rows[fits], thick[fits], free[fits]
        centred = self.settings.center_finger_opening or self.settings.sampler is not Sampler.FINGER_PADS
        return rows, self._base(rows, n, free / 2 if centred else standoff[rows], thick)

    def closing_lines(self, rows: NDArray[np.intp], n: NDArray[np.intp], standoff: Floats) -> Floats:
        """(N, 2, 3) m in the base frame, for candidates `rows` at opening numbers n (N,): from pad to pad at the level where they close on
        the material."""
        opening = np.asarray(self.openings)[n]
        thick = np.zeros(len(rows))
        for number in np.unique(n):
            chosen = n == number
            thick[chosen] = self._thickness(rows[chosen], int(number), standoff[chosen])
        return self._bite[opening] + self._advance(opening, thick)[:, None, None] * self._approach

    def _base(self, rows: NDArray[np.intp], n: int, gap: Floats, thick: Floats) -> Floats:
        """(N, 3) m, base positions of candidates `rows` at opening number n; rounded."""
        k = np.full(len(rows), self.openings[n])
        bite = self._bite[k, 0] + self._advance(k, thick)[:, None] * self._approach
        offset = np.einsum("nij,nj->ni", self.rotation[rows], bite)
        return rounded(self._contact[rows] - gap[:, None] * self._closing[rows] - offset)

    def _advance(self, opening: NDArray[np.intp], thick: Floats) -> Floats:
        """(N,) m: motion of the first pad along the approach axis from an opening (N,) to the contact with material `thick` (N,) m. Zero
        for ACRONYM's sampler, unless the settings correct for it."""
        if self.settings.sampler is Sampler.ACRONYM and not self.settings.correct_acronym_approach:
            return np.zeros(len(thick))
        return np.asarray(np.interp(thick, self._widths, self._forward) - self._forward[opening])

    def _thickness(self, rows: NDArray[np.intp], n: int, standoff: Floats) -> Floats:
        """(N,) m: thickness of the material between the pads at opening number n, down to the last crossing before the second pad; 0 if
        there is none. The antipodal samplers grip at their own two contacts, so only the first crossing counts."""
        crossings = self._crossings[rows]
        if self.settings.sampler is not Sampler.FINGER_PADS:
            crossings = crossings[:, :1]
        reach = self._widths[self.openings[n]] - standoff
        return np.where(crossings < reach[:, None], crossings, 0.0).max(axis=1)


def fit_openings(shape: ObjectShape, gripper: GripperShape, grasps: GraspBatch) -> GraspBatch:
    """Grasps of a file at measured openings: each known opening becomes the nearest measured one, each unknown one the widest at which the
    gripper is free. Grasps in collision at their opening, or at every opening, get the outcome `collision`."""
    widths = gripper.gripper.opening_width
    last = len(widths) - 1
    known = np.isfinite(grasps.opening_width)
    opening = np.where(known, gripper.gripper.nearest_opening(np.where(known, grasps.opening_width, 0.0)), last)
    colliding = np.zeros(len(grasps), bool)
    undecided = np.flatnonzero(grasps.outcome != Outcome.COLLISION)
    colliding[undecided] = in_collision(shape, gripper, grasps.pose_gripper_in_object[undecided], opening[undecided])
    for i in np.flatnonzero(colliding & ~known):
        pose_in_object = grasps.pose_gripper_in_object[i : i + 1]
        free = (k for k in range(last, -1, -1) if not in_collision(shape, gripper, pose_in_object, np.array([k]))[0])
        widest = next(free, None)
        opening[i], colliding[i] = last if widest is None else widest, widest is None
    outcome = np.where(colliding, Outcome.COLLISION, grasps.outcome).astype(np.int8)
    return replace(grasps, opening_width=widths[opening], outcome=outcome)
