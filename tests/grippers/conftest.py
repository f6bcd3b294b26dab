"""The built-in grippers, measured once for all tests."""

from __future__ import annotations

from functools import cache

import pytest

from graspgen_cli.grippers.find import builtin_grippers, load_gripper
from graspgen_cli.records import Gripper

SWINGING = ("smc_mhc2_25",)
"""The built-in grippers whose fingers turn as they close."""


@cache
def measured(name: str) -> Gripper:
    """A built-in gripper: pytest makes a fixture with parameters anew for every module."""
    return load_gripper(name)


@pytest.fixture(scope="session", params=builtin_grippers())
def gripper(request: pytest.FixtureRequest) -> Gripper:
    return measured(request.param)


@pytest.fixture(scope="session", params=[name for name in builtin_grippers() if name not in SWINGING])
def parallel_gripper(request: pytest.FixtureRequest) -> Gripper:
    return measured(request.param)


@pytest.fixture(scope="session")
def panda() -> Gripper:
    return measured("franka_panda")


@pytest.fixture(scope="session")
def robotiq() -> Gripper:
    return measured("robotiq_2f_85")


@pytest.fixture(scope="session")
def swinging() -> Gripper:
    return measured("smc_mhc2_25")
