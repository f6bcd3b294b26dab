"""What a grasp file says of its making: enough to make it again, nothing that differs from run to run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import orjson

from graspgen_cli import __version__
from graspgen_cli.records import Gripper, TargetObject
from graspgen_cli.settings.models import GuessSettings, SimulationSettings

GUESS_PACKAGES = ("numpy", "python-fcl", "embreex", "trimesh", "manifold3d")
SIMULATION_PACKAGES = ("mujoco-core", "numpy", "manifold3d")
_NOT_PHYSICS = ("max_num_envs", "max_num_grasps")
"""Settings that change how much is tested or how fast, never what a trial says."""


def guess_provenance(target: TargetObject, gripper: Gripper, settings: GuessSettings) -> dict[str, Any]:
    """How the poses were made."""
    record: dict[str, Any] = {
        "object_digest": target.content_hash,
        "gripper_digest": gripper.content_hash,
        "settings": _section(settings, GuessSettings),
        "versions": _versions(GUESS_PACKAGES),
    }
    return {**record, "digest": digest(record)}


def simulation_provenance(target: TargetObject, gripper: Gripper, settings: SimulationSettings, backend: str) -> dict[str, Any]:
    """How the outcomes were found."""
    kept = {k: v for k, v in _section(settings, SimulationSettings).items() if k not in _NOT_PHYSICS}
    record: dict[str, Any] = {
        "backend": backend,
        "object_digest": target.content_hash,
        "gripper_digest": gripper.content_hash,
        "settings": kept,
        "versions": _versions(SIMULATION_PACKAGES),
    }
    return {**record, "digest": digest(record)}


def digest(record: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a record of plain values, whatever the order of its keys."""
    return hashlib.sha256(orjson.dumps(record, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _section(settings: GuessSettings | SimulationSettings, section: type[GuessSettings] | type[SimulationSettings]) -> dict[str, Any]:
    values: dict[str, Any] = settings.model_dump(mode="json", include=set(section.model_fields))
    return dict(sorted(values.items()))


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return {"graspgen-cli": __version__, **{name: version(name) for name in packages}}
