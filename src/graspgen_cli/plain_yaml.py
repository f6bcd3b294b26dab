"""YAML that anybody may have written, as plain values."""

from __future__ import annotations

from typing import Any

from graspgen_cli.files import MOST_VALUES

DEEPEST = 8


def load_plain_yaml(content: bytes, *, deepest: int = DEEPEST) -> Any:
    """The values of a YAML text in UTF-8.

    It is looked at event by event before anything is built from it: no references, for they can stand for more than memory holds, no
    depth, and no more values than JSON may have. Raises ValueError, in a few words to be put behind the file's name.
    """
    import yaml

    # The C parser is ten times as fast; both refuse every tag that could build an object.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = content.decode("utf-8-sig")
        depth = 0
        for values, event in enumerate(yaml.parse(text, Loader=loader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"line {event.start_mark.line + 1} refers to another value (*{event.anchor}); write it out")
            if depth > deepest or values > MOST_VALUES:
                raise ValueError(f"nested more than {deepest} deep, or more than {MOST_VALUES} values")
        return loader(text).get_single_data()
    except (yaml.YAMLError, RecursionError, MemoryError) as error:
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())[:160] or type(error).__name__}") from error
