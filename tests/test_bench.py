"""What `graspgen bench` measures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trimesh

import fake_simulator
from graspgen_cli.errors import InputError
from graspgen_cli.running.bench import projected_hours, run_bench
from graspgen_cli.running.machine import usable_cores
from graspgen_cli.settings.commands import BenchCommand
from graspgen_cli.settings.trials import DEFAULT_TUGS
from graspgen_cli.tables import ENGINES

UNITS = ("_s", "_mb", "_per_s", "_hours", "_fraction", "_per_object")


def test_the_projection_by_hand() -> None:
    """8,454 objects, each of half a second for every core, take 4,227 s on all cores; their 17,313,792 grasps at 4,000 a second 4,328 s."""
    seconds = 0.5 * usable_cores()
    assert projected_hours(seconds, 4000.0, overlapping=False) == pytest.approx((4227 + 4328.448) / 3600)
    assert projected_hours(seconds, 4000.0, overlapping=True) == pytest.approx(4328.448 / 3600)
    assert projected_hours(2 * seconds, 4000.0, overlapping=True) == pytest.approx(8454 / 3600)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchCommand:
    """Two boxes, one of which is not there; a short trial. The current folder is empty, and the whole run must leave it so."""
    monkeypatch.chdir(tmp_path)
    trimesh.creation.box((0.02, 0.03, 0.04)).export(tmp_path / "box.obj")
    (tmp_path / "list.json").write_text(json.dumps({"box.obj": 1.0, "gone.obj": 1.0}))
    return BenchCommand.of(
        object_scales_json=tmp_path / "list.json",
        object_dataset=tmp_path,
        gripper_config="franka_panda",
        trials=4,
        num_collision_free_grasps=2,
        num_colliding_grasps=1,
        tug_sequences=(),
        workers=1,
    )


def numbers(document: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from ((name if part in ENGINES else part, number) for part, number in numbers(value))
        elif isinstance(value, int | float):
            yield name, value


@pytest.mark.slow
def test_every_key_says_its_unit_and_every_engine_is_measured(settings: BenchCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "mujoco-warp", fake_simulator.ROW)
    notes: list[str] = []
    found = run_bench(settings.updated(backend="mujoco-warp", device="cpu"), on_note=notes.append)
    assert json.loads(json.dumps(found)) == found and not Path("results").exists()
    assert set(found["objects"]) == {"box.obj"} and any("gone.obj: no such file" in note for note in notes)
    for name in ("validated_grasps_per_s", "world_steps_per_s", "held_fraction", "projected_hours"):
        assert set(found[name]) == {"mujoco", "mujoco-warp"}
    assert found["held_fraction"]["mujoco"] == found["held_fraction"]["mujoco-warp"]
    figures = {name: number for name, number in numbers(found) if name not in ("cores", "load_before", "faces", "pieces")}
    assert all(number > 0 for number in figures.values()) and all(name.endswith(UNITS) for name in figures)


def test_a_list_of_which_nothing_can_be_used_is_one_line(settings: BenchCommand, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('{"gone.obj": 1.0}')
    with pytest.raises(InputError, match="no object of the list can be used"):
        run_bench(settings, on_note=lambda _: None)


@pytest.mark.slow
def test_the_criterion_and_the_protocol_count(settings: BenchCommand) -> None:
    """Nothing keeps so still; and what is held but not by this criterion is not said to be held."""
    strict = settings.updated(protocol="gravity", tug_sequences=DEFAULT_TUGS, still=1e-12)
    found = run_bench(strict, on_note=lambda _: None)
    assert found["held_fraction"] == {"mujoco": 0.0}
    plain = run_bench(strict.updated(still=None), on_note=lambda _: None)
    assert plain["held_fraction"]["mujoco"] > 0.5 and plain["world_steps_per_s"]["mujoco"] > 0
