"""Scenes in viser, the server of 3-D pages: the same nodes for the live page and for a page in one file."""

from __future__ import annotations

import html
import io
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import numpy as np

from graspgen_cli.drawing.colours import OBJECT, OUTCOMES, Colour
from graspgen_cli.drawing.figures import GraspScene, Instances
from graspgen_cli.drawing.still import TOWARDS
from graspgen_cli.errors import OutputError, install_command
from graspgen_cli.geometry.poses import quaternion_wxyz
from graspgen_cli.records import Floats, Outcome
from graspgen_cli.settings.datasets import FigureKind

if TYPE_CHECKING:
    import viser

ANY_PORT = 0
"""The system picks a free one."""
_DISTANCE = 1.5
"""Of the camera from the middle of what it shows, in radii."""
_LIGHTS = (("key", (-1.0, -2.0, 2.0), 1.5), ("fill", (2.0, -0.5, 0.5), 0.3), ("back", (0.0, 2.0, 1.0), 0.4))
"""Name, direction from which it shines, strength."""


@contextmanager
def web_server(*, host: str, port: int) -> Iterator[viser.ViserServer]:
    """A server of a page, at this port or the next that is free. Raises OutputError where viser is not installed or cannot listen."""
    try:
        import viser
    except ModuleNotFoundError as error:
        raise OutputError(f"a page needs {error.name}; run {install_command('view')}") from None
    _require_host(host)
    # What viser says of its coming and going would be mixed with the command's own output.
    silence = io.StringIO()
    with redirect_stdout(silence):
        server = viser.ViserServer(host=host, port=port, verbose=False)
    try:
        server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="large")
        server.scene.set_up_direction("+z")
        _light(server.scene)
        yield server
    finally:
        with redirect_stdout(silence):
            server.stop()


def _require_host(host: str) -> None:
    """Raises OutputError where this machine has no such address: viser would wait for ever."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise OutputError(f"--host {host}: cannot be listened on ({error}); give an address of this machine, such as 127.0.0.1") from error


def _light(scene: viser.SceneApi) -> None:
    """Soft white light from above and two sides, so that the colours of the outcomes are what they are in other pictures."""
    scene.configure_default_lights(enabled=False)
    scene.configure_environment_map(None)
    scene.add_light_hemisphere("/light/sky", sky_color=(255, 255, 255), ground_color=(185, 185, 190), intensity=1.4)
    for name, position, intensity in _LIGHTS:
        scene.add_light_directional(f"/light/{name}", intensity=intensity, position=position)


def add_object(scene: viser.SceneApi, shown: GraspScene) -> None:
    """The object's mesh, if there is one."""
    if shown.mesh is not None:
        scene.add_mesh_simple("/object", shown.mesh.vertices, shown.mesh.faces, color=OBJECT, flat_shading=False, side="double")


def add_figures(
    scene: viser.SceneApi, shown: GraspScene, kind: FigureKind
) -> dict[Outcome, list[tuple[Instances, viser.BatchedMeshHandle]]]:
    """The grasps, a few nodes for each outcome, so that an outcome is hidden without sending its grasps again."""
    figure = shown.figure(kind)
    added: dict[Outcome, list[tuple[Instances, viser.BatchedMeshHandle]]] = {}
    for outcome in Outcome:
        chosen = shown.dataset.grasps.outcome == outcome
        if chosen.any():
            parts = [part.of(chosen) for part in figure]
            nodes = [add_instances(scene, f"/grasps/{outcome.label}/{n}", part, OUTCOMES[outcome]) for n, part in enumerate(parts)]
            added[outcome] = list(zip(parts, nodes, strict=True))
    return added


def add_instances(scene: viser.SceneApi, name: str, part: Instances, colour: Colour) -> viser.BatchedMeshHandle:
    """One mesh in many places, as one node."""
    return scene.add_batched_meshes_simple(
        name,
        part.mesh.vertices,
        part.mesh.faces,
        batched_wxyzs=quaternion_wxyz(part.pose[:, :3, :3]),
        batched_positions=part.pose[:, :3, 3],
        batched_scales=part.scale,
        batched_colors=_linear(colour),
        flat_shading=True,
        lod="off",
        cast_shadow=False,
        receive_shadow=False,
    )


def _linear(colour: Colour) -> Colour:
    """The colour without the curve of sRGB (IEC 61966-2-1): the page takes the colours of batched meshes, alone of all, for linear."""
    share = np.array(colour) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    red, green, blue = (int(channel) for channel in np.round(255 * linear))
    return red, green, blue


def aim(cameras: Iterable[viser.CameraHandle | viser.InitialCameraConfig], corners: Floats) -> None:
    """Turns cameras to the middle of the corners, far enough away to see them all."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    middle, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    for camera in cameras:
        camera.position = middle - _DISTANCE * radius * TOWARDS / np.linalg.norm(TOWARDS)
        camera.look_at = middle
        camera.near = radius / 100
        camera.far = radius * 100


def rows_table(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values as HTML; whatever they hold is shown as text."""
    cells = "".join(f'<tr><td style="padding-right:1em;opacity:0.7">{html.escape(a)}</td><td>{html.escape(b)}</td></tr>' for a, b in rows)
    return f'<table style="padding:0 1em;font-size:0.85em">{cells}</table>'


def grasp_page(shown: GraspScene, kind: FigureKind) -> str:
    """A page in one file that shows the scene and can be turned; it needs no server and no network."""
    with web_server(host="127.0.0.1", port=ANY_PORT) as server:
        add_object(server.scene, shown)
        add_figures(server.scene, shown, kind)
        aim([server.initial_camera], shown.corners(shown.figure(kind)))
        return server.get_scene_serializer().as_html()
