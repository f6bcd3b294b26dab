"""What a run tells about itself, object by object and at the end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Which part of the work a command asks for."""

    GUESS = "guess"
    VALIDATE = "validate"
    FILL = "fill"
    ALL = "all"


class Status(StrEnum):
    """How one object fared."""

    MADE = "made"
    KEPT = "kept"
    """Its file exists and was left as it is."""
    SHORT = "short"
    """Made, but under its quotas; the message says why."""
    FAILED = "failed"
    """Nothing was made; the message says why."""
    BUSY = "busy"
    """Another run has the object in hand; it is looked at again later. No report that leaves a run has this status."""


@dataclass(frozen=True)
class ObjectReport:
    """One object: what its grasp file holds now, and what this run did."""

    object_id: str
    status: Status
    held: int
    failed: int
    """Negatives of every kind."""
    unvalidated: int
    tested: int
    """Grasps simulated in this run, whether kept or not."""
    message: str
    """What there is to say; empty where all went as asked."""
    seconds: float
    tested_held: int | None = None
    """How many of `tested` held; None where the run does not tell."""
    traceback: str | None = None
    """Where a failure that nobody foresaw came from."""


@dataclass(frozen=True)
class RunSummary:
    """A whole run; the reports are in the order of the scales file."""

    reports: tuple[ObjectReport, ...]

    def count(self, status: Status) -> int:
        """Number of objects with that status."""
        return sum(report.status is status for report in self.reports)

    def with_status(self, *statuses: Status) -> tuple[ObjectReport, ...]:
        """The reports with one of the statuses, in order."""
        return tuple(report for report in self.reports if report.status in statuses)
