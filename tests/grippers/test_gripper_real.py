"""Real models that other people wrote, from the packages pybullet and robosuite: fetched here, never kept. Run by `nox -s external`."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import pose
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.grippers.self_check import check_gripper
from graspgen_cli.records import GraspBatch, Gripper, Outcome, TargetObject
from graspgen_cli.settings.inputs import GripperSettings
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import make_backend
from graspgen_cli.validate.trials import run_trials
from shapes import box

pytestmark = pytest.mark.download

RELEASES = {"pybullet": "3.2.7", "robosuite": "1.5.2"}
PYBULLET, ROBOSUITE = "pybullet/pybullet_data", "robosuite/robosuite/models/assets/grippers"


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the two packages hold, a folder each."""
    folder = tmp_path_factory.mktemp("packages")
    for name, version in RELEASES.items():
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder / "fetched"), f"{name}=={version}"],
            check=True,
        )
        (archive,) = (folder / "fetched").glob(f"{name}-*")
        unpack(archive, folder / name)
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """What lies in package data of a wheel or, where there is only that, of a source archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                place = name.split(".data/platlib/")[-1].split(".data/purelib/")[-1].split(".data/data/")[-1]
                if "pybullet_data/" in name or "/assets/grippers/" in name:
                    target = folder / place[place.index("pybullet_data/") :] if "pybullet_data/" in place else folder / place
                    if not name.endswith("/"):
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(wheel.read(name))
        return
    with tarfile.open(archive) as source:
        for member in source.getmembers():
            at = member.name.find("pybullet_data/")
            if member.isfile() and at >= 0 and (content := source.extractfile(member)) is not None:
                target = folder / member.name[at:]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


REAL = {
    "Panda, URDF of the arm": (f"{PYBULLET}/franka_panda/panda.urdf", {"base_frame": "panda_hand"}, 0.080),
    "Panda, MJCF with uncoupled fingers": (f"{ROBOSUITE}/panda_gripper.xml", {}, 0.080),
    "2F-85, MJCF with springs": (f"{ROBOSUITE}/robotiq_gripper_85.xml", {}, 0.085),
    # The file's fingers stand 0.062 m off the middle, are 0.02 m thick and may go 0.01 m further out: 0.124 m. The base jaws are where
    # the data sheet has them open, 0.110 m apart, at 0; the file's limits let each go 0.01 m beyond.
    "WSG 50, SDF, by the file's limits": (f"{PYBULLET}/gripper/wsg50_one_motor_gripper_new.sdf", {}, 2 * (0.062 - 0.01 + 0.01)),
    "WSG 50, SDF, by the data sheet's stroke": (
        f"{PYBULLET}/gripper/wsg50_one_motor_gripper_new.sdf",
        {"open_configuration": {"gripper_left_hinge_joint": -0.003}},
        0.110,
    ),
    # Where the finger's joint is, and how far its mesh reaches inwards from there.
    "xArm gripper, URDF of the arm": (
        f"{PYBULLET}/xarm/xarm6_with_gripper.urdf",
        {"base_frame": "xarm_gripper_base_link"},
        2 * (0.035 + 0.035465 - 0.026),
    ),
    # The coupling in the file is not that of the real one: the pads tilt, and stand nearer to each other than 0.140 m when open.
    "2F-140, MJCF with other couplings": (f"{ROBOSUITE}/robotiq_gripper_140.xml", {}, 0.1285),
    # Where the pads' boxes are, and how far the file lets them go.
    "Rethink, MJCF with rails": (
        f"{ROBOSUITE}/rethink_gripper.xml",
        {"finger_colliders": ("l_finger_tip", "r_finger_tip")},
        2 * (0.01 + 0.01725 - 0.0047 - 0.004 + 0.020833),
    ),
    "PR2 gripper, URDF, fingers swing": (f"{PYBULLET}/pr2_gripper.urdf", {}, None),
    "WSG 50 without fingers, SDF of visual meshes": (f"{PYBULLET}/gripper/wsg50_one_motor_gripper_no_finger.sdf", {}, None),
}
"""File, options, and the opening width, m: the real gripper's, or what the numbers in the file come to where a comment says so."""


@pytest.fixture(scope="session")
def real(packages: Path) -> Callable[[str], Gripper]:
    def load(name: str) -> Gripper:
        file, options, _ = REAL[name]
        return load_gripper(str(packages / file), options=GripperSettings(**options))

    return load


@pytest.mark.parametrize("name", REAL)
def test_a_real_model_opens_as_wide_as_it_should(name: str, real: Callable[[str], Gripper]) -> None:
    gripper, width = real(name), REAL[name][2]
    print(f"{name}: {gripper.opening_width[0]:.4f} to {gripper.width:.4f} m, depth {gripper.depth:.4f} m; {'; '.join(gripper.notes)}")
    assert width is None or gripper.width == pytest.approx(width, abs=0.002)
    check_gripper(gripper)


@pytest.mark.parametrize("name", REAL)
def test_a_real_model_is_measured_in_five_seconds_and_then_kept(
    name: str, packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRASPGEN_CACHE_DIR", str(tmp_path))
    file, options, _ = REAL[name]
    seconds = []
    for _ in range(2):
        started = time.process_time()
        load_gripper(str(packages / file), options=GripperSettings(**options))
        seconds.append(time.process_time() - started)
    assert seconds[0] < 5.0 and seconds[1] < 0.5


@pytest.mark.parametrize("name", REAL)
def test_a_real_model_holds_what_is_between_its_pads_and_nothing_beside_them(name: str, real: Callable[[str], Gripper]) -> None:
    gripper = real(name)
    assert outcome(gripper, 0.0) is Outcome.HELD
    assert outcome(gripper, 0.3) is Outcome.DROPPED


def outcome(gripper: Gripper, beside: float) -> Outcome:
    """Of a trial on a box of half the widest opening, `beside` (m) off the pads across both axes."""
    thickness = (gripper.opening_width[0] + gripper.width) / 2
    k = int(gripper.nearest_opening(np.array([thickness]))[0])
    contact = gripper.fingertip_in_base[k].mean(axis=0) - gripper.bite * gripper.approach_axis_in_base
    across = np.cross(gripper.approach_axis_in_base, gripper.closing_axis_in_base)
    rotation = gripper.pose_base_in_graspgen[:3, :3]  # the box lies in GraspGen's axes: x closing, z approach
    held = GraspBatch(
        pose(rotation, -(rotation @ (contact + beside * across)))[None],
        np.array([gripper.width]),
        np.array([Outcome.UNVALIDATED], np.int8),
    )
    return Outcome(
        int(run_trials(make_backend("mujoco", threads=1), gripper, target(thickness), held, SimulationSettings()).grasps.outcome[0])
    )


def target(thickness: float) -> TargetObject:
    return box(thickness, 0.02, 0.02)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (f"{PYBULLET}/gripper/wsg50_one_motor_gripper.sdf", "independent ways"),  # its linkage is closed by PyBullet's code
        (f"{PYBULLET}/gripper/wsg50_one_motor_gripper_left_finger.urdf", "no joint"),
        (f"{PYBULLET}/franka_panda/panda.urdf", "--base-frame"),
        (f"{ROBOSUITE}/rethink_gripper.xml", "rails, meet or overlap first; name the bodies of the fingertips"),
        (f"{ROBOSUITE}/xarm7_gripper.xml", "."),
        (f"{ROBOSUITE}/wiping_gripper.xml", "no joint"),
        (f"{ROBOSUITE}/jaco_three_finger_gripper.xml", "cannot be met together|independent ways|fingers"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(file: str, reason: str, packages: Path) -> None:
    with pytest.raises(GripperError, match=reason) as refusal:
        check_gripper(load_gripper(str(packages / file)))
    print(refusal.value)
    assert "\n" not in str(refusal.value)
