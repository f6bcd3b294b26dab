"""The effective settings and their sources, as text that a settings file may hold, and as a JSON document."""

from __future__ import annotations

import json
from typing import Any

from graspgen_cli.settings.cascade import Resolved
from graspgen_cli.settings.fields import dashed, fields_by_section, heading


def settings_text(resolved: Resolved[Any]) -> str:
    """A table of name, value and source under the sections' headings; it is YAML that ``--config`` reads back."""
    values = resolved.settings.model_dump(mode="json")
    texts = {name: f"{dashed(name)}: {_yaml_text(value)}" for name, value in values.items()}
    width = max(len(text) for text in texts.values() if len(text) <= 60)
    lines = []
    for section, names in fields_by_section(type(resolved.settings)):
        lines.append(f"# {heading(section)}")
        lines += [f"{texts[name]:<{width}}  # {resolved.sources[name]}" for name in names]
    return "\n".join(lines)


def _yaml_text(value: object) -> str:
    """The value as YAML on one line: as plain text where YAML reads it back as that text, as JSON otherwise."""
    import yaml

    if isinstance(value, str) and value.isprintable():
        try:
            if yaml.safe_load(f"a: {value}  # b") == {"a": value}:
                return value
        except yaml.YAMLError:
            pass
    return json.dumps(value, ensure_ascii=False)


def settings_document(resolved: Resolved[Any]) -> dict[str, dict[str, object]]:
    """Field name to its value and source, in the order of the text."""
    values = resolved.settings.model_dump(mode="json")
    return {name: {"value": values[name], "source": source} for name, source in resolved.sources.items()}
