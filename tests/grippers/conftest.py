"""The built-in grippers, measured once for all tests."""

from __future__ import annotations

import pytest

from graspgen_cli.grippers.find import builtin_grippers, load_gripper
from graspgen_cli.records import Gripper

SWINGING = ("smc_mhc2_25",)
"""The built-in grippers whose fingers turn as they close."""


@pytest.fixture(scope="session", params=builtin_grippers())
def gripper(request: pytest.FixtureRequest) -> Gripper:
    return load_gripper(request.param)


@pytest.fixture(scope="session", params=[name for name in builtin_grippers() if name not in SWINGING])
def parallel_gripper(request: pytest.FixtureRequest) -> Gripper:
    return load_gripper(request.param)


@pytest.fixture(scope="session")
def panda() -> Gripper:
    return load_gripper("franka_panda")


@pytest.fixture(scope="session")
def robotiq() -> Gripper:
    return load_gripper("robotiq_2f_85")


@pytest.fixture(scope="session")
def swinging() -> Gripper:
    return load_gripper("smc_mhc2_25")
