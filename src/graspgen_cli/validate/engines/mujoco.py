"""The reference engine: trials on the CPU with `mujoco.batch`, which steps many simulations of one model and gives the same bits with any
number of threads."""

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


@dataclass(frozen=True, eq=False)
class _Trials:
    """N trials of one scene. pull: (N,) factors on the forces of the stages. motion, first_row: as `motion_table` returns them."""

    scene: Scene
    simulations: batch.Batch
    progress: Progress
    plan: tuple[Stage, ...]
    pull: Floats
    motion: Floats
    first_row: Indices


class MujocoBackend:
    """The engine. observer: called after every step. contact: other than the default only to study its effect."""

    def __init__(self, *, threads: int, observer: Observer | None = None, contact: ContactModel = DEFAULT_CONTACT) -> None:
        self._threads, self._observer, self._contact = threads, observer, contact

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """See `Backend.run`."""
        scene = build_scene(gripper, target, settings, self._contact)
        inside = started_inside(scene, gripper, target, grasps)
        variation = variation or Variation.of_tugs(np.ones(len(grasps)))
        at_once, states = settings.max_num_envs or max(len(grasps), 1), []
        for first in range(0, len(grasps), at_once):
            part = slice(first, first + at_once)
            trials = _start(scene, gripper, grasps[part], settings, variation[part], threads=self._threads)
            count = len(trials.pull)
            trials.progress.begin(np.arange(count), inverse(grasps[part].pose_gripper_in_object), [bounds(gripper, target)] * count)
            states.append(self._run_to_end(trials, inside[part]))
        return join_states(states, len(gripper.joint_names))

    def _run_to_end(self, trials: _Trials, inside: NDArray[np.bool_]) -> TrialState:
        slots, states = [], []
        while trials.progress.running.any():
            made = _advance(trials, self._observer)
            seen = _observe(trials)
            ended, entered = trials.progress.look(seen, made)
            slots.append(ended)
            states.append(trials.progress.state(ended, seen, inside))
            _pull(trials, entered)
        return in_order(join_states(states, 0), np.concatenate(slots))


def _start(
    scene: Scene, gripper: Gripper, grasps: GraspBatch, settings: SimulationSettings, variation: Variation, *, threads: int
) -> _Trials:
    """The gripper at the grasps' openings, the object at their poses, the grip's force on."""
    simulations = batch.Batch(scene.model, len(grasps), nthread=min(threads, len(grasps)))
    if not variation.is_of_tugs_alone:
        vary(simulations, scene, variation)
    simulations.bind("qpos")[:] = start_position(scene, gripper, grasps)
    simulations.bind("qfrc_applied")[:] = np.outer(variation.grip_force, scene.effort)
    plan = stages(gripper, settings, scene.mass)
    motion, first_row = motion_table(plan)
    for name in ("sensordata", *(_BODY_STATE if first_row.any() else ())):
        simulations.bind(name)
    progress = Progress(gripper, plan, settings, len(grasps))
    return _Trials(scene, simulations, progress, plan, variation.pull, motion, first_row)


def _advance(trials: _Trials, observer: Observer | None) -> Indices:
    """Steps the running trials to their next look. (N,) steps made."""
    progress = trials.progress
    made = np.where(progress.running, np.minimum(progress.interval, progress.left), 0)
    row = _motion_row(trials)
    moves = row != STILL
    for steps, moving in sorted({(int(made[i]), bool(moves[i])) for i in np.flatnonzero(progress.running)}):
        ids = np.flatnonzero((made == steps) & (moves == moving))
        if observer is None and not moving:
            trials.simulations.step(ids, nstep=steps)
            continue
        # One step at a time gives the same states.
        for step in range(steps):
            if moving:
                _apply_motion(trials, ids, trials.motion[row[ids] + step])
            trials.simulations.step(ids, nstep=1)
            if observer is not None:
                observer(trials.scene, trials.simulations, progress.stage)
    return made


def _motion_row(trials: _Trials) -> Indices:
    """(N,) row of the table of motion for each trial's next step."""
    stage = trials.progress.stage
    first = trials.first_row[stage]
    done = np.array([each.steps for each in trials.plan])[stage] - trials.progress.left
    return np.where(first == STILL, STILL, first + done)


def _apply_motion(trials: _Trials, ids: Indices, motion: Floats) -> None:
    """Applies to all bodies of the simulations `ids` the inertial forces of the base's motion (len(ids), 9)."""
    model = trials.scene.model
    position, axes, moving, origin = (np.asarray(trials.simulations.bind(name)[ids]) for name in _BODY_STATE)
    spin = moving[:, :, :3]
    # MuJoCo gives each body's velocity at the centre of mass of the body's whole tree.
    velocity = moving[:, :, 3:] + np.cross(spin, position - origin[:, model.body_rootid])
    # Varied trials have masses of their own.
    mass, inertia = (
        np.broadcast_to(getattr(model, name), (len(ids), *getattr(model, name).shape)) if own is None else own[ids]
        for name, own in ((name, trials.simulations.expanded(name)) for name in ("body_mass", "body_inertia"))
    )
    bodies = Bodies(mass, inertia, position, axes.reshape(*position.shape, 3), velocity, spin)
    trials.simulations.bind("xfrc_applied")[ids] = inertial_wrench(motion, bodies)


def _pull(trials: _Trials, entered: Indices) -> None:
    """Applies to the objects of trials that `entered` a stage the stage's force, and nothing to other bodies."""
    stage, wrench = trials.progress.stage[entered], trials.simulations.bind("xfrc_applied")
    force = trials.pull[entered, None] * np.array([each.force_in_base for each in trials.plan])[stage]
    wrench[entered] = 0.0
    wrench[entered, trials.scene.object_body, :3] = force


def _observe(trials: _Trials) -> Observation:
    scene, qpos = trials.scene, np.array(trials.simulations.bind("qpos"))
    sensordata = trials.simulations.bind("sensordata")
    touching, force = contacts(scene, sensordata)
    pose = object_pose(scene, qpos, scene.pose_object_in_body)
    return Observation(pose, force, touching, qpos[:, scene.joint_qpos], _is_valid(trials), overlap(scene, sensordata))


def _is_valid(trials: _Trials) -> NDArray[np.bool_]:
    """(N,) simulations whose state is finite and about which MuJoCo never warned of a bad position, velocity or acceleration."""
    bad = [mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC]
    warned = (trials.simulations.warning[:, [int(w) for w in bad], 1] > 0).any(axis=1)
    return np.isfinite(trials.simulations.bind("qpos")).all(axis=1) & ~warned
