"""The isaaclab backend on the stand-in for Isaac Lab in tests/fake_isaac, without the process. The fixture `isaac_lab` starts that."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from graspgen_cli.records import TrialState
from graspgen_cli.validate.engines.isaaclab.backend import IsaacLabBackend
from graspgen_cli.validate.engines.isaaclab.simulate import Job, run_job

STAND_IN = Path(__file__).parent / "fake_isaac"
needs_usd = pytest.mark.skipif(importlib.util.find_spec("pxr") is None, reason="needs usd-core: pip install '.[usd]'")


class InProcess(IsaacLabBackend):
    """The backend without the process."""

    def _ask(self, job: Job) -> TrialState:
        return run_job(job)
