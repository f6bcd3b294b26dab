"""What a grasp file says of its making: enough to make it again, nothing that differs from run to run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

from graspgen_cli import __version__
from graspgen_cli.settings.guesses import GuessSettings, PickUpSettings, Reach, ReachSettings
from graspgen_cli.settings.inputs import GripperSettings
from graspgen_cli.settings.trials import JudgeSettings, RandomizationSettings, SimulationSettings
from graspgen_cli.tables import ENGINES

GUESS_PACKAGES = ("numpy", "python-fcl", "embreex", "trimesh", "manifold3d")
SIMULATION_PACKAGES = ("mujoco-core", "numpy", "manifold3d")
_NOT_PHYSICS = ("max_num_envs", "max_num_grasps")
"""Settings that change how much is tested or how fast, never what a trial says."""

_OF_GRIPPER = {"base_frame", "finger_colliders", "approach_axis", "open_configuration", "grip_force", "closing_speed"}
_SEED, _THRESHOLD = "randomize_seed", "randomize_threshold"

Record = dict[str, Any]


def guess_provenance(
    *,
    object_digest: str,
    gripper_digest: str,
    settings: GuessSettings,
    pick_up: PickUpSettings | None = None,
    reach: Reach = Reach.GRIPPER,
) -> Record:
    """How the poses were made."""
    made_with = _sorted(settings)
    if pick_up is not None and pick_up.is_on:
        made_with |= pick_up.model_dump(mode="json")
    made_with |= _reach(reach)
    return _record(object_digest, gripper_digest, made_with, GUESS_PACKAGES)


def simulation_provenance(
    *,
    object_digest: str,
    gripper_digest: str,
    settings: SimulationSettings,
    backend: str,
    contact: Record | None = None,
    reach: Reach = Reach.GRIPPER,
    criterion: JudgeSettings | None = None,
    randomization: RandomizationSettings | None = None,
) -> Record:
    """How the outcomes were found. contact: the constants of the contacts, where the engine has them from us."""
    kept = {k: v for k, v in _sorted(settings).items() if k not in _NOT_PHYSICS}
    if randomization is not None and randomization.randomize:
        kept |= _randomization(randomization)
    if not settings.shake_sequences:
        # Files of trials without shakes are what they were before there were any.
        del kept["shake_sequences"]
    kept |= _reach(reach)
    if criterion is not None:
        kept |= _criterion(criterion)
    packages = (*SIMULATION_PACKAGES, *ENGINES[backend].packages)
    described = {"backend": backend, **({"contact": contact} if contact else {}), **kept}
    return _record(object_digest, gripper_digest, described, packages)


def _reach(reach: Reach) -> Record:
    """What is on record of what counts as out of reach: nothing where it is the usual."""
    return {} if reach is Reach.GRIPPER else {"reach": reach.value}


def recorded_reach(simulation: Record) -> Reach:
    """What counted as out of reach in trials. Raises ValueError where the record is malformed."""
    settings = simulation.get("settings")
    values = settings if isinstance(settings, dict) else {}
    return ReachSettings.model_validate({name: values[name] for name in ReachSettings.model_fields if name in values}).reach


def _randomization(settings: RandomizationSettings) -> Record:
    """What is on record of randomised physics; the seed under a name that says what it is of."""
    values: Record = settings.model_dump(mode="json", exclude={"seed", "randomize"})
    return {**values, _SEED: settings.seed}


def recorded_randomization(simulation: Record) -> RandomizationSettings | None:
    """The randomised physics that a record of trials names; None where it names none. Raises ValueError where the record is malformed."""
    settings = simulation.get("settings")
    if not isinstance(settings, dict) or _SEED not in settings:
        return None
    values = {name: settings[name] for name in RandomizationSettings.model_fields if name in settings}
    return RandomizationSettings.model_validate({**values, "seed": settings[_SEED], "randomize": True})


def recorded_criterion(simulation: Record) -> JudgeSettings:
    """The criterion by which trials were judged. Raises ValueError where the record is malformed."""
    settings = simulation.get("settings")
    values = settings if isinstance(settings, dict) else {}
    return JudgeSettings.model_validate({name: values[name] for name in JudgeSettings.model_fields if name in values})


def judged_by(simulation: Record, criterion: JudgeSettings, threshold: float | None = None) -> Record:
    """The record of trials as it would be had they been judged by this criterion. threshold: of the share of draws that held, where physics
    was randomised; None: as it is."""
    settings = {name: value for name, value in simulation["settings"].items() if name not in JudgeSettings.model_fields}
    if threshold is not None and _THRESHOLD in settings:
        settings[_THRESHOLD] = threshold
    record = {**simulation, "settings": settings | _criterion(criterion)}
    record.pop("digest", None)
    return {**record, "digest": digest(record)}


def gripper_options(settings: GripperSettings) -> Record:
    """The options that were given for the gripper, so that what the file names is what was meant; nothing where none were."""
    options: Record = settings.model_dump(mode="json", include=_OF_GRIPPER, exclude_none=True)
    return options


def _criterion(criterion: JudgeSettings) -> Record:
    """What is on record of a criterion: nothing where it is the usual one."""
    return criterion.model_dump(mode="json") if criterion.asks_more else {}


def _record(object_digest: str, gripper_digest: str, settings: Record, packages: tuple[str, ...]) -> Record:
    record: Record = {
        "object_digest": object_digest,
        "gripper_digest": gripper_digest,
        "settings": settings,
        "versions": {"graspgen-cli": __version__, **{name: _version(name) for name in packages}},
    }
    return {**record, "digest": digest(record)}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout of Isaac Lab on the path
        return "unknown"


def digest(record: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a record of plain values, whatever the order of its keys."""
    return hashlib.sha256(orjson.dumps(record, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _sorted(settings: GuessSettings | SimulationSettings) -> Record:
    return dict(sorted(settings.model_dump(mode="json").items()))


def differences(recorded: Record | None, current: Record) -> list[str]:
    """In words, what a file's record says otherwise than the current one; empty where the digests agree, or nothing was recorded."""
    if not recorded or recorded.get("digest") == current["digest"]:
        return []
    found = []
    if recorded.get("object_digest") != current["object_digest"]:
        found.append("another mesh")
    if recorded.get("gripper_digest") != current["gripper_digest"]:
        found.append("another gripper model")
    for part in ("settings", "versions"):
        theirs, ours = recorded.get(part), current[part]
        theirs, ours = _flat(theirs if isinstance(theirs, dict) else {}), _flat(ours)
        names = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
        found += [f"{name} {theirs.get(name)}, now {ours.get(name)}" for name in names]
    return found


def _flat(values: Record) -> Record:
    """The values, those of a mapping under names of their own: ``contact.tolerance``."""
    flat: Record = {}
    for name, value in values.items():
        flat |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return flat
