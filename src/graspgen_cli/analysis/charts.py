"""The report's charts, as plotly's plain values: which trace, which axis. What they look like on the page is style alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from graspgen_cli.analysis.dataset_facts import DatasetAnalysis
from graspgen_cli.analysis.object_facts import DIRECTION_BANDS, DIRECTION_SECTORS, OPENING_STEP
from graspgen_cli.analysis.reference import reference_rates
from graspgen_cli.analysis.scene import Scene
from graspgen_cli.records import Floats, Outcome

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
