"""What the text of an error advises."""

from __future__ import annotations

import shlex
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from graspgen_cli.errors import install_command

EXTRAS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_installed_by_the_names_of_its_packages(extra: str) -> None:
    """The package itself is on no index."""
    command = install_command(extra)
    assert command.startswith("`pip install ") and command.endswith("`")
    found = [Requirement(word) for word in shlex.split(command.strip("`"))[2:]]
    expected = [Requirement(line.partition(";")[0]) for line in EXTRAS[extra]]
    assert {(canonicalize_name(each.name), each.specifier) for each in found} == {
        (canonicalize_name(each.name), each.specifier) for each in expected
    }


def test_without_metadata_the_source_folder_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.requires", unknown)
    assert install_command("usd") == "`pip install '.[usd]'` in the source folder of graspgen-cli"
