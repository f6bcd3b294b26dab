"""The sources of settings: each becomes a layer of values with their origins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from graspgen_cli.errors import one_line
from graspgen_cli.files import load_plain_yaml
from graspgen_cli.settings.base import Given, Origin, SeedSettings
from graspgen_cli.settings.fields import dashed, environment_names, flag, known_settings
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.trials import SimulationSettings

MAX_FILE_BYTES = 64 * 1024
MAX_FILE_DEPTH = 16


@dataclass(frozen=True)
class Layer:
    """The values of one source, and a line for each of its mistakes."""

    values: dict[str, Given] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_flags(flags: Mapping[str, object]) -> Layer:
    """The flags; None is a flag that was not typed."""
    return Layer({name: Given(value, Origin.FLAG, flag(name)) for name, value in flags.items() if value is not None})


def read_environment(environ: Mapping[str, str]) -> Layer:
    """The environment variables; an empty one counts as unset."""
    values = {}
    for name in sorted(known_settings()):
        found = next((variable for variable in environment_names(name) if environ.get(variable)), None)
        if found:
            values[name] = Given(environ[found], Origin.ENVIRONMENT, f"environment variable {found}", found)
    return Layer(values)


def read_gripper(gripper: str, values: Mapping[str, object]) -> Layer:
    """The values of a gripper file, which sets how the gripper is used: settings of guesses and simulation."""
    settable = {*GuessSettings.model_fields, *SimulationSettings.model_fields} - {*SeedSettings.model_fields}
    return _named_values(values, Origin.GRIPPER, gripper, known=settable, file=f"gripper {gripper}")


def read_config(path: Path | None) -> Layer:
    """The values of a settings file: a flat YAML mapping, names with dashes or underscores.

    A name that no command knows is a mistake, and so is a repeated name.
    """
    if path is None:
        return Layer()
    try:
        with path.open("rb") as file:  # a pipe, too
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES >> 10} KiB")
        values = load_plain_yaml(content, deepest=MAX_FILE_DEPTH)
        _check_names(content)
    except (OSError, ValueError) as error:
        return Layer(problems=(f"{path}: cannot be read ({one_line(error)}); give a YAML file of settings",))
    return _named_values(values or {}, Origin.CONFIG, str(path), known=known_settings(), file=str(path))


def _check_names(content: bytes) -> None:
    """Raises ValueError unless the text is empty or a mapping without repeated names, of which YAML would take the last."""
    import yaml

    root = yaml.compose(content, Loader=yaml.SafeLoader)
    if root is None or root.tag == "tag:yaml.org,2002:null":
        return
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("not a mapping of names to values, such as `num-offsets: 16`")
    seen: set[str] = set()
    for key, _ in root.value:
        name = dashed(str(key.value))
        if name in seen:
            raise ValueError(f"line {key.start_mark.line + 1} gives {name} again")
        seen.add(name)


def _named_values(values: Mapping[Any, object], origin: Origin, source: str, *, known: Iterable[str], file: str) -> Layer:
    """The values of a mapping under their names; a name that is not `known` becomes a problem."""
    given: dict[str, Given] = {}
    problems = []
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name in known:
            given[name] = Given(value, origin, f"{file}: {dashed(name)}", source)
        else:
            near = get_close_matches(re.sub(r"\W", "_", name.lower()), sorted(known), n=1)
            hint = f"did you mean {dashed(near[0])}?" if near else "`graspgen all --help` names the settings"
            problems.append(f"{file}: unknown setting {str(key)!a}; {hint}")
    return Layer(given, tuple(problems))
