"""Statistics of the measures of trials: motion and overlap of held objects, and the draws of randomised physics.

Histograms and sums, so that the statistics of many objects add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graspgen_cli.records import Floats, GraspBatch, Measure, Outcome

_FIRST = {Measure.SLIP: 1e-6, Measure.TURN: 1e-5, Measure.PENETRATION: 1e-6}
"""m, rad and m: upper end of the first class, the precision of the files. The measures of `Drift`, in its order."""
CLASSES, CLASSES_A_DECADE = 120, 20
"""Logarithmic classes, which give percentiles to 12 %."""
SHARES = (0.5, 0.9, 0.95, 0.99)
"""The percentiles of the output."""


@dataclass(frozen=True)
class Drift:
    """Held grasps in each class of slip, turn and penetration. Class i ends at _FIRST x 10^(i / CLASSES_A_DECADE)."""

    slips: tuple[int, ...] = (0,) * CLASSES
    turns: tuple[int, ...] = (0,) * CLASSES
    penetrations: tuple[int, ...] = (0,) * CLASSES

    @property
    def grasps(self) -> int:
        """Held grasps with a known motion."""
        return sum(self.slips)

    def percentile(self, measure: Measure, share: float) -> float:
        """The value (m or rad) that this share of the held grasps does not exceed; NaN without a known value."""
        counts = {Measure.SLIP: self.slips, Measure.TURN: self.turns, Measure.PENETRATION: self.penetrations}[measure]
        if not sum(counts):
            return math.nan
        reached = int(np.searchsorted(np.cumsum(counts), math.ceil(share * sum(counts) - 1e-9)))
        return _FIRST[measure] * 10 ** (reached / CLASSES_A_DECADE)


def drift_of(grasps: GraspBatch) -> Drift:
    """The drift of one object's held grasps."""
    slip, turn, penetration = grasps.measured[grasps.outcome == Outcome.HELD][:, list(_FIRST)].T
    moved = ~np.isnan(slip) & ~np.isnan(turn)
    return Drift(*map(_classes, (slip[moved], turn[moved], penetration[~np.isnan(penetration)]), _FIRST.values()))


def _classes(values: Floats, first: float) -> tuple[int, ...]:
    with np.errstate(divide="ignore"):
        number = np.ceil(np.log10(values / first) * CLASSES_A_DECADE - 1e-9)
    return tuple(np.bincount(np.clip(number, 0, CLASSES - 1).astype(np.intp), minlength=CLASSES).tolist())


def total_drift(drifts: Iterable[Drift]) -> Drift:
    """The drift of several objects together."""
    listed = [Drift(), *drifts]
    return Drift(*(_sum([getattr(each, name) for each in listed]) for name in ("slips", "turns", "penetrations")))


def _sum(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))


def drift_lines(drift: Drift) -> list[str]:
    """``drift of 640 held grasps: 0.1 mm and 0.3° in the median, …`` and ``deepest overlap of …``, as far as the values are known."""

    def moved(share: float) -> str:
        slip, turn = drift.percentile(Measure.SLIP, share), drift.percentile(Measure.TURN, share)
        return f"{_two_digits(1000 * slip)} mm and {_two_digits(math.degrees(turn))}°"

    def overlapped(share: float) -> str:
        return f"{_two_digits(1000 * drift.percentile(Measure.PENETRATION, share))} mm"

    lines = []
    if drift.grasps:
        lines.append(f"drift of {drift.grasps} held grasps: {_percentiles(moved)}")
    if known := sum(drift.penetrations):
        lines.append(f"deepest overlap of {known} held grasps: {_percentiles(overlapped)}")
    return lines


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


def _percentiles(text: Callable[[float], str]) -> str:
    names = ("in the median", *(f"at {share:.0%}" for share in SHARES[1:]))
    return ", ".join(f"{text(share)} {name}" for share, name in zip(SHARES, names, strict=True))


def drift_document(drift: Drift) -> dict[str, object]:
    """The same as JSON values; null for unknown values."""
    names = {"slip_m": Measure.SLIP, "turn_rad": Measure.TURN, "penetration_m": Measure.PENETRATION}
    percentiles = {name: {f"{share:g}": drift.percentile(measure, share) for share in SHARES} for name, measure in names.items()}
    known = {name: {share: None if math.isnan(value) else value for share, value in row.items()} for name, row in percentiles.items()}
    return {"held_grasps": drift.grasps, **known}


@dataclass(frozen=True)
class Draws:
    """Grasps with draws of randomised physics: their number, the sum of their held shares (0 to 1), and how many held in every draw and in
    none."""

    grasps: int = 0
    held_share: float = 0.0
    all_held: int = 0
    none_held: int = 0


def draws_of(grasps: GraspBatch) -> Draws:
    """The draws of one object's grasps."""
    share = grasps.measured[:, Measure.HELD_FRACTION]
    known = share[~np.isnan(share)]
    return Draws(len(known), float(known.sum()), int((known == 1.0).sum()), int((known == 0.0).sum()))


def total_draws(draws: Iterable[Draws]) -> Draws:
    """The draws of several objects together."""
    listed = [Draws(), *draws]
    return Draws(*(sum(getattr(each, name) for each in listed) for name in Draws.__dataclass_fields__))


def draws_line(draws: Draws) -> str:
    """``draws of 80 grasps: 71.2% held; 48 grasps held in all of theirs, 16 in none``; empty without draws."""
    if not draws.grasps:
        return ""
    mean = draws.held_share / draws.grasps
    return f"draws of {draws.grasps} grasps: {mean:.1%} held; {draws.all_held} grasps held in all of theirs, {draws.none_held} in none"


def draws_document(draws: Draws) -> dict[str, object]:
    """The same as JSON values; null for unknown values."""
    mean = round(draws.held_share / draws.grasps, 6) if draws.grasps else None
    return {"grasps": draws.grasps, "held_fraction_mean": mean, "all_held": draws.all_held, "none_held": draws.none_held}
