"""The commands that copy grasps: `balance`, `filter` and `convert`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.console import MOST_NAMED, Console, printable
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import BalanceCommand, ConvertCommand, FilterCommand
from graspgen_cli.settings.fields import command_line

if TYPE_CHECKING:
    from graspgen_cli.analysis.subsets import Subset
    from graspgen_cli.dataset.convert import Conversion


def _show_subset(found: Subset, settings: BalanceCommand | FilterCommand, console: Console) -> ExitCode:
    output = settings.copied.output_dataset
    if console.json:
        objects = [{**vars(kept), "kept": kept.kept} for kept in found.objects]
        console.document({"objects": objects, "broken": found.broken, "output": str(output)})
    else:
        _print_subset(found, console)
        console.line(f"files: {output}")
    for problem in found.broken:
        console.error(problem)
    return ExitCode.FAILED if found.broken else ExitCode.OK


def _print_subset(found: Subset, console: Console) -> None:
    sums = {
        "objects": sum(bool(kept.file) for kept in found.objects),
        "grasps": sum(kept.kept for kept in found.objects),
        "  of": sum(kept.before for kept in found.objects),
        **{name: sum(getattr(kept, name) for kept in found.objects) for name in ("held", "failed", "unvalidated")},
    }
    console.table(("", ""), [(name, str(count)) for name, count in sums.items()])
    without = [f"{kept.object_id} ({kept.gripper})" for kept in found.objects if not kept.file]
    if without:
        more = f" and {len(without) - MOST_NAMED} more" if len(without) > MOST_NAMED else ""
        console.line(f"no grasp kept, nothing written: {', '.join(without[:MOST_NAMED])}{more}")
    console.line()


def _show_conversion(conversion: Conversion, settings: ConvertCommand, console: Console) -> ExitCode:
    if console.json:
        console.document({**_conversion_document(conversion), "output": str(settings.copied.output_dataset)})
    else:
        _print_conversion(conversion, settings, console)
    for note in conversion.notes:
        console.note(note)
    if conversion.uuid_map is not None:
        console.note(f"GraspGen finds the meshes by {conversion.uuid_map}; copy it to the folder of the meshes")
    for damaged in conversion.damaged:
        console.error(damaged.summary)
    return ExitCode.FAILED if conversion.damaged else ExitCode.OK


def _conversion_document(conversion: Conversion) -> dict[str, object]:
    return {
        "objects": [{**one._asdict(), "file": str(one.file)} for one in conversion.objects],
        "damaged": [{"path": printable(str(damaged.path)), "reason": printable(damaged.reason)} for damaged in conversion.damaged],
        "notes": [printable(note) for note in conversion.notes],
        "uuid_map": None if conversion.uuid_map is None else str(conversion.uuid_map),
    }


def _print_conversion(conversion: Conversion, settings: ConvertCommand, console: Console) -> None:
    grippers = sorted({one.gripper for one in conversion.objects})
    if not grippers:
        console.line("nothing was converted")
        return
    of_gripper = {gripper: [one for one in conversion.objects if one.gripper == gripper] for gripper in grippers}
    rows = [(gripper, str(len(own)), str(sum(one.grasps for one in own))) for gripper, own in of_gripper.items()]
    console.table(("gripper", "objects", "grasps"), rows)
    console.line()
    output = settings.copied.output_dataset
    console.line(f"files: {output}")
    if settings.convert.to == "graspgen":
        console.line(f"next:  {command_line('analyze', settings, paths=[str(output)], grasp_dataset=None)}")


BALANCE = Command(
    settings=BalanceCommand,
    call="graspgen_cli.analysis.subsets:balance_dataset",
    show=_show_subset,
    argument="paths",
    lines=False,
    about=(
        "Writes a new dataset (GraspGen JSON, with map, splits and gripper config) with a random choice of each object's held and failed "
        "grasps. The choice depends on --seed and the object alone. An object with too few grasps for the numbers or the ratio keeps "
        "fewer. Untested grasps are left out. The originals are not changed."
    ),
    examples=(
        "graspgen balance results --output-dataset balanced --failed-per-held 1",
        "graspgen balance results --output-dataset small --num-held 32 --num-failed 8 --seed 7",
    ),
)
FILTER = Command(
    settings=FilterCommand,
    call="graspgen_cli.analysis.subsets:filter_dataset",
    show=_show_subset,
    argument="paths",
    lines=False,
    about=(
        "Writes a new dataset (GraspGen JSON, with map, splits and gripper config) with the grasps that meet all conditions, in order. "
        "An object without such a grasp is named and not written. The originals are not changed."
    ),
    examples=(
        "graspgen filter results --output-dataset held --outcomes held",
        "graspgen filter results --output-dataset narrow --max-opening 0.04",
        "graspgen filter results --output-dataset top --approach-direction '[0, 0, -1]' --approach-angle 30",
        "graspgen filter mug.1.0.grasps.json --output-dataset few --indices 0,5,10:20",
    ),
)
CONVERT = Command(
    settings=ConvertCommand,
    call="graspgen_cli.dataset.convert:convert",
    show=_show_conversion,
    argument="grasp_dataset",
    about=(
        "Reads a dataset of graspgen, GraspGen or GraspDataGen, or a folder or file of GraspGen JSON, isaac_grasp YAML 1.0, WebDataset "
        "shards or ACRONYM HDF5. Writes grasp_data/<gripper> with its map and splits, isaac_grasp files, or WebDataset shards with "
        "uuid_index.json. With --for-gripper the poses are turned to that gripper's base frame, if the files say where their base frame "
        "is. A file that cannot be used is named and the others are converted. The same input gives the same bytes."
    ),
    examples=(
        "graspgen convert results --to webdataset --output-dataset shards",
        "graspgen convert grasp_sim_data --to graspgen --for-gripper onrobot_rg6 --output-dataset converted",
        "graspgen convert acronym/grasps --for-gripper franka_panda --output-dataset converted",
        "graspgen convert results --to isaac-grasp --for-gripper robotiq_2f_85 --output-dataset isaac",
    ),
)
