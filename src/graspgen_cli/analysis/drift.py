"""How far the objects of held grasps moved in the gripper, and how deep they were in it: a label says that an object was not lost, not that
it stayed in its place.

What the draws of randomised physics say of a dataset: how many of them held, and of how many grasps they agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graspgen_cli.records import Floats, GraspBatch, Measure, Outcome

LEAST = {Measure.SLIP: 1e-6, Measure.TURN: 1e-5, Measure.PENETRATION: 1e-6}
"""m, rad and m: upper end of the first class, the precision of the files."""
CLASSES, CLASSES_A_DECADE = 120, 20
"""Classes of one width on a logarithmic scale, so that percentiles of any number of grasps are known to 12 % from a few numbers."""
SHARES = (0.5, 0.9, 0.95, 0.99)
"""The percentiles that are shown."""


@dataclass(frozen=True)
class Drift:
    """Held grasps whose motion is known, by class of slip and of turn, and those whose deepest overlap with the gripper is known, by class
    of that. Class i ends at LEAST x 10^(i / CLASSES_A_DECADE)."""

    slips: tuple[int, ...]
    turns: tuple[int, ...]
    overlaps: tuple[int, ...]

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

    def overlap(self, share: float) -> float:
        """m: the same for the deepest overlap."""
        return _percentile(self.overlaps, share, LEAST[Measure.PENETRATION])


def drift_of(grasps: GraspBatch) -> Drift:
    """The drift of one object's held grasps."""
    held = grasps.measured[grasps.outcome == Outcome.HELD]
    moved = held[~np.isnan(held[:, [Measure.SLIP, Measure.TURN]]).any(axis=1)]
    overlap = held[~np.isnan(held[:, Measure.PENETRATION]), Measure.PENETRATION]
    slips, turns = (_classes(moved[:, measure], LEAST[measure]) for measure in (Measure.SLIP, Measure.TURN))
    return Drift(slips, turns, _classes(overlap, LEAST[Measure.PENETRATION]))


def total_drift(drifts: Iterable[Drift]) -> Drift:
    """The drift of several objects together."""
    listed = list(drifts)
    return Drift(_added(each.slips for each in listed), _added(each.turns for each in listed), _added(each.overlaps for each in listed))


def _added(classes: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sum(column) for column in zip((0,) * CLASSES, *classes, strict=True))


def drift_lines(drift: Drift) -> list[str]:
    """``drift of 640 held grasps: 0.1 mm and 0.3° in the median, …`` and ``deepest overlap of …``; each only where something is known."""
    lines = []
    if drift.grasps:
        moved = _told(lambda share: f"{_two_digits(drift.slip(share) * 1000)} mm and {_two_digits(math.degrees(drift.turn(share)))}°")
        lines.append(f"drift of {drift.grasps} held grasps: {moved}")
    if seen := sum(drift.overlaps):
        lines.append(f"deepest overlap of {seen} held grasps: {_told(lambda share: f'{_two_digits(drift.overlap(share) * 1000)} mm')}")
    return lines


def _told(percentile: Callable[[float], str]) -> str:
    names = ("in the median", *(f"at {share:.0%}" for share in SHARES[1:]))
    return ", ".join(f"{percentile(share)} {name}" for share, name in zip(SHARES, names, strict=True))


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


def drift_document(drift: Drift) -> dict[str, object]:
    """The same as plain values; null where nothing is known."""

    def percentiles(of: Callable[[float], float]) -> dict[str, float | None]:
        return {f"{share:g}": None if math.isnan(value := of(share)) else value for share in SHARES}

    return {
        "held_grasps": drift.grasps,
        "slip_m": percentiles(drift.slip),
        "turn_rad": percentiles(drift.turn),
        "penetration_m": percentiles(drift.overlap),
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


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Grasps that were tried with draws of the physics."""

    grasps: int
    held_share: float
    """Sum over the grasps of the share (0 to 1) of their draws that held."""
    all_held: int
    """Grasps that held in every draw."""
    none_held: int
    """Grasps that held in no draw."""


def draws_of(grasps: GraspBatch) -> Draws:
    """The draws of one object's grasps, as far as the file says."""
    share = grasps.measured[:, Measure.HELD_FRACTION]
    known = share[~np.isnan(share)]
    return Draws(grasps=len(known), held_share=float(known.sum()), all_held=int((known == 1.0).sum()), none_held=int((known == 0.0).sum()))


def total_draws(draws: Iterable[Draws]) -> Draws:
    """The draws of several objects together."""
    listed = list(draws)
    return Draws(
        grasps=sum(each.grasps for each in listed),
        held_share=sum(each.held_share for each in listed),
        all_held=sum(each.all_held for each in listed),
        none_held=sum(each.none_held for each in listed),
    )


def draws_line(draws: Draws) -> str:
    """In a line: ``draws of 80 grasps: 71.2% held; 48 grasps held in all of theirs, 16 in none``; empty where nothing is known."""
    if not draws.grasps:
        return ""
    mean = draws.held_share / draws.grasps
    return f"draws of {draws.grasps} grasps: {mean:.1%} held; {draws.all_held} grasps held in all of theirs, {draws.none_held} in none"


def draws_document(draws: Draws) -> dict[str, object]:
    """The same as plain values; null where nothing is known."""
    mean = round(draws.held_share / draws.grasps, 6) if draws.grasps else None
    return {"grasps": draws.grasps, "held_fraction_mean": mean, "all_held": draws.all_held, "none_held": draws.none_held}
