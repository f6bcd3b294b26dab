"""The task of one object, and the decision whether its grasp file makes the task unnecessary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from graspgen_cli.dataset.index import GraspEntry
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.dataset.provenance import Provenance, StepRecord, differences, guess_record, simulation_record
from graspgen_cli.formats.format import Entry
from graspgen_cli.making.reports import ObjectReport, Status
from graspgen_cli.records import GraspBatch, GraspDataset, Measure, Outcome
from graspgen_cli.settings.commands import MakingSettings
from graspgen_cli.settings.runs import ModeSettings

FAILED = (Outcome.COLLISION, Outcome.DROPPED, Outcome.UNSTABLE)
"""The outcomes that count as failed grasps."""


class Existing(Enum):
    """What a run does with a grasp file that exists."""

    KEEP = "keep"
    FILL = "fill"
    """Adds the grasps that the quotas miss."""
    RETRY = "retry"
    """Tries its grasps again."""
    REPLACE = "replace"


@dataclass(frozen=True)
class Plan:
    """What a run does with each object. simulates: whether grasps are tried, or only guessed. backend: name of the engine."""

    existing: Existing
    simulates: bool
    backend: str

    @classmethod
    def of(cls, mode: ModeSettings, backend: str) -> Plan:
        """The plan of a run. Grasps of another tool are tried once, as guesses are."""
        if mode.load_guesses and mode.grasps is None:
            existing = Existing.RETRY
        elif mode.overwrite_grasps:
            existing = Existing.REPLACE
        else:
            existing = Existing.FILL if mode.fill_grasps and mode.grasps is None else Existing.KEEP
        return cls(existing, not mode.guess_only, backend)


@dataclass(frozen=True)
class ObjectTask:
    """All that a worker needs to make the grasps of one object, besides the gripper. source: grasps of another tool to try, if any."""

    object_id: str
    scale: float
    object_root: Path
    paths: DatasetPaths
    file_name: str
    plan: Plan
    settings: MakingSettings
    source: Entry | None = None

    @property
    def grasp_file(self) -> Path:
        """The object's grasp file."""
        return self.paths.grasps / self.file_name

    @property
    def tries_given(self) -> bool:
        """Whether the run tries grasps that exist instead of guesses."""
        return self.source is not None or self.plan.existing is Existing.RETRY

    def records(self, object_digest: str, gripper_digest: str) -> tuple[StepRecord, StepRecord]:
        """The records of the guesses and of the trials that this run would make."""
        settings, reach = self.settings, self.settings.reach.reach
        digests = {"object_digest": object_digest, "gripper_digest": gripper_digest}
        guess = guess_record(**digests, settings=settings.guess, pick_up=settings.pick_up, reach=reach)
        simulation = simulation_record(
            **digests,
            settings=settings.simulation,
            backend=self.plan.backend,
            reach=reach,
            criterion=settings.judge,
            randomization=settings.randomization,
        )
        return guess, simulation


@dataclass(frozen=True)
class Counts:
    """Numbers of grasps. failed: negatives of every kind; untested: guesses; hard_negatives: those among the failed; 0 from the index,
    which does not count them."""

    held: int = 0
    failed: int = 0
    untested: int = 0
    hard_negatives: int = 0

    @classmethod
    def of(cls, grasps: GraspBatch) -> Counts:
        """The numbers in a batch."""
        hard = ~np.isnan(grasps.measured[:, Measure.OFFSET]) & (grasps.outcome == Outcome.DROPPED)
        return cls(grasps.count(Outcome.HELD), grasps.count(*FAILED), grasps.count(Outcome.UNVALIDATED), int(hard.sum()))

    @classmethod
    def of_labels(cls, counts: Mapping[str, int]) -> Counts:
        """The numbers by the names of the outcomes, as the index has them."""
        failed = sum(counts.get(outcome.label, 0) for outcome in FAILED)
        return cls(counts.get(Outcome.HELD.label, 0), failed, counts.get(Outcome.UNVALIDATED.label, 0))


@dataclass(frozen=True)
class OnFile:
    """What a grasp file holds. differences: how its grasps were made otherwise than this run would make them, in words."""

    counts: Counts
    differences: tuple[str, ...] = ()

    @classmethod
    def of_dataset(cls, task: ObjectTask, dataset: GraspDataset, object_digest: str, gripper_digest: str) -> OnFile:
        """By the file itself. The digests are those of the mesh and the gripper now."""
        guess, simulation = task.records(object_digest, gripper_digest)
        made = Provenance.of(dataset) or Provenance()
        return cls(Counts.of(dataset.grasps), (*differences(made.guess, guess), *differences(made.simulation, simulation)))

    @classmethod
    def of_entry(cls, task: ObjectTask, entry: GraspEntry, object_digest: str, gripper_digest: str) -> OnFile | None:
        """By the entry in the index. None if the entry is of another object or other settings: only the file tells the differences."""
        guess, simulation = task.records(object_digest, gripper_digest)
        same_object = (entry.object_id, entry.scale) == (task.object_id, task.scale)
        same_settings = entry.guess == guess.digest and entry.simulation in (None, simulation.digest)
        return cls(Counts.of_labels(entry.counts)) if same_object and same_settings else None


@dataclass(frozen=True)
class Decision:
    """Whether an object is done. status: KEPT if its file stays as it is, SHORT if it has no grasps to try; None: there is work to do."""

    status: Status | None
    message: str = ""


def decide(task: ObjectTask, found: OnFile | None) -> Decision:
    """Whether the object is done. found: its grasp file, as the index or the file itself describes it; None without a file."""
    existing = task.plan.existing
    if found is None and existing is Existing.RETRY:
        return Decision(Status.SHORT, "no guesses on file; the command fill makes them")
    if found is None or existing in (Existing.RETRY, Existing.REPLACE):
        return Decision(None)
    untested = found.counts.untested if task.plan.simulates else 0
    if existing is Existing.FILL and (untested or missing(task, found.counts)):
        return Decision(None)
    notes = []
    if found.differences:
        shown = "; ".join(dict.fromkeys(found.differences[:3])) + ("; …" if len(found.differences) > 3 else "")
        notes.append(f"made with other settings ({shown}); --overwrite-grasps makes it anew")
    if untested:
        notes.append(f"{untested} guesses untested; --load-guesses tests them")
    return Decision(Status.KEPT, "; ".join(notes))


def missing(task: ObjectTask, counts: Counts) -> list[str]:
    """The quotas that are not full, such as ``3 of 64 held``."""
    quotas, simulates = task.settings.quotas, task.plan.simulates
    rows = [
        (counts.held if simulates else counts.held + counts.untested, quotas.num_collision_free_grasps, "held" if simulates else "guesses"),
        (counts.failed, quotas.num_colliding_grasps, "failed"),
        (counts.hard_negatives, task.settings.extras.hard_negatives if simulates else 0, "hard negatives"),
    ]
    return [f"{number} of {wanted} {kind}" for number, wanted, kind in rows if number < wanted]


def report(task: ObjectTask, status: Status, counts: Counts, message: str) -> ObjectReport:
    """The report of an object with a grasp file like this."""
    return ObjectReport(
        object_id=task.object_id, status=status, held=counts.held, failed=counts.failed, unvalidated=counts.untested, message=message
    )
