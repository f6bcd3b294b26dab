"""The scales file, a list of objects with their scales; and the location of the example objects."""

from __future__ import annotations

import json
import math
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import graspgen_cli
from graspgen_cli.errors import InputError, one_line
from graspgen_cli.files import read_bounded

SHAPE = '{"path/to/object.obj": scale, ...}'
EXAMPLES = Path("objects")  # first folder of the default paths, and the folder of the example objects in a source checkout
SCALE_LIMITS = (1e-10, 1e6)  # limits of plausible scales. Meshes from the web come in any unit: the GraspGen paper's list goes down to 6e-9


@dataclass(frozen=True)
class ScalesList:
    """A scales file's usable entries, (object id, scale) in the file's order, and its problems, (object id, one-line reason)."""

    entries: tuple[tuple[str, float], ...]
    problems: tuple[tuple[str, str], ...]


class _Pairs(list[tuple[str, object]]):
    """A JSON object as key-value pairs, which keeps repeated keys."""


def read_scales(path: Path) -> ScalesList:
    """Reads a scales file, ``{"path/to/object.obj": scale, ...}``. Raises InputError for an unusable file; unusable entries are listed as
    `problems`."""
    pairs = _read_pairs(path)
    times = Counter(object_id for object_id, _ in pairs)
    entries: list[tuple[str, float]] = []
    problems: dict[str, str] = {}
    for object_id, value in pairs:
        repeated = f"is listed {times[object_id]} times; keep one" if times[object_id] > 1 else ""
        reason = repeated or id_problem(object_id) or scale_problem(value)
        if reason:
            problems[object_id] = f"{path}: {_shown(object_id)} {reason}"
        elif isinstance(value, int | float):
            entries.append((object_id, float(value)))
    return ScalesList(tuple(entries), tuple(problems.items()))


def _read_pairs(path: Path) -> _Pairs:
    try:
        text = read_bounded(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError("no such file", path=path, advice="name the list of objects with --object-scales-json") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as UTF-8 text ({one_line(error)})", path=path, advice=f"expected {SHAPE}") from None
    try:
        content = json.loads(text, object_pairs_hook=_Pairs)
    except (RecursionError, MemoryError):
        raise InputError("nested too deep", path=path, advice=f"expected {SHAPE}") from None
    except ValueError as error:
        raise InputError(f"not JSON ({one_line(error)})", path=path, advice=f"expected {SHAPE}") from None
    if not isinstance(content, _Pairs):
        raise InputError("not a JSON object", path=path, advice=f"expected {SHAPE}")
    if not content:
        raise InputError("lists no objects", path=path, advice=f"expected {SHAPE}")
    return content


def id_problem(object_id: str) -> str:
    """Why an object id cannot name a file below the object folder; empty for a valid id."""
    path = PurePosixPath(object_id)
    if not path.name or object_id != object_id.strip():
        return "is not a file's path; give one relative to --object-dataset, with no space at its ends"
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in object_id):
        return "has a line break or control character in its name; rename the file"
    if path.is_absolute():
        return "is an absolute path; give it relative to --object-dataset"
    if ".." in path.parts:
        return "leaves the folder of --object-dataset through '..'; give a path inside it"
    return ""


def scale_problem(value: object) -> str:
    """Why a value is no usable scale; empty for a usable scale."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"has a scale that is not a number: {_shown(value)}"
    try:
        scale = float(value)
    except OverflowError:
        scale = math.inf
    if not math.isfinite(scale):
        return "has a scale that is not finite"
    if scale <= 0:
        return f"has a scale that is not positive: {value}"
    if not SCALE_LIMITS[0] <= scale <= SCALE_LIMITS[1]:
        return f"has an absurd scale, {scale:g}; metres a mesh unit are expected"
    return ""


def resolve_object_paths(*, object_scales_json: Path, object_dataset: Path) -> tuple[Path, Path]:
    """The scales file and the object folder; a path ``objects/...`` missing in the working directory stands for the example objects.

    The example objects are in the package or, in a source checkout, in the repository. The folder follows the scales file: the examples'
    list is never combined with another folder named ``objects``.
    """
    package = Path(graspgen_cli.__file__).resolve().parent
    examples = package / "example_objects"
    examples = examples if examples.is_dir() else package.parent.parent / EXAMPLES
    scales = _in_examples(object_scales_json, examples)
    carried = scales != object_scales_json and object_dataset == EXAMPLES
    return scales, examples if carried else _in_examples(object_dataset, examples)


def _in_examples(path: Path, examples: Path) -> Path:
    """The example file for a missing relative path ``objects/...``; any other path unchanged."""
    if path.parts[:1] != EXAMPLES.parts or path.exists():
        return path
    example = examples.joinpath(*path.parts[1:])
    return example if example.exists() else path


def _shown(value: object) -> str:
    """The value on one line of at most 80 characters."""
    text = ascii(dict(value) if isinstance(value, _Pairs) else value)
    return text if len(text) <= 80 else text[:77] + "..."
