"""Sessions: `nox` runs the fast tests, lint, types and the smoke test of the wheel. `nox --list` names the others.

Sessions install the versions in constraints.txt and constraints-build.txt and hold each file to its hash. `lowest` and `newest` test
the bounds of pyproject.toml in place of those versions."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import nox

# uv makes an environment in a tenth of the time that virtualenv and pip take; `pip install nox` brings virtualenv.
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "lint", "smoke"]
PROJECT = nox.project.load_toml("pyproject.toml")
LOCK, BUILD_LOCK = "constraints.txt", "constraints-build.txt"
"""For an environment, and for building the wheel, which needs a newer `packaging` than PhysX admits."""
FAST = ("formats", "grippers", "replay", "report", "usd", "view")
"""Extras that the fast tests use."""
SIDE_BY_SIDE = ["-n", "2", "--dist", "loadfile"]
"""Two processes, each with whole files of tests, since the tests of a file share what they prepare."""


def requirements(extras: Iterable[str], *groups: str) -> list[str]:
    """What pyproject.toml names for the package, for its extras and for dependency groups."""
    project = PROJECT["project"]
    needed = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return [*chain.from_iterable(needed), *nox.project.dependency_groups(PROJECT, *groups)]


def install(session: nox.Session, extras: Iterable[str], *groups: str) -> None:
    """Installs the locked versions of what the package needs, each file held to its hash, then the package itself."""
    session.install("--no-compile", "--constraint", LOCK, *requirements(extras, *groups))
    session.install("--no-deps", "--build-constraint", BUILD_LOCK, ".")


@nox.session
def tests(session: nox.Session) -> None:
    """Fast tests."""
    install(session, FAST, "test")
    session.run("pytest", *SIDE_BY_SIDE, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and mistakes (ruff), strict types (mypy)."""
    install(session, (), "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def smoke(session: nox.Session) -> None:
    """Builds the wheel, installs it with no extra, and runs the main job from another folder."""
    install(session, ())
    elsewhere = Path(session.create_tmp()) / "elsewhere"
    shutil.rmtree(elsewhere, ignore_errors=True)
    elsewhere.mkdir()
    with session.chdir(elsewhere):
        session.run("graspgen", "all", "--num-collision-free-grasps", "8", "--num-colliding-grasps", "4")
        session.run("graspgen", "analyze", "--min-success", "1", "--min-failed", "1")


@nox.session
def slow(session: nox.Session) -> None:
    """Tests that take minutes: runs that are killed, hundreds of objects, the GPU backend on Warp's CPU device."""
    install(session, [*FAST, "coacd", "gpu"], "test")
    session.run("pytest", "-m", "slow", *SIDE_BY_SIDE, *session.posargs)


@nox.session
def external(session: nox.Session) -> None:
    """Tests that need other programs: a Ray cluster, packages that the index has, Chromium and a virtual screen (apt-get install chromium
    xvfb). A test skips with the reason where a program is missing."""
    install(session, [*FAST, "gpu", "ray"], "test", "external")
    session.run("pytest", "-m", "ray or download or browser", "-rs", *session.posargs)


@nox.session
def physx(session: nox.Session) -> None:
    """The physx engine on NVIDIA's PhysX (ovphysx), on a CPU."""
    install(session, ["physx"], "test")
    session.run("pytest", *SIDE_BY_SIDE, "tests/test_physx.py", *session.posargs)


@nox.session
def gpu(session: nox.Session) -> None:
    """Tests on an NVIDIA GPU; each skips where there is none."""
    install(session, ["gpu"], "test")
    session.run("pytest", "-m", "gpu", "-s", "tests/test_gpu.py", *session.posargs)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Fast tests with the lowest versions that pyproject.toml admits, on the lowest Python."""
    unlocked(session, "lowest-direct")


@nox.session
def newest(session: nox.Session) -> None:
    """Fast tests with the newest versions that pyproject.toml admits."""
    unlocked(session, "highest")


def unlocked(session: nox.Session, resolution: str) -> None:
    session.install("--constraint", LOCK, *nox.project.dependency_groups(PROJECT, "lock"))
    session.run("uv", "pip", "install", "--quiet", "--upgrade", "--resolution", resolution, *requirements(FAST, "test"))
    session.install("--no-deps", ".")
    session.run("uv", "pip", "list")
    session.run("pytest", *SIDE_BY_SIDE, *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Writes the locks anew: the newest stable versions of all that the sessions install, with hashes, for every Python."""
    session.install(*nox.project.dependency_groups(PROJECT, "lock"))
    build = Path(session.create_tmp()) / "build.in"
    build.write_text("\n".join(PROJECT["build-system"]["requires"]))
    wanted = [f"--extra={name}" for name in PROJECT["project"]["optional-dependencies"]]
    wanted += [f"--group={name}" for name in PROJECT["dependency-groups"]]
    # A package of Ray's has no release but pre-releases.
    form = ["--universal", "--python-version=3.11", "--prerelease=if-necessary", "--generate-hashes", "--no-annotate"]
    header = "--custom-compile-command=nox -s lock"
    for sources, target in ((["pyproject.toml", *wanted], LOCK), ([str(build)], BUILD_LOCK)):
        session.run("uv", "pip", "compile", *sources, "--upgrade", *form, header, f"--output-file={target}", silent=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Builds the documentation into site/; a warning is an error."""
    install(session, ["docs"])
    # The theme prints its maintainers' plans otherwise.
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})
