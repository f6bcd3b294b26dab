"""How far the objects of held grasps moved in the gripper: a label says that an object was not lost, not that it stayed in its place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graspgen_cli.records import Floats, GraspBatch, Measure, Outcome

LEAST = {Measure.SLIP: 1e-6, Measure.TURN: 1e-5}
"""m and rad: upper end of the first class, the precision of the files."""
CLASSES, CLASSES_A_DECADE = 120, 20
"""Classes of one width on a logarithmic scale, so that percentiles of any number of grasps are known to 12 % from a few numbers."""
SHARES = (0.5, 0.9, 0.95, 0.99)
"""The percentiles that are shown."""


@dataclass(frozen=True)
class Drift:
    """Held grasps whose motion is known, by class of slip and of turn. Class i ends at LEAST x 10^(i / CLASSES_A_DECADE)."""

    slips: tuple[int, ...]
    turns: tuple[int, ...]

    @property
    def grasps(self) -> int:
        """Held grasps whose motion is known."""
        return sum(self.slips)

    def slip(self, share: float) -> float:
        """m: slip that this share of the held grasps does not exceed; NaN where nothing is known."""
        return _percentile(self.slips, share, LEAST[Measure.SLIP])

    def turn(self, share: float) -> float:
        """rad: the same for the angle."""
        return _percentile(self.turns, share, LEAST[Measure.TURN])


def drift_of(grasps: GraspBatch) -> Drift:
    """The drift of one object's held grasps."""
    held = grasps.measured[grasps.outcome == Outcome.HELD]
    known = held[~np.isnan(held[:, [Measure.SLIP, Measure.TURN]]).any(axis=1)]
    return Drift(*(_classes(known[:, measure], LEAST[measure]) for measure in (Measure.SLIP, Measure.TURN)))


def total_drift(drifts: Iterable[Drift]) -> Drift:
    """The drift of several objects together."""
    listed = list(drifts)
    nothing = (0,) * CLASSES
    slips = [sum(column) for column in zip(nothing, *(each.slips for each in listed), strict=True)]
    turns = [sum(column) for column in zip(nothing, *(each.turns for each in listed), strict=True)]
    return Drift(tuple(slips), tuple(turns))


def drift_line(drift: Drift) -> str:
    """In a line: ``drift of 640 held grasps: 0.1 mm and 0.3° in the median, …``; empty where nothing is known."""
    if not drift.grasps:
        return ""
    names = ("in the median", *(f"at {share:.0%}" for share in SHARES[1:]))
    parts = [
        f"{drift.slip(share) * 1000:.2g} mm and {math.degrees(drift.turn(share)):.2g}° {name}"
        for share, name in zip(SHARES, names, strict=True)
    ]
    return f"drift of {drift.grasps} held grasps: {', '.join(parts)}"


def drift_document(drift: Drift) -> dict[str, object]:
    """The same as plain values; null where nothing is known."""
    known = drift.grasps > 0
    return {
        "held_grasps": drift.grasps,
        "slip_m": {f"{share:g}": drift.slip(share) if known else None for share in SHARES},
        "turn_rad": {f"{share:g}": drift.turn(share) if known else None for share in SHARES},
    }


def _classes(values: Floats, least: float) -> tuple[int, ...]:
    with np.errstate(divide="ignore"):
        number = np.ceil(np.log10(values / least) * CLASSES_A_DECADE - 1e-9)
    return tuple(np.bincount(np.clip(number, 0, CLASSES - 1).astype(np.intp), minlength=CLASSES).tolist())


def _percentile(counts: Sequence[int], share: float, least: float) -> float:
    """Upper end of the class in which the share of all is reached."""
    total = sum(counts)
    if not total:
        return math.nan
    reached = int(np.searchsorted(np.cumsum(counts), math.ceil(share * total - 1e-9)))
    return least * 10 ** (reached / CLASSES_A_DECADE)
