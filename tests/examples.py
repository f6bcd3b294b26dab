"""The example objects and the built-in grippers, loaded once for all tests."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.objects.load import load_object
from graspgen_cli.records import TargetObject
from graspgen_cli.settings.trials import CollisionApproximation

OBJECTS = Path(__file__).parents[1] / "objects"
EXAMPLES: dict[str, float] = json.loads((OBJECTS / "graspgen_example.json").read_text())
GRIPPERS = ("robotiq_2f_85", "franka_panda")


@cache
def gripper_by_name(name: str) -> GripperShape:
    """A built-in gripper, ready for collision tests."""
    return GripperShape(load_gripper(name))


@cache
def example_object(object_id: str, *, pieces: bool = False) -> TargetObject:
    """An example object by id; `pieces=True` with its convex pieces."""
    approximation = CollisionApproximation.CONVEX_DECOMPOSITION if pieces else None
    return load_object(object_id, EXAMPLES[object_id], root=OBJECTS, approximation=approximation, cache=None)
