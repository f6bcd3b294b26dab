"""Imports point one way, and the command line starts without what only the work needs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import graspgen_cli

PACKAGE = Path(graspgen_cli.__file__).parent
HEAVY = (
    "numpy",
    "scipy",
    "trimesh",
    "mujoco",
    "fcl",
    "embreex",
    "manifold3d",
    "torch",
    "warp",
    "pxr",
    "coacd",
    "PIL",
    "pydantic_settings",
    "isaaclab",
    "isaacsim",
    "h5py",
    "webdataset",
    "mujoco_warp",
    "ray",
    "plotly",
)
OPTIONAL = ("viser", "matplotlib", "imageio_ffmpeg", "OpenGL", "glfw", "playwright")
"""Only within the functions that need them: whoever does without them may import every module."""
ORDER = (
    ("__main__",),
    ("app", "api"),
    ("commands",),
    ("drawing",),
    ("analysis", "training"),
    ("running",),
    ("making",),
    ("dataset",),
    ("validate",),
    ("guess",),
    ("grippers", "objects"),
    ("formats",),
    ("geometry",),
    ("settings",),
    ("records", "files", "tables"),
    ("console", "errors"),
)
"""The parts of the package in their order: a part may import the parts of later rows. Parts of one row do not import each other."""
RANK = {part: rank for rank, row in enumerate(ORDER) for part in row}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if "example_objects" in path.parts:  # data in the wheel: the script that makes them is among them
            continue
        yield path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path


@cache
def tree(path: Path) -> ast.Module:
    """A module's syntax, parsed once for all tests."""
    return ast.parse(path.read_text("utf-8"))


def imported_parts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and part of the package of every import in a module, those within functions too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            found = [node.module or ""] if node.module != "graspgen_cli" else [f"graspgen_cli.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        else:
            continue
        for name in found:
            if name.startswith("graspgen_cli.") and name.split(".")[1] != "__version__":
                yield node.lineno, name.split(".")[1]


def test_every_part_has_its_row() -> None:
    parts = {part for part, _ in modules()} - {"__init__"}
    assert parts == set(RANK)


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {other}"
        for part, path in modules()
        if part != "__init__"
        for line, other in imported_parts(path)
        if other != part and not RANK[other] > RANK[part]
    ]
    assert wrong == []


def test_no_module_reaches_its_package_by_a_relative_import() -> None:
    relative = [path for _, path in modules() for node in ast.walk(tree(path)) if getattr(node, "level", 0)]
    assert relative == []


def loaded_step_by_step(*statements: str) -> list[set[str]]:
    """The top-level modules that a fresh interpreter holds after each of the statements."""
    tell = "print('loaded', *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    code = "\n".join(["import sys", *(f"{statement}\n{tell}" for statement in statements)])
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return [set(line.split()[1:]) for line in done.stderr.splitlines() if line.startswith("loaded ")]


def loaded_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after a statement."""
    return loaded_step_by_step(statement)[0]


HELP = "from graspgen_cli.app import main; assert main(['--help']) == 0"
LIGHT = [
    "import graspgen_cli.app",
    HELP,
    "import graspgen_cli.settings.cascade",
    "import graspgen_cli.making.reports",
    "import graspgen_cli.commands; [graspgen_cli.commands.load_command(name) for name in graspgen_cli.commands.COMMANDS]",
    "assert main(['all', '--help']) == 0",
    "assert main(['all', '--fps', 'x']) == 2",
]
RECORDS = "import graspgen_cli.records, graspgen_cli.settings.commands"
DRAWING = "import graspgen_cli.drawing.view, graspgen_cli.drawing.replay, graspgen_cli.drawing.viewer"
FORMATS = "import graspgen_cli.dataset.convert, graspgen_cli.formats.acronym"


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What one interpreter holds after each of the statements above, one after the other."""
    statements = [*LIGHT, RECORDS, DRAWING, FORMATS]
    return dict(zip(statements, loaded_step_by_step(*statements), strict=True))


def test_the_command_line_starts_light(loaded: dict[str, set[str]]) -> None:
    assert {statement: found for statement in LIGHT if (found := loaded[statement] & set(HEAVY))} == {}


def test_help_does_not_even_load_the_settings(loaded: dict[str, set[str]]) -> None:
    assert "pydantic" not in loaded[HELP]


def test_the_tests_above_can_fail(loaded: dict[str, set[str]]) -> None:
    assert {"numpy", "pydantic"} <= loaded[RECORDS]


def test_no_module_needs_an_optional_package_to_be_imported(loaded: dict[str, set[str]]) -> None:
    assert loaded[DRAWING] & set(OPTIONAL) - {"glfw", "OpenGL"} == set()


def test_formats_are_known_without_their_libraries(loaded: dict[str, set[str]]) -> None:
    assert loaded[FORMATS] & {"h5py", "webdataset"} == set()


BARE = "import typer\napp = typer.Typer()\napp.command('a')(lambda: None)\napp.command('b')(lambda: None)\napp(['--help'])"


@pytest.mark.slow
def test_help_costs_little_more_than_that_of_an_empty_typer_app() -> None:
    """Processor time, side by side and at its fastest: other work on the machine counts for neither."""
    times: list[list[float]] = [[], []]
    for _ in range(7):
        for found, arguments in zip(times, (["-m", "graspgen_cli", "--help"], ["-c", BARE]), strict=True):
            before = os.times()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            after = os.times()
            found.append(after.children_user + after.children_system - before.children_user - before.children_system)
    ours, bare = map(min, times)
    assert 0 < ours <= 1.5 * bare, f"{ours:.2f} s against {bare:.2f} s"
