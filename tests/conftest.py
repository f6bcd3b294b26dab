"""What several tests share: the example objects and the built-in grippers, loaded once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.objects.load import load_object
from graspgen_cli.records import TargetObject
from graspgen_cli.settings.models import CollisionApproximation

OBJECTS = Path(__file__).parents[1] / "objects"
EXAMPLES: dict[str, float] = json.loads((OBJECTS / "graspgen_example.json").read_text())
GRIPPERS = ("robotiq_2f_85", "franka_panda")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of the tests' own, so that nothing found on the machine decides a result."""
    before = os.environ.get("GRASPGEN_CACHE_DIR")
    os.environ["GRASPGEN_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["GRASPGEN_CACHE_DIR"]
    else:
        os.environ["GRASPGEN_CACHE_DIR"] = before


@cache
def _gripper_shape(name: str) -> GripperShape:
    return GripperShape(load_gripper(name))


@pytest.fixture(scope="session")
def gripper_shape() -> Callable[[str], GripperShape]:
    """A built-in gripper by name, ready for collision tests."""
    return _gripper_shape


@cache
def _example(object_id: str, pieces: bool) -> TargetObject:
    approximation = CollisionApproximation.CONVEX_DECOMPOSITION if pieces else None
    return load_object(object_id, EXAMPLES[object_id], root=OBJECTS, approximation=approximation, cache=None)


@pytest.fixture(scope="session")
def example() -> Callable[..., TargetObject]:
    """An example object by id; `pieces=True` with its convex pieces."""

    def load(object_id: str, *, pieces: bool = False) -> TargetObject:
        return _example(object_id, pieces)

    return load
