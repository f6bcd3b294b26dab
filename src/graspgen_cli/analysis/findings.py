"""What is wrong with a dataset, or worth a look, one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """The value is what tables, reports and JSON show."""

    UNREADABLE = "unreadable"
    NOT_FINITE = "not finite"
    NOT_A_ROTATION = "not a rotation"
    FAR_AWAY = "far from the object"
    IN_COLLISION = "in collision"
    OBJECT_MISSING = "object missing"
    DUPLICATE_OBJECT = "duplicate object"
    SPLIT_BROKEN = "split broken"
    SPLIT_OVERLAP = "in both splits"
    SPLIT_DANGLING = "split without grasps"
    SPLIT_LACKS = "in no split"
    FEW_POSITIVES = "too few for the trainer"
    NEAR_DUPLICATES = "near-duplicates"
    LOW_RATE = "low held rate"


FAULTS = frozenset(
    {
        FindingKind.UNREADABLE,
        FindingKind.NOT_FINITE,
        FindingKind.NOT_A_ROTATION,
        FindingKind.FAR_AWAY,
        FindingKind.IN_COLLISION,
        FindingKind.OBJECT_MISSING,
        FindingKind.DUPLICATE_OBJECT,
        FindingKind.SPLIT_BROKEN,
        FindingKind.SPLIT_OVERLAP,
    }
)
"""What makes data wrong, and the command end with exit code 1. The others are for people to judge."""
BROKEN = frozenset({FindingKind.UNREADABLE, FindingKind.NOT_FINITE})
"""What keeps a file from being counted at all."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    source: the file. object_id: empty where it concerns no single object. count: how many grasps, or objects for splits; 0 for files.
    """

    kind: FindingKind
    source: str
    object_id: str
    detail: str
    count: int = 0

    @property
    def is_fault(self) -> bool:
        """Whether the data are wrong, rather than unusual."""
        return self.kind in FAULTS
