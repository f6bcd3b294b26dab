"""The clocks of trials in flight: which stage each is in, when it ends and with what. Every backend asks this one, look by look."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.records import Floats, Gripper, TargetObject, TrialState
from graspgen_cli.settings.models import SimulationSettings
from graspgen_cli.validate.protocol import Stage, check_steps, is_steady
from graspgen_cli.validate.watch import Watch, center_in_gripper, farthest_motion, relative_motion

Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]

_CLOSED = 0.01
"""A driven joint nearer to its closed position than this share of its range has closed."""


@dataclass(frozen=True, eq=False)
class Observation:
    """What a backend sees of S trials at one moment.

    pose_object_in_gripper: (S, 4, 4). finger_contact_force: (S, 2) N. touching: (S, 2) whether each finger is in contact with the
    object. joint_position: (S, J) m or rad. finite: (S,) whether the simulation went well so far. overlap: (S,) m, of the object's pieces
    with the gripper where that is deepest.
    """

    pose_object_in_gripper: Floats
    finger_contact_force: Floats
    touching: Bools
    joint_position: Floats
    finite: Bools
    overlap: Floats


@dataclass(frozen=True, eq=False)
class Bounds:
    """What is asked of an object to see whether it moves, and whether it is lost.

    center_of_mass: (3,) m, in the object's frame. radius: m, of the mesh about it. reach: m from the gripper's base, beyond which no
    finger can touch the object.
    """

    center_of_mass: Floats
    radius: float
    reach: float


def bounds(gripper: Gripper, target: TargetObject) -> Bounds:
    """The bounds of one object in one gripper."""
    radius = float(np.linalg.norm(target.mesh.vertices - target.center_of_mass, axis=1).max())
    far = np.abs(gripper.pose_body_in_base[..., :3, 3]).max() + gripper.depth + gripper.width
    return Bounds(target.center_of_mass, radius, float(far) + radius)


def look_steps(stage_steps: tuple[int, ...], settings: SimulationSettings) -> int:
    """Simulation steps between two looks: those of the check interval, or somewhat fewer where then every stage is a whole number of
    looks."""
    usual, whole = check_steps(settings), math.gcd(*stage_steps)
    fitting = [steps for steps in range(usual, max(usual // 2, 1) - 1, -1) if whole % steps == 0]
    return fitting[0] if fitting else usual


class Progress:
    """Clocks of S slots, each with one trial at a time.

    running: (S,) slots whose trial goes on. stage: (S,) index. left: (S,) steps left in the stage. steps: (S,) made.
    """

    def __init__(self, gripper: Gripper, plan: tuple[Stage, ...], settings: SimulationSettings, slots: int) -> None:
        """plan: the stages of the trials, of which only how long they are and where the gripper is shaken counts here."""
        stage_steps = tuple(stage.steps for stage in plan)
        self._gripper, self._stage_steps, self._settings = gripper, np.array(stage_steps), settings
        self._shaken = np.array([stage.is_shaken for stage in plan])
        self.interval = look_steps(stage_steps, settings)
        self.running = np.zeros(slots, bool)
        self.stage = np.zeros(slots, np.intp)
        self.left = np.zeros(slots, np.intp)
        self.steps = np.zeros(slots, np.int32)
        self._held_on = np.zeros(slots, bool)
        self._before = np.tile(np.eye(4), (slots, 1, 1))
        self._when_closed = np.tile(np.eye(4), (slots, 1, 1))
        self._motion_before = np.zeros(slots)
        self._center = np.zeros((slots, 3))
        self._radius, self._reach = np.zeros(slots), np.zeros(slots)
        self._watch = Watch(stage_steps, settings, interval=self.interval, slots=slots)

    def begin(self, slots: Indices, pose_object_in_gripper: Floats, of: list[Bounds]) -> None:
        """Starts trials in `slots`, with the objects at these poses (len(slots), 4, 4) and of these bounds."""
        self.running[slots] = self._held_on[slots] = True
        self.stage[slots], self.left[slots], self.steps[slots] = 0, self._stage_steps[0], 0
        self._before[slots] = self._when_closed[slots] = pose_object_in_gripper
        self._motion_before[slots] = np.inf
        self._center[slots] = [b.center_of_mass for b in of]
        self._radius[slots], self._reach[slots] = [b.radius for b in of], [b.reach for b in of]
        self._watch.begin(slots, pose_object_in_gripper, self._center[slots], self._radius[slots])

    def look(self, seen: Observation, made: NDArray[np.intp] | int) -> tuple[Indices, Indices]:
        """After `made` more steps of the running trials, (S,) or of all: the slots whose trials have ended, and those whose next stage
        begins.

        A trial ends after its last stage, or where its object is lost, or its simulation diverged; a stage ends after its time, or
        where the object is held and its rest would change nothing. A shake goes on: what the object does in one half of a period says
        nothing about the next."""
        steps = np.where(self.running, made, 0)
        self.steps += steps.astype(np.int32)
        self.left -= steps
        self._held_on &= ~self.running | (~self._lost(seen) & seen.finite)
        may_end = self._steady(seen) & seen.touching.all(axis=1) & ~self._shaken[self.stage]
        over = self.running & ((self.left <= 0) | may_end)
        closed = over & (self.stage == 0)
        self._when_closed[closed] = seen.pose_object_in_gripper[closed]
        pose, force = seen.pose_object_in_gripper, seen.finger_contact_force
        self._watch.look(pose, force, stage=self.stage, left=self.left, closed=closed | (self.stage > 0), overlap=seen.overlap)
        last = self.stage == len(self._stage_steps) - 1
        ended = self.running & (~self._held_on | (over & last))
        entered = over & ~ended
        self.running &= ~ended
        self.stage[entered] += 1
        self.left[entered] = self._stage_steps[self.stage[entered]]
        self._motion_before[entered] = np.inf
        return np.flatnonzero(ended), np.flatnonzero(entered)

    def state(self, slots: Indices, seen: Observation, started_inside: Bools) -> TrialState:
        """The end states of the trials in `slots`, which have just ended. started_inside: (S,)."""
        force = np.where(self._held_on[slots, None], seen.finger_contact_force[slots], 0.0)
        slip = relative_motion(self._when_closed[slots], seen.pose_object_in_gripper[slots], self._center[slots])
        watched = self._watch.measured(slots)
        return TrialState(
            pose_object_in_gripper=seen.pose_object_in_gripper[slots],
            finger_contact_force=force,
            joint_position=seen.joint_position[slots],
            finite=seen.finite[slots],
            slip=np.where(self._held_on[slots, None], slip, np.nan),
            smallest_force=watched.smallest_force,
            loss_time=watched.loss_time,
            late_motion=np.where(self._held_on[slots], watched.late_motion, np.nan),
            started_inside=started_inside[slots],
            steps=self.steps[slots].copy(),
            penetration=watched.penetration,
        )

    def _steady(self, seen: Observation) -> Bools:
        after = seen.pose_object_in_gripper
        motion = farthest_motion(self._before, after, self._center, self._radius)
        steady = is_steady(motion, self._motion_before, intervals_left=self.left / self.interval, settings=self._settings)
        self._before, self._motion_before = after, motion
        return steady

    def _lost(self, seen: Observation) -> Bools:
        """(S,) objects that nothing can hold any more: no finger touches them, and the gripper has closed or they are out of reach."""
        away = np.linalg.norm(center_in_gripper(seen.pose_object_in_gripper, self._center), axis=1) > self._reach
        driven = self._gripper.joint_effort != 0
        closed, opened = self._gripper.joint_position[0, driven], self._gripper.joint_position[-1, driven]
        has_closed = (np.abs(seen.joint_position[:, driven] - closed) < _CLOSED * np.abs(opened - closed)).all(axis=1)
        return ~seen.touching.any(axis=1) & (away | has_closed)
