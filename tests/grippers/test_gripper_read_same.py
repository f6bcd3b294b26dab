"""One gripper measures the same from whatever format it was read."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import trimesh
from panda_files import write_urdf, write_usd

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.guess.loop import make_guesses
from graspgen_cli.records import Gripper, TriangleMesh
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.inputs import GripperSettings
from shapes import box

SET = {"grip_force": 70.0, "closing_speed": 0.1}
LENGTH = 1e-4


def has_usd() -> bool:
    try:
        import pxr  # noqa: F401
    except ImportError:
        return False
    return True


needs_usd = pytest.mark.skipif(not has_usd(), reason="usd-core is not installed: pip install '.[usd]'")
needs_collada = pytest.mark.skipif(find_spec("collada") is None, reason="pycollada is not installed: pip install '.[grippers]'")


def as_mjcf(panda: Gripper, folder: Path) -> Path:
    (folder / "panda.xml").write_text(panda.mjcf)
    return folder / "panda.xml"


def with_collada(panda: Gripper, folder: Path) -> Path:
    """URDF whose meshes are COLLADA files in millimetres."""
    path = write_urdf(panda, folder / "a")
    for file in (folder / "a" / "meshes").glob("*.obj"):
        mesh = trimesh.load(file, process=False)
        mesh.apply_scale(1000.0)
        text = mesh.export(file_type="dae").decode()
        file.with_suffix(".dae").write_text(
            re.sub(r"(<asset>.*?)(<up_axis>|</asset>)", r'\1<unit name="mm" meter="0.001"/>\2', text, flags=re.S)
        )
        file.unlink()
    path.write_text(path.read_text().replace(".obj", ".dae"))
    return path


def with_wrong_limits(panda: Gripper, folder: Path) -> Path:
    """URDF in which the second finger's limits leave the first, which it follows, no room."""
    path = write_urdf(panda, folder / "a")
    head, _, tail = path.read_text().rpartition('<limit lower="0.0" upper="0.04"')
    path.write_text(f'{head}<limit lower="-0.04" upper="0.0"{tail}')
    return path


def as_package(panda: Gripper, folder: Path) -> Path:
    """URDF in a package's folder, below the meshes that it names by package://."""
    made = write_urdf(panda, folder / "my_panda", mesh_prefix="package://my_panda/meshes/")
    (folder / "my_panda" / "urdf").mkdir()
    return made.rename(folder / "my_panda" / "urdf" / "panda.urdf")


def by_reference(panda: Gripper, folder: Path) -> Path:
    """A stage that holds nothing but a reference to another one."""
    from pxr import Usd

    inner = write_usd(panda, folder / "inner.usdc")
    stage = Usd.Stage.CreateNew(str(folder / "outer.usda"))
    prim = stage.DefinePrim("/somewhere/gripper")
    prim.GetReferences().AddReference(inner.name)
    from pxr import UsdGeom

    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.Save()
    return folder / "outer.usda"


slow = pytest.mark.slow
FORMATS = {
    "mjcf": pytest.param(as_mjcf),
    "urdf": pytest.param(lambda panda, folder: write_urdf(panda, folder / "a")),
    "urdf package": pytest.param(as_package, marks=slow),
    "urdf with collada meshes": pytest.param(with_collada, marks=[needs_collada, slow]),
    "urdf with wrong limits": pytest.param(with_wrong_limits, marks=slow),
    "urdf of an arm": pytest.param(lambda panda, folder: write_urdf(panda, folder / "a", wrist=True), marks=slow),
    "usd": pytest.param(lambda panda, folder: write_usd(panda, folder / "panda.usd"), marks=needs_usd),
    "usd in centimetres with y up": pytest.param(
        lambda panda, folder: write_usd(panda, folder / "panda.usda", meters=0.01, up="Y"), marks=[needs_usd, slow]
    ),
    "usd by reference": pytest.param(by_reference, marks=[needs_usd, slow]),
    "usd without a mimic joint": pytest.param(
        lambda panda, folder: write_usd(panda, folder / "panda.usda", mimic=False), marks=[needs_usd, slow]
    ),
    "usd turned round": pytest.param(
        lambda panda, folder: write_usd(panda, folder / "panda.usda", turned_round=True, mimic=False), marks=[needs_usd, slow]
    ),
}


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS.keys())
def test_the_panda_is_the_panda_in_every_format(write: Callable[[Gripper, Path], Path], panda: Gripper, tmp_path: Path) -> None:
    read = load_gripper(str(write(panda, tmp_path)), bite=panda.bite, options=GripperSettings(base_frame="hand", **SET))
    assert read.finger_bodies == panda.finger_bodies
    assert read.opening_width == pytest.approx(panda.opening_width, abs=LENGTH)
    assert read.depth == pytest.approx(panda.depth, abs=LENGTH)
    assert read.pad_size == pytest.approx(panda.pad_size, abs=LENGTH)
    assert read.approach_axis_in_base == pytest.approx(panda.approach_axis_in_base, abs=1e-6)
    assert read.closing_axis_in_base == pytest.approx(panda.closing_axis_in_base, abs=1e-6)
    assert read.fingertip_in_base == pytest.approx(panda.fingertip_in_base, abs=LENGTH)
    assert read.joint_effort == pytest.approx(panda.joint_effort, rel=1e-4)
    for ours, theirs in zip(panda.collision_parts, read.collision_parts, strict=True):
        assert sizes(theirs) == pytest.approx(sizes(ours), abs=LENGTH)
    assert guesses(read) == pytest.approx(guesses(panda), abs=LENGTH)


def sizes(parts: tuple[TriangleMesh, ...]) -> np.ndarray:
    return np.array([np.ptp(part.vertices, axis=0) for part in parts])


def guesses(gripper: Gripper) -> np.ndarray:
    made = make_guesses(
        ObjectShape(box(0.03, 0.04, 0.05)),
        GripperShape(gripper),
        GuessSettings(seed=3),
        object_id="box",
        num_free=12,
        num_colliding=0,
        first_try=0,
        max_tries=20,
    )
    return made.grasps.pose_gripper_in_object


@needs_usd
def test_usd_force_and_speed_come_from_the_drive(panda: Gripper, tmp_path: Path) -> None:
    read = load_gripper(str(write_usd(panda, tmp_path / "cm.usda", meters=0.01)))
    assert read.grip_force == pytest.approx(70.0)  # one motor of 140 N for two fingers
    assert any("closing speed 0.1 m/s" in note for note in read.notes)


def test_urdf_force_and_speed_come_from_the_limits(panda: Gripper, tmp_path: Path) -> None:
    read = load_gripper(str(write_urdf(panda, tmp_path / "a")))
    assert (read.grip_force, read.closing_speed) == pytest.approx((70.0, 0.1))


def test_urdf_is_read_as_mujoco_reads_it(panda: Gripper, tmp_path: Path) -> None:
    """Our mapping and MuJoCo's own URDF reader put every body at the same place."""
    import mujoco

    path = write_urdf(panda, tmp_path / "a")
    theirs = mujoco.MjSpec.from_file(str(path))
    theirs.compiler.fusestatic = False
    model = theirs.compile()
    data = mujoco.MjData(model)
    read = load_gripper(str(path))
    for k in (0, 30, 64):
        data.qpos[:] = read.joint_position[k]
        mujoco.mj_kinematics(model, data)
        for body, name in enumerate(read.body_names):
            assert read.pose_body_in_base[k, body, :3, 3] == pytest.approx(data.body(name).xpos, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.replace("<robot", "<sdf").replace("</robot", "</sdf"), "not a URDF"),
        (lambda text: text[:200], "not readable as XML"),
        (lambda text: text.replace("meshes/hand_0.obj", "package://nowhere/hand.obj"), "package nowhere"),
        (lambda text: text.replace("hand_0.obj", "gone.obj"), r"gone\.obj does not exist"),
        (lambda text: text.replace('type="prismatic"', 'type="floating"'), "of type 'floating'"),
        (lambda text: text.replace('<child link="left_finger"/>', '<child link="thumb"/>'), "thumb that is not there"),
        (lambda text: text.replace('axis xyz="-1 0 0"', 'axis xyz="one"'), "should be 3 numbers"),
        (lambda text: text.replace("left_finger_joint", "x", 1).replace("<mimic joint", "<mimic  joint"), "joint left_finger_joint"),
    ],
)
def test_wrong_urdf_is_refused_in_one_line(change: Callable[[str], str], complaint: str, panda: Gripper, tmp_path: Path) -> None:
    path = write_urdf(panda, tmp_path / "a")
    path.write_text(change(path.read_text()))
    with pytest.raises(GripperError, match=complaint) as refusal:
        load_gripper(str(path))
    assert "\n" not in str(refusal.value)
    assert "panda.urdf" in str(refusal.value)


def test_base_frame_leaves_the_rest_of_the_arm_out(panda: Gripper, tmp_path: Path) -> None:
    path = write_urdf(panda, tmp_path / "a", wrist=True)
    with pytest.raises(GripperError, match="--base-frame"):
        load_gripper(str(path))
    with pytest.raises(GripperError, match=r"no link is called wrist; there are hand, left_finger"):
        load_gripper(str(path), options=GripperSettings(base_frame="wrist"))
    assert load_gripper(str(path), options=GripperSettings(base_frame="hand")).joint_names == panda.joint_names


def test_packages_may_lie_elsewhere(panda: Gripper, tmp_path: Path) -> None:
    made = write_urdf(panda, tmp_path / "packages" / "my_panda", mesh_prefix="package://my_panda/meshes/")
    (tmp_path / "here").mkdir()
    path = str(made.rename(tmp_path / "here" / "panda.urdf"))
    with pytest.raises(GripperError, match="--package-root"):
        load_gripper(path)
    with pytest.raises(GripperError, match="is no folder"):
        load_gripper(path, options=GripperSettings(package_root=tmp_path / "gone"))
    read = load_gripper(path, options=GripperSettings(package_root=tmp_path / "packages"))
    assert read.opening_width == pytest.approx(panda.opening_width, abs=LENGTH)


def test_a_limit_that_does_not_count_is_said(panda: Gripper, tmp_path: Path) -> None:
    read = load_gripper(str(with_wrong_limits(panda, tmp_path)))
    assert any("do not count: right_finger_joint" in note for note in read.notes)


@needs_usd
def test_wrong_usd_is_refused_in_one_line(panda: Gripper, tmp_path: Path) -> None:
    (tmp_path / "broken.usda").write_text("not usd")
    empty = tmp_path / "empty.usda"
    empty.write_text("#usda 1.0\n")
    for file, complaint in ((tmp_path / "broken.usda", "cannot be read as USD"), (empty, "rigid body API")):
        with pytest.raises(GripperError, match=complaint) as refusal:
            load_gripper(str(file))
        assert "\n" not in str(refusal.value)
