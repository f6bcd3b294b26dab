"""MuJoCo in the place of PhysX: simulates what the USD files say, with the settings of the scene.

Joints come in another order than ours and each environment stands somewhere else, as in Isaac Lab, so that whoever mixes up joints or
frames fails.
"""

from copy import copy
from pathlib import Path

import mujoco
import numpy as np
import torch
from pxr import Usd, UsdPhysics, UsdShade

from graspgen_cli.geometry.poses import quaternion_wxyz, rotation_from_wxyz
from graspgen_cli.grippers.model import build_model
from graspgen_cli.grippers.read_usd import read_usd
from graspgen_cli.validate.scene import DEFAULT_CONTACT, turning_arm

started = False
worlds = []


class App:
    def close(self):
        pass


class World:
    def __init__(self, cfg):
        self.cfg = cfg
        self.effort = None
        self.wrench = {}
        self.changed = False

    def play(self, simulation):
        cfg = self.cfg
        self.device, self.step_length = simulation.device, simulation.dt
        self.origins = np.array([[i * cfg.env_spacing, -2.0 * i * cfg.env_spacing, 0.0] for i in range(cfg.num_envs)])
        self.model = scene(cfg, simulation)
        self.models = [copy(self.model) for _ in range(cfg.num_envs)]
        self.data = [mujoco.MjData(model) for model in self.models]
        joints = [self.model.joint(j) for j in range(self.model.njnt) if self.model.joint(j).name != "free"]
        self.found = joints[::-1]
        self.joint_names = [joint.name for joint in self.found]
        self.free = int(self.model.joint("free").qposadr[0])
        self.target = int(self.model.body("target").id)
        self.gripper_bodies = [body for body in range(self.model.nbody - 1, 0, -1) if body != self.target]
        # Whatever touches rubs with the mean of two coefficients, of which each body has its own.
        self.friction = np.tile(self.model.geom_friction[self._shapes([self.target])[0], 0], (cfg.num_envs, self.model.ngeom))
        self._look()

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

    def sent_whole(self, values):
        return torch.tensor(values, torch.int32, self.device)

    def link_poses(self, bodies):
        return self._poses(bodies, "xpos", "xquat")

    def center_poses(self, bodies):
        """Turned as the frame of the body here; as its principal axes in PhysX. Nothing asks how."""
        return self._poses(bodies, "xipos", "xquat")

    def _poses(self, bodies, place, turn):
        places = np.array([getattr(data, place)[bodies] for data in self.data]) + self.origins[:, None]
        return self.sent(np.concatenate([places, [getattr(data, turn)[bodies] for data in self.data]], axis=2))

    def center_velocities(self, bodies):
        moving = np.zeros((len(self.data), len(bodies), 6))
        for i, data in enumerate(self.data):
            for k, body in enumerate(bodies):
                mujoco.mj_objectVelocity(self.models[i], data, mujoco.mjtObj.mjOBJ_BODY, body, moving[i, k], 0)
        return self.sent(np.roll(moving, 3, axis=2))

    def set_object_pose(self, tensor):
        assert not self.changed, "the next step would put the object back: it brings what was changed of its mass, and its old place"
        poses = self.fetched(tensor)
        poses[:, :3] -= self.origins
        for data, row in zip(self.data, poses, strict=True):
            data.qpos[self.free : self.free + 7] = row

    def set_object_velocity(self, tensor):
        for data, row in zip(self.data, self.fetched(tensor), strict=True):
            data.qvel[self.model.joint("free").dofadr[0] :][:6] = row

    def set_wrench(self, bodies, forces, torques):
        both = np.concatenate([self.fetched(forces), self.fetched(torques)], axis=2)
        assert both.shape == (len(self.data), len(bodies), 6)
        self.wrench[tuple(bodies)] = both

    def write(self):
        """A force holds for one step only."""
        for i, data in enumerate(self.data):
            if self.effort is not None:
                data.qfrc_applied[self.addresses("qvel")] = self.effort[i]
            data.xfrc_applied[:] = 0.0
            for bodies, wrench in self.wrench.items():
                data.xfrc_applied[list(bodies)] = wrench[i]
        self.wrench = {}

    def step(self):
        for model, data in zip(self.models, self.data, strict=True):
            mujoco.mj_step(model, data)
        self.changed = False
        self._look()

    def _look(self):
        """Where everything is now; contacts stay those with which the last step began."""
        for model, data in zip(self.models, self.data, strict=True):
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_comVel(model, data)

    def masses(self, bodies):
        return np.array([model.body_mass[bodies] for model in self.models])

    def inertias(self, bodies):
        axes = rotation_from_wxyz(np.concatenate([model.body_iquat[bodies] for model in self.models]))
        moments = np.concatenate([model.body_inertia[bodies] for model in self.models])
        return np.einsum("nij,nj,nkj->nik", axes, moments, axes).reshape(len(self.models), len(bodies), 9)

    def centers(self, body):
        return np.array([[*model.body_ipos[body], *np.roll(model.body_iquat[body], -1)] for model in self.models])

    def materials(self, bodies):
        """Static and dynamic friction, and restitution."""
        friction = self.friction[:, self._shapes(bodies)]
        return np.stack([friction, friction, np.zeros_like(friction)], axis=2)

    def set_materials(self, bodies, materials):
        assert (materials[..., 0] == materials[..., 1]).all() and not materials[..., 2].any()
        self.friction[:, self._shapes(bodies)] = materials[..., 0]
        ours, theirs = self._shapes([self.target]), self._shapes(self.gripper_bodies)
        usual = self.model.geom_friction[ours]
        for model, friction in zip(self.models, self.friction, strict=True):
            both = (friction[ours] + friction[theirs].mean()) / 2
            model.geom_friction[ours] = usual * (both / usual[:, 0])[:, None]

    def _shapes(self, bodies):
        return np.flatnonzero(np.isin(self.model.geom_bodyid, bodies))

    def set_masses(self, body, masses):
        for model, mass in zip(self.models, masses, strict=True):
            model.body_mass[body] = mass
        self._changed()

    def set_centers(self, body, centers):
        for model, row in zip(self.models, centers, strict=True):
            model.body_ipos[body], model.body_iquat[body] = row[:3], np.roll(row[3:], 1)
        self._changed()

    def set_inertias(self, body, inertias):
        for model, inertia in zip(self.models, inertias, strict=True):
            moments, axes = np.linalg.eigh(inertia)
            axes[:, 2] *= np.sign(np.linalg.det(axes))
            model.body_inertia[body], model.body_iquat[body] = moments, quaternion_wxyz(axes[None])[0]
        self._changed()

    def _changed(self):
        self.changed = True
        for model in self.models:
            mujoco.mj_setConst(model, mujoco.MjData(model))

    def separations(self, data, name):
        """m, of the contacts between the object and a body of the gripper."""
        body = self.model.body(name).id
        pairs = [(set(self.model.geom_bodyid[contact.geom].tolist()), contact.dist) for contact in data.contact[: data.ncon]]
        return [distance for both, distance in pairs if both == {body, self.target}]

    def contact_force(self, finger):
        at = int(self.model.sensor(finger).adr[0])
        return self.sent([data.sensordata[at : at + 3].reshape(1, 1, 3) for data in self.data])


def scene(cfg, simulation):
    fingers = {name: getattr(cfg, name).prim_path.rpartition("/")[2] for name in ("finger_0", "finger_1")}
    built = build_model(read_usd(Path(cfg.gripper.spawn.usd_path)), base_body="body_1", keep=list(fingers.values()))
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
    # What the engine assumes of a body whose centre of mass is its origin would not hold once that is varied.
    body.simple = 0
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
