"""constraints.txt has each package of pyproject.toml in a version within the bounds, for each Python; `nox -s lock` writes the file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINNED = [Requirement(line.removesuffix(" \\")) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]


def wanted() -> list[Requirement]:
    """The requirements of the package, of its extras and of the dependency groups."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = document["project"]
    optional = project["optional-dependencies"].values()
    return [Requirement(line) for lines in (project["dependencies"], *optional, *document["dependency-groups"].values()) for line in lines]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_requirement_is_locked_within_its_bounds(python: str) -> None:
    here = {"python_version": python, "python_full_version": f"{python}.0"}
    pins = [pin for pin in PINNED if pin.marker is None or pin.marker.evaluate(here)]
    locked = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    assert len(locked) == len(pins)
    for each in wanted():
        version = locked.get(canonicalize_name(each.name))
        assert version is not None and each.specifier.contains(version), f"{each}: {version} is locked; run `nox -s lock`"


def test_every_locked_file_has_a_hash_and_no_place() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert text.count("==") == len([block for block in text.split("==")[1:] if "--hash=sha256:" in block])
    assert "://" not in text and "file:" not in text
