"""The groups of the commands that read, copy, show and hand over grasps."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from graspgen_cli.settings.base import (
    Axis,
    Count,
    Factors,
    Fraction,
    GripperName,
    Group,
    NotNegative,
    PositiveCount,
    PositiveFloat,
    Rule,
    SeedSettings,
    Text,
    UserPath,
    ending,
)
from graspgen_cli.tables import FORMATS


class OutcomeName(StrEnum):
    """The outcome of a grasp, as in the grasp files."""

    HELD = "held"
    COLLISION = "collision"
    DROPPED = "dropped"
    UNSTABLE = "unstable"
    UNVALIDATED = "unvalidated"


class FigureKind(StrEnum):
    """The figure of a grasp in a picture."""

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
        """Metres in one unit."""
        return {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}[self.value]


class NameSource(StrEnum):
    """The source of the objects' names."""

    FILE = "file"
    UUID = "uuid"


class NegativeRatio(StrEnum):
    """The mixture that the discriminator is trained on."""

    AUTO = "auto"
    GUIDE = "guide"
    ORIGINAL = "original"


class InputSettings(Group):
    """Which grasps to read."""

    paths: Annotated[tuple[UserPath, ...], Rule("a path; several as a JSON list, or one a flag")] = Field(
        (), description="Datasets, folders or files of grasps; default: those of --gripper-config in --grasp-dataset."
    )


class AnalyzeSettings(Group):
    """What to analyze, and the thresholds."""

    min_success: Count = Field(0, description="Held grasps an object, at least; fewer ends with exit code 1.")
    min_failed: Count = Field(0, description="Failed grasps an object, at least; fewer ends with exit code 1.")
    min_total: Count = Field(0, description="Grasps an object, at least; fewer ends with exit code 1.")
    fail_under: Fraction = Field(0.0, description="Least share (0 to 1) of all tested grasps that held; less ends with exit code 1.")
    geometry: bool = Field(
        False,
        description="Compare with the meshes in --object-dataset: collisions, grasps out of reach, the share of the surface with held "
        "grasps. Takes 0.1 s an object or more.",
    )
    output: Annotated[
        tuple[Annotated[UserPath, ending(".json", ".csv", ".html")], ...],
        Rule("a path that ends in .json, .csv or .html; several as a JSON list, or one a flag"),
    ] = Field((), description="Write the result to a file as well: .json, .csv (a row an object) or .html (a page without network access).")


class CopySettings(Group):
    """Where the copy goes."""

    output_dataset: UserPath = Field(Path("copy"), description="Folder of the new dataset, without grasps of the gripper.")


class BalanceSettings(SeedSettings):
    """How many grasps of each object to keep."""

    num_held: Count | None = Field(None, description="Held grasps of each object, at most; default: all.")
    num_failed: Count | None = Field(None, description="Failed grasps of each object, at most; default: all.")
    failed_per_held: NotNegative | None = Field(
        None, description="Failed grasps for each held one: as many of both as this ratio allows; default: any ratio."
    )


class FilterSettings(Group):
    """Which grasps to keep, by all conditions."""

    indices: Annotated[str, Rule("indices and ranges such as 0,5,10:20", bool)] | None = Field(
        None, description="Indices in the file, from 0, and ranges without their end: 0,5,10:20."
    )
    outcomes: Annotated[str, Rule("names of outcomes, with commas", bool)] | None = Field(
        None, description="Names of outcomes, with commas: held,dropped."
    )
    min_opening: PositiveFloat | None = Field(None, description="Narrowest opening (m) at the start of the trial.")
    max_opening: PositiveFloat | None = Field(None, description="Widest opening (m) at the start of the trial.")
    approach_direction: Axis | None = Field(
        None, description="JSON list [x, y, z]: approach direction of the gripper, in the object's frame."
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

    object: Text | None = Field(None, description="Part of the object's name; the first object with it; default: the first object.")
    grasp: Count | None = Field(None, description="Index of one grasp in its file, from 0.")
    outcome: OutcomeName | None = Field(None, description="Only grasps with this outcome.")


class ViewSettings(Group):
    """What to show, and where."""

    figure: FigureKind = Field(FigureKind.LINES, description="Figure of a grasp.")
    host: Text = Field("127.0.0.1", description="Address of the server; 0.0.0.0 admits other machines.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(8080, description="Port of the server, or the next free one.")
    export: Annotated[UserPath, ending(".png", ".glb", ".html")] | None = Field(
        None, description="Write the view to a FILE.png, .glb or .html, without a browser or a screen, and stop."
    )
    picture_width: Annotated[int, Field(ge=64, le=8192)] = Field(
        1200, description="Width (pixels) of a picture; its height is three quarters."
    )


class ReplaySettings(Group):
    """What to show of the trial."""

    video: Annotated[UserPath, ending(".mp4", ".gif", ".png")] | None = Field(
        None, description="Draw the trial: FILE.mp4 or .gif for a video, .png for a strip of moments, with the plot below."
    )
    plot: Annotated[UserPath, ending(".png", ".svg", ".pdf", ".csv")] | None = Field(
        None, description="Draw contact force and slip over time: FILE.png, .svg or .pdf; or .csv for the numbers of every step."
    )
    slow_motion: PositiveFloat = Field(1.0, description="Factor by which the video is slower than real time.")
    draw: Count | None = Field(None, description="Number, from 1, of the draw of randomised physics; default: the nominal physics.")
    interactive: bool = Field(False, description="Open MuJoCo's viewer and repeat the trial there.")


class ConvertSettings(Group):
    """What to convert to."""

    to: Annotated[str, Rule(names=lambda: [name for name, row in FORMATS.items() if row.written])] = Field(
        "graspgen", description="Format of the output."
    )
    for_gripper: GripperName | None = Field(
        None, description="Gripper, by name or file, whose base frame the poses get; default: the gripper and the poses of the files."
    )
    objects_per_shard: PositiveCount = Field(
        64, description="Objects in each WebDataset shard; GraspGen reads a shard from its start for each object."
    )


class ScalesSettings(Group):
    """How the list is made."""

    scales_file: UserPath = Field(Path("object_scales.json"), description="File to write.")
    overwrite_scales: bool = Field(False, description="Replace an existing file.")
    from_graspgen: UserPath | None = Field(
        None,
        description="Take objects and scales from grasps of GraspGen (JSON or WebDataset) or GraspDataGen; default: from the meshes.",
    )
    object_names: NameSource = Field(
        NameSource.FILE, description="With --from-graspgen: names of the objects, from the files or by uuid from the archive or map."
    )
    mesh_suffix: Text | None = Field(None, description="With --from-graspgen: suffix for names without one, such as .obj.")
    unit: Unit = Field(Unit.METRE, description="Unit of the meshes.")
    random_scale: Factors | None = Field(
        None, description="JSON list [low, high]: limits of a random factor for each object, on a logarithmic scale."
    )
    max_extent: PositiveFloat | None = Field(None, description="Largest extent (m) of an object; larger objects are scaled down.")
    fit_to_gripper: bool = Field(
        False, description="Scale objects down until their smallest extent is at most 80 % of the gripper's widest opening."
    )


class TrainingResultsSettings(Group):
    """Where the results of training are."""

    training_results: UserPath = Field(
        Path("/results"), description="Folder of the results; the runs are logs/<gripper>_gen_test and _dis_test in it."
    )


class ScriptSettings(Group):
    """The contents of the training scripts."""

    template_gripper: Text | None = Field(
        None, description="Gripper of the checkout whose scripts are adapted; default: robotiq_2f_140, else the first."
    )
    save_freq: PositiveCount = Field(100, description="Epochs between checkpoints.")
    discriminator_ratio: NegativeRatio = Field(
        NegativeRatio.AUTO,
        description="Mixture: original = as in the scripts; guide = without collision negatives; auto = original for a gripper with mesh.",
    )
    container_paths: bool = Field(
        False, description="Write the mount points of the containers instead: /code, /grasp_dataset, /object_dataset and /results."
    )
    overwrite_scripts: bool = Field(False, description="Replace scripts that differ.")


class InferenceSettings(Group):
    """Which runs are joined."""

    generator_run: UserPath | None = Field(None, description="Folder of the generator's run; default: that of the gripper.")
    discriminator_run: UserPath | None = Field(None, description="Folder of the discriminator's run; default: that of the gripper.")
    checkpoint: Text = Field("last.pth", description="File name of the checkpoint in both runs.")
    inference_file: UserPath | None = Field(None, description="File to write; default: logs/<gripper>_inference.yaml in the results.")
    overwrite_inference_config: bool = Field(False, description="Replace a file that differs.")
