"""Randomised physics: what differs between the draws of one grasp, and how it is drawn."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from graspgen_cli.geometry.poses import about, pose
from graspgen_cli.records import Floats, GraspBatch, Gripper
from graspgen_cli.settings.trials import RandomizationSettings

_SALT = "randomize"
"""Keeps these draws apart from those of the guesses."""


@dataclass(frozen=True, eq=False)
class Variation:
    """How the physics of N trials differs from what the settings, the object and the gripper say.

    friction, mass, grip_force, tug_force: (N,) factors; the inertia and the force of a tug, which is given in g, grow with the mass.
    center_offset: (N, 3) m: of the centre of mass, in the object's axes.
    """

    friction: Floats
    mass: Floats
    grip_force: Floats
    tug_force: Floats
    center_offset: Floats

    def __getitem__(self, index: NDArray[np.intp] | slice) -> Variation:
        return Variation(**{name: getattr(self, name)[index] for name in Variation.__dataclass_fields__})

    @staticmethod
    def of_tugs(tug_force: Floats) -> Variation:
        """Nothing but the tugs' forces is another."""
        usual = np.ones(len(tug_force))
        return Variation(usual, usual, usual, tug_force, np.zeros((len(tug_force), 3)))

    @property
    def is_of_tugs_alone(self) -> bool:
        """Whether bodies and grip are the usual ones."""
        factors = (self.friction, self.mass, self.grip_force)
        return all(bool((each == 1.0).all()) for each in factors) and not self.center_offset.any()

    @property
    def pull(self) -> Floats:
        """(N,) how many times the settings' force a tug pulls with."""
        return self.mass * self.tug_force


@dataclass(frozen=True, eq=False)
class _Draws:
    """What was drawn for one grasp: rows of a nominal trial, then of K draws.

    motion: (K + 1, 6): translation (m) and rotation vector (rad) of the gripper in its own frame.
    """

    variation: Variation
    motion: Floats


def drawn_trials(gripper: Gripper, object_id: str, grasps: GraspBatch, settings: RandomizationSettings) -> tuple[GraspBatch, Variation]:
    """N x (K + 1) trials, those of one grasp behind one another: first the grasp as it is, then its K draws.

    A draw depends on the seed, the object's id, the grasp's own numbers and the draw's number, on nothing else: not on the grasp's place in
    the batch, and not on how many draws there are.
    """
    draws = [_drawn(object_id, grasps[row : row + 1], settings) for row in range(len(grasps))]
    trials = grasps[np.repeat(np.arange(len(grasps)), settings.randomize_draws + 1)]
    motion = np.concatenate([each.motion for each in draws])
    center = gripper.grip_center(gripper.nearest_opening(trials.opening_width))
    moved = trials.pose_gripper_in_object @ about(center, pose(Rotation.from_rotvec(motion[:, 3:]).as_matrix(), motion[:, :3]))
    fields = Variation.__dataclass_fields__
    variation = Variation(**{name: np.concatenate([getattr(each.variation, name) for each in draws]) for name in fields})
    return replace(trials, pose_gripper_in_object=moved), variation


def nominal_rows(grasps: int, settings: RandomizationSettings) -> NDArray[np.intp]:
    """(grasps,) which of the drawn trials are the grasps as they are."""
    return np.arange(grasps) * (settings.randomize_draws + 1)


def _drawn(object_id: str, grasp: GraspBatch, settings: RandomizationSettings) -> _Draws:
    generator = _generator(settings.seed, object_id, grasp)
    # Draw after draw, so that the first ones do not depend on how many there are.
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
    return _Draws(variation, np.concatenate([np.zeros((1, 6)), motion]))


def _generator(seed: int, object_id: str, grasp: GraspBatch) -> np.random.Generator:
    """The generator of one grasp, a batch of one: a file holds its numbers exactly."""
    # Zero may have been written without its sign.
    numbers = np.concatenate([grasp.pose_gripper_in_object.ravel(), grasp.opening_width]).astype("<f8") + 0.0
    digest = hashlib.sha256(f"{_SALT}\0{object_id}\0".encode() + numbers.tobytes()).digest()
    words = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4))
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=words)))
