"""`view`: grasps under a path or one gripper, served as a page, or written as a picture, a model or a page in one file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from graspgen_cli.dataset.collection import open_collection
from graspgen_cli.drawing.colours import OBJECT, OUTCOMES, Colour, body_colour, png, with_legend
from graspgen_cli.drawing.grasp_page import GraspPage, grasp_html
from graspgen_cli.drawing.gripper_page import GripperPage, gripper_html
from graspgen_cli.drawing.render import TOWARDS, Solid, camera_around, renderer
from graspgen_cli.drawing.scenes import LINES, GraspScene, GraspSource, Instances
from graspgen_cli.drawing.web import web_server
from graspgen_cli.errors import GraspFileError, InputError
from graspgen_cli.files import write_atomically
from graspgen_cli.geometry.meshes import join_meshes
from graspgen_cli.geometry.poses import pose
from graspgen_cli.grippers.find import READERS, known_grippers, load_gripper
from graspgen_cli.grippers.picture import gripper_picture
from graspgen_cli.records import Gripper, TriangleMesh
from graspgen_cli.settings.commands import ViewCommand
from graspgen_cli.settings.datasets import FigureKind

_UP = np.array([0.0, 0.0, 1.0])
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
        raise InputError(
            "no such dataset, grasp file or gripper", path=source, advice=f"grippers are {', '.join(sorted(known_grippers()))}"
        )
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
        raise InputError(f"cannot be read ({error.strerror or error})", path=path) from error


def export(view: View, path: Path) -> tuple[str, ...]:
    """Write a picture (.png), a model (.glb) or a page (.html); returns notes on missing parts.

    Raises GraspFileError for unreadable grasps, OutputError if the file cannot be written or drawn.
    """
    source, settings = view.source, view.settings.view
    if isinstance(source, Gripper):
        of_gripper = {".png": gripper_picture, ".glb": gripper_model, ".html": gripper_html}
        write_atomically(path, of_gripper[path.suffix.lower()](source))
        return ()
    scene = source.scene(source.first())
    picture = partial(grasp_picture, width=settings.picture_width)
    of_grasps: dict[str, Callable[[GraspScene, FigureKind], bytes]] = {".png": picture, ".glb": grasp_model, ".html": grasp_html}
    write_atomically(path, of_grasps[path.suffix.lower()](scene, settings.figure))
    return scene.notes


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


def grasp_picture(scene: GraspScene, kind: FigureKind, *, width: int) -> bytes:
    """A PNG; its height is three quarters of the width (pixels). Raises OutputError without a working OpenGL."""
    figure = scene.figure(kind)
    corners = scene.corners(figure)
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    to_middle = pose(np.eye(3), -middle)
    height = width * 3 // 4
    meshes = [part.mesh for part in figure]
    solids = [
        Solid(number, to_middle @ place, OUTCOMES[scene.outcome(grasp)], stretch)
        for number, part in enumerate(figure)
        for place, stretch, grasp in zip(part.pose, part.scale, part.grasp, strict=True)
    ]
    if scene.mesh is not None:
        solids.append(Solid(len(meshes), to_middle, OBJECT))
        meshes.append(scene.mesh)
    camera = camera_around(corners - middle, towards=TOWARDS, up=_UP, aspect=width / height)
    radius = float(np.linalg.norm(corners - middle, axis=1).max())
    with renderer(meshes, (width, height), radius=radius) as drawing:
        pixels = drawing.picture(solids, camera)
    return png(with_legend(Image.fromarray(pixels), scene.dataset.grasps, title=scene.title))


def grasp_model(scene: GraspScene, kind: FigureKind) -> bytes:
    """A binary glTF, m: the object, and for every grasp the nodes `grasp_<index in the file>_<outcome>/<body or line>`.

    The file holds a mesh once for every outcome, and each grasp refers to it.
    """
    model = trimesh.Scene()
    if scene.mesh is not None:
        model.add_geometry(_painted(scene.mesh, OBJECT), geom_name="object", node_name="object")
    for number, part in enumerate(scene.figure(kind)):
        for row, (place, stretch, grasp) in enumerate(zip(part.pose, part.scale, part.grasp, strict=True)):
            outcome = scene.outcome(grasp)
            name = f"{outcome.label}_{number}"
            if name not in model.geometry:
                model.geometry[name] = _painted(part.mesh, OUTCOMES[outcome])
            node = f"grasp_{scene.grasp[grasp]}_{outcome.label}/{_part_name(scene, part, row)}"
            matrix = place @ np.diag([*stretch, 1.0])
            model.graph.update(frame_to=node, frame_from=model.graph.base_frame, matrix=matrix, geometry=name)
    return bytes(model.export(file_type="glb"))


def _part_name(scene: GraspScene, part: Instances, row: int) -> str:
    if part.body < 0 or scene.gripper is None:
        return f"line_{row % LINES}"
    return scene.gripper.body_names[part.body]


def gripper_model(gripper: Gripper) -> bytes:
    """A binary glTF of the open gripper in its base's frame, m."""
    model = trimesh.Scene()
    for body, parts in enumerate(gripper.collision_parts):
        if parts:
            name, mesh = gripper.body_names[body], _painted(join_meshes(list(parts)), body_colour(gripper, body))
            model.add_geometry(mesh, geom_name=name, node_name=name, transform=gripper.pose_body_in_base[-1, body])
    return bytes(model.export(file_type="glb"))


def _painted(mesh: TriangleMesh, colour: Colour) -> trimesh.Trimesh:
    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=[*colour, 255], metallicFactor=0.0, roughnessFactor=0.7, doubleSided=True
    )
    visual = trimesh.visual.TextureVisuals(material=material)
    return trimesh.Trimesh(mesh.vertices, mesh.faces, visual=visual, process=False)
