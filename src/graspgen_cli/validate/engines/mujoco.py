"""The reference engine: trials on the CPU with `mujoco.batch`, which steps many simulations of one model and gives the same bits with any
number of threads."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
from mujoco import batch
from numpy.typing import NDArray

from graspgen_cli.records import Floats, GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import Variation, join_states
from graspgen_cli.validate.progress import Observation, Progress, bounds, run_to_end
from graspgen_cli.validate.protocols import STILL, Stage, stages
from graspgen_cli.validate.scene import (
    DEFAULT_CONTACT,
    ContactModel,
    Scene,
    build_scene,
    contacts,
    object_pose,
    overlap,
    start_position,
    started_inside,
)
from graspgen_cli.validate.shaking import Bodies, inertial_wrench

Indices = NDArray[np.intp]
Observer = Callable[[Scene, batch.Batch, Indices], None]
"""Called after every step with the scene, its simulations and the number of each trial's stage (N,)."""

_BODY_STATE = ("xipos", "ximat", "cvel", "subtree_com")
"""Positions and velocities of all bodies at the start of the last step, as MuJoCo names them."""


def vary(simulations: batch.Batch, scene: Scene, variation: Variation) -> None:
    """Gives each simulation of the scene the friction, mass and centre of mass of its variation, and what MuJoCo derives from them."""
    body, model = scene.object_body, scene.model
    pieces = model.body_geomadr[body] + np.arange(model.body_geomnum[body])
    simulations.expand("geom_friction")[:, pieces] *= variation.friction[:, None, None]
    simulations.expand("body_mass")[:, body] *= variation.mass
    simulations.expand("body_inertia")[:, body] *= variation.mass[:, None]
    simulations.expand("body_ipos")[:, body] += variation.center_offset @ scene.pose_object_in_body[:3, :3].T
    simulations.set_const()


def varied_fields(scene: Scene, variation: Variation, names: tuple[str, ...]) -> dict[str, Floats]:
    """(trials, ...) values of the fields of the scene's model, among `names`, in which the trials differ."""
    simulations = batch.Batch(scene.model, len(variation.mass), nthread=1)
    vary(simulations, scene, variation)
    found = {name: simulations.expanded(name) for name in names}
    return {name: np.array(values) for name, values in found.items() if values is not None}


class MujocoBackend:
    """The engine. observer: called after every step. contact: other than the default only to study its effect."""

    def __init__(self, *, threads: int, observer: Observer | None = None, contact: ContactModel = DEFAULT_CONTACT) -> None:
        self._threads, self._observer, self._contact = threads, observer, contact

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """See `Backend.run`."""
        scene = build_scene(gripper, target, settings, self._contact)
        inside, extent, plan = (
            started_inside(scene, gripper, target, grasps),
            bounds(gripper, target),
            stages(gripper, settings, scene.mass),
        )
        variation = variation or Variation.of_tugs(np.ones(len(grasps)))
        at_once, states = settings.max_num_envs or max(len(grasps), 1), []
        for part in (slice(first, first + at_once) for first in range(0, len(grasps), at_once)):
            progress = Progress(gripper, plan, settings, len(grasps[part]))
            trials = _Trials(scene, gripper, grasps[part], plan, variation[part], threads=self._threads, observer=self._observer)
            states.append(run_to_end(progress, grasps[part], extent, inside[part], advance=trials.advance, observe=trials.observe))
        return join_states(states, len(gripper.joint_names))


class _Trials:
    """Simulations of N trials of one scene."""

    def __init__(
        self,
        scene: Scene,
        gripper: Gripper,
        grasps: GraspBatch,
        plan: tuple[Stage, ...],
        variation: Variation,
        *,
        threads: int,
        observer: Observer | None,
    ) -> None:
        """The gripper at the grasps' openings, the object at their poses, the grip's force on. plan: the stages to come."""
        self._scene, self._pull, self._observer = scene, variation.pull, observer
        self._simulations = simulations = batch.Batch(scene.model, len(grasps), nthread=min(threads, len(grasps)))
        if not variation.is_of_tugs_alone:
            vary(simulations, scene, variation)
        simulations.bind("qpos")[:] = start_position(scene, gripper, grasps)
        simulations.bind("qfrc_applied")[:] = np.outer(variation.grip_force, scene.effort)
        for name in ("sensordata", *(_BODY_STATE if any(stage.base_motion is not None for stage in plan) else ())):
            simulations.bind(name)

    def advance(self, progress: Progress) -> Indices:
        """Steps the running trials to their next look, under the forces of their stages. (N,) steps made."""
        wrench = self._simulations.bind("xfrc_applied")
        wrench[:] = 0.0
        wrench[:, self._scene.object_body, :3] = self._pull[:, None] * progress.force_in_base
        made = np.where(progress.running, np.minimum(progress.interval, progress.left), 0)
        row = progress.motion_row()
        moves = row != STILL
        for steps, moving in sorted({(int(made[i]), bool(moves[i])) for i in np.flatnonzero(progress.running)}):
            ids = np.flatnonzero((made == steps) & (moves == moving))
            if self._observer is None and not moving:
                self._simulations.step(ids, nstep=steps)
                continue
            # One step at a time gives the same states.
            for step in range(steps):
                if moving:
                    self._apply_motion(ids, progress.motion[row[ids] + step])
                self._simulations.step(ids, nstep=1)
                if self._observer is not None:
                    self._observer(self._scene, self._simulations, progress.stage)
        return made

    def observe(self) -> Observation:
        """The trials as they are now. A simulation is valid if its state is finite and MuJoCo never warned of a bad position, velocity or
        acceleration."""
        scene, qpos, sensordata = self._scene, np.array(self._simulations.bind("qpos")), self._simulations.bind("sensordata")
        touching, force = contacts(scene, sensordata)
        pose = object_pose(scene, qpos, scene.pose_object_in_body)
        bad = [mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC]
        warned = (self._simulations.warning[:, [int(w) for w in bad], 1] > 0).any(axis=1)
        valid = np.isfinite(qpos).all(axis=1) & ~warned
        return Observation(pose, force, touching, qpos[:, scene.joint_qpos], valid, overlap(scene, sensordata))

    def _apply_motion(self, ids: Indices, motion: Floats) -> None:
        """Applies to all bodies of the simulations `ids` the inertial forces of the base's motion (len(ids), 9)."""
        model, simulations = self._scene.model, self._simulations
        position, axes, moving, origin = (np.asarray(simulations.bind(name)[ids]) for name in _BODY_STATE)
        spin = moving[:, :, :3]
        # MuJoCo gives each body's velocity at the centre of mass of the body's whole tree.
        velocity = moving[:, :, 3:] + np.cross(spin, position - origin[:, model.body_rootid])
        # Varied trials have masses of their own.
        mass, inertia = (
            np.broadcast_to(getattr(model, name), (len(ids), *getattr(model, name).shape)) if own is None else own[ids]
            for name, own in ((name, simulations.expanded(name)) for name in ("body_mass", "body_inertia"))
        )
        bodies = Bodies(mass, inertia, position, axes.reshape(*position.shape, 3), velocity, spin)
        simulations.bind("xfrc_applied")[ids] = inertial_wrench(motion, bodies)
