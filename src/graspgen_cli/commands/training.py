"""The commands that hand a dataset to GraspGen's training: `training-scripts` and `inference-config`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import InferenceConfigCommand, TrainingScriptsCommand

if TYPE_CHECKING:
    from graspgen_cli.training.inference import InferenceConfig
    from graspgen_cli.training.scripts import TrainingScripts


def _show_scripts(made: TrainingScripts, _: TrainingScriptsCommand, console: Console) -> ExitCode:
    if console.json:
        scripts = [{"path": str(script.path), "status": script.status} for script in made.scripts]
        console.document({"scripts": scripts, "template": made.template, "ratio": made.ratio, "ratio_reason": made.ratio_reason})
    else:
        for script in made.scripts:
            console.line(f"{script.status}: {script.path}")
        console.line(f"adapted from the scripts of {made.template}")
        console.line(f"discriminator's ratio {made.ratio}, {made.ratio_reason}")
        console.line(f"next:  bash {made.scripts[0].path}, then bash {made.scripts[1].path}")
    if any(script.status == "differs" for script in made.scripts):
        console.note("scripts that differ were kept; --overwrite-scripts replaces them")
    return ExitCode.OK


def _show_inference(made: InferenceConfig, _: InferenceConfigCommand, console: Console) -> ExitCode:
    if console.json:
        console.document({"path": str(made.path), "status": made.status, "demo": made.demo})
    else:
        console.line(f"{made.status}: {made.path}")
        console.line(f"next:  {made.demo}")
    if made.status == "differs":
        console.note("the config differs and was kept; --overwrite-inference-config replaces it")
    return ExitCode.OK


TRAINING_SCRIPTS = Command(
    settings=TrainingScriptsCommand,
    call="graspgen_cli.training.scripts:make_training_scripts",
    show=_show_scripts,
    argument="gripper_config",
    about=(
        "Adapts the scripts runs/train_graspgen_*_gen.sh and _dis.sh of another gripper in a GraspGen checkout: the gripper's name, the "
        "epochs between checkpoints, the folders of dataset, splits, meshes, code and results, and the discriminator's ratio. Everything "
        "that the scripts name is checked before anything is written. Scripts that differ are kept unless --overwrite-scripts is given."
    ),
    examples=(
        "graspgen training-scripts --graspgen-source ~/src/GraspGen --training-results ~/training",
        "graspgen training-scripts franka_panda --container-paths --template-gripper robotiq_2f_140",
        "graspgen training-scripts --save-freq 50 --discriminator-ratio original --overwrite-scripts",
    ),
)
INFERENCE_CONFIG = Command(
    settings=InferenceConfigCommand,
    call="graspgen_cli.training.inference:make_inference_config",
    show=_show_inference,
    argument="gripper_config",
    about=(
        "Takes the discriminator's config.yaml, adds the generator's diffusion settings and both checkpoints, names the model "
        "diffusion-discriminator, and prints the command that tries the model on a mesh. Checkpoints are named relative to the file, so "
        "the folder can be mounted elsewhere. Runs of another gripper, swapped runs and missing checkpoints are refused."
    ),
    examples=(
        "graspgen inference-config --training-results ~/training --graspgen-source ~/src/GraspGen",
        "graspgen inference-config franka_panda --checkpoint epoch_500.pth --inference-file franka.yaml",
    ),
)
