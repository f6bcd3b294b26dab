"""One object with its grasps, as far as the report draws it in 3-D: the mesh and a line figure for each grasp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.analysis.object_facts import FARTHEST, ObjectFacts
from graspgen_cli.geometry.poses import transform_points
from graspgen_cli.records import Floats, GraspBatch, Ints, Outcome, TriangleMesh

SHOWN = 3
"""Objects drawn from either end of the row."""
MOST_FIGURES = 32
"""Grasps of each outcome that are drawn of an object."""
MOST_FACES = 20_000
_FINENESS = (96, 64, 48, 32, 24, 16)
"""Cells along the longest side, tried until few enough faces are left."""


@dataclass(frozen=True, eq=False)
class Scene:
    """mesh: None where there is none to be read. figures: for each outcome that there is, the line figures (G, 7, 3) m in the object's
    frame, not all of them where there are many."""

    facts: ObjectFacts
    mesh: TriangleMesh | None
    figures: dict[Outcome, Floats]


def worst_and_best(objects: Sequence[ObjectFacts]) -> tuple[list[ObjectFacts], list[ObjectFacts]]:
    """The objects with the lowest and with the highest held rates, the worst and the best first; no object is in both."""
    tested = [facts for facts in objects if facts.counts.tested]
    row = sorted(tested, key=lambda facts: (facts.counts.held_rate, -facts.counts.tested, facts.source))
    worst = row[: min(SHOWN, (len(row) + 1) // 2)]
    return worst, row[len(worst) :][::-1][:SHOWN]


def scene(facts: ObjectFacts, mesh: TriangleMesh | None, grasps: GraspBatch, *, width: float, depth: float) -> Scene:
    """A scene of grasps whose poses are of GraspGen's frame (approach +Z, closing X).

    width, depth: m, of the gripper; the width stands for openings that are not known.
    """
    figures = {}
    for outcome in Outcome:
        rows = np.flatnonzero(grasps.outcome == outcome)
        if len(rows):
            rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(MOST_FIGURES, len(rows))).astype(np.int64))]
            openings = np.where(np.isnan(grasps.opening_width[rows]), width, grasps.opening_width[rows])
            poses = np.clip(grasps.pose_gripper_in_object[rows], -FARTHEST, FARTHEST)
            figures[outcome] = transform_points(poses, _figure(np.clip(openings, 0.0, FARTHEST), depth))
    return Scene(facts, mesh and thinned(mesh), figures)


def _figure(opening: Floats, depth: float) -> Floats:
    """(N, 7, 3): base, wrist, along one finger to its tip, back and across to the tip of the other, in GraspGen's frame."""
    points = np.zeros((len(opening), 7, 3))
    points[:, :, 2] = depth * np.array([0.0, 0.5, 0.5, 1.0, 0.5, 0.5, 1.0])
    points[:, :, 0] = opening[:, None] / 2 * np.array([0.0, 0.0, 1.0, 1.0, 1.0, -1.0, -1.0])
    return points


def thinned(mesh: TriangleMesh, most_faces: int = MOST_FACES) -> TriangleMesh:
    """The mesh, or where it has more faces than that its vertices joined in the cells of a grid: good enough to be looked at."""
    for cells in _FINENESS:
        if len(mesh.faces) <= most_faces:
            return mesh
        low = mesh.vertices.min(axis=0)
        size = float(np.ptp(mesh.vertices, axis=0).max()) / cells
        cell = np.floor((mesh.vertices - low) / size).astype(np.int64)
        _, first, joined = np.unique(cell, axis=0, return_index=True, return_inverse=True)
        mesh = TriangleMesh(mesh.vertices[first], _whole(joined.reshape(-1)[mesh.faces]))
    return mesh


def _whole(faces: NDArray[np.int64]) -> Ints:
    """The faces that still have three corners."""
    a, b, c = faces.T
    return faces[(a != b) & (b != c) & (c != a)].astype(np.int32)
