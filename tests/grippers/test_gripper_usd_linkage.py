"""A four-bar gripper as USD: loops that are closed outside the articulation, instanced shapes, angular drives, centimetres."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.grippers.self_check import check_gripper
from graspgen_cli.records import Gripper

pytest.importorskip("pxr", reason="usd-core is not installed: pip install '.[usd]'")

LINK, REACH, INSET = 0.05, 0.03, 0.02
"""m: length of the links; the outer pivots from the middle; how far inside of its outer pivot a pad is."""
CLOSED, OPEN = -0.2, 0.6
"""rad from the approach axis, outwards: the links at the limits."""
TORQUE, SPEED = 2.5, 90.0
"""N m of each drive; degrees a second."""
CENTIMETRE = 0.01


def write(path: Path, *, instances: bool = False, mimic: bool = False, turned_round: bool = False) -> Path:
    """Two parallelograms on a base. instances: each finger's shape is an instance of one prim. mimic: the right drive follows the left
    one. turned_round: the joints that close the loops lead from the inner link to the finger."""
    from pxr import Sdf, Usd, UsdGeom, UsdPhysics

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageMetersPerUnit(stage, CENTIMETRE)
    UsdPhysics.ArticulationRootAPI.Apply(UsdGeom.Xform.Define(stage, "/hand").GetPrim())
    cube(stage, body(stage, "base", (0.0, 0.0, 0.0)), (0.0, 0.0, 0.025), (0.04, 0.03, 0.05))
    if instances:
        cube(stage, UsdGeom.Xform.Define(stage, "/shapes/pad"), (0.0, 0.0, 0.03), (0.01, 0.02, 0.06))
    for side, sign in (("left", -1), ("right", 1)):
        outer, inner = (sign * REACH, 0.0, 0.05), (sign * 0.014, 0.0, 0.055)
        body(stage, f"{side}_outer", outer)
        body(stage, f"{side}_inner", inner)
        finger = body(stage, f"{side}_finger", (sign * REACH, 0.0, 0.05 + LINK))
        middle = (-sign * (INSET - 0.005), 0.0, 0.0)
        if instances:
            instance = UsdGeom.Xform.Define(stage, f"/hand/{side}_finger/shape")
            instance.AddTranslateOp().Set(units(middle))
            instance.GetPrim().GetReferences().AddInternalReference("/shapes/pad")
            instance.GetPrim().SetInstanceable(True)
        else:
            cube(stage, finger, (middle[0], 0.0, 0.03), (0.01, 0.02, 0.06))
        limits = (CLOSED, OPEN) if sign > 0 else (-OPEN, -CLOSED)
        driven = hinge(stage, f"{side}_drive", ("base", outer), (f"{side}_outer", (0.0, 0.0, 0.0)), limits)
        hinge(stage, f"{side}_follow", ("base", inner), (f"{side}_inner", (0.0, 0.0, 0.0)), (-1.5, 1.5))
        hinge(stage, f"{side}_knuckle", (f"{side}_outer", (0.0, 0.0, LINK)), (f"{side}_finger", (0.0, 0.0, 0.0)), (-1.5, 1.5))
        ends = [(f"{side}_finger", (-sign * 0.016, 0.0, 0.005)), (f"{side}_inner", (0.0, 0.0, LINK))]
        loop = hinge(stage, f"{side}_loop", *(reversed(ends) if turned_round else ends), (-1.5, 1.5))
        UsdPhysics.Joint(loop).CreateExcludeFromArticulationAttr(True)
        if mimic and side == "right":
            driven.AddAppliedSchema("PhysxMimicJointAPI:rotY")
            driven.CreateAttribute("physxMimicJoint:rotY:gearing", Sdf.ValueTypeNames.Float).Set(1.0)
            driven.CreateRelationship("physxMimicJoint:rotY:referenceJoint").SetTargets(["/hand/left_drive"])
        else:
            drive = UsdPhysics.DriveAPI.Apply(driven, "angular")
            drive.CreateDampingAttr(100.0)
            drive.CreateMaxForceAttr(TORQUE / CENTIMETRE**2)
            driven.CreateAttribute("physxJoint:maxJointVelocity", Sdf.ValueTypeNames.Float).Set(SPEED)
    stage.Save()
    return path


def units(lengths: tuple[float, float, float]) -> Any:
    from pxr import Gf

    return Gf.Vec3d(*(length / CENTIMETRE for length in lengths))


def body(stage: Any, name: str, place: tuple[float, float, float]) -> Any:
    from pxr import Gf, UsdGeom, UsdPhysics

    prim = UsdGeom.Xform.Define(stage, f"/hand/{name}")
    prim.AddTranslateOp().Set(units(place))
    UsdPhysics.RigidBodyAPI.Apply(prim.GetPrim())
    mass = UsdPhysics.MassAPI.Apply(prim.GetPrim())
    mass.CreateMassAttr(0.05)
    mass.CreateDiagonalInertiaAttr(Gf.Vec3f(0.2))
    return prim


def cube(stage: Any, parent: Any, middle: tuple[float, float, float], size: tuple[float, float, float]) -> None:
    from pxr import UsdGeom, UsdPhysics

    shape = UsdGeom.Cube.Define(stage, f"{parent.GetPath()}/cube")
    shape.CreateSizeAttr(1.0)
    shape.AddTranslateOp().Set(units(middle))
    shape.AddScaleOp().Set(units(size))
    UsdPhysics.CollisionAPI.Apply(shape.GetPrim())


def hinge(stage: Any, name: str, first: Any, second: Any, limits: tuple[float, float]) -> Any:
    from pxr import Gf, UsdPhysics

    joint = UsdPhysics.RevoluteJoint.Define(stage, f"/hand/{name}")
    joint.CreateBody0Rel().SetTargets([f"/hand/{first[0]}"])
    joint.CreateBody1Rel().SetTargets([f"/hand/{second[0]}"])
    joint.CreateLocalPos0Attr(Gf.Vec3f(units(first[1])))
    joint.CreateLocalPos1Attr(Gf.Vec3f(units(second[1])))
    joint.CreateAxisAttr("Y")
    joint.CreateLowerLimitAttr(math.degrees(limits[0]))
    joint.CreateUpperLimitAttr(math.degrees(limits[1]))
    return joint.GetPrim()


def opening(angle: float) -> float:
    """m, of the pads, with the links at an angle."""
    return 2 * (REACH - INSET + LINK * math.sin(angle))


VARIANTS = {"plain": {}, "instances": {"instances": True}, "mimic": {"mimic": True}, "loops turned round": {"turned_round": True}}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def linkage(request: pytest.FixtureRequest, tmp_path: Path) -> Gripper:
    return load_gripper(str(write(tmp_path / "hand.usda", **request.param)))


def test_a_four_bar_gripper_moves_as_its_links_say(linkage: Gripper) -> None:
    assert linkage.opening_width[[0, -1]] == pytest.approx([opening(CLOSED), opening(OPEN)], abs=1e-6)
    angle = np.arcsin((linkage.opening_width / 2 - REACH + INSET) / LINK)
    forward = linkage.fingertip_in_base[:, :, 2]
    assert forward == pytest.approx(np.tile(0.05 + LINK * np.cos(angle)[:, None] + 0.06, 2), abs=1e-6)
    fingers = [linkage.body_names.index(name) for name in linkage.finger_bodies]
    assert np.abs(linkage.pose_body_in_base[:, fingers, :3, :3] - np.eye(3)).max() < 1e-6
    assert sorted(linkage.finger_bodies) == ["left_finger", "right_finger"]
    assert linkage.approach_axis_in_base.tolist() == [0.0, 0.0, 1.0]
    assert [len(parts) for parts in linkage.collision_parts] == [int(n in ("base", *linkage.finger_bodies)) for n in linkage.body_names]
    check_gripper(linkage)


@pytest.mark.parametrize(("mimic", "motors"), [(False, 2), (True, 1)])
def test_angular_drives_give_force_and_speed(mimic: bool, motors: int, tmp_path: Path) -> None:
    """By virtual work over the stroke: torque x angle of every motor = force x opening."""
    gripper = load_gripper(str(write(tmp_path / "hand.usda", mimic=mimic)))
    stroke = opening(OPEN) - opening(CLOSED)
    assert gripper.grip_force == pytest.approx(motors * TORQUE * (OPEN - CLOSED) / stroke, rel=1e-4)
    assert gripper.closing_speed == pytest.approx(stroke * math.radians(SPEED) / (OPEN - CLOSED), rel=1e-4)
