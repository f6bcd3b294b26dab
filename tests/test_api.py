"""What `from graspgen_cli import …` gives, and the examples that show it."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import graspgen_cli
from examples import OBJECTS, example_object, gripper_by_name
from graspgen_cli import api
from graspgen_cli.app import COMMANDS, main
from graspgen_cli.errors import SettingsError
from graspgen_cli.records import Measure, Outcome
from graspgen_cli.settings.trials import SimulationSettings
from test_imports import loaded_step_by_step

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {"object_dataset": OBJECTS, "num_collision_free_grasps": 4, "num_colliding_grasps": 2, "workers": 1}


def test_every_name_is_there_and_none_is_a_module() -> None:
    submodules = {module.name for module in pkgutil.iter_modules(graspgen_cli.__path__)}
    assert set(graspgen_cli.__all__) & submodules == set()
    assert all(getattr(graspgen_cli, name) is not None for name in graspgen_cli.__all__)
    assert set(graspgen_cli.__all__) <= set(dir(graspgen_cli))
    with pytest.raises(ImportError, match="gone"):
        exec("from graspgen_cli import gone")


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(graspgen_cli.__file__).read_text())
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(seen) == set(graspgen_cli.__all__) - {"__version__"}
    assert all(getattr(import_module(module), name) is getattr(graspgen_cli, name) for name, module in seen.items() if module)


def test_importing_the_package_loads_nothing() -> None:
    names = ("import graspgen_cli", "from graspgen_cli import make_dataset", "from graspgen_cli import load_gripper")
    package, light, heavy = loaded_step_by_step(*names)
    assert package & {"numpy", "pydantic", "typer", "rich"} == set()
    assert "numpy" not in light and "numpy" in heavy


def test_every_command_has_its_function() -> None:
    told = {name: [line for line in (getattr(api, name).__doc__ or "").splitlines() if "`graspgen " in line] for name in vars(api)}
    named = {line.partition("`graspgen ")[2].split("`")[0].split()[0] for lines in told.values() for line in lines}
    assert named == set(COMMANDS)


def test_the_function_makes_the_bytes_that_the_command_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scales = tmp_path / "scales.json"
    scales.write_text('{"box.stl": 0.001}')
    reports = []
    made = graspgen_cli.make_dataset(
        object_scales_json=scales, grasp_dataset=tmp_path / "api", graspgen_source=tmp_path / "none", on_report=reports.append, **SMALL
    )
    words = [f"--object-scales-json={scales}", f"--object-dataset={OBJECTS}", f"--grasp-dataset={tmp_path}/command", "--workers=1"]
    words += ["--num-collision-free-grasps=4", "--num-colliding-grasps=2", f"--graspgen-source={tmp_path}/none", "--quiet"]
    assert main(["all", *words]) == 0
    name = "grasp_data/robotiq_2f_85/box.0.001.grasps.json"
    assert (tmp_path / "api" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    assert tuple(reports) == made.summary.reports and reports[0].held == 4
    assert made.splits is not None and made.splits.new_train + made.splits.new_valid == ("box.stl",)
    analysis = graspgen_cli.analyze_grasps(grasp_dataset=tmp_path / "api")
    assert analysis.total.held == 4
    assert graspgen_cli.inspect_dataset(tmp_path / "api").files == 1


@pytest.mark.slow
def test_phase_by_phase(tmp_path: Path) -> None:
    scales = tmp_path / "scales.json"
    scales.write_text('{"box.stl": 0.001}')
    where = {"object_scales_json": scales, "grasp_dataset": tmp_path / "out", **SMALL}
    assert graspgen_cli.guess_grasps(**where).reports[0].unvalidated == 4
    assert graspgen_cli.validate_grasps(load_guesses=True, **where).reports[0].held == 4
    assert graspgen_cli.fill_grasps(**{**where, "num_collision_free_grasps": 6}).reports[0].held == 6
    del where["workers"], where["num_collision_free_grasps"], where["num_colliding_grasps"]
    assert graspgen_cli.update_splits(valid_set_percentage=0, **where).new_train == ("box.stl",)


def test_wrong_settings_are_named_as_the_flags_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"--fps: 3 is not allowed; give a whole number from 50 to 10000"):
        graspgen_cli.validate_grasps(fps=3)
    with pytest.raises(SettingsError, match="unknown settings frames_per_second; there are"):
        graspgen_cli.validate_grasps(frames_per_second=250)
    monkeypatch.setenv("GRASPGEN_FPS", "3")
    with pytest.raises(graspgen_cli.GraspgenError, match="no_such"):
        graspgen_cli.validate_grasps(object_scales_json="no_such.json")  # the environment does not count


def test_one_object_in_memory() -> None:
    gripper, target = gripper_by_name("franka_panda").gripper, example_object("box.stl", pieces=True)
    grasps = graspgen_cli.guess_on(target, gripper, num_collision_free_grasps=3, num_colliding_grasps=1)
    np.testing.assert_array_equal(grasps.outcome, [Outcome.UNVALIDATED] * 3 + [Outcome.COLLISION])
    tried = graspgen_cli.try_grasps(target, gripper, grasps)
    np.testing.assert_array_equal(tried.tested, [True, True, True, False])
    slippery = graspgen_cli.try_grasps(target, gripper, grasps, settings=SimulationSettings(friction=0.0))
    assert tried.grasps.count(Outcome.HELD) == 3 and slippery.grasps.count(Outcome.HELD) == 0
    with pytest.raises(SettingsError, match=r"box\.stl: has no convex pieces"):
        graspgen_cli.try_grasps(example_object("box.stl"), gripper, grasps)


def test_one_object_with_draws_of_the_physics() -> None:
    gripper, target = gripper_by_name("franka_panda").gripper, example_object("box.stl", pieces=True)
    grasps = graspgen_cli.guess_on(target, gripper, num_collision_free_grasps=2)
    weak = graspgen_cli.RandomizationSettings(randomize_draws=2, randomize_grip_force=(0.01, 0.01))
    as_usual, drawn = (graspgen_cli.try_grasps(target, gripper, grasps, randomization=how).grasps for how in (None, weak))
    assert as_usual.count(Outcome.HELD) == 2 and np.isnan(as_usual.measured[:, Measure.HELD_FRACTION]).all()
    assert drawn.count(Outcome.DROPPED) == 2 and (drawn.measured[:, Measure.HELD_FRACTION] == 0.0).all()


def run_example(name: str, *arguments: str) -> str:
    return subprocess.run([sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_the_dataset_example(tmp_path: Path) -> None:
    (tmp_path / "scales.json").write_text('{"box.stl": 0.001}')
    printed = run_example("dataset.py", f"{tmp_path}/scales.json", str(OBJECTS), f"{tmp_path}/out").splitlines()
    assert printed[:2] == ["box.stl: made, 8 held", "franka_panda, opens 80 mm"]
    assert printed[2].startswith("8 of ")


@pytest.mark.slow
def test_the_one_object_example() -> None:
    printed = run_example("one_object.py", str(OBJECTS / "banana.obj"), "0.01").splitlines()
    held = [int(line.split()[3]) for line in printed]
    assert len(held) == 3 and 16 >= held[0] > held[2]


def test_every_example_is_run_here() -> None:
    text = Path(__file__).read_text()
    assert all(f'run_example("{path.name}"' in text for path in EXAMPLES.glob("*.py"))
