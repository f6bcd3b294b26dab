"""The provenance of a grasp file: what decides its grasps, and nothing that differs from run to run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

from graspgen_cli import __version__
from graspgen_cli.records import GraspDataset
from graspgen_cli.settings.guesses import GuessSettings, PickUpSettings, Reach, ReachSettings
from graspgen_cli.settings.inputs import GripperSettings
from graspgen_cli.settings.trials import JudgeSettings, RandomizationSettings, SimulationSettings
from graspgen_cli.tables import ENGINES

GUESS_PACKAGES = ("numpy", "python-fcl", "embreex", "trimesh", "manifold3d")
SIMULATION_PACKAGES = ("mujoco-core", "numpy", "manifold3d")
_NOT_PHYSICS = {"max_num_envs", "max_num_grasps"}
"""Simulation settings that change the number of trials or their speed, never an outcome."""
_OF_GRIPPER = {"base_frame", "finger_colliders", "approach_axis", "open_configuration", "grip_force", "closing_speed"}
_SEED, _THRESHOLD = "randomize_seed", "randomize_threshold"

Record = dict[str, Any]


@dataclass(frozen=True)
class StepRecord:
    """What decides the results of one step: the guesses or the trials. digest: SHA-256 (hex) of the other fields."""

    object_digest: str | None
    gripper_digest: str | None
    settings: Record
    versions: Record
    digest: str | None

    @classmethod
    def of(cls, object_digest: str | None, gripper_digest: str | None, settings: Record, versions: Record) -> StepRecord:
        """The record with its digest."""
        step = cls(object_digest, gripper_digest, settings, versions, None)
        return replace(step, digest=digest(step.document()))

    @classmethod
    def parse(cls, value: object) -> StepRecord | None:
        """The record in a file; None if it is no JSON object, or empty."""
        if not isinstance(value, dict) or not value:
            return None
        texts = {
            name: found if isinstance(found := value.get(name), str) else None for name in ("object_digest", "gripper_digest", "digest")
        }
        return cls(settings=_mapping(value.get("settings")), versions=_mapping(value.get("versions")), **texts)

    def document(self) -> Record:
        """The record as JSON values."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def criterion(self) -> JudgeSettings:
        """The criterion of the outcomes. Raises ValueError if the record is malformed."""
        return JudgeSettings.model_validate(_of_group(self.settings, JudgeSettings))

    def reach(self) -> Reach:
        """The parts of the object that counted as out of reach. Raises ValueError if the record is malformed."""
        return ReachSettings.model_validate(_of_group(self.settings, ReachSettings)).reach

    def randomization(self) -> RandomizationSettings | None:
        """The randomised physics of the trials; None without any. Raises ValueError if the record is malformed."""
        if _SEED not in self.settings:
            return None
        values = _of_group(self.settings, RandomizationSettings)
        return RandomizationSettings.model_validate({**values, "seed": self.settings[_SEED], "randomize": True})

    def judged_by(self, criterion: JudgeSettings, threshold: float | None = None) -> StepRecord:
        """The record of the same trials under another criterion. threshold: share of randomised draws that must hold; None: unchanged."""
        settings = {name: value for name, value in self.settings.items() if name not in JudgeSettings.model_fields}
        if threshold is not None and _THRESHOLD in settings:
            settings[_THRESHOLD] = threshold
        return StepRecord.of(self.object_digest, self.gripper_digest, settings | _criterion(criterion), self.versions)


@dataclass(frozen=True)
class EarlierRun:
    """Records that a later run replaced, and the outcomes of that time: a label for each grasp that the file had then, in order."""

    guess: StepRecord | None
    simulation: StepRecord | None
    outcome: tuple[str, ...]

    @classmethod
    def parse(cls, value: object) -> EarlierRun:
        """The entry in a file; parts that are malformed are left out."""
        record = _mapping(value)
        outcome = record.get("outcome")
        labels = tuple(map(str, outcome)) if isinstance(outcome, list) else ()
        return cls(StepRecord.parse(record.get("guess")), StepRecord.parse(record.get("simulation")), labels)

    def document(self) -> Record:
        """The entry as JSON values."""
        return {"guess": _document(self.guess), "simulation": _document(self.simulation), "outcome": list(self.outcome)}


@dataclass(frozen=True)
class Provenance:
    """How the grasps of a file were made.

    guess: of the guesses; None for grasps of another tool. tries: rounds of sampling. object: repairs, pieces and gaps of the mesh.
    gripper: options that the user gave. simulation: of the trials. hard_negatives, robustness: how these were found. earlier: replaced
    runs, oldest first. subset: how the grasps were chosen from larger files. other: keys of the file without a meaning here.
    """

    guess: StepRecord | None = None
    tries: int = 0
    object: Record = field(default_factory=dict)
    gripper: Record = field(default_factory=dict)
    simulation: StepRecord | None = None
    hard_negatives: Record = field(default_factory=dict)
    robustness: Record = field(default_factory=dict)
    earlier: tuple[EarlierRun, ...] = ()
    subset: tuple[Any, ...] = ()
    other: Record = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: GraspDataset) -> Provenance | None:
        """The provenance of a file; None for a file of another tool."""
        values = dict(dataset.provenance)
        if not values:
            return None
        steps = {name: step for name in ("guess", "simulation") if (step := StepRecord.parse(values.get(name)))}
        parts = {name: values[name] for name in ("object", "gripper", "hard_negatives", "robustness") if isinstance(values.get(name), dict)}
        lists = {name: tuple(values[name]) for name in ("earlier", "subset") if isinstance(values.get(name), list)}
        if "earlier" in lists:
            lists["earlier"] = tuple(map(EarlierRun.parse, lists["earlier"]))
        tries = {"tries": values["tries"]} if isinstance(values.get("tries"), int) else {}
        known: Record = {**steps, **parts, **lists, **tries}
        return cls(**known, other={name: value for name, value in values.items() if name not in known and value is not None})

    def document(self) -> Record:
        """The provenance as JSON values."""
        found: Record = {"guess": _document(self.guess), "tries": self.tries, "object": self.object, "gripper": self.gripper}
        found |= {"simulation": _document(self.simulation), "hard_negatives": self.hard_negatives, "robustness": self.robustness}
        found |= {"earlier": [run.document() for run in self.earlier], "subset": list(self.subset)}
        always = ("guess", "tries", "object")
        return {name: value for name, value in found.items() if value or name in always} | self.other

    def of_rows(self, rows: Sequence[int], how: Mapping[str, Any]) -> Provenance:
        """The provenance of some of the grasps. rows: their indices; how: the reason for the choice."""
        earlier = (replace(run, outcome=tuple(run.outcome[row] for row in rows if row < len(run.outcome))) for run in self.earlier)
        return replace(self, earlier=tuple(earlier), subset=(*self.subset, how))


def recorded_steps(dataset: GraspDataset) -> dict[str, StepRecord]:
    """The records of a file, by "guess" and "simulation"."""
    made = Provenance.of(dataset) or Provenance()
    steps = {"guess": made.guess, "simulation": made.simulation}
    return {name: step for name, step in steps.items() if step is not None}


def guess_record(
    *,
    object_digest: str,
    gripper_digest: str,
    settings: GuessSettings,
    pick_up: PickUpSettings | None = None,
    reach: Reach = Reach.GRIPPER,
) -> StepRecord:
    """The record of guesses."""
    made_with = _sorted(settings) | _reach(reach)
    if pick_up is not None and pick_up.is_on:
        made_with |= pick_up.model_dump(mode="json")
    return StepRecord.of(object_digest, gripper_digest, made_with, _versions(GUESS_PACKAGES))


def simulation_record(
    *,
    object_digest: str,
    gripper_digest: str,
    settings: SimulationSettings,
    backend: str,
    reach: Reach = Reach.GRIPPER,
    criterion: JudgeSettings | None = None,
    randomization: RandomizationSettings | None = None,
) -> StepRecord:
    """The record of trials. Optional features are recorded only where they are used, so that older files keep their digests."""
    from graspgen_cli.validate.scene import recorded_contact  # MuJoCo, which readers of a provenance do not need

    contact = recorded_contact(backend)
    made_with: Record = {"backend": backend, **({"contact": contact} if contact else {})}
    made_with |= {name: value for name, value in _sorted(settings).items() if name not in _NOT_PHYSICS}
    if not settings.shake_sequences:
        del made_with["shake_sequences"]
    if randomization is not None and randomization.randomize:
        made_with |= {**randomization.model_dump(mode="json", exclude={"seed", "randomize"}), _SEED: randomization.seed}
    made_with |= _reach(reach) | _criterion(criterion or JudgeSettings())
    return StepRecord.of(object_digest, gripper_digest, made_with, _versions((*SIMULATION_PACKAGES, *ENGINES[backend].packages)))


def gripper_options(settings: GripperSettings) -> Record:
    """The options of the gripper that the user gave."""
    options: Record = settings.model_dump(mode="json", include=_OF_GRIPPER, exclude_none=True)
    return options


def differences(recorded: StepRecord | None, current: StepRecord) -> list[str]:
    """How a recorded step differs from the current one, in words; empty without a record."""
    if recorded is None or recorded.digest == current.digest:
        return []
    found = ["another mesh"] if recorded.object_digest != current.object_digest else []
    found += ["another gripper model"] if recorded.gripper_digest != current.gripper_digest else []
    for theirs, ours in ((_flat(recorded.settings), _flat(current.settings)), (_flat(recorded.versions), _flat(current.versions))):
        names = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
        found += [f"{name} {theirs.get(name)}, now {ours.get(name)}" for name in names]
    return found


def digest(record: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a record of plain values in any order."""
    return hashlib.sha256(orjson.dumps(record, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _reach(reach: Reach) -> Record:
    return {} if reach is Reach.GRIPPER else {"reach": reach.value}


def _criterion(criterion: JudgeSettings) -> Record:
    return criterion.model_dump(mode="json") if criterion.asks_more else {}


def _versions(packages: tuple[str, ...]) -> Record:
    return {"graspgen-cli": __version__, **{name: _version(name) for name in packages}}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # A source folder may be on the path.
        return "unknown"


def _sorted(settings: GuessSettings | SimulationSettings) -> Record:
    return dict(sorted(settings.model_dump(mode="json").items()))


def _of_group(values: Record, group: type[JudgeSettings | RandomizationSettings | ReachSettings]) -> Record:
    return {name: values[name] for name in group.model_fields if name in values}


def _mapping(value: object) -> Record:
    return value if isinstance(value, dict) else {}


def _document(step: StepRecord | None) -> Record | None:
    return None if step is None else step.document()


def _flat(values: Record) -> Record:
    """The values, with those of a mapping under names such as ``contact.tolerance``."""
    flat: Record = {}
    for name, value in values.items():
        flat |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return flat
