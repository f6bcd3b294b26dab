"""The files that `analyze` writes besides what it prints."""

from __future__ import annotations

import orjson

from graspgen_cli.analysis.dataset_facts import DatasetAnalysis
from graspgen_cli.analysis.document import analysis_document, csv_text
from graspgen_cli.files import write_atomically
from graspgen_cli.settings.commands import AnalyzeCommand


def write_outputs(analysis: DatasetAnalysis, settings: AnalyzeCommand) -> None:
    """Writes every --output in the form that its suffix says. Raises OutputError."""
    for path in settings.output:
        write_atomically(path, _content(path.suffix.lower(), analysis, settings))


def _content(form: str, analysis: DatasetAnalysis, settings: AnalyzeCommand) -> bytes:
    if form == ".csv":
        return csv_text(analysis).encode()
    if form == ".json":
        return orjson.dumps({"command": "analyze", **analysis_document(analysis)}, option=orjson.OPT_INDENT_2) + b"\n"
    raise NotImplementedError
