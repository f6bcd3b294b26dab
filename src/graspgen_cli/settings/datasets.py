"""The groups of the commands that read, copy, show and hand over grasps."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from graspgen_cli.settings.base import (
    Axis,
    Count,
    Fraction,
    Group,
    NotNegative,
    OneOf,
    PositiveCount,
    PositiveFloat,
    SeedSettings,
    UserPath,
)
from graspgen_cli.tables import FORMATS


class OutcomeName(StrEnum):
    """What is known of a grasp, as the grasp files name it."""

    HELD = "held"
    COLLISION = "collision"
    DROPPED = "dropped"
    UNSTABLE = "unstable"
    UNVALIDATED = "unvalidated"


class FigureKind(StrEnum):
    """What stands for a grasp in a picture."""

    LINES = "lines"
    GRIPPER = "gripper"


class Unit(StrEnum):
    """A unit of length."""

    METRE = "m"
    CENTIMETRE = "cm"
    MILLIMETRE = "mm"
    INCH = "inch"

    @property
    def metres(self) -> float:
        """m in one unit."""
        return {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}[self.value]


class NameSource(StrEnum):
    """What an object is called after."""

    FILE = "file"
    UUID = "uuid"


class NegativeRatio(StrEnum):
    """Which mixture the discriminator is trained on."""

    AUTO = "auto"
    GUIDE = "guide"
    ORIGINAL = "original"


def written_formats() -> list[str]:
    """The names that --to takes."""
    return [name for name, row in FORMATS.items() if row.written]


_WRITTEN_FORMATS = OneOf(written_formats)
WrittenFormat = Annotated[str, AfterValidator(_WRITTEN_FORMATS.check), _WRITTEN_FORMATS]


OUTPUT_FORMS = (".json", ".csv", ".html")
"""What the suffix of an --output of `analyze` may be."""


class InputSettings(Group):
    """Which grasps to read."""

    paths: tuple[UserPath, ...] = Field(
        (),
        description="Datasets, folders or files of grasps; default: those of --gripper-config in --grasp-dataset.",
        json_schema_extra={"allowed": "a path; several as a JSON list, or by giving it several times"},
    )


class AnalyzeSettings(Group):
    """What to look at, and what is enough."""

    min_success: Count = Field(0, description="Fewest held grasps an object; fewer ends with exit code 1.")
    min_failed: Count = Field(0, description="Fewest failed grasps an object; fewer ends with exit code 1.")
    min_total: Count = Field(0, description="Fewest grasps an object; fewer ends with exit code 1.")
    fail_under: Fraction = Field(0.0, description="Least share (0 to 1) of all tested grasps that held; less ends with exit code 1.")
    geometry: bool = Field(
        False,
        description="Compare with the meshes in --object-dataset: collisions, grasps out of reach, the share of the surface that is held. "
        "Takes 0.1 s an object or more.",
    )
    output: tuple[UserPath, ...] = Field(
        (),
        description="Write the result to a file as well: .json, .csv (a row an object) or .html (a page that needs no network).",
        json_schema_extra={"allowed": "a path that ends in .json, .csv or .html; may be given several times"},
    )

    @model_validator(mode="after")
    def _outputs_have_forms(self) -> Self:
        for path in self.output:
            if path.suffix.lower() not in OUTPUT_FORMS:
                raise ValueError(f"output: {path} has no form that is known; end it in one of {', '.join(OUTPUT_FORMS)}")
        return self


class CopySettings(Group):
    """Where the copy goes."""

    output_dataset: UserPath = Field(Path("copy"), description="Folder of the new dataset; it must hold no grasps of the gripper yet.")


class BalanceSettings(SeedSettings):
    """How many grasps to keep of each object."""

    num_held: Count | None = Field(None, description="Most held grasps of each object; default: all.")
    num_failed: Count | None = Field(None, description="Most failed grasps of each object; default: all.")
    failed_per_held: NotNegative | None = Field(
        None, description="Failed grasps for each held one: as many of both as give that ratio; default: whatever there is."
    )


class FilterSettings(Group):
    """Which grasps to keep; all conditions must be met."""

    indices: str | None = Field(
        None,
        min_length=1,
        description="Places in the file from 0, and ranges without their end: 0,5,10:20.",
        json_schema_extra={"allowed": "places and ranges such as 0,5,10:20"},
    )
    outcomes: str | None = Field(
        None,
        min_length=1,
        description="Names of outcomes, with commas: held,dropped.",
        json_schema_extra={"allowed": "names of outcomes, with commas"},
    )
    min_opening: PositiveFloat | None = Field(None, description="Narrowest opening (m) at the start of the trial.")
    max_opening: PositiveFloat | None = Field(None, description="Widest opening (m) at the start of the trial.")
    approach_direction: Axis | None = Field(
        None,
        description="JSON list [x, y, z]: direction in which the gripper approaches, in the object's frame.",
        json_schema_extra={"allowed": "a JSON list [x, y, z] that is not zero"},
    )
    approach_angle: Annotated[float, Field(gt=0.0, le=180.0)] = Field(
        30.0, description="Largest angle (degrees) between a grasp's approach and --approach-direction."
    )

    @model_validator(mode="after")
    def _openings_in_order(self) -> Self:
        if self.min_opening is not None and self.max_opening is not None and self.min_opening > self.max_opening:
            raise ValueError(f"min-opening {self.min_opening:g} is above max-opening {self.max_opening:g}; no grasp has both")
        return self


class PickSettings(Group):
    """Which grasps."""

    object: str | None = Field(None, min_length=1, description="The first object in whose name this text is; default: the first of all.")
    grasp: Count | None = Field(None, description="Index of one grasp in its file, from 0.")
    outcome: OutcomeName | None = Field(None, description="Only grasps with this outcome.")


class ViewSettings(Group):
    """What to look at, and where."""

    figure: FigureKind = Field(FigureKind.LINES, description="What stands for a grasp.")
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 lets other machines in.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(8080, description="Port to listen on; the next free one where it is taken.")
    export: UserPath | None = Field(
        None, description="Write what would be shown to a FILE.png, .glb or .html, without a browser or a screen, and stop."
    )
    picture_width: Annotated[int, Field(ge=64, le=8192)] = Field(
        1200, description="Width (pixels) of a picture; its height is three quarters."
    )

    @model_validator(mode="after")
    def _known_form(self) -> Self:
        _require_suffix(self.export, "export", (".png", ".glb", ".html"))
        return self


class ReplaySettings(Group):
    """What to show of the trial."""

    video: UserPath | None = Field(
        None, description="Draw the trial: FILE.mp4 or .gif for a video, .png for a strip of moments, with the plot below it."
    )
    plot: UserPath | None = Field(
        None, description="Draw contact force and slip over time: FILE.png, .svg or .pdf; or .csv for the numbers of every step."
    )
    slow_motion: PositiveFloat = Field(1.0, description="How many times slower than real the video is.")
    draw: Count | None = Field(None, description="Draw, from 1, of randomised physics to show; default: the trial as it is without.")
    interactive: bool = Field(False, description="Open MuJoCo's viewer and run the trial there, again and again.")

    @model_validator(mode="after")
    def _known_forms(self) -> Self:
        _require_suffix(self.video, "video", (".mp4", ".gif", ".png"))
        _require_suffix(self.plot, "plot", (".png", ".svg", ".pdf", ".csv"))
        return self


def _require_suffix(path: Path | None, name: str, suffixes: tuple[str, ...]) -> None:
    if path is not None and path.suffix.lower() not in suffixes:
        raise ValueError(f"{name} {path}: the form of the file is not known; end its name in {', '.join(suffixes)}")


class ConvertSettings(Group):
    """What to convert to what."""

    to: WrittenFormat = Field("graspgen", description="What to write.")
    for_gripper: str | None = Field(
        None,
        min_length=1,
        description="Gripper, by name or file, in whose base frame the poses are to be; default: what the files name, poses as they are.",
        json_schema_extra={"allowed": "a gripper's name or the path of a gripper file"},
    )
    objects_per_shard: PositiveCount = Field(
        64, description="Objects in each WebDataset shard; GraspGen goes through a shard from its start for each object."
    )


class ScalesSettings(Group):
    """How the scales come about."""

    scales_file: UserPath = Field(Path("object_scales.json"), description="File to write.")
    overwrite_scales: bool = Field(False, description="Replace the file where it exists.")
    from_graspgen: UserPath | None = Field(
        None,
        description="Take objects and scales from grasps, GraspGen's (JSON or WebDataset) or GraspDataGen's; default: from the meshes.",
    )
    object_names: NameSource = Field(
        NameSource.FILE, description="With --from-graspgen: call objects as the files do, or by the uuid in the archive or map."
    )
    mesh_suffix: str | None = Field(
        None, min_length=1, description="With --from-graspgen: ending to put behind names that have none, such as .obj."
    )
    unit: Unit = Field(Unit.METRE, description="Unit of the meshes.")
    random_scale: tuple[PositiveFloat, PositiveFloat] | None = Field(
        None,
        description="JSON list [low, high]: a factor for each object, drawn between them on a logarithmic scale.",
        json_schema_extra={"allowed": "a JSON list [low, high] of two positive numbers"},
    )
    max_extent: PositiveFloat | None = Field(None, description="Largest extent (m) that an object may have; larger ones are scaled down.")
    fit_to_gripper: bool = Field(
        False, description="Scale objects down until their smallest extent is at most 80 % of the gripper's widest opening."
    )


class TrainingResultsSettings(Group):
    """Where training puts its results."""

    training_results: UserPath = Field(
        Path("/results"), description="Folder of the training's results; runs are logs/<gripper>_gen_test and _dis_test in it."
    )


class ScriptSettings(Group):
    """What the training scripts say."""

    template_gripper: str | None = Field(
        None, min_length=1, description="Gripper of the checkout whose scripts are adapted; default: robotiq_2f_140, else the first."
    )
    save_freq: PositiveCount = Field(100, description="Epochs from one checkpoint to the next.")
    discriminator_ratio: NegativeRatio = Field(
        NegativeRatio.AUTO,
        description="The scripts' own mixture, the guide's without collision negatives, or the own one where the gripper has a mesh.",
    )
    container_paths: bool = Field(
        False, description="Write the mount points of the containers, /code, /grasp_dataset, /object_dataset and /results, instead."
    )
    overwrite_scripts: bool = Field(False, description="Replace scripts that differ.")


class InferenceSettings(Group):
    """Which runs are joined."""

    generator_run: UserPath | None = Field(None, description="Folder of the generator's run; default: that of the gripper.")
    discriminator_run: UserPath | None = Field(None, description="Folder of the discriminator's run; default: that of the gripper.")
    checkpoint: str = Field("last.pth", min_length=1, description="File name of the checkpoint in both runs.")
    inference_file: UserPath | None = Field(
        None, description="File to write; default: logs/<gripper>_inference.yaml in the training's results."
    )
    overwrite_inference_config: bool = Field(False, description="Replace the file where it differs.")
