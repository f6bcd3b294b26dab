"""`graspgen object-scales`: the list of objects and scales that everything starts from."""

from __future__ import annotations

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console, printable
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import ObjectScalesCommand


def object_scales(settings: ObjectScalesCommand, console: Console) -> ExitCode:
    """Write the list, and say how many objects are in it and which are not."""
    from graspgen_cli.making.object_scales import make_scales

    with console.progress() as progress:
        listed = make_scales(settings, on_start=progress.start, on_object=progress.advance)
    if console.json:
        problems = {printable(name): printable(problem) for name, problem in listed.problems}
        content = {"objects": dict(listed.entries), "problems": problems, "scales_file": str(settings.scales.scales_file)}
        console.document({"command": "object-scales", **content})
    else:
        console.line(f"{len(listed.entries)} objects: {settings.scales.scales_file}")
        console.line(
            f"next:  graspgen all --object-scales-json {settings.scales.scales_file} --object-dataset {settings.meshes.object_dataset}"
        )
    for _, problem in listed.problems:
        console.error(problem)
    return ExitCode.FAILED if listed.problems else ExitCode.OK


COMMAND = Command(
    settings=ObjectScalesCommand,
    run=object_scales,
    argument="object_dataset",
    about=(
        "Finds every mesh in a folder and writes {path in the folder: metres a mesh unit}. Objects can be made smaller so that a gripper "
        "can hold them or none is larger than a limit, and varied in size by a seeded random factor. With --from-graspgen the list is "
        "taken from grasps instead, GraspGen's as JSON or WebDataset, or GraspDataGen's. What cannot be used is named and left out."
    ),
    examples=(
        "graspgen object-scales meshes --unit mm",
        "graspgen object-scales meshes --fit-to-gripper --gripper-config franka_panda --max-extent 0.3",
        "graspgen object-scales meshes --random-scale '[0.5, 1.5]' --max-extent 0.3 --seed 1",
        "graspgen object-scales --from-graspgen GraspGenDataset/grasp_data/franka_panda --object-names uuid --mesh-suffix .obj",
    ),
)
