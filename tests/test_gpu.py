"""What only an NVIDIA GPU shows: steps captured in graphs, lanes that step in streams of their own. `nox -s gpu`; skipped elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from examples import GRIPPERS, OBJECTS, example_object, gripper_by_name
from graspgen_cli.app import main
from graspgen_cli.geometry.collision import ObjectShape
from graspgen_cli.guess.loop import make_guesses
from graspgen_cli.records import Outcome
from graspgen_cli.running.engines import Engine, choose_engine
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.runs import BackendSettings
from graspgen_cli.settings.trials import DEFAULT_TUGS, RandomizationSettings, SimulationSettings
from graspgen_cli.validate.engine import Backend, ObjectTrials, make_backend
from graspgen_cli.validate.protocols import protocol_sequences
from graspgen_cli.validate.trials import run_trials

pytestmark = pytest.mark.gpu

_, SHAKES = protocol_sequences("shake", DEFAULT_TUGS, ())
NAMES = ("mug.obj", "banana.obj", "bottle.obj", "box.stl", "pear.obj")
GRASPS = 64
SHAKEN = SimulationSettings(tug_sequences=(), shake_sequences=SHAKES)
Held = np.ndarray
Make = Callable[[int], Backend]


@pytest.fixture(scope="module")
def gpu() -> Make:
    """Makes an engine of so many worlds on the first GPU."""
    wp = pytest.importorskip("warp", reason="the GPU backend needs the packages of the extra gpu")
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    if not wp.is_cuda_available():
        pytest.skip("no NVIDIA GPU here")
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend

    return lambda worlds: MujocoWarpBackend(threads=4, device="cuda:0", worlds=worlds)


def test_auto_takes_the_first_gpu(gpu: Make) -> None:
    assert choose_engine(BackendSettings()) == Engine("mujoco-warp", ("cuda:0",))


@cache
def trials(gripper: str) -> list[ObjectTrials]:
    """The first guesses on the objects."""
    shape, made = gripper_by_name(gripper), []
    for number, name in enumerate(NAMES):
        target = example_object(name, pieces=True)
        guesses = make_guesses(
            ObjectShape(target), shape, GuessSettings(), object_id=name, num_free=GRASPS, num_colliding=0, first_try=0, max_tries=1000
        )
        made.append(ObjectTrials(number, target, guesses.grasps))
    return made


def held(
    backend: Backend, gripper: str, settings: SimulationSettings | None = None, randomization: RandomizationSettings | None = None
) -> Held:
    """Which of all trials held, one object after the other."""
    model, found = gripper_by_name(gripper).gripper, []
    for each in trials(gripper):
        result = run_trials(backend, model, each.target, each.grasps, settings or SimulationSettings(), randomization=randomization)
        found.append(result.grasps.outcome == Outcome.HELD)
    return np.concatenate(found)


def held_together(backend: Backend, gripper: str) -> Held:
    """The same, with all objects in one go."""
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend
    from graspgen_cli.validate.judge import judge

    assert isinstance(backend, MujocoWarpBackend)
    model = gripper_by_name(gripper).gripper
    ended = {each.number: each.state for each in backend.run_many(model, trials(gripper), SimulationSettings())}
    return np.concatenate([judge(ended[number]) == Outcome.HELD for number in sorted(ended)])


@cache
def of_the_reference(gripper: str, shaken: bool = False, draws: int = 0) -> Held:
    return held(make_backend("mujoco", threads=8), gripper, SHAKEN if shaken else None, drawn(draws) if draws else None)


def drawn(draws: int) -> RandomizationSettings:
    return RandomizationSettings(randomize=True, randomize_draws=draws)


def assert_alike(found: Held, expected: Held, *, share: float) -> None:
    """At least this share of the labels is the same, and those that differ do so about as often one way as the other."""
    more, fewer = int((found & ~expected).sum()), int((~found & expected).sum())
    print(f"{len(found) - more - fewer} of {len(found)} labels alike; held on the GPU alone {more}, on the other alone {fewer}")
    assert more + fewer <= (1 - share) * len(found)
    assert abs(more - fewer) <= 3 * np.sqrt(more + fewer) + 1


@pytest.mark.parametrize("gripper", GRIPPERS)
def test_labels_are_those_of_the_reference(gpu: Make, gripper: str) -> None:
    assert_alike(held_together(gpu(4096), gripper), of_the_reference(gripper), share=0.985)


@pytest.mark.parametrize("gripper", GRIPPERS)
def test_neither_the_lanes_nor_a_second_run_change_a_label(gpu: Make, gripper: str) -> None:
    """320 trials through 4,096 worlds, which has one lane; again; and through 64, in two lanes, where each world has many trials one
    after the other and those that are left are gathered."""
    first = held_together(gpu(4096), gripper)
    assert_alike(held_together(gpu(4096), gripper), first, share=0.998)
    assert_alike(held_together(gpu(64), gripper), first, share=0.99)


def test_shaken_trials_end_alike(gpu: Make) -> None:
    assert_alike(held(gpu(1024), "franka_panda", SHAKEN), of_the_reference("franka_panda", shaken=True), share=0.985)


def test_trials_of_varied_physics_end_alike(gpu: Make) -> None:
    expected = of_the_reference("franka_panda", draws=3)
    assert_alike(held(gpu(1024), "franka_panda", randomization=drawn(3)), expected, share=0.985)


def test_a_run_takes_the_gpu_by_itself_and_fills_its_quotas(gpu: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--object-scales-json", str(OBJECTS / "graspgen_example.json"), "--object-dataset", str(OBJECTS)]
    code = main(["all", *where, "--grasp-dataset", str(tmp_path / "out"), "--graspgen-source", str(tmp_path), "--json"])
    assert code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["status"]["made"] == len(told["objects"]) == 13
    made = next((tmp_path / "out").rglob("*mug*.json"))
    assert json.loads(made.read_text())["provenance"]["simulation"]["settings"]["backend"] == "mujoco-warp"
