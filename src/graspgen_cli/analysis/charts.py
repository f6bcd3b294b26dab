"""The pictures of the report: charts and 3-D views as plain values for plotly.js, and thumbnails of meshes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graspgen_cli.analysis.counts import reference_rates
from graspgen_cli.analysis.dataset_facts import DatasetAnalysis
from graspgen_cli.analysis.object_facts import DIRECTION_BANDS, DIRECTION_SECTORS, FARTHEST, OPENING_STEP, ObjectFacts
from graspgen_cli.geometry.meshes import face_normals
from graspgen_cli.geometry.poses import transform_points
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.records import Floats, GraspBatch, Ints, Outcome, TriangleMesh

Chart = dict[str, Any]
"""{"data": [trace, …], "layout": {…}}, the arguments of plotly.js."""

SIZE = 72
"""Pixels of a thumbnail, each way."""
_RAYS = 2
"""Rays a pixel, each way."""
_FORWARD = np.array([-0.62, 0.62, -0.48]) / np.linalg.norm([-0.62, 0.62, -0.48])
_RIGHT = np.cross(_FORWARD, [0.0, 0.0, 1.0]) / np.linalg.norm(np.cross(_FORWARD, [0.0, 0.0, 1.0]))
_UP = np.cross(_RIGHT, _FORWARD)
_LIGHT = np.array([0.35, -0.55, 0.76])
_COLOUR, _EMPTY = np.array([148.0, 163.0, 184.0]), np.array([255.0, 255.0, 255.0])
_AMBIENT = 0.45

SHOWN = 3
"""Objects in 3-D at each end of the order by held rate."""
MOST_LINES = 32
"""Grasps of each outcome in a 3-D view."""
MOST_FACES = 20_000
_CELLS = (96, 64, 48, 32, 24, 16)
"""Cells along the longest side of a mesh, tried until it has few enough faces."""
COLOURS = {
    Outcome.HELD: "#1b7f4b",
    Outcome.UNVALIDATED: "#4a78c4",
    Outcome.COLLISION: "#c2410c",
    Outcome.DROPPED: "#b42352",
    Outcome.UNSTABLE: "#6d4bb4",
}
"""Dark enough for thin lines on white, and distinct for colour-blind readers."""
_BAR, _REFERENCE = "#4a78c4", "#1b7f4b"
_BACKGROUND = {"paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff", "font": {"family": "system-ui, sans-serif", "size": 12}}
_MARGIN = {"l": 48, "r": 12, "t": 8, "b": 44}


# --- charts ------------------------------------------------------------------------------------------------------------------------------


def charts(analysis: DatasetAnalysis) -> dict[str, Chart]:
    """The charts by the id of their place on the page."""
    return {
        "outcomes": _outcomes(analysis),
        "rates": _rates(analysis),
        "openings": _openings(analysis),
        "directions": _directions(analysis),
    }


def _chart(data: list[dict[str, Any]], **layout: Any) -> Chart:
    axes = {name: {"automargin": True, "tickangle": 0, **layout.pop(name, {})} for name in ("xaxis", "yaxis")}
    return {"data": data, "layout": {**_BACKGROUND, "margin": _MARGIN, "height": 280, "showlegend": False, **axes, **layout}}


def _outcomes(analysis: DatasetAnalysis) -> Chart:
    counts = {outcome: getattr(analysis.total, outcome.label) for outcome in COLOURS}
    bar = {
        "type": "bar",
        "x": [outcome.label for outcome in counts],
        "y": list(counts.values()),
        "text": [str(count) for count in counts.values()],
        "marker": {"color": [COLOURS[outcome] for outcome in counts]},
    }
    return _chart([bar], yaxis={"title": {"text": "grasps"}})


def _rates(analysis: DatasetAnalysis) -> Chart:
    """A histogram of the objects' held rates, with the reference rates of the grippers as lines."""
    shares = [facts.counts.held_rate for facts in analysis.objects if facts.counts.tested]
    counts, ends = np.histogram(shares, bins=20, range=(0.0, 1.0))
    lines, notes = [], []
    for row, gripper in enumerate(name for name in analysis.by_gripper if name in reference_rates()):
        at = 100 * reference_rates()[gripper].held_rate
        lines.append({"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": _REFERENCE, "dash": "dot"}})
        notes.append({"x": at, "y": 1 - 0.08 * row, "yref": "paper", "text": gripper, "showarrow": False, "xanchor": "right"})
    axis = {"title": {"text": "held rate, % (dotted: reference)"}, "range": [0, 101]}
    return _histogram(100 * (ends[:-1] + ends[1:]) / 2, counts, "objects", xaxis=axis, shapes=lines, annotations=notes)


def _openings(analysis: DatasetAnalysis) -> Chart:
    counts = np.trim_zeros(np.array(analysis.openings), "b")
    middle = (np.arange(len(counts)) + 0.5) * OPENING_STEP * 1000
    return _histogram(middle, counts, "good grasps", xaxis={"title": {"text": "opening, mm"}})


def _histogram(middle: NDArray[Any], counts: NDArray[Any], what: str, **layout: Any) -> Chart:
    bar = {"type": "bar", "x": middle.tolist(), "y": counts.tolist(), "marker": {"color": _BAR}}
    return _chart([bar], yaxis={"title": {"text": what}}, bargap=0.05, **layout)


def _directions(analysis: DatasetAnalysis) -> Chart:
    """The good grasps in equal cells of the sphere of approach directions."""
    cells = np.array(analysis.directions).reshape(DIRECTION_BANDS, DIRECTION_SECTORS)
    heat = {
        "type": "heatmap",
        "z": cells.tolist(),
        "x": [f"{360 * k // DIRECTION_SECTORS}°" for k in range(DIRECTION_SECTORS)],
        "y": [f"{2 * k / DIRECTION_BANDS - 1:+.1f} to {2 * (k + 1) / DIRECTION_BANDS - 1:+.1f}" for k in range(DIRECTION_BANDS)],
        "colorscale": [[0, "#f4f6f9"], [1, "#1c3f7c"]],
        "colorbar": {"thickness": 10},
    }
    return _chart([heat], xaxis={"title": {"text": "approach about z, from x"}}, yaxis={"title": {"text": "z of the approach"}})


# --- objects in 3-D ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ObjectView:
    """An object with some of its grasps. mesh: None if it cannot be read. lines: (G, 7, 3) m in the object's frame, by outcome."""

    facts: ObjectFacts
    mesh: TriangleMesh | None
    lines: dict[Outcome, Floats]


def worst_and_best(objects: Sequence[ObjectFacts]) -> tuple[list[ObjectFacts], list[ObjectFacts]]:
    """The objects with the lowest and with the highest held rates, the extreme ones first; no object is in both lists."""
    tested = [facts for facts in objects if facts.counts.tested]
    row = sorted(tested, key=lambda facts: (facts.counts.held_rate, -facts.counts.tested, facts.path))
    worst = row[: min(SHOWN, (len(row) + 1) // 2)]
    return worst, row[len(worst) :][::-1][:SHOWN]


def object_view(facts: ObjectFacts, mesh: TriangleMesh | None, grasps: GraspBatch, *, width: float, depth: float) -> ObjectView:
    """The view of grasps with poses of GraspGen's frame (approach axis +Z, closing direction X).

    width, depth: m, of the gripper; the width replaces unknown openings.
    """
    lines = {}
    for outcome in Outcome:
        rows = np.flatnonzero(grasps.outcome == outcome)
        if len(rows):
            rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(MOST_LINES, len(rows))).astype(np.int64))]
            openings = np.where(np.isnan(grasps.opening_width[rows]), width, grasps.opening_width[rows])
            poses = np.clip(grasps.pose_gripper_in_object[rows], -FARTHEST, FARTHEST)
            lines[outcome] = transform_points(poses, _gripper_lines(np.clip(openings, 0.0, FARTHEST), depth))
    return ObjectView(facts, mesh and thinned(mesh), lines)


def _gripper_lines(opening: Floats, depth: float) -> Floats:
    """(N, 7, 3): base, wrist, along one finger to its tip, back and across to the tip of the other, in GraspGen's frame."""
    points = np.zeros((len(opening), 7, 3))
    points[:, :, 2] = depth * np.array([0.0, 0.5, 0.5, 1.0, 0.5, 0.5, 1.0])
    points[:, :, 0] = opening[:, None] / 2 * np.array([0.0, 0.0, 1.0, 1.0, 1.0, -1.0, -1.0])
    return points


def thinned(mesh: TriangleMesh, most_faces: int = MOST_FACES) -> TriangleMesh:
    """The mesh; of a larger mesh the vertices in each cell of a grid become one."""
    for cells in _CELLS:
        if len(mesh.faces) <= most_faces:
            return mesh
        low = mesh.vertices.min(axis=0)
        size = float(np.ptp(mesh.vertices, axis=0).max()) / cells
        cell = np.floor((mesh.vertices - low) / size).astype(np.int64)
        _, first, joined = np.unique(cell, axis=0, return_index=True, return_inverse=True)
        mesh = TriangleMesh(mesh.vertices[first], _with_three_corners(joined.reshape(-1)[mesh.faces]))
    return mesh


def _with_three_corners(faces: NDArray[np.int64]) -> Ints:
    a, b, c = faces.T
    return faces[(a != b) & (b != c) & (c != a)].astype(np.int32)


def view_chart(view: ObjectView) -> Chart:
    """The 3-D view, with the grasps in the colours of their outcomes."""
    data = [_mesh_trace(view.mesh)] if view.mesh is not None else []
    data += [_line_trace(outcome, lines) for outcome, lines in view.lines.items()]
    hidden = {"visible": False}
    scene = {"aspectmode": "data", "xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "camera": {"eye": {"x": 1.1, "y": -1.1, "z": 0.85}}}
    legend = {"orientation": "h", "y": 0, "font": {"size": 11}}
    return _chart(data, height=320, margin={"l": 0, "r": 0, "t": 0, "b": 0}, scene=scene, showlegend=True, legend=legend)


def _mesh_trace(mesh: TriangleMesh) -> dict[str, Any]:
    x, y, z = _rounded(mesh.vertices).T.tolist()
    i, j, k = mesh.faces.T.tolist()
    light = {"ambient": 0.55, "diffuse": 0.6, "specular": 0.1}
    return {"type": "mesh3d", "x": x, "y": y, "z": z, "i": i, "j": j, "k": k, "color": "#b8c2d0", "flatshading": True,
            "lighting": light, "hoverinfo": "skip"}  # fmt: skip


def _line_trace(outcome: Outcome, lines: Floats) -> dict[str, Any]:
    """All lines (G, 7, 3) as one, with a gap after each."""
    points = _rounded(lines)
    gapped = np.concatenate([points, np.full((len(points), 1, 3), np.nan)], axis=1).reshape(-1, 3)
    x, y, z = ([None if np.isnan(value) else value for value in column] for column in gapped.T.tolist())
    return {"type": "scatter3d", "mode": "lines", "x": x, "y": y, "z": z, "name": f"{outcome.label} ({len(lines)})",
            "line": {"color": COLOURS[outcome], "width": 2}, "hoverinfo": "skip"}  # fmt: skip


def _rounded(points: Floats) -> Floats:
    """To 10 µm, to keep the page small."""
    return np.round(points, 5) + 0.0


# --- thumbnails --------------------------------------------------------------------------------------------------------------------------


def thumbnail(mesh: TriangleMesh) -> bytes:
    """A PNG of SIZE x SIZE pixels by ray casting, seen from above the front corner; needs no display."""
    center = (mesh.vertices.max(axis=0) + mesh.vertices.min(axis=0)) / 2
    radius = float(np.linalg.norm(mesh.vertices - center, axis=1).max())
    count = SIZE * _RAYS
    at = ((np.arange(count) + 0.5) / count * 2 - 1) * radius
    x, y = np.meshgrid(at, -at)
    origin = center - 2 * radius * _FORWARD + x.reshape(-1, 1) * _RIGHT + y.reshape(-1, 1) * _UP
    _, face = RayCaster(mesh).first_hit(origin, np.broadcast_to(_FORWARD, origin.shape))
    # The faces of a foreign mesh may be inside out.
    lit = np.abs(face_normals(mesh.vertices[mesh.faces]) @ _LIGHT)[face]
    colour = np.where(face[:, None] < 0, _EMPTY, _COLOUR * (_AMBIENT + (1 - _AMBIENT) * lit)[:, None])
    pixels = colour.reshape(SIZE, _RAYS, SIZE, _RAYS, 3).mean(axis=(1, 3))
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).quantize(32).save(content, "PNG", optimize=True)
    return content.getvalue()
