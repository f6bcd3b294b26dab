"""The sections of the commands that show grasps."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from graspgen_cli.settings.models import Count, PositiveFloat, Section, UserPath


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


class PickSettings(Section):
    """Which grasps."""

    object: str | None = Field(None, min_length=1, description="The first object in whose name this text is; default: the first of all.")
    grasp: Count | None = Field(None, description="Index of one grasp in its file, from 0.")
    outcome: OutcomeName | None = Field(None, description="Only grasps with this outcome.")


class ViewSettings(Section):
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


class ReplaySettings(Section):
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
