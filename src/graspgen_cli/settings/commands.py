"""The settings class of every subcommand: the sections that it needs, joined; and what must not be combined."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

from graspgen_cli.settings.analysis_models import AnalyzeSettings, BalanceSettings, CopySettings, FilterSettings, InputSettings
from graspgen_cli.settings.handoff_models import ConvertSettings, InferenceSettings, ScalesSettings, ScriptSettings, TrainingResultsSettings
from graspgen_cli.settings.judge_models import ControlSettings, HardNegativeSettings, JudgeSettings, ProtocolSettings, RobustnessSettings
from graspgen_cli.settings.models import (
    BackendSettings,
    BenchSettings,
    CheckoutSettings,
    CollisionApproximation,
    DatasetSettings,
    DoctorSettings,
    ExecutionSettings,
    ExistingFileSettings,
    GraspGenSettings,
    GripperFileSettings,
    GripperSettings,
    GuessSettings,
    LimitSettings,
    MeshSettings,
    ModeSettings,
    ObjectSettings,
    PickUpSettings,
    QuotaSettings,
    Section,
    SeedSettings,
    SimulationSettings,
    SplitSettings,
    WorkerSettings,
)
from graspgen_cli.settings.randomization_models import RandomizationSettings, ThresholdSettings
from graspgen_cli.settings.reach_models import ReachSettings
from graspgen_cli.settings.view_models import PickSettings, ReplaySettings, ViewSettings

OUTPUT_FORMS = (".json", ".csv", ".html")
"""What the suffix of an --output of `analyze` may be."""

SECTIONS: tuple[type[Section], ...] = (
    InputSettings,
    ViewSettings,
    ReplaySettings,
    PickSettings,
    ObjectSettings,
    MeshSettings,
    GripperSettings,
    GripperFileSettings,
    DatasetSettings,
    GraspGenSettings,
    CheckoutSettings,
    ModeSettings,
    ExistingFileSettings,
    QuotaSettings,
    LimitSettings,
    GuessSettings,
    PickUpSettings,
    ReachSettings,
    SimulationSettings,
    ProtocolSettings,
    JudgeSettings,
    RandomizationSettings,
    ThresholdSettings,
    HardNegativeSettings,
    RobustnessSettings,
    ControlSettings,
    SplitSettings,
    AnalyzeSettings,
    CopySettings,
    BalanceSettings,
    FilterSettings,
    DoctorSettings,
    ConvertSettings,
    ScalesSettings,
    TrainingResultsSettings,
    ScriptSettings,
    InferenceSettings,
    BenchSettings,
    SeedSettings,
    BackendSettings,
    WorkerSettings,
    ExecutionSettings,
)
"""Every section, in the order in which help, tables and documentation show them."""


class ProposalSettings(
    ObjectSettings,
    GripperSettings,
    DatasetSettings,
    QuotaSettings,
    LimitSettings,
    GuessSettings,
    PickUpSettings,
    ReachSettings,
    ExecutionSettings,
):
    """What every command that makes grasps needs."""


class SimulatedSettings(ProposalSettings, SimulationSettings, BackendSettings):
    """What every command that also tries them needs."""

    @model_validator(mode="after")
    def _one_way_to_name_devices(self) -> Self:
        if self.device is not None and self.devices is not None:
            raise ValueError("device and devices exclude each other; set one of them")
        return self

    @model_validator(mode="after")
    def _gap_of_a_decomposition(self) -> Self:
        decomposed = self.collision_approximation is CollisionApproximation.CONVEX_DECOMPOSITION
        if self.max_surface_gap is not None and not decomposed:
            raise ValueError("max-surface-gap goes with collision-approximation convex-decomposition only; leave one of them out")
        return self


class TrialSettings(
    SimulatedSettings,
    ProtocolSettings,
    JudgeSettings,
    RandomizationSettings,
    HardNegativeSettings,
    RobustnessSettings,
    ControlSettings,
):
    """What every command that labels grasps needs."""


class GraspCommand(TrialSettings, ModeSettings):
    """Settings of `validate`, and of the loop over the objects whichever command runs it."""

    @model_validator(mode="after")
    def _modes_agree(self) -> Self:
        if self.overwrite_grasps and self.fill_grasps:
            raise ValueError("overwrite-grasps and fill-grasps exclude each other; set one of them")
        if self.guess_only and self.load_guesses:
            raise ValueError("guess-only and load-guesses exclude each other; set one of them")
        if self.robustness and not self.force_magnitude:
            raise ValueError("robustness needs a force-magnitude above 0, of which to find a multiple")
        return self


class GuessCommand(ProposalSettings, ExistingFileSettings):
    """Settings of `guess`: nothing is simulated."""

    def grasp_command(self) -> GraspCommand:
        """The same for the loop over the objects, which stops after the guesses."""
        return GraspCommand(**dict(self), guess_only=True)


class FillCommand(TrialSettings):
    """Settings of `fill`."""

    def grasp_command(self) -> GraspCommand:
        """The same for the loop over the objects, which tops up existing files."""
        return GraspCommand(**dict(self), fill_grasps=True)


class SplitsCommand(ObjectSettings, GripperSettings, DatasetSettings, SplitSettings):
    """Settings of `splits`."""

    @model_validator(mode="after")
    def _one_way_to_group(self) -> Self:
        if self.by_folder and self.by_regex is not None:
            raise ValueError("by-folder and by-regex exclude each other; set one of them")
        return self


class GripperConfigCommand(GripperSettings, DatasetSettings, GraspGenSettings):
    """What writing GraspGen's gripper config needs, whichever command does it."""


class GripperCommand(GripperConfigCommand, GripperFileSettings):
    """Settings of `gripper-config`."""

    @model_validator(mode="after")
    def _one_gripper(self) -> Self:
        if self.gripper_file is not None and self.gripper_config != type(self).model_fields["gripper_config"].default:
            raise ValueError("gripper-config and gripper-file exclude each other; set one of them")
        return self

    def chosen(self) -> GripperCommand:
        """The same with the gripper's file, where one is given, as the gripper."""
        return self if self.gripper_file is None else self.model_copy(update={"gripper_config": str(self.gripper_file)})


class RelabelCommand(GripperSettings, DatasetSettings, JudgeSettings, ThresholdSettings):
    """Settings of `relabel`."""


class AnalyzeCommand(InputSettings, ObjectSettings, GripperSettings, DatasetSettings, AnalyzeSettings, WorkerSettings):
    """Settings of `analyze`."""

    @model_validator(mode="after")
    def _outputs_have_forms(self) -> Self:
        for path in self.output:
            if path.suffix.lower() not in OUTPUT_FORMS:
                raise ValueError(f"output: {path} has no form that is known; end it in one of {', '.join(OUTPUT_FORMS)}")
        return self


class CompareCommand(InputSettings, WorkerSettings):
    """Settings of `compare`."""


class BalanceCommand(InputSettings, GripperSettings, DatasetSettings, CopySettings, BalanceSettings):
    """Settings of `balance`."""


class FilterCommand(InputSettings, GripperSettings, DatasetSettings, CopySettings, FilterSettings):
    """Settings of `filter`."""

    @model_validator(mode="after")
    def _openings_in_order(self) -> Self:
        if self.min_opening is not None and self.max_opening is not None and self.min_opening > self.max_opening:
            raise ValueError(f"min-opening {self.min_opening:g} is above max-opening {self.max_opening:g}; no grasp has both")
        return self


class DoctorCommand(ObjectSettings, DatasetSettings, DoctorSettings):
    """Settings of `doctor`."""


class ConvertCommand(MeshSettings, DatasetSettings, CopySettings, ConvertSettings):
    """Settings of `convert`: the dataset is what is converted; absolute paths of meshes become relative to their folder."""


class ObjectScalesCommand(MeshSettings, GripperSettings, ScalesSettings, SeedSettings):
    """Settings of `object-scales`."""


class TrainingScriptsCommand(MeshSettings, GripperSettings, DatasetSettings, CheckoutSettings, TrainingResultsSettings, ScriptSettings):
    """Settings of `training-scripts`."""


class InferenceConfigCommand(GripperSettings, CheckoutSettings, TrainingResultsSettings, InferenceSettings):
    """Settings of `inference-config`."""


class BenchCommand(SimulatedSettings, ProtocolSettings, JudgeSettings, BenchSettings):
    """Settings of `bench`."""

    def grasp_command(self) -> GraspCommand:
        """The same for the loop over the objects."""
        return GraspCommand(**{name: value for name, value in self if name in GraspCommand.model_fields})


class SceneSettings(ObjectSettings, GripperSettings, DatasetSettings, PickSettings):
    """What finding grasps, their object and their gripper needs. The dataset may be a folder or a file of grasps as well."""


class ViewCommand(SceneSettings, ViewSettings):
    """Settings of `view`."""

    @model_validator(mode="after")
    def _known_form(self) -> Self:
        _require_suffix(self.export, "export", (".png", ".glb", ".html"))
        return self


class ReplayCommand(SceneSettings, SimulationSettings, ReachSettings, ReplaySettings):
    """Settings of `replay`."""

    @model_validator(mode="after")
    def _known_forms(self) -> Self:
        _require_suffix(self.video, "video", (".mp4", ".gif", ".png"))
        _require_suffix(self.plot, "plot", (".png", ".svg", ".pdf", ".csv"))
        if self.grasp is not None and self.outcome is not None:
            raise ValueError("grasp and outcome exclude each other; set one of them")
        return self


def _require_suffix(path: Path | None, name: str, suffixes: tuple[str, ...]) -> None:
    if path is not None and path.suffix.lower() not in suffixes:
        raise ValueError(f"{name} {path}: the form of the file is not known; end its name in {', '.join(suffixes)}")


class AllCommand(GraspCommand, GripperConfigCommand, SplitsCommand):  # type: ignore[misc]  # the plugin types model_construct a class
    """Settings of `all`, which are the settings of the commands that it runs."""


COMMAND_CLASSES: tuple[type[Section], ...] = (
    GuessCommand,
    GraspCommand,
    FillCommand,
    SplitsCommand,
    GripperCommand,
    RelabelCommand,
    AnalyzeCommand,
    CompareCommand,
    BalanceCommand,
    FilterCommand,
    DoctorCommand,
    ConvertCommand,
    ObjectScalesCommand,
    TrainingScriptsCommand,
    InferenceConfigCommand,
    BenchCommand,
    ViewCommand,
    ReplayCommand,
    AllCommand,
)
"""The settings class of every subcommand; a settings file may hold the fields of all of them."""
