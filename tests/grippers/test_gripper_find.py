"""Grippers are found by name or by file, and a wrong one is refused in one line that helps."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import trimesh
from jaw_models import parallel_jaw

from graspgen_cli.errors import GripperError
from graspgen_cli.grippers.find import builtin_grippers, load_gripper
from graspgen_cli.records import Gripper
from graspgen_cli.settings.inputs import GripperSettings

COMPLETE = "name: jaw\nmodel: models/jaw.xml\nfinger_bodies: [left, right]\nbite: 0.004\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "jaw.xml").write_text(parallel_jaw())
    return tmp_path


def write(folder: Path, text: str) -> str:
    path = folder / "jaw.yaml"
    path.write_text(text)
    return str(path)


def test_builtin_grippers() -> None:
    assert {"franka_panda", "robotiq_2f_85"} <= set(builtin_grippers())
    assert [load_gripper(name).name for name in builtin_grippers()] == list(builtin_grippers())


def test_gripper_file_names_its_model_relative_to_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    gripper = load_gripper(write(folder, COMPLETE + "grip_force: 12\nclosing_speed: 0.05\napproach_axis: [0, 0, 2]\n"))
    assert (gripper.name, gripper.bite, gripper.grip_force, gripper.closing_speed) == ("jaw", 0.004, 12.0, 0.05)
    assert gripper.approach_axis_in_base.tolist() == [0.0, 0.0, 1.0]


def test_mjcf_alone_is_a_gripper_where_its_fingers_are_clear(folder: Path) -> None:
    gripper = load_gripper(str(folder / "models" / "jaw.xml"))
    assert gripper.finger_bodies == ("left", "right")
    assert gripper.bite == pytest.approx(0.015)


def test_parts_fixed_to_a_finger_belong_to_it(folder: Path) -> None:
    linked = parallel_jaw().replace('mass="0.05"/>', 'mass="0.05"/><body name="tip{}" pos="0 0 0.02"><geom size="0.001"/></body>')
    path = folder / "linked.xml"
    path.write_text(linked.replace("tip{}", "tip_a", 1).replace("tip{}", "tip_b", 1))
    gripper = load_gripper(str(path))
    assert gripper.body_names == ("palm", "left", "right")
    assert [len(parts) for parts in gripper.collision_parts] == [1, 2, 2]


def test_mjcf_brings_its_meshes_and_includes(folder: Path) -> None:
    (folder / "models" / "shapes").mkdir()
    trimesh.creation.box((0.01, 0.02, 0.03)).export(folder / "models" / "shapes" / "pad.stl")
    text = parallel_jaw().replace('type="box" size="0.005 0.01 0.015"', 'type="mesh" mesh="pad"')
    text = text.replace('autolimits="true"', 'autolimits="true" meshdir="shapes"').replace(
        "<worldbody>", '<include file="assets.xml"/><worldbody>'
    )
    (folder / "models" / "jaw.xml").write_text(text)
    (folder / "models" / "assets.xml").write_text('<mujoco><asset><mesh name="pad" file="pad.stl"/></asset></mujoco>')
    gripper = load_gripper(write(folder, COMPLETE))
    assert gripper.width == pytest.approx(0.06, abs=1e-6)
    assert gripper.pad_size == pytest.approx([0.03, 0.02], abs=1e-6)
    assert len(gripper.assets) == 1
    (folder / "models" / "shapes" / "pad.stl").unlink()
    with pytest.raises(GripperError, match=r"pad\.stl"):
        load_gripper(str(folder / "models" / "jaw.xml"))


def test_bite_overrides_the_file(folder: Path) -> None:
    path = write(folder, COMPLETE)
    assert load_gripper(path, bite=0.007).bite == 0.007
    assert load_gripper("franka_panda", bite=0.003).bite == 0.003


def test_content_hash_is_of_content_and_not_of_paths(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "models").mkdir()
    (elsewhere / "models" / "jaw.xml").write_text(f"<!-- the same -->{parallel_jaw()}")
    first = load_gripper(write(folder, COMPLETE)).content_hash
    assert load_gripper(write(elsewhere, COMPLETE + "sources: {bite: a drawing}\n")).content_hash == first
    assert load_gripper(write(folder, COMPLETE + "grip_force: 51\n")).content_hash != first
    (folder / "models" / "jaw.xml").write_text(parallel_jaw(stroke=0.061))
    assert load_gripper(write(folder, COMPLETE)).content_hash != first


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (COMPLETE + "grip_froce: 20\n", "unknown key 'grip_froce'; did you mean 'grip_force'"),
        (COMPLETE + "colour: red\n", "unknown key 'colour'; known keys are name"),
        (COMPLETE + "grip_force: -1\n", r"grip_force: .*\(it is -1\)"),
        (COMPLETE + "grip_force: .nan\n", "grip_force"),
        (COMPLETE + "closing_speed: fast\n", "closing_speed: .*'fast'"),
        (COMPLETE + "approach_axis: [0, 0, 0]\n", "approach_axis: must be a direction"),
        (COMPLETE.replace("[left, right]", "[left]"), "finger_bodies"),
        ("model: models/jaw.xml\n", "name is missing"),
        ("name: ../jaw\nmodel: models/jaw.xml\n", r"name: .*\(it is '\.\./jaw'\)"),
        ("name: jaw\nmodel: nowhere.xml\n", r"nowhere\.xml does not exist"),
        ("- a list\n", "mapping of keys"),
        ("", "mapping of keys"),
        ("name: [jaw\n", "not valid YAML"),
        ("name: !!python/object/apply:os.getcwd []\nmodel: jaw.xml\n", "not valid YAML"),
    ],
)
def test_wrong_gripper_file_is_refused_in_one_line(folder: Path, text: str, complaint: str) -> None:
    with pytest.raises(GripperError, match=complaint) as refusal:
        load_gripper(write(folder, text))
    assert "\n" not in str(refusal.value)
    assert str(folder) in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("franka_pandas", "did you mean franka_panda"),
        ("Robotiq-2F-85", "did you mean robotiq_2f_85"),
        ("hand", "There are franka_panda, "),
        ("", "no gripper is called"),
        ("../catalog", "no gripper is called"),
        ("nowhere.yaml", "nowhere.yaml cannot be read"),
        ("nowhere.xml", "nowhere.xml does not exist"),
    ],
)
def test_unknown_gripper_is_refused_in_one_line(name: str, complaint: str) -> None:
    with pytest.raises(GripperError, match=complaint) as refusal:
        load_gripper(name)
    assert "\n" not in str(refusal.value)


# --- what was measured is kept -------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRASPGEN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "grippers"


def same(first: Gripper, second: Gripper) -> bool:
    for name in (field.name for field in fields(Gripper)):
        ours, theirs = getattr(first, name), getattr(second, name)
        if name == "collision_parts":
            for a, b in zip((p for parts in ours for p in parts), (p for parts in theirs for p in parts), strict=True):
                np.testing.assert_array_equal(a.vertices, b.vertices)
                np.testing.assert_array_equal(a.faces, b.faces)
                assert (a.vertices.dtype, a.faces.dtype) == (b.vertices.dtype, b.faces.dtype)
        elif isinstance(ours, np.ndarray):
            np.testing.assert_array_equal(ours, theirs)
        elif ours != theirs:
            return False
    return True


def test_a_kept_gripper_is_the_measured_one_and_is_not_measured_again(folder: Path, cache: Path) -> None:
    path = write(folder, COMPLETE)
    measured = load_gripper(path)
    (kept,) = cache.iterdir()
    written = kept.stat()
    assert same(load_gripper(path), measured)
    assert kept.stat() == written


@pytest.mark.parametrize("damage", [b"", b"PK not a zip", None])
def test_a_broken_or_outdated_copy_is_made_anew(damage: bytes | None, folder: Path, cache: Path) -> None:
    path = write(folder, COMPLETE)
    first = load_gripper(path)
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    kept.write_bytes(content[: len(content) // 2] if damage is None else damage)
    assert same(load_gripper(path), first)
    assert len(kept.read_bytes()) > len(content) // 2
    (folder / "models" / "jaw.xml").write_text(parallel_jaw(stroke=0.05))
    assert load_gripper(path).width == pytest.approx(0.05)


def test_options_are_part_of_what_is_kept(folder: Path, cache: Path) -> None:
    path = write(folder, COMPLETE)
    assert load_gripper(path, options=GripperSettings(grip_force=12.0)).grip_force == 12.0
    assert load_gripper(path, bite=0.002).bite == 0.002
    assert (load_gripper(path).grip_force, load_gripper(path).bite) == (50.0, 0.004)
    assert len(list(cache.iterdir())) == 3


def test_a_cache_that_cannot_be_written_is_no_error(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GRASPGEN_CACHE_DIR", str(tmp_path / "file"))
    assert load_gripper(write(folder, COMPLETE)).bite == 0.004


# --- options -------------------------------------------------------------------------------------------------------------------


def test_options_replace_what_the_file_says(folder: Path) -> None:
    options = GripperSettings(grip_force=11.0, closing_speed=0.07, finger_colliders=("right", "left"), base_frame="palm")
    gripper = load_gripper(write(folder, COMPLETE), options=options)
    assert (gripper.grip_force, gripper.closing_speed, gripper.finger_bodies) == (11.0, 0.07, ("right", "left"))
    assert gripper.closing_axis_in_base == pytest.approx([-1.0, 0.0, 0.0])
    turned = load_gripper(write(folder, COMPLETE), options=GripperSettings(approach_axis=(0.0, 1.0, 0.0)))
    assert turned.approach_axis_in_base == pytest.approx([0.0, 1.0, 0.0])


def test_base_frame_cuts_the_gripper_out_of_an_mjcf_arm(folder: Path) -> None:
    palm = parallel_jaw().replace(
        "<worldbody>", '<default><joint armature="3"/></default><worldbody><body name="arm"><joint name="elbow"/><geom size="0.1"/>'
    )
    path = folder / "arm.xml"
    path.write_text(palm.replace("</worldbody>", '</body></worldbody><actuator><motor joint="elbow"/></actuator>'))
    gripper = load_gripper(str(path), options=GripperSettings(base_frame="palm"))
    assert gripper.body_names == ("palm", "left", "right")
    assert gripper.joint_names == ("left_slide", "right_slide")
    assert gripper.width == pytest.approx(0.06)


@pytest.mark.parametrize(("name", "complaint"), [("no_such_description", "pip install|knows no"), ("os.path", "cannot be the name")])
def test_unknown_robot_description_is_refused_in_one_line(name: str, complaint: str) -> None:
    with pytest.raises(GripperError, match=complaint) as refusal:
        load_gripper(f"robot_descriptions:{name}")
    assert "\n" not in str(refusal.value)
