"""What several tests share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from examples import EXAMPLES, OBJECTS, example_object, gripper_by_name
from graspgen_cli.app import main
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.records import TargetObject

# The same examples on every machine and in every run: what is red here is red everywhere.
settings.register_profile("same", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("same")


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


@pytest.fixture(scope="session")
def gripper_shape() -> Callable[[str], GripperShape]:
    """A built-in gripper by name, ready for collision tests."""
    return gripper_by_name


@pytest.fixture(scope="session")
def example() -> Callable[..., TargetObject]:
    """An example object by id; `pieces=True` with its convex pieces."""
    return example_object


@pytest.fixture(scope="session")
def made_dataset(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Path:
    """A dataset that the command made: two objects, with held, dropped and colliding grasps. They are so heavy and slippery that tugs pull
    some out of the grip."""
    folder = tmp_path_factory.mktemp("made")
    scales = {name: EXAMPLES[name] for name in ("box.stl", "pear.obj")}
    (folder / "scales.json").write_text(json.dumps(scales))
    objects = ["--object-scales-json", str(folder / "scales.json"), "--object-dataset", str(OBJECTS)]
    quotas = ["--num-collision-free-grasps", "6", "--num-colliding-grasps", "2", "--workers", "1", "--quiet"]
    physics = ["--object-mass", "2", "--friction", "0.15"]
    assert main(["all", *objects, *quotas, *physics, "--grasp-dataset", str(folder / "results"), "--graspgen-source", str(folder)]) == 0
    return folder / "results"
