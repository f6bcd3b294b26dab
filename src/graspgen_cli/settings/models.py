"""The sections of the settings: frozen pydantic models, one description and unit a field, one default, written once.

A subcommand's settings class joins the sections that it needs by inheritance (see :mod:`graspgen_cli.settings.commands`); a
function takes only the section that it needs. Flags, environment variables and YAML keys are made from the field names (see
:mod:`graspgen_cli.settings.options` and :mod:`graspgen_cli.settings.cascade`); a section's docstring is its heading in the help.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from graspgen_cli.settings.disturbances import DEFAULT_TUGS, Shakes, Tugs
from graspgen_cli.tables import ENGINES


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


class Executor(StrEnum):
    """What runs the objects."""

    LOCAL = "local"
    RAY = "ray"


AUTO = "auto"
"""The name in the place of an engine's that leaves the choice to the program."""


@dataclass(frozen=True)
class OneOf:
    """Marks a text field that takes one of the names that `names` gives, at the time when it is asked."""

    names: Callable[[], list[str]]

    def check(self, name: str) -> str:
        """The name. Raises PydanticCustomError for any other."""
        if name not in self.names():
            raise PydanticCustomError("one_of", "not one of the names")
        return name


def engine_names() -> list[str]:
    """The names that --backend takes."""
    return [AUTO, *ENGINES]


def _compiled(pattern: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError, MemoryError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{pattern!a} is not allowed ({reason}); give {REGEX_ALLOWED}") from error
    return pattern


def _home_expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"the home folder in {path} is not known") from error


def _checked_shard(shard: str) -> str:
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count) <= 10**6):
        raise ValueError(f"{shard!a} is not allowed; give {SHARD_ALLOWED}")
    return shard


def _direction(vector: tuple[float, float, float]) -> tuple[float, float, float]:
    if not 0 < math.hypot(*vector) < math.inf:
        raise ValueError("a direction must not be zero")
    return vector


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Axis = Annotated[tuple[float, float, float], AfterValidator(_direction)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10**9)]
PositiveCount = Annotated[int, Field(ge=1, le=10**6)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
LONGEST_REGEX = 200
REGEX_ALLOWED = f"a regular expression of 1 to {LONGEST_REGEX} characters"
Regex = Annotated[str, AfterValidator(_compiled)]
SHARD_ALLOWED = "i/n with i from 0 to n - 1, such as 0/3"
Shard = Annotated[str, AfterValidator(_checked_shard)]
_ENGINE_NAMES = OneOf(engine_names)
BackendName = Annotated[str, AfterValidator(_ENGINE_NAMES.check), _ENGINE_NAMES]
UserPath = Annotated[Path, AfterValidator(_home_expanded)]


class Section(BaseModel):
    """Base of all settings sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class SeedSettings(Section):
    """The one source of every random choice."""

    seed: Seed = Field(0, description="Every random choice derives from it, per object; order and worker count do not matter.")


class MeshSettings(Section):
    """Where the meshes are."""

    object_dataset: UserPath = Field(Path("objects"), description="Folder that the paths of the scales file start from.")


class ObjectSettings(MeshSettings):
    """Which objects."""

    object_scales_json: UserPath = Field(
        Path("objects/graspgen_example.json"), description='The objects and their scales: {"path/to/object.obj": scale, ...}.'
    )


class DatasetSettings(Section):
    """Where output goes."""

    grasp_dataset: UserPath = Field(Path("results"), description="Folder of all output.")


class CheckoutSettings(Section):
    """Where GraspGen's source is."""

    graspgen_source: UserPath = Field(
        Path("~/github/GraspGen"),
        validate_default=True,
        description="GraspGen checkout; the gripper config goes to its config/grippers, or to the dataset where it does not exist.",
    )


class GraspGenSettings(CheckoutSettings):
    """The gripper config in GraspGen's source."""

    overwrite_gripper_config: bool = Field(False, description="Replace gripper config files that differ.")


class GripperSettings(Section):
    """Which gripper."""

    gripper_config: str = Field(
        "robotiq_2f_85",
        min_length=1,
        description="A built-in or saved gripper's name, or the path of a gripper file or of a model (MJCF, URDF, SDF, USD).",
        json_schema_extra={"allowed": "a gripper's name or the path of a gripper file"},
    )
    base_frame: str | None = Field(
        None, min_length=1, description="Body whose frame is the grasp frame; all that does not hang on it is left out."
    )
    package_root: UserPath | None = Field(
        None, description="Folder in which the packages lie whose meshes a URDF or SDF names by package:// or model://; default: searched."
    )
    finger_colliders: tuple[str, str] | None = Field(
        None,
        description='JSON list of the two bodies that carry the pads, ["left", "right"]; default: found.',
        json_schema_extra={"allowed": "a JSON list of two names"},
    )
    approach_axis: Axis | None = Field(
        None,
        description="JSON list [x, y, z]: direction in which the gripper moves towards an object, in the base's frame; default: found.",
        json_schema_extra={"allowed": "a JSON list [x, y, z] that is not zero"},
    )
    open_configuration: dict[str, FiniteFloat] | None = Field(
        None,
        description='JSON {"joint": value}: joint positions (m or rad) at which the gripper counts as open; default: the joints\' limits.',
        json_schema_extra={"allowed": 'a JSON mapping {"joint": value}'},
    )
    grip_force: PositiveFloat | None = Field(None, description="Force (N) with which each pad presses; default: the gripper's.")
    closing_speed: PositiveFloat | None = Field(None, description="Rate (m/s) at which the opening shrinks; default: the gripper's.")
    measure_convergence: bool = Field(False, description="Measure how well the mechanism's constraints are met.")
    convergence_iterations: Annotated[int, Field(ge=1, le=1000)] = Field(
        50, description="Most iterations for each position of the mechanism."
    )


class GripperFileSettings(Section):
    """What to do with the gripper."""

    gripper_file: UserPath | None = Field(None, description="The gripper's file, in the place of a name.")
    draw_picture: bool = Field(True, description="Draw the gripper, open to closed, into a PNG beside the config.")
    save: str | None = Field(
        None,
        min_length=1,
        description="Keep the gripper under this name in the user's config folder; every command then knows it.",
        json_schema_extra={"allowed": "a name of letters, digits, _ and -"},
    )
    list: bool = Field(False, description="Name the built-in and the saved grippers, and stop.")


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


class PickUpSettings(Section):
    """Guesses for picking up from a table."""

    approach_cone: Annotated[float, Field(ge=0.0, le=180.0)] | None = Field(
        None, description="Largest angle (degrees) between the gripper's approach and straight down; default: any."
    )
    bottom_clearance: FiniteFloat | None = Field(
        None, description="Least height (m) of the whole gripper, at the guess's opening, over the object's lowest point; default: any."
    )
    wrist_up: bool = Field(False, description="Only guesses in which the gripper's base is not below its pads.")
    up_axis: Axis = Field(
        (0.0, 0.0, 1.0),
        description="JSON list [x, y, z]: which way is up in the frame of the objects' meshes.",
        json_schema_extra={"allowed": "a JSON list [x, y, z] that is not zero"},
    )

    @property
    def is_on(self) -> bool:
        """Whether any guess could be turned down."""
        return self.approach_cone is not None or self.bottom_clearance is not None or self.wrist_up


class SimulationSettings(Section):
    """How grasps are tried."""

    fps: Annotated[int, Field(ge=50, le=10000)] = Field(250, description="Simulation steps per second.")
    initial_grasp_duration: PositiveFloat = Field(1.0, description="Time (s) to close and hold before the first tug.")
    tug_sequences: Tugs = Field(
        DEFAULT_TUGS,
        description="JSON list of [duration s, [x, y, z], scale]: tugs on the object, one after the other, in the gripper's frame.",
        json_schema_extra={"allowed": "a JSON list of [duration s, [x, y, z], scale]"},
    )
    shake_sequences: Shakes = Field(
        (),
        description='JSON list of [duration s, "linear" or "rotational", "approach", "closing" or "binormal", amplitude m or rad, '
        "frequency Hz]: the gripper is shaken along or about an axis of its own, one shake after the other, after the tugs.",
        json_schema_extra={"allowed": "a JSON list of [duration s, kind, axis, amplitude, frequency Hz]"},
    )
    force_magnitude: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(1.0, description="Force of a tug of scale 1, in g.")
    steady_motion: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(
        0.0005,
        description="Motion (m): a stage of a trial ends once the object creeps steadily and the rest would move it by less; 0 = never.",
    )
    object_mass: PositiveFloat = Field(1.0, description="Mass (kg) of every object.")
    object_density: PositiveFloat | None = Field(None, description="Density (kg/m³); replaces --object-mass where given.")
    friction: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(1.0, description="Coulomb friction coefficient.")
    contact_patch: Annotated[float, Field(ge=0.0, le=0.1, allow_inf_nan=False)] = Field(
        0.003,
        description="Radius (m) of the patch that a soft pad makes of a contact point; it resists turning about the contact's normal. "
        "0 = points that turn freely, as of hard fingers.",
    )
    collision_approximation: CollisionApproximation = Field(
        CollisionApproximation.CONVEX_DECOMPOSITION, description="What stands for the object in the simulation."
    )
    max_surface_gap: PositiveFloat | None = Field(
        None,
        description="Distance (m) that pieces of convex-decomposition may stand off the mesh; "
        "default: 0.0015 or 1.5 % of the object's size, whichever is more.",
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
    grasps: UserPath | None = Field(
        None,
        description="Grasps to test instead of guessing: a folder or file of GraspGen JSON, isaac_grasp, WebDataset or ACRONYM, with the "
        "objects and scales that it names.",
    )
    fill_grasps: bool = Field(False, description="Top up existing grasp files to the quotas.")


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


class BackendSettings(Section):
    """Which engine simulates, and on what."""

    backend: BackendName = Field(
        AUTO, description="Engine; auto takes mujoco-warp where there is an NVIDIA GPU and that is installed, else mujoco."
    )
    device: str | None = Field(None, min_length=1, description="GPU, such as cuda:1; default: cuda:0. The backend mujoco needs none.")
    devices: str | None = Field(None, min_length=1, description="Several GPUs, with commas: cuda:0,cuda:1. Each has a process of its own.")
    headed: bool = Field(False, description="With the backend isaaclab: show the trials in a window.")


class WorkerSettings(Section):
    """How many processes work."""

    workers: Count = Field(0, description="Worker processes; 0 = one for every core that the machine, the container or Slurm allows.")


class ExecutionSettings(WorkerSettings):
    """How the work is spread."""

    object_timeout: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(
        0.0, description="Time (s) after which an object is given up and the run goes on; 0 = no limit."
    )
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


class DoctorSettings(Section):
    """What to check, and what to do about it."""

    machine: bool = Field(False, description="Check the machine as well where a dataset is named.")
    repair: bool = Field(
        False, description="Rebuild what is derived from the grasp files, and move broken ones to quarantine/ in the dataset."
    )


class BenchSettings(Section):
    """What to measure, and against what."""

    trials: PositiveCount = Field(64, description="Grasps tried of each object.")
    compare: UserPath | None = Field(None, description="JSON of an earlier `bench --json`, to set this run against.")
