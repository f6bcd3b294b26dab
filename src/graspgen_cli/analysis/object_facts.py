"""The numbers of one object's grasps, small enough to keep for every object of a large dataset."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graspgen_cli.analysis.counts import OutcomeCounts, ReferenceRate, compared_rate, count_grasps, reference_rates
from graspgen_cli.analysis.drift import Draws, Drift, draws_of, drift_of
from graspgen_cli.dataset.health import Finding, FindingKind, check_grasps
from graspgen_cli.dataset.provenance import Provenance, recorded_steps
from graspgen_cli.formats.format import Entry, ObjectGrasps
from graspgen_cli.geometry.collision import GripperShape, ObjectShape, in_collision
from graspgen_cli.geometry.meshes import face_areas
from graspgen_cli.geometry.poses import inverse, transform_points
from graspgen_cli.records import Floats, GraspBatch, GraspDataset, Gripper, Outcome, TargetObject, TriangleMesh

NEAR, TURNED = 0.001, math.radians(1.0)
"""m and rad: limits of a near-duplicate."""
OPENING_STEP = 0.005
"""m: width of a class of openings."""
OPENING_CLASSES = 40
"""The last class has no upper end."""
DIRECTION_BANDS, DIRECTION_SECTORS = 4, 12
"""Equal cells of the sphere of approach directions: bands of equal height from -z to +z, sectors about z."""
FAR_FACTOR = 10.0
"""A grasp is far from the object if its distance from the median exceeds this multiple of the median distance."""
FARTHEST = 1e9
"""m: coordinates in files are clipped to it, so that no result overflows."""
MANY_DUPLICATES = 0.05
"""Share of near-duplicates among the good grasps above which there is a finding."""
SURFACE_POINTS = 1024
"""Points on the surface of an object: a share of the surface is known to 1.6 percentage points (standard deviation)."""
REACH_MARGIN = 0.001
"""m: a surface this far beyond the pads counts as between them."""
_POSES_AT_ONCE = 256


@dataclass(frozen=True)
class SurfaceFacts:
    """What the mesh shows. coverage: share (0 to 1) of the surface between the pads of a held grasp. colliding: good grasps whose gripper,
    at the grasp's opening, is in collision with the mesh. Both are None for an unknown gripper. unreachable: grasps at which the gripper
    cannot touch the object."""

    coverage: float | None
    colliding: int | None
    unreachable: int


@dataclass(frozen=True, kw_only=True)
class ObjectFacts:
    """The numbers of one object's grasps with one gripper. Good grasps: held grasps, and guesses without a trial."""

    entry: Entry
    gripper: str
    object_id: str
    scale: float
    counts: OutcomeCounts
    near_duplicates: int
    """Good grasps with a near-duplicate."""
    openings: tuple[int, ...]
    """Good grasps in each class of openings."""
    directions: tuple[int, ...]
    """Good grasps in each cell of approach directions."""
    spread: float
    """1 less the length of the mean approach direction of the good grasps: 0 for one direction, near 1 for all directions; NaN without."""
    drift: Drift
    draws: Draws
    surface: SurfaceFacts | None = None
    """None without a mesh."""
    settings: str = ""
    """Digests of the settings of guesses and trials; empty for files of other tools."""
    chosen: bool = False
    """Whether `balance` or `filter` chose the grasps, so that the held rate says nothing about the gripper."""

    @property
    def path(self) -> Path:
        """The file; a member of an archive as if the archive were a folder."""
        return self.entry.shown

    @property
    def reference(self) -> ReferenceRate | None:
        """The rates with which the held rate is compared; None for other grippers, and for chosen grasps."""
        return None if self.chosen else reference_rates().get(self.gripper)

    @property
    def compared(self) -> str:
        """The held rate compared with the reference: ``low``, ``usual`` or ``high``, or empty."""
        return compared_rate(self.counts, self.reference)

    @property
    def opening_mean(self) -> float:
        """m: mean opening of the good grasps, to half a class; NaN if no opening is known."""
        middles = ((k + 0.5) * OPENING_STEP * count for k, count in enumerate(self.openings))
        return sum(middles) / sum(self.openings) if any(self.openings) else math.nan

    @property
    def direction_share(self) -> float:
        """Share of the cells of approach directions with a good grasp."""
        return sum(count > 0 for count in self.directions) / len(self.directions)


def object_facts(found: ObjectGrasps, *, entry: Entry, gripper: str, symmetric: bool) -> tuple[ObjectFacts, list[Finding]]:
    """The facts and findings of one object without its mesh. symmetric: a half turn about the approach axis gives the same grasp."""
    dataset, grasps = found.dataset, found.dataset.grasps
    poses = np.clip(grasps.pose_gripper_in_object, -FARTHEST, FARTHEST) @ found.trainer_frame
    good = np.isin(grasps.outcome, (Outcome.HELD, Outcome.UNVALIDATED))
    approach = poses[good, :3, 2]
    facts = ObjectFacts(
        entry=entry,
        gripper=gripper,
        object_id=dataset.object_id,
        scale=dataset.scale,
        counts=count_grasps(grasps),
        near_duplicates=int(near_duplicates(poses[good], symmetric=symmetric).sum()),
        openings=_opening_classes(grasps.opening_width[good]),
        directions=_direction_cells(approach),
        spread=1.0 - float(np.linalg.norm(approach.mean(axis=0))) if len(approach) else math.nan,
        drift=drift_of(grasps),
        draws=draws_of(grasps),
        settings=_settings_digest(dataset),
        chosen=bool((Provenance.of(dataset) or Provenance()).subset),
    )
    depth = dataset.gripper_depth if abs(dataset.gripper_depth) < FARTHEST else 0.0
    fingertips = poses[:, :3, 3] + depth * poses[:, :3, 2]
    return facts, [*check_grasps(dataset, facts.path, gripper), *_findings(facts, fingertips)]


def _settings_digest(dataset: GraspDataset) -> str:
    return " ".join((step.digest or "")[:12] for step in recorded_steps(dataset).values())


def _opening_classes(widths: Floats) -> tuple[int, ...]:
    known = widths[np.isfinite(widths)]
    classes = (np.clip(known, 0.0, OPENING_STEP * OPENING_CLASSES) / OPENING_STEP + 1e-9).astype(np.int64)
    return tuple(np.bincount(np.minimum(classes, OPENING_CLASSES - 1), minlength=OPENING_CLASSES).tolist())


def _direction_cells(direction: Floats) -> tuple[int, ...]:
    """Number of unit vectors (N, 3) in each cell, band after band."""
    band = np.clip(((direction[:, 2] + 1) / 2 * DIRECTION_BANDS).astype(np.int64), 0, DIRECTION_BANDS - 1)
    turn = np.arctan2(direction[:, 1], direction[:, 0]) / (2 * np.pi) % 1.0
    sector = np.clip((turn * DIRECTION_SECTORS).astype(np.int64), 0, DIRECTION_SECTORS - 1)
    return tuple(np.bincount(band * DIRECTION_SECTORS + sector, minlength=DIRECTION_BANDS * DIRECTION_SECTORS).tolist())


def _findings(facts: ObjectFacts, fingertips: Floats) -> Iterator[Finding]:
    """Grasps far from the others, and many near-duplicates."""
    total, good = facts.counts.total, facts.counts.positive
    away = far_outliers(fingertips)
    if len(away):
        detail = f"{len(away)} of {total} grasps lie far off all others, first grasp {away[0]}"
        yield _finding(FindingKind.FAR_AWAY, facts, detail, len(away))
    if facts.near_duplicates > MANY_DUPLICATES * good:
        yield _finding(FindingKind.NEAR_DUPLICATES, facts, f"{facts.near_duplicates} of {good} good grasps", facts.near_duplicates)


def _finding(kind: FindingKind, facts: ObjectFacts, detail: str, count: int) -> Finding:
    return Finding(kind, facts.path, detail, facts.gripper, facts.object_id, count)


def far_outliers(points: Floats) -> NDArray[np.intp]:
    """Indices of the points (N, 3) farther from the median than FAR_FACTOR times the median distance; none of less than four points."""
    if len(points) < 4:
        return np.zeros(0, np.intp)
    distance = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    # Grasps may all be at one place; the smallest objects are millimetres.
    return np.flatnonzero(distance > FAR_FACTOR * max(float(np.median(distance)), 0.01))


# --- near-duplicates ---------------------------------------------------------------------------------------------------------------------


def near_duplicates(pose_graspgen_in_object: Floats, *, symmetric: bool) -> NDArray[np.bool_]:
    """(N,) which poses (N, 4, 4) of GraspGen's frame have another pose with (d / NEAR)² + (angle / TURNED)² < 1.

    symmetric: a half turn about the approach axis gives the same grasp. Guesses are at least 1 mm or 1° apart, so they never count.
    """
    # The distance alone leaves few poses; a search among all poses in 12 dimensions takes twice as long.
    near = np.flatnonzero(_have_neighbours(pose_graspgen_in_object[:, :3, 3] / NEAR))
    result = np.zeros(len(pose_graspgen_in_object), bool)
    result[near] = _have_neighbours(_points(pose_graspgen_in_object[near], symmetric=symmetric))
    return result


def _have_neighbours(points: Floats) -> NDArray[np.bool_]:
    """(N,) which points (N, D) have another point within a distance of 1."""
    copies, copied = _equal_points(points)
    single = np.flatnonzero(~copies)
    result = copies | copied
    if len(single) > 1:
        # Only the nearest other point: the number of pairs could be the square of the number of grasps.
        tree = cKDTree(points[single], balanced_tree=False, compact_nodes=False)
        distance, _ = tree.query(points[single], k=2, distance_upper_bound=1.0)
        result[single] |= np.isfinite(distance[:, 1])
    return result


def _equal_points(points: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) which points equal an earlier point, and (N,) which have such a copy. No tree can divide equal points."""
    order = np.argsort(points @ np.sqrt(np.arange(2.0, 2.0 + points.shape[1])), kind="stable")
    row = points[order]
    same = (row[1:] == row[:-1]).all(axis=1)
    copies, copied = np.zeros((2, len(points)), bool)
    copies[order[1:]], copied[order[:-1]] = same, same
    return copies, copied


def _points(poses: Floats, *, symmetric: bool) -> Floats:
    """Poses as points whose distance is sqrt((d / NEAR)² + (angle / TURNED)²) for small angles.

    A rotation by a small angle moves the axes x, y, z, as one vector of nine numbers, by √2 times the angle. For a symmetric gripper x xᵀ
    and y yᵀ take their place, which a half turn about z leaves unchanged; together with √2 z they move by twice the angle.
    """
    x, y, z = (poses[:, :3, k] for k in range(3))
    place = poses[:, :3, 3] / NEAR
    if symmetric:
        return np.concatenate([place, _line(x) / (2 * TURNED), _line(y) / (2 * TURNED), z * (math.sqrt(0.5) / TURNED)], axis=1)
    return np.concatenate([place, *(axis / (math.sqrt(2.0) * TURNED) for axis in (x, y, z))], axis=1)


def _line(axis: Floats) -> Floats:
    """(N, 6): the matrix axis axisᵀ, with its off-diagonal entries times √2, since each occurs twice."""
    a, b, c = axis.T
    return np.stack([a * a, b * b, c * c, math.sqrt(2) * a * b, math.sqrt(2) * a * c, math.sqrt(2) * b * c], axis=1)


# --- with the mesh -----------------------------------------------------------------------------------------------------------------------


def with_surface(
    facts: ObjectFacts, found: list[Finding], grasps: ObjectGrasps, target: TargetObject, gripper: GripperShape | None
) -> tuple[ObjectFacts, list[Finding]]:
    """The facts and findings with those of the mesh, which replace findings that rest on the other grasps. gripper: None if unknown."""
    surface = _surface_facts(grasps, target, gripper)
    counts = (
        (FindingKind.FAR_AWAY, surface.unreachable, "grasps cannot touch the object"),
        (FindingKind.IN_COLLISION, surface.colliding or 0, "good grasps are in collision with the mesh"),
    )
    kept = [finding for finding in found if finding.kind is not FindingKind.FAR_AWAY]
    new = [_finding(kind, facts, f"{count} of {facts.counts.total} {what}", count) for kind, count, what in counts if count]
    return replace(facts, surface=surface), kept + new


def _surface_facts(grasps: ObjectGrasps, target: TargetObject, gripper: GripperShape | None) -> SurfaceFacts:
    dataset, frame = grasps.dataset, grasps.pose_graspgen_in_gripper
    poses = dataset.grasps.pose_gripper_in_object
    if gripper is None or frame is None:
        # Only the sizes of the gripper are known.
        depth, width = np.nan_to_num([dataset.gripper_depth, dataset.gripper_width])
        fingertips = transform_points(grasps.pose_graspgen_in_object, np.array([[0.0, 0.0, depth]]))[:, 0]
        return SurfaceFacts(None, None, int(out_of_reach(target.mesh, fingertips, max(float(width), 0.1)).sum()))
    hand = gripper.gripper
    batch = replace(dataset.grasps, pose_gripper_in_object=poses @ frame @ hand.pose_base_in_graspgen)
    opening = hand.nearest_opening(np.where(np.isnan(batch.opening_width), hand.width, batch.opening_width))
    fingertips = transform_points(batch.pose_gripper_in_object, hand.fingertip_in_base[-1].mean(axis=0)[None])[:, 0]
    shape = ObjectShape(target)
    return SurfaceFacts(
        coverage=_coverage(shape, hand, batch, opening, dataset.object_id),
        colliding=_colliding(shape, gripper, batch, opening),
        unreachable=int(out_of_reach(target.mesh, fingertips, hand.width).sum()),
    )


def _coverage(shape: ObjectShape, gripper: Gripper, grasps: GraspBatch, opening: NDArray[np.intp], object_id: str) -> float:
    # The id is the seed, so that every run takes the same points.
    seed = int.from_bytes(hashlib.sha256(object_id.encode()).digest()[:8], "big")
    points = surface_points(shape.outer, SURFACE_POINTS, np.random.Generator(np.random.Philox(seed)))
    held = grasps.outcome == Outcome.HELD
    return float(between_pads(gripper, grasps.pose_gripper_in_object[held], opening[held], points).mean())


def _colliding(shape: ObjectShape, gripper: GripperShape, grasps: GraspBatch, opening: NDArray[np.intp]) -> int:
    good = np.isin(grasps.outcome, (Outcome.HELD, Outcome.UNVALIDATED))
    return int(in_collision(shape, gripper, grasps.pose_gripper_in_object[good], opening[good]).sum())


def out_of_reach(mesh: TriangleMesh, fingertips: Floats, reach: float) -> NDArray[np.bool_]:
    """(N,) whether points between the fingertips (N, 3) are more than `reach` m from the mesh's bounding box."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    outside = np.maximum(np.maximum(low - fingertips, fingertips - high), 0.0)
    return np.asarray(np.linalg.norm(outside, axis=1) > reach)


def surface_points(mesh: TriangleMesh, count: int, rng: np.random.Generator) -> Floats:
    """(count, 3) points over the surface: at equal steps of area, at random within each face."""
    corners = mesh.vertices[mesh.faces]
    ends = np.cumsum(face_areas(corners))
    at = (np.arange(count) + rng.random()) / count * ends[-1]
    face = np.minimum(np.searchsorted(ends, at), len(ends) - 1)
    first, second = rng.random((2, count))
    first, second = np.where(first + second > 1, 1 - first, first), np.where(first + second > 1, 1 - second, second)
    a, b, c = np.moveaxis(corners[face], 1, 0)
    return a + first[:, None] * (b - a) + second[:, None] * (c - a)


def between_pads(gripper: Gripper, pose_gripper_in_object: Floats, opening: NDArray[np.intp], points: Floats) -> NDArray[np.bool_]:
    """(P,) whether points (P, 3) of the object lie in the box between the pads at one of the poses (N, 4, 4) and opening indices (N,)."""
    approach, closing = gripper.approach_axis_in_base, gripper.closing_axis_in_base
    axes = np.stack([approach, closing, np.cross(approach, closing)])  # rows
    tips = gripper.fingertip_in_base.mean(axis=1)  # (K, 3)
    covered = np.zeros(len(points), bool)
    for start in range(0, len(opening), _POSES_AT_ONCE):
        some = slice(start, start + _POSES_AT_ONCE)
        seen = transform_points(inverse(pose_gripper_in_object[some]), points[~covered][None]) - tips[opening[some], None]
        along, across, beside = np.moveaxis(seen @ axes.T, -1, 0)
        inside = (along <= REACH_MARGIN) & (along >= -gripper.pad_size[0]) & (np.abs(beside) <= gripper.pad_size[1] / 2)
        inside &= np.abs(across) <= gripper.opening_width[opening[some], None] / 2 + REACH_MARGIN
        covered[~covered] = inside.any(axis=0)
    return covered
