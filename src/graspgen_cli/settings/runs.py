"""The groups that say which work is done, by what, and where."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from graspgen_cli.settings.base import (
    LONGEST_REGEX,
    REGEX_ALLOWED,
    SHARD_ALLOWED,
    Count,
    Fraction,
    Group,
    NotNegative,
    OneOf,
    PositiveCount,
    Regex,
    SeedSettings,
    Shard,
    UserPath,
)
from graspgen_cli.tables import ENGINES

AUTO = "auto"
"""The name in the place of an engine's that leaves the choice to the program."""


def engine_names() -> list[str]:
    """The names that --backend takes."""
    return [AUTO, *ENGINES]


_ENGINE_NAMES = OneOf(engine_names)
BackendName = Annotated[str, AfterValidator(_ENGINE_NAMES.check), _ENGINE_NAMES]


class Executor(StrEnum):
    """What runs the objects."""

    LOCAL = "local"
    RAY = "ray"


class ExistingFileSettings(Group):
    """What to do with grasp files that exist."""

    overwrite_grasps: bool = Field(False, description="Make existing grasp files anew.")


class ModeSettings(ExistingFileSettings):
    """Which part of the work to do."""

    guess_only: bool = Field(False, description="Stop after the guesses; nothing is simulated.")
    load_guesses: bool = Field(False, description="Test the grasps that the files hold instead of guessing new ones.")
    grasps: UserPath | None = Field(
        None,
        description="Grasps to test instead of guessing: a folder or file of GraspGen JSON, isaac_grasp, WebDataset or ACRONYM, with the "
        "objects and scales that it names.",
    )
    fill_grasps: bool = Field(False, description="Top up existing grasp files to the quotas.")

    @model_validator(mode="after")
    def _modes_agree(self) -> Self:
        if self.overwrite_grasps and self.fill_grasps:
            raise ValueError("overwrite-grasps and fill-grasps exclude each other; set one of them")
        if self.guess_only and self.load_guesses:
            raise ValueError("guess-only and load-guesses exclude each other; set one of them")
        return self


class SplitSettings(SeedSettings):
    """Training and validation lists."""

    valid_set_percentage: Fraction = Field(0.2, description="Fraction of the objects that goes to validation.")
    by_folder: bool = Field(False, description="Keep the objects of one folder on one side.")
    by_regex: Regex | None = Field(
        None,
        min_length=1,
        max_length=LONGEST_REGEX,
        description="Regular expression: keep the objects on one side in whose names its first group, or all of it, finds the same text.",
        json_schema_extra={"allowed": REGEX_ALLOWED},
    )

    @model_validator(mode="after")
    def _one_way_to_group(self) -> Self:
        if self.by_folder and self.by_regex is not None:
            raise ValueError("by-folder and by-regex exclude each other; set one of them")
        return self


class BackendSettings(Group):
    """Which engine simulates, and on what."""

    backend: BackendName = Field(
        AUTO, description="Engine; auto takes mujoco-warp where there is an NVIDIA GPU and that is installed, else mujoco."
    )
    device: str | None = Field(
        None, min_length=1, description="GPU, such as cuda:1; default: cuda:0 with mujoco-warp, none with mujoco and physx."
    )
    devices: str | None = Field(None, min_length=1, description="Several GPUs, with commas: cuda:0,cuda:1. Each has a process of its own.")

    @model_validator(mode="after")
    def _one_way_to_name_devices(self) -> Self:
        if self.device is not None and self.devices is not None:
            raise ValueError("device and devices exclude each other; set one of them")
        return self


class WorkerSettings(Group):
    """How many processes work."""

    workers: Count = Field(0, description="Worker processes; 0 = one for every core that the machine, the container or Slurm allows.")


class ExecutionSettings(WorkerSettings):
    """How the work is spread."""

    object_timeout: NotNegative = Field(0.0, description="Time (s) after which an object is given up and the run goes on; 0 = no limit.")
    objects_per_worker: Count = Field(500, description="Objects after which a worker process is replaced by a new one; 0 = never.")
    worker_memory: Count = Field(2048, description="Memory (MB) above which a worker process is replaced after its object; 0 = never.")
    shard: Shard | None = Field(
        None,
        description="Do part i of n of the list, i/n with i from 0; the n runs may be anywhere and at any time.",
        json_schema_extra={"allowed": SHARD_ALLOWED},
    )
    executor: Executor = Field(Executor.LOCAL, description="What runs the objects: processes on this machine, or a Ray cluster.")
    ray_address: str | None = Field(
        None,
        min_length=1,
        description="Address of the Ray cluster, such as auto; default: what RAY_ADDRESS says, else a new one here.",
    )


class DoctorSettings(Group):
    """What to check, and what to do about it."""

    machine: bool = Field(False, description="Check the machine as well where a dataset is named.")
    repair: bool = Field(
        False, description="Rebuild what is derived from the grasp files, and move broken ones to quarantine/ in the dataset."
    )


class BenchSettings(Group):
    """What to measure, and against what."""

    trials: PositiveCount = Field(64, description="Grasps tried of each object.")
    compare: UserPath | None = Field(None, description="JSON of an earlier `bench --json`, to set this run against.")
