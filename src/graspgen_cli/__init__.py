"""From object meshes and a two-finger gripper to the dataset that GraspGen trains on.

All public names are imported from here; docs/api.md describes them. Nothing is loaded before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graspgen_cli.api import analyze_grasps as analyze_grasps
    from graspgen_cli.api import balance_grasps as balance_grasps
    from graspgen_cli.api import compare_grasps as compare_grasps
    from graspgen_cli.api import convert_grasps as convert_grasps
    from graspgen_cli.api import export_view as export_view
    from graspgen_cli.api import fill_grasps as fill_grasps
    from graspgen_cli.api import filter_grasps as filter_grasps
    from graspgen_cli.api import guess_grasps as guess_grasps
    from graspgen_cli.api import guess_on as guess_on
    from graspgen_cli.api import inspect_dataset as inspect_dataset
    from graspgen_cli.api import make_dataset as make_dataset
    from graspgen_cli.api import make_inference_config as make_inference_config
    from graspgen_cli.api import make_object_scales as make_object_scales
    from graspgen_cli.api import make_training_scripts as make_training_scripts
    from graspgen_cli.api import measure_machine as measure_machine
    from graspgen_cli.api import prepare_gripper as prepare_gripper
    from graspgen_cli.api import relabel_grasps as relabel_grasps
    from graspgen_cli.api import replay_trial as replay_trial
    from graspgen_cli.api import try_grasps as try_grasps
    from graspgen_cli.api import update_splits as update_splits
    from graspgen_cli.api import validate_grasps as validate_grasps
    from graspgen_cli.errors import GraspgenError as GraspgenError
    from graspgen_cli.formats.graspgen_json import read_grasp_file as read_grasp_file
    from graspgen_cli.geometry.touch import FingerReach as FingerReach
    from graspgen_cli.geometry.touch import finger_reach as finger_reach
    from graspgen_cli.grippers.find import load_gripper as load_gripper
    from graspgen_cli.making.reports import ObjectReport as ObjectReport
    from graspgen_cli.making.reports import RunSummary as RunSummary
    from graspgen_cli.making.reports import Status as Status
    from graspgen_cli.objects.load import load_object as load_object
    from graspgen_cli.records import GraspBatch as GraspBatch
    from graspgen_cli.records import GraspDataset as GraspDataset
    from graspgen_cli.records import Gripper as Gripper
    from graspgen_cli.records import Outcome as Outcome
    from graspgen_cli.records import TargetObject as TargetObject
    from graspgen_cli.running.run import MadeDataset as MadeDataset
    from graspgen_cli.settings.guesses import GuessSettings as GuessSettings
    from graspgen_cli.settings.trials import CollisionApproximation as CollisionApproximation
    from graspgen_cli.settings.trials import RandomizationSettings as RandomizationSettings
    from graspgen_cli.settings.trials import SimulationSettings as SimulationSettings

__version__ = "0.1.0"

_PLACES = {
    "graspgen_cli.api": (
        "analyze_grasps",
        "balance_grasps",
        "compare_grasps",
        "convert_grasps",
        "relabel_grasps",
        "export_view",
        "fill_grasps",
        "filter_grasps",
        "guess_grasps",
        "guess_on",
        "inspect_dataset",
        "make_dataset",
        "make_inference_config",
        "make_object_scales",
        "make_training_scripts",
        "measure_machine",
        "prepare_gripper",
        "replay_trial",
        "try_grasps",
        "update_splits",
        "validate_grasps",
    ),
    "graspgen_cli.formats.graspgen_json": ("read_grasp_file",),
    "graspgen_cli.errors": ("GraspgenError",),
    "graspgen_cli.making.reports": ("ObjectReport", "RunSummary", "Status"),
    "graspgen_cli.geometry.touch": ("FingerReach", "finger_reach"),
    "graspgen_cli.grippers.find": ("load_gripper",),
    "graspgen_cli.objects.load": ("load_object",),
    "graspgen_cli.records": ("GraspBatch", "GraspDataset", "Gripper", "Outcome", "TargetObject"),
    "graspgen_cli.running.run": ("MadeDataset",),
    "graspgen_cli.settings.guesses": ("GuessSettings",),
    "graspgen_cli.settings.trials": ("CollisionApproximation", "RandomizationSettings", "SimulationSettings"),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
