"""A saved gripper comes back as it was, and names are kept apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from jaw_models import parallel_jaw
from panda_files import write_urdf

from graspgen_cli.commands.command import gripper_values
from graspgen_cli.errors import GripperError, OutputError
from graspgen_cli.grippers.find import builtin_grippers, load_gripper
from graspgen_cli.grippers.gripper_file import config_folder, save_gripper, saved_file, saved_grippers
from graspgen_cli.records import Gripper
from graspgen_cli.settings.inputs import GripperSettings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRASPGEN_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config" / "grippers"


def save(gripper: Gripper, name: str, *, overwrite: bool = False) -> Path:
    return save_gripper(gripper, name, taken=builtin_grippers(), overwrite=overwrite)


def assert_same(first: Gripper, second: Gripper) -> None:
    for name in ("opening_width", "fingertip_in_base", "approach_axis_in_base", "closing_axis_in_base", "pad_size", "pose_body_in_base"):
        np.testing.assert_allclose(getattr(second, name), getattr(first, name), atol=2e-6, err_msg=name)
    np.testing.assert_allclose(second.joint_effort, first.joint_effort, rtol=1e-4)
    np.testing.assert_allclose(second.joint_damping, first.joint_damping, rtol=1e-4)
    assert second.bite == pytest.approx(first.bite, abs=2e-6)
    for name in ("base_body", "finger_bodies", "body_names", "joint_names", "grip_force", "closing_speed", "symmetric"):
        assert getattr(second, name) == getattr(first, name)


def test_nothing_is_saved_at_first() -> None:
    assert saved_grippers() == ()
    assert saved_file("mine") is None


def test_a_gripper_comes_back_by_its_name(gripper: Gripper, folder: Path) -> None:
    assert save(gripper, "mine") == folder / "mine" / "gripper.yaml"
    assert saved_grippers() == ("mine",)
    back = load_gripper("mine")
    assert back.name == "mine"
    assert_same(gripper, back)


def test_an_opening_that_was_set_stays_set(panda: Gripper) -> None:
    half = load_gripper("franka_panda", options=GripperSettings(open_configuration={"left_finger_joint": 0.02}))
    assert half.width == pytest.approx(0.04, abs=1e-6)
    save(half, "half")
    assert load_gripper("half").width == pytest.approx(0.04, abs=1e-6)
    assert panda.width == pytest.approx(0.08)


def test_every_option_that_shaped_a_gripper_is_kept(panda: Gripper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand at the end of an arm, its meshes in a package elsewhere, with everything set otherwise than it would be found."""
    monkeypatch.setenv("GRASPGEN_CACHE_DIR", str(tmp_path / "cache"))
    path = write_urdf(panda, tmp_path / "packages" / "hand", mesh_prefix="package://hand/meshes/", wrist=True)
    options = GripperSettings(
        base_frame="hand",
        package_root=tmp_path / "packages",
        finger_colliders=("right_finger", "left_finger"),
        approach_axis=(0.0, 0.1, 1.0),
        open_configuration={"left_finger_joint": 0.03},
        grip_force=33.0,
        closing_speed=0.07,
        convergence_iterations=80,
    )
    made = path.rename(tmp_path / "arm.urdf")
    shaped = load_gripper(str(made), bite=0.005, options=options)
    assert set(options.model_fields_set) == set(GripperSettings.model_fields) - {"gripper_config", "measure_convergence"}
    save(shaped, "shaped")
    made.unlink()
    back = load_gripper("shaped")
    assert_same(shaped, back)
    assert (back.base_body, back.finger_bodies, back.grip_force, back.closing_speed) == (
        "hand",
        ("right_finger", "left_finger"),
        33.0,
        0.07,
    )
    assert (back.width, back.bite) == pytest.approx((0.06, 0.005), abs=1e-5)
    assert back.approach_axis_in_base[1] == pytest.approx(0.0995, abs=1e-4)


def test_meshes_come_along(tmp_path: Path) -> None:
    trimesh.creation.box((0.01, 0.02, 0.03)).export(tmp_path / "pad.stl")
    text = parallel_jaw().replace('type="box" size="0.005 0.01 0.015"', 'type="mesh" mesh="pad"')
    (tmp_path / "jaw.xml").write_text(text.replace("<worldbody>", '<asset><mesh file="pad.stl"/></asset><worldbody>'))
    gripper = load_gripper(str(tmp_path / "jaw.xml"))
    save(gripper, "jaw")
    (tmp_path / "pad.stl").unlink()
    (tmp_path / "jaw.xml").unlink()
    assert_same(gripper, load_gripper("jaw"))


def test_saving_the_same_again_is_no_overwriting(panda: Gripper, robotiq: Gripper) -> None:
    save(panda, "mine")
    save(panda, "mine")
    with pytest.raises(GripperError, match="another gripper is saved as mine"):
        save(robotiq, "mine")
    assert load_gripper("mine").width == pytest.approx(0.08)
    save(robotiq, "mine", overwrite=True)
    assert load_gripper("mine").width == pytest.approx(0.085)


@pytest.mark.parametrize("name", ["", "..", "a/b", "mine.yaml", "-x", "über", "a b", "a\n"])
def test_a_name_that_is_no_folders_name_is_refused(panda: Gripper, name: str, folder: Path) -> None:
    with pytest.raises(GripperError, match="a gripper's name has letters") as refusal:
        save(panda, name)
    assert "\n" not in str(refusal.value)
    assert not folder.exists() and saved_file(name) is None


def test_the_names_of_built_in_grippers_are_taken(panda: Gripper) -> None:
    with pytest.raises(GripperError, match="built-in gripper is called that"):
        save(panda, "robotiq_2f_85")


def test_an_unknown_name_is_told_what_is_saved(panda: Gripper) -> None:
    save(panda, "my_hand")
    with pytest.raises(GripperError, match="my_hand"):
        load_gripper("my_hnad")


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(panda: Gripper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRASPGEN_CONFIG_DIR", str(tmp_path / "file"))
    assert saved_grippers() == ()
    with pytest.raises(OutputError, match="cannot be written"):
        save(panda, "mine")


def test_the_users_config_folder_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRASPGEN_CONFIG_DIR")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/someone/.config")
    assert config_folder().name == "graspgen"


def test_a_saved_grippers_bite_is_a_setting(panda: Gripper) -> None:
    assert gripper_values("mine") == {}
    save(panda, "mine")
    assert gripper_values("mine") == {"bite": pytest.approx(0.0089)}
