"""Trials on an NVIDIA GPU with MuJoCo Warp: the trials of many objects in flight at once."""

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
"""Trials in flight at most. A step of twice as many costs an NVIDIA H200 less than twice the time: with 8,192 worlds it makes 1.7 million
world-steps a second, with 16,384 2.1 million. But the last trials of an object take longer the more others there are."""
MEMORY_A_WORLD = 700_000
"""bytes: what a world of the smallest room takes, and some more (0.56 MB were seen)."""
SHARE_OF_MEMORY = 0.6
"""How much of a GPU's free memory the worlds of a room may take."""
ROOMS = (128, 512, 2048)
"""Pieces that scenes have room for: an absent piece costs little. Where they are more, worlds are fewer."""
LANES = 2
"""Lanes of each room, so that the device is at work on one while this process looks after the other."""
SCENE_THREADS = 4
"""Scenes are compiled beside the simulation."""


@dataclass(eq=False)
class _Room:
    """The lanes of scenes with room for so many pieces, each with `count` worlds, and the objects that wait for one."""

    pieces: int
    count: int
    lanes: list[Lane] = field(default_factory=list)
    waiting: deque[LaneObject] = field(default_factory=deque)

    def is_busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.waiting) or any(lane.is_busy() for lane in self.lanes)

    def look(self) -> Iterator[LaneObject]:
        """Looks at each lane in turn, gives it objects where it runs short of them, and has it go on; yields the objects that are done."""
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


def _those_done(ending: list[Future[ObjectResults | ObjectFailed]], *, idle: bool) -> Iterator[ObjectResults | ObjectFailed]:
    """Takes out the results that are there, in whatever order; where there is nothing else to do, `idle`, it waits for one."""
    if idle:
        wait(ending, return_when=FIRST_COMPLETED)
    done = [each for each in ending if each.done()]
    for each in done:
        ending.remove(each)
        yield each.result()


class MujocoWarpSimulator:
    """A device with one gripper on it; see `Simulator`. Objects go through lanes, those with many pieces through others."""

    takes_more = True

    def __init__(self, gripper: Gripper, settings: SimulationSettings, *, device: str, worlds: int = 0, threads: int = 1) -> None:
        self._gripper, self._settings, self._device = gripper, settings, device
        self._most = worlds or settings.max_num_envs
        self._threads = threads
        self._rooms: dict[int, _Room] = {}

    def warm_up(self) -> None:
        """Compiles or loads the kernels for objects of usual size."""
        self._room(ROOMS[0])

    def run(self, trials: Sequence[ObjectTrials], more: More = list) -> Iterator[ObjectResults | ObjectFailed]:
        """See `Simulator.run`."""
        with ThreadPoolExecutor(SCENE_THREADS) as pool:
            preparing: deque[Future[LaneObject | ObjectFailed]] = deque()
            ending: list[Future[ObjectResults | ObjectFailed]] = []
            come: Sequence[ObjectTrials] = trials
            while come or preparing or ending or self._is_busy():
                preparing.extend(pool.submit(self._prepared, each) for each in come)
                yield from self._take_prepared(preparing, idle=not ending)
                ending.extend(pool.submit(self._results, each) for room in self._rooms.values() for each in room.look())
                yield from _those_done(ending, idle=not self._is_busy())
                for room in self._rooms.values():
                    self._add_lane(room)
                come = more()

    def _is_busy(self) -> bool:
        return any(room.is_busy() for room in self._rooms.values())

    def _prepared(self, trials: ObjectTrials) -> LaneObject | ObjectFailed:
        """An object of which the engine makes no scene is not to take others along."""
        try:
            return lane_object(self._gripper, trials, self._settings)
        except Exception as error:
            return ObjectFailed.of(trials.number, error)

    def _take_prepared(self, preparing: deque[Future[LaneObject | ObjectFailed]], *, idle: bool) -> Iterator[ObjectFailed]:
        """Puts the objects that are ready into their rooms; where there is nothing else to do, `idle`, it waits for one. Yields those that
        cannot be had."""
        while preparing and (preparing[0].done() or (idle and not self._is_busy())):
            each = preparing.popleft().result()
            if isinstance(each, ObjectFailed):
                yield each
                continue
            pieces = len(each.trials.target.pieces)
            self._room(next((room for room in ROOMS if pieces <= room), pieces)).waiting.append(each)

    def _room(self, pieces: int) -> _Room:
        if pieces not in self._rooms:
            self._rooms[pieces] = _Room(pieces, self._count(pieces))
            self._rooms[pieces].lanes.append(self._made_lane(self._rooms[pieces]))
        return self._rooms[pieces]

    def _count(self, pieces: int) -> int:
        """Worlds of one lane: as many as were asked for, else a power of two of them for which there is memory."""
        if self._most:
            return max(1, self._most // LANES)
        memory = wp.get_device(self._device).free_memory * SHARE_OF_MEMORY
        fitting = min(memory / MEMORY_A_WORLD, WORLDS) / LANES / max(pieces / ROOMS[0], 1.0)
        return 1 << max(int(math.log2(max(fitting, 1.0))), 0)

    def _add_lane(self, room: _Room) -> None:
        """One more where trials still wait; it is made while the device is at work on the others."""
        if room.waiting and len(room.lanes) < LANES:
            room.lanes.append(self._made_lane(room))

    def _made_lane(self, room: _Room) -> Lane:
        worlds = Worlds(self._gripper, self._settings, count=room.count, pieces=room.pieces, device=self._device)
        worlds.warm_up()
        return Lane(worlds, self._gripper, self._settings)

    def _results(self, each: LaneObject) -> ObjectResults | ObjectFailed:
        try:
            return ObjectResults(each.trials.number, self._state(each))
        except Exception as error:
            return ObjectFailed.of(each.trials.number, error)

    def _state(self, each: LaneObject) -> TrialState:
        """The end states, with those trials made anew on the reference backend in which a buffer overflowed or a number was not finite, and
        those in which the fingers press on what is jammed by another link: whether they reach it depends on how far the link gives way,
        and an edge along a link has two points of contact there, but now and then only one here, which gives way too far."""
        state = each.state(len(self._gripper.joint_names))
        doubted = ~state.finite | each.jammed()
        doubtful = np.flatnonzero(doubted)
        if doubtful.size:
            trials, sure = each.trials, np.flatnonzero(~doubted)
            varied = trials.variation and trials.variation[doubtful]
            reference = MujocoBackend(threads=self._threads)
            again = reference.run(self._gripper, trials.target, trials.grasps[doubtful], self._settings, varied)
            joined = join_states([rows(state, sure), again], len(self._gripper.joint_names))
            state = in_order(joined, np.concatenate([sure, doubtful]))
        return state


class MujocoWarpBackend:
    """The engine as other parts of the program ask for it."""

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
        """A device with this gripper on it, warm.

        Raises: SettingsError where there is no such device.
        """
        wp.init()
        if device not in map(str, wp.get_devices()):
            raise SettingsError(f"mujoco-warp finds no device {device}; there are {', '.join(map(str, wp.get_devices()))}")
        if not any(Path(wp.config.kernel_cache_dir).glob("wp_mujoco_warp*")):
            _LOG.warning("mujoco-warp compiles its kernels for %s: about two minutes, the first time only", device)
        simulator = MujocoWarpSimulator(gripper, settings, device=device)
        simulator.warm_up()
        return simulator
