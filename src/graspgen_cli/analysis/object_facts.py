"""How many grasps are one grasp for every purpose: an exact search that stays quick whatever the poses are.

The numbers of one object's grasps: what a worker finds out, small enough to keep for every object of a large dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graspgen_cli.analysis.counts import ObjectCounts, count_grasps
from graspgen_cli.analysis.drift import Draws, Drift, draws_of, drift_of
from graspgen_cli.analysis.surface import SurfaceFacts
from graspgen_cli.dataset.health import Finding, FindingKind, check_grasps
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Outcome

NEAR = 0.001
"""m."""
TURNED = math.radians(1.0)
"""rad."""
_STEP, _LARGEST = 1.001, 1e9
"""From one grid to the next, and the largest coordinate for which what it has above 1 is more than any error of rounding."""
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64).view(np.int64)
"""Odd numbers that spread cells over the entries of a table, taken from the products' highest bits."""


def near_duplicates(pose_graspgen_in_object: Floats, *, symmetric: bool) -> NDArray[np.bool_]:
    """(N,) which grasps have another one so near that (d / NEAR)² + (angle / TURNED)² < 1, of poses (N, 4, 4) of GraspGen's frame.

    symmetric: a half turn about the approach axis gives the same grasp. Grasps that generating keeps apart, by 1 mm or by 1°, never count.
    """
    places = pose_graspgen_in_object[:, :3, 3] / NEAR
    candidates = np.flatnonzero(_may_have_neighbours(places))
    near = candidates[_have_neighbours(places[candidates])]
    result = np.zeros(len(pose_graspgen_in_object), bool)
    result[near] = _have_neighbours(_points(pose_graspgen_in_object[near], symmetric=symmetric))
    return result


def _may_have_neighbours(points: Floats) -> NDArray[np.bool_]:
    """(N,) which points (N, 3) share a cell with another one in one of four grids: all that have one within a distance of 1, and some
    others. It leaves few to make a tree of, in a fifth of the time that a tree of all takes.

    Cells are 4 wide, and each grid lies 1 farther along all axes than the one before. Each coordinate of two points so near is parted by
    one grid at most, so that one grid is left that parts none of them.
    """
    number = len(points)
    if number == 0 or np.abs(points).max() > _LARGEST:
        return np.ones(number, bool)
    bits = min(number.bit_length() + 5, 20)  # of 50 cells that are alone one has to share its entry of the table
    last, order = np.empty(1 << bits, np.int32), np.arange(number, dtype=np.int32)
    result = np.zeros(number, bool)
    for shift in range(4):
        cells = np.floor(points / (4 * _STEP) + shift / 4).astype(np.int64)
        entry = (cells @ _FACTORS).view(np.uint64) >> np.uint64(64 - bits)
        last[entry] = order
        earlier = last[entry] != order
        result |= earlier
        result[last[entry[earlier]]] = True
    return result


def _have_neighbours(points: Floats) -> NDArray[np.bool_]:
    """(N,) which points (N, D) have another one within a distance of 1."""
    copies, copied = _equal_points(points)
    single = np.flatnonzero(~copies)
    result = copies | copied
    if len(single) > 1:
        # The nearest other point alone: pairs would be as many as the square of the grasps where all are near each other.
        tree = cKDTree(points[single], balanced_tree=False, compact_nodes=False)
        distance, _ = tree.query(points[single], k=2, distance_upper_bound=1.0)
        result[single] |= np.isfinite(distance[:, 1])
    return result


def _equal_points(points: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) which points equal one before them, and (N,) which have such a copy. No tree can divide equal points."""
    order = np.argsort(points @ np.sqrt(np.arange(2.0, 2.0 + points.shape[1])), kind="stable")
    row = points[order]
    same = (row[1:] == row[:-1]).all(axis=1)
    copies, copied = np.zeros((2, len(points)), bool)
    copies[order[1:]], copied[order[:-1]] = same, same
    return copies, copied


def _points(poses: Floats, *, symmetric: bool) -> Floats:
    """Poses as points whose distance is sqrt((d / NEAR)² + (angle / TURNED)²) for small angles.

    Turning the axes x, y, z by a small angle moves them, as one vector of nine numbers, by √2 times the angle. The matrices x xᵀ and y yᵀ
    do not know the sign of their axes, so that a half turn about z changes nothing; with √2 z beside them the distance is twice the angle.
    """
    x, y, z = (poses[:, :3, k] for k in range(3))
    place = poses[:, :3, 3] / NEAR
    if symmetric:
        return np.concatenate([place, _line(x) / (2 * TURNED), _line(y) / (2 * TURNED), z * (math.sqrt(0.5) / TURNED)], axis=1)
    return np.concatenate([place, *(axis / (math.sqrt(2.0) * TURNED) for axis in (x, y, z))], axis=1)


def _line(axis: Floats) -> Floats:
    """(N, 6): the matrix axis axisᵀ, its entries off the diagonal times √2 for standing twice in it."""
    a, b, c = axis.T
    return np.stack([a * a, b * b, c * c, math.sqrt(2) * a * b, math.sqrt(2) * a * c, math.sqrt(2) * b * c], axis=1)


OPENING_STEP = 0.005
"""m: width of a class of the opening widths."""
OPENING_CLASSES = 40
"""The last class takes all that is wider."""
DIRECTION_BANDS, DIRECTION_SECTORS = 4, 12
"""The sphere of approach directions in cells of one size: bands of equal height, from -z to +z, each in sectors about z."""
FAR_FACTOR = 10.0
"""A grasp this many times farther from the middle of an object's grasps than half of them are does not belong to the object."""
FARTHEST = 1e9
"""m: what a file puts farther off is taken to be there, so that no number made of it is beyond what a number can be."""
MANY_DUPLICATES = 0.05
"""Share of the good grasps from which on near-duplicates are worth telling."""


@dataclass(frozen=True, kw_only=True)
class ObjectFacts:
    """What is known of one object's grasps with one gripper. Good grasps are held ones and guesses that were not tested."""

    path: Path
    """The file; a member of an archive as if the archive were a folder."""
    gripper: str
    scale: float
    counts: ObjectCounts
    near_duplicates: int
    """Good grasps that have another one closer than 1 mm and 1° together (see `nearness`)."""
    openings: tuple[int, ...]
    """Good grasps in each class of the opening width."""
    directions: tuple[int, ...]
    """Good grasps in each cell of the approach directions."""
    spread: float
    """1 less the length of the mean approach direction of the good grasps: 0 all from one side, near 1 from all sides; NaN without."""
    drift: Drift
    """How far the objects of held grasps moved in the gripper, and how deep they were in it, where the file says."""
    draws: Draws
    """How the grasps fared with randomised physics, where the file says."""
    surface: SurfaceFacts | None = None
    """None unless the mesh was looked at."""
    settings: str = ""
    """Digest of how the grasps were made and tried; empty for other tools' files."""
    chosen: bool = False
    """Whether `balance` or `filter` chose the grasps, so that the share that held says nothing of the gripper any more."""

    @property
    def opening_known(self) -> int:
        """Good grasps whose opening the file gives."""
        return sum(self.openings)

    @property
    def direction_share(self) -> float:
        """Share of the cells of approach directions in which there is a good grasp."""
        return sum(count > 0 for count in self.directions) / len(self.directions)


def object_facts(
    dataset: GraspDataset, *, path: Path, gripper: str, pose_graspgen_in_gripper: Floats, symmetric: bool
) -> tuple[ObjectFacts, list[Finding]]:
    """The facts of one object without its mesh, and what is wrong with its grasps.

    pose_graspgen_in_gripper: (4, 4), GraspGen's frame (approach +Z, closing X) in the frame of the file's poses.
    """
    grasps = dataset.grasps
    seen = np.clip(grasps.pose_gripper_in_object, -FARTHEST, FARTHEST) @ pose_graspgen_in_gripper
    good = is_good(grasps)
    good_poses = seen[good]
    facts = ObjectFacts(
        path=path,
        gripper=gripper,
        scale=dataset.scale,
        counts=count_grasps(dataset.object_id, path.name, grasps),
        near_duplicates=int(near_duplicates(good_poses, symmetric=symmetric).sum()),
        openings=_opening_classes(grasps.opening_width[good]),
        directions=_direction_cells(good_poses[:, :3, 2]),
        spread=_spread(good_poses[:, :3, 2]),
        drift=drift_of(grasps),
        draws=draws_of(grasps),
        settings=_settings_digest(dataset),
        chosen="subset" in dataset.provenance,
    )
    depth = dataset.gripper_depth if abs(dataset.gripper_depth) < FARTHEST else 0.0
    return facts, [*check_grasps(dataset, path, gripper), *_findings(facts, seen, depth)]


def is_good(grasps: GraspBatch) -> NDArray[np.bool_]:
    """(N,) grasps that the trainer takes for good: held ones and guesses that were not tested."""
    return (grasps.outcome == Outcome.HELD) | (grasps.outcome == Outcome.UNVALIDATED)


def _settings_digest(dataset: GraspDataset) -> str:
    """The digests of guesses and trials in a file of ours."""
    records = (dataset.provenance.get(part) for part in ("guess", "simulation"))
    return " ".join(str(record.get("digest", ""))[:12] for record in records if isinstance(record, dict))


def _opening_classes(widths: Floats) -> tuple[int, ...]:
    known = widths[np.isfinite(widths)]
    classes = (np.clip(known, 0.0, OPENING_STEP * OPENING_CLASSES) / OPENING_STEP + 1e-9).astype(np.int64)
    classes = np.minimum(classes, OPENING_CLASSES - 1)
    return tuple(np.bincount(classes, minlength=OPENING_CLASSES).tolist())


def _direction_cells(direction: Floats) -> tuple[int, ...]:
    """Number of unit vectors (N, 3) in each cell, band after band."""
    band = np.clip(((direction[:, 2] + 1) / 2 * DIRECTION_BANDS).astype(np.int64), 0, DIRECTION_BANDS - 1)
    turn = np.arctan2(direction[:, 1], direction[:, 0]) / (2 * np.pi) % 1.0
    sector = np.clip((turn * DIRECTION_SECTORS).astype(np.int64), 0, DIRECTION_SECTORS - 1)
    return tuple(np.bincount(band * DIRECTION_SECTORS + sector, minlength=DIRECTION_BANDS * DIRECTION_SECTORS).tolist())


def _spread(direction: Floats) -> float:
    return 1.0 - float(np.linalg.norm(direction.mean(axis=0))) if len(direction) else math.nan


def _findings(facts: ObjectFacts, pose_graspgen_in_object: Floats, depth: float) -> Iterator[Finding]:
    """Grasps far from the others, and near-duplicates."""
    total, good = facts.counts.total, facts.counts.positive
    away = far_outliers(pose_graspgen_in_object[:, :3, 3] + depth * pose_graspgen_in_object[:, :3, 2])
    found = []
    if len(away):
        found.append((FindingKind.FAR_AWAY, f"{len(away)} of {total} grasps lie far off all others, first grasp {away[0]}", len(away)))
    if facts.near_duplicates > MANY_DUPLICATES * good:
        found.append((FindingKind.NEAR_DUPLICATES, f"{facts.near_duplicates} of {good} good grasps", facts.near_duplicates))
    for kind, detail, count in found:
        yield Finding(kind, facts.path, detail, facts.gripper, facts.counts.object_id, count)


def far_outliers(points: Floats) -> NDArray[np.intp]:
    """Indices of the points (N, 3) that are more than FAR_FACTOR times the median distance from the median of all. At least four are
    needed to say which ones belong together."""
    if len(points) < 4:
        return np.zeros(0, np.intp)
    distance = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    # Grasps may all be at one place; the smallest objects are millimetres.
    return np.flatnonzero(distance > FAR_FACTOR * max(float(np.median(distance)), 0.01))
