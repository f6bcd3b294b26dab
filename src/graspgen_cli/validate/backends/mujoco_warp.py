"""Trials on an NVIDIA GPU with MuJoCo Warp: the trials of many objects in flight at once, each world taking the next as one ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import warp as wp
from numpy.typing import NDArray

from graspgen_cli.errors import SettingsError
from graspgen_cli.geometry.poses import inverse
from graspgen_cli.records import GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.settings.models import SimulationSettings
from graspgen_cli.validate.backends.mujoco_cpu import MujocoBackend
from graspgen_cli.validate.backends.worlds import Worlds
from graspgen_cli.validate.batches import ObjectResults, ObjectTrials, Simulator
from graspgen_cli.validate.progress import Bounds, Observation, Progress, bounds
from graspgen_cli.validate.protocol import Stage, stages
from graspgen_cli.validate.scene import Scene, build_scene, deepest_allowed, start_position
from graspgen_cli.validate.states import in_order, join_states

_LOG = logging.getLogger(__name__)

WORLDS = 16384
ROOMS = (32, 128, 512, 2048)
"""Pieces that scenes have room for: an absent piece costs little, a launch of its own more."""
OBJECTS_AT_ONCE = 512
USUAL_ROOMS = 2
"""Rooms that are made ready beforehand."""
SCENE_THREADS = 4
"""The scenes of the next launch are compiled beside the present one."""


@dataclass(eq=False)
class _Object:
    """An object in a launch, and what has come of its trials so far."""

    trials: ObjectTrials
    scene: Scene
    plan: tuple[Stage, ...]
    bounds: Bounds
    number: list[NDArray[np.intp]] = field(default_factory=list)
    states: list[TrialState] = field(default_factory=list)
    missing: int = 0


class MujocoWarpBackend:
    """Trials of many objects in one launch; see `run_many`."""

    def __init__(self, *, threads: int, device: str = "cuda:0", worlds: int = 0) -> None:
        self._threads, self._device, self._count = threads, device, worlds
        self._worlds: dict[int, Worlds] = {}
        self._made_for: tuple[str, SimulationSettings] | None = None

    def run(self, gripper: Gripper, target: TargetObject, grasps: GraspBatch, settings: SimulationSettings) -> TrialState:
        """See `Backend.run`."""
        [result] = self.run_many(gripper, [ObjectTrials(0, target, grasps)], settings)
        return result.state

    def run_many(self, gripper: Gripper, trials: Sequence[ObjectTrials], settings: SimulationSettings) -> Iterator[ObjectResults]:
        """The end states of each object's trials, in the order in which the objects are done."""
        launches = _launches(trials)
        with ThreadPoolExecutor(SCENE_THREADS) as pool:
            ahead = [pool.submit(_object, gripper, each, settings) for each in (launches[0][1] if launches else [])]
            for at, (pieces, _) in enumerate(launches):
                objects = [future.result() for future in ahead]
                following = launches[at + 1][1] if at + 1 < len(launches) else []
                ahead = [pool.submit(_object, gripper, each, settings) for each in following]
                worlds = self._worlds_for(gripper, settings, pieces)
                yield from self._launch(worlds, gripper, objects, settings)

    @classmethod
    def open_simulator(cls, gripper: Gripper, settings: SimulationSettings, *, device: str) -> Simulator:
        """A device with this gripper on it (see `validate.batches`).

        Raises: SettingsError where there is no such device.
        """
        backend = cls(threads=1, device=device)
        if not _is_there(device):
            raise SettingsError(f"mujoco-warp finds no device {device}; there are {', '.join(map(str, wp.get_devices()))}")
        if not _has_kernels():
            _LOG.warning("mujoco-warp compiles its kernels for %s: about two minutes, the first time only", device)
        for room in ROOMS[:USUAL_ROOMS]:
            backend._worlds_for(gripper, settings, room).warm_up()
        return _OnDevice(backend, gripper, settings)

    def _worlds_for(self, gripper: Gripper, settings: SimulationSettings, pieces: int) -> Worlds:
        """Worlds with room for that many pieces, kept from launch to launch."""
        if self._made_for != (gripper.content_hash, settings):
            self._worlds, self._made_for = {}, (gripper.content_hash, settings)
        if pieces not in self._worlds:
            count = self._count or settings.max_num_envs or WORLDS
            self._worlds[pieces] = Worlds(gripper, settings, count=count, pieces=pieces, device=self._device)
        return self._worlds[pieces]

    def _launch(self, worlds: Worlds, gripper: Gripper, objects: list[_Object], settings: SimulationSettings) -> Iterator[ObjectResults]:
        worlds.take_objects([each.scene for each in objects])
        for which in _Launch(worlds, gripper, objects, settings).finished():
            each = objects[which]
            state = in_order(join_states(each.states, len(gripper.joint_names)), np.concatenate(each.number))
            yield ObjectResults(each.trials.number, self._tried_again(gripper, each.trials, state, settings))

    def _tried_again(self, gripper: Gripper, trials: ObjectTrials, state: TrialState, settings: SimulationSettings) -> TrialState:
        """The states with those trials made anew on the reference backend in which a buffer overflowed or a number was not finite."""
        doubtful = np.flatnonzero(~state.finite)
        if doubtful.size == 0:
            return state
        again = MujocoBackend(threads=self._threads).run(gripper, trials.target, trials.grasps[doubtful], settings)
        sure = np.flatnonzero(state.finite)
        joined = join_states([_rows(state, sure), again], len(gripper.joint_names))
        return in_order(joined, np.concatenate([sure, doubtful]))


def _is_there(device: str) -> bool:
    return any(device == str(each) for each in wp.get_devices())


def _has_kernels() -> bool:
    """Whether Warp's cache holds kernels of MuJoCo Warp."""
    wp.init()
    return any(Path(wp.config.kernel_cache_dir).glob("wp_mujoco_warp*"))


@dataclass(frozen=True, eq=False)
class _OnDevice:
    """A gripper on a device."""

    backend: MujocoWarpBackend
    gripper: Gripper
    settings: SimulationSettings

    def run(self, trials: Sequence[ObjectTrials]) -> Iterator[ObjectResults]:
        """See `Simulator.run`."""
        return self.backend.run_many(self.gripper, trials, self.settings)


def _launches(trials: Sequence[ObjectTrials]) -> list[tuple[int, list[ObjectTrials]]]:
    """Objects that go together, of like size and not too many, with the number of pieces that their scene has room for."""
    rooms: dict[int, list[ObjectTrials]] = {}
    for each in trials:
        room = next((room for room in ROOMS if len(each.target.pieces) <= room), len(each.target.pieces))
        rooms.setdefault(room, []).append(each)
    return [(room, rooms[room][i : i + OBJECTS_AT_ONCE]) for room in sorted(rooms) for i in range(0, len(rooms[room]), OBJECTS_AT_ONCE)]


def _object(gripper: Gripper, trials: ObjectTrials, settings: SimulationSettings) -> _Object:
    scene = build_scene(gripper, trials.target, settings)
    plan = stages(gripper, settings, scene.mass)
    return _Object(trials, scene, plan, bounds(gripper, trials.target), missing=len(trials.grasps))


def _rows(state: TrialState, index: NDArray[np.intp]) -> TrialState:
    return TrialState(**{name: getattr(state, name)[index] for name in TrialState.__dataclass_fields__})


class _Launch:
    """The trials of some objects on their way through the worlds."""

    def __init__(self, worlds: Worlds, gripper: Gripper, objects: list[_Object], settings: SimulationSettings) -> None:
        self._worlds, self._gripper, self._objects = worlds, gripper, objects
        steps = tuple(stage.steps for stage in objects[0].plan)
        self._progress = Progress(gripper, steps, settings, worlds.count)
        counts = [len(each.trials.grasps) for each in objects]
        self._object_of_trial = np.repeat(np.arange(len(objects)), counts)
        self._number_of_trial = np.concatenate([np.arange(count) for count in counts])
        self._begun = 0
        self._trial_of_slot = np.zeros(worlds.count, np.intp)
        self._inside = np.zeros(worlds.count, bool)

    def finished(self) -> Iterator[int]:
        """Runs all trials; the objects as they are done."""
        yield from (i for i, each in enumerate(self._objects) if each.missing == 0)
        self._worlds.park(np.arange(self._worlds.count))
        fresh = self._fill(np.arange(self._worlds.count))
        while self._progress.running.any():
            ended, seen = self._look(fresh)
            yield from self._collect(ended, seen)
            fresh = self._fill(ended)

    def _look(self, fresh: NDArray[np.intp]) -> tuple[NDArray[np.intp], Observation]:
        """Steps to the next look. The contacts of the first step show which of the `fresh` trials began inside the gripper."""
        progress = self._progress
        made = np.minimum(progress.interval, progress.left)
        steps = int(made[progress.running].min())
        if fresh.size:
            self._worlds.step(1)
            allowed = np.array([deepest_allowed(self._objects[i].trials.target) for i in self._object_of_slot(fresh)])
            self._inside[fresh] = self._worlds.deepest()[fresh] < allowed
        self._worlds.step(steps - 1 if fresh.size else steps)
        seen = self._worlds.observe()
        ended, entered = progress.look(seen, steps)
        if entered.size:
            forces = [
                self._objects[i].plan[stage].force_in_base
                for i, stage in zip(self._object_of_slot(entered), progress.stage[entered], strict=True)
            ]
            self._worlds.push(entered, np.array(forces))
        return ended, seen

    def _object_of_slot(self, slots: NDArray[np.intp]) -> NDArray[np.intp]:
        return self._object_of_trial[self._trial_of_slot[slots]]

    def _fill(self, slots: NDArray[np.intp]) -> NDArray[np.intp]:
        """Starts the next trials in worlds that are free, and parks those for which there is none; the slots of the trials."""
        count = min(len(slots), len(self._object_of_trial) - self._begun)
        used, trials = slots[:count], np.arange(self._begun, self._begun + count)
        self._begun += count
        if slots[count:].size:
            self._worlds.park(slots[count:])
        if count:
            self._trial_of_slot[used] = trials
            self._start(used)
        return used

    def _start(self, slots: NDArray[np.intp]) -> None:
        of, number = self._object_of_slot(slots), self._number_of_trial[self._trial_of_slot[slots]]
        for i in np.unique(of):
            here, each = slots[of == i], self._objects[i]
            grasps = each.trials.grasps[number[of == i]]
            self._worlds.load(here, np.full(len(here), i), start_position(each.scene, self._gripper, grasps))
            self._progress.begin(here, inverse(grasps.pose_gripper_in_object), [each.bounds] * len(here))

    def _collect(self, ended: NDArray[np.intp], seen: Observation) -> Iterator[int]:
        """Notes the end states; the objects that are done with them."""
        of = self._object_of_slot(ended)
        for i in np.unique(of):
            slots, each = ended[of == i], self._objects[i]
            each.number.append(self._number_of_trial[self._trial_of_slot[slots]])
            each.states.append(self._progress.state(slots, seen, self._inside))
            each.missing -= len(slots)
            if each.missing == 0:
                yield int(i)
