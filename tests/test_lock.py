"""The locks have each requirement of pyproject.toml in a version within the bounds, for each Python; `nox -s lock` writes them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DOCUMENT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = DOCUMENT["project"]
LOCKS = {
    "constraints.txt": [
        line
        for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values(), *DOCUMENT["dependency-groups"].values())
        for line in lines
    ],
    "constraints-build.txt": DOCUMENT["build-system"]["requires"],
}


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_requirement_is_locked_within_its_bounds(lock: str, python: str) -> None:
    here = {"python_version": python, "python_full_version": f"{python}.0"}
    lines = [Requirement(line.removesuffix(" \\")) for line in (ROOT / lock).read_text().splitlines() if "==" in line]
    pins = [pin for pin in lines if pin.marker is None or pin.marker.evaluate(here)]
    locked = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    assert len(locked) == len(pins)
    for each in map(Requirement, LOCKS[lock]):
        version = locked.get(canonicalize_name(each.name))
        assert version is not None and each.specifier.contains(version), f"{each}: {version} is locked; run `nox -s lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_file_has_a_hash_and_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert text.count("==") == len([block for block in text.split("==")[1:] if "--hash=sha256:" in block])
    assert "://" not in text and "file:" not in text
