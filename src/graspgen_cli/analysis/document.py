"""An analysis as plain values for programs: one JSON document, and CSV with a row an object. SI units; what is not known is null."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from graspgen_cli.analysis.counts import OutcomeCounts, judged, rate_interval, reference_rates
from graspgen_cli.analysis.dataset_facts import DatasetAnalysis, reference_of
from graspgen_cli.analysis.drift import draws_document, drift_document, total_draws, total_drift
from graspgen_cli.analysis.object_facts import OPENING_STEP, ObjectFacts
from graspgen_cli.dataset.health import Finding
from graspgen_cli.records import Outcome

OUTCOMES = tuple(outcome.label for outcome in (Outcome.HELD, Outcome.COLLISION, Outcome.DROPPED, Outcome.UNSTABLE, Outcome.UNVALIDATED))
"""The outcomes in the order in which tables show them."""


def analysis_document(analysis: DatasetAnalysis) -> dict[str, Any]:
    """Everything that was found."""
    total = analysis.total
    of_gripper = {name: [facts for facts in analysis.objects if facts.gripper == name] for name in analysis.grippers}
    return {
        "paths": list(analysis.paths),
        "passed": analysis.passed,
        "drift": {name: drift_document(total_drift(facts.drift for facts in of_gripper[name])) for name in analysis.grippers},
        "draws": {name: draws_document(total_draws(facts.draws for facts in of_gripper[name])) for name in analysis.grippers},
        "grippers": {name: vars(rate) if (rate := reference_rates().get(name)) else None for name in analysis.grippers},
        "total": {"objects": total.objects, "usable_objects": total.usable_objects, **_numbers(total)},
        "objects": [object_row(facts) for facts in analysis.objects],
        "short": [row._asdict() for row in analysis.short],
        "thresholds": vars(analysis.thresholds),
        "findings": [_finding(finding) for finding in analysis.findings],
        "splits": [vars(splits) for splits in analysis.splits],
        "opening_classes": {"width_m": OPENING_STEP, "good_grasps": list(analysis.openings)},
        "approach_cells": list(analysis.directions),
        "settings": dict(analysis.settings),
    }


def object_row(facts: ObjectFacts) -> dict[str, Any]:
    """One object, flat: the row of a table."""
    low, high = rate_interval(facts.counts.held, facts.counts.tested)
    surface = facts.surface
    return {
        "object_id": facts.counts.object_id,
        "gripper": facts.gripper,
        "scale": facts.scale,
        **_numbers(facts.counts),
        "held_rate_low": low,
        "held_rate_high": high,
        "compared": judged(facts.counts, reference_of(facts)) or None,
        "usable": facts.counts.usable,
        "near_duplicates": facts.near_duplicates,
        "approach_spread": number(facts.spread),
        "approach_share": facts.direction_share,
        "opening_mean": number(mean_opening(facts)),
        "coverage": surface.coverage if surface else None,
        "colliding": surface.colliding if surface else None,
        "unreachable": surface.unreachable if surface else None,
        "file": str(facts.path),
        "file_name": facts.counts.file_name,
    }


def mean_opening(facts: ObjectFacts) -> float:
    """Mean opening width of the good grasps, m, to half a class; NaN where no width is known."""
    middles = ((k + 0.5) * OPENING_STEP * count for k, count in enumerate(facts.openings))
    return sum(middles) / facts.opening_known if facts.opening_known else math.nan


def csv_text(analysis: DatasetAnalysis) -> str:
    """The objects as CSV with a header."""
    rows = [object_row(facts) for facts in analysis.objects]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_cell(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _csv_cell(value: object) -> object:
    """Spreadsheets take a text that begins like this for a formula, and an object id may hold anything."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


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


CSV_COLUMNS = (
    "object_id", "gripper", "scale", *OUTCOMES, "failed", "tested", "total", "held_rate", "held_rate_low", "held_rate_high", "compared",
    "usable", "near_duplicates", "approach_spread", "approach_share", "opening_mean", "coverage", "colliding", "unreachable", "file",
    "file_name",
)  # fmt: skip
