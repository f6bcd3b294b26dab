"""Grasps in, outcomes out: which grasps are tried, with which draws of randomised physics, and what their trials say."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from graspgen_cli.geometry.poses import about, pose
from graspgen_cli.guess.proposals import seeded_generator
from graspgen_cli.records import Floats, GraspBatch, Gripper, Measure, Outcome, TargetObject
from graspgen_cli.settings.trials import JudgeSettings, RandomizationSettings, SimulationSettings
from graspgen_cli.validate.engine import Backend, Variation, rows
from graspgen_cli.validate.judge import BOTH_FINGERS, judge, judge_fraction, measures

_OF_TRIALS = ~np.isin(np.arange(len(Measure)), [Measure.OFFSET, Measure.OFFSET_TURN])
"""(number of Measures,): the measures that a trial gives. The others are known before the trial."""
_SALT = "randomize"
"""Keeps these draws apart from the draws of the guesses."""


@dataclass(frozen=True, eq=False)
class TrialResult:
    """The grasps with the outcomes of their trials.

    tested: (N,) the grasps that were tried. started_inside: number of these that began deeper in the gripper than the error of the
    convex pieces explains. steps: simulation steps made.
    """

    grasps: GraspBatch
    tested: NDArray[np.bool_]
    started_inside: int
    steps: int


def run_trials(
    backend: Backend,
    gripper: Gripper,
    target: TargetObject,
    grasps: GraspBatch,
    settings: SimulationSettings,
    *,
    criterion: JudgeSettings = BOTH_FINGERS,
    randomization: RandomizationSettings | None = None,
    variation: Variation | None = None,
) -> TrialResult:
    """Tries every grasp but the geometric negatives, and at most the first `max_num_grasps` if that is set. The other grasps keep their
    outcomes.

    randomization: if on, each grasp is also tried with varied physics, and the share of these trials that held decides the outcome.
    variation: of grasps that are tried once.
    """
    tested = grasps.outcome != Outcome.COLLISION
    if settings.max_num_grasps:
        tested &= np.cumsum(tested) <= settings.max_num_grasps
    if not tested.any():
        return TrialResult(grasps, tested, 0, 0)
    trials, variation = grasps[tested], variation and variation[np.flatnonzero(tested)]
    if randomization is not None and randomization.randomize:
        trials, variation = drawn_trials(gripper, target.object_id, trials, randomization)
        state = backend.run(gripper, target, trials, settings, variation)
        nominal = rows(state, nominal_rows(int(tested.sum()), randomization))
        held = (judge(state, criterion) == Outcome.HELD).reshape(len(nominal.steps), -1)[:, 1:]
        measured = measures(nominal)
        measured[:, Measure.HELD_FRACTION] = np.round(held.mean(axis=1), 6)
        judged = judge_fraction(judge(nominal, criterion), measured, randomization.randomize_threshold)
    else:
        state = nominal = backend.run(gripper, target, trials, settings, variation)
        measured, judged = measures(state), judge(state, criterion)
    outcome, quality = grasps.outcome.copy(), grasps.measured.copy()
    outcome[tested] = judged
    quality[tested] = np.where(_OF_TRIALS, measured, quality[tested])
    inside = int(nominal.started_inside.sum())
    return TrialResult(replace(grasps, outcome=outcome, quality=quality), tested, inside, int(state.steps.sum()))


def drawn_trials(gripper: Gripper, object_id: str, grasps: GraspBatch, settings: RandomizationSettings) -> tuple[GraspBatch, Variation]:
    """N x (K + 1) trials, grouped by grasp: first the grasp with the physics of the settings, then its K draws.

    A draw depends on the seed, the object's id, the grasp's own numbers and the number of the draw; not on the grasp's place in the batch
    and not on K.
    """
    draws = [_draws(object_id, grasps[row : row + 1], settings) for row in range(len(grasps))]
    trials = grasps[np.repeat(np.arange(len(grasps)), settings.randomize_draws + 1)]
    motion = np.concatenate([motion for _, motion in draws])
    center = gripper.grip_center(gripper.nearest_opening(trials.opening_width))
    moved = trials.pose_gripper_in_object @ about(center, pose(Rotation.from_rotvec(motion[:, 3:]).as_matrix(), motion[:, :3]))
    fields = Variation.__dataclass_fields__
    variation = Variation(**{name: np.concatenate([getattr(each, name) for each, _ in draws]) for name in fields})
    return replace(trials, pose_gripper_in_object=moved), variation


def nominal_rows(grasps: int, settings: RandomizationSettings) -> NDArray[np.intp]:
    """(grasps,) the rows of `drawn_trials` that have the physics of the settings."""
    return np.arange(grasps) * (settings.randomize_draws + 1)


def _draws(object_id: str, grasp: GraspBatch, settings: RandomizationSettings) -> tuple[Variation, Floats]:
    """The variation of one grasp's K + 1 trials and the gripper's motion in them (K + 1, 6): translation (m) and rotation vector (rad) in
    its own frame. Row 0 is the nominal trial."""
    generator = _generator(settings.seed, object_id, grasp)
    # Draw after draw, so that the first draws do not depend on the number of draws.
    drawn = [(generator.random(6), generator.standard_normal(6)) for _ in range(settings.randomize_draws)]
    uniform = np.array([each for each, _ in drawn])
    noise = np.array([each for _, each in drawn])

    def factor(limits: tuple[float, float], column: int) -> Floats:
        return np.concatenate([[1.0], limits[0] + (limits[1] - limits[0]) * uniform[:, column]])

    motion = noise * np.repeat([settings.randomize_position, settings.randomize_rotation], 3)
    offset = settings.randomize_center_of_mass * (2.0 * uniform[:, 3:] - 1.0)
    variation = Variation(
        friction=factor(settings.randomize_friction, 0),
        mass=factor(settings.randomize_mass, 1),
        grip_force=factor(settings.randomize_grip_force, 2),
        tug_force=np.ones(settings.randomize_draws + 1),
        center_offset=np.concatenate([np.zeros((1, 3)), offset]),
    )
    return variation, np.concatenate([np.zeros((1, 6)), motion])


def _generator(seed: int, object_id: str, grasp: GraspBatch) -> np.random.Generator:
    """The generator of one grasp, a batch of one. A grasp file holds the grasp's numbers exactly, so it gives the same generator."""
    # Zero may have been written without its sign.
    numbers = np.concatenate([grasp.pose_gripper_in_object.ravel(), grasp.opening_width]).astype("<f8") + 0.0
    return seeded_generator(seed, f"{_SALT}\0{object_id}\0".encode() + numbers.tobytes())
