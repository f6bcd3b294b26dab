"""`graspgen inference-config`: two training runs as one model for GraspGen's demo scripts."""

from __future__ import annotations

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import InferenceConfigCommand


def inference_config(settings: InferenceConfigCommand, console: Console) -> ExitCode:
    """Write the config and print the command that tries the model."""
    from graspgen_cli.training.inference import make_inference_config

    made = make_inference_config(settings)
    if console.json:
        content = {"path": str(made.path), "status": made.status, "demo": made.demo}
        console.document({"command": "inference-config", **content})
    else:
        console.line(f"{made.status}: {made.path}")
        console.line(f"next:  {made.demo}")
    if made.status == "differs":
        console.note("the config differs and was left as it is; --overwrite-inference-config replaces it")
    return ExitCode.OK


COMMAND = Command(
    settings=InferenceConfigCommand,
    run=inference_config,
    argument="gripper_config",
    about=(
        "Takes the discriminator's config.yaml, puts the generator's diffusion settings and both checkpoints into it, names the model "
        "diffusion-discriminator, and prints the command that tries it on a mesh. Checkpoints are named relative to the file, so that "
        "the folder can be mounted elsewhere. Runs of another gripper, swapped runs and missing checkpoints are refused."
    ),
    examples=(
        "graspgen inference-config --training-results ~/training --graspgen-source ~/src/GraspGen",
        "graspgen inference-config franka_panda --checkpoint epoch_500.pth --inference-file franka.yaml",
    ),
)
