"""The records that flow between the phases: frozen dataclasses over host NumPy arrays. Read this file first.

Conventions: SI units; a pose is a 4 x 4 homogeneous matrix named by both of its frames, so ``pose_gripper_in_object`` takes
points given in the gripper's base frame to the object's frame; the object's frame is its mesh file's frame after scaling.
Arrays are float64 unless said otherwise and are not written to after construction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
TRAINER_MINIMUM_POSITIVES = 5
"""GraspGen's data loader skips an object with fewer positive grasps (``object_in_gripper`` true) than this."""


class Outcome(IntEnum):
    """What is known of a grasp. The lower-case name is what the files hold."""

    UNVALIDATED = 0
    """Free of collision at its opening, not tested in simulation."""
    HELD = 1
    """Both fingers touched the object at the end of the trial, and it met the criterion; with randomised physics, in enough draws."""
    COLLISION = 2
    """Geometric negative: the gripper, at the grasp's opening, is in collision with the object."""
    DROPPED = 3
    """Lost in the simulation."""
    UNSTABLE = 4
    """The simulation diverged; the trial says nothing about the grasp."""

    @property
    def label(self) -> str:
        """The name written to files, such as ``held``."""
        return self.name.lower()


class Measure(IntEnum):
    """What is measured of a grasp in its trial: the columns of `GraspBatch.quality`. The lower-case name is what the files hold."""

    SLIP = 0
    """m: distance that the object's centre of mass moved in the gripper since the grip closed; NaN where the object was lost."""
    TURN = 1
    """rad: angle that it turned."""
    SMALLEST_FORCE = 2
    """N: smallest force of the finger that pressed less, over the looks (every 0.1 s) from the moment the grip had closed."""
    LOSS_TIME = 3
    """s on the protocol's clock: the look from which on not both fingers pressed until the end; NaN where both pressed at the end. The
    clock counts a stage that ended early, because nothing moved any more, with its whole duration."""
    MOTION = 4
    """m: motion of the object's farthest point in the last 0.2 s, by the difference of its poses; NaN where it was lost."""
    OFFSET = 5
    """m: of a hard negative, how far between the pads it lies from the held grasp that it was made from; NaN for all others."""
    OFFSET_TURN = 6
    """rad: angle between the two."""
    ROBUSTNESS = 7
    """g: largest force with which the whole protocol was found to leave the grasp held; NaN where it was not asked for."""
    PENETRATION = 8
    """m: deepest overlap of the object's pieces with the gripper, over the looks from the moment the grip had closed; NaN where the engine
    does not say."""
    HELD_FRACTION = 9
    """Share of the draws of randomised physics in which the grasp held, on which its outcome rests; NaN where none were made. The other
    measures are those of its trial without them."""

    @property
    def label(self) -> str:
        """The name written to files, such as ``slip``."""
        return self.name.lower()


@dataclass(frozen=True, eq=False)
class TriangleMesh:
    """A triangle mesh.

    vertices: (V, 3) float64, m.
    faces: (F, 3) int32, counter-clockwise seen from outside.
    """

    vertices: Floats
    faces: Ints


@dataclass(frozen=True, eq=False)
class Gripper:
    """A two-finger gripper as measured: what it looks like at each of K openings, and how hard and fast it closes.

    The base frame is the frame of `base_body`. Body 0 of `body_names` is the base.
    """

    name: str
    content_hash: str
    """SHA-256 hex digest of everything that describes the gripper: model, meshes and parameters."""
    mjcf: str
    """The model as MJCF text; the base body stands at the origin of the world. The simulation attaches this model."""
    assets: dict[str, bytes]
    """Mesh files that `mjcf` names: file name to content."""
    base_body: str
    finger_bodies: tuple[str, str]
    body_names: tuple[str, ...]
    """B names; the base first."""
    joint_names: tuple[str, ...]
    """J names: every scalar joint of the model, in model order."""
    opening_width: Floats
    """(K,) m, strictly ascending: distance between the two pad surfaces along the closing axis."""
    joint_position: Floats
    """(K, J) m or rad: joint positions at each opening."""
    pose_body_in_base: Floats
    """(K, B, 4, 4): pose of every body at each opening."""
    collision_parts: tuple[tuple[TriangleMesh, ...], ...]
    """For each of the B bodies its convex collision parts, in the body's frame, m."""
    fingertip_in_base: Floats
    """(K, 2, 3) m: for each finger the point of its pad surface that is centred across the pad and lies at the fingertip's end.
    A grasp's contact point lies `bite` behind it, against the approach axis."""
    approach_axis_in_base: Floats
    """(3,) unit: the direction in which the gripper moves towards an object."""
    closing_axis_in_base: Floats
    """(3,) unit: from finger 0 to finger 1."""
    pad_size: Floats
    """(2,) m: the pad's length along the approach axis and its width across."""
    bite: float
    """m: default distance from the fingertip back to the contact point."""
    grip_force: float
    """N: force with which each pad presses when the gripper closes."""
    closing_speed: float
    """m/s: rate at which the opening width shrinks when nothing is in the way."""
    joint_effort: Floats
    """(J,) N or N m: effort on each joint that closes the gripper with `grip_force`; 0 for joints that only follow."""
    joint_damping: Floats
    """(J,) N s/m or N m s/rad: effort / joint speed, so that the free gripper closes at `closing_speed`; 0 where no effort."""
    pose_base_in_graspgen: Floats
    """(4, 4): takes the base frame to GraspGen's convention (approach +Z, closing X, origin at the base link)."""
    symmetric: bool
    """Whether a half turn about the approach axis gives the same grasp."""
    notes: tuple[str, ...] = ()
    """What was assumed because the gripper's file does not say it, in words."""

    @property
    def width(self) -> float:
        """Widest opening, m."""
        return float(self.opening_width[-1])

    @property
    def depth(self) -> float:
        """Distance from the base's origin to the fingertips along the approach axis with the gripper open, m."""
        return float((self.fingertip_in_base[-1] @ self.approach_axis_in_base).mean())

    def nearest_opening(self, width: Floats) -> NDArray[np.intp]:
        """Index of the measured opening nearest to each width (N,), m."""
        upper = np.clip(np.searchsorted(self.opening_width, width), 1, len(self.opening_width) - 1)
        below, above = self.opening_width[upper - 1], self.opening_width[upper]
        return np.where(width - below <= above - width, upper - 1, upper)

    def grip_center(self, opening: NDArray[np.intp]) -> Floats:
        """(N, 3) m: middle between the pads' contact points at opening indices (N,), in the base frame."""
        center: Floats = self.fingertip_in_base[opening].mean(axis=1) - self.bite * self.approach_axis_in_base
        return center


@dataclass(frozen=True, eq=False)
class TargetObject:
    """An object at its real size, ready to be grasped.

    `object_id` is the key of the scales file, unchanged.
    """

    object_id: str
    scale: float
    content_hash: str
    """SHA-256 hex digest of the mesh file's bytes and the scale."""
    mesh: TriangleMesh
    """The mesh on which every geometric decision is made, m, scaled and repaired."""
    watertight: bool
    """Whether `mesh` encloses a volume, so that inside and outside are defined."""
    pieces: tuple[TriangleMesh, ...]
    """Convex pieces that stand for the object in the simulation, m; empty where only guesses are made."""
    mean_gap: float
    """m: mean distance from the pieces' surface to the mesh's outer surface (see geometry.convex)."""
    gap_95: float
    """m: 95 % of the pieces' surface keep within it."""
    largest_gap: float
    """m: largest of those distances."""
    center_of_mass: Floats
    """(3,) m, in the object's frame, for uniform density."""
    volume: float
    """m³."""
    unit_inertia: Floats
    """(3, 3) m²: inertia about the centre of mass, in the object's axes, for a mass of 1 kg."""
    repairs: tuple[str, ...] = ()
    """What was mended, in words."""
    touchable: TriangleMesh | None = None
    """What of `mesh` a gripper can touch, m: on it grasps are guessed; None where no gripper was asked about."""


@dataclass(frozen=True, eq=False)
class GraspBatch:
    """N grasps of one gripper on one object."""

    pose_gripper_in_object: Floats
    """(N, 4, 4): pose of the gripper's base in the object's frame."""
    opening_width: Floats
    """(N,) m: opening at the start of the trial; NaN where a file from elsewhere does not say."""
    outcome: NDArray[np.int8]
    """(N,) values of Outcome."""
    quality: Floats | None = None
    """(N, number of Measures): what was measured of each grasp; NaN where nothing is known, None where that is so of all."""

    def __len__(self) -> int:
        return len(self.outcome)

    def __getitem__(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> GraspBatch:
        quality = None if self.quality is None else self.quality[index]
        return GraspBatch(self.pose_gripper_in_object[index], self.opening_width[index], self.outcome[index], quality)

    @property
    def measured(self) -> Floats:
        """(N, number of Measures): `quality`, or NaN where it is None."""
        return np.full((len(self), len(Measure)), np.nan) if self.quality is None else self.quality

    def count(self, *outcomes: Outcome) -> int:
        """Number of grasps with one of the outcomes."""
        return int(np.isin(self.outcome, [int(o) for o in outcomes]).sum())

    @staticmethod
    def empty() -> GraspBatch:
        """A batch of no grasps."""
        return GraspBatch(np.zeros((0, 4, 4)), np.zeros(0), np.zeros(0, np.int8))

    @staticmethod
    def join(batches: list[GraspBatch]) -> GraspBatch:
        """The grasps of all batches, in order."""
        if not batches:
            return GraspBatch.empty()
        return GraspBatch(
            np.concatenate([b.pose_gripper_in_object for b in batches]),
            np.concatenate([b.opening_width for b in batches]),
            np.concatenate([b.outcome for b in batches]),
            None if all(b.quality is None for b in batches) else np.concatenate([b.measured for b in batches]),
        )


@dataclass(frozen=True, eq=False)
class TrialState:
    """Raw end state of N trials, as a backend returns it; `judge` turns it into outcomes.

    slip: (N, 2) m and rad, `Measure.SLIP` and `Measure.TURN`. smallest_force: (N,) N. loss_time: (N,) s. late_motion: (N,) m,
    `Measure.MOTION`. penetration: (N,) m.
    """

    pose_object_in_gripper: Floats
    """(N, 4, 4) at the end of the trial."""
    finger_contact_force: Floats
    """(N, 2) N: magnitude of the net contact force between each finger and the object at the end."""
    joint_position: Floats
    """(N, J) m or rad at the end."""
    finite: NDArray[np.bool_]
    """(N,): the simulation stayed finite and warned of nothing."""
    slip: Floats
    smallest_force: Floats
    loss_time: Floats
    late_motion: Floats
    started_inside: NDArray[np.bool_]
    """(N,): at the start the object's pieces were deeper in the gripper than the pieces' own error explains."""
    steps: NDArray[np.int32]
    """(N,): simulation steps made before the trial ended."""
    penetration: Floats


@dataclass(frozen=True, eq=False)
class GraspDataset:
    """One object x one gripper: what a grasp file holds."""

    object_id: str
    scale: float
    gripper_name: str
    gripper_width: float
    """m."""
    gripper_depth: float
    """m."""
    grasps: GraspBatch
    provenance: dict[str, Any] = field(default_factory=dict)
    """Digests, settings, seed and versions; no times and no paths, so that the same run gives the same bytes. Empty for files
    that another tool wrote."""
