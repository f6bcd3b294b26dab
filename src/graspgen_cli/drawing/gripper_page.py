"""The page of a gripper: its bodies at any opening, with axes, pads and bite point."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from graspgen_cli.drawing.colours import BITE, FINGERS, body_colour
from graspgen_cli.drawing.web import aim, all_cameras, placed, problem_text, rows_table, web_server
from graspgen_cli.errors import GraspgenError
from graspgen_cli.geometry.collision import parts_in_base
from graspgen_cli.geometry.meshes import join_meshes
from graspgen_cli.geometry.poses import inverse, transform_points
from graspgen_cli.grippers.export import contact_points, gripper_table
from graspgen_cli.records import Floats, Gripper

if TYPE_CHECKING:
    import viser

_IN_FRONT = 2e-4  # m: distance of the drawn pads from the fingers, so that they are visible
_AXES = 1.1  # length of the axes, as a share of the gripper's depth
_PAD_FACES = np.array([[0, 1, 2], [0, 2, 3]])


class GripperPage:
    """State of the page: the gripper on display, and its opening. A lock lets one thread of the server at a time change the page."""

    def __init__(self, server: viser.ViserServer, names: Sequence[str], load: Callable[[str], Gripper]) -> None:
        self._server, self._load = server, load
        self._lock = threading.RLock()
        self._gripper: Gripper | None = None
        gui = server.gui
        self._name = gui.add_dropdown("Gripper", list(names))
        self._opening = gui.add_slider("Opening (mm)", min=0.0, max=100.0, step=0.1, initial_value=0.0)
        with gui.add_folder("Marks"):
            self._marks = {mark: gui.add_checkbox(mark, True) for mark in ("axes", "pads", "bite point")}
        self._table = gui.add_html("")
        self._name.on_update(lambda _: self._pick(self._name.value))
        for control in (self._opening, *self._marks.values()):
            control.on_update(lambda _: self._move())

    def show(self, gripper: Gripper) -> None:
        """Show the open gripper."""
        with self._lock:
            self._server.scene.remove_by_name("/gripper")
            self._gripper = gripper
            self._name.value = gripper.name
            low, high = 1000 * gripper.opening_width[[0, -1]]
            self._opening.min, self._opening.max = float(low), float(high)
            self._opening.value = float(high)
            self._table.content = rows_table(gripper_table(gripper))
            _add_gripper(self._server.scene, gripper, len(gripper.opening_width) - 1)
            aim(all_cameras(self._server), _corners(gripper))
            self._move()

    def _pick(self, name: str) -> None:
        with self._lock:
            if self._gripper is None or self._gripper.name == name:
                return
            try:
                self.show(self._load(name))
            except GraspgenError as error:
                self._table.content = problem_text(error)

    def _move(self) -> None:
        """Draw the gripper at the measured opening nearest to the slider's."""
        with self._lock:
            if self._gripper is None:
                return
            opening = int(self._gripper.nearest_opening(np.array([self._opening.value / 1000]))[0])
            _add_gripper(self._server.scene, self._gripper, opening)
            for mark, box in self._marks.items():
                self._server.scene.add_frame(_node(mark), show_axes=False, visible=box.value)
            _add_marks(self._server.scene, self._gripper, opening)


def gripper_html(gripper: Gripper) -> bytes:
    """A page in one file that shows the open gripper."""
    opening = len(gripper.opening_width) - 1
    with web_server() as server:
        _add_gripper(server.scene, gripper, opening)
        _add_marks(server.scene, gripper, opening)
        aim([server.initial_camera], _corners(gripper))
        return server.get_scene_serializer().as_html().encode()


def _node(mark: str) -> str:
    return f"/gripper/{mark.replace(' ', '_')}"


def _add_gripper(scene: viser.SceneApi, gripper: Gripper, opening: int) -> None:
    """Add the gripper's bodies at an opening index, in GraspGen's convention: approach up, closing along x."""
    scene.add_frame("/gripper", show_axes=False, **placed(gripper.pose_base_in_graspgen))
    for body, parts in enumerate(gripper.collision_parts):
        if parts:
            mesh, colour = join_meshes(list(parts)), body_colour(gripper, body)
            shading = {"flat_shading": True, "cast_shadow": False, "receive_shadow": False}
            place = placed(gripper.pose_body_in_base[opening, body])
            scene.add_mesh_simple(f"/gripper/body_{body}", mesh.vertices, mesh.faces, color=colour, **shading, **place)


def _add_marks(scene: viser.SceneApi, gripper: Gripper, opening: int) -> None:
    """Add GraspGen's axes, both pads, and the bite point between the contact points, in the base's frame."""
    length = _AXES * gripper.depth
    axes = placed(inverse(gripper.pose_base_in_graspgen))
    scene.add_frame(f"{_node('axes')}/graspgen", axes_length=length, axes_radius=length / 110, **axes)
    for finger, (corners, colour) in enumerate(zip(pad_corners(gripper, opening), FINGERS, strict=True)):
        bright = (np.array(colour) + 2 * 255) // 3
        scene.add_mesh_simple(f"{_node('pads')}/{finger}", corners, _PAD_FACES, color=bright, side="double", cast_shadow=False)
    contacts = contact_points(gripper, opening)
    scene.add_icosphere(f"{_node('bite point')}/middle", radius=length / 70, color=BITE, position=contacts.mean(axis=0))
    scene.add_line_segments(f"{_node('bite point')}/opening", contacts[None], BITE, thickness=length / 200)


def pad_corners(gripper: Gripper, opening: int) -> Floats:
    """(2, 4, 3) m: corners of both pads in the base's frame, from the fingertip back, slightly in front of the fingers."""
    across = np.cross(gripper.approach_axis_in_base, gripper.closing_axis_in_base)
    back = gripper.pad_size[0] * gripper.approach_axis_in_base
    half = gripper.pad_size[1] / 2 * across
    tips = gripper.fingertip_in_base[opening] + _IN_FRONT * np.stack([gripper.closing_axis_in_base, -gripper.closing_axis_in_base])
    return np.stack([tips - half, tips + half, tips + half - back, tips - half - back], axis=1)


def _corners(gripper: Gripper) -> Floats:
    """Vertices (P, 3) m of the open gripper in GraspGen's frame."""
    return transform_points(gripper.pose_base_in_graspgen, np.concatenate([part.vertices for part in parts_in_base(gripper, -1)]))
