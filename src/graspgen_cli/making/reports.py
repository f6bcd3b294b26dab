"""The reports of a run: one for each object, and the summary."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The result of one object."""

    MADE = "made"
    KEPT = "kept"
    """The file exists and stays as it is."""
    SHORT = "short"
    """Made, but below the quotas; the message says why."""
    FAILED = "failed"
    """Nothing was made; the message says why."""
    BUSY = "busy"
    """Another run is making the object; this run checks the object again later. No report in a summary has this status."""


@dataclass(frozen=True)
class ObjectReport:
    """One object: what its grasp file holds now, and the work of this run."""

    object_id: str
    status: Status
    held: int = 0
    failed: int = 0
    """Negatives of every kind."""
    unvalidated: int = 0
    tested: int = 0
    """Grasps simulated in this run, including those left out of the file."""
    message: str = ""
    """Shortfalls, warnings or the error; empty without any."""
    seconds: float = 0.0
    tested_held: int | None = None
    """Number of `tested` that held; None if unknown."""
    traceback: str | None = None
    """Traceback of an unexpected error."""


@dataclass(frozen=True)
class RunSummary:
    """A whole run, with the reports in the order of the scales file."""

    reports: tuple[ObjectReport, ...]

    def count(self, status: Status) -> int:
        """Number of objects with that status."""
        return sum(report.status is status for report in self.reports)

    def with_status(self, *statuses: Status) -> tuple[ObjectReport, ...]:
        """The reports with one of the statuses, in order."""
        return tuple(report for report in self.reports if report.status in statuses)
