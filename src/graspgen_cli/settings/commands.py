"""The settings class of every subcommand: the sections that it needs, joined; and what must not be combined."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from graspgen_cli.settings.models import (
    AnalyzeSettings,
    DatasetSettings,
    ExecutionSettings,
    ExistingFileSettings,
    GraspGenSettings,
    GripperSettings,
    GuessSettings,
    LimitSettings,
    ModeSettings,
    ObjectSettings,
    QuotaSettings,
    Section,
    SeedSettings,
    SimulationSettings,
    SplitSettings,
)

SECTIONS: tuple[type[Section], ...] = (
    ObjectSettings,
    GripperSettings,
    DatasetSettings,
    GraspGenSettings,
    ModeSettings,
    ExistingFileSettings,
    QuotaSettings,
    LimitSettings,
    GuessSettings,
    SimulationSettings,
    SplitSettings,
    AnalyzeSettings,
    SeedSettings,
    ExecutionSettings,
)
"""Every section, in the order in which help, tables and documentation show them."""


class ProposalSettings(ObjectSettings, GripperSettings, DatasetSettings, QuotaSettings, LimitSettings, GuessSettings, ExecutionSettings):
    """What every command that makes grasps needs."""


class GraspCommand(ProposalSettings, SimulationSettings, ModeSettings):
    """Settings of `validate`, and of the loop over the objects whichever command runs it."""

    @model_validator(mode="after")
    def _modes_agree(self) -> Self:
        if self.overwrite_grasps and self.fill_grasps:
            raise ValueError("overwrite-grasps and fill-grasps exclude each other; set one of them")
        if self.guess_only and self.load_guesses:
            raise ValueError("guess-only and load-guesses exclude each other; set one of them")
        return self


class GuessCommand(ProposalSettings, ExistingFileSettings):
    """Settings of `guess`: nothing is simulated."""

    def grasp_command(self) -> GraspCommand:
        """The same for the loop over the objects, which stops after the guesses."""
        return GraspCommand(**dict(self), guess_only=True)


class FillCommand(ProposalSettings, SimulationSettings):
    """Settings of `fill`."""

    def grasp_command(self) -> GraspCommand:
        """The same for the loop over the objects, which tops up existing files."""
        return GraspCommand(**dict(self), fill_grasps=True)


class SplitsCommand(ObjectSettings, GripperSettings, DatasetSettings, SplitSettings):
    """Settings of `splits`."""


class GripperConfigCommand(GripperSettings, DatasetSettings, GraspGenSettings):
    """Settings of `gripper-config`."""


class AnalyzeCommand(GripperSettings, DatasetSettings, QuotaSettings, AnalyzeSettings):
    """Settings of `analyze`."""


class AllCommand(GraspCommand, GripperConfigCommand, SplitsCommand):  # type: ignore[misc]  # the plugin types model_construct a class
    """Settings of `all`, which are the settings of the commands that it runs."""


COMMAND_CLASSES: tuple[type[Section], ...] = (
    GuessCommand,
    GraspCommand,
    FillCommand,
    SplitsCommand,
    GripperConfigCommand,
    AnalyzeCommand,
    AllCommand,
)
"""The settings class of every subcommand; a settings file may hold the fields of all of them."""
