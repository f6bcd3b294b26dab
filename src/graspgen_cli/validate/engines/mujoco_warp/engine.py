"""The engine on NVIDIA GPUs, with MuJoCo Warp: trials of many objects at once on one device."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import warp as wp

from graspgen_cli.errors import ObjectError, SettingsError
from graspgen_cli.records import GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import More, ObjectFailed, ObjectResults, ObjectTrials, Variation, in_order, join_states, rows
from graspgen_cli.validate.engines.mujoco import MujocoBackend
from graspgen_cli.validate.engines.mujoco_warp.lane import Lane, LaneObject, lane_object
from graspgen_cli.validate.engines.mujoco_warp.worlds import Worlds

_LOG = logging.getLogger(__name__)

WORLDS = 32768
"""Most trials at once. On an NVIDIA H200, 8,192 worlds make 1.7 million world-steps a second, 16,384 worlds 2.1 million. But with more
worlds the last trials of an object take longer."""
MEMORY_PER_WORLD = 700_000
"""bytes: memory of a world of the smallest size class, with a margin (measured: 0.56 MB)."""
SHARE_OF_MEMORY = 0.6
"""Share of a GPU's free memory for the worlds of a size class."""
SIZE_CLASSES = (128, 512, 2048)
"""Most convex pieces of an object in each size class. Absent pieces cost little. A class of more pieces has fewer worlds."""
LANES = 2
"""Lanes of each size class: the device steps one while this process handles the results of the other."""
SCENE_THREADS = 4
"""Threads that compile scenes and join results during the simulation."""


@dataclass(eq=False)
class _SizeClass:
    """The lanes for objects of at most `pieces` pieces, each with `count` worlds, and the objects that wait for a lane."""

    pieces: int
    count: int
    lanes: list[Lane] = field(default_factory=list)
    waiting: deque[LaneObject] = field(default_factory=deque)

    def is_busy(self) -> bool:
        """Whether any object waits or is in a lane."""
        return bool(self.waiting) or any(lane.is_busy() for lane in self.lanes)

    def advance(self) -> Iterator[LaneObject]:
        """For each lane: takes the results of its last steps, adds objects if it runs short, starts its next steps. Yields the objects
        whose trials are done."""
        for lane in self.lanes:
            if lane.is_stepping:
                yield from lane.finish()
            while self.waiting and lane.waiting() < self.count:
                each = self.waiting.popleft()
                if each.missing:
                    lane.add(each)
                else:
                    yield each
            if lane.is_busy():
                lane.begin()


def _take_done(results: list[Future[ObjectResults | ObjectFailed]], *, idle: bool) -> Iterator[ObjectResults | ObjectFailed]:
    """Removes and yields the results that are done. idle: wait for one, since nothing else is to be done."""
    if idle:
        wait(results, return_when=FIRST_COMPLETED)
    done = [each for each in results if each.done()]
    for each in done:
        results.remove(each)
        yield each.result()


class MujocoWarpSimulator:
    """A device with one gripper on it; see `Simulator`."""

    takes_more = True

    def __init__(self, gripper: Gripper, settings: SimulationSettings, *, device: str, worlds: int = 0, threads: int = 1) -> None:
        """worlds: most trials at once; 0: those of the settings, or as many as the memory allows."""
        self._gripper, self._settings, self._device = gripper, settings, device
        self._most = worlds or settings.max_num_envs
        self._reference = MujocoBackend(threads=threads)
        self._classes: dict[int, _SizeClass] = {}

    def warm_up(self) -> None:
        """Compiles or loads the kernels for objects of the smallest size class."""
        self._size_class(SIZE_CLASSES[0])

    def run(self, trials: Sequence[ObjectTrials], more: More = list) -> Iterator[ObjectResults | ObjectFailed]:
        """See `Simulator.run`."""
        with ThreadPoolExecutor(SCENE_THREADS) as pool:
            preparing: deque[Future[LaneObject | ObjectFailed]] = deque()
            results: list[Future[ObjectResults | ObjectFailed]] = []
            arrived: Sequence[ObjectTrials] = trials
            while arrived or preparing or results or self._is_busy():
                preparing.extend(pool.submit(self._prepare, each) for each in arrived)
                yield from self._take_prepared(preparing, idle=not results)
                results.extend(pool.submit(self._results, each) for size in self._classes.values() for each in size.advance())
                yield from _take_done(results, idle=not self._is_busy())
                for size in self._classes.values():
                    if size.waiting and len(size.lanes) < LANES:
                        size.lanes.append(self._make_lane(size))
                arrived = more()

    def _is_busy(self) -> bool:
        return any(size.is_busy() for size in self._classes.values())

    def _prepare(self, trials: ObjectTrials) -> LaneObject | ObjectFailed:
        """The object with its compiled scene. An object that MuJoCo cannot compile fails alone."""
        try:
            return lane_object(self._gripper, trials, self._settings)
        except Exception as error:
            return ObjectFailed.of(trials.number, error)

    def _take_prepared(self, preparing: deque[Future[LaneObject | ObjectFailed]], *, idle: bool) -> Iterator[ObjectFailed]:
        """Moves the prepared objects to their size classes, and yields those that failed. idle: wait for one if no lane is busy."""
        while preparing and (preparing[0].done() or (idle and not self._is_busy())):
            each = preparing.popleft().result()
            if isinstance(each, ObjectFailed):
                yield each
                continue
            pieces = len(each.trials.target.pieces)
            self._size_class(next((most for most in SIZE_CLASSES if pieces <= most), pieces)).waiting.append(each)

    def _size_class(self, pieces: int) -> _SizeClass:
        if pieces not in self._classes:
            self._classes[pieces] = size = _SizeClass(pieces, self._count(pieces))
            size.lanes.append(self._make_lane(size))
        return self._classes[pieces]

    def _count(self, pieces: int) -> int:
        """Worlds of one lane: the number that was asked for, else the largest power of two that the memory allows."""
        if self._most:
            return max(1, self._most // LANES)
        memory = wp.get_device(self._device).free_memory * SHARE_OF_MEMORY
        fitting = min(memory / MEMORY_PER_WORLD, WORLDS) / LANES / max(pieces / SIZE_CLASSES[0], 1.0)
        return 1 << max(int(math.log2(max(fitting, 1.0))), 0)

    def _make_lane(self, size: _SizeClass) -> Lane:
        worlds = Worlds(self._gripper, self._settings, count=size.count, pieces=size.pieces, device=self._device)
        worlds.warm_up()
        return Lane(worlds, self._gripper, self._settings)

    def _results(self, each: LaneObject) -> ObjectResults | ObjectFailed:
        try:
            return ObjectResults(each.trials.number, self._state(each))
        except Exception as error:
            return ObjectFailed.of(each.trials.number, error)

    def _state(self, each: LaneObject) -> TrialState:
        """The end states. The reference engine repeats the trials in which a buffer overflowed or a number is not finite, and those in
        which the fingers press on an object that another link jams: whether the fingers reach it depends on how far that link gives way.
        An edge along a link has two contact points, but in single precision at times only one, which then gives way too far."""
        trials, state = each.trials, each.state(len(self._gripper.joint_names))
        in_doubt = ~state.finite | each.jammed
        doubtful, sure = np.flatnonzero(in_doubt), np.flatnonzero(~in_doubt)
        if not doubtful.size:
            return state
        varied = trials.variation and trials.variation[doubtful]
        repeated = self._reference.run(self._gripper, trials.target, trials.grasps[doubtful], self._settings, varied)
        joined = join_states([rows(state, sure), repeated], len(self._gripper.joint_names))
        return in_order(joined, np.concatenate([sure, doubtful]))


class MujocoWarpBackend:
    """The engine in this process."""

    def __init__(self, *, threads: int, device: str = "cuda:0", worlds: int = 0) -> None:
        self._threads, self._device, self._count = threads, device, worlds
        self._open: tuple[tuple[str, SimulationSettings], MujocoWarpSimulator] | None = None

    def run(
        self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings, variation: Variation | None = None
    ) -> TrialState:
        """See `Backend.run`."""
        [result] = self.run_many(gripper, [ObjectTrials(0, target, grasps, variation)], settings)
        return result.state

    def run_many(self, gripper: Gripper, trials: Sequence[ObjectTrials], settings: SimulationSettings) -> Iterator[ObjectResults]:
        """The end states of each object's trials, in the order in which the objects are done. Raises ObjectError for one that fails."""
        key = (gripper.content_hash, settings)
        if self._open is None or self._open[0] != key:
            simulator = MujocoWarpSimulator(gripper, settings, device=self._device, worlds=self._count, threads=self._threads)
            self._open = (key, simulator)
        for result in self._open[1].run(trials):
            if isinstance(result, ObjectFailed):
                [failed] = [each for each in trials if each.number == result.number]
                raise ObjectError(f"{failed.target.object_id}: {result.reason}")
            yield result

    @staticmethod
    def open_simulator(gripper: Gripper, settings: SimulationSettings, *, device: str) -> MujocoWarpSimulator:
        """A device with this gripper on it, its kernels loaded. Raises SettingsError if the device does not exist."""
        wp.init()
        if device not in map(str, wp.get_devices()):
            raise SettingsError(f"mujoco-warp finds no device {device}; there are {', '.join(map(str, wp.get_devices()))}")
        if not any(Path(wp.config.kernel_cache_dir).glob("wp_mujoco_warp*")):
            _LOG.warning("mujoco-warp compiles its kernels for %s: about two minutes, the first time only", device)
        simulator = MujocoWarpSimulator(gripper, settings, device=device)
        simulator.warm_up()
        return simulator
