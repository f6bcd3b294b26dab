"""The sections of the settings: frozen pydantic models, one description and unit a field, one default, written once.

A subcommand's settings class joins the sections that it needs by inheritance (see :mod:`graspgen_cli.settings.commands`); a
function takes only the section that it needs. Flags, environment variables and YAML keys are made from the field names (see
:mod:`graspgen_cli.settings.options` and :mod:`graspgen_cli.settings.cascade`); a section's docstring is its heading in the help.
"""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Sampler(StrEnum):
    """How guesses are proposed."""

    FINGER_PADS = "finger-pads"
    ANTIPODAL = "antipodal"
    ACRONYM = "acronym"


class CollisionApproximation(StrEnum):
    """What stands for the object in the simulation."""

    CONVEX_DECOMPOSITION = "convex-decomposition"
    COACD = "coacd"
    CONVEX_HULL = "convex-hull"
    SPHERE_FILL = "sphere-fill"
    SDF = "sdf"


def _checked_tugs(tugs: tuple[Tug, ...]) -> tuple[Tug, ...]:
    for duration, direction, scale in tugs:
        if not (math.isfinite(duration) and duration > 0 and math.isfinite(scale)):
            raise ValueError(f"a tug is [duration s > 0, [x, y, z], scale], not [{duration}, {list(direction)}, {scale}]")
        if not 0 < math.hypot(*direction) < math.inf:
            raise ValueError(f"a tug needs a direction that is not zero: {list(direction)}")
    return tugs


def _home_expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"the home folder in {path} is not known") from error


Tug = tuple[float, tuple[float, float, float], float]
Tugs = Annotated[tuple[Tug, ...], AfterValidator(_checked_tugs)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10**9)]
PositiveCount = Annotated[int, Field(ge=1, le=10**6)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
UserPath = Annotated[Path, AfterValidator(_home_expanded)]

DEFAULT_TUGS: tuple[Tug, ...] = (
    (0.5, (0.0, 0.0, 1.0), 1.0),
    (0.5, (0.0, 2.0, 1.0), 1.0),
    (0.5, (0.0, -2.0, 1.0), 1.0),
    (0.5, (2.0, 0.0, 1.0), 1.0),
    (0.5, (-2.0, 0.0, 1.0), 1.0),
)


class Section(BaseModel):
    """Base of all settings sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class SeedSettings(Section):
    """The one source of every random choice."""

    seed: Seed = Field(0, description="Every random choice derives from it, per object; order and worker count do not matter.")


class ObjectSettings(Section):
    """Which objects."""

    object_scales_json: UserPath = Field(
        Path("objects/graspgen_example.json"), description='The objects and their scales: {"path/to/object.obj": scale, ...}.'
    )
    object_dataset: UserPath = Field(Path("objects"), description="Folder that the paths of the scales file start from.")


class DatasetSettings(Section):
    """Where output goes."""

    grasp_dataset: UserPath = Field(Path("results"), description="Folder of all output.")


class GraspGenSettings(Section):
    """Where GraspGen's source is."""

    graspgen_source: UserPath = Field(
        Path("~/github/GraspGen"),
        validate_default=True,
        description="GraspGen checkout; the gripper config goes to its config/grippers, or to the dataset where it does not exist.",
    )
    overwrite_gripper_config: bool = Field(False, description="Replace gripper config files that differ.")


class GripperSettings(Section):
    """Which gripper."""

    gripper_config: str = Field(
        "robotiq_2f_85",
        min_length=1,
        description="A built-in gripper's name, or the path of a gripper file.",
        json_schema_extra={"allowed": "a gripper's name or the path of a gripper file"},
    )


class QuotaSettings(Section):
    """How many grasps an object."""

    num_collision_free_grasps: Count = Field(64, description="Held grasps wanted of each object (guesses, with --guess-only).")
    num_colliding_grasps: Count = Field(16, description="Failed grasps wanted of each object, made by collision.")


class LimitSettings(Section):
    """When to give an object up."""

    max_guess_tries: Count = Field(100, description="Rounds of sampling an object before giving up; 0 = no limit.")


class GuessSettings(SeedSettings):
    """How guesses are made."""

    sampler: Sampler = Field(Sampler.FINGER_PADS, description="How grasps are proposed.")
    num_orientations: PositiveCount = Field(1, description="Orientations tried at each surface point.")
    percent_random_guess_angle: Fraction = Field(
        0.75, description="Share of guesses turned by a random angle about the contact normal; the rest align with the object's axes."
    )
    standoff_distance: PositiveFloat = Field(0.001, description="Step (m) by which the first finger backs off from the surface.")
    num_offsets: PositiveCount = Field(16, description="Most back-off steps of the first finger.")
    center_finger_opening: bool = Field(True, description="Centre the opening on the material between the pads.")
    correct_acronym_approach: bool = Field(
        False, description="With the acronym sampler: allow for fingers that move along the approach axis as they close."
    )
    bite: PositiveFloat | None = Field(
        None, description="Distance (m) from the fingertip back to the contact point; default: the gripper's."
    )
    pinch_width_resolution: Annotated[int, Field(ge=2)] = Field(8, description="Opening widths tried at each pose.")


class SimulationSettings(Section):
    """How grasps are tried."""

    fps: Annotated[int, Field(ge=50, le=10000)] = Field(250, description="Simulation steps per second.")
    initial_grasp_duration: PositiveFloat = Field(1.0, description="Time (s) to close and hold before the first tug.")
    tug_sequences: Tugs = Field(
        DEFAULT_TUGS,
        description="JSON list of [duration s, [x, y, z], scale]: tugs on the object, one after the other, in the gripper's frame.",
        json_schema_extra={"allowed": "a JSON list of [duration s, [x, y, z], scale]"},
    )
    force_magnitude: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(1.0, description="Force of a tug of scale 1, in g.")
    object_mass: PositiveFloat = Field(1.0, description="Mass (kg) of every object.")
    object_density: PositiveFloat | None = Field(None, description="Density (kg/m³); replaces --object-mass where given.")
    friction: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(1.0, description="Coulomb friction coefficient.")
    collision_approximation: CollisionApproximation = Field(
        CollisionApproximation.CONVEX_DECOMPOSITION, description="What stands for the object in the simulation."
    )
    max_num_envs: Count = Field(0, description="Most trials in flight at once; 0 = as many as there are grasps.")
    max_num_grasps: Count = Field(0, description="Most grasps tested of each object; 0 = all.")


class ExistingFileSettings(Section):
    """What to do with grasp files that exist."""

    overwrite_grasps: bool = Field(False, description="Make existing grasp files anew.")


class ModeSettings(ExistingFileSettings):
    """Which part of the work to do."""

    guess_only: bool = Field(False, description="Stop after the guesses; nothing is simulated.")
    load_guesses: bool = Field(False, description="Test the grasps that the files hold instead of guessing new ones.")
    fill_grasps: bool = Field(False, description="Top up existing grasp files to the quotas.")


class SplitSettings(SeedSettings):
    """Training and validation lists."""

    valid_set_percentage: Fraction = Field(0.2, description="Fraction of the objects that goes to validation.")


class ExecutionSettings(Section):
    """How the work is spread."""

    workers: Count = Field(0, description="Worker processes; 0 = one a core.")


class AnalyzeSettings(Section):
    """Thresholds of `analyze`."""

    min_success: Count = Field(0, description="Fewest held grasps an object; fewer ends with exit code 1.")
    min_failed: Count = Field(0, description="Fewest failed grasps an object; fewer ends with exit code 1.")
