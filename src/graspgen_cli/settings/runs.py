"""The groups for the work itself: which part of it, by which engine, on which machines."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from graspgen_cli.settings.base import Count, Fraction, Group, NotNegative, PositiveCount, Regex, Rule, SeedSettings, Shard, Text, UserPath
from graspgen_cli.tables import ENGINES

AUTO = "auto"
"""The value of --backend that leaves the choice to the program."""
BackendName = Annotated[str, Rule(names=lambda: [AUTO, *ENGINES])]


class Executor(StrEnum):
    """The workers of a run."""

    LOCAL = "local"
    RAY = "ray"


class ExistingFileSettings(Group):
    """What to do with existing grasp files."""

    overwrite_grasps: bool = Field(False, description="Replace existing grasp files.")


class ModeSettings(ExistingFileSettings):
    """Which part of the work to do."""

    exclusive = (("overwrite_grasps", "fill_grasps"), ("guess_only", "load_guesses"))
    guess_only: bool = Field(False, description="Stop after the guesses, without simulation.")
    load_guesses: bool = Field(False, description="Test the grasps in the dataset instead of new guesses.")
    grasps: UserPath | None = Field(
        None,
        description="Grasps to test instead of guesses: a folder or file of GraspGen JSON, isaac_grasp, WebDataset or ACRONYM, with its "
        "objects and scales.",
    )
    fill_grasps: bool = Field(False, description="Fill existing grasp files up to the quotas.")


class SplitSettings(SeedSettings):
    """Training and validation lists."""

    exclusive = (("by_folder", "by_regex"),)
    valid_set_percentage: Fraction = Field(0.2, description="Fraction of the objects for validation.")
    by_folder: bool = Field(False, description="Keep the objects of one folder in one list.")
    by_regex: Regex | None = Field(
        None, description="Regular expression: objects with the same text for its first group, or for all of it, are kept in one list."
    )


class BackendSettings(Group):
    """Which engine simulates, and on what."""

    exclusive = (("device", "devices"),)
    backend: BackendName = Field(
        AUTO, description="Engine; auto is mujoco-warp on a machine with an NVIDIA GPU and that package, else mujoco."
    )
    device: Text | None = Field(None, description="GPU, such as cuda:1; default: cuda:0 with mujoco-warp, none with mujoco and physx.")
    devices: Text | None = Field(None, description="Several GPUs, with commas: cuda:0,cuda:1. Each has a process of its own.")


class WorkerSettings(Group):
    """How many processes work."""

    workers: Count = Field(0, description="Worker processes; 0 = one for each core that the machine, the container or Slurm allows.")


class ExecutionSettings(WorkerSettings):
    """How the work is spread."""

    object_timeout: NotNegative = Field(0.0, description="Time (s) after which a run gives up an object and continues; 0 = no limit.")
    objects_per_worker: Count = Field(500, description="Objects after which a worker process is replaced; 0 = never.")
    worker_memory: Count = Field(2048, description="Memory (MB) above which a worker process is replaced after its object; 0 = never.")
    shard: Shard | None = Field(
        None, description="Do part i of n of the list, i/n with i from 0; the n runs may be on any machine and at any time."
    )
    executor: Executor = Field(Executor.LOCAL, description="Workers: processes on this machine, or a Ray cluster.")
    ray_address: Text | None = Field(
        None, description="Address of the Ray cluster, such as auto; default: that in RAY_ADDRESS, else a new cluster here."
    )


class DoctorSettings(Group):
    """What to check, and what to do about it."""

    machine: bool = Field(False, description="Check the machine as well as the dataset.")
    repair: bool = Field(False, description="Rebuild derived files, and move broken grasp files to quarantine/ in the dataset.")


class BenchSettings(Group):
    """What to measure, and what to compare with."""

    trials: PositiveCount = Field(64, description="Grasps tried of each object.")
    compare: UserPath | None = Field(None, description="JSON of an earlier `bench --json`, to compare with.")
