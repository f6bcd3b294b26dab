"""Every backend that can be run here keeps the contract; isaaclab does so in test_isaaclab.py."""

from __future__ import annotations

import pytest

from backend_contract import BackendContract
from graspgen_cli.validate.engine import Backend, make_backend


class TestMujoco(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return make_backend("mujoco", threads=2)
