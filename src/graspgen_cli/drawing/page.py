"""What is known of one grasp, in words and numbers.

The live page of grasps: a list of objects, filters by outcome, and one grasp at a time in full and in numbers."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from graspgen_cli.drawing.colours import CHOSEN, OUTCOMES, css
from graspgen_cli.drawing.figures import GraspScene, Instances
from graspgen_cli.drawing.web import add_figures, add_instances, add_object, aim, rows_table
from graspgen_cli.errors import GraspgenError
from graspgen_cli.geometry.poses import quaternion_wxyz
from graspgen_cli.records import Floats, Outcome
from graspgen_cli.settings.datasets import FigureKind

if TYPE_CHECKING:
    import viser


def grasp_numbers(scene: GraspScene, row: int) -> list[tuple[str, str]]:
    """What and how much, a row each, of the scene's grasp `row`."""
    grasps = scene.dataset.grasps
    pose, width = grasps.pose_gripper_in_object[row], float(grasps.opening_width[row])
    rows = [
        ("index in the file", str(int(scene.grasp[row]))),
        ("outcome", Outcome(int(grasps.outcome[row])).label),
        ("opening", "not given" if np.isnan(width) else f"{1000 * width:.1f} mm"),
        ("position", f"{_vector(1000 * pose[:3, 3], 1)} mm"),
        ("quaternion wxyz", _vector(quaternion_wxyz(pose[None, :3, :3])[0], 4)),
    ]
    if scene.gripper is not None:
        rows.append(("approach direction", _vector(pose[:3, :3] @ scene.gripper.approach_axis_in_base, 3)))
        rows.append(("closing direction", _vector(pose[:3, :3] @ scene.gripper.closing_axis_in_base, 3)))
    return rows


def _vector(values: Floats, decimals: int) -> str:
    return ", ".join(f"{value + 0.0:.{decimals}f}" for value in np.round(values, decimals))


_MOST_LISTED = 300
"""Objects in the list at a time: the search finds the others."""
Loader = Callable[[int], GraspScene]


class GraspPage:
    """The state of the page: which object is shown, and the handles of what is drawn.

    All that visitors do arrives in threads of the server, one of which at a time may change the page.
    """

    def __init__(self, server: viser.ViserServer, titles: Sequence[str], load: Loader, *, kind: FigureKind) -> None:
        self._server, self._titles, self._load = server, titles, load
        self._lock = threading.RLock()
        self._shown: GraspScene | None = None
        self._title = ""
        self._figures: dict[Outcome, list[tuple[Instances, viser.BatchedMeshHandle]]] = {}
        self._chosen_nodes: list[viser.BatchedMeshHandle] = []
        gui = server.gui
        self._search = gui.add_text("Search", "", visible=len(titles) > 1)
        self._object = gui.add_dropdown("Object", list(titles[:_MOST_LISTED]) or ["-"])
        self._summary = gui.add_html("")
        with gui.add_folder("Grasps"):
            self._filters = {outcome: gui.add_checkbox(outcome.label, True) for outcome in Outcome}
            self._kind = gui.add_dropdown("Drawn as", [str(each) for each in FigureKind], initial_value=str(kind))
        with gui.add_folder("One grasp"):
            self._number = gui.add_slider("Number", min=0, max=1, step=1, initial_value=0)
            self._alone = gui.add_checkbox("Only this one", False)
            self._numbers = gui.add_html("")
        self._connect()

    def _connect(self) -> None:
        self._search.on_update(lambda _: self._list())
        self._object.on_update(lambda _: self.pick(self._object.value))
        self._kind.on_update(lambda _: self._draw())
        self._number.on_update(lambda _: self._choose())
        self._alone.on_update(lambda _: self._filter())
        for box in self._filters.values():
            box.on_update(lambda _: self._filter())

    def open(self, number: int) -> None:
        """Shows an object. Raises what `load` raises."""
        self._show(self._load(number))
        title = self._titles[number]
        if title not in self._object.options:
            self._object.options = (title, *self._object.options)
        self._object.value = title

    def _list(self) -> None:
        """Lists the objects whose names hold the text that is searched for."""
        with self._lock:
            text = self._search.value.lower()
            found = [title for title in self._titles if text in title.lower()][:_MOST_LISTED]
            if found:
                self._object.options = tuple(found)

    @property
    def summary(self) -> str:
        """What the page says of the object, as HTML."""
        return self._summary.content

    def pick(self, title: str) -> None:
        """Shows the object that was picked from the list; what is wrong with its file is said on the page."""
        with self._lock:
            if self._shown is not None and self._title == title:
                return
            try:
                self._show(self._load(self._titles.index(title)), title)
            except GraspgenError as error:
                self._clear()
                self._title = title
                self._summary.content = f"<p><b>Cannot be shown.</b> {html.escape(str(error))}</p>"

    def _show(self, scene: GraspScene, title: str = "") -> None:
        with self._lock:
            self._clear()
            self._shown, self._title = scene, title or self._object.value
            add_object(self._server.scene, scene)
            for outcome, box in self._filters.items():
                count = scene.dataset.grasps.count(outcome)
                box.label, box.visible = f"{outcome.label} ({count})", count > 0
            self._summary.content = _summary(scene)
            self._number.max, self._number.value = max(len(scene.grasp) - 1, 1), 0
            corners = scene.corners(scene.figure(FigureKind.LINES))
            aim([self._server.initial_camera, *(client.camera for client in self._server.get_clients().values())], corners)
            self._draw()

    def _clear(self) -> None:
        self._remove_grasps()
        self._server.scene.remove_by_name("/object")
        self._shown, self._numbers.content = None, ""

    def _remove_grasps(self) -> None:
        for node in [*self._chosen_nodes, *(node for nodes in self._figures.values() for _, node in nodes)]:
            node.remove()
        self._figures, self._chosen_nodes = {}, []

    def _draw(self) -> None:
        """Draws all grasps anew, as lines or as grippers."""
        with self._lock:
            if self._shown is None:
                return
            self._remove_grasps()
            self._figures = add_figures(self._server.scene, self._shown, FigureKind(self._kind.value))
            for nodes in self._figures.values():
                for part, node in nodes:
                    node.on_click(lambda event, grasp=part.grasp: self._clicked(grasp, event.instance_index))
            self._filter()
            self._choose()

    def _filter(self) -> None:
        """Hides what the boxes say."""
        with self._lock:
            for outcome, nodes in self._figures.items():
                for _, node in nodes:
                    node.visible = self._filters[outcome].value and not self._alone.value

    def _clicked(self, grasp: np.ndarray[tuple[int], np.dtype[np.intp]], instance: int | None) -> None:
        if instance is not None and instance < len(grasp):
            self._number.value = int(grasp[instance])

    def _choose(self) -> None:
        """Draws the grasp of the slider as the whole gripper and tells its numbers."""
        with self._lock:
            scene = self._shown
            if scene is None:
                return
            row = min(int(self._number.value), len(scene.grasp) - 1)
            for node in self._chosen_nodes:
                node.remove()
            only = np.arange(len(scene.grasp)) == row
            figure = [part.of(only) for part in scene.figure(FigureKind.GRIPPER)]
            self._chosen_nodes = [add_instances(self._server.scene, f"/chosen/{n}", part, CHOSEN) for n, part in enumerate(figure)]
            self._numbers.content = rows_table(grasp_numbers(scene, row))


def _summary(scene: GraspScene) -> str:
    grasps = scene.dataset.grasps
    bars = [
        f'<span style="color:{css(OUTCOMES[outcome])}">&#9632;</span> {grasps.count(outcome)} {outcome.label}'
        for outcome in Outcome
        if grasps.count(outcome)
    ]
    notes = "".join(f"<p><i>{html.escape(note)}</i></p>" for note in scene.notes)
    return f'<div style="padding:0 1em;font-size:0.85em"><p><b>{html.escape(scene.title)}</b></p><p>{"&ensp;".join(bars)}</p>{notes}</div>'
