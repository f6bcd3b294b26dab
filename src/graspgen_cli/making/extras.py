"""Hard negatives and robustness scores.

A hard negative is a held grasp moved in small steps until the simulation drops the object: a discriminator learns the boundary from it. The
robustness of a held grasp is the largest force with which it survives the whole protocol.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from graspgen_cli.geometry.collision import in_collision
from graspgen_cli.geometry.poses import about, pose
from graspgen_cli.guess.loop import near_duplicates
from graspgen_cli.guess.proposals import seeded_generator
from graspgen_cli.making.rounds import ObjectState, ObjectWork
from graspgen_cli.making.task import Counts
from graspgen_cli.records import Floats, GraspBatch, Measure, Outcome
from graspgen_cli.settings.trials import JudgeSettings
from graspgen_cli.validate.engine import Variation
from graspgen_cli.validate.trials import run_trials

STEP, STEP_TURN = 0.002, math.radians(3.0)
"""m and rad: length of a step."""
STEPS = 10
"""Most steps of a walk: a grasp farther away is no neighbour."""
WALKS = 8
"""Most walks from each held grasp, in different directions."""
_SALT = "hard negatives"
"""Separates the random numbers from those of the guesses."""


def add_hard_negatives(work: ObjectWork, state: ObjectState) -> ObjectState:
    """Adds hard negatives until the quota is full or every held grasp has had WALKS walks.

    The first dropped grasp of a walk is taken. A walk ends if the gripper, at the opening of the grasp, is in collision.
    """
    held = state.grasps[state.grasps.outcome == Outcome.HELD]
    walk = 0
    while (missing := work.settings.extras.hard_negatives - Counts.of(state.grasps).hard_negatives) > 0 and walk < WALKS * len(held):
        # Every held grasp has one walk before any has two.
        sources = np.arange(walk, min(walk + missing, WALKS * len(held)))
        found, tested, tested_held = _walk(work, held[sources % len(held)], sources)
        walk = int(sources[-1]) + 1
        fresh = ~near_duplicates(work.gripper.gripper, state.grasps.pose_gripper_in_object, found.pose_gripper_in_object)
        state = replace(
            state,
            grasps=GraspBatch.join([state.grasps, found[fresh]]),
            tested=state.tested + tested,
            tested_held=state.tested_held + tested_held,
        )
    return state


def _walk(work: ObjectWork, start: GraspBatch, number: NDArray[np.intp]) -> tuple[GraspBatch, int, int]:
    """The first dropped grasps of one walk from each grasp of `start`, in order, and the numbers of grasps tried and held. number: (N,)
    number of each walk, which decides its direction."""
    model = work.gripper.gripper
    direction, axis = _directions(work, number)
    opening = model.nearest_opening(start.opening_width)
    center = model.grip_center(opening)
    walking, tested, held = np.arange(len(start)), 0, 0
    found: dict[int, GraspBatch] = {}
    for step in range(1, STEPS + 1):
        motion = pose(Rotation.from_rotvec(step * STEP_TURN * axis[walking]).as_matrix(), step * STEP * direction[walking])
        poses = start.pose_gripper_in_object[walking] @ about(center[walking], motion)
        free = ~in_collision(work.shape, work.gripper, poses, opening[walking])
        walking, poses = walking[free], poses[free]
        if walking.size == 0:
            break
        result = _tried(work, replace(start[walking], pose_gripper_in_object=poses, outcome=np.zeros(len(walking), np.int8)), step)
        tested, held = tested + len(walking), held + result.count(Outcome.HELD)
        dropped = result.outcome == Outcome.DROPPED
        found |= {int(walking[row]): result[np.array([row])] for row in np.flatnonzero(dropped)}
        walking = walking[~dropped]
    return GraspBatch.join([found[row] for row in sorted(found)]), tested, held


def _tried(work: ObjectWork, grasps: GraspBatch, step: int) -> GraspBatch:
    """The grasps with outcomes and measures, and their offset from the held grasp."""
    assert work.backend is not None
    quality = np.full((len(grasps), len(Measure)), np.nan)
    quality[:, Measure.OFFSET], quality[:, Measure.OFFSET_TURN] = round(step * STEP, 6), round(step * STEP_TURN, 5)
    settings = work.settings.updated(max_num_grasps=0)
    return run_trials(
        work.backend,
        work.gripper.gripper,
        work.target,
        replace(grasps, quality=quality),
        settings.simulation,
        criterion=settings.judge,
        randomization=settings.randomization,
    ).grasps


def _directions(work: ObjectWork, number: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """(N, 3) unit directions of motion and (N, 3) unit axes of rotation, in the gripper's base frame, by the seed, the object and the
    number of each walk."""
    content = f"{_SALT}\0{work.target.object_id}".encode()
    draws = [seeded_generator(work.settings.guess.seed, content, int(each)).normal(size=(2, 3)) for each in number]
    unit = np.array(draws) / np.linalg.norm(draws, axis=2, keepdims=True)
    return unit[:, 0], unit[:, 1]


LARGEST = 32.0
"""Largest force, as a multiple of the protocol's."""
ROUNDS = 5
"""Bisections on a logarithmic scale, which find the score to a factor of 32^(1/32), 11 %."""


def add_robustness(work: ObjectWork, state: ObjectState) -> ObjectState:
    """Adds the missing scores of held grasps."""
    wanted = (state.grasps.outcome == Outcome.HELD) & np.isnan(state.grasps.measured[:, Measure.ROBUSTNESS])
    if not work.settings.extras.robustness or not wanted.any():
        return state
    quality = state.grasps.measured.copy()
    quality[wanted, Measure.ROBUSTNESS] = scores(work, state.grasps[wanted])
    return replace(state, grasps=replace(state.grasps, quality=quality))


def scores(work: ObjectWork, grasps: GraspBatch) -> Floats:
    """(N,) the largest force in g with which each grasp survives the whole protocol, by the criterion of the settings.

    Each bisection is one batch of trials on the engine of the run, with a force for each grasp.
    """
    survived = np.zeros(len(grasps), np.int64)  # rungs of a ladder of 2**ROUNDS forces; held grasps survive the lowest
    for bit in reversed(range(ROUNDS)):
        higher = survived + (1 << bit)
        survived = np.where(_holds(work, grasps, _times(higher)), higher, survived)
    found: Floats = np.round(work.settings.simulation.force_magnitude * _times(survived), 4)
    return found


def robustness_record(criterion: JudgeSettings) -> dict[str, Any]:
    """The record of how scores are found."""
    return {"largest": LARGEST, "rounds": ROUNDS, **criterion.model_dump(mode="json", exclude_none=True)}


def without_scores(state: ObjectState) -> ObjectState:
    """The grasps without scores."""
    quality = state.grasps.measured.copy()
    quality[:, Measure.ROBUSTNESS] = np.nan
    return replace(state, grasps=replace(state.grasps, quality=quality))


def _times(rung: NDArray[np.int64]) -> Floats:
    """(N,) multiples of the protocol's force at rungs (N,) of the ladder."""
    times: Floats = LARGEST ** (rung / (1 << ROUNDS))
    return times


def _holds(work: ObjectWork, grasps: GraspBatch, strength: Floats) -> NDArray[np.bool_]:
    """(N,) whether the protocol with these multiples (N,) of its force leaves each grasp held."""
    assert work.backend is not None
    settings = work.settings.updated(max_num_grasps=0)
    tried = run_trials(
        work.backend,
        work.gripper.gripper,
        work.target,
        grasps,
        settings.simulation,
        criterion=settings.judge,
        variation=Variation.of_tugs(strength),
    )
    return tried.grasps.outcome == Outcome.HELD
