"""What the commands do, as functions. Import them from `graspgen_cli` itself; docs/api.md describes them.

Settings are keywords with the names of the commands' flags, checked as those are; the environment and settings files do not count unless
`config` names one. Runs use processes, so a script that starts one calls it under ``if __name__ == "__main__":``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from graspgen_cli.errors import SettingsError
from graspgen_cli.settings.base import CommandSettings
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.trials import SimulationSettings

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
    from graspgen_cli.settings.commands import GraspCommand
    from graspgen_cli.settings.trials import RandomizationSettings
    from graspgen_cli.training.inference import InferenceConfig
    from graspgen_cli.training.scripts import TrainingScripts
    from graspgen_cli.validate.trials import TrialResult

S = TypeVar("S", bound=CommandSettings)
OnReport = Callable[["ObjectReport"], None]


@dataclass(frozen=True)
class MadeDataset:
    """What `make_dataset` made. splits: None where no object has grasps."""

    gripper: PreparedGripper
    summary: RunSummary
    splits: SplitPlan | None


def make_dataset(*, on_report: OnReport | None = None, config: Path | None = None, **settings: object) -> MadeDataset:
    """`graspgen all`: the gripper's files, then the grasps of every object, then the splits.

    on_report: called with each object's report as it is done. settings: those of the command.
    Raises SettingsError, InputError, GripperError or OutputError; one object's problem is in its report.
    """
    from graspgen_cli.making.gripper_config import write_gripper_config
    from graspgen_cli.making.reports import Phase, Status
    from graspgen_cli.running.run import update_dataset_splits
    from graspgen_cli.settings.commands import AllCommand

    resolved = _resolved(AllCommand, settings, config)
    gripper = write_gripper_config(resolved)
    summary = _run(resolved, Phase.ALL, on_report)
    done = [report for report in summary.reports if report.status is not Status.FAILED]
    has_grasps = any(report.held + report.failed + report.unvalidated for report in done)
    return MadeDataset(gripper, summary, update_dataset_splits(resolved) if has_grasps else None)


def guess_grasps(*, on_report: OnReport | None = None, config: Path | None = None, **settings: object) -> RunSummary:
    """`graspgen guess`. Arguments and errors as for `make_dataset`."""
    from graspgen_cli.making.reports import Phase
    from graspgen_cli.settings.commands import GuessCommand

    return _run(_resolved(GuessCommand, settings, config).grasp_command(), Phase.GUESS, on_report)


def validate_grasps(*, on_report: OnReport | None = None, config: Path | None = None, **settings: object) -> RunSummary:
    """`graspgen validate`. Arguments and errors as for `make_dataset`."""
    from graspgen_cli.making.reports import Phase
    from graspgen_cli.settings.commands import GraspCommand

    return _run(_resolved(GraspCommand, settings, config), Phase.VALIDATE, on_report)


def fill_grasps(*, on_report: OnReport | None = None, config: Path | None = None, **settings: object) -> RunSummary:
    """`graspgen fill`. Arguments and errors as for `make_dataset`."""
    from graspgen_cli.making.reports import Phase
    from graspgen_cli.settings.commands import FillCommand

    return _run(_resolved(FillCommand, settings, config).grasp_command(), Phase.FILL, on_report)


def update_splits(*, config: Path | None = None, **settings: object) -> SplitPlan:
    """`graspgen splits`: the objects that were added to each list. Raises SettingsError, InputError or OutputError."""
    from graspgen_cli.running.run import update_dataset_splits
    from graspgen_cli.settings.commands import SplitsCommand

    return update_dataset_splits(_resolved(SplitsCommand, settings, config))


def prepare_gripper(*, config: Path | None = None, **settings: object) -> PreparedGripper:
    """`graspgen gripper-config`: a gripper that passed its checks, and its files. Raises SettingsError, GripperError or OutputError."""
    from graspgen_cli.making import gripper_config as gripper_run
    from graspgen_cli.settings.commands import GripperCommand

    return gripper_run.prepare_gripper(_resolved(GripperCommand, settings, config))


def analyze_grasps(*, config: Path | None = None, **settings: object) -> DatasetAnalysis:
    """`graspgen analyze`: what the grasps hold, lack and have wrong. Raises SettingsError, InputError or GripperError."""
    from graspgen_cli.analysis.analyze import analyze_collections
    from graspgen_cli.settings.commands import AnalyzeCommand

    return analyze_collections(_resolved(AnalyzeCommand, settings, config), on_start=_ignore, on_object=_ignore)


def compare_grasps(first: Path, second: Path, *, workers: int = 0) -> Comparison:
    """`graspgen compare`: two datasets side by side; `workers` 0 is one a core. Raises InputError."""
    from graspgen_cli.analysis.compare import compare_collections

    return compare_collections(Path(first), Path(second), workers=workers, on_start=_ignore, on_object=_ignore)


def balance_grasps(*, config: Path | None = None, **settings: object) -> Subset:
    """`graspgen balance`: a copy with a chosen number and ratio. Raises SettingsError, InputError, GripperError or OutputError."""
    from graspgen_cli.analysis.subsets import balance_dataset
    from graspgen_cli.settings.commands import BalanceCommand

    return balance_dataset(_resolved(BalanceCommand, settings, config), on_start=_ignore, on_object=_ignore)


def filter_grasps(*, config: Path | None = None, **settings: object) -> Subset:
    """`graspgen filter`: a copy of the grasps that meet conditions. Errors as for `balance_grasps`."""
    from graspgen_cli.analysis.subsets import filter_dataset
    from graspgen_cli.settings.commands import FilterCommand

    return filter_dataset(_resolved(FilterCommand, settings, config), on_start=_ignore, on_object=_ignore)


def relabel_grasps(*, config: Path | None = None, **settings: object) -> Relabelling:
    """`graspgen relabel`: held grasps before and now, by object. Raises SettingsError, InputError, GripperError or OutputError."""
    from graspgen_cli.making.relabel import relabel_dataset
    from graspgen_cli.settings.commands import RelabelCommand

    return relabel_dataset(_resolved(RelabelCommand, settings, config), on_start=_ignore, on_object=_ignore)


def convert_grasps(*, config: Path | None = None, **settings: object) -> Conversion:
    """`graspgen convert`: what was written, and what could not be. Raises SettingsError, InputError, GripperError or OutputError."""
    from graspgen_cli.dataset.convert import convert
    from graspgen_cli.settings.commands import ConvertCommand

    return convert(_resolved(ConvertCommand, settings, config), on_start=_ignore, on_object=_ignore)


def make_object_scales(*, config: Path | None = None, **settings: object) -> ScalesList:
    """`graspgen object-scales`: the list that was written, and the meshes left out. Errors as for `convert_grasps`."""
    from graspgen_cli.making.object_scales import make_scales
    from graspgen_cli.settings.commands import ObjectScalesCommand

    return make_scales(_resolved(ObjectScalesCommand, settings, config), on_start=_ignore, on_object=_ignore)


def make_training_scripts(*, config: Path | None = None, **settings: object) -> TrainingScripts:
    """`graspgen training-scripts`: the scripts, and what they train on. Errors as for `convert_grasps`."""
    from graspgen_cli.settings.commands import TrainingScriptsCommand
    from graspgen_cli.training import scripts

    return scripts.make_training_scripts(_resolved(TrainingScriptsCommand, settings, config))


def make_inference_config(*, config: Path | None = None, **settings: object) -> InferenceConfig:
    """`graspgen inference-config`: the model's config file. Errors as for `convert_grasps`."""
    from graspgen_cli.settings.commands import InferenceConfigCommand
    from graspgen_cli.training import inference

    return inference.make_inference_config(_resolved(InferenceConfigCommand, settings, config))


def export_view(export: Path, *, config: Path | None = None, **settings: object) -> tuple[str, ...]:
    """`graspgen view` ``--export``: writes a picture, a model or a page, and returns what is missing in it, a line each.

    Raises SettingsError, InputError, GripperError, GraspFileError or OutputError.
    """
    from graspgen_cli.drawing import view as view_run
    from graspgen_cli.settings.commands import ViewCommand

    return view_run.export(view_run.open_view(_resolved(ViewCommand, settings, config)), Path(export))


def replay_trial(*, config: Path | None = None, **settings: object) -> Replay:
    """`graspgen replay`: one grasp, tried again, with the trace of its trial; `video` and `plot` are written.

    Errors as for `export_view`, and ObjectError.
    """
    from graspgen_cli.drawing import replay as replay_run
    from graspgen_cli.settings.commands import ReplayCommand

    resolved = _resolved(ReplayCommand, settings, config)
    replay = replay_run.run_replay(resolved)
    if resolved.replay.video is not None:
        replay_run.write_video(replay, resolved.replay.video, slow_motion=resolved.replay.slow_motion)
    if resolved.replay.plot is not None:
        replay_run.write_plot(replay, resolved.replay.plot)
    return replay


def measure_machine(*, config: Path | None = None, **settings: object) -> dict[str, Any]:
    """`graspgen bench`: the document of ``--json``. Raises SettingsError, InputError, GripperError or ObjectError."""
    from graspgen_cli.running.bench import run_bench
    from graspgen_cli.settings.commands import BenchCommand

    return run_bench(_resolved(BenchCommand, settings, config), on_note=_ignore)


def inspect_dataset(grasp_dataset: Path, *, object_dataset: Path | None = None, repair: bool = False) -> Inspection:
    """`graspgen doctor DATASET`: what is wrong with it, after the repair where that is wanted. Raises InputError or OutputError."""
    from graspgen_cli.dataset import repair as doctor

    return doctor.inspect_dataset(Path(grasp_dataset), meshes=object_dataset, repair=repair, on_start=_ignore, on_file=_ignore)


def guess_on(
    target: TargetObject,
    gripper: Gripper,
    *,
    num_collision_free_grasps: int = 64,
    num_colliding_grasps: int = 0,
    max_guess_tries: int = 100,
    settings: GuessSettings | None = None,
) -> GraspBatch:
    """Guesses on one object in memory, free ones first; fewer than asked for where the object has no more.

    The same object, gripper and settings give the same poses, here and in a dataset.
    """
    from graspgen_cli.geometry.collision import GripperShape, ObjectShape
    from graspgen_cli.guess.loop import make_guesses

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
    """Tries grasps of one object in simulation; those in collision keep that outcome. The object must have its convex pieces.

    randomization: where given, each grasp is also tried with draws of its physics, as with ``--randomize``; the share of them that held is
    in `grasps.quality` and decides the outcome.
    Raises SettingsError for an unknown backend, or one that cannot vary the physics, InputError where it is not installed.
    """
    from graspgen_cli.validate.engine import make_backend
    from graspgen_cli.validate.trials import run_trials

    if not target.pieces:
        raise SettingsError(f"{target.object_id}: has no convex pieces to simulate; load it with an approximation")
    drawn = None if randomization is None else randomization.model_copy(update={"randomize": True})
    return run_trials(
        make_backend(backend, threads=threads), gripper, target, grasps, settings or SimulationSettings(), randomization=drawn
    )


def _run(settings: GraspCommand, phase: str, on_report: OnReport | None) -> RunSummary:
    from graspgen_cli.making.reports import Phase
    from graspgen_cli.running.run import run_objects

    return run_objects(settings, phase=Phase(phase), on_start=_ignore, on_report=on_report or _ignore)


def _ignore(*_: object) -> None:
    """For what the commands tell of their progress."""


def _resolved(command_class: type[S], settings: dict[str, object], config: Path | None) -> S:
    """The command's settings from keywords, as from flags: one line for every mistake."""
    from graspgen_cli.commands.gripper_values import gripper_values
    from graspgen_cli.settings.cascade import resolve

    unknown = sorted(set(settings) - set(command_class.names()))
    if unknown:
        raise SettingsError(f"unknown settings {', '.join(unknown)}; there are {', '.join(sorted(command_class.names()))}")
    return resolve(command_class, flags=settings, config=config, environ={}, gripper_values=gripper_values).settings
