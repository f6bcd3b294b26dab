"""Trials in Isaac Lab, from the USD files to the end state. Runs in a process in which the Isaac Sim app has been started."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from graspgen_cli.records import Floats, GraspBatch, Gripper, TargetObject, TrialState
from graspgen_cli.settings.trials import SimulationSettings
from graspgen_cli.validate.engine import Variation, join_states
from graspgen_cli.validate.engines.isaaclab.description import scene_of, simulation_of
from graspgen_cli.validate.engines.isaaclab.draws import vary
from graspgen_cli.validate.engines.isaaclab.mechanism import Mechanism, coupling_effort, mechanism
from graspgen_cli.validate.engines.isaaclab.shaken import all_masses, apply_motion
from graspgen_cli.validate.engines.isaaclab.usd import write_gripper_usd, write_object_usd
from graspgen_cli.validate.engines.isaaclab.world import (
    World,
    apply_wrench,
    finger_force,
    in_play,
    is_finite,
    joint_motion,
    make_step,
    object_pose,
    overlap,
    place,
    set_effort,
    wrench_in_world,
)
from graspgen_cli.validate.progress import Watch, Watched, bounds, look_steps, relative_motion
from graspgen_cli.validate.protocols import Stage, stages

MOST_ENVIRONMENTS = 1024
"""Trials in flight at once where the settings do not say."""


@dataclass(frozen=True, eq=False)
class Job:
    """What the process is asked for: trials of one object, with the physics of `variation`."""

    gripper: Gripper
    target: TargetObject
    grasps: GraspBatch
    variation: Variation
    settings: SimulationSettings
    device: str
    render: bool


@dataclass(frozen=True, eq=False)
class _Course:
    """What happens to the trials of a world.

    closing: (N, J) N or N m: the efforts that close the grippers. pull: (N,) how many times the settings' force a tug pulls with.
    """

    plan: tuple[Stage, ...]
    closing: Floats
    pull: Floats


def run_job(job: Job) -> TrialState:
    """The end states of the job's grasps, in their order. Started inside is left to the caller, who knows the geometry."""
    parts = mechanism(job.gripper)
    size = job.settings.max_num_envs or MOST_ENVIRONMENTS
    with tempfile.TemporaryDirectory(prefix="graspgen-") as name:
        folder = Path(name)
        write_gripper_usd(folder / "gripper.usd", job.gripper, parts, job.settings)
        write_object_usd(folder / "object.usd", job.target, job.settings, object_mass(job.target, job.settings))
        chunks = [slice(i, i + size) for i in range(0, len(job.grasps), size)]
        jobs = [replace(job, grasps=job.grasps[chunk], variation=job.variation[chunk]) for chunk in chunks]
        return join_states([_run_chunk(each, parts, folder) for each in jobs], len(job.gripper.joint_names))


def object_mass(target: TargetObject, settings: SimulationSettings) -> float:
    """kg."""
    return settings.object_mass if settings.object_density is None else settings.object_density * target.volume


def _run_chunk(job: Job, parts: Mechanism, folder: Path) -> TrialState:
    from isaaclab.scene import InteractiveScene
    from isaaclab.sim import build_simulation_context

    with build_simulation_context(sim_cfg=simulation_of(job.settings, job.device)) as simulation:
        # Its callback would wait for ever for somebody to press play when the simulation is stopped.
        simulation._app_control_on_stop_handle = None
        scene = InteractiveScene(scene_of(job.gripper, parts, folder, len(job.grasps)))
        simulation.reset()
        world = in_play(simulation, scene, parts, step=1.0 / job.settings.fps, device=job.device, render=job.render)
        if not job.variation.is_of_tugs_alone:
            vary(world, job.variation)
        place(world, job.gripper, job.grasps)
        return _trials(world, job)


def _trials(world: World, job: Job) -> TrialState:
    """From the placed objects to the end."""
    course = _Course(
        plan=stages(job.gripper, job.settings, object_mass(job.target, job.settings)),
        closing=np.outer(job.variation.grip_force, world.parts.effort),
        pull=job.variation.pull,
    )
    when_closed, every = object_pose(world), np.arange(len(job.grasps))
    watch, interval = _watch(job, tuple(stage.steps for stage in course.plan), when_closed)
    for number, stage in enumerate(course.plan):
        for left in _advance(world, course, stage, interval):
            closed = number > 0 or left == 0
            watch.look(object_pose(world), finger_force(world), stage=number, left=left, closed=closed, overlap=overlap(world))
        if number == 0:
            when_closed = object_pose(world)
    steps = sum(stage.steps for stage in course.plan)
    return _end_state(world, when_closed, bounds(job.gripper, job.target).center_of_mass, steps, watch.measured(every))


def _watch(job: Job, steps: tuple[int, ...], pose_object_in_gripper: Floats) -> tuple[Watch, int]:
    """What notes the measures, and after how many steps it is to look."""
    count, interval = len(pose_object_in_gripper), look_steps(steps, job.settings)
    watch, of = Watch(steps, job.settings, interval=interval, slots=count), bounds(job.gripper, job.target)
    watch.begin(np.arange(count), pose_object_in_gripper, np.tile(of.center_of_mass, (count, 1)), np.full(count, of.radius))
    return watch, interval


def _advance(world: World, course: _Course, stage: Stage, interval: int) -> Iterator[int]:
    """Steps through one stage; yields the number of steps that are left every `interval` steps and at the end."""
    sprung = any(not coupling.rigid for coupling in world.parts.couplings)
    disturb = _disturbance(world, course, stage)
    set_effort(world, course.closing)
    for made in range(stage.steps):
        if sprung:
            set_effort(world, course.closing + coupling_effort(world.parts, *joint_motion(world), world.step))
        disturb(made)
        make_step(world)
        left = stage.steps - made - 1
        if (made + 1) % interval == 0 or left == 0:
            yield left


def _disturbance(world: World, course: _Course, stage: Stage) -> Callable[[int], None]:
    """What is done to the bodies before a step of the stage, by the step's number."""
    motion = stage.base_motion
    if motion is not None:
        masses = all_masses(world)
        return lambda step: apply_motion(world, masses, motion[step])
    if not any(stage.force_in_base):
        return lambda step: None
    force = course.pull[:, None] * np.asarray(stage.force_in_base)
    wrench = wrench_in_world(world, np.pad(force, ((0, 0), (0, 3)))[:, None])
    return lambda step: apply_wrench(world.target, wrench)


def _end_state(world: World, when_closed: Floats, center: Floats, steps: int, watched: Watched) -> TrialState:
    """Nothing ends a trial early: all environments are stepped together."""
    ended, force = object_pose(world), finger_force(world)
    position, _ = joint_motion(world)
    count = len(ended)
    lost = (force == 0).all(axis=1)
    slip = relative_motion(when_closed, ended, np.tile(center, (count, 1)))
    slip[lost] = np.nan
    return TrialState(
        pose_object_in_gripper=ended,
        finger_contact_force=force,
        joint_position=position + world.parts.reference,
        finite=is_finite(world),
        slip=slip,
        smallest_force=watched.smallest_force,
        loss_time=watched.loss_time,
        late_motion=np.where(lost, np.nan, watched.late_motion),
        started_inside=np.zeros(count, bool),
        steps=np.full(count, steps, np.int32),
        penetration=watched.penetration,
    )
