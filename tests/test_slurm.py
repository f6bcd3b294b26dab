"""An array of shards on a real Slurm; only where one answers and its nodes see the temporary folder (`--basetemp` names another)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trimesh

from graspgen_cli.app import main
from made_datasets import contents

OBJECTS, TASKS = 6, 3
WAITING = 600.0
"""s for the array, which others' jobs may go before."""
JOB = """#!/bin/sh
#SBATCH --array=0-{last}
#SBATCH --cpus-per-task=1
#SBATCH --output={folder}/slurm-%a.out
exec {command} --shard "$SLURM_ARRAY_TASK_ID/{tasks}"
"""


@pytest.fixture(scope="module", autouse=True)
def slurm() -> None:
    """Skips where there is no Slurm that takes jobs."""
    if shutil.which("sbatch") is None:
        pytest.skip("no Slurm here: there is no sbatch")
    ping = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=60, check=False)
    if ping.returncode or "is UP" not in ping.stdout:
        pytest.skip("sbatch is here, but no controller of Slurm answers")


def command(folder: Path, out: Path) -> list[str]:
    where = ["--object-scales-json", str(folder / "list.json"), "--object-dataset", str(folder), "--grasp-dataset", str(out)]
    return ["all", *where, "--gripper-config", "franka_panda", "--num-collision-free-grasps", "8", "--num-colliding-grasps", "2"]


@pytest.mark.slow
def test_an_array_makes_the_dataset_of_one_run(tmp_path: Path) -> None:
    for n in range(OBJECTS):
        trimesh.creation.box((0.02 + 0.003 * n, 0.03, 0.04)).export(tmp_path / f"box{n}.obj")
    (tmp_path / "list.json").write_text(json.dumps({f"box{n}.obj": 1.0 for n in range(OBJECTS)}))
    array = " ".join([sys.executable, "-m", "graspgen_cli", *command(tmp_path, tmp_path / "array")])
    (tmp_path / "job.sh").write_text(JOB.format(last=TASKS - 1, tasks=TASKS, folder=tmp_path, command=array))
    sent = subprocess.run(["sbatch", "--wait", tmp_path / "job.sh"], capture_output=True, text=True, timeout=WAITING, check=False)
    said = {path.name: path.read_text() for path in sorted(tmp_path.glob("slurm-*.out"))}
    assert sent.returncode == 0, (sent.stderr, said)
    assert len(said) == TASKS and sum(text.count(": made, ") for text in said.values()) == OBJECTS
    assert main(["splits", *command(tmp_path, tmp_path / "array")[1:9]]) == 0
    assert main(command(tmp_path, tmp_path / "one")) == 0
    assert contents(tmp_path / "array") == contents(tmp_path / "one")
