"""What a mesh says of its grasps: which are in collision, which cannot reach it, and how much of its surface is held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.collision import GripperShape, ObjectShape, in_collision
from graspgen_cli.geometry.meshes import face_areas
from graspgen_cli.geometry.poses import inverse, transform_points
from graspgen_cli.records import Floats, GraspBatch, Gripper, Outcome, TriangleMesh

POINTS = 1024
"""Points of the surface that stand for all of it: a share is known to 1.6 percentage points (one standard deviation) or better."""
REACH_MARGIN = 0.001
"""m: a surface this little beyond the pads still counts as between them."""
_AT_ONCE = 256


@dataclass(frozen=True)
class SurfaceFacts:
    """coverage: share (0 to 1) of the surface between the pads of at least one held grasp. colliding: good grasps whose gripper, at the
    grasp's opening, is in collision with the mesh. unreachable: grasps so far off that the gripper cannot touch the object. The first two
    are None where the gripper is not known."""

    coverage: float | None
    colliding: int | None
    unreachable: int


def surface_facts(shape: ObjectShape, gripper: GripperShape, grasps: GraspBatch, rng: np.random.Generator) -> SurfaceFacts:
    """The facts of grasps whose poses are of the gripper's base. An opening that is not known is taken to be the widest."""
    known = np.where(np.isnan(grasps.opening_width), gripper.gripper.width, grasps.opening_width)
    opening = gripper.gripper.nearest_opening(known)
    good = np.isin(grasps.outcome, (Outcome.HELD, Outcome.UNVALIDATED))
    held = grasps.outcome == Outcome.HELD
    poses = grasps.pose_gripper_in_object
    points = surface_points(shape.outer, POINTS, rng)
    covered = between_pads(gripper.gripper, poses[held], opening[held], points)
    return SurfaceFacts(
        coverage=float(covered.mean()),
        colliding=int(in_collision(shape, gripper, poses[good], opening[good]).sum()),
        unreachable=int(out_of_reach(shape.mesh, _grip_points(gripper.gripper, poses), gripper.gripper.width).sum()),
    )


def _grip_points(gripper: Gripper, poses: Floats) -> Floats:
    return transform_points(poses, gripper.fingertip_in_base[-1].mean(axis=0)[None])[:, 0]


def out_of_reach(mesh: TriangleMesh, grip_points: Floats, reach: float) -> NDArray[np.bool_]:
    """(N,) whether points between the fingertips (N, 3) are more than `reach` m from the mesh's bounding box."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    outside = np.maximum(np.maximum(low - grip_points, grip_points - high), 0.0)
    return np.asarray(np.linalg.norm(outside, axis=1) > reach)


def surface_points(mesh: TriangleMesh, count: int, rng: np.random.Generator) -> Floats:
    """(count, 3) points spread evenly over the surface: at equal steps of area, at random within each face."""
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
    for start in range(0, len(opening), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        left = points[~covered]
        seen = transform_points(inverse(pose_gripper_in_object[some]), left[None]) - tips[opening[some], None]
        along, across, beside = np.moveaxis(seen @ axes.T, -1, 0)
        inside = (along <= REACH_MARGIN) & (along >= -gripper.pad_size[0]) & (np.abs(beside) <= gripper.pad_size[1] / 2)
        inside &= np.abs(across) <= gripper.opening_width[opening[some], None] / 2 + REACH_MARGIN
        covered[~covered] = inside.any(axis=0)
    return covered
