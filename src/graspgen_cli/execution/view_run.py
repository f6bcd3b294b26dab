"""What `view` does: serves a page, or writes what it would show."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from graspgen_cli.dataset.object_grasps import DamagedFile
from graspgen_cli.drawing.gripper_page import GripperPage, gripper_html
from graspgen_cli.drawing.page import GraspPage
from graspgen_cli.drawing.still import grasp_model, grasp_picture, gripper_model
from graspgen_cli.drawing.web import grasp_page, web_server
from graspgen_cli.execution.scenes import GraspSource, known_names, named_gripper, open_source
from graspgen_cli.files import write_atomically
from graspgen_cli.grippers.picture import gripper_picture
from graspgen_cli.records import Gripper
from graspgen_cli.settings.commands import ViewCommand


@dataclass(frozen=True, eq=False)
class View:
    """What is to be shown, and how."""

    source: GraspSource | Gripper
    settings: ViewCommand

    @property
    def damaged(self) -> tuple[DamagedFile, ...]:
        """Files that could not even be listed."""
        return self.source.collection.damaged if isinstance(self.source, GraspSource) else ()


def open_view(settings: ViewCommand) -> View:
    """Finds what the settings name. Raises as `open_source` does."""
    return View(open_source(settings), settings)


def export(view: View, path: Path) -> tuple[str, ...]:
    """Writes a picture, a model or a page, by the file's ending, and returns what is missing in it, a line each.

    Raises GraspFileError where the grasps cannot be read, OutputError where the file cannot be written or drawn.
    """
    suffix, source, settings = path.suffix.lower(), view.source, view.settings
    if isinstance(source, Gripper):
        write_atomically(path, _GRIPPER_FORMS[suffix](source))
        return ()
    scene = source.scene(source.first())
    if suffix == ".png":
        content = grasp_picture(scene, settings.figure, width=settings.picture_width)
    else:
        content = grasp_model(scene, settings.figure) if suffix == ".glb" else grasp_page(scene, settings.figure).encode()
    write_atomically(path, content)
    return scene.notes


_GRIPPER_FORMS: dict[str, Callable[[Gripper], bytes]] = {
    ".png": gripper_picture,
    ".glb": gripper_model,
    ".html": lambda gripper: gripper_html(gripper).encode(),
}


def serve(view: View, on_ready: Callable[[str], None]) -> None:
    """Serves the page until the process is interrupted; `on_ready` is told the address.

    Raises as `export` does for the object that is shown first; what is wrong with others is said on the page.
    """
    source, settings = view.source, view.settings
    with web_server(host=settings.host, port=settings.port) as server:
        if isinstance(source, Gripper):
            GripperPage(server, _with_own(source), lambda name: _loaded(source, name, settings)).show(source)
        else:
            GraspPage(server, source.titles, source.scene, kind=settings.figure).open(source.first())
        on_ready(f"http://{_address(settings.host)}:{server.get_port()}")
        while True:
            time.sleep(3600)


def _with_own(gripper: Gripper) -> list[str]:
    return sorted({*known_names(), gripper.name})


def _loaded(shown: Gripper, name: str, settings: ViewCommand) -> Gripper:
    """A gripper by its name; the one that was shown first may have come from a file."""
    return shown if name == shown.name else named_gripper(settings.model_copy(update={"gripper_config": name}))


def _address(host: str) -> str:
    """The address to open where the server listens on all of the machine's."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
