"""The facts of all objects added up: the record that every form of output is made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graspgen_cli.analysis.counts import DatasetCounts, ReferenceRate, Shortfall, judged, reference_rates, shortfalls, total_counts
from graspgen_cli.analysis.object_facts import DIRECTION_BANDS, DIRECTION_SECTORS, OPENING_CLASSES, ObjectFacts
from graspgen_cli.dataset.health import UNREAD, Finding, FindingKind, SplitFacts


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What is enough: the settings of the same names."""

    min_success: int = 0
    min_failed: int = 0
    min_total: int = 0
    fail_under: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DatasetAnalysis:
    """What `analyze` found.

    objects: by gripper, then object id. settings: for each way in which files were made, by digest, its record and in how many files.
    """

    paths: tuple[str, ...]
    objects: tuple[ObjectFacts, ...]
    findings: tuple[Finding, ...] = ()
    splits: tuple[SplitFacts, ...] = ()
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    thresholds: Thresholds = Thresholds()

    @property
    def total(self) -> DatasetCounts:
        """All objects together."""
        return total_counts(facts.counts for facts in self.objects)

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The files that could not be counted."""
        return tuple(finding for finding in self.findings if finding.kind in UNREAD)

    @property
    def short(self) -> list[Shortfall]:
        """Where objects do not reach a threshold."""
        limits = self.thresholds
        counts = [facts.counts for facts in self.objects]
        return shortfalls(counts, min_success=limits.min_success, min_failed=limits.min_failed, min_total=limits.min_total)

    @property
    def under(self) -> bool:
        """Whether too few of all tested grasps held; a share of nothing is too few."""
        rate = self.total.held_rate
        return self.thresholds.fail_under > 0 and (math.isnan(rate) or rate < self.thresholds.fail_under)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong and every threshold is met."""
        return not self.short and not self.under and not any(finding.is_fault for finding in self.findings)

    @property
    def openings(self) -> tuple[int, ...]:
        """Good grasps of all objects in each class of the opening width."""
        return _added([facts.openings for facts in self.objects], OPENING_CLASSES)

    @property
    def directions(self) -> tuple[int, ...]:
        """Good grasps of all objects in each cell of the approach directions."""
        return _added([facts.directions for facts in self.objects], DIRECTION_BANDS * DIRECTION_SECTORS)

    @property
    def grippers(self) -> tuple[str, ...]:
        """The grippers of the grasps."""
        return tuple(sorted({facts.gripper for facts in self.objects}))


def _added(rows: Sequence[tuple[int, ...]], length: int) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True))) if rows else (0,) * length


def reference_of(facts: ObjectFacts) -> ReferenceRate | None:
    """The rates to compare an object's with; None where there is none, or the grasps were chosen."""
    return None if facts.chosen else reference_rates().get(facts.gripper)


def rate_findings(objects: Sequence[ObjectFacts]) -> list[Finding]:
    """The objects that hold less often than any object does on which the gripper was measured."""
    found = []
    for facts in objects:
        reference = reference_of(facts)
        if reference is not None and judged(facts.counts, reference) == "low":
            detail = (
                f"held {facts.counts.held} of {facts.counts.tested} tested ({facts.counts.held_rate:.0%}); {facts.gripper} holds "
                f"{reference.lowest:.0%} to {reference.highest:.0%} on the example objects, {reference.held_rate:.0%} of all"
            )
            found.append(Finding(FindingKind.LOW_RATE, facts.path, detail, facts.gripper, facts.counts.object_id, facts.counts.tested))
    return found
