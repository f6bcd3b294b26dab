"""`view`: grasps under a path or one gripper, served as a page or written to a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from graspgen_cli.dataset.collection import open_collection
from graspgen_cli.drawing.grasp_page import GraspPage, grasp_html
from graspgen_cli.drawing.gripper_page import GripperPage, gripper_html
from graspgen_cli.drawing.scenes import GraspSource
from graspgen_cli.drawing.still import grasp_model, grasp_picture, gripper_model
from graspgen_cli.drawing.web import web_server
from graspgen_cli.errors import GraspFileError, InputError
from graspgen_cli.files import write_atomically
from graspgen_cli.grippers.find import READERS, known_grippers, load_gripper
from graspgen_cli.grippers.picture import gripper_picture
from graspgen_cli.records import Gripper
from graspgen_cli.settings.commands import ViewCommand

_HEADER = 4096  # bytes at the start of a YAML file in which an isaac_grasp file names its format


@dataclass(frozen=True, eq=False)
class View:
    """Grasps or a gripper, and how to show them."""

    source: GraspSource | Gripper
    settings: ViewCommand

    @property
    def damaged(self) -> tuple[GraspFileError, ...]:
        """Files that cannot be listed."""
        return self.source.collection.damaged if isinstance(self.source, GraspSource) else ()


def open_view(settings: ViewCommand) -> View:
    """Open the grasps under the path of the settings, or the gripper of that name or file.

    Raises InputError if there is neither, GripperError for a gripper that cannot be used.
    """
    path, source = settings.dataset.grasp_dataset, str(settings.dataset.grasp_dataset)
    if _is_gripper(source, path):
        return View(load_gripper(source, options=settings.gripper), settings)
    if not path.exists():
        raise InputError(f"{source}: no such dataset, grasp file or gripper; grippers are {', '.join(sorted(known_grippers()))}")
    return View(GraspSource(open_collection(path), settings), settings)


def _is_gripper(source: str, path: Path) -> bool:
    if path.is_dir():
        return False
    suffix = path.suffix.lower()
    if source in known_grippers() or suffix in READERS:
        return True
    if suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return b"isaac_grasp" not in file.read(_HEADER)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def export(view: View, path: Path) -> tuple[str, ...]:
    """Write a picture (.png), a model (.glb) or a page (.html); returns notes on missing parts.

    Raises GraspFileError for unreadable grasps, OutputError if the file cannot be written or drawn.
    """
    source, settings = view.source, view.settings.view
    if isinstance(source, Gripper):
        write_atomically(path, _GRIPPER_FORMS[path.suffix.lower()](source))
        return ()
    scene = source.scene(source.first())
    forms: dict[str, Callable[[], bytes]] = {
        ".png": lambda: grasp_picture(scene, settings.figure, width=settings.picture_width),
        ".glb": lambda: grasp_model(scene, settings.figure),
        ".html": lambda: grasp_html(scene, settings.figure).encode(),
    }
    write_atomically(path, forms[path.suffix.lower()]())
    return scene.notes


_GRIPPER_FORMS: dict[str, Callable[[Gripper], bytes]] = {
    ".png": gripper_picture,
    ".glb": gripper_model,
    ".html": lambda gripper: gripper_html(gripper).encode(),
}


def serve(view: View, on_ready: Callable[[str], None]) -> None:
    """Serve the page until the process is interrupted; calls `on_ready` with the address.

    Raises the errors of `export` for the first object; errors of other objects appear on the page.
    """
    source, settings = view.source, view.settings
    with web_server(host=settings.view.host, port=settings.view.port) as server:
        if isinstance(source, Gripper):
            gripper: Gripper = source

            def load(name: str) -> Gripper:
                """The gripper of a name; the first gripper may have come from a file."""
                return gripper if name == gripper.name else load_gripper(name, options=settings.gripper)

            GripperPage(server, sorted({*known_grippers(), gripper.name}), load).show(gripper)
        else:
            GraspPage(server, source.titles, source.scene, kind=settings.view.figure).open(source.first())
        # A server that listens on all addresses is opened at the local one.
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.view.host, settings.view.host)
        on_ready(f"http://{host}:{server.get_port()}")
        while True:
            time.sleep(3600)
