"""Workers that fill the cores by themselves have no threads besides, and give back the cores that they were bound to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
import os
import manifold3d
import numpy as np
from graspgen_cli.geometry.rays import keep_geometry_on_one_thread
from graspgen_cli.geometry.meshes import mesh_from_solid
from graspgen_cli.geometry.rays import RayCaster

cores, before = os.sched_getaffinity(0), len(os.listdir("/proc/self/task"))
{first}
sphere = manifold3d.Manifold.sphere(1.0, 512)
halves = sphere.split_by_plane((1, 0, 0), 0.1)
RayCaster(mesh_from_solid(halves[0] + halves[1].translate((1, 1, 1)))).inside(np.zeros((1000, 3)))
print(len(os.listdir("/proc/self/task")) - before, os.sched_getaffinity(0) == cores)
"""


def threads_started(first: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", COUNT.format(first=first)], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_the_geometry_libraries_start_no_threads_in_a_worker() -> None:
    assert threads_started("keep_geometry_on_one_thread()") == ["0", "True"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists() or len(os.sched_getaffinity(0)) < 2, reason="takes two cores, and /proc")
def test_left_alone_they_start_some() -> None:
    assert int(threads_started("")[0]) > 0
