"""From a candidate to a pose: put the pads around the material, at the widest opening at which the whole gripper is free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.chords import meet
from graspgen_cli.geometry.collision import GripperShape, ObjectShape, one_contains_other, surfaces_touch
from graspgen_cli.geometry.poses import DECIMALS, pose, transform_points
from graspgen_cli.guess.proposals import Proposals
from graspgen_cli.records import Floats, Gripper
from graspgen_cli.settings.models import GuessSettings, Sampler

LEAST_CHORD = 1e-5
"""m: least length of material on the line between the pads; less is a line that only grazes the surface."""


class Verdict(IntEnum):
    """What became of a candidate."""

    FREE = 0
    TOO_WIDE = 1
    """The material on the closing line does not fit between the pads."""
    FINGER_BLOCKED = 2
    """The first finger collides at every distance tried."""
    GRIPPER_BLOCKED = 3
    """The gripper collides at every opening tried."""
    NO_MATERIAL = 4
    """Nothing lies between the pads."""
    OUTSIDE_APPROACH_CONE = 5
    """Free, but the gripper comes from outside the cone in which it may reach for an object on a table."""
    WRIST_BELOW_PADS = 6
    """Free, but the wrist is below the pads."""
    TOO_NEAR_TABLE = 7
    """Free, but the gripper comes too near to the table that the object stands on."""

    @property
    def label(self) -> str:
        """The name in reports."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, eq=False)
class Placements:
    """M candidates after placing.

    verdict: (M,) values of Verdict.
    pose_gripper_in_object: (M, 4, 4); for a blocked candidate its first try: the widest opening, one stand-off from the surface.
    opening: (M,) index into the gripper's measured openings.
    """

    verdict: NDArray[np.int8]
    pose_gripper_in_object: Floats
    opening: NDArray[np.intp]


def bite_points(gripper: Gripper, bite: float | None) -> Floats:
    """(K, 2, 3) m in the base frame: each finger's contact point, `bite` (default: the gripper's) behind the fingertip."""
    return gripper.fingertip_in_base - (gripper.bite if bite is None else bite) * gripper.approach_axis_in_base


def tried_openings(gripper: Gripper, settings: GuessSettings) -> list[int]:
    """Opening indices to try, widest first."""
    last = len(gripper.opening_width) - 1
    if settings.sampler is Sampler.ACRONYM:
        return [last]
    even = np.linspace(0, last, min(settings.pinch_width_resolution, last + 1)).round().astype(int)
    return [int(k) for k in even[::-1] if gripper.opening_width[k] > 0]


def place(shape: ObjectShape, gripper_shape: GripperShape, proposals: Proposals, settings: GuessSettings) -> Placements:
    """Places every candidate; each FREE one is free of collision at its opening, surfaces and containment both, and has material
    between its bite points."""
    gripper = gripper_shape.gripper
    openings = tried_openings(gripper, settings)
    frame = _Frame(proposals, settings, gripper, openings)
    fits = proposals.crossings[:, 0] + 2 * settings.standoff_distance < gripper.width
    verdict = np.where(fits, Verdict.FINGER_BLOCKED, Verdict.TOO_WIDE).astype(np.int8)
    first_try = frame.positions(0, np.full(len(proposals), settings.standoff_distance))
    poses = pose(proposals.rotation_gripper_in_object, first_try)
    opening = np.full(len(proposals), openings[0])
    # Chords alone first: most candidates need no exact test to be refused.
    standoff = _first_standoffs(shape, gripper_shape, frame, np.flatnonzero(fits), exact=False)
    verdict[np.isfinite(standoff)] = Verdict.GRIPPER_BLOCKED
    _, possible = _not_refuted(shape, gripper_shape, frame, standoff)
    standoff = _first_standoffs(shape, gripper_shape, frame, np.flatnonzero(possible.any(axis=1)), exact=True)
    position, possible = _not_refuted(shape, gripper_shape, frame, standoff)
    for i in np.flatnonzero(possible.any(axis=1)):
        n = _widest_free(shape, gripper_shape, openings, poses[i], position[i], possible[i])
        if n is not None:
            verdict[i], opening[i], poses[i, :3, 3] = Verdict.FREE, openings[n], position[i, n]
    _reject(verdict, Verdict.GRIPPER_BLOCKED, poses, opening, lambda p, k: one_contains_other(shape, gripper_shape, k, p))
    bite = bite_points(gripper, settings.bite)
    _reject(verdict, Verdict.NO_MATERIAL, poses, opening, lambda p, k: ~material_between(shape, p, bite[k]))
    return Placements(verdict, poses, opening)


def _first_standoffs(shape: ObjectShape, gripper_shape: GripperShape, frame: _Frame, rows: NDArray[np.intp], *, exact: bool) -> Floats:
    """(M,) least multiple of the stand-off (m) at which the first finger, wide open, is free; inf where there is none and for
    candidates that are not in `rows`. Not `exact`: at which no chord of it proves a collision."""
    settings, widest = frame.settings, frame.openings[0]
    standoff = np.full(len(frame.contact), np.inf)
    if settings.sampler is not Sampler.FINGER_PADS:
        standoff[rows] = settings.standoff_distance
        return standoff
    finger, (longest, all_chords) = gripper_shape.finger(0, widest), gripper_shape.finger_chords(0, widest)
    chords = all_chords if exact else longest
    for step in range(1, settings.num_offsets + 1):
        gap = np.full(len(frame.contact), step * settings.standoff_distance)
        poses = pose(frame.rotation[rows], frame.positions(0, gap)[rows])
        free = np.flatnonzero(~meet(shape.rays, poses, chords))
        if exact:
            free = np.array([n for n in free if not surfaces_touch(shape, finger, poses[n])], dtype=np.intp)
        standoff[rows[free]] = step * settings.standoff_distance
        rows = np.delete(rows, free)
    return standoff


def _not_refuted(shape: ObjectShape, gripper_shape: GripperShape, frame: _Frame, standoff: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Where each candidate's base is at each opening (M, openings, 3), and which of these placements (M, openings) hold material and
    are not proved to collide by a chord of the gripper."""
    count = len(frame.openings)
    gap = np.stack([frame.gaps(n, standoff) for n in range(count)], axis=1)
    position = np.stack([frame.positions(n, gap[:, n]) for n in range(count)], axis=1)
    possible = np.isfinite(gap)
    for n, k in enumerate(frame.openings):
        for chords in gripper_shape.chords(k):
            rows = np.flatnonzero(possible[:, n])
            possible[rows, n] = ~meet(shape.rays, pose(frame.rotation[rows], position[rows, n]), chords)
    return position, possible


def _widest_free(
    shape: ObjectShape,
    gripper_shape: GripperShape,
    openings: list[int],
    first_pose: Floats,
    position: Floats,
    possible: NDArray[np.bool_],
) -> int | None:
    """Number of the widest opening at which the gripper's surface is free by the exact test; None where there is none."""
    trial = first_pose.copy()
    for n in np.flatnonzero(possible):
        trial[:3, 3] = position[n]
        if not surfaces_touch(shape, gripper_shape.whole(openings[n]), trial):
            return int(n)
    return None


def _reject(
    verdict: NDArray[np.int8],
    reason: Verdict,
    poses: Floats,
    opening: NDArray[np.intp],
    is_bad: Callable[[Floats, int], NDArray[np.bool_]],
) -> None:
    """Gives free candidates that `is_bad(poses, opening index)` finds the verdict `reason`, one opening after the other."""
    for k in np.unique(opening[verdict == Verdict.FREE]):
        rows = np.flatnonzero((verdict == Verdict.FREE) & (opening == k))
        verdict[rows[is_bad(poses[rows], int(k))]] = reason


def material_between(shape: ObjectShape, pose_gripper_in_object: Floats, bite_point: Floats) -> NDArray[np.bool_]:
    """(N,) whether the line between the two bite points (2, 3), given in the base frame, at poses (N, 4, 4) goes through at least
    LEAST_CHORD of the object, both ends outside it."""
    ends = transform_points(pose_gripper_in_object, bite_point[None])
    span = ends[:, 1] - ends[:, 0]
    width = np.linalg.norm(span, axis=1)
    direction = span / width[:, None]
    from_first, _ = shape.rays.first_hit(ends[:, 0], direction)
    from_second, _ = shape.rays.first_hit(ends[:, 1], -direction)
    return (width - from_first - from_second >= LEAST_CHORD) & (from_first < width)


class _Frame:
    """Candidates seen from the gripper: where its base is when the first bite point is a gap away from the contact."""

    def __init__(self, proposals: Proposals, settings: GuessSettings, gripper: Gripper, openings: list[int]) -> None:
        self.settings, self.openings = settings, openings
        self.width = gripper.opening_width[openings]
        self.contact, self.closing = proposals.contact, proposals.closing
        self.rotation = proposals.rotation_gripper_in_object
        self._crossings = proposals.crossings
        self._bite = bite_points(gripper, settings.bite)[:, 0]
        self._approach = gripper.approach_axis_in_base
        self._forward = self._anchor_shift(gripper)

    def _anchor_shift(self, gripper: Gripper) -> Floats | None:
        """(M, openings) m along the approach axis. ACRONYM's sampler, corrected, puts the pads where they will be once closed on the
        material: it allows for pads that move along the approach axis as they close."""
        if self.settings.sampler is not Sampler.ACRONYM or not self.settings.correct_acronym_approach:
            return None
        closed = gripper.nearest_opening(np.minimum(self._crossings[:, 0], gripper.width))
        return np.asarray((self._bite[closed][:, None] - self._bite[self.openings][None]) @ gripper.approach_axis_in_base)

    def positions(self, n: int, gap: Floats) -> Floats:
        """(M, 3) base positions in the object's frame at opening number n, the first bite point `gap` (M,) m off the contact against
        the closing direction; rounded. Not finite where the gap is not."""
        k = self.openings[n]
        bite = np.broadcast_to(self._bite[k], self.contact.shape)
        if self._forward is not None:
            bite = bite + self._forward[:, n, None] * self._approach
        offset = np.einsum("nij,nj->ni", self.rotation, bite)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.round(self.contact - gap[:, None] * self.closing - offset, DECIMALS) + 0.0)

    def gaps(self, n: int, standoff: Floats) -> Floats:
        """(M,) m from the first pad to the contact at opening number n: the stand-off, or half of the free width where the opening is
        centred on the material; inf where the material does not fit."""
        depth = self._material(self.width[n] - standoff)
        free = self.width[n] - depth
        centred = self.settings.center_finger_opening or self.settings.sampler is not Sampler.FINGER_PADS
        fits = (depth > 0) & (free >= 2 * self.settings.standoff_distance) & np.isfinite(standoff)
        return np.where(fits, free / 2 if centred else standoff, np.inf)

    def _material(self, reach: Floats) -> Floats:
        """(M,) m: depth of the last crossing nearer than `reach`, the one between the pads; 0 where there is none. The antipodal
        samplers grip at their own two points, whatever lies behind."""
        crossings = self._crossings[:, :1] if self.settings.sampler is not Sampler.FINGER_PADS else self._crossings
        return np.where(crossings < reach[:, None], crossings, 0.0).max(axis=1)
