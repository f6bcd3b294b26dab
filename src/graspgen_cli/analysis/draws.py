"""What the draws of randomised physics say of a dataset: how many of them held, and of how many grasps they agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from graspgen_cli.records import GraspBatch, Measure


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
