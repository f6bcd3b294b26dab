"""The built-in grippers, simulated as a trial simulates them, close smoothly at their speed and press with their force."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from graspgen_cli.geometry.poses import inverse, transform_points
from graspgen_cli.records import Floats, Gripper

FPS = 250


def simulation(gripper: Gripper, block: float | None = None) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The gripper open, its joints driven by their efforts against their damping; a block of that width (m) between the pads."""
    spec = mujoco.MjSpec.from_string(gripper.mjcf, assets=gripper.assets)
    spec.option.timestep = 1 / FPS
    spec.option.gravity = [0.0, 0.0, 0.0]
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    for name, damping in zip(gripper.joint_names, gripper.joint_damping, strict=True):
        spec.joint(name).damping = [damping, 0.0, 0.0]
    for geom in spec.geoms:
        geom.contype, geom.conaffinity = 1, 2
    if block is not None:
        k = int(gripper.nearest_opening(np.array([block]))[0])
        middle = gripper.fingertip_in_base[k].mean(axis=0) - gripper.bite * gripper.approach_axis_in_base
        spec.worldbody.add_body(name="block", pos=middle).add_freejoint()
        spec.body("block").add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[block / 2, 0.02, 0.005],
            mass=1.0,
            contype=2,
            priority=1,
            conaffinity=1,
            solref=[0.008, 1.0],
            solimp=[0.95, 0.99, 0.001, 0.5, 2],
        )
    model = spec.compile()
    data = mujoco.MjData(model)
    joints = [model.joint(name) for name in gripper.joint_names]
    data.qpos[[joint.qposadr[0] for joint in joints]] = gripper.joint_position[-1]
    data.qfrc_applied[[joint.dofadr[0] for joint in joints]] = gripper.joint_effort
    return model, data


def width(gripper: Gripper, data: mujoco.MjData) -> float:
    """Between the pads' contact points, m."""
    contacts = []
    for finger, name in enumerate(gripper.finger_bodies):
        pose = gripper.pose_body_in_base[-1, gripper.body_names.index(name)]
        contact = gripper.fingertip_in_base[-1, finger] - gripper.bite * gripper.approach_axis_in_base
        in_body: Floats = transform_points(inverse(pose), contact[None])[0]
        contacts.append(data.body(name).xpos + data.body(name).xmat.reshape(3, 3) @ in_body)
    return float((contacts[1] - contacts[0]) @ gripper.closing_axis_in_base)


def test_free_gripper_closes_smoothly_at_its_speed(gripper: Gripper) -> None:
    model, data = simulation(gripper)
    stroke = gripper.width - gripper.opening_width[0]
    widths = []
    for _ in range(int(1.5 * stroke / gripper.closing_speed * FPS)):
        mujoco.mj_step(model, data)
        mujoco.mj_kinematics(model, data)
        widths.append(width(gripper, data))
    passed = np.array(widths)
    seconds = int(np.argmax(passed < gripper.opening_width[0] + 0.0005)) / FPS
    assert stroke / seconds == pytest.approx(gripper.closing_speed, rel=0.1)
    steps = -np.diff(passed)
    assert steps.max() < 1.3 * gripper.closing_speed / FPS, "no jump"
    closed = int(np.argmin(passed))
    # Limits are as stiff as the integrator allows: stopping takes no more than two steps' way.
    assert passed.min() > gripper.opening_width[0] - max(0.001, 2 * gripper.closing_speed / FPS), "the end stop holds"
    assert passed[closed:].max() - passed[-1] < 0.001, "no bounce"
    assert abs(passed[-1] - gripper.opening_width[0]) < 1e-4


def test_closing_gripper_keeps_to_its_mechanism(gripper: Gripper) -> None:
    model, data = simulation(gripper)
    for _ in range(FPS // 2):
        mujoco.mj_step(model, data)
        assert np.abs(data.efc_pos[: data.ne]).max() < 5e-3
        assert np.isfinite(data.qpos).all()


def test_gripper_presses_a_block_with_its_force(gripper: Gripper) -> None:
    thickness = (gripper.opening_width[0] + gripper.width) / 2  # where pads that swing are about parallel
    model, data = simulation(gripper, block=thickness)
    for _ in range(FPS):
        mujoco.mj_step(model, data)
    force = {}
    for name in gripper.finger_bodies:
        body, total, wrench = model.body(name).id, np.zeros(3), np.zeros(6)
        for number, contact in enumerate(data.contact):
            if body in (model.geom_bodyid[contact.geom1], model.geom_bodyid[contact.geom2]):
                mujoco.mj_contactForce(model, data, number, wrench)
                total += wrench[0] * np.asarray(contact.frame[:3])
        force[name] = float(np.linalg.norm(total))
    # A linkage turns constant torque into a force that changes with the opening; its mean over the stroke is the grip force.
    assert list(force.values()) == pytest.approx([gripper.grip_force] * 2, rel=0.25)
    assert force[gripper.finger_bodies[0]] == pytest.approx(force[gripper.finger_bodies[1]], rel=1e-3)
    mujoco.mj_kinematics(model, data)
    assert width(gripper, data) == pytest.approx(thickness, abs=5e-4)
