"""The sections of the commands that hand grasps over: to other formats, and to GraspGen's training."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from graspgen_cli.settings.models import OneOf, PositiveCount, PositiveFloat, Section, UserPath
from graspgen_cli.tables import FORMATS


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


class ConvertSettings(Section):
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


class ScalesSettings(Section):
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


class TrainingResultsSettings(Section):
    """Where training puts its results."""

    training_results: UserPath = Field(
        Path("/results"), description="Folder of the training's results; runs are logs/<gripper>_gen_test and _dis_test in it."
    )


class ScriptSettings(Section):
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


class InferenceSettings(Section):
    """Which runs are joined."""

    generator_run: UserPath | None = Field(None, description="Folder of the generator's run; default: that of the gripper.")
    discriminator_run: UserPath | None = Field(None, description="Folder of the discriminator's run; default: that of the gripper.")
    checkpoint: str = Field("last.pth", min_length=1, description="File name of the checkpoint in both runs.")
    inference_file: UserPath | None = Field(
        None, description="File to write; default: logs/<gripper>_inference.yaml in the training's results."
    )
    overwrite_inference_config: bool = Field(False, description="Replace the file where it differs.")
