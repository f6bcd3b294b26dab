"""A drawing context without a screen: the OpenGL that works here, EGL or OSMesa, or the one that MUJOCO_GL names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from graspgen_cli.errors import OutputError

SYSTEMS = ("egl", "osmesa")
_PROBE = "import mujoco.{0} as gl; context = gl.GLContext(8, 8); context.make_current(); context.free()"
_LIBRARIES = "apt-get install libegl1 libgl1-mesa-dri` or `apt-get install libosmesa6"


@contextmanager
def offscreen(size: tuple[int, int]) -> Iterator[None]:
    """Makes a context of a size (width, height) the current one. Raises OutputError, naming what to install, where there is none."""
    system = working_system()
    try:
        context = import_module(f"mujoco.{system}").GLContext(*size)
    except Exception as error:  # the bindings raise whatever the library's absence leads them to
        raise OutputError(f"pictures cannot be drawn: {system} worked a moment ago and now does not ({_line(str(error))})") from error
    context.make_current()
    try:
        yield
    finally:
        context.free()


@cache
def working_system() -> str:
    """`egl` or `osmesa`: the one that MUJOCO_GL names, else the first that works. Raises OutputError where none does."""
    if find_spec("OpenGL") is None:
        raise OutputError("drawing pictures needs PyOpenGL; run: pip install 'graspgen-cli[replay]'")
    named = os.environ.get("MUJOCO_GL", "").lower()
    problems = {system: _problem(system) for system in ((named,) if named in SYSTEMS else SYSTEMS)}
    for system, problem in problems.items():
        if not problem:
            return system
    found = ", ".join(f"{system}: {problem}" for system, problem in problems.items())
    raise OutputError(f"drawing pictures without a screen needs EGL or OSMesa ({found}); run `{_LIBRARIES}`")


def _problem(system: str) -> str:
    """Why a system does not work; empty where it does. Asked of another process: PyOpenGL cannot be given a second library."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    asked = [sys.executable, "-c", _PROBE.format(system)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, env={**environment, "MUJOCO_GL": system})
    return "" if done.returncode == 0 else _line(done.stderr)


def _line(text: str) -> str:
    """The last line that says something, shortened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:120] if lines else "it failed without a word"
