"""The files that `analyze` writes besides what it prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import orjson

from graspgen_cli.analysis.dataset_facts import DatasetAnalysis
from graspgen_cli.analysis.document import analysis_document, csv_text
from graspgen_cli.analysis.object_facts import FARTHEST, ObjectFacts
from graspgen_cli.analysis.report import report_page
from graspgen_cli.analysis.scene import Scene, scene, worst_and_best
from graspgen_cli.analysis.thumbnail import thumbnail
from graspgen_cli.dataset.collection import Entry, read_entry
from graspgen_cli.errors import InputError, ObjectError
from graspgen_cli.execution.looking import FORWARD
from graspgen_cli.files import write_atomically
from graspgen_cli.objects.read import read_mesh
from graspgen_cli.objects.scales import resolve_object_paths
from graspgen_cli.records import TriangleMesh
from graspgen_cli.settings.commands import AnalyzeCommand

MOST_PICTURES = 400
"""Objects of which the report has a small picture: 2 KB and 20 ms each."""


def require_report_package(settings: AnalyzeCommand) -> None:
    """Raises InputError where a report is asked for and what draws it is missing, before the long work starts."""
    if any(path.suffix.lower() == ".html" for path in settings.output) and find_spec("plotly") is None:
        raise InputError("a report needs the package plotly; run: pip install 'graspgen-cli[report]'")


def write_outputs(analysis: DatasetAnalysis, entries: Mapping[str, Entry], settings: AnalyzeCommand) -> None:
    """Writes every --output in the form that its suffix says. entries: by source. Raises OutputError."""
    for path in settings.output:
        write_atomically(path, _content(path.suffix.lower(), analysis, entries, settings))


def _content(form: str, analysis: DatasetAnalysis, entries: Mapping[str, Entry], settings: AnalyzeCommand) -> bytes:
    if form == ".csv":
        return csv_text(analysis).encode("utf-8", "backslashreplace")
    if form == ".json":
        return orjson.dumps({"command": "analyze", **analysis_document(analysis)}, option=orjson.OPT_INDENT_2) + b"\n"
    meshes = resolve_object_paths(object_scales_json=settings.object_scales_json, object_dataset=settings.object_dataset)[1]
    worst, best = ([_scene(facts, entries[facts.source], meshes) for facts in row] for row in worst_and_best(analysis.objects))
    return report_page(analysis, worst=worst, best=best, pictures=_pictures(analysis, meshes))


def _pictures(analysis: DatasetAnalysis, meshes: Path) -> dict[str, bytes]:
    """Small pictures of the objects whose meshes are there, by source."""
    found = {}
    drawn: dict[tuple[str, float], bytes] = {}
    for facts in analysis.objects[:MOST_PICTURES]:
        key = (facts.counts.object_id, facts.scale)
        if key not in drawn and (mesh := _mesh(facts, meshes)) is not None:
            drawn[key] = thumbnail(mesh)
        if key in drawn:
            found[facts.source] = drawn[key]
    return found


def _mesh(facts: ObjectFacts, meshes: Path) -> TriangleMesh | None:
    """The object's mesh as it is, if it lies in the folder and can be read."""
    object_id = facts.counts.object_id
    parts = PurePosixPath(object_id).parts
    if ".." in parts or parts[:1] == ("/",):
        return None
    try:
        return read_mesh(meshes / object_id, facts.scale).mesh
    except ObjectError:
        return None


def _scene(facts: ObjectFacts, entry: Entry, meshes: Path) -> Scene:
    """The object in 3-D; its file could be read a moment ago."""
    grasps = read_entry(entry)
    frame = FORWARD if grasps.pose_graspgen_in_gripper is None else grasps.pose_graspgen_in_gripper
    dataset = grasps.dataset
    batch = replace(dataset.grasps, pose_gripper_in_object=dataset.grasps.pose_gripper_in_object @ frame)
    return scene(facts, _mesh(facts, meshes), batch, width=_known(dataset.gripper_width, 0.08), depth=_known(dataset.gripper_depth, 0.12))


def _known(size: float, usual: float) -> float:
    """The size, or where the file gives none, or one that is no length, that of a common hand, m."""
    return size if abs(size) < FARTHEST else usual
