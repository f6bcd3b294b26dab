"""Protocols by name and from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graspgen_cli.app import main
from graspgen_cli.errors import SettingsError
from graspgen_cli.geometry.collision import GripperShape
from graspgen_cli.records import Outcome
from graspgen_cli.settings.trials import DEFAULT_TUGS, SimulationSettings
from graspgen_cli.tables import PROTOCOLS
from graspgen_cli.validate.protocols import protocol_sequences, stages
from shapes import box
from test_validate import outcome_of

_, SHAKES = protocol_sequences("shake", DEFAULT_TUGS, ())
OWN = """
tugs:
  - {duration: 0.25, direction: [0, 0, 2]}
  - {duration: 1, direction: [1, 0, 0], scale: 1.5}
shakes:
  - {duration: 2, kind: rotational, axis: binormal, amplitude: 0.3, frequency: 4}
"""


SHAKE_OF = "shakes: [{{duration: {seconds}, kind: {kind}, axis: approach, amplitude: 0.1, frequency: 2}}]"


def test_the_usual_protocol_is_the_tugs_of_the_settings() -> None:
    mine = ((0.1, (0.0, 0.0, 1.0), 2.0),)
    assert protocol_sequences("tug", mine, SHAKES) == (mine, SHAKES) and protocol_sequences("tug", DEFAULT_TUGS, ()) == (DEFAULT_TUGS, ())


def test_gravity_pulls_with_the_weight_from_six_sides(gripper_shape: Callable[[str], GripperShape]) -> None:
    settings = SimulationSettings(tug_sequences=protocol_sequences("gravity", DEFAULT_TUGS, ())[0], object_mass=2.0)
    forces = np.array([stage.force_in_base for stage in stages(gripper_shape("franka_panda").gripper, settings, 2.0)[1:]])
    np.testing.assert_allclose(np.linalg.norm(forces, axis=1), 2.0 * 9.81)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-9)
    assert np.linalg.matrix_rank(forces) == 3 and len(np.unique(forces.round(6), axis=0)) == 6


def test_gravity_drops_what_friction_cannot_carry(gripper_shape: Callable[[str], GripperShape]) -> None:
    """Two pads carry 2 x 0.1 x the grip force."""
    gripper = gripper_shape("franka_panda").gripper
    limit = 2 * 0.1 * gripper.grip_force / 9.81
    for share, expected in ((0.8, Outcome.HELD), (1.2, Outcome.DROPPED)):
        settings = SimulationSettings(tug_sequences=PROTOCOLS["gravity"].tugs, friction=0.1, object_mass=share * limit)
        assert outcome_of(gripper, box(0.03, 0.02, 0.02), settings) is expected


def test_a_protocol_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    tugs, shakes = protocol_sequences(str(tmp_path / "own.yaml"), DEFAULT_TUGS, ())
    assert tugs == ((0.25, (0.0, 0.0, 2.0), 1.0), (1.0, (1.0, 0.0, 0.0), 1.5))
    assert shakes == ((2.0, "rotational", "binormal", 0.3, 4.0),)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("tugs: []", "at least one of tugs or shakes"),
        (SHAKE_OF.format(kind="linear", seconds=1.5), r"whole periods, 4 or more; 1\.5 s at 2\.0 Hz are 3"),
        (SHAKE_OF.format(kind="linear", seconds=2.1), r"whole periods, 4 or more; 2\.1 s at 2\.0 Hz are 4\.2"),
        (SHAKE_OF.format(kind="sideways", seconds=2), r"shakes\.0\.kind: "),
        ("tugs: [{duration: 1, direction: [0, 0, 0]}]", "not zero"),
        ("tugs: [{duration: 0, direction: [0, 0, 1]}]", r"tugs\.0\.duration: "),
        ("tugs: [{duration: 1, direction: [0, 1]}]", r"tugs\.0\.direction"),
        ("tugs: [{duration: 1, direction: [0, 0, .nan]}]", r"tugs\.0\.direction\.2"),
        ("tugs: [{duration: '1', direction: [0, 0, 1]}]", r"tugs\.0\.duration"),
        ("tugs: [{duration: 1, direction: [0, 0, 1], force: 3}]", r"tugs\.0\.force"),
        ("shake: 1", "shake: "),
        ("[1, 2]", "the file: "),
        ("tugs: [", "not valid YAML"),
        ("a: &x [1]\ntugs: *x", "refers to another value"),
    ],
)
def test_a_file_that_is_no_protocol_is_one_line(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=told) as refusal:
        protocol_sequences(str(path), DEFAULT_TUGS, ())
    assert str(refusal.value).startswith(f"{path}: no protocol") and "\n" not in str(refusal.value)


def test_a_protocol_that_is_none_names_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scales = tmp_path / "scales.json"
    scales.write_text('{"a.obj": 1.0}')
    arguments = ["validate", "--object-scales-json", str(scales), "--object-dataset", str(tmp_path), "--grasp-dataset", str(tmp_path / "o")]
    assert main([*arguments, "--protocol", "twist"]) == 2
    assert "there is tug, gravity, shake, or the path of a YAML file" in capsys.readouterr().err
    assert main([*arguments, "--protocol", "gravity", "--tug-sequences", "[[1,[0,0,1],1]]"]) == 2
    assert "exclude each other" in capsys.readouterr().err
