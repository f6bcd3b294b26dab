"""Which grasps of an object to keep: so many of each kind, or those that meet conditions. Indices come in the file's order."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.errors import SettingsError
from graspgen_cli.records import Floats, GraspBatch, Outcome
from graspgen_cli.settings.analysis_models import BalanceSettings, FilterSettings

_PLACES = re.compile(r"\s*(?:(\d{1,9})\s*(:)?\s*(\d{1,9})?|(:)\s*(\d{1,9}))\s*")
"""One place or range of --indices: ``7``, ``7:``, ``7:9`` or ``:9``."""

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Conditions:
    """What grasps must meet, read from the settings once. ranges: (first, end) of places. outcomes: values of Outcome.
    direction: unit vector."""

    ranges: tuple[tuple[int, float], ...] | None
    outcomes: tuple[int, ...] | None
    openings: tuple[float, float] | None
    direction: tuple[float, float, float] | None
    angle: float
    """rad."""


def conditions(settings: FilterSettings) -> Conditions:
    """The conditions that the settings say. Raises SettingsError for places or names that are none."""
    narrow, wide = settings.min_opening, settings.max_opening
    length = math.hypot(*settings.approach_direction) if settings.approach_direction else 1.0
    return Conditions(
        ranges=_ranges(settings.indices) if settings.indices is not None else None,
        outcomes=_outcomes(settings.outcomes) if settings.outcomes is not None else None,
        openings=None if narrow is None and wide is None else (narrow or 0.0, math.inf if wide is None else wide),
        direction=_unit(settings.approach_direction, length),
        angle=math.radians(settings.approach_angle),
    )


def _unit(vector: tuple[float, float, float] | None, length: float) -> tuple[float, float, float] | None:
    return None if vector is None else (vector[0] / length, vector[1] / length, vector[2] / length)


def _ranges(text: str) -> tuple[tuple[int, float], ...]:
    found = []
    for part in text.split(","):
        match = _PLACES.fullmatch(part)
        if match is None:
            raise SettingsError(f"--indices: {part!a} is no place and no range; give such as 0,5,10:20")
        first, colon, end, open_start, only_end = match.groups()
        if open_start:
            found.append((0, float(only_end)))
        elif colon:
            found.append((int(first), float(end) if end else math.inf))
        elif end:
            raise SettingsError(f"--indices: {part!a} is no place and no range; give such as 0,5,10:20")
        else:
            found.append((int(first), float(int(first) + 1)))
    return tuple(found)


def _outcomes(text: str) -> tuple[int, ...]:
    known = {outcome.label: int(outcome) for outcome in Outcome}
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise SettingsError(f"--outcomes: {name!a} is no outcome; there is {', '.join(known)}")
    return tuple(known[name] for name in names)


def matching(wanted: Conditions, grasps: GraspBatch, pose_graspgen_in_gripper: Floats) -> Indices:
    """The grasps that meet all conditions; one whose opening is not known meets none about openings.

    pose_graspgen_in_gripper: (4, 4), GraspGen's frame, whose z is the approach, in the frame of the poses.
    """
    kept = np.ones(len(grasps), bool)
    if wanted.ranges is not None:
        place = np.arange(len(grasps))
        kept &= np.any([(place >= first) & (place < end) for first, end in wanted.ranges], axis=0)
    if wanted.outcomes is not None:
        kept &= np.isin(grasps.outcome, wanted.outcomes)
    if wanted.openings is not None:
        kept &= (grasps.opening_width >= wanted.openings[0]) & (grasps.opening_width <= wanted.openings[1])
    if wanted.direction is not None:
        approach = (grasps.pose_gripper_in_object @ pose_graspgen_in_gripper)[:, :3, 2]
        kept &= approach @ np.array(wanted.direction) >= math.cos(wanted.angle) - 1e-12
    return np.flatnonzero(kept)


def balanced(settings: BalanceSettings, grasps: GraspBatch, rng: np.random.Generator) -> Indices:
    """A random choice of held and failed grasps, as many as the settings say and there are; guesses that were not tested are left out.

    With a ratio the side that there is too much of is cut: as many held grasps as possible, whose failed ones there are.
    """
    held = np.flatnonzero(grasps.outcome == Outcome.HELD)
    failed = np.flatnonzero(np.isin(grasps.outcome, (Outcome.COLLISION, Outcome.DROPPED, Outcome.UNSTABLE)))
    most_held = min(len(held), math.inf if settings.num_held is None else settings.num_held)
    most_failed = min(len(failed), math.inf if settings.num_failed is None else settings.num_failed)
    counts = _in_ratio(int(most_held), int(most_failed), settings.failed_per_held)
    chosen = [rng.permutation(rows)[:count] for rows, count in zip((held, failed), counts, strict=True)]
    return np.sort(np.concatenate(chosen))


def _in_ratio(most_held: int, most_failed: int, failed_per_held: float | None) -> tuple[int, int]:
    """The largest numbers of held and failed grasps in the ratio, the failed rounded to the nearest."""
    if failed_per_held is None:
        return most_held, most_failed
    held = most_held
    if failed_per_held * held > most_failed + 0.5:
        held = int((most_failed + 0.5) / failed_per_held)
    return held, min(most_failed, math.floor(failed_per_held * held + 0.5))
