"""The study of labels: what it counts, and that a contact model reaches the engine that it is given to."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import mujoco
import numpy as np
import pytest

from examples import gripper_by_name
from graspgen_cli.records import GraspBatch, Outcome
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engines.mujoco import MujocoBackend
from graspgen_cli.validate.scene import DEFAULT_CONTACT, ContactModel, Scene, build_scene
from shapes import box

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
HELD, DROPPED, UNSTABLE = Outcome.HELD, Outcome.DROPPED, Outcome.UNSTABLE
PAGE = "before\n<!-- tables of benchmarks/labels.py -->\nold\n<!-- end of the tables -->\nafter\n<!-- end of the tables -->\n"


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import label_tables

    return label_tables


def labelled(*outcomes: Outcome, slip: float = 0.0, seconds: float = 0.0) -> dict[str, Any]:
    """What the study keeps of one case; every object slips by as many metres, and turns by as many radians."""
    count = len(outcomes)
    return {"outcome": np.array(outcomes), "slip": np.full((count, 2), slip), "steps": np.full(count, 100), "seconds": seconds}


@pytest.fixture
def kept() -> dict[str, dict[str, dict[str, Any]]]:
    return {
        "reference": {"g a": labelled(HELD, HELD, DROPPED, DROPPED), "g b": labelled(*[HELD] * 6)},
        "default": {"g a": labelled(HELD, DROPPED, DROPPED, DROPPED), "g b": labelled(*[HELD] * 6, slip=0.002, seconds=0.5)},
        "coarse": {"g a": labelled(HELD, DROPPED, HELD, HELD, seconds=0.1), "g b": labelled(*[HELD] * 5, UNSTABLE, seconds=0.1)},
    }


def test_labels_that_turn_over_are_counted_both_ways(tables: ModuleType, kept: dict[str, Any]) -> None:
    """Against the reference, four of ten turn over: two are held here only, two in the reference only; one of them differs not from the
    defaults."""
    row = tables.compared(kept["coarse"], kept["reference"], kept["default"])
    assert (row["trials"], row["held"], row["unstable"]) == (10, 0.8, 1)
    assert (row["flips"], row["held_here_only"], row["held_in_reference_only"]) == (0.4, 0.2, 0.2)
    assert row["flips_from_default"] == 0.3
    assert (row["worst_case"], row["worst_flips"]) == ("g a", 0.75)
    assert row["flips_by_case"] == {"g a": 0.75, "g b": 0.1667}
    assert (row["cpu_ms_per_grasp"], row["steps_per_grasp"]) == (20.0, 100.0)


def test_drift_is_that_of_held_grasps(tables: ModuleType, kept: dict[str, Any]) -> None:
    """One held grasp slips nothing, six slip 2 mm and turn 0.002 rad; the dropped ones do not count."""
    row = tables.compared(kept["default"], kept["reference"], kept["default"])
    assert row["slip_mm"] == [2.0, 2.0, 2.0]
    assert row["turn_degrees"] == [0.11, 0.11, 0.11]


def test_the_reference_differs_from_itself_in_nothing(tables: ModuleType, kept: dict[str, Any]) -> None:
    row = tables.compared(kept["reference"], kept["reference"], kept["default"])
    assert (row["flips"], row["worst_flips"], row["flips_from_default"]) == (0.0, 0.0, 0.1)


def test_the_tables_stand_between_their_own_comments(tables: ModuleType, kept: dict[str, Any], tmp_path: Path) -> None:
    groups = {name: tables.About("step", name) for name in kept}
    said = tables.summary(kept, groups, {"cpu": "a processor", "cores": 2}, 10)
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    tables.write_into_page(page, "labels", tables.markdown(said))
    text = page.read_text()
    assert text.startswith("before\n<!-- tables") and text.endswith("<!-- end of the tables -->\nafter\n<!-- end of the tables -->\n")
    assert "old" not in text
    assert "10 guesses: up to 10 of each of 2 objects and 1 grippers" in text
    assert "| coarse | 40.0 % | 75.0 % (g a) | 20.0 % | 30.0 % | 80.0 % | 1 | 20.0 |" in text
    with pytest.raises(SystemExit, match=r"benchmarks/pieces\.py"):
        tables.write_into_page(page, "pieces", "")


def test_another_model_of_contact_is_compared_with_its_own_finest_steps(tables: ModuleType, kept: dict[str, Any]) -> None:
    """The coarse variant differs from the reference in four of ten labels, and from its own fine one in one."""
    kept["fine"] = {"g a": labelled(HELD, DROPPED, HELD, HELD), "g b": labelled(*[HELD] * 6)}
    groups = {name: tables.About("step", name) for name in kept}
    groups |= {"fine": tables.About(tables.MODELS, "soft, fine"), "coarse": tables.About(tables.MODELS, "soft, coarse", "fine")}
    said = tables.summary(kept, groups, {"cpu": "a processor", "cores": 2}, 10)
    text = tables.markdown(said)
    assert "| soft, coarse | 10.0 % | 16.7 % (g b) | 80.0 % | 20.0 |" in text
    assert "| soft, coarse | 40.0 %" not in text and "| soft, fine |" not in text


@pytest.mark.slow
@pytest.mark.parametrize("script", ["labels.py", "label_tables.py", "pieces.py"])
def test_the_scripts_start(script: str) -> None:
    said = subprocess.run([sys.executable, BENCHMARKS / script, "--help"], capture_output=True, text=True, check=True)
    assert "--page" in said.stdout


def built(contact: ContactModel) -> Scene:
    return build_scene(gripper_by_name("robotiq_2f_85").gripper, box(0.03, 0.02, 0.02), SimulationSettings(), contact)


def test_a_contact_model_is_what_the_engine_gets() -> None:
    chosen = ContactModel(0.016, 0.7, (0.8, 0.9, 0.002, 0.4, 3.0), 42.0, elliptic=False, integrator="rk4", tolerance=1e-11)
    model = built(chosen).model
    touched = model.geom_priority == 1
    assert touched.sum() == 1
    np.testing.assert_allclose(model.geom_solref[touched], [[0.016, 0.7]])
    np.testing.assert_allclose(model.geom_solimp[touched], [[0.8, 0.9, 0.002, 0.4, 3.0]])
    assert (model.opt.impratio, model.opt.tolerance) == (42.0, 1e-11)
    assert model.opt.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4


def test_a_backend_tries_with_the_contacts_that_it_was_given() -> None:
    """A contact that takes thirty times as long to push the bodies apart lets the pads sink in farther."""
    gripper = gripper_by_name("robotiq_2f_85").gripper
    k = int(gripper.nearest_opening(np.array([0.03]))[0])
    pose = np.eye(4)
    pose[:3, 3] = gripper.bite * gripper.approach_axis_in_base - gripper.fingertip_in_base[k].mean(axis=0)
    grasp = GraspBatch(pose[None], np.array([gripper.width]), np.array([Outcome.UNVALIDATED], np.int8))
    hard, soft = (
        MujocoBackend(threads=1, contact=contact).run(gripper, box(0.03, 0.02, 0.02), grasp, SimulationSettings())
        for contact in (DEFAULT_CONTACT, replace(DEFAULT_CONTACT, time_constant=0.25))
    )
    again = MujocoBackend(threads=1).run(gripper, box(0.03, 0.02, 0.02), grasp, SimulationSettings())
    np.testing.assert_array_equal(hard.slip, again.slip)
    assert not np.allclose(hard.slip, soft.slip, atol=1e-6)
