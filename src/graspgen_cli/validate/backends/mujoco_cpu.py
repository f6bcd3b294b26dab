"""Trials on the CPU with `mujoco.batch`: many simulations of one model, bit-identical at any thread count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco import batch
from numpy.typing import NDArray

from graspgen_cli.geometry.poses import inverse, pose, quaternion_wxyz, rotation_angle, rotation_from_wxyz, stable
from graspgen_cli.records import Floats, GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.settings.models import SimulationSettings
from graspgen_cli.validate.protocol import check_steps, stages
from graspgen_cli.validate.scene import Scene, build_scene

Bools = NDArray[np.bool_]
Observer = Callable[[Scene, batch.Batch], None]
"""Looks at the scene and its simulations after every step."""


@dataclass
class _Trials:
    """Trials in flight, and what was noted on the way."""

    scene: Scene
    gripper: Gripper
    simulations: batch.Batch
    reach: float
    alive: Bools
    steps: NDArray[np.int32]
    pose_when_closed: Floats


class MujocoBackend:
    """The reference backend."""

    def __init__(self, *, threads: int, observer: Observer | None = None) -> None:
        self._threads = threads
        self._observer = observer

    def run(self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings) -> TrialState:
        """See `Backend.run`."""
        scene = build_scene(gripper, target, settings)
        chunk = settings.max_num_envs or max(len(grasps), 1)
        states = [self._run_chunk(scene, gripper, target, grasps[i : i + chunk], settings) for i in range(0, len(grasps), chunk)]
        return join_states(states, len(gripper.joint_names))

    def _run_chunk(
        self, scene: Scene, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings
    ) -> TrialState:
        trials = _start(scene, gripper, target, grasps, threads=min(self._threads, len(grasps)))
        started_inside = _started_inside(trials, target)
        for number, stage in enumerate(stages(gripper, settings, scene.mass)):
            if stage.force_in_base is not None:
                trials.simulations.bind("xfrc_applied")[:, scene.object_body, :3] = stage.force_in_base
            _advance(trials, stage.steps, check_steps(settings), self._observer)
            if number == 0:
                trials.pose_when_closed = _object_pose(trials)
        return _end_state(trials, started_inside)


def _start(scene: Scene, gripper: Gripper, target: TargetObject, grasps: GraspBatch, *, threads: int) -> _Trials:
    """Gripper at the grasps' openings, object at their poses, the grip's force on."""
    count = len(grasps)
    simulations = batch.Batch(scene.model, count, nthread=threads)
    pose_object_in_gripper = inverse(grasps.pose_gripper_in_object)
    qpos = simulations.bind("qpos")
    qpos[:, scene.joint_qpos] = stable(gripper.joint_position[gripper.nearest_opening(grasps.opening_width)])
    at = scene.object_qpos
    qpos[:, at : at + 3] = stable(pose_object_in_gripper[:, :3, 3])
    qpos[:, at + 3 : at + 7] = stable(quaternion_wxyz(pose_object_in_gripper[:, :3, :3]))
    simulations.bind("qfrc_applied")[:] = scene.effort
    simulations.bind("sensordata")
    # An object that is farther away than both could ever reach is lost.
    far = np.abs(gripper.pose_body_in_base[..., :3, 3]).max() + gripper.depth + gripper.width
    size = float(np.linalg.norm(target.mesh.vertices - target.center_of_mass, axis=1).max())
    return _Trials(scene, gripper, simulations, far + size, np.ones(count, bool), np.zeros(count, np.int32), pose_object_in_gripper)


def _started_inside(trials: _Trials, target: TargetObject) -> Bools:
    """(N,): contacts at the start deeper than the pieces stand off the mesh."""
    allowed = -(target.largest_gap + 1e-3)
    deepest = np.zeros(len(trials.alive))
    trials.simulations.forward(stage=mujoco.mjtStage.mjSTAGE_POS.value)
    counts = trials.simulations.bind("ncon")
    trials.simulations.forward(stage=mujoco.mjtStage.mjSTAGE_POS.value)
    for i in np.flatnonzero(counts):
        data = trials.simulations.get_data(int(i))
        mujoco.mj_fwdPosition(trials.scene.model, data)
        deepest[i] = min(contact.dist for contact in data.contact[: data.ncon])
    return deepest < allowed


def _advance(trials: _Trials, steps: int, interval: int, observer: Observer | None) -> None:
    """Steps the trials that are alive, looking for lost objects every `interval` steps."""
    while steps > 0 and trials.alive.any():
        now = min(interval, steps)
        ids = np.flatnonzero(trials.alive)
        _step(trials, ids, now, observer)
        trials.steps[ids] += now
        steps -= now
        trials.alive &= ~_lost(trials) & _finite(trials)


def _step(trials: _Trials, ids: NDArray[np.intp], steps: int, observer: Observer | None) -> None:
    """Makes the steps; one at a time, which gives the same states, where somebody looks."""
    if observer is None:
        trials.simulations.step(ids, nstep=steps)
        return
    for _ in range(steps):
        trials.simulations.step(ids, nstep=1)
        observer(trials.scene, trials.simulations)


def _touching(trials: _Trials) -> Bools:
    """(N, 2) whether each finger is in contact with the object."""
    sensors = trials.simulations.bind("sensordata")
    return np.stack([sensors[:, at] > 0 for at in trials.scene.contact_sensor], axis=1)


def _lost(trials: _Trials) -> Bools:
    """(N,) objects that nothing can hold any more: no finger touches them, and the gripper has closed or they are out of reach."""
    scene, qpos = trials.scene, trials.simulations.bind("qpos")
    at = scene.object_qpos
    away = np.linalg.norm(qpos[:, at : at + 3], axis=1) > trials.reach
    driven = trials.gripper.joint_effort != 0
    joints = qpos[:, scene.joint_qpos[driven]]
    closed, opened = trials.gripper.joint_position[0, driven], trials.gripper.joint_position[-1, driven]
    has_closed = (np.abs(joints - closed) < 0.01 * np.abs(opened - closed)).all(axis=1)
    return ~_touching(trials).any(axis=1) & (away | has_closed)


def _finite(trials: _Trials) -> Bools:
    """(N,) states that are finite and about which the engine never warned of a bad position, velocity or acceleration."""
    bad = [mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC]
    warned = (trials.simulations.warning[:, [int(w) for w in bad], 1] > 0).any(axis=1)
    return np.isfinite(trials.simulations.bind("qpos")).all(axis=1) & ~warned


def _object_pose(trials: _Trials) -> Floats:
    """(N, 4, 4) object in the gripper's base."""
    qpos, at = trials.simulations.bind("qpos"), trials.scene.object_qpos
    quaternion = np.where(np.isfinite(qpos[:, at + 3 : at + 7]), qpos[:, at + 3 : at + 7], 1.0)
    return pose(rotation_from_wxyz(quaternion), qpos[:, at : at + 3])


def _end_state(trials: _Trials, started_inside: Bools) -> TrialState:
    finite = _finite(trials)
    ended = _object_pose(trials)
    sensors = trials.simulations.bind("sensordata")
    force = np.stack([np.linalg.norm(sensors[:, at + 1 : at + 4], axis=1) for at in trials.scene.contact_sensor], axis=1)
    force[~trials.alive] = 0.0
    slip = relative_motion(trials.pose_when_closed, ended)
    slip[~trials.alive] = np.nan
    return TrialState(
        pose_object_in_gripper=ended,
        finger_contact_force=force,
        joint_position=trials.simulations.bind("qpos")[:, trials.scene.joint_qpos].copy(),
        finite=finite,
        slip=slip,
        started_inside=started_inside,
        steps=trials.steps,
    )


def relative_motion(before: Floats, after: Floats) -> Floats:
    """(N, 2): distance (m) between the origins and angle (rad) between poses (N, 4, 4)."""
    distance = np.linalg.norm(after[:, :3, 3] - before[:, :3, 3], axis=1)
    return np.stack([distance, rotation_angle(np.swapaxes(before[:, :3, :3], 1, 2) @ after[:, :3, :3])], axis=1)


def join_states(states: list[TrialState], joints: int) -> TrialState:
    """The states of consecutive chunks as one; of none, an empty state."""
    if not states:
        none = np.zeros(0)
        return TrialState(
            np.zeros((0, 4, 4)), np.zeros((0, 2)), np.zeros((0, joints)), none > 0, np.zeros((0, 2)), none > 0, none.astype(np.int32)
        )
    names = TrialState.__dataclass_fields__
    return TrialState(**{name: np.concatenate([getattr(s, name) for s in states]) for name in names})
