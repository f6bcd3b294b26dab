"""Grippers from the package robot_descriptions, which fetches robots' files by name."""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module
from pathlib import Path

from graspgen_cli.errors import GripperError

PREFIX = "robot_descriptions:"


def described_file(name: str) -> Path:
    """The MJCF or URDF file of `robot_descriptions.<name>`, such as robotiq_2f85_mj_description; the package fetches it if need be.

    Raises GripperError where the package is missing, does not know the name, or cannot fetch the file.
    """
    source = f"{PREFIX}{name}"
    if not name.isidentifier():
        raise GripperError(f"{source}: {name!r} cannot be the name of a robot description; try robotiq_2f85_mj_description")
    try:
        import_module("robot_descriptions")
    except ImportError:
        raise GripperError(f"{source}: needs robot_descriptions; run: pip install 'graspgen-cli[grippers]'") from None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it tells of its progress there, where our data goes
            described = import_module(f"robot_descriptions.{name}")
    except ModuleNotFoundError:
        raise GripperError(f"{source}: robot_descriptions knows no {name}; `robot_descriptions list` names those it knows") from None
    except Exception as error:  # git and the network fail in their own ways
        raise GripperError(f"{source}: cannot be fetched: {' '.join(str(error).split())[:160]}") from error
    path = getattr(described, "MJCF_PATH", None) or getattr(described, "URDF_PATH", None)
    if path is None:
        hint = "; run xacro on its XACRO_PATH and give the URDF" if hasattr(described, "XACRO_PATH") else ""
        raise GripperError(f"{source}: has neither an MJCF nor a URDF file{hint}")
    return Path(path)
