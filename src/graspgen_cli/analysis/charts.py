"""A small picture of a mesh, seen from above its front corner: a ray a pixel, so that no display is needed.

One object with its grasps, as far as the report draws it in 3-D: the mesh and a line figure for each grasp.

The report's charts, as plotly's plain values: which trace, which axis. What they look like on the page is style alone."""

from __future__ import annotations

import base64
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

SIZE = 72
"""Pixels, each way."""
_FINER = 2
"""Every pixel is the mean of this many rays each way."""
_FORWARD = np.array([-0.62, 0.62, -0.48]) / np.linalg.norm([-0.62, 0.62, -0.48])
_RIGHT = np.cross(_FORWARD, [0.0, 0.0, 1.0]) / np.linalg.norm(np.cross(_FORWARD, [0.0, 0.0, 1.0]))
_UP = np.cross(_RIGHT, _FORWARD)
_LIGHT = np.array([0.35, -0.55, 0.76])
_COLOUR, _EMPTY = np.array([148.0, 163.0, 184.0]), np.array([255.0, 255.0, 255.0])
_AMBIENT = 0.45


def thumbnail(mesh: TriangleMesh) -> bytes:
    """A PNG of SIZE x SIZE pixels."""
    center = (mesh.vertices.max(axis=0) + mesh.vertices.min(axis=0)) / 2
    radius = float(np.linalg.norm(mesh.vertices - center, axis=1).max())
    count = SIZE * _FINER
    at = ((np.arange(count) + 0.5) / count * 2 - 1) * radius
    x, y = np.meshgrid(at, -at)
    origin = center - 2 * radius * _FORWARD + x.reshape(-1, 1) * _RIGHT + y.reshape(-1, 1) * _UP
    _, face = RayCaster(mesh).first_hit(origin, np.broadcast_to(_FORWARD, origin.shape))
    normal = face_normals(mesh.vertices[mesh.faces])
    # Faces of meshes from elsewhere may be turned inside out.
    lit = np.abs(normal @ _LIGHT)[face]
    colour = np.where(face[:, None] < 0, _EMPTY, _COLOUR * (_AMBIENT + (1 - _AMBIENT) * lit)[:, None])
    pixels = colour.reshape(SIZE, _FINER, SIZE, _FINER, 3).mean(axis=(1, 3))
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).quantize(32).save(content, "PNG", optimize=True)
    return content.getvalue()


def data_uri(png: bytes) -> str:
    """The picture as the address of an <img> that needs no file."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


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
    row = sorted(tested, key=lambda facts: (facts.counts.held_rate, -facts.counts.tested, facts.path))
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
            figures[outcome] = transform_points(poses, _gripper_lines(np.clip(openings, 0.0, FARTHEST), depth))
    return Scene(facts, mesh and thinned(mesh), figures)


def _gripper_lines(opening: Floats, depth: float) -> Floats:
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


COLOURS = {
    Outcome.HELD: "#1b7f4b",
    Outcome.UNVALIDATED: "#4a78c4",
    Outcome.COLLISION: "#c2410c",
    Outcome.DROPPED: "#b42352",
    Outcome.UNSTABLE: "#6d4bb4",
}
"""Dark enough for thin lines on white, and told apart by people who do not see red and green."""
_BACKGROUND = {"paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff", "font": {"family": "system-ui, sans-serif", "size": 12}}
_MARGIN = {"l": 48, "r": 12, "t": 8, "b": 44}

Figure = dict[str, Any]
"""{"data": [trace, …], "layout": {…}} as plotly.js takes it."""


def figures(analysis: DatasetAnalysis) -> dict[str, Figure]:
    """The charts by the id of their place on the page."""
    return {
        "outcomes": outcomes(analysis),
        "rates": rates(analysis),
        "openings": openings(analysis),
        "directions": directions(analysis),
    }


def _figure(data: list[dict[str, Any]], **layout: Any) -> Figure:
    axes = {name: {"automargin": True, "tickangle": 0, **layout.pop(name, {})} for name in ("xaxis", "yaxis")}
    return {"data": data, "layout": {**_BACKGROUND, "margin": _MARGIN, "height": 280, "showlegend": False, **axes, **layout}}


def outcomes(analysis: DatasetAnalysis) -> Figure:
    """How many grasps of each outcome."""
    counts = {outcome: getattr(analysis.total, outcome.label) for outcome in COLOURS}
    bar = {
        "type": "bar",
        "x": [outcome.label for outcome in counts],
        "y": list(counts.values()),
        "text": [str(count) for count in counts.values()],
        "marker": {"color": [COLOURS[outcome] for outcome in counts]},
    }
    return _figure([bar], yaxis={"title": {"text": "grasps"}})


def rates(analysis: DatasetAnalysis) -> Figure:
    """How many objects have which held rate, beside what the grippers hold on the example objects."""
    shares = [facts.counts.held_rate for facts in analysis.objects if facts.counts.tested]
    counts, ends = np.histogram(shares, bins=20, range=(0.0, 1.0))
    bar = {"type": "bar", "x": (100 * (ends[:-1] + ends[1:]) / 2).tolist(), "y": counts.tolist(), "marker": {"color": "#4a78c4"}}
    lines, notes = [], []
    for row, gripper in enumerate(name for name in analysis.grippers if name in reference_rates()):
        at = 100 * reference_rates()[gripper].held_rate
        lines.append({"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": "#1b7f4b", "dash": "dot"}})
        notes.append({"x": at, "y": 1 - 0.08 * row, "yref": "paper", "text": gripper, "showarrow": False, "xanchor": "right"})
    axis = {"title": {"text": "held rate, % (dotted: reference)"}, "range": [0, 101]}
    return _figure([bar], xaxis=axis, yaxis={"title": {"text": "objects"}}, bargap=0.05, shapes=lines, annotations=notes)


def openings(analysis: DatasetAnalysis) -> Figure:
    """How wide the gripper is open at the start, over the good grasps."""
    counts = np.trim_zeros(np.array(analysis.openings), "b")
    middle = (np.arange(len(counts)) + 0.5) * OPENING_STEP * 1000
    bar = {"type": "bar", "x": middle.tolist(), "y": counts.tolist(), "marker": {"color": "#4a78c4"}}
    return _figure([bar], xaxis={"title": {"text": "opening, mm"}}, yaxis={"title": {"text": "good grasps"}}, bargap=0.05)


def directions(analysis: DatasetAnalysis) -> Figure:
    """From where the good grasps approach: cells of one size on the sphere."""
    cells = np.array(analysis.directions).reshape(DIRECTION_BANDS, DIRECTION_SECTORS)
    heat = {
        "type": "heatmap",
        "z": cells.tolist(),
        "x": [f"{360 * k // DIRECTION_SECTORS}°" for k in range(DIRECTION_SECTORS)],
        "y": [f"{2 * k / DIRECTION_BANDS - 1:+.1f} to {2 * (k + 1) / DIRECTION_BANDS - 1:+.1f}" for k in range(DIRECTION_BANDS)],
        "colorscale": [[0, "#f4f6f9"], [1, "#1c3f7c"]],
        "colorbar": {"thickness": 10},
    }
    return _figure([heat], xaxis={"title": {"text": "approach about z, from x"}}, yaxis={"title": {"text": "z of the approach"}})


def scene_figure(scene: Scene) -> Figure:
    """An object in 3-D with the line figures of its grasps, coloured by outcome."""
    data = [_mesh_trace(scene)] if scene.mesh is not None else []
    data += [_figure_trace(outcome, lines) for outcome, lines in scene.figures.items()]
    hidden = {"visible": False}
    view = {"aspectmode": "data", "xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "camera": {"eye": {"x": 1.1, "y": -1.1, "z": 0.85}}}
    legend = {"orientation": "h", "y": 0, "font": {"size": 11}}
    return _figure(data, height=320, margin={"l": 0, "r": 0, "t": 0, "b": 0}, scene=view, showlegend=True, legend=legend)


def _mesh_trace(scene: Scene) -> dict[str, Any]:
    assert scene.mesh is not None
    x, y, z = _rounded(scene.mesh.vertices).T.tolist()
    i, j, k = scene.mesh.faces.T.tolist()
    light = {"ambient": 0.55, "diffuse": 0.6, "specular": 0.1}
    return {"type": "mesh3d", "x": x, "y": y, "z": z, "i": i, "j": j, "k": k, "color": "#b8c2d0", "flatshading": True,
            "lighting": light, "hoverinfo": "skip"}  # fmt: skip


def _figure_trace(outcome: Outcome, lines: Floats) -> dict[str, Any]:
    """All figures (G, 7, 3) as one line; each ends with a gap."""
    points = _rounded(lines)
    gapped = np.concatenate([points, np.full((len(points), 1, 3), np.nan)], axis=1).reshape(-1, 3)
    x, y, z = ([None if np.isnan(value) else value for value in column] for column in gapped.T.tolist())
    return {"type": "scatter3d", "mode": "lines", "x": x, "y": y, "z": z, "name": f"{outcome.label} ({len(lines)})",
            "line": {"color": COLOURS[outcome], "width": 2}, "hoverinfo": "skip"}  # fmt: skip


def _rounded(points: Floats) -> Floats:
    """To 10 µm, which no screen shows, so that the page stays small."""
    return np.round(points, 5) + 0.0
