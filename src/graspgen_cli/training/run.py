"""From settings to training scripts and inference config: finds the gripper's name and hands on."""

from __future__ import annotations

from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.settings.commands import InferenceConfigCommand, TrainingScriptsCommand
from graspgen_cli.training.inference import InferenceConfig, write_inference_config
from graspgen_cli.training.scripts import TrainingScripts, write_training_scripts


def make_training_scripts(settings: TrainingScriptsCommand) -> TrainingScripts:
    """Both scripts of the gripper (see `write_training_scripts`)."""
    return write_training_scripts(settings, load_gripper(settings.gripper.gripper_config, options=settings.gripper).name)


def make_inference_config(settings: InferenceConfigCommand) -> InferenceConfig:
    """The config of both models of the gripper (see `write_inference_config`)."""
    return write_inference_config(settings, load_gripper(settings.gripper.gripper_config, options=settings.gripper).name)
