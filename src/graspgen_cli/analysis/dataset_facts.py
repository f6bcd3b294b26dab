"""The result of `analyze` for all objects together, and its forms for programs: JSON and CSV. SI units; null for unknown values."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graspgen_cli.analysis.counts import OUTCOMES, OutcomeCounts, rate_interval, reference_rates, total_counts
from graspgen_cli.analysis.drift import draws_document, drift_document, total_draws, total_drift
from graspgen_cli.analysis.object_facts import DIRECTION_BANDS, DIRECTION_SECTORS, OPENING_CLASSES, OPENING_STEP, ObjectFacts
from graspgen_cli.dataset.health import UNREAD, Finding, FindingKind, SplitFacts
from graspgen_cli.settings.datasets import AnalyzeSettings

CSV_COLUMNS = (
    "object_id", "gripper", "scale", *OUTCOMES, "failed", "tested", "total", "held_rate", "held_rate_low", "held_rate_high", "compared",
    "usable", "near_duplicates", "approach_spread", "approach_share", "opening_mean", "coverage", "colliding", "unreachable", "file",
    "file_name",
)  # fmt: skip


class Shortfall(NamedTuple):
    """A threshold that an object misses. what: ``held``, ``failed`` or ``total``. missing: grasps that the object needs. found: grasps that
    it has."""

    object_id: str
    what: str
    missing: int
    found: int


def shortfalls(object_id: str, counts: OutcomeCounts, thresholds: AnalyzeSettings) -> Iterator[Shortfall]:
    """The thresholds that an object misses."""
    for what, least in {"held": thresholds.min_success, "failed": thresholds.min_failed, "total": thresholds.min_total}.items():
        found = getattr(counts, what)
        if found < least:
            yield Shortfall(object_id, what, least - found, found)


@dataclass(frozen=True, kw_only=True)
class DatasetAnalysis:
    """The result of `analyze`. objects: by gripper, then object id. settings: digest -> record of how so many files were made."""

    paths: tuple[str, ...]
    objects: tuple[ObjectFacts, ...]
    findings: tuple[Finding, ...] = ()
    splits: tuple[SplitFacts, ...] = ()
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    thresholds: AnalyzeSettings = field(default_factory=AnalyzeSettings)

    @property
    def total(self) -> OutcomeCounts:
        """All objects together."""
        return total_counts(facts.counts for facts in self.objects)

    @property
    def usable_objects(self) -> int:
        """Objects that the trainer takes."""
        return sum(facts.counts.usable for facts in self.objects)

    @property
    def unread(self) -> tuple[Finding, ...]:
        """The files that could not be read."""
        return tuple(finding for finding in self.findings if finding.kind in UNREAD)

    @property
    def short(self) -> list[Shortfall]:
        """The thresholds that objects miss."""
        return [each for facts in self.objects for each in shortfalls(facts.object_id, facts.counts, self.thresholds)]

    @property
    def under(self) -> bool:
        """Whether the held rate is under its threshold; without a tested grasp it is."""
        rate = self.total.held_rate
        return self.thresholds.fail_under > 0 and not rate >= self.thresholds.fail_under

    @property
    def passed(self) -> bool:
        """Whether no data are wrong and every threshold is met."""
        return not self.short and not self.under and not any(finding.is_fault for finding in self.findings)

    @property
    def openings(self) -> tuple[int, ...]:
        """Good grasps in each class of openings."""
        return _sum([facts.openings for facts in self.objects], OPENING_CLASSES)

    @property
    def directions(self) -> tuple[int, ...]:
        """Good grasps in each cell of approach directions."""
        return _sum([facts.directions for facts in self.objects], DIRECTION_BANDS * DIRECTION_SECTORS)

    @property
    def by_gripper(self) -> dict[str, list[ObjectFacts]]:
        """The objects of each gripper, by its name in order."""
        names = sorted({facts.gripper for facts in self.objects})
        return {name: [facts for facts in self.objects if facts.gripper == name] for name in names}


def _sum(rows: Sequence[tuple[int, ...]], length: int) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True))) if rows else (0,) * length


def rate_findings(objects: Sequence[ObjectFacts]) -> Iterator[Finding]:
    """The objects with a lower held rate than any example object."""
    for facts in objects:
        counts, reference = facts.counts, facts.reference
        if reference is not None and facts.compared == "low":
            detail = (
                f"held {counts.held} of {counts.tested} tested ({counts.held_rate:.0%}); {facts.gripper} holds "
                f"{reference.lowest:.0%} to {reference.highest:.0%} on the example objects, {reference.held_rate:.0%} of all"
            )
            yield Finding(FindingKind.LOW_RATE, facts.path, detail, facts.gripper, facts.object_id, counts.tested)


def analysis_document(analysis: DatasetAnalysis) -> dict[str, Any]:
    """The JSON document."""
    grippers = analysis.by_gripper
    counts = {"objects": len(analysis.objects), "usable_objects": analysis.usable_objects}
    return {
        "paths": list(analysis.paths),
        "passed": analysis.passed,
        "drift": {name: drift_document(total_drift(facts.drift for facts in row)) for name, row in grippers.items()},
        "draws": {name: draws_document(total_draws(facts.draws for facts in row)) for name, row in grippers.items()},
        "grippers": {name: vars(rate) if (rate := reference_rates().get(name)) else None for name in grippers},
        "total": {**counts, **_numbers(analysis.total)},
        "objects": [_object_row(facts) for facts in analysis.objects],
        "short": [row._asdict() for row in analysis.short],
        "thresholds": analysis.thresholds.model_dump(include={"min_success", "min_failed", "min_total", "fail_under"}),
        "findings": [_finding(finding) for finding in analysis.findings],
        "splits": [vars(splits) for splits in analysis.splits],
        "opening_classes": {"width_m": OPENING_STEP, "good_grasps": list(analysis.openings)},
        "approach_cells": list(analysis.directions),
        "settings": dict(analysis.settings),
    }


def _object_row(facts: ObjectFacts) -> dict[str, Any]:
    low, high = rate_interval(facts.counts.held, facts.counts.tested)
    surface = facts.surface
    return {
        "object_id": facts.object_id,
        "gripper": facts.gripper,
        "scale": facts.scale,
        **_numbers(facts.counts),
        "held_rate_low": low,
        "held_rate_high": high,
        "compared": facts.compared or None,
        "usable": facts.counts.usable,
        "near_duplicates": facts.near_duplicates,
        "approach_spread": number(facts.spread),
        "approach_share": facts.direction_share,
        "opening_mean": number(facts.opening_mean),
        "coverage": surface.coverage if surface else None,
        "colliding": surface.colliding if surface else None,
        "unreachable": surface.unreachable if surface else None,
        "file": str(facts.path),
        "file_name": facts.path.name,
    }


def number(value: float) -> float | None:
    """The value, or None for NaN."""
    return None if math.isnan(value) else value


def _numbers(counts: OutcomeCounts) -> dict[str, float | None]:
    outcomes = {name: getattr(counts, name) for name in OUTCOMES}
    return {**outcomes, "failed": counts.failed, "tested": counts.tested, "total": counts.total, "held_rate": number(counts.held_rate)}


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "kind": str(finding.kind),
        "source": str(finding.path),
        "object_id": finding.object_id,
        "detail": finding.detail,
        "count": finding.count,
        "fault": finding.is_fault,
    }


def csv_text(analysis: DatasetAnalysis) -> str:
    """The objects as CSV with a header."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_cell(value) for name, value in _object_row(facts).items()} for facts in analysis.objects)
    return stream.getvalue()


def _csv_cell(value: object) -> object:
    """Spreadsheets read such a text as a formula, and an object id can be any text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
