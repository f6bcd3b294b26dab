"""What the isaaclab backend uses is in the real Isaac Lab: its wheel is fetched and read, never run. Run by `nox -s external`.

The fake in tests/fake_isaac has nothing but what the backend uses, and the backend runs on it: so each class, field, method and parameter
of the fake is looked for in the wheel. PhysX's own views are not in it, since they come with Isaac Sim: their methods are looked for among
the calls that Isaac Lab makes itself.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

import graspgen_cli

FAKE = Path(__file__).parent / "fake_isaac" / "isaaclab"
BACKEND = Path(graspgen_cli.__file__).parent / "validate" / "backends" / "isaac_lab"
PINNED = "isaaclab==2.3.*"
OWN_STATE = {"_world", "_data", "_composer", "_cfg", "_name", "_bodies", "_view"}
"""Where the fake keeps what it needs."""


def class_nodes(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class with its name; those within classes as `Outer.Inner`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield f"{prefix}{child.name}", child
            yield from class_nodes(child, f"{prefix}{child.name}.")


def members(node: ast.ClassDef) -> tuple[set[str], dict[str, ast.arguments]]:
    """The fields and properties, and the methods, that a class itself has. Nested classes count as fields."""
    fields, methods = set(), {}
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            fields.add(item.target.id)
        elif isinstance(item, ast.ClassDef) or (
            isinstance(item, ast.FunctionDef) and any(ast.unparse(d).endswith("property") for d in item.decorator_list)
        ):
            fields.add(item.name)
        elif isinstance(item, ast.FunctionDef):
            methods[item.name] = item.args
            fields |= set(own_attributes(item))
    return fields, methods


def own_attributes(method: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(method):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr


def parameters(arguments: ast.arguments) -> list[str]:
    return [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


@dataclass
class Package:
    """The sources of a package: module name to text."""

    sources: dict[str, str] = field(default_factory=dict)

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {name: node for text in self.sources.values() for name, node in class_nodes(ast.parse(text))}

    def members(self, name: str) -> tuple[set[str], dict[str, ast.arguments]]:
        """Of a class and its bases, as far as they are in the package."""
        fields: set[str] = set()
        methods: dict[str, ast.arguments] = {}
        node = self.classes.get(name)
        for base in node.bases if node else ():
            written = ast.unparse(base)
            more, inherited = self.members(written if written in self.classes else written.rpartition(".")[2])
            fields, methods = fields | more, methods | inherited
        if node is not None:
            more, own = members(node)
            fields, methods = fields | more, methods | own
        return fields, methods

    def exports(self, module: str, name: str) -> bool:
        """Whether `from module import name` finds something, through whatever re-exports."""
        text = self.sources.get(f"{module}.__init__", self.sources.get(module))
        if text is None:
            return False
        package = module if f"{module}.__init__" in self.sources else module.rpartition(".")[0]
        for node in ast.parse(text).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
                return True
            if isinstance(node, ast.ImportFrom):
                start = package.rsplit(".", node.level - 1)[0] if node.level else ""
                inner = ".".join(part for part in (start, node.module) if part)
                if any(alias.name == name for alias in node.names) or (node.names[0].name == "*" and self.exports(inner, name)):
                    return True
        return False


def package_of(folder: Path) -> Package:
    return Package({f"isaaclab.{path.stem}": path.read_text() for path in folder.glob("*.py") if path.stem not in ("_physics", "_views")})


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--python-version", "3.11", "--only-binary=:all:"]
    subprocess.run([*pip, "--dest", str(folder), PINNED], check=True)
    (path,) = folder.glob("isaaclab-2.3*.whl")
    print(f"read {path.name}")
    root = "isaaclab/source/isaaclab/"
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if name.startswith(f"{root}isaaclab/") and name.endswith(".py")]
        return Package({name.removeprefix(root).removesuffix(".py").replace("/", "."): wheel.read(name).decode() for name in names})


def differences(fake: Package, real: Package) -> list[str]:
    """What the fake has and the real package has not."""
    found = []
    for text in fake.sources.values():
        tree = ast.parse(text)
        for name, node in class_nodes(tree):
            found += class_differences(name, node, real)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                found += function_differences(node, real)
    return found


def class_differences(name: str, node: ast.ClassDef, real: Package) -> list[str]:
    if name not in real.classes:
        return [f"no class {name}"]
    fields, methods = members(node)
    real_fields, real_methods = real.members(name)
    used = {each for each in fields if each not in OWN_STATE}
    found = [f"{name} has no {each}" for each in sorted(used - real_fields)]
    for method, arguments in methods.items():
        if "world" in parameters(arguments):  # the engine that stands for PhysX, handed to the fake's own constructors
            continue
        # A configuration class takes its fields; the launcher of the app anything, so a test of its own looks at that.
        allowed = parameters(real_methods[method]) if method in real_methods else real_fields if method == "__init__" else None
        if allowed is None:
            found.append(f"{name} has no method {method}")
        elif method not in real_methods or real_methods[method].kwarg is None:
            found += [f"{name}.{method} takes no {each}" for each in parameters(arguments)[1:] if each not in allowed]
    return found


def function_differences(node: ast.FunctionDef, real: Package) -> list[str]:
    for text in real.sources.values():
        for other in ast.walk(ast.parse(text)):
            if isinstance(other, ast.FunctionDef) and other.name == node.name:
                return [f"{node.name} takes no {p}" for p in parameters(node.args) if p not in parameters(other.args)]
    return [f"no function {node.name}"]


def calls(sources: dict[str, str], name: str) -> set[int]:
    """With how many arguments a method of this name is called."""
    return {
        len(node.args) + len(node.keywords)
        for text in sources.values()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name
    }


def view_methods() -> Iterator[tuple[str, int]]:
    """Every method of the fake's views, with the number of its arguments."""
    for _, node in class_nodes(ast.parse((FAKE / "_views.py").read_text())):
        _, methods = members(node)
        yield from ((name, len(parameters(arguments)) - 1) for name, arguments in methods.items() if not name.startswith("_"))


def backend_imports() -> set[tuple[str, str]]:
    """(module, name) of everything that the backend takes from Isaac Lab."""
    return {
        (node.module, alias.name)
        for path in BACKEND.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "isaaclab"
        for alias in node.names
    }


@pytest.mark.download
def test_what_the_backend_uses_is_in_the_wheel(real: Package) -> None:
    assert differences(package_of(FAKE), real) == []


@pytest.mark.download
def test_what_the_backend_imports_can_be_imported_from_there(real: Package) -> None:
    assert len(backend_imports()) > 10
    assert [pair for pair in sorted(backend_imports()) if not real.exports(*pair)] == []


@pytest.mark.download
def test_isaac_lab_calls_the_views_of_physx_as_the_backend_does(real: Package) -> None:
    methods = list(view_methods())
    assert len(methods) >= 9
    assert [each for each in methods if each[1] not in calls(real.sources, each[0])] == []
    text = real.sources["isaaclab.sensors.contact_sensor.contact_sensor"]
    taken = [
        len(node.targets[0].elts)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assign) and "get_contact_data" in ast.unparse(node.value) and isinstance(node.targets[0], ast.Tuple)
    ]
    assert taken == [6]


@pytest.mark.download
def test_the_app_launcher_takes_what_it_is_given(real: Package) -> None:
    text = real.sources["isaaclab.app.app_launcher"]
    assert all(f'"{name}"' in text for name in ("headless", "device"))


def test_what_the_backend_imports_is_in_the_fake() -> None:
    fake = package_of(FAKE)
    assert [pair for pair in sorted(backend_imports()) if not fake.exports(*pair)] == []


REAL_EXAMPLE = {
    "isaaclab.sim.__init__": "from .cfg import *",
    "isaaclab.sim.cfg": "class Cfg:\n class Start:\n  at: float\n dt: float\n def step(self, dt): ...",
}
FAKE_EXAMPLE = {
    "isaaclab.sim": "class Cfg:\n class Start:\n  to: float\n fps: float\n def step(self, render): ...\n def stop(self): ...\n"
    "class Gone: ...\ndef go(): ..."
}


def test_calls_are_told_apart_by_their_arguments() -> None:
    sources = {"a": "view.get(dt=1)\nview.put(a, b)\nput(a)"}
    assert calls(sources, "get") == {1} and calls(sources, "put") == {2} and calls(sources, "gone") == set()


def test_the_comparison_can_fail() -> None:
    real = Package(REAL_EXAMPLE)
    assert differences(Package(FAKE_EXAMPLE), real) == [
        "Cfg has no fps",
        "Cfg.step takes no render",
        "Cfg has no method stop",
        "Cfg.Start has no to",
        "no class Gone",
        "no function go",
    ]
    assert real.exports("isaaclab.sim", "Cfg") and not real.exports("isaaclab.sim", "Gone") and not real.exports("isaaclab.gone", "Cfg")
