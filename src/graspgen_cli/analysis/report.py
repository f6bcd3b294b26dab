"""The files that `analyze` writes: JSON, CSV, and a report as one HTML page that needs no network."""

from __future__ import annotations

import html
import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from string import Template

import orjson

from graspgen_cli import __version__
from graspgen_cli.analysis.analyze import analyze_collections
from graspgen_cli.analysis.charts import ObjectView, charts, object_view, thumbnail, view_chart, worst_and_best
from graspgen_cli.analysis.counts import OUTCOMES, reference_rates, total_counts
from graspgen_cli.analysis.dataset_facts import DatasetAnalysis, analysis_document, csv_text
from graspgen_cli.analysis.object_facts import FARTHEST, ObjectFacts
from graspgen_cli.dataset.collection import read_entry
from graspgen_cli.errors import InputError, ObjectError, install_command
from graspgen_cli.files import write_atomically
from graspgen_cli.objects.read import read_mesh
from graspgen_cli.objects.scales import id_problem, resolve_object_paths
from graspgen_cli.records import TriangleMesh
from graspgen_cli.settings.commands import AnalyzeCommand

MOST_FINDINGS = 500
"""Findings on the page; the JSON has all."""
MOST_PICTURES = 400
"""Objects with a thumbnail: 2 KB and 20 ms each."""


def analyze_dataset(settings: AnalyzeCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> DatasetAnalysis:
    """Analyses every object and writes every --output in the form of its suffix.

    Raises as `analyze_collections` does, InputError if a report needs a missing package, OutputError.
    """
    outputs = {path: path.suffix.lower() for path in settings.analyze.output}
    if ".html" in outputs.values() and find_spec("plotly") is None:
        raise InputError("a report needs the package plotly", advice=f"run {install_command('report')}")
    analysis = analyze_collections(settings, on_start=on_start, on_object=on_object)
    for path, form in outputs.items():
        write_atomically(path, _content(form, analysis, settings))
    return analysis


def _content(form: str, analysis: DatasetAnalysis, settings: AnalyzeCommand) -> bytes:
    if form == ".csv":
        return csv_text(analysis).encode("utf-8", "backslashreplace")
    if form == ".json":
        return orjson.dumps({"command": "analyze", **analysis_document(analysis)}, option=orjson.OPT_INDENT_2) + b"\n"
    objects = settings.objects
    _, meshes = resolve_object_paths(object_scales_json=objects.object_scales_json, object_dataset=objects.object_dataset)
    worst, best = ([_view(facts, meshes) for facts in row] for row in worst_and_best(analysis.objects))
    return _page(analysis, worst, best, _thumbnails(analysis, meshes))


def _thumbnails(analysis: DatasetAnalysis, meshes: Path) -> dict[tuple[str, float], bytes]:
    """PNG of the objects with a mesh, by id and scale."""
    facts_of = {(facts.object_id, facts.scale): facts for facts in analysis.objects[:MOST_PICTURES]}
    return {key: thumbnail(mesh) for key, facts in facts_of.items() if (mesh := _mesh(facts, meshes)) is not None}


def _mesh(facts: ObjectFacts, meshes: Path) -> TriangleMesh | None:
    """The object's mesh without repair; None if it cannot be read."""
    if id_problem(facts.object_id):
        return None
    try:
        return read_mesh(meshes / facts.object_id, facts.scale).mesh
    except ObjectError:
        return None


def _view(facts: ObjectFacts, meshes: Path) -> ObjectView:
    found = read_entry(facts.entry)
    dataset = found.dataset
    batch = replace(dataset.grasps, pose_gripper_in_object=found.pose_graspgen_in_object)
    # The sizes of a common hand, m, if the file has none or an impossible one.
    width, depth = (
        size if abs(size) < FARTHEST else usual for size, usual in ((dataset.gripper_width, 0.08), (dataset.gripper_depth, 0.12))
    )
    return object_view(facts, _mesh(facts, meshes), batch, width=width, depth=depth)


# --- the page ----------------------------------------------------------------------------------------------------------------------------


def _page(
    analysis: DatasetAnalysis, worst: Sequence[ObjectView], best: Sequence[ObjectView], thumbnails: Mapping[tuple[str, float], bytes]
) -> bytes:
    from plotly.offline import get_plotlyjs

    views = {f"scene{number}": view for number, view in enumerate([*worst, *best])}
    cards = [_card(name, view) for name, view in views.items()]
    return (
        _template("page.html")
        .substitute(
            style=_template("style.css").template,
            script=_template("script.js").template,
            plotly=get_plotlyjs().replace("</script", "<\\/script"),
            charts=_embedded({**charts(analysis), **{name: view_chart(view) for name, view in views.items()}}),
            title=_text(", ".join(analysis.paths)),
            verdict=_verdict(analysis),
            summary=_summary(analysis),
            findings=_findings(analysis),
            splits=_splits(analysis),
            short=_table(("object", "grasps", "there are", "more needed"), [(row[0], row[1], row[3], row[2]) for row in analysis.short]),
            head=_head(analysis),
            rows="\n".join(_row(facts, thumbnails, analysis) for facts in analysis.objects),
            worst="".join(cards[: len(worst)]) or "<p>No object was tested.</p>",
            best="".join(cards[len(worst) :]) or "<p>No other object was tested.</p>",
            settings=_settings(analysis),
            version=__version__,
        )
        .encode("utf-8", "backslashreplace")
    )


def _template(name: str) -> Template:
    return Template(resources.files("graspgen_cli.analysis.report_page").joinpath(name).read_text("utf-8"))


def _text(value: object) -> str:
    return html.escape(str(value))


def _embedded(values: object) -> str:
    """Values as JSON that cannot end the element that holds it."""
    return orjson.dumps(values).decode().replace("<", "\\u003c")


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _rate(rate: float) -> str:
    return "–" if math.isnan(rate) else f"{rate:.1%}"


def _verdict(analysis: DatasetAnalysis) -> str:
    faults = sum(finding.is_fault for finding in analysis.findings)
    reasons = [
        f"findings that the data are wrong: {faults}" if faults else "",
        f"thresholds that are not met: {len(analysis.short)}" if analysis.short else "",
        "the share that held is under its threshold" if analysis.under else "",
    ]
    said = "; ".join(filter(None, reasons))
    if not said:
        return '<p class="good">Nothing is wrong with the data, and every threshold is met.</p>'
    return f'<p class="bad">{said[0].upper()}{said[1:]}.</p>'


def _summary(analysis: DatasetAnalysis) -> str:
    total = analysis.total
    facts = {
        "objects": f"{len(analysis.objects):,}",
        "objects the trainer takes": f"{analysis.usable_objects:,}",
        "grasps": f"{total.total:,}",
        **{name: f"{getattr(total, name):,}" for name in OUTCOMES},
        "held of the tested": _rate(total.held_rate),
    }
    cells = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts.items())
    return f"<dl>{cells}</dl>{_references(analysis)}"


def _references(analysis: DatasetAnalysis) -> str:
    """Each gripper's held rate beside its rates on the example objects."""
    rows = []
    for gripper, objects in analysis.by_gripper.items():
        total, rate = total_counts(facts.counts for facts in objects), reference_rates().get(gripper)
        there = [getattr(rate, name, math.nan) for name in ("held_rate", "lowest", "lower_quartile", "median", "upper_quartile", "highest")]
        rows.append((gripper, f"{total.held:,} of {total.tested:,}", _rate(total.held_rate), *map(_rate, there)))
    columns = ("gripper", "held of tested", "held rate", "on the example objects", "lowest", "quartile", "median", "quartile", "highest")
    return _table(columns, rows) if rows else ""


def _findings(analysis: DatasetAnalysis) -> str:
    rows = [
        (each.kind, "wrong" if each.is_fault else "unusual", each.object_id, each.path, each.detail)
        for each in analysis.findings[:MOST_FINDINGS]
    ]
    left = len(analysis.findings) - len(rows)
    more = f"<p>… and {left:,} more; the JSON output names them all.</p>" if left else ""
    return _table(("finding", "", "object", "file", "detail"), rows) + more


def _splits(analysis: DatasetAnalysis) -> str:
    rows = [
        (each.gripper, each.train, each.valid, len(each.overlap), len(each.unlisted), len(each.dangling))
        for each in analysis.splits
        if each.train or each.valid
    ]
    return _table(("gripper", "train", "valid", "in both", "in neither", "without grasps"), rows)


def _columns(analysis: DatasetAnalysis) -> list[str]:
    several = ["gripper"] if len(analysis.by_gripper) > 1 else []
    surface = ["surface", "colliding"] if any(facts.surface for facts in analysis.objects) else []
    return ["object", *several, *OUTCOMES, "held rate", "compared", "doubles", "directions", *surface]


def _head(analysis: DatasetAnalysis) -> str:
    buttons = "".join(f'<th scope="col" aria-sort="none"><button type="button">{_text(name)}</button></th>' for name in _columns(analysis))
    return f'<tr><th scope="col"></th>{buttons}</tr>'


def _row(facts: ObjectFacts, thumbnails: Mapping[tuple[str, float], bytes], analysis: DatasetAnalysis) -> str:
    """A row of the sortable table; each cell has its text and the key by which it is sorted."""
    counts, surface = facts.counts, facts.surface
    picture = thumbnails.get((facts.object_id, facts.scale))
    image = f'<img alt="" width="72" height="72" src="data:image/png;base64,{b64encode(picture).decode()}">' if picture else ""
    cells: dict[str, tuple[str, float | str]] = {
        "object": (facts.object_id, facts.object_id),
        "gripper": (facts.gripper, facts.gripper),
        **{name: (f"{getattr(counts, name):,}", getattr(counts, name)) for name in OUTCOMES},
        "held rate": (_rate(counts.held_rate), counts.held_rate),
        "compared": (facts.compared or "–",) * 2,
        "doubles": (str(facts.near_duplicates), facts.near_duplicates),
        "directions": (f"{facts.direction_share:.0%}", facts.direction_share),
        "surface": ("–", -1) if surface is None or surface.coverage is None else (f"{surface.coverage:.0%}", surface.coverage),
        "colliding": ("–", -1) if surface is None or surface.colliding is None else (str(surface.colliding), surface.colliding),
    }
    shown = "".join(f'<td data-key="{_key(key)}">{_text(text)}</td>' for text, key in (cells[name] for name in _columns(analysis)))
    return f"<tr><td>{image}</td>{shown}</tr>"


def _key(value: float | str) -> str:
    """The sort key of a cell; unknown values come first."""
    if isinstance(value, str):
        return _text(value)
    return "-1" if math.isnan(value) else f"{value:.6g}"


def _card(name: str, view: ObjectView) -> str:
    facts, counts = view.facts, view.facts.counts
    missing = "" if view.mesh is not None else "<p>The mesh is not there: grasps only. --object-dataset names its folder.</p>"
    caption = f"<strong>{_text(facts.object_id)}</strong> {_text(facts.gripper)}: {counts.held} of {counts.tested} tested held"
    return f'<figure><figcaption>{caption}</figcaption><div class="chart" id="{name}"></div>{missing}</figure>'


def _settings(analysis: DatasetAnalysis) -> str:
    if not analysis.settings:
        return "<p>The files do not say how they were made.</p>"
    records = {digest: orjson.dumps(dict(record), option=orjson.OPT_INDENT_2).decode() for digest, record in analysis.settings.items()}
    return "".join(
        f"<details><summary>{analysis.settings[digest]['files']} files: {_text(digest)}</summary><pre>{_text(record)}</pre></details>"
        for digest, record in records.items()
    )
