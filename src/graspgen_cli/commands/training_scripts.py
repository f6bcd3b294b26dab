"""`graspgen training-scripts`: GraspGen's training scripts for a gripper."""

from __future__ import annotations

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import TrainingScriptsCommand


def training_scripts(settings: TrainingScriptsCommand, console: Console) -> ExitCode:
    """Write both scripts and say what they train on, and how to start them."""
    from graspgen_cli.training.scripts import make_training_scripts

    made = make_training_scripts(settings)
    if console.json:
        scripts = [{"path": str(script.path), "status": script.status} for script in made.scripts]
        ratio = {"ratio": made.ratio, "ratio_reason": made.ratio_reason}
        console.document({"command": "training-scripts", "scripts": scripts, "template": made.template, **ratio})
    else:
        for script in made.scripts:
            console.line(f"{script.status}: {script.path}")
        console.line(f"adapted from the scripts of {made.template}")
        console.line(f"discriminator's ratio {made.ratio}, {made.ratio_reason}")
        console.line(f"next:  bash {made.scripts[0].path}, then bash {made.scripts[1].path}")
    if any(script.status == "differs" for script in made.scripts):
        console.note("scripts that differ were left as they are; --overwrite-scripts replaces them")
    return ExitCode.OK


COMMAND = Command(
    settings=TrainingScriptsCommand,
    run=training_scripts,
    argument="gripper_config",
    about=(
        "Adapts the scripts runs/train_graspgen_*_gen.sh and _dis.sh that a GraspGen checkout has for another gripper: the gripper's name, "
        "how often a checkpoint is saved, the folders of dataset, splits, meshes, code and results, and the discriminator's ratio. Before "
        "anything is written it is checked that all that they name is there. Scripts that differ are never replaced unasked."
    ),
    examples=(
        "graspgen training-scripts --graspgen-source ~/src/GraspGen --training-results ~/training",
        "graspgen training-scripts franka_panda --container-paths --template-gripper robotiq_2f_140",
        "graspgen training-scripts --save-freq 50 --discriminator-ratio original --overwrite-scripts",
    ),
)
