"""A drawing context without a screen: the OpenGL that works here, EGL or OSMesa, or the one that MUJOCO_GL names.

Solids to pictures through MuJoCo's renderer, without a screen."""

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
        raise OutputError(f"drawing pictures needs PyOpenGL; run {install_command('replay')}")
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


Pixels = NDArray[np.uint8]
_FINER = 2
"""Every pixel is the mean of this many times as many each way: not every OpenGL smooths edges by itself."""
_LIGHTS = (((0.45, -0.75, -0.75), 0.5, True), ((-0.8, -0.15, -0.3), 0.16, False))
"""Direction to the right, up and towards the viewer in which each light shines, its strength, and whether it casts shadows."""
_HEADLIGHT = 0.22
_AMBIENT = 0.4


@dataclass(frozen=True, eq=False)
class Solid:
    """A mesh, by its number, at (4, 4) in the world, stretched by `scale` along its own axes."""

    mesh: int
    pose: Floats
    colour: Colour
    scale: Floats | None = None
    opacity: float = 1.0


@dataclass(frozen=True, eq=False)
class Camera:
    """Where a picture is taken from.

    position: (3,) m; forward, up: (3,) unit, perpendicular; half_height: rad, half the vertical angle of view.
    """

    position: Floats
    forward: Floats
    up: Floats
    half_height: float = 0.25


def camera_around(points: Floats, *, towards: Floats, up: Floats, aspect: float, margin: float = 1.08) -> Camera:
    """A camera that looks along `towards` and holds all points (P, 3) in its picture, whose width is `aspect` times its height, with
    the share `margin` - 1 of it to spare."""
    forward = towards / np.linalg.norm(towards)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    upward = np.cross(right, forward)
    camera = Camera(np.zeros(3), forward, upward)
    slope = np.tan(camera.half_height) / margin
    seen = points @ np.stack([right, upward, forward]).T
    # For every point the distance at which it just enters the picture, for the middle of the extents.
    middle = (seen[:, :2].min(axis=0) + seen[:, :2].max(axis=0)) / 2
    reach = np.abs(seen[:, :2] - middle) / (slope * np.array([aspect, 1.0]))
    depth = float((reach.max(axis=1) - seen[:, 2]).max())
    return Camera(middle[0] * right + middle[1] * upward - depth * forward, forward, upward)


class Renderer:
    """Draws solids into pictures of one size. Made by `renderer`."""

    def __init__(self, meshes: Sequence[TriangleMesh], size: tuple[int, int], radius: float) -> None:
        self._size = size
        self._model = _model(meshes, self._finer, radius)
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_150)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._radius = radius
        self._scene: mujoco.MjvScene | None = None
        # MuJoCo turns a mesh to its principal axes and remembers how.
        self._mesh_pos = np.array(self._model.mesh_pos)
        self._mesh_rotation = rotation_from_wxyz(np.array(self._model.mesh_quat))

    def picture(self, solids: Sequence[Solid], camera: Camera) -> Pixels:
        """(H, W, 3) what the camera sees."""
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

    @property
    def _finer(self) -> tuple[int, int]:
        return self._size[0] * _FINER, self._size[1] * _FINER

    def close(self) -> None:
        """Gives back what the graphics library holds."""
        self._context.free()

    def _place(self, geom: mujoco.MjvGeom, solid: Solid) -> None:
        stretch = np.eye(3) if solid.scale is None else np.diag(solid.scale)
        linear = solid.pose[:3, :3] @ stretch
        position = linear @ self._mesh_pos[solid.mesh] + solid.pose[:3, 3]
        matrix = (linear @ self._mesh_rotation[solid.mesh]).ravel()
        rgba = np.array([*(channel / 255 for channel in solid.colour), solid.opacity], np.float32)
        mujoco.mjv_initGeom(geom, mujoco.mjtGeom.mjGEOM_MESH, np.ones(3), position, matrix, rgba)
        geom.dataid = 2 * solid.mesh
        geom.specular, geom.shininess = 0.15, 0.3


def _model(meshes: Sequence[TriangleMesh], size: tuple[int, int], radius: float) -> mujoco.MjModel:
    """A model that only carries the meshes and how to draw: the background, the size of the picture, and how far shadows reach."""
    spec = mujoco.MjSpec()
    spec.stat.extent, spec.stat.center = radius, [0.0, 0.0, 0.0]
    visual = spec.visual
    visual.global_.offwidth, visual.global_.offheight = size
    visual.quality.shadowsize, visual.quality.offsamples = 4096, 0
    # Far beyond everything, in units of the extent.
    visual.map.zfar, visual.map.znear, visual.map.shadowclip = 100.0, 0.01, 2.0
    paper = [channel / 255 for channel in PAPER]
    spec.add_texture(
        name="paper",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=paper,
        rgb2=paper,
        width=32,
        height=192,
    )
    for number, mesh in enumerate(meshes):
        added = spec.add_mesh(name=str(number), uservert=mesh.vertices.ravel(), userface=mesh.faces.ravel())
        # A surface is enough for a picture: it need not enclose a volume.
        added.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    return spec.compile()


def _set_lights(scene: mujoco.MjvScene, camera: Camera, radius: float) -> None:
    """A headlight, a main light with shadows from the upper left, and a weak one from the right, all fixed to the camera."""
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
    """Both eyes of the scene take the camera's place."""
    distance = float(np.linalg.norm(camera.position))
    near = max(distance - 4 * radius, distance / 100)
    for eye in scene.camera:
        eye.pos, eye.forward, eye.up = camera.position, camera.forward, camera.up
        eye.frustum_near, eye.frustum_far = near, distance + 4 * radius
        eye.frustum_top = near * np.tan(camera.half_height)
        eye.frustum_bottom, eye.frustum_center, eye.frustum_width = -eye.frustum_top, 0.0, eye.frustum_top * aspect


@contextmanager
def renderer(meshes: Sequence[TriangleMesh], size: tuple[int, int], *, radius: float) -> Iterator[Renderer]:
    """A renderer of pictures of a size (width, height).

    radius: m: everything that is drawn lies within it, about the world's origin. Raises OutputError where no OpenGL works.
    """
    with offscreen(size):
        drawing = Renderer(meshes, size, radius)
        try:
            yield drawing
        finally:
            drawing.close()
