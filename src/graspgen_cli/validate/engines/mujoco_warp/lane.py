"""Trials of many objects on their way through the worlds of one device: each world takes the next trial as one ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.poses import inverse
from graspgen_cli.records import Floats, Gripper, TrialState
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import ObjectTrials, in_order, join_states
from graspgen_cli.validate.engines.mujoco import varied_fields
from graspgen_cli.validate.engines.mujoco_warp.packing import FIELDS_OF_TRIALS
from graspgen_cli.validate.engines.mujoco_warp.worlds import Worlds
from graspgen_cli.validate.progress import Bounds, Observation, Progress, bounds
from graspgen_cli.validate.protocols import Stage, stages
from graspgen_cli.validate.scene import Scene, build_scene, deepest_allowed, start_position

Indices = NDArray[np.intp]

MOST_OBJECTS = 4096
"""Objects that the worlds know at once. Once so many have come, no more are taken until the worlds are empty."""


JAMMED = 1e-3
"""m that a link of no finger goes into an object that is jammed against it: about what it does where an edge lies along it under the
whole force of the grip."""


@dataclass(eq=False)
class LaneObject:
    """An object with its scene, and what has come of its trials so far."""

    trials: ObjectTrials
    scene: Scene
    plan: tuple[Stage, ...]
    bounds: Bounds
    fields: dict[str, Floats] = field(default_factory=dict)
    """Of the scene's model, those in which the trials differ, a row each."""
    number: list[Indices] = field(default_factory=list)
    is_jammed: list[NDArray[np.bool_]] = field(default_factory=list)
    states: list[TrialState] = field(default_factory=list)
    missing: int = 0

    def force(self, stage: int, number: int) -> Floats:
        """(3,) N in the gripper's base: what pulls in a stage of the trial of this number."""
        varied = self.trials.variation
        force: Floats = np.asarray(self.plan[stage].force_in_base) * (1.0 if varied is None else varied.pull[number])
        return force

    def state(self, joints: int) -> TrialState:
        """The end states of all trials, in the order of the grasps."""
        return in_order(join_states(self.states, joints), np.concatenate(self.number) if self.number else np.zeros(0, np.intp))

    def jammed(self) -> NDArray[np.bool_]:
        """(N,) trials that ended with both fingers pressing and a link of no finger deep in the object, in the order of the grasps."""
        found = np.zeros(len(self.trials.grasps), bool)
        for number, is_jammed in zip(self.number, self.is_jammed, strict=True):
            found[number] = is_jammed
        return found


def lane_object(gripper: Gripper, trials: ObjectTrials, settings: SimulationSettings) -> LaneObject:
    """An object made ready: its scene compiled."""
    scene = build_scene(gripper, trials.target, settings)
    plan = stages(gripper, settings, scene.mass)
    varied = trials.variation
    fields = {} if varied is None or varied.is_of_tugs_alone else varied_fields(scene, varied, FIELDS_OF_TRIALS)
    return LaneObject(trials, scene, plan, bounds(gripper, trials.target), fields, missing=len(trials.grasps))


class Lane:
    """Worlds with trials in them, and those that wait."""

    def __init__(self, worlds: Worlds, gripper: Gripper, settings: SimulationSettings) -> None:
        self._worlds, self._gripper, self._settings = worlds, gripper, settings
        self._progress: Progress | None = None
        self._objects: list[LaneObject] = []
        self._waiting: deque[LaneObject] = deque()
        self._queue: deque[tuple[int, int]] = deque()
        self._object_of_slot = np.zeros(worlds.count, np.intp)
        self._number_of_slot = np.zeros(worlds.count, np.intp)
        self._inside = np.zeros(worlds.count, bool)
        self._free = np.zeros(worlds.count, bool)
        self._parked = np.zeros(worlds.count, bool)
        self._fresh: Indices = np.zeros(0, np.intp)
        self._made = 0
        self.is_stepping = False

    def add(self, each: LaneObject) -> None:
        """An object whose trials are to be made; it has some."""
        self._waiting.append(each)

    def is_busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._waiting or self._queue) or self._is_running()

    def begin(self) -> None:
        """Starts trials, and steps to the next look; on a GPU it waits for none of the steps."""
        self._take_objects()
        self._step(self._fill())
        self.is_stepping = True

    def finish(self) -> Iterator[LaneObject]:
        """Looks; yields the objects that are done."""
        self.is_stepping = False
        progress, seen = self._in_progress(), self._worlds.observe()
        self._note_start()
        ended, entered = progress.look(seen, self._made)
        if entered.size:
            of = zip(self._object_of_slot[entered], progress.stage[entered], self._number_of_slot[entered], strict=True)
            now = [(self._objects[i], stage, number) for i, stage, number in of]
            self._worlds.push(entered, np.array([each.force(stage, number) for each, stage, number in now]))
            self._worlds.move_base(entered, progress.stage[entered])
        self._free[ended] = True
        yield from self._collect(ended, seen)

    def waiting(self) -> int:
        """Trials that have not begun."""
        begun = sum(len(self._objects[which].trials.grasps) - first for which, first in self._queue)
        return begun + sum(len(each.trials.grasps) for each in self._waiting)

    def _in_progress(self) -> Progress:
        assert self._progress is not None
        return self._progress

    def _is_running(self) -> bool:
        return self._progress is not None and bool(self._progress.running.any())

    def _take_objects(self) -> None:
        """Has the worlds know the objects that wait."""
        if not self._queue and not self._is_running():
            self._worlds.forget_objects()
            self._objects = []
        count = min(len(self._waiting), MOST_OBJECTS - len(self._objects))
        if count <= 0:
            return
        come = [self._waiting.popleft() for _ in range(count)]
        self._worlds.add_objects([each.scene for each in come])
        self._queue.extend((len(self._objects) + i, 0) for i in range(count))
        self._objects += come
        if self._progress is None:
            self._progress = Progress(self._gripper, come[0].plan, self._settings, self._worlds.count)
            self._free[:] = True

    def _fill(self) -> Indices:
        """Starts the next trials in slots that are free, and parks those that have become free and for which there is none; the slots of
        the trials."""
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
        varied = each.trials.variation
        if varied is not None and each.fields:
            effort = np.outer(varied.grip_force[number], each.scene.effort)
            self._worlds.vary(slots, {name: values[number] for name, values in each.fields.items()}, effort)
        self._in_progress().begin(slots, inverse(grasps.pose_gripper_in_object), [each.bounds] * len(slots))

    def _step(self, fresh: Indices) -> None:
        """Steps to the next look. The contacts of the first step are to show which of the `fresh` trials began inside the gripper."""
        progress = self._in_progress()
        running = np.flatnonzero(progress.running)
        self._made = int(np.minimum(progress.interval, progress.left)[running].min())
        if fresh.size:
            self._worlds.step(1, running)
            self._worlds.mark()
        self._worlds.step(self._made - 1 if fresh.size else self._made, running)
        self._worlds.send()
        self._fresh = fresh

    def _note_start(self) -> None:
        """Whether the trials that began in this go did so inside the gripper."""
        if self._fresh.size:
            allowed = np.array([deepest_allowed(self._objects[i].trials.target) for i in self._object_of_slot[self._fresh]])
            self._inside[self._fresh] = self._worlds.marked()[self._fresh] < allowed

    def _collect(self, ended: Indices, seen: Observation) -> Iterator[LaneObject]:
        """Notes the end states; the objects that are done."""
        of, jammed = self._object_of_slot[ended], seen.touching.all(axis=1) & (self._worlds.depth_of_links() > JAMMED)
        for i in np.unique(of):
            slots, each = ended[of == i], self._objects[i]
            each.number.append(self._number_of_slot[slots].copy())
            each.is_jammed.append(jammed[slots])
            each.states.append(self._in_progress().state(slots, seen, self._inside))
            each.missing -= len(slots)
            if each.missing == 0:
                yield each
