"""The work of the commands as functions. Import them from `graspgen_cli` itself; docs/api.md describes them.

Settings are keywords with the names of the flags, and are checked in the same way. The environment does not count, and a settings file only
if `config` names it. Runs use processes, so a script calls them under ``if __name__ == "__main__":``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graspgen_cli.commands import load_command
from graspgen_cli.errors import SettingsError

if TYPE_CHECKING:
    from graspgen_cli.analysis.compare import Comparison
    from graspgen_cli.analysis.dataset_facts import DatasetAnalysis
    from graspgen_cli.analysis.subsets import Subset
    from graspgen_cli.dataset.convert import Conversion
    from graspgen_cli.dataset.repair import Inspection
    from graspgen_cli.dataset.splits import SplitPlan
    from graspgen_cli.drawing.replay import Replay
    from graspgen_cli.making.gripper_config import PreparedGripper
    from graspgen_cli.making.relabel import Relabelling
    from graspgen_cli.making.reports import ObjectReport, RunSummary
    from graspgen_cli.objects.scales import ScalesList
    from graspgen_cli.records import GraspBatch, Gripper, TargetObject
    from graspgen_cli.running.run import MadeDataset
    from graspgen_cli.settings.guesses import GuessSettings
    from graspgen_cli.settings.trials import RandomizationSettings, SimulationSettings
    from graspgen_cli.training.inference import InferenceConfig
    from graspgen_cli.training.scripts import TrainingScripts
    from graspgen_cli.validate.trials import TrialResult

OnReport = Callable[["ObjectReport"], None]


def _run(name: str, settings: Mapping[str, object], config: Path | None = None, on_report: OnReport | None = None) -> Any:
    """What the function of a command returns for these settings. Raises SettingsError with one line for each mistake."""
    from graspgen_cli.commands.command import gripper_values
    from graspgen_cli.settings.cascade import resolve

    command = load_command(name)
    known = command.settings.names()
    if unknown := sorted(set(settings) - set(known)):
        raise SettingsError(f"unknown settings {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    resolved = resolve(command.settings, flags=settings, config=config, environ={}, gripper_values=gripper_values)
    function, callbacks = command.function()
    given = {"on_report": on_report} if on_report else {}
    return function(resolved, **{name: given.get(name, _ignore) for name in callbacks})


def _ignore(*_: object) -> None:
    """A callback without effect."""


def make_dataset(*, on_report: OnReport | None = None, config: Path | None = None, **settings: object) -> MadeDataset:
    """`graspgen all`: the gripper's files, then the grasps of every object, then the splits.

    on_report: called with the report of each object that is done. settings: those of the command.
    Raises SettingsError, InputError, GripperError or OutputError; the error of one object is in its report.
    """
    return _run("all", settings, config, on_report)


def guess_grasps(*, on_report: OnReport | None = None, config: Path | None = None, **settings: object) -> RunSummary:
    """`graspgen guess`. Arguments and errors as for `make_dataset`."""
    return _run("guess", settings, config, on_report)


def validate_grasps(*, on_report: OnReport | None = None, config: Path | None = None, **settings: object) -> RunSummary:
    """`graspgen validate`. Arguments and errors as for `make_dataset`."""
    return _run("validate", settings, config, on_report)


def fill_grasps(*, on_report: OnReport | None = None, config: Path | None = None, **settings: object) -> RunSummary:
    """`graspgen fill`. Arguments and errors as for `make_dataset`."""
    return _run("fill", settings, config, on_report)


def update_splits(*, config: Path | None = None, **settings: object) -> SplitPlan:
    """`graspgen splits`: the objects added to each list. Raises SettingsError, InputError or OutputError."""
    return _run("splits", settings, config)


def prepare_gripper(*, config: Path | None = None, **settings: object) -> PreparedGripper:
    """`graspgen gripper-config`: a gripper that passed its checks, and its files. Raises SettingsError, GripperError or OutputError."""
    return _run("gripper-config", settings, config)


def analyze_grasps(*, config: Path | None = None, **settings: object) -> DatasetAnalysis:
    """`graspgen analyze`: outcomes, gaps and faults of grasps. Raises SettingsError, InputError, GripperError or OutputError."""
    return _run("analyze", settings, config)


def compare_grasps(first: Path, second: Path, *, workers: int = 0) -> Comparison:
    """`graspgen compare`: two datasets side by side; `workers` 0 is one a core. Raises InputError."""
    return _run("compare", {"paths": [str(first), str(second)], "workers": workers})


def balance_grasps(*, config: Path | None = None, **settings: object) -> Subset:
    """`graspgen balance`: a copy with a chosen number and ratio. Raises SettingsError, InputError, GripperError or OutputError."""
    return _run("balance", settings, config)


def filter_grasps(*, config: Path | None = None, **settings: object) -> Subset:
    """`graspgen filter`: a copy of the grasps that meet conditions. Errors as for `balance_grasps`."""
    return _run("filter", settings, config)


def relabel_grasps(*, config: Path | None = None, **settings: object) -> Relabelling:
    """`graspgen relabel`: held grasps before and now, by object. Raises SettingsError, InputError, GripperError or OutputError."""
    return _run("relabel", settings, config)


def convert_grasps(*, config: Path | None = None, **settings: object) -> Conversion:
    """`graspgen convert`: the written files, and the damaged ones. Raises SettingsError, InputError, GripperError or OutputError."""
    return _run("convert", settings, config)


def make_object_scales(*, config: Path | None = None, **settings: object) -> ScalesList:
    """`graspgen object-scales`: the list in the file, and the meshes left out. Errors as for `convert_grasps`."""
    return _run("object-scales", settings, config)


def make_training_scripts(*, config: Path | None = None, **settings: object) -> TrainingScripts:
    """`graspgen training-scripts`: the scripts, and their choices. Errors as for `convert_grasps`."""
    return _run("training-scripts", settings, config)


def make_inference_config(*, config: Path | None = None, **settings: object) -> InferenceConfig:
    """`graspgen inference-config`: the config file of the model. Errors as for `convert_grasps`."""
    return _run("inference-config", settings, config)


def export_view(export: Path, *, config: Path | None = None, **settings: object) -> tuple[str, ...]:
    """`graspgen view` ``--export``: writes a picture, a model or a page, and returns a line for each missing part of it.

    Raises SettingsError, InputError, GripperError, GraspFileError or OutputError.
    """
    from graspgen_cli.drawing import view

    return view.export(_run("view", settings, config), Path(export))


def replay_trial(*, config: Path | None = None, **settings: object) -> Replay:
    """`graspgen replay`: one grasp, tried again, with the trace of its trial; `video` and `plot` are written.

    Errors as for `export_view`, and ObjectError.
    """
    return _run("replay", settings, config)


def measure_machine(*, config: Path | None = None, **settings: object) -> dict[str, Any]:
    """`graspgen bench`: the document of ``--json``. Raises SettingsError, InputError, GripperError or ObjectError."""
    return _run("bench", settings, config)


def inspect_dataset(grasp_dataset: Path, *, object_dataset: Path | None = None, repair: bool = False) -> Inspection:
    """`graspgen doctor DATASET`: its faults, after the repair if there is one. Raises InputError or OutputError."""
    return _run("doctor", {"grasp_dataset": grasp_dataset, "object_dataset": object_dataset, "repair": repair}).dataset


def guess_on(
    target: TargetObject,
    gripper: Gripper,
    *,
    num_collision_free_grasps: int = 64,
    num_colliding_grasps: int = 0,
    max_guess_tries: int = 100,
    settings: GuessSettings | None = None,
) -> GraspBatch:
    """Guesses on one object in memory, free ones first; fewer than asked for if the object has no more.

    The same object, gripper and settings give the same poses, here and in a dataset.
    """
    from graspgen_cli.geometry.collision import GripperShape, ObjectShape
    from graspgen_cli.guess.loop import make_guesses
    from graspgen_cli.settings.guesses import GuessSettings

    return make_guesses(
        ObjectShape(target),
        GripperShape(gripper),
        settings or GuessSettings(),
        object_id=target.object_id,
        num_free=num_collision_free_grasps,
        num_colliding=num_colliding_grasps,
        first_try=0,
        max_tries=max_guess_tries,
    ).grasps


def try_grasps(
    target: TargetObject,
    gripper: Gripper,
    grasps: GraspBatch,
    *,
    settings: SimulationSettings | None = None,
    randomization: RandomizationSettings | None = None,
    backend: str = "mujoco",
    threads: int = 1,
) -> TrialResult:
    """Tries grasps of one object in simulation; grasps in collision keep that outcome. The object must have its convex pieces.

    randomization: if given, each grasp is also tried with draws of its physics, as with ``--randomize``; the share of the draws that held
    is in `grasps.quality` and decides the outcome.
    Raises SettingsError for an unknown backend or one without randomised physics, InputError for a backend that is not installed.
    """
    from graspgen_cli.settings.trials import SimulationSettings
    from graspgen_cli.validate.engine import make_backend
    from graspgen_cli.validate.trials import run_trials

    if not target.pieces:
        raise SettingsError(f"{target.object_id}: has no convex pieces to simulate; load it with an approximation")
    drawn = None if randomization is None else randomization.model_copy(update={"randomize": True})
    return run_trials(
        make_backend(backend, threads=threads), gripper, target, grasps, settings or SimulationSettings(), randomization=drawn
    )
