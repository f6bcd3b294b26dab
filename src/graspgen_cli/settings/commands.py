"""The settings of every command: its groups, and the rules between groups."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from graspgen_cli.settings.base import CommandSettings, SeedSettings
from graspgen_cli.settings.datasets import (
    AnalyzeSettings,
    BalanceSettings,
    ConvertSettings,
    CopySettings,
    FilterSettings,
    InferenceSettings,
    InputSettings,
    PickSettings,
    ReplaySettings,
    ScalesSettings,
    ScriptSettings,
    TrainingResultsSettings,
    ViewSettings,
)
from graspgen_cli.settings.guesses import GuessSettings, PickUpSettings, QuotaSettings, ReachSettings
from graspgen_cli.settings.inputs import (
    CheckoutSettings,
    DatasetSettings,
    GraspGenSettings,
    GripperFileSettings,
    GripperSettings,
    MeshSettings,
    ObjectSettings,
)
from graspgen_cli.settings.runs import (
    BackendSettings,
    BenchSettings,
    DoctorSettings,
    ExecutionSettings,
    ExistingFileSettings,
    ModeSettings,
    SplitSettings,
    WorkerSettings,
)
from graspgen_cli.settings.trials import (
    ExtraSettings,
    JudgeSettings,
    ProtocolSettings,
    RandomizationSettings,
    SimulationSettings,
    ThresholdSettings,
)


class MakingSettings(CommandSettings):
    """The groups for the work on one object, sent to the workers."""

    gripper: GripperSettings
    quotas: QuotaSettings
    guess: GuessSettings
    pick_up: PickUpSettings
    reach: ReachSettings
    simulation: SimulationSettings
    judge: JudgeSettings
    randomization: RandomizationSettings
    extras: ExtraSettings
    mode: ModeSettings


class ProposingSettings(CommandSettings):
    """The groups of every command that makes guesses."""

    objects: ObjectSettings
    gripper: GripperSettings
    dataset: DatasetSettings
    quotas: QuotaSettings
    guess: GuessSettings
    pick_up: PickUpSettings
    reach: ReachSettings
    execution: ExecutionSettings


class GuessCommand(ProposingSettings):
    """Settings of `guess`, without simulation."""

    existing: ExistingFileSettings

    def grasp_command(self) -> GraspCommand:
        """The settings of the run: stop after the guesses."""
        return GraspCommand.of(self.flat(), guess_only=True)


class FillCommand(ProposingSettings):
    """Settings of `fill`."""

    simulation: SimulationSettings
    protocol: ProtocolSettings
    judge: JudgeSettings
    randomization: RandomizationSettings
    extras: ExtraSettings
    backend: BackendSettings

    @model_validator(mode="after")
    def _robustness_needs_a_force(self) -> Self:
        if self.extras.robustness and not self.simulation.force_magnitude:
            raise ValueError("robustness needs a force-magnitude above 0")
        return self

    def grasp_command(self) -> GraspCommand:
        """The settings of the run: fill existing files."""
        return GraspCommand.of(self.flat(), fill_grasps=True)


class GraspCommand(FillCommand):
    """Settings of `validate`, and of every run over objects."""

    mode: ModeSettings

    def grasp_command(self) -> GraspCommand:
        """These settings."""
        return self

    def making(self) -> MakingSettings:
        """The groups for the work on one object."""
        return MakingSettings(**{name: getattr(self, name) for name in MakingSettings.groups()})


class SplitsCommand(CommandSettings):
    """Settings of `splits`."""

    objects: ObjectSettings
    gripper: GripperSettings
    dataset: DatasetSettings
    splits: SplitSettings


class AllCommand(GraspCommand):
    """Settings of `all`: those of the commands that it runs."""

    graspgen: GraspGenSettings
    splits: SplitSettings


class GripperCommand(CommandSettings):
    """Settings of `gripper-config`."""

    gripper: GripperSettings
    dataset: DatasetSettings
    graspgen: GraspGenSettings
    file: GripperFileSettings

    @model_validator(mode="after")
    def _one_gripper(self) -> Self:
        if self.file.gripper_file is not None and self.gripper.gripper_config != GripperSettings().gripper_config:
            raise ValueError("gripper-config and gripper-file exclude each other; set one of them")
        return self

    def chosen(self) -> GripperSettings:
        """The gripper, from its file if one is given."""
        file = self.file.gripper_file
        return self.gripper if file is None else self.gripper.model_copy(update={"gripper_config": str(file)})


class RelabelCommand(CommandSettings):
    """Settings of `relabel`."""

    gripper: GripperSettings
    dataset: DatasetSettings
    judge: JudgeSettings
    threshold: ThresholdSettings


class AnalyzeCommand(CommandSettings):
    """Settings of `analyze`."""

    inputs: InputSettings
    objects: ObjectSettings
    gripper: GripperSettings
    dataset: DatasetSettings
    analyze: AnalyzeSettings
    execution: WorkerSettings


class CompareCommand(CommandSettings):
    """Settings of `compare`."""

    inputs: InputSettings
    execution: WorkerSettings


class BalanceCommand(CommandSettings):
    """Settings of `balance`."""

    inputs: InputSettings
    gripper: GripperSettings
    dataset: DatasetSettings
    copied: CopySettings
    balance: BalanceSettings


class FilterCommand(CommandSettings):
    """Settings of `filter`."""

    inputs: InputSettings
    gripper: GripperSettings
    dataset: DatasetSettings
    copied: CopySettings
    conditions: FilterSettings


class DoctorCommand(CommandSettings):
    """Settings of `doctor`."""

    objects: ObjectSettings
    dataset: DatasetSettings
    doctor: DoctorSettings


class ConvertCommand(CommandSettings):
    """Settings of `convert`. The dataset is the input; absolute paths of meshes become relative to their folder."""

    meshes: MeshSettings
    dataset: DatasetSettings
    copied: CopySettings
    convert: ConvertSettings


class ObjectScalesCommand(CommandSettings):
    """Settings of `object-scales`."""

    meshes: MeshSettings
    gripper: GripperSettings
    scales: ScalesSettings
    random: SeedSettings


class TrainingScriptsCommand(CommandSettings):
    """Settings of `training-scripts`."""

    meshes: MeshSettings
    gripper: GripperSettings
    dataset: DatasetSettings
    graspgen: CheckoutSettings
    results: TrainingResultsSettings
    scripts: ScriptSettings


class InferenceConfigCommand(CommandSettings):
    """Settings of `inference-config`."""

    gripper: GripperSettings
    graspgen: CheckoutSettings
    results: TrainingResultsSettings
    inference: InferenceSettings


class BenchCommand(ProposingSettings):
    """Settings of `bench`."""

    simulation: SimulationSettings
    protocol: ProtocolSettings
    judge: JudgeSettings
    bench: BenchSettings
    backend: BackendSettings

    def grasp_command(self) -> GraspCommand:
        """The settings of the whole run."""
        return GraspCommand.of({name: value for name, value in self.flat().items() if name in GraspCommand.names()})


class ViewCommand(CommandSettings):
    """Settings of `view`. The dataset may also be a folder or a file of grasps, or a gripper."""

    objects: ObjectSettings
    gripper: GripperSettings
    dataset: DatasetSettings
    pick: PickSettings
    view: ViewSettings


class ReplayCommand(CommandSettings):
    """Settings of `replay`. The dataset may also be a folder or a file of grasps."""

    objects: ObjectSettings
    gripper: GripperSettings
    dataset: DatasetSettings
    pick: PickSettings
    simulation: SimulationSettings
    reach: ReachSettings
    replay: ReplaySettings

    @model_validator(mode="after")
    def _one_way_to_pick(self) -> Self:
        if self.pick.grasp is not None and self.pick.outcome is not None:
            raise ValueError("grasp and outcome exclude each other; set one of them")
        return self


COMMAND_CLASSES: dict[str, type[CommandSettings]] = {
    "all": AllCommand,
    "guess": GuessCommand,
    "validate": GraspCommand,
    "fill": FillCommand,
    "relabel": RelabelCommand,
    "splits": SplitsCommand,
    "gripper-config": GripperCommand,
    "analyze": AnalyzeCommand,
    "compare": CompareCommand,
    "balance": BalanceCommand,
    "filter": FilterCommand,
    "convert": ConvertCommand,
    "object-scales": ObjectScalesCommand,
    "training-scripts": TrainingScriptsCommand,
    "inference-config": InferenceConfigCommand,
    "view": ViewCommand,
    "replay": ReplayCommand,
    "doctor": DoctorCommand,
    "bench": BenchCommand,
}
"""The settings of every command. A settings file may hold the settings of all commands."""
