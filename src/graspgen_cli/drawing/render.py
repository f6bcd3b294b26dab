"""Rendering of solids into pictures by MuJoCo's renderer, off-screen: with EGL or OSMesa, or the one named by MUJOCO_GL."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graspgen_cli.drawing.colours import PAPER, Colour
from graspgen_cli.errors import OutputError, install_command
from graspgen_cli.geometry.poses import rotation_from_wxyz
from graspgen_cli.records import Floats, TriangleMesh

Pixels = NDArray[np.uint8]
SYSTEMS = ("egl", "osmesa")
TOWARDS = np.array([0.6, 0.9, -0.55])
"""Viewing direction of scenes: from the front, the left and above."""
_PROBE = "import mujoco.{0} as gl; context = gl.GLContext(8, 8); context.make_current(); context.free()"
_LIBRARIES = "apt-get install libegl1 libgl1-mesa-dri` or `apt-get install libosmesa6"
_FINER = 2  # a pixel is the mean of this many pixels squared: some OpenGL systems do not smooth edges
_LIGHTS = (((0.45, -0.75, -0.75), 0.5, True), ((-0.8, -0.15, -0.3), 0.16, False))
"""Each light's direction (right, up, towards the viewer), its strength, and whether it casts shadows."""
_HEADLIGHT = 0.22
_AMBIENT = 0.4


@cache
def working_system() -> str:
    """`egl` or `osmesa`: the one named by MUJOCO_GL, by default the first that works. Raises OutputError if none works."""
    if find_spec("OpenGL") is None:
        raise OutputError(f"drawing pictures needs PyOpenGL; run {install_command('replay')}")
    named = os.environ.get("MUJOCO_GL", "").lower()
    problems = {system: _problem(system) for system in ((named,) if named in SYSTEMS else SYSTEMS)}
    for system, problem in problems.items():
        if not problem:
            return system
    found = ", ".join(f"{system}: {problem}" for system, problem in problems.items())
    raise OutputError(f"drawing pictures without a screen needs EGL or OSMesa ({found}); run `{_LIBRARIES}`")


def _problem(system: str) -> str:
    """Why a system does not work; empty if it works. Tried in another process, because PyOpenGL cannot change its library."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    command = [sys.executable, "-c", _PROBE.format(system)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**environment, "MUJOCO_GL": system})
    return "" if done.returncode == 0 else _last_line(done.stderr)


def _last_line(text: str) -> str:
    """The last line that is not empty, shortened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:120] if lines else "without an error message"


@dataclass(frozen=True, eq=False)
class Solid:
    """A mesh (its number) at a pose (4, 4) in the world. scale: (3,) along the mesh's own axes."""

    mesh: int
    pose: Floats
    colour: Colour
    scale: Floats | None = None


@dataclass(frozen=True, eq=False)
class Camera:
    """position: (3,) m; forward, up: (3,) unit, perpendicular; half_height: rad, half the vertical angle of view."""

    position: Floats
    forward: Floats
    up: Floats
    half_height: float = 0.25


def camera_around(points: Floats, *, towards: Floats, up: Floats, aspect: float, margin: float = 1.08) -> Camera:
    """The camera that looks along `towards` and sees all points (P, 3) m.

    aspect: width / height of the picture; margin: size of the picture in units of the points' extent.
    """
    forward = towards / np.linalg.norm(towards)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    upward = np.cross(right, forward)
    camera = Camera(np.zeros(3), forward, upward)
    slope = np.tan(camera.half_height) / margin
    seen = points @ np.stack([right, upward, forward]).T
    # For the middle of the extents, the distance at which each point is at the edge of the picture.
    middle = (seen[:, :2].min(axis=0) + seen[:, :2].max(axis=0)) / 2
    reach = np.abs(seen[:, :2] - middle) / (slope * np.array([aspect, 1.0]))
    depth = float((reach.max(axis=1) - seen[:, 2]).max())
    return Camera(middle[0] * right + middle[1] * upward - depth * forward, forward, upward)


@contextmanager
def renderer(meshes: Sequence[TriangleMesh], size: tuple[int, int], *, radius: float) -> Iterator[Renderer]:
    """A renderer of pictures of a size (width, height).

    radius: m, of a sphere about the world's origin around all solids. Raises OutputError without a working OpenGL.
    """
    system = working_system()
    try:
        context = import_module(f"mujoco.{system}").GLContext(*size)
    except Exception as error:  # the bindings raise errors of many kinds
        problem = f"{system} worked a moment ago and now does not ({_last_line(str(error))})"
        raise OutputError(f"pictures cannot be drawn: {problem}") from error
    context.make_current()
    try:
        drawing = Renderer(meshes, size, radius)
        try:
            yield drawing
        finally:
            drawing.close()
    finally:
        context.free()


class Renderer:
    """Draws solids into pictures of one size. Made by `renderer`."""

    def __init__(self, meshes: Sequence[TriangleMesh], size: tuple[int, int], radius: float) -> None:
        self._size, self._finer = size, (size[0] * _FINER, size[1] * _FINER)
        self._model = _model(meshes, self._finer, radius)
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_150)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._radius = radius
        self._scene: mujoco.MjvScene | None = None
        # MuJoCo turns a mesh to its principal axes, and stores the rotation.
        self._mesh_pos = np.array(self._model.mesh_pos)
        self._mesh_rotation = rotation_from_wxyz(np.array(self._model.mesh_quat))

    def picture(self, solids: Sequence[Solid], camera: Camera) -> Pixels:
        """(H, W, 3) picture of the solids."""
        if self._scene is None or self._scene.maxgeom < len(solids):
            self._scene = mujoco.MjvScene(self._model, maxgeom=max(len(solids), 1))
        scene = self._scene
        for geom, solid in zip(scene.geoms, solids, strict=False):
            self._place(geom, solid)
        scene.ngeom = len(solids)
        _aim(scene, camera, self._size[0] / self._size[1], self._radius)
        _set_lights(scene, camera, self._radius)
        width, height = self._finer
        pixels = np.zeros((height, width, 3), np.uint8)
        rect = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(rect, scene, self._context)
        mujoco.mjr_readPixels(pixels, None, rect, self._context)
        return np.asarray(Image.fromarray(np.flipud(pixels)).resize(self._size, Image.Resampling.BOX))

    def close(self) -> None:
        """Free the resources of the graphics library."""
        self._context.free()

    def _place(self, geom: mujoco.MjvGeom, solid: Solid) -> None:
        linear = solid.pose[:3, :3] @ (np.eye(3) if solid.scale is None else np.diag(solid.scale))
        position = linear @ self._mesh_pos[solid.mesh] + solid.pose[:3, 3]
        matrix = (linear @ self._mesh_rotation[solid.mesh]).ravel()
        rgba = np.array([*(channel / 255 for channel in solid.colour), 1.0], np.float32)
        mujoco.mjv_initGeom(geom, mujoco.mjtGeom.mjGEOM_MESH, np.ones(3), position, matrix, rgba)
        geom.dataid = 2 * solid.mesh
        geom.specular, geom.shininess = 0.15, 0.3


def _model(meshes: Sequence[TriangleMesh], size: tuple[int, int], radius: float) -> mujoco.MjModel:
    """A model with the meshes, the background, the size of the picture and the range of shadows."""
    spec = mujoco.MjSpec()
    spec.stat.extent, spec.stat.center = radius, [0.0, 0.0, 0.0]
    visual = spec.visual
    visual.global_.offwidth, visual.global_.offheight = size
    visual.quality.shadowsize, visual.quality.offsamples = 4096, 0
    visual.map.zfar, visual.map.znear, visual.map.shadowclip = 100.0, 0.01, 2.0  # in units of the extent
    paper = [channel / 255 for channel in PAPER]
    kinds = {"type": mujoco.mjtTexture.mjTEXTURE_SKYBOX, "builtin": mujoco.mjtBuiltin.mjBUILTIN_FLAT}
    spec.add_texture(name="paper", rgb1=paper, rgb2=paper, width=32, height=192, **kinds)
    for number, mesh in enumerate(meshes):
        added = spec.add_mesh(name=str(number), uservert=mesh.vertices.ravel(), userface=mesh.faces.ravel())
        # As shells, meshes without a volume are accepted.
        added.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    return spec.compile()


def _set_lights(scene: mujoco.MjvScene, camera: Camera, radius: float) -> None:
    """A headlight, a main light with shadows from the upper left, and a weak light from the right, all fixed to the camera."""
    axes = np.stack([np.cross(camera.forward, camera.up), camera.up, -camera.forward])
    scene.nlight = 1 + len(_LIGHTS)
    shining = [((0.0, 0.0, -1.0), _HEADLIGHT, False), *_LIGHTS]
    for number, (light, (direction, strength, shadow)) in enumerate(zip(scene.lights, shining, strict=False)):
        light.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
        toward = np.array(direction) @ axes
        light.dir = toward / np.linalg.norm(toward)
        light.pos = -light.dir * radius
        light.diffuse, light.specular, light.ambient = [strength] * 3, [strength / 3] * 3, [0.0] * 3
        light.headlight, light.castshadow, light.texid = int(number == 0), int(shadow), -1
    scene.lights[0].ambient = [_AMBIENT] * 3


def _aim(scene: mujoco.MjvScene, camera: Camera, aspect: float, radius: float) -> None:
    """Move both eyes of the scene to the camera."""
    distance = float(np.linalg.norm(camera.position))
    near = max(distance - 4 * radius, distance / 100)
    for eye in scene.camera:
        eye.pos, eye.forward, eye.up = camera.position, camera.forward, camera.up
        eye.frustum_near, eye.frustum_far = near, distance + 4 * radius
        eye.frustum_top = near * np.tan(camera.half_height)
        eye.frustum_bottom, eye.frustum_center, eye.frustum_width = -eye.frustum_top, 0.0, eye.frustum_top * aspect
