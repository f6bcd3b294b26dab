"""The report of an analysis: one HTML page that holds everything, so that it opens anywhere and asks nobody for anything.

The files that `analyze` writes besides what it prints."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any

import orjson

from graspgen_cli import __version__
from graspgen_cli.analysis.charts import Scene, data_uri, figures, scene, scene_figure, thumbnail, worst_and_best
from graspgen_cli.analysis.counts import judged, reference_rates, total_counts
from graspgen_cli.analysis.dataset_facts import DatasetAnalysis, reference_of
from graspgen_cli.analysis.document import OUTCOMES, analysis_document, csv_text
from graspgen_cli.analysis.object_facts import FARTHEST, ObjectFacts
from graspgen_cli.dataset.collection import read_entry
from graspgen_cli.errors import InputError, ObjectError, install_command
from graspgen_cli.files import write_atomically
from graspgen_cli.formats.format import Entry
from graspgen_cli.objects.read import read_mesh
from graspgen_cli.objects.scales import id_problem, resolve_object_paths
from graspgen_cli.records import TriangleMesh
from graspgen_cli.settings.commands import AnalyzeCommand

MOST_FINDINGS = 500
"""Findings that the page lists; the JSON has all."""


def report_page(analysis: DatasetAnalysis, *, worst: Sequence[Scene], best: Sequence[Scene], pictures: Mapping[Path, bytes]) -> bytes:
    """The page as UTF-8. pictures: PNG of objects, by source. Needs plotly, whose script becomes part of the page."""
    from plotly.offline import get_plotlyjs

    charts = figures(analysis)
    scenes = {f"scene{number}": scene for number, scene in enumerate([*worst, *best])}
    charts |= {name: scene_figure(scene) for name, scene in scenes.items()}
    cards = {name: _card(name, scene) for name, scene in scenes.items()}
    names = list(cards)
    page = _part("page.html").substitute(
        style=_part("style.css").template,
        script=_part("script.js").template,
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
        charts=_embedded(charts),
        title=_text(", ".join(analysis.paths)),
        verdict=_verdict(analysis),
        summary=_summary(analysis),
        findings=_findings(analysis),
        splits=_splits(analysis),
        short=_short(analysis),
        head=_head(analysis),
        rows="\n".join(_row(facts, pictures.get(facts.path), analysis) for facts in analysis.objects),
        worst="".join(cards[name] for name in names[: len(worst)]) or "<p>No object was tested.</p>",
        best="".join(cards[name] for name in names[len(worst) :]) or "<p>No other object was tested.</p>",
        settings=_settings(analysis),
        version=__version__,
    )
    return page.encode("utf-8", "backslashreplace")


def _part(name: str) -> Template:
    return Template(resources.files("graspgen_cli.analysis.report_page").joinpath(name).read_text("utf-8"))


def _text(value: object) -> str:
    return html.escape(str(value))


def _embedded(values: object) -> str:
    """Values as JSON that cannot end the element that holds it."""
    return orjson.dumps(values).decode().replace("<", "\\u003c")


def _verdict(analysis: DatasetAnalysis) -> str:
    faults = sum(finding.is_fault for finding in analysis.findings)
    reasons = [
        f"findings that the data are wrong: {faults}" if faults else "",
        f"thresholds that are not met: {len(analysis.short)}" if analysis.short else "",
        "the share that held is under its threshold" if analysis.under else "",
    ]
    said = "; ".join(reason for reason in reasons if reason)
    return (
        f'<p class="bad">{said[0].upper()}{said[1:]}.</p>'
        if said
        else '<p class="good">Nothing is wrong with the data, and every threshold is met.</p>'
    )


def _summary(analysis: DatasetAnalysis) -> str:
    total = analysis.total
    facts = [
        ("objects", f"{total.objects:,}"),
        ("objects the trainer takes", f"{total.usable_objects:,}"),
        ("grasps", f"{total.total:,}"),
        *((name, f"{getattr(total, name):,}") for name in OUTCOMES),
        ("held of the tested", _rate(total.held_rate)),
    ]
    cells = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts)
    return f"<dl>{cells}</dl>{_references(analysis)}"


def _references(analysis: DatasetAnalysis) -> str:
    """Each gripper's held rate beside what it holds on the example objects."""
    rows = []
    for gripper in analysis.grippers:
        total = total_counts(facts.counts for facts in analysis.objects if facts.gripper == gripper)
        rate = reference_rates().get(gripper)
        there = (
            [rate.held_rate, rate.lowest, rate.lower_quartile, rate.median, rate.upper_quartile, rate.highest] if rate else [math.nan] * 6
        )
        rows.append((gripper, f"{total.held:,} of {total.tested:,}", _rate(total.held_rate), *map(_rate, there)))
    columns = ("gripper", "held of tested", "held rate", "on the example objects", "lowest", "quartile", "median", "quartile", "highest")
    return _table(columns, rows) if rows else ""


def _rate(rate: float) -> str:
    return "–" if math.isnan(rate) else f"{rate:.1%}"


def _findings(analysis: DatasetAnalysis) -> str:
    if not analysis.findings:
        return "<p>None.</p>"
    rows = [
        (str(each.kind), "wrong" if each.is_fault else "unusual", each.object_id, str(each.path), each.detail)
        for each in analysis.findings[:MOST_FINDINGS]
    ]
    left = len(analysis.findings) - len(rows)
    more = f"<p>… and {left:,} more; the JSON output names them all.</p>" if left else ""
    return _table(("finding", "", "object", "file", "detail"), rows) + more


def _splits(analysis: DatasetAnalysis) -> str:
    rows = [
        (each.gripper, str(each.train), str(each.valid), str(len(each.overlap)), str(len(each.unlisted)), str(len(each.dangling)))
        for each in analysis.splits
        if each.train or each.valid
    ]
    return _table(("gripper", "train", "valid", "in both", "in neither", "without grasps"), rows) if rows else "<p>None.</p>"


def _short(analysis: DatasetAnalysis) -> str:
    rows = [(row.object_id, row.what, str(row.found), str(row.missing)) for row in analysis.short]
    return _table(("object", "grasps", "there are", "more needed"), rows) if rows else "<p>None.</p>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _columns(analysis: DatasetAnalysis) -> list[str]:
    several = ["gripper"] if len(analysis.grippers) > 1 else []
    looked = ["surface", "colliding"] if any(facts.surface for facts in analysis.objects) else []
    return ["object", *several, *OUTCOMES, "held rate", "compared", "doubles", "directions", *looked]


def _head(analysis: DatasetAnalysis) -> str:
    buttons = "".join(f'<th scope="col" aria-sort="none"><button type="button">{_text(name)}</button></th>' for name in _columns(analysis))
    return f'<tr><th scope="col"></th>{buttons}</tr>'


def _row(facts: ObjectFacts, picture: bytes | None, analysis: DatasetAnalysis) -> str:
    """A row of the sortable table; a cell's key is what it is sorted by."""
    counts, surface = facts.counts, facts.surface
    image = f'<img alt="" width="72" height="72" src="{data_uri(picture)}">' if picture else ""
    cells: dict[str, tuple[str, float | str]] = {
        "object": (counts.object_id, counts.object_id),
        "gripper": (facts.gripper, facts.gripper),
        **{name: (f"{getattr(counts, name):,}", getattr(counts, name)) for name in OUTCOMES},
        "held rate": (_rate(counts.held_rate), counts.held_rate),
        "compared": (judged(counts, reference_of(facts)) or "–",) * 2,
        "doubles": (str(facts.near_duplicates), facts.near_duplicates),
        "directions": (f"{facts.direction_share:.0%}", facts.direction_share),
        "surface": _share(surface.coverage if surface else None),
        "colliding": ("–", -1) if surface is None or surface.colliding is None else (str(surface.colliding), surface.colliding),
    }
    shown = "".join(f'<td data-key="{_key(key)}">{_text(text)}</td>' for text, key in (cells[name] for name in _columns(analysis)))
    return f"<tr><td>{image}</td>{shown}</tr>"


def _share(share: float | None) -> tuple[str, float]:
    return ("–", -1.0) if share is None else (f"{share:.0%}", share)


def _key(value: float | str) -> str:
    """What a cell is sorted by; what is not known comes first."""
    if isinstance(value, str):
        return _text(value)
    return "-1" if math.isnan(value) else f"{value:.6g}"


def _card(name: str, scene: Scene) -> str:
    counts = scene.facts.counts
    missing = "" if scene.mesh is not None else "<p>The mesh is not there: grasps only. --object-dataset names its folder.</p>"
    caption = f"<strong>{_text(counts.object_id)}</strong> {_text(scene.facts.gripper)}: {counts.held} of {counts.tested} tested held"
    return f'<figure><figcaption>{caption}</figcaption><div class="chart" id="{name}"></div>{missing}</figure>'


def _settings(analysis: DatasetAnalysis) -> str:
    if not analysis.settings:
        return "<p>The files do not say how they were made.</p>"
    return "".join(
        f"<details><summary>{record['files']} files: {_text(digest)}</summary><pre>{_text(_readable(record))}</pre></details>"
        for digest, record in analysis.settings.items()
    )


def _readable(record: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(record), option=orjson.OPT_INDENT_2).decode()


MOST_PICTURES = 400
"""Objects of which the report has a small picture: 2 KB and 20 ms each."""


def require_report_package(settings: AnalyzeCommand) -> None:
    """Raises InputError where a report is asked for and what draws it is missing, before the long work starts."""
    if any(path.suffix.lower() == ".html" for path in settings.analyze.output) and find_spec("plotly") is None:
        raise InputError(f"a report needs the package plotly; run {install_command('report')}")


def write_outputs(analysis: DatasetAnalysis, entries: Mapping[Path, Entry], settings: AnalyzeCommand) -> None:
    """Writes every --output in the form that its suffix says. entries: by source. Raises OutputError."""
    for path in settings.analyze.output:
        write_atomically(path, _content(path.suffix.lower(), analysis, entries, settings))


def _content(form: str, analysis: DatasetAnalysis, entries: Mapping[Path, Entry], settings: AnalyzeCommand) -> bytes:
    if form == ".csv":
        return csv_text(analysis).encode("utf-8", "backslashreplace")
    if form == ".json":
        return orjson.dumps({"command": "analyze", **analysis_document(analysis)}, option=orjson.OPT_INDENT_2) + b"\n"
    meshes = resolve_object_paths(object_scales_json=settings.objects.object_scales_json, object_dataset=settings.objects.object_dataset)[1]
    worst, best = ([_scene(facts, entries[facts.path], meshes) for facts in row] for row in worst_and_best(analysis.objects))
    return report_page(analysis, worst=worst, best=best, pictures=_pictures(analysis, meshes))


def _pictures(analysis: DatasetAnalysis, meshes: Path) -> dict[Path, bytes]:
    """Small pictures of the objects whose meshes are there, by source."""
    found = {}
    drawn: dict[tuple[str, float], bytes] = {}
    for facts in analysis.objects[:MOST_PICTURES]:
        key = (facts.counts.object_id, facts.scale)
        if key not in drawn and (mesh := _mesh(facts, meshes)) is not None:
            drawn[key] = thumbnail(mesh)
        if key in drawn:
            found[facts.path] = drawn[key]
    return found


def _mesh(facts: ObjectFacts, meshes: Path) -> TriangleMesh | None:
    """The object's mesh as it is, if it lies in the folder and can be read."""
    object_id = facts.counts.object_id
    if id_problem(object_id):
        return None
    try:
        return read_mesh(meshes / object_id, facts.scale).mesh
    except ObjectError:
        return None


def _scene(facts: ObjectFacts, entry: Entry, meshes: Path) -> Scene:
    """The object in 3-D; its file could be read a moment ago."""
    grasps = read_entry(entry)
    dataset = grasps.dataset
    batch = replace(dataset.grasps, pose_gripper_in_object=dataset.grasps.pose_gripper_in_object @ grasps.trainer_frame)
    return scene(facts, _mesh(facts, meshes), batch, width=_known(dataset.gripper_width, 0.08), depth=_known(dataset.gripper_depth, 0.12))


def _known(size: float, usual: float) -> float:
    """The size, or where the file gives none, or one that is no length, that of a common hand, m."""
    return size if abs(size) < FARTHEST else usual
