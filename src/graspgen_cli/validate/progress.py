"""The clocks and the measures of trials in flight: which stage each trial is in, when it ends, and what was measured so far.

Engines step simulations. At regular looks they report what they observe to `Progress`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.poses import inverse
from graspgen_cli.records import Floats, GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import in_order, join_states
from graspgen_cli.validate.protocols import STILL, Stage, motion_table

Indices = NDArray[np.intp]
Bools = NDArray[np.bool_]

CHECK_INTERVAL = 0.1
"""s between two looks."""
STEADY_GROWTH = 1.02
"""Motion that grows by less than this factor from one look to the next is steady."""
STILL_TIME = 0.2
"""s before the end of a trial over which the object's motion is measured."""
_CLOSED = 0.01
"""A driven joint has closed if its distance from the closed position is below this share of its range."""


def farthest_motion(before: Floats, after: Floats, center: Floats, radius: Floats) -> Floats:
    """(N,) m, upper bound of the motion of any point of the objects between poses (N, 4, 4). center: (N, 3) m; radius: (N,) m about it."""
    motion = relative_motion(before, after, center)
    farthest: Floats = motion[:, 0] + radius * motion[:, 1]
    return farthest


def relative_motion(before: Floats, after: Floats, center: Floats) -> Floats:
    """(N, 2): distance (m) that the objects' centres (N, 3), in the objects' frames, moved, and angle (rad) between poses (N, 4, 4).

    The angle follows from the chord between the rotations: the Frobenius norm of their difference is 2 sqrt(2) sin(angle / 2).
    """
    moved = after - before
    shift = np.einsum("nij,nj->ni", moved[:, :3, :3], center) + moved[:, :3, 3]
    chord = np.linalg.norm(moved[:, :3, :3], axis=(1, 2)) / math.sqrt(8.0)
    return np.stack([np.linalg.norm(shift, axis=1), 2.0 * np.arcsin(np.minimum(chord, 1.0))], axis=1)


@dataclass(frozen=True, eq=False)
class Observation:
    """What an engine sees of S trials at one look.

    pose_object_in_gripper: (S, 4, 4). finger_contact_force: (S, 2) N. touching: (S, 2) whether each finger touches the object.
    joint_position: (S, J) m or rad. finite: (S,) whether the simulation is valid so far. overlap: (S,) m, largest depth of the object's
    pieces in the gripper.
    """

    pose_object_in_gripper: Floats
    finger_contact_force: Floats
    touching: Bools
    joint_position: Floats
    finite: Bools
    overlap: Floats


@dataclass(frozen=True, eq=False)
class Bounds:
    """The extent of an object, to see whether it moves and whether it is lost.

    center_of_mass: (3,) m, in the object's frame. radius: m, of the mesh about the centre of mass. reach: m, distance of the centre of mass
    from the gripper's base beyond which no finger can touch the object.
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
    """Simulation steps between two looks: CHECK_INTERVAL, or down to half of it if every stage is then a whole number of looks."""
    usual, whole = max(1, round(CHECK_INTERVAL * settings.fps)), math.gcd(*stage_steps)
    fitting = [steps for steps in range(usual, max(usual // 2, 1) - 1, -1) if whole % steps == 0]
    return fitting[0] if fitting else usual


class Progress:
    """Clocks and measures of S slots, each with one trial at a time.

    Times are on the protocol's clock: a stage that ended early counts with its whole duration. So a time tells the stage.

    running: (S,) slots whose trial goes on. stage: (S,) number of the stage. left: (S,) steps left in the stage. steps: (S,) steps made.
    interval: steps between two looks. motion: the table of the base's motion (see `protocols.motion_table`).
    """

    def __init__(self, gripper: Gripper, plan: tuple[Stage, ...], settings: SimulationSettings, slots: int) -> None:
        """plan: the stages of every trial."""
        self._gripper, self._settings = gripper, settings
        self._stage_steps = np.array([stage.steps for stage in plan])
        self._may_end_early = np.array([stage.may_end_early for stage in plan])
        self._forces = np.array([stage.force_in_base for stage in plan])
        self.motion, self._first_row = motion_table(plan)
        self.interval = look_steps(tuple(stage.steps for stage in plan), settings)
        self.running, self._held_on = np.zeros(slots, bool), np.zeros(slots, bool)
        self.stage, self.left = np.zeros(slots, np.intp), np.zeros(slots, np.intp)
        self.steps = np.zeros(slots, np.int32)
        looks = max(1, math.ceil(STILL_TIME * settings.fps / self.interval - 1e-9))
        self._recent = np.tile(np.eye(4), (looks + 1, slots, 1, 1))
        self._when_closed = np.tile(np.eye(4), (slots, 1, 1))
        self._center = np.zeros((slots, 3))
        self._radius, self._reach, self._motion_before, self._smallest, self._lost_at, self._deepest = np.zeros((6, slots))

    def begin(self, slots: Indices, pose_object_in_gripper: Floats, of: list[Bounds]) -> None:
        """Starts trials in `slots`, with objects at these poses (len(slots), 4, 4) and of these bounds."""
        self.running[slots] = self._held_on[slots] = True
        self.stage[slots], self.left[slots], self.steps[slots] = 0, self._stage_steps[0], 0
        self._recent[:, slots] = self._when_closed[slots] = pose_object_in_gripper
        self._motion_before[slots] = self._smallest[slots] = np.inf
        self._lost_at[slots], self._deepest[slots] = np.nan, 0.0
        self._center[slots] = [b.center_of_mass for b in of]
        self._radius[slots], self._reach[slots] = [b.radius for b in of], [b.reach for b in of]

    @property
    def force_in_base(self) -> Floats:
        """(S, 3) N: the force of each trial's stage in the plan."""
        return self._forces[self.stage]

    def motion_row(self) -> Indices:
        """(S,) row of `motion` for each trial's next step; STILL where no trial goes on."""
        first = self._first_row[self.stage]
        return np.where(self.running & (first != STILL), first + self._stage_steps[self.stage] - self.left, STILL)

    def look(self, seen: Observation, made: Indices | int) -> tuple[Indices, Indices]:
        """Adds what was seen after `made` more steps of the running trials, (S,) or one number. Returns the slots whose trials have ended,
        and the slots whose next stage begins.

        A trial ends after its last stage, if its object is lost, or if its simulation diverged. A stage ends after its time, or early if
        both fingers touch the object and the object moves steadily.
        """
        steps = np.where(self.running, made, 0)
        self.steps += steps.astype(np.int32)
        self.left -= steps
        self._held_on &= ~self.running | (~self._lost(seen) & seen.finite)
        may_end = self._steady(seen) & seen.touching.all(axis=1) & self._may_end_early[self.stage]
        over = self.running & ((self.left <= 0) | may_end)
        closed = over & (self.stage == 0)
        self._when_closed[closed] = seen.pose_object_in_gripper[closed]
        self._measure(seen, closed | (self.stage > 0))
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
        held_on, center, smallest = self._held_on[slots], self._center[slots], self._smallest[slots]
        slip = relative_motion(self._when_closed[slots], seen.pose_object_in_gripper[slots], center)
        late_motion = farthest_motion(self._recent[0, slots], self._recent[-1, slots], center, self._radius[slots])
        return TrialState(
            pose_object_in_gripper=seen.pose_object_in_gripper[slots],
            finger_contact_force=np.where(held_on[:, None], seen.finger_contact_force[slots], 0.0),
            joint_position=seen.joint_position[slots],
            finite=seen.finite[slots],
            slip=np.where(held_on[:, None], slip, np.nan),
            smallest_force=np.where(np.isinf(smallest), 0.0, smallest),
            loss_time=self._lost_at[slots],
            late_motion=np.where(held_on, late_motion, np.nan),
            started_inside=started_inside[slots],
            steps=self.steps[slots],
            penetration=self._deepest[slots],
        )

    def _measure(self, seen: Observation, closed: Bools) -> None:
        """Adds to the measures what was seen. closed: (S,) whether the grip has closed."""
        weaker = seen.finger_contact_force.min(axis=1)
        now = (np.cumsum(self._stage_steps)[self.stage] - self.left) / self._settings.fps
        self._lost_at = np.where(weaker > 0, np.nan, np.where(np.isnan(self._lost_at), now, self._lost_at))
        self._smallest = np.where(closed, np.minimum(self._smallest, weaker), self._smallest)
        self._deepest = np.where(closed, np.maximum(self._deepest, seen.overlap), self._deepest)
        self._recent = np.concatenate([self._recent[1:], seen.pose_object_in_gripper[None]])

    def _steady(self, seen: Observation) -> Bools:
        """(S,) trials whose stage may end: the object creeps, as soft contacts let it, at a rate that does not grow, and would move by less
        than `steady_motion` in the rest of the stage."""
        motion = farthest_motion(self._recent[-1], seen.pose_object_in_gripper, self._center, self._radius)
        in_rest = motion * (self.left / self.interval)
        steady = (motion <= STEADY_GROWTH * self._motion_before) & (in_rest < self._settings.steady_motion)
        self._motion_before = motion
        return steady

    def _lost(self, seen: Observation) -> Bools:
        """(S,) objects that the gripper can no longer hold: no finger touches them, and the gripper has closed or they are out of reach."""
        pose = seen.pose_object_in_gripper
        center_in_gripper = np.einsum("nij,nj->ni", pose[:, :3, :3], self._center) + pose[:, :3, 3]
        away = np.linalg.norm(center_in_gripper, axis=1) > self._reach
        driven = self._gripper.joint_effort != 0
        closed, opened = self._gripper.joint_position[0, driven], self._gripper.joint_position[-1, driven]
        has_closed = (np.abs(seen.joint_position[:, driven] - closed) < _CLOSED * np.abs(opened - closed)).all(axis=1)
        return ~seen.touching.any(axis=1) & (away | has_closed)


def run_to_end(
    progress: Progress,
    grasps: GraspBatch,
    extent: Bounds,
    inside: Bools,
    *,
    advance: Callable[[Progress], Indices | int],
    observe: Callable[[], Observation],
) -> TrialState:
    """The end states of trials of N grasps, one a slot, of one object. inside: (N,) whether each began inside the gripper.

    advance: steps the running trials to their next look and returns the steps made, (N,) or one number."""
    progress.begin(np.arange(len(grasps)), inverse(grasps.pose_gripper_in_object), [extent] * len(grasps))
    slots, states = [], []
    while progress.running.any():
        made = advance(progress)
        seen = observe()
        ended, _ = progress.look(seen, made)
        slots.append(ended)
        states.append(progress.state(ended, seen, inside))
    return in_order(join_states(states, 0), np.concatenate(slots))
