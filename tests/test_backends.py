"""The reference engine keeps the contract of engines; test_mujoco_warp.py and test_physx.py have the other engines."""

from __future__ import annotations

import pytest

from backend_contract import BackendContract
from graspgen_cli.validate.engine import Backend, make_backend


class TestMujoco(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return make_backend("mujoco", threads=2)
