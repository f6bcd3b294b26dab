"""A GraspGen checkout in the small: files of the same names and shape as its own, written for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

RATIO = "[0.3,0.2,0.00,0.05,0.00,0.25,0.20]"
_HEAD = """\
#!/usr/bin/env bash

# What is trained
export NEPOCH=7
export SAVE_FREQ=2000
export GRIPPER_NAME="{gripper}"
export OBJECT_DATASET_DIR="/object_dataset"
export GRASP_DIR="/grasp_dataset"
export CODE_DIR="/code"
export RESULTS_DIR="/results"
export GRASP_DATASET_DIR="$GRASP_DIR/grasps_of/$GRIPPER_NAME"
export SPLIT_DATASET_DIR="$GRASP_DIR/lists/$GRIPPER_NAME"
{more}export LOG_DIR="$RESULTS_DIR/logs/${{GRIPPER_NAME}}_{role}_test"

rm -rf "$LOG_DIR"
mkdir -p "$LOG_DIR"

cd "$CODE_DIR/scripts" && \\
    python train_graspgen.py \\
    data.root_dir="$SPLIT_DATASET_DIR" \\
    data.object_root_dir="$OBJECT_DATASET_DIR" \\
    data.grasp_root_dir="$GRASP_DATASET_DIR" \\
    data.gripper_name="$GRIPPER_NAME" \\
    train.log_dir="$LOG_DIR" \\
    train.num_epochs="$NEPOCH" \\
    train.save_freq="$SAVE_FREQ" \\
"""
_TAIL = {"gen": "    train.model_name=diffusion\n", "dis": '    train.model_name=discriminator \\\n    data.discriminator_ratio="$RATIO"\n'}


def make_checkout(root: Path, *grippers: str) -> Path:
    """A checkout with scripts for these grippers."""
    for folder in ("runs", "scripts", "config/grippers"):
        (root / folder).mkdir(parents=True)
    for program in ("train_graspgen.py", "demo_object_mesh.py"):
        (root / "scripts" / program).write_text("print('stand-in')\n")
    for gripper in grippers:
        for role, tail in _TAIL.items():
            more = f'export RATIO="{RATIO}"\n' if role == "dis" else ""
            text = _HEAD.format(gripper=gripper, role=role, more=more) + tail
            (root / "runs" / f"train_graspgen_{gripper}_{role}.sh").write_text(text)
    return root


def make_run(results: Path, gripper: str, role: str, **changed: Any) -> Path:
    """What a training run leaves behind: its config and a checkpoint."""
    folder = results / "logs" / f"{gripper}_{role}_test"
    folder.mkdir(parents=True)
    names = {"data": {"gripper_name": gripper, "num_points": 2048 if role == "dis" else 3500}}
    models = {
        "diffusion": {"gripper_name": gripper, "num_diffusion_iters": 10 if role == "gen" else 100, "ptv3": {"grid_size": 0.01}},
        "discriminator": {"gripper_name": gripper, "kappa": 3.3, "checkpoint": None},
    }
    train = {"model_name": "diffusion" if role == "gen" else "discriminator", "log_dir": str(folder)}
    config = {**names, **models, "train": train, "eval": {"model_name": "m2t2", "checkpoint": "", "task": "pick"}, **changed}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "last.pth").write_bytes(b"weights")
    return folder
