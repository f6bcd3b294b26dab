"""Where a gripper's axes, pads and bite point are at one of its openings.

The live page of a gripper: its bodies at any opening, with axes, pads and bite point."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from graspgen_cli.drawing.colours import BITE, FINGERS, body_colour
from graspgen_cli.drawing.web import ANY_PORT, aim, rows_table, web_server
from graspgen_cli.errors import GraspgenError
from graspgen_cli.geometry.meshes import join_meshes
from graspgen_cli.geometry.poses import inverse, quaternion_wxyz, transform_points
from graspgen_cli.grippers.export import gripper_table
from graspgen_cli.records import Floats, Gripper

if TYPE_CHECKING:
    import viser


_BEFORE = 2e-4
"""m."""


def contact_points(gripper: Gripper, opening: int) -> Floats:
    """(2, 3) m: the point of each pad that meets the object, in the base."""
    return gripper.fingertip_in_base[opening] - gripper.bite * gripper.approach_axis_in_base


def pad_corners(gripper: Gripper, opening: int) -> Floats:
    """(2, 4, 3) m: the corners of both pads in the base: from the fingertip back along the approach axis, and as wide as a pad is; a
    little before the fingers, so that they are seen."""
    across = np.cross(gripper.approach_axis_in_base, gripper.closing_axis_in_base)
    back = gripper.pad_size[0] * gripper.approach_axis_in_base
    half = gripper.pad_size[1] / 2 * across
    before = _BEFORE * np.stack([gripper.closing_axis_in_base, -gripper.closing_axis_in_base])
    tips = gripper.fingertip_in_base[opening] + before
    return np.stack([tips - half, tips + half, tips + half - back, tips - half - back], axis=1)


_AXES = 1.1
"""Length of the axes, as a share of the gripper's depth."""
_PAD_FACES = np.array([[0, 1, 2], [0, 2, 3]])


class GripperPage:
    """The state of the page: which gripper is shown, and how far open."""

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
        self._opening.on_update(lambda _: self._move())
        for box in self._marks.values():
            box.on_update(lambda _: self._move())

    def show(self, gripper: Gripper) -> None:
        """Shows a gripper, wide open."""
        with self._lock:
            self._server.scene.remove_by_name("/gripper")
            self._gripper = gripper
            self._name.value = gripper.name
            low, high = 1000 * gripper.opening_width[[0, -1]]
            self._opening.min, self._opening.max = float(low), float(high)
            self._opening.value = float(high)
            self._table.content = rows_table(gripper_table(gripper))
            add_gripper(self._server.scene, gripper, len(gripper.opening_width) - 1)
            aim([self._server.initial_camera, *(client.camera for client in self._server.get_clients().values())], _corners(gripper))
            self._move()

    def _pick(self, name: str) -> None:
        with self._lock:
            if self._gripper is None or self._gripper.name == name:
                return
            try:
                self.show(self._load(name))
            except GraspgenError as error:
                self._table.content = f"<p><b>Cannot be shown.</b> {html.escape(str(error))}</p>"

    def _move(self) -> None:
        """Draws the gripper at the measured opening nearest to the slider's."""
        with self._lock:
            if self._gripper is None:
                return
            opening = int(self._gripper.nearest_opening(np.array([self._opening.value / 1000]))[0])
            add_gripper(self._server.scene, self._gripper, opening)
            for mark, box in self._marks.items():
                self._server.scene.add_frame(_place(mark), show_axes=False, visible=box.value)
            add_marks(self._server.scene, self._gripper, opening)


def _place(mark: str) -> str:
    return f"/gripper/{mark.replace(' ', '_')}"


def add_gripper(scene: viser.SceneApi, gripper: Gripper, opening: int) -> None:
    """The gripper's bodies at an opening, turned to GraspGen's convention: approach up, closing along x."""
    upright = gripper.pose_base_in_graspgen
    scene.add_frame("/gripper", show_axes=False, wxyz=quaternion_wxyz(upright[None, :3, :3])[0], position=upright[:3, 3])
    for body, parts in enumerate(gripper.collision_parts):
        if parts:
            mesh, pose = join_meshes(list(parts)), gripper.pose_body_in_base[opening, body]
            scene.add_mesh_simple(
                f"/gripper/body_{body}",
                mesh.vertices,
                mesh.faces,
                color=body_colour(gripper, body),
                flat_shading=True,
                wxyz=quaternion_wxyz(pose[None, :3, :3])[0],
                position=pose[:3, 3],
                cast_shadow=False,
                receive_shadow=False,
            )


def add_marks(scene: viser.SceneApi, gripper: Gripper, opening: int) -> None:
    """GraspGen's axes, both pads, and the bite point between the contact points, in the base."""
    axes = inverse(gripper.pose_base_in_graspgen)
    length = _AXES * gripper.depth
    scene.add_frame(
        f"{_place('axes')}/graspgen",
        axes_length=length,
        axes_radius=length / 110,
        wxyz=quaternion_wxyz(axes[None, :3, :3])[0],
        position=axes[:3, 3],
    )
    for finger, (corners, colour) in enumerate(zip(pad_corners(gripper, opening), FINGERS, strict=True)):
        bright = (np.array(colour) + 2 * 255) // 3
        scene.add_mesh_simple(f"{_place('pads')}/{finger}", corners, _PAD_FACES, color=bright, side="double", cast_shadow=False)
    contacts = contact_points(gripper, opening)
    scene.add_icosphere(f"{_place('bite point')}/middle", radius=length / 70, color=BITE, position=contacts.mean(axis=0))
    scene.add_line_segments(f"{_place('bite point')}/opening", contacts[None], BITE, thickness=length / 200)


def _corners(gripper: Gripper) -> Floats:
    poses = zip(gripper.pose_body_in_base[-1], gripper.collision_parts, strict=True)
    points = np.concatenate([transform_points(pose, part.vertices) for pose, parts in poses for part in parts])
    return transform_points(gripper.pose_base_in_graspgen, points)


def gripper_html(gripper: Gripper) -> str:
    """A page in one file that shows the gripper wide open and can be turned."""
    opening = len(gripper.opening_width) - 1
    with web_server(host="127.0.0.1", port=ANY_PORT) as server:
        add_gripper(server.scene, gripper, opening)
        add_marks(server.scene, gripper, opening)
        aim([server.initial_camera], _corners(gripper))
        return server.get_scene_serializer().as_html()
