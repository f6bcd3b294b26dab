"""The subcommands: one module for each kind of thing that they work on."""

from __future__ import annotations

from importlib import import_module
from typing import Any

COMMANDS = {
    "all": ("graspgen_cli.commands.grasps:ALL", "Make a dataset: gripper config, guesses, validation and splits in one run."),
    "guess": ("graspgen_cli.commands.grasps:GUESS", "Propose grasps of every object; nothing is simulated."),
    "validate": ("graspgen_cli.commands.grasps:VALIDATE", "Try grasps in simulation: which ones hold?"),
    "fill": ("graspgen_cli.commands.grasps:FILL", "Fill existing grasp files up to the quotas."),
    "relabel": ("graspgen_cli.commands.grasps:RELABEL", "Judge tried grasps by another criterion, without simulation."),
    "splits": ("graspgen_cli.commands.grasps:SPLITS", "Add new objects to the training and validation lists."),
    "gripper-config": (
        "graspgen_cli.commands.inputs:GRIPPER_CONFIG",
        "Measure, check and draw a gripper; write the description that GraspGen needs.",
    ),
    "analyze": ("graspgen_cli.commands.analysis:ANALYZE", "Analyze a dataset: its outcomes, its gaps, its faults."),
    "compare": ("graspgen_cli.commands.analysis:COMPARE", "Compare two datasets, grasp by grasp or object by object."),
    "balance": ("graspgen_cli.commands.datasets:BALANCE", "Copy a dataset with a chosen number and ratio of held and failed grasps."),
    "filter": ("graspgen_cli.commands.datasets:FILTER", "Copy the grasps of a dataset that meet conditions."),
    "convert": ("graspgen_cli.commands.datasets:CONVERT", "Convert grasps to another format: GraspGen, isaac_grasp, WebDataset."),
    "object-scales": ("graspgen_cli.commands.inputs:OBJECT_SCALES", "Make the list of objects and scales from meshes or from grasps."),
    "training-scripts": ("graspgen_cli.commands.training:TRAINING_SCRIPTS", "Write GraspGen's training scripts for a gripper."),
    "inference-config": (
        "graspgen_cli.commands.training:INFERENCE_CONFIG",
        "Join two training runs into a model that GraspGen's demos load.",
    ),
    "view": ("graspgen_cli.commands.view:VIEW", "Show grasps or a gripper in the browser; or export a picture, a model or a page."),
    "replay": (
        "graspgen_cli.commands.view:REPLAY",
        "Play the trial of one grasp back: a video, a plot of forces and slip, or MuJoCo's viewer.",
    ),
    "doctor": ("graspgen_cli.commands.doctor:DOCTOR", "Check this machine, or every file of a dataset; repair derived files."),
    "bench": ("graspgen_cli.commands.bench:BENCH", "Time every phase on this machine."),
}
"""Every subcommand: "module:name" of its `Command`, imported when the command runs, and its line of help."""


def load_command(name: str) -> Any:
    """The `Command` of a subcommand."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    return getattr(import_module(module), attribute)
