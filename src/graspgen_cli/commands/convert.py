"""`graspgen convert`: grasps of any format that can be read, written in another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console, printable
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import ConvertCommand

if TYPE_CHECKING:
    from graspgen_cli.dataset.convert import Conversion


def convert(settings: ConvertCommand, console: Console) -> ExitCode:
    """Convert everything under the path, and say what was written, what was not, and what was assumed."""
    from graspgen_cli.dataset.convert import convert as convert_grasps

    with console.progress() as progress:
        conversion = convert_grasps(settings, on_start=progress.start, on_object=progress.advance)
    if console.json:
        console.document({"command": "convert", **_document(conversion), "output": str(settings.copied.output_dataset)})
    else:
        _print(conversion, settings, console)
    for note in conversion.notes:
        console.note(note)
    if conversion.uuid_map is not None:
        console.note(f"GraspGen finds the meshes by {conversion.uuid_map}; copy it to the folder of the meshes")
    for damaged in conversion.damaged:
        console.error(damaged.summary)
    return ExitCode.FAILED if conversion.damaged else ExitCode.OK


def _document(conversion: Conversion) -> dict[str, object]:
    return {
        "objects": [{**vars(one), "file": str(one.file)} for one in conversion.objects],
        "damaged": [{"path": printable(str(damaged.path)), "reason": printable(damaged.reason)} for damaged in conversion.damaged],
        "notes": [printable(note) for note in conversion.notes],
        "uuid_map": None if conversion.uuid_map is None else str(conversion.uuid_map),
    }


def _print(conversion: Conversion, settings: ConvertCommand, console: Console) -> None:
    grippers = sorted({one.gripper for one in conversion.objects})
    rows = []
    for gripper in grippers:
        own = [one for one in conversion.objects if one.gripper == gripper]
        rows.append((gripper, str(len(own)), str(sum(one.grasps for one in own))))
    if not rows:
        console.line("nothing was converted")
        return
    console.table(("gripper", "objects", "grasps"), rows)
    console.line()
    console.line(f"files: {settings.copied.output_dataset}")
    if settings.convert.to == "graspgen":
        for gripper in grippers:
            console.line(f"next:  graspgen analyze --gripper-config {gripper} --grasp-dataset {settings.copied.output_dataset}")


COMMAND = Command(
    settings=ConvertCommand,
    run=convert,
    argument="grasp_dataset",
    about=(
        "Reads a dataset (ours, GraspGen's or GraspDataGen's), or a folder or file of GraspGen JSON, isaac_grasp YAML 1.0, WebDataset "
        "shards or ACRONYM HDF5, and writes grasp_data/<gripper> with its map and splits, isaac_grasp files, or WebDataset shards with "
        "uuid_index.json. With --for-gripper the poses are turned to that gripper's base frame where the files say how theirs lies. A file "
        "that cannot be used is named and the others are converted. The same input gives the same bytes."
    ),
    examples=(
        "graspgen convert results --to webdataset --output-dataset shards",
        "graspgen convert grasp_sim_data --to graspgen --for-gripper onrobot_rg6 --output-dataset converted",
        "graspgen convert acronym/grasps --for-gripper franka_panda --output-dataset converted",
        "graspgen convert results --to isaac-grasp --for-gripper robotiq_2f_85 --output-dataset isaac",
    ),
)
