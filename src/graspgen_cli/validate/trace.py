"""One trial of the reference engine, recorded step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np
from mujoco import batch
from numpy.typing import NDArray

from graspgen_cli.records import Floats, GraspBatch, Gripper, Outcome, TargetObject, TrialState
from graspgen_cli.settings.trials import JudgeSettings, SimulationSettings
from graspgen_cli.validate.engine import Variation
from graspgen_cli.validate.engines.mujoco import MujocoBackend
from graspgen_cli.validate.judge import BOTH_FINGERS, judge
from graspgen_cli.validate.progress import relative_motion
from graspgen_cli.validate.protocols import Stage, stages
from graspgen_cli.validate.scene import Scene, contacts, object_pose


@dataclass(frozen=True, eq=False)
class TrialTrace:
    """One trial, after each of its T steps. Poses are in the frame of the gripper's base."""

    scene: Scene
    stages: tuple[Stage, ...]
    """A finished stage has the number of its steps that were made, any other stage the number that was planned."""
    time: Floats
    """(T,) s since the gripper began to close."""
    position: Floats
    """(T, nq) generalized positions of the scene: m, rad and quaternions."""
    pose_object_in_gripper: Floats
    """(T, 4, 4)."""
    joint_position: Floats
    """(T, J) m or rad."""
    finger_contact_force: Floats
    """(T, 2) N: magnitude of the net contact force between each finger and the object."""
    state: TrialState
    """The end state of the trial."""
    outcome: Outcome

    @property
    def closed_at(self) -> float:
        """s: end of the first stage, in which the grip closes."""
        return self.stages[0].steps * float(self.scene.model.opt.timestep)

    @property
    def slip(self) -> Floats:
        """(T, 2): distance (m) that the object's centre of mass moved in the gripper since `closed_at`, and angle (rad) that the object
        turned; NaN before `closed_at`."""
        half_step = float(self.scene.model.opt.timestep) / 2
        start = np.searchsorted(self.time, self.closed_at - half_step)
        moved = np.full((len(self.time), 2), np.nan)
        if start < len(self.time):
            after = self.pose_object_in_gripper[start:]
            center = np.tile(self.scene.center_of_mass, (len(after), 1))
            moved[start:] = relative_motion(after[:1], after, center)
        return moved

    @property
    def pressed(self) -> NDArray[np.bool_]:
        """(T,) whether both fingers press on the object."""
        return np.asarray((self.finger_contact_force > 0).all(axis=1))

    @property
    def failed_at(self) -> float | None:
        """s: last time at which both fingers press on the object, 0 if they never did; for a trial that diverged its end. None if the
        object was held."""
        if self.outcome is Outcome.HELD:
            return None
        if self.outcome is Outcome.UNSTABLE:
            return float(self.time[-1])
        pressed = np.flatnonzero(self.pressed)
        return float(self.time[pressed[-1]]) if len(pressed) else 0.0


def touching_bodies(trace: TrialTrace) -> tuple[str, ...]:
    """The gripper's bodies that touch the object at the end of the trial, in the order of the model: fingers and other links."""
    model = trace.scene.model
    data = mujoco.MjData(model)
    data.qpos[:] = np.nan_to_num(trace.position[-1])
    mujoco.mj_fwdPosition(model, data)
    pairs = [model.geom_bodyid[contact.geom] for contact in data.contact[: data.ncon] if contact.dist <= 0]
    return tuple(str(model.body(body).name) for body in sorted({int(b) for pair in pairs for b in pair} - {trace.scene.object_body}))


def trace_trial(
    gripper: Gripper,
    target: TargetObject,
    grasp: GraspBatch,
    settings: SimulationSettings,
    *,
    criterion: JudgeSettings = BOTH_FINGERS,
    variation: Variation | None = None,
) -> TrialTrace:
    """Makes the trial of one grasp, a batch of one. End state and outcome equal those of the same grasp in any other batch."""
    steps: list[tuple[Scene, Floats, Floats, int]] = []

    def record(scene: Scene, simulations: batch.Batch, stage: NDArray[np.intp]) -> None:
        force = contacts(scene, simulations.bind("sensordata"))[1][0]
        steps.append((scene, simulations.bind("qpos")[0].copy(), force, int(stage[0])))

    state = MujocoBackend(threads=1, observer=record).run(gripper, target, grasp, settings, variation)
    scene = steps[0][0]
    position, stage_of_step = np.array([qpos for _, qpos, _, _ in steps]), [stage for *_, stage in steps]
    finished = stage_of_step[-1] + bool(judge(state)[0] == Outcome.HELD)
    return TrialTrace(
        scene=scene,
        stages=_as_they_went(stages(gripper, settings, scene.mass), stage_of_step, finished),
        time=np.arange(1.0, len(position) + 1) * float(scene.model.opt.timestep),
        position=position,
        pose_object_in_gripper=object_pose(scene, position, scene.pose_object_in_body),
        joint_position=position[:, scene.joint_qpos],
        finger_contact_force=np.array([force for _, _, force, _ in steps]),
        state=state,
        outcome=Outcome(int(judge(state, criterion)[0])),
    )


def _as_they_went(plan: tuple[Stage, ...], stage_of_step: Sequence[int], finished: int) -> tuple[Stage, ...]:
    """The stages, the first `finished` of them with the steps that were made: a stage may end early."""
    made = np.bincount(stage_of_step, minlength=len(plan))
    return tuple(replace(stage, steps=int(made[k])) if k < finished else stage for k, stage in enumerate(plan))
