"""3-D scenes in viser, a server of web pages: the same nodes for a live page and for a page in one file."""

from __future__ import annotations

import html
import io
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np

from graspgen_cli.drawing.colours import Colour
from graspgen_cli.drawing.render import TOWARDS
from graspgen_cli.drawing.scenes import Instances
from graspgen_cli.errors import OutputError, install_command
from graspgen_cli.geometry.poses import quaternion_wxyz
from graspgen_cli.records import Floats

if TYPE_CHECKING:
    import viser

_DISTANCE = 1.5  # of the camera from the middle of the scene, in radii
_LIGHTS = (("key", (-1.0, -2.0, 2.0), 1.5), ("fill", (2.0, -0.5, 0.5), 0.3), ("back", (0.0, 2.0, 1.0), 0.4))
"""Name, direction to the light, strength."""


@contextmanager
def web_server(*, host: str = "127.0.0.1", port: int = 0) -> Iterator[viser.ViserServer]:
    """A server of a page. port: the next free port from here; 0: any.

    Raises OutputError if viser is not installed or cannot listen on the host's address.
    """
    try:
        import viser
    except ModuleNotFoundError as error:
        raise OutputError(f"a page needs {error.name}; run {install_command('view')}") from None
    _require_host(host)
    # Viser prints when it starts and stops; stdout is for the command's own output.
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
    """Raises OutputError if this machine does not have the address: viser would wait for ever."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise OutputError(f"--host {host}: cannot be listened on ({error}); give an address of this machine, such as 127.0.0.1") from error


def _light(scene: viser.SceneApi) -> None:
    """Soft white light from above and two sides, so that the outcomes have the same colours as in pictures."""
    scene.configure_default_lights(enabled=False)
    scene.configure_environment_map(None)
    scene.add_light_hemisphere("/light/sky", sky_color=(255, 255, 255), ground_color=(185, 185, 190), intensity=1.4)
    for name, position, intensity in _LIGHTS:
        scene.add_light_directional(f"/light/{name}", intensity=intensity, position=position)


def placed(pose: Floats) -> dict[str, Any]:
    """A pose (4, 4) as the arguments of a node."""
    return {"wxyz": quaternion_wxyz(pose[None, :3, :3])[0], "position": pose[:3, 3]}


def add_instances(scene: viser.SceneApi, name: str, part: Instances, colour: Colour) -> viser.BatchedMeshHandle:
    """Add all instances of a mesh as one node."""
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
    """The colour without sRGB's transfer function (IEC 61966-2-1): viser takes the colours of batched meshes for linear."""
    share = np.array(colour) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    red, green, blue = (int(channel) for channel in np.round(255 * linear))
    return red, green, blue


def all_cameras(server: viser.ViserServer) -> list[viser.CameraHandle | viser.InitialCameraConfig]:
    """The cameras of present and future visitors."""
    return [server.initial_camera, *(client.camera for client in server.get_clients().values())]


def aim(cameras: Iterable[viser.CameraHandle | viser.InitialCameraConfig], corners: Floats) -> None:
    """Point cameras at the middle of the corners (P, 3), at a distance from which all corners are visible."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    middle, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    for camera in cameras:
        camera.position = middle - _DISTANCE * radius * TOWARDS / np.linalg.norm(TOWARDS)
        camera.look_at = middle
        camera.near = radius / 100
        camera.far = radius * 100


def rows_table(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values as an HTML table, with markup escaped."""
    cells = "".join(f'<tr><td style="padding-right:1em;opacity:0.7">{html.escape(a)}</td><td>{html.escape(b)}</td></tr>' for a, b in rows)
    return f'<table style="padding:0 1em;font-size:0.85em">{cells}</table>'


def problem_text(error: Exception) -> str:
    """An error as HTML, with markup escaped."""
    return f"<p><b>Cannot be shown.</b> {html.escape(str(error))}</p>"
