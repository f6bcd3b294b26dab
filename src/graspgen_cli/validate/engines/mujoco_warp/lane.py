"""Trials of many objects on their way through the worlds of one device: when a trial ends, its world takes the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.poses import inverse
from graspgen_cli.records import Floats, Gripper, TrialState
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import ObjectTrials, Variation, in_order, join_states
from graspgen_cli.validate.engines.mujoco import varied_fields
from graspgen_cli.validate.engines.mujoco_warp.packing import FIELDS_OF_TRIALS
from graspgen_cli.validate.engines.mujoco_warp.worlds import Worlds
from graspgen_cli.validate.progress import Bounds, Observation, Progress, bounds
from graspgen_cli.validate.protocols import Stage, stages
from graspgen_cli.validate.scene import Scene, build_scene, deepest_allowed, start_position

Indices = NDArray[np.intp]
Bools = NDArray[np.bool_]

MOST_OBJECTS = 4096
"""Objects that the worlds hold at once. A lane that has taken so many takes the next one only after all its trials have ended."""
JAMMED = 1e-3
"""m: depth in the object of a link outside the fingers from which the object counts as jammed against the link; about the depth of an edge
that lies along the link under the whole grip force."""


@dataclass(eq=False)
class LaneObject:
    """An object with its scene and the results of its trials so far.

    variation: of each trial. fields: the model fields in which the trials differ, one row a trial. jammed: (N,) trials that ended with both
    fingers pressing and another link deep in the object. missing: number of trials that have not ended.
    """

    trials: ObjectTrials
    scene: Scene
    plan: tuple[Stage, ...]
    bounds: Bounds
    variation: Variation
    fields: dict[str, Floats]
    jammed: Bools
    missing: int
    number: list[Indices] = field(default_factory=list)
    states: list[TrialState] = field(default_factory=list)

    def force(self, stage: int, number: int) -> Floats:
        """(3,) N, in the gripper's base: the force of a stage on the object in the trial of this number."""
        force: Floats = np.asarray(self.plan[stage].force_in_base) * self.variation.pull[number]
        return force

    def state(self, joints: int) -> TrialState:
        """The end states of all trials, in the order of the grasps."""
        return in_order(join_states(self.states, joints), np.concatenate([np.zeros(0, np.intp), *self.number]))


def lane_object(gripper: Gripper, trials: ObjectTrials, settings: SimulationSettings) -> LaneObject:
    """An object with its scene compiled. Raises ValueError if MuJoCo cannot compile the scene."""
    scene, count = build_scene(gripper, trials.target, settings), len(trials.grasps)
    variation = trials.variation or Variation.of_tugs(np.ones(count))
    fields = {} if variation.is_of_tugs_alone else varied_fields(scene, variation, FIELDS_OF_TRIALS)
    plan, jammed = stages(gripper, settings, scene.mass), np.zeros(count, bool)
    return LaneObject(trials, scene, plan, bounds(gripper, trials.target), variation, fields, jammed, missing=count)


class Lane:
    """Worlds with trials in them, and the objects whose trials wait for a world."""

    def __init__(self, worlds: Worlds, gripper: Gripper, settings: SimulationSettings) -> None:
        self._worlds, self._gripper = worlds, gripper
        # The stages of all objects have the same lengths.
        self._progress = Progress(gripper, stages(gripper, settings, worlds.scene.mass), settings, worlds.count)
        self._objects: list[LaneObject] = []
        self._waiting: deque[LaneObject] = deque()
        self._queue: deque[tuple[int, int]] = deque()  # index of an object, and its first trial that has not begun
        self._object_of_slot = np.zeros(worlds.count, np.intp)
        self._number_of_slot = np.zeros(worlds.count, np.intp)
        self._inside = np.zeros(worlds.count, bool)
        self._free = np.ones(worlds.count, bool)
        self._parked = np.zeros(worlds.count, bool)
        self._fresh: Indices = np.zeros(0, np.intp)
        self._made = 0
        self.is_stepping = False

    def add(self, each: LaneObject) -> None:
        """Adds an object with at least one trial."""
        self._waiting.append(each)

    def is_busy(self) -> bool:
        """Whether any trial waits or runs."""
        return bool(self._waiting or self._queue or self._progress.running.any())

    def begin(self) -> None:
        """Starts trials in free worlds, and steps to the next look; on a GPU it returns before the steps are made."""
        self._take_objects()
        self._step(self._fill())
        self.is_stepping = True

    def finish(self) -> Iterator[LaneObject]:
        """Looks at the worlds after the steps; yields the objects whose trials are done."""
        self.is_stepping = False
        progress, seen = self._progress, self._worlds.observe()
        self._note_start()
        ended, entered = progress.look(seen, self._made)
        if entered.size:
            of = zip(self._object_of_slot[entered], progress.stage[entered], self._number_of_slot[entered], strict=True)
            self._worlds.push(entered, np.array([self._objects[i].force(stage, number) for i, stage, number in of]))
            self._worlds.move_base(entered, progress.stage[entered])
        self._free[ended] = True
        yield from self._collect(ended, seen)

    def waiting(self) -> int:
        """Number of trials that have not begun."""
        begun = sum(len(self._objects[which].trials.grasps) - first for which, first in self._queue)
        return begun + sum(len(each.trials.grasps) for each in self._waiting)

    def _take_objects(self) -> None:
        """Gives the worlds the objects that wait."""
        if not (self._queue or self._progress.running.any()):
            self._worlds.forget_objects()
            self._objects = []
        count = min(len(self._waiting), MOST_OBJECTS - len(self._objects))
        if count <= 0:
            return
        taken = [self._waiting.popleft() for _ in range(count)]
        self._worlds.add_objects([each.scene for each in taken])
        self._queue.extend((len(self._objects) + i, 0) for i in range(count))
        self._objects += taken

    def _fill(self) -> Indices:
        """Starts the next trials in free slots, and parks the slots that have become free without a next trial. Returns the slots of the
        started trials."""
        free, used = np.flatnonzero(self._free), 0
        while self._queue and used < len(free):
            which, begun = self._queue.popleft()
            count = min(len(free) - used, len(self._objects[which].trials.grasps) - begun)
            self._start(free[used : used + count], which, np.arange(begun, begun + count))
            used += count
            if begun + count < len(self._objects[which].trials.grasps):
                self._queue.appendleft((which, begun + count))
        self._free[free[:used]] = self._parked[free[:used]] = False
        idle = free[used:][~self._parked[free[used:]]]
        if idle.size:
            self._worlds.park(idle)
            self._parked[idle] = True
        return free[:used]

    def _start(self, slots: Indices, which: int, number: Indices) -> None:
        each = self._objects[which]
        grasps = each.trials.grasps[number]
        self._object_of_slot[slots], self._number_of_slot[slots] = which, number
        self._worlds.load(slots, np.full(len(slots), which), start_position(each.scene, self._gripper, grasps))
        if each.fields:
            effort = np.outer(each.variation.grip_force[number], each.scene.effort)
            self._worlds.vary(slots, {name: values[number] for name, values in each.fields.items()}, effort)
        self._progress.begin(slots, inverse(grasps.pose_gripper_in_object), [each.bounds] * len(slots))

    def _step(self, fresh: Indices) -> None:
        """Steps to the next look. The contacts of the first step show which of the `fresh` trials began inside the gripper."""
        progress = self._progress
        running = np.flatnonzero(progress.running)
        self._made = int(np.minimum(progress.interval, progress.left)[running].min())
        if fresh.size:
            self._worlds.step(1, running)
            self._worlds.mark()
        self._worlds.step(self._made - 1 if fresh.size else self._made, running)
        self._worlds.send()
        self._fresh = fresh

    def _note_start(self) -> None:
        """Notes which of the trials that began in the last steps began inside the gripper."""
        if self._fresh.size:
            allowed = np.array([deepest_allowed(self._objects[i].trials.target) for i in self._object_of_slot[self._fresh]])
            self._inside[self._fresh] = self._worlds.marked()[self._fresh] < allowed

    def _collect(self, ended: Indices, seen: Observation) -> Iterator[LaneObject]:
        """Keeps the end states of the slots that `ended`; yields the objects whose trials are done."""
        of, jammed = self._object_of_slot[ended], seen.touching.all(axis=1) & (self._worlds.depth_of_links() > JAMMED)
        for i in np.unique(of):
            slots, each = ended[of == i], self._objects[i]
            each.number.append(self._number_of_slot[slots].copy())
            each.jammed[each.number[-1]] = jammed[slots]
            each.states.append(self._progress.state(slots, seen, self._inside))
            each.missing -= len(slots)
            if each.missing == 0:
                yield each
