"""Sessions: `nox` runs tests, lint, types and the smoke test of the built wheel; `nox -s slow` the tests that take minutes;
`nox -s grippers` reads models that other people wrote; `nox -s browser` opens the pages in Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["tests", "lint", "types", "smoke"]
TEST_PACKAGES = ["pytest>=8.3,<10", "hypothesis>=6.120,<7"]


@nox.session
def tests(session: nox.Session) -> None:
    """Fast tests, those of USD files among them."""
    session.install(".[usd,view,replay]", *TEST_PACKAGES)
    session.run("pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Tests that take minutes: a run killed a hundred times, thousands of objects, files of a gigabyte."""
    session.install(".[usd,view,replay]", *TEST_PACKAGES)
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def grippers(session: nox.Session) -> None:
    """Every format of gripper files, and real models that other people wrote: fetches the packages pybullet and robosuite."""
    session.install(".[usd,grippers]", *TEST_PACKAGES)
    session.run("pytest", "tests/grippers", *session.posargs)
    session.run("pytest", "-m", "download", "-s", "tests/grippers/test_gripper_real.py", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Pages in a real Chromium, the system's: apt-get install chromium. Skips with the reason where there is none."""
    session.install(".[view,replay]", "playwright>=1.50,<2", *TEST_PACKAGES)
    session.run("pytest", "-m", "browser", "-rs", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and mistakes (ruff)."""
    session.install("ruff>=0.14,<0.18")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Strict type check of the package (mypy)."""
    session.install(".", "mypy>=1.18,<3")
    session.run("mypy")


@nox.session
def smoke(session: nox.Session) -> None:
    """Installs the built wheel in a clean environment and runs the main job from another folder."""
    wheels = Path(session.create_tmp()) / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), ".")
    session.install(str(next(wheels.glob("*.whl"))))
    elsewhere = Path(session.create_tmp()) / "elsewhere"
    shutil.rmtree(elsewhere, ignore_errors=True)
    elsewhere.mkdir()
    with session.chdir(elsewhere):
        session.run("graspgen", "all", "--num-collision-free-grasps", "8", "--num-colliding-grasps", "4")
        session.run("graspgen", "analyze", "--min-success", "1", "--min-failed", "1")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measures this machine and prints JSON."""
    session.install(".")
    session.run("python", "benchmarks/measure.py", *session.posargs)
