"""The commands that prepare what a run starts from: `gripper-config` and `object-scales`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console, printable
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import GripperCommand, ObjectScalesCommand
from graspgen_cli.settings.fields import command_line
from graspgen_cli.settings.inputs import DatasetSettings, GraspGenSettings

if TYPE_CHECKING:
    from graspgen_cli.grippers.export import ConfigFile
    from graspgen_cli.making.gripper_config import KnownGrippers, PreparedGripper
    from graspgen_cli.objects.scales import ScalesList


def note_files(files: Sequence[ConfigFile], graspgen: GraspGenSettings, dataset: DatasetSettings, console: Console) -> None:
    """Notes where the gripper config is if there is no GraspGen checkout, and whether files with other content were kept."""
    if not graspgen.graspgen_source.is_dir():
        console.note(
            f"{graspgen.graspgen_source} does not exist: the gripper config goes to {dataset.grasp_dataset}/config/grippers; "
            "copy it to GraspGen's config/grippers, or name the checkout with --graspgen-source"
        )
    if any(file.status == "differs" for file in files):
        console.note("gripper config files that differ were kept; --overwrite-gripper-config replaces them")


def _show_gripper(found: PreparedGripper | KnownGrippers, settings: GripperCommand, console: Console) -> ExitCode:
    from graspgen_cli.making.gripper_config import KnownGrippers

    if isinstance(found, KnownGrippers):
        return _show_names(found, console)
    note_files(found.files, settings.graspgen, settings.dataset, console)
    if console.json:
        console.document(_gripper_document(found))
    else:
        _print_gripper(found, console)
    return ExitCode.OK


def _print_gripper(prepared: PreparedGripper, console: Console) -> None:
    from graspgen_cli.grippers.export import gripper_table

    console.table(("measured", ""), gripper_table(prepared.gripper), text=True)
    console.line()
    console.line("self-check passed; a box between the pads is held, a box beside them is not")
    console.line()
    for file in prepared.files:
        console.line(f"{file.status}: {file.path}")
        for line in file.difference.splitlines():
            console.line(f"    {line}")
    if prepared.picture is not None:
        console.line(f"picture: {prepared.picture}")
    if prepared.saved is not None:
        console.line(f"saved as {prepared.saved.parent.name}: {prepared.saved}")


def _gripper_document(prepared: PreparedGripper) -> dict[str, object]:
    from graspgen_cli.grippers.export import gripper_document

    return {
        "gripper": gripper_document(prepared.gripper),
        "files": [{"path": str(file.path), "status": str(file.status), "difference": file.difference} for file in prepared.files],
        "picture": None if prepared.picture is None else str(prepared.picture),
        "saved": None if prepared.saved is None else str(prepared.saved),
    }


def _show_names(known: KnownGrippers, console: Console) -> ExitCode:
    if console.json:
        console.document({"builtin": known.builtin, "saved": known.saved, "folder": str(known.folder)})
        return ExitCode.OK
    rows = [(name, "built in") for name in known.builtin] + [(name, str(known.folder / name)) for name in known.saved]
    console.table(("gripper", ""), rows, text=True)
    if not known.saved:
        console.note("no gripper of your own is saved; --gripper-file with --save keeps one")
    return ExitCode.OK


def _show_scales(listed: ScalesList, settings: ObjectScalesCommand, console: Console) -> ExitCode:
    file = settings.scales.scales_file
    if console.json:
        problems = {printable(name): printable(problem) for name, problem in listed.problems}
        console.document({"objects": dict(listed.entries), "problems": problems, "scales_file": str(file)})
    else:
        console.line(f"{len(listed.entries)} objects: {file}")
        folder = str(settings.meshes.object_dataset)
        console.line(f"next:  {command_line('all', settings, object_scales_json=str(file), object_dataset=folder)}")
    for _, problem in listed.problems:
        console.error(problem)
    return ExitCode.FAILED if listed.problems else ExitCode.OK


GRIPPER_CONFIG = Command(
    settings=GripperCommand,
    call="graspgen_cli.making.gripper_config:prepare_gripper",
    show=_show_gripper,
    argument="gripper_config",
    about=(
        "Reads a gripper, measures it, and refuses a gripper that cannot grip, with the reason: two trials in the simulation are part of "
        "the check. Prints the measures, draws the gripper, and writes the .yaml and .py that GraspGen reads, with their mesh. They go to "
        "config/grippers of the GraspGen checkout or, without a checkout, of the dataset. Files that differ are kept and the difference is "
        "printed, unless --overwrite-gripper-config is given."
    ),
    examples=(
        "graspgen gripper-config --graspgen-source ~/src/GraspGen",
        "graspgen gripper-config franka_panda --overwrite-gripper-config",
        "graspgen gripper-config --gripper-file my_gripper.xml --save my_gripper",
        "graspgen gripper-config --list",
    ),
)
OBJECT_SCALES = Command(
    settings=ObjectScalesCommand,
    call="graspgen_cli.making.object_scales:make_scales",
    show=_show_scales,
    argument="object_dataset",
    about=(
        "Finds every mesh in a folder and writes {path in the folder: metres a mesh unit}. Objects can be scaled down until a gripper can "
        "hold them or none exceeds a limit, and varied in size by a seeded random factor. With --from-graspgen the list comes from grasps: "
        "GraspGen's as JSON or WebDataset, or GraspDataGen's. An object that cannot be used is named and left out."
    ),
    examples=(
        "graspgen object-scales meshes --unit mm",
        "graspgen object-scales meshes --fit-to-gripper --gripper-config franka_panda --max-extent 0.3",
        "graspgen object-scales meshes --random-scale '[0.5, 1.5]' --max-extent 0.3 --seed 1",
        "graspgen object-scales --from-graspgen GraspGenDataset/grasp_data/franka_panda --object-names uuid --mesh-suffix .obj",
    ),
)
