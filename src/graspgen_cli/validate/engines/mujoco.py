"""Many simulations of one scene, each with physics of its own.

Trials on the CPU with `mujoco.batch`: many simulations of one model, bit-identical at any thread count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco import batch
from numpy.typing import NDArray

from graspgen_cli.geometry.poses import inverse
from graspgen_cli.records import Floats, GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import Variation, in_order, join_states
from graspgen_cli.validate.progress import Observation, Progress, bounds
from graspgen_cli.validate.protocols import STILL, Stage, motion_table, stages
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


def vary(simulations: batch.Batch, scene: Scene, variation: Variation) -> None:
    """Gives each simulation of the scene its friction, mass and centre of mass, and what the engine derives from them."""
    body, model = scene.object_body, scene.model
    pieces = model.body_geomadr[body] + np.arange(model.body_geomnum[body])
    simulations.expand("geom_friction")[:, pieces] *= variation.friction[:, None, None]
    simulations.expand("body_mass")[:, body] *= variation.mass
    simulations.expand("body_inertia")[:, body] *= variation.mass[:, None]
    simulations.expand("body_ipos")[:, body] += variation.center_offset @ scene.pose_object_in_body[:3, :3].T
    simulations.set_const()


def varied_fields(scene: Scene, variation: Variation, names: tuple[str, ...]) -> dict[str, Floats]:
    """(trials, ...) values of those fields of the scene's model, among `names`, in which the trials differ."""
    simulations = batch.Batch(scene.model, len(variation.mass), nthread=1)
    vary(simulations, scene, variation)
    found = {name: simulations.expanded(name) for name in names}
    return {name: np.array(values) for name, values in found.items() if values is not None}


Bools = NDArray[np.bool_]
Observer = Callable[[Scene, batch.Batch, NDArray[np.intp]], None]
"""Looks after every step at the scene, its simulations and the number of the stage (N,) that each is in."""

_OF_BODIES = ("xipos", "ximat", "cvel", "subtree_com")
"""What is asked of the engine about all bodies: where they are and how they move, as the last step began."""


@dataclass(frozen=True, eq=False)
class _Trials:
    """Simulations of one scene. motion, first_row: as `motion_table` returns them."""

    scene: Scene
    gripper: Gripper
    simulations: batch.Batch
    plan: tuple[Stage, ...]
    motion: Floats
    first_row: NDArray[np.intp]


class MujocoBackend:
    """The reference backend. observer: called after every step. contact: other than the default only to study what it changes."""

    def __init__(self, *, threads: int, observer: Observer | None = None, contact: ContactModel = DEFAULT_CONTACT) -> None:
        self._threads, self._contact = threads, contact
        self._observer = observer

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """See `Backend.run`."""
        scene = build_scene(gripper, target, settings, self._contact)
        chunk = settings.max_num_envs or max(len(grasps), 1)
        parts = [slice(i, i + chunk) for i in range(0, len(grasps), chunk)]
        states = [self._run_chunk(scene, gripper, target, grasps[i], settings, variation and variation[i]) for i in parts]
        return join_states(states, len(gripper.joint_names))

    def _run_chunk(
        self,
        scene: Scene,
        gripper: Gripper,
        target: TargetObject,
        grasps: GraspBatch,
        settings: SimulationSettings,
        variation: Variation | None,
    ) -> TrialState:
        count = len(grasps)
        trials = _start(scene, gripper, grasps, settings, variation, threads=min(self._threads, count))
        pull = np.ones(count) if variation is None else variation.pull
        inside = started_inside(scene, gripper, target, grasps)
        progress = Progress(gripper, trials.plan, settings, count)
        progress.begin(np.arange(count), inverse(grasps.pose_gripper_in_object), [bounds(gripper, target)] * count)
        slots, states = [], []
        while progress.running.any():
            made = _advance(trials, progress, self._observer)
            seen = _observe(trials)
            ended, entered = progress.look(seen, made)
            slots.append(ended)
            states.append(progress.state(ended, seen, inside))
            for stage in np.unique(progress.stage[entered]):
                of_stage, wrench = entered[progress.stage[entered] == stage], trials.simulations.bind("xfrc_applied")
                wrench[of_stage] = 0.0
                wrench[of_stage, scene.object_body, :3] = np.outer(pull[of_stage], trials.plan[stage].force_in_base)
        return in_order(join_states(states, len(gripper.joint_names)), np.concatenate(slots))


def _start(
    scene: Scene, gripper: Gripper, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None, *, threads: int
) -> _Trials:
    """Gripper at the grasps' openings, object at their poses, the grip's force on."""
    simulations = batch.Batch(scene.model, len(grasps), nthread=threads)
    grip = np.ones(len(grasps)) if variation is None else variation.grip_force
    if variation is not None and not variation.is_of_tugs_alone:
        vary(simulations, scene, variation)
    simulations.bind("qpos")[:] = start_position(scene, gripper, grasps)
    simulations.bind("qfrc_applied")[:] = np.outer(grip, scene.effort)
    plan = stages(gripper, settings, scene.mass)
    motion, first_row = motion_table(plan)
    for name in ("sensordata", *(_OF_BODIES if first_row.any() else ())):
        simulations.bind(name)
    return _Trials(scene, gripper, simulations, plan, motion, first_row)


def _advance(trials: _Trials, progress: Progress, observer: Observer | None) -> NDArray[np.intp]:
    """Steps the running trials to their next look. (N,) steps made."""
    made = np.where(progress.running, np.minimum(progress.interval, progress.left), 0)
    row = _motion_row(trials, progress)
    for steps, shaken in sorted({(int(made[i]), bool(row[i] != STILL)) for i in np.flatnonzero(progress.running)}):
        ids = np.flatnonzero((made == steps) & ((row != STILL) == shaken))
        if observer is None and not shaken:
            trials.simulations.step(ids, nstep=steps)
            continue
        # One at a time, which gives the same states.
        for step in range(steps):
            if shaken:
                _apply_motion(trials, ids, trials.motion[row[ids] + step])
            trials.simulations.step(ids, nstep=1)
            if observer is not None:
                observer(trials.scene, trials.simulations, progress.stage)
    return made


def _motion_row(trials: _Trials, progress: Progress) -> NDArray[np.intp]:
    """(N,) row of the motion for each trial's next step."""
    first = trials.first_row[progress.stage]
    done = np.array([stage.steps for stage in trials.plan])[progress.stage] - progress.left
    return np.where(first == STILL, STILL, first + done)


def _apply_motion(trials: _Trials, ids: NDArray[np.intp], motion: Floats) -> None:
    """Puts on all bodies of the simulations `ids` what the gripper's motion (len(ids), 9) does to them."""
    model = trials.scene.model
    position, axes, moving, origin = (np.asarray(trials.simulations.bind(name)[ids]) for name in _OF_BODIES)
    spin = moving[:, :, :3]
    # The engine gives each body's velocity at the centre of mass of the whole tree that it belongs to.
    velocity = moving[:, :, 3:] + np.cross(spin, position - origin[:, model.body_rootid])
    # Trials may have masses of their own.
    mass, inertia = (
        np.broadcast_to(getattr(model, name), (len(ids), *getattr(model, name).shape)) if own is None else own[ids]
        for name, own in ((name, trials.simulations.expanded(name)) for name in ("body_mass", "body_inertia"))
    )
    bodies = Bodies(mass, inertia, position, axes.reshape(*position.shape, 3), velocity, spin)
    trials.simulations.bind("xfrc_applied")[ids] = inertial_wrench(motion, bodies)


def _observe(trials: _Trials) -> Observation:
    scene, qpos = trials.scene, np.array(trials.simulations.bind("qpos"))
    sensordata = trials.simulations.bind("sensordata")
    touching, force = contacts(scene, sensordata)
    pose = object_pose(scene, qpos, scene.pose_object_in_body)
    return Observation(pose, force, touching, qpos[:, scene.joint_qpos], _finite(trials), overlap(scene, sensordata))


def _finite(trials: _Trials) -> Bools:
    """(N,) states that are finite and about which the engine never warned of a bad position, velocity or acceleration."""
    bad = [mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC]
    warned = (trials.simulations.warning[:, [int(w) for w in bad], 1] > 0).any(axis=1)
    return np.isfinite(trials.simulations.bind("qpos")).all(axis=1) & ~warned
