"""MuJoCo in the place of PhysX: simulates what the USD files say, with the settings of the scene.

Joints come in another order than ours and each environment stands somewhere else, as in Isaac Lab, so that whoever mixes up joints or
frames fails.
"""

from pathlib import Path

import mujoco
import numpy as np
import torch
from pxr import Usd, UsdPhysics, UsdShade

from graspgen_cli.grippers.model import build_model
from graspgen_cli.grippers.read_usd import draft_from_usd
from graspgen_cli.validate.contact import DEFAULT_CONTACT
from graspgen_cli.validate.scene import turning_arm

started = False
worlds = []


class App:
    def close(self):
        pass


class World:
    def __init__(self, cfg):
        self.cfg = cfg
        self.effort = self.force = None

    def play(self, simulation):
        cfg = self.cfg
        self.device, self.step_length = simulation.device, simulation.dt
        self.origins = np.array([[i * cfg.env_spacing, -2.0 * i * cfg.env_spacing, 0.0] for i in range(cfg.num_envs)])
        self.model = scene(cfg, simulation)
        self.data = [mujoco.MjData(self.model) for _ in range(cfg.num_envs)]
        joints = [self.model.joint(j) for j in range(self.model.njnt) if self.model.joint(j).name != "free"]
        self.found = joints[::-1]
        self.joint_names = [joint.name for joint in self.found]
        self.free = int(self.model.joint("free").qposadr[0])
        self.target = int(self.model.body("target").id)

    def fetched(self, tensor):
        assert tensor.device == self.device
        return tensor.cpu().numpy().astype(float)

    def sent(self, values):
        return torch.tensor(values, torch.float32, self.device)

    def addresses(self, field):
        return [int((joint.qposadr if field == "qpos" else joint.dofadr)[0]) for joint in self.found]

    def joints(self, field):
        return self.sent([getattr(data, field)[self.addresses(field)] for data in self.data])

    def set_joints(self, field, tensor):
        for data, row in zip(self.data, self.fetched(tensor), strict=True):
            getattr(data, field)[self.addresses(field)] = row

    def base_pose(self):
        return self.sent(np.hstack([self.origins, np.tile([1.0, 0.0, 0.0, 0.0], (len(self.data), 1))]))

    def object_pose(self):
        poses = np.array([data.qpos[self.free : self.free + 7] for data in self.data])
        poses[:, :3] += self.origins
        return self.sent(poses)

    def set_object_pose(self, tensor):
        poses = self.fetched(tensor)
        poses[:, :3] -= self.origins
        for data, row in zip(self.data, poses, strict=True):
            data.qpos[self.free : self.free + 7] = row

    def set_object_velocity(self, tensor):
        for data, row in zip(self.data, self.fetched(tensor), strict=True):
            data.qvel[self.model.joint("free").dofadr[0] :][:6] = row

    def write(self):
        """A force holds for one step only."""
        for i, data in enumerate(self.data):
            data.qfrc_applied[self.addresses("qvel")] = self.effort[i]
            data.xfrc_applied[self.target, :3] = 0.0 if self.force is None else self.force[i]
        self.force = None

    def step(self):
        for data in self.data:
            mujoco.mj_step(self.model, data)

    def contact_force(self, finger):
        at = int(self.model.sensor(finger).adr[0])
        return self.sent([data.sensordata[at : at + 3].reshape(1, 1, 3) for data in self.data])


def scene(cfg, simulation):
    fingers = {name: getattr(cfg, name).prim_path.rpartition("/")[2] for name in ("finger_0", "finger_1")}
    built = build_model(draft_from_usd(Path(cfg.gripper.spawn.usd_path)), base_body="body_1", keep=list(fingers.values()))
    spec = mujoco.MjSpec.from_string(built.mjcf, assets=built.assets)
    spec.option.timestep, spec.option.gravity = simulation.dt, simulation.gravity
    spec.option.integrator, spec.option.cone = mujoco.mjtIntegrator.mjINT_IMPLICITFAST, mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = DEFAULT_CONTACT.friction_stiffness
    for actuator in list(spec.actuators):
        spec.delete(actuator)
    drive = cfg.gripper.actuators["grip"]
    for joint in spec.joints:
        joint.damping = [drive.damping[joint.name], 0.0, 0.0]
        joint.armature = drive.armature[joint.name]
    for geom in spec.geoms:
        geom.contype, geom.conaffinity = 1, 2
    add_object(spec, Path(cfg.target.spawn.usd_path))
    for name, body in fingers.items():
        spec.add_sensor(
            name=name,
            type=mujoco.mjtSensor.mjSENS_CONTACT,
            objtype=mujoco.mjtObj.mjOBJ_BODY,
            objname=body,
            reftype=mujoco.mjtObj.mjOBJ_BODY,
            refname="target",
            intprm=[1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), 3, 1],
        )
    return spec.compile()


def add_object(spec, path):
    stage = Usd.Stage.Open(str(path))
    root = stage.GetDefaultPrim()
    mass = UsdPhysics.MassAPI(root)
    turn = mass.GetPrincipalAxesAttr().Get()
    body = spec.worldbody.add_body(
        name="target",
        explicitinertial=True,
        mass=mass.GetMassAttr().Get(),
        ipos=list(mass.GetCenterOfMassAttr().Get()),
        inertia=list(mass.GetDiagonalInertiaAttr().Get()),
        iquat=[turn.GetReal(), *turn.GetImaginary()],
    )
    body.add_freejoint(name="free")
    material, _ = UsdShade.MaterialBindingAPI(root).ComputeBoundMaterial("physics")
    friction = UsdPhysics.MaterialAPI(material).GetStaticFrictionAttr().Get()
    for prim in stage.Traverse():
        if prim.HasAPI(UsdPhysics.CollisionAPI):
            points = np.array(prim.GetAttribute("points").Get(), float)
            faces = np.array(prim.GetAttribute("faceVertexIndices").Get())
            patch = prim.GetAttribute("physxCollision:minTorsionalPatchRadius").Get()
            spec.add_mesh(name=prim.GetName(), uservert=points.ravel(), userface=faces)
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname=prim.GetName(),
                contype=2,
                conaffinity=1,
                condim=4 if patch else 3,
                friction=[friction, friction * turning_arm(patch), 0.0],
                priority=1,
                mass=0.0,
                solref=[DEFAULT_CONTACT.time_constant, DEFAULT_CONTACT.damping_ratio],
                solimp=list(DEFAULT_CONTACT.impedance),
            )
