"""The sources that settings come from: each is read into a layer of values that remember where they were found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from graspgen_cli.settings.base import Origin, SeedSettings
from graspgen_cli.settings.fields import dashed, environment_names, flag, known_fields
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.trials import SimulationSettings

MAX_FILE_BYTES = 64 * 1024
MAX_FILE_DEPTH = 16


@dataclass(frozen=True)
class Given:
    """One value that a source gives."""

    value: object
    origin: Origin
    place: str
    """What a message about the value starts with: ``environment variable GRASPGEN_SEED``."""
    name: str = ""
    """Name of the gripper, the settings file or the variable."""

    @property
    def source(self) -> str:
        """For ``--show-settings``: ``environment GRASPGEN_SEED``."""
        return f"{self.origin} {self.name}".strip()


@dataclass(frozen=True)
class Layer:
    """What one source gives, and what is wrong with it, a line each."""

    values: dict[str, Given] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_flags(flags: Mapping[str, object]) -> Layer:
    """The flags that were given; None stands for a flag that was not."""
    return Layer({name: Given(value, Origin.FLAG, flag(name)) for name, value in flags.items() if value is not None})


def read_environment(environ: Mapping[str, str]) -> Layer:
    """The fields that environment variables set; an empty variable counts as not set."""
    values = {}
    for name in sorted(known_fields()):
        found = next((variable for variable in environment_names(name) if environ.get(variable)), None)
        if found:
            values[name] = Given(environ[found], Origin.ENVIRONMENT, f"environment variable {found}", found)
    return Layer(values)


def read_gripper(gripper: str, values: Mapping[str, object]) -> Layer:
    """What a gripper file sets: how it is best used, so only fields of guesses and simulation."""
    settable = {*GuessSettings.model_fields, *SimulationSettings.model_fields} - {*SeedSettings.model_fields}
    return _named_values(values, Origin.GRIPPER, gripper, known=frozenset(settable), file=f"gripper {gripper}")


def read_config(path: Path | None) -> Layer:
    """The fields that a YAML file sets: one flat mapping, names with dashes or underscores.

    A name that no command knows is a problem, as is a name given twice.
    """
    if path is None:
        return Layer()
    try:
        values = _parse(_read_text(path))
    except ValueError as problem:
        return Layer(problems=(f"{path}{problem}",))
    return _named_values(values, Origin.CONFIG, str(path), known=known_fields(), file=str(path))


def _read_text(path: Path) -> str:
    """The text of a file of no more than `MAX_FILE_BYTES`; ValueError, to be put behind the file's name, where that fails."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f": cannot be read ({error.strerror}); give a YAML file of settings") from error
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f": larger than {MAX_FILE_BYTES // 1024} KiB, so not a settings file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f": not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def _parse(text: str) -> dict[Any, object]:
    """The mapping that a YAML text holds; ValueError, to be put behind the file's name, where it holds none."""
    import yaml

    try:
        check_nesting(text)
        _check_names(text)
        return yaml.safe_load(text) or {}
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{line}: not valid YAML ({error.problem})") from error
    except yaml.YAMLError as error:
        raise ValueError(f": not valid YAML ({str(error).splitlines()[0]})") from error


def check_nesting(text: str) -> None:
    """Look at the text event by event, before anything is built from it, so that no file can exhaust memory or stack."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        line = f" line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"{line}: references (*{event.anchor}) are not allowed; write the value out")
        if depth > MAX_FILE_DEPTH:
            raise ValueError(f"{line}: nested more than {MAX_FILE_DEPTH} deep; settings are one flat mapping")


def _check_names(text: str) -> None:
    """The text is empty or a mapping, and no name stands in it twice: YAML itself would take the last one in silence."""
    import yaml

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None or root.tag == "tag:yaml.org,2002:null":
        return
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(": not a mapping of names to values, such as `num-offsets: 16`")
    seen: set[str] = set()
    for key, _ in root.value:
        name = dashed(str(key.value))
        if name in seen:
            raise ValueError(f" line {key.start_mark.line + 1}: {name} is given twice; keep one")
        seen.add(name)


def _named_values(values: Mapping[Any, object], origin: Origin, source: str, *, known: frozenset[str], file: str) -> Layer:
    """A mapping's values under their field names; names that are not `known` become problems."""
    given: dict[str, Given] = {}
    problems = []
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name in known:
            given[name] = Given(value, origin, f"{file}: {dashed(name)}", source)
        else:
            problems.append(f"{file}: unknown setting {str(key)!a}{_suggestion(name, known)}")
    return Layer(given, tuple(problems))


def _suggestion(name: str, known: frozenset[str]) -> str:
    near = get_close_matches(re.sub(r"\W", "_", name.lower()), sorted(known), n=1)
    return f"; did you mean {dashed(near[0])}?" if near else "; `graspgen all --help` names the settings"
