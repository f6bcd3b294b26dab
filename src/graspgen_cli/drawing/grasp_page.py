"""The page of grasps: a list of objects, filters by outcome, and one grasp at a time as a gripper and in numbers."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from graspgen_cli.drawing.colours import CHOSEN, OBJECT, OUTCOMES, css
from graspgen_cli.drawing.scenes import GraspScene, Instances
from graspgen_cli.drawing.web import add_instances, aim, all_cameras, problem_text, rows_table, web_server
from graspgen_cli.errors import GraspgenError
from graspgen_cli.geometry.poses import quaternion_wxyz
from graspgen_cli.records import Floats, Outcome
from graspgen_cli.settings.datasets import FigureKind

if TYPE_CHECKING:
    import viser

    Figures = dict[Outcome, list[tuple[Instances, viser.BatchedMeshHandle]]]

_MOST_LISTED = 300  # objects in the list; the search finds the others


class GraspPage:
    """State of the page: the object on display, and the handles of its nodes.

    Events of visitors arrive in threads of the server; a lock lets one thread at a time change the page.
    """

    def __init__(self, server: viser.ViserServer, titles: Sequence[str], load: Callable[[int], GraspScene], *, kind: FigureKind) -> None:
        self._server, self._titles, self._load = server, titles, load
        self._lock = threading.RLock()
        self._shown: GraspScene | None = None
        self._title = ""
        self._figures: Figures = {}
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
        self._search.on_update(lambda _: self._list())
        self._object.on_update(lambda _: self.pick(self._object.value))
        self._kind.on_update(lambda _: self._draw())
        self._number.on_update(lambda _: self._choose())
        for box in (self._alone, *self._filters.values()):
            box.on_update(lambda _: self._filter())

    def open(self, number: int) -> None:
        """Show an object. Raises the errors of `load`."""
        self._show(self._load(number))
        title = self._titles[number]
        if title not in self._object.options:
            self._object.options = (title, *self._object.options)
        self._object.value = title

    def _list(self) -> None:
        """List the objects whose titles contain the search text."""
        with self._lock:
            text = self._search.value.lower()
            found = [title for title in self._titles if text in title.lower()][:_MOST_LISTED]
            if found:
                self._object.options = tuple(found)

    @property
    def summary(self) -> str:
        """The page's text about the object, as HTML."""
        return self._summary.content

    def pick(self, title: str) -> None:
        """Show the object of a title, or on the page why its file cannot be shown."""
        with self._lock:
            if self._shown is not None and self._title == title:
                return
            try:
                self._show(self._load(self._titles.index(title)), title)
            except GraspgenError as error:
                self._clear()
                self._title = title
                self._summary.content = problem_text(error)

    def _show(self, scene: GraspScene, title: str = "") -> None:
        with self._lock:
            self._clear()
            self._shown, self._title = scene, title or self._object.value
            _add_object(self._server.scene, scene)
            for outcome, box in self._filters.items():
                count = scene.dataset.grasps.count(outcome)
                box.label, box.visible = f"{outcome.label} ({count})", count > 0
            self._summary.content = _summary(scene)
            self._number.max, self._number.value = max(len(scene.grasp) - 1, 1), 0
            aim(all_cameras(self._server), scene.corners(scene.figure(FigureKind.LINES)))
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
        """Draw all grasps again, as lines or as grippers."""
        with self._lock:
            if self._shown is None:
                return
            self._remove_grasps()
            self._figures = _add_figures(self._server.scene, self._shown, FigureKind(self._kind.value))
            for nodes in self._figures.values():
                for part, node in nodes:
                    node.on_click(lambda event, grasp=part.grasp: self._clicked(grasp, event.instance_index))
            self._filter()
            self._choose()

    def _filter(self) -> None:
        """Show the outcomes whose boxes are ticked."""
        with self._lock:
            for outcome, nodes in self._figures.items():
                for _, node in nodes:
                    node.visible = self._filters[outcome].value and not self._alone.value

    def _clicked(self, grasp: np.ndarray[tuple[int], np.dtype[np.intp]], instance: int | None) -> None:
        if instance is not None and instance < len(grasp):
            self._number.value = int(grasp[instance])

    def _choose(self) -> None:
        """Draw the slider's grasp as a gripper, and show its numbers."""
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
            self._numbers.content = rows_table(_grasp_numbers(scene, row))


def grasp_html(scene: GraspScene, kind: FigureKind) -> bytes:
    """A page in one file that shows the scene, without a server and without a network."""
    with web_server() as server:
        _add_object(server.scene, scene)
        _add_figures(server.scene, scene, kind)
        aim([server.initial_camera], scene.corners(scene.figure(kind)))
        return server.get_scene_serializer().as_html().encode()


def _add_object(nodes: viser.SceneApi, scene: GraspScene) -> None:
    if scene.mesh is not None:
        nodes.add_mesh_simple("/object", scene.mesh.vertices, scene.mesh.faces, color=OBJECT, flat_shading=False, side="double")


def _add_figures(nodes: viser.SceneApi, scene: GraspScene, kind: FigureKind) -> Figures:
    """Add separate nodes for each outcome, so that an outcome is hidden without sending its grasps again."""
    figure = scene.figure(kind)
    added: Figures = {}
    for outcome in Outcome:
        chosen = scene.dataset.grasps.outcome == outcome
        if chosen.any():
            parts = [(f"/grasps/{outcome.label}/{n}", part.of(chosen)) for n, part in enumerate(figure)]
            added[outcome] = [(part, add_instances(nodes, name, part, OUTCOMES[outcome])) for name, part in parts]
    return added


def _grasp_numbers(scene: GraspScene, row: int) -> list[tuple[str, str]]:
    """Names and values of the scene's grasp `row`."""
    grasps = scene.dataset.grasps
    pose, width = grasps.pose_gripper_in_object[row], float(grasps.opening_width[row])
    rows = [
        ("index in the file", str(int(scene.grasp[row]))),
        ("outcome", scene.outcome(row).label),
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


def _summary(scene: GraspScene) -> str:
    counts = {outcome: scene.dataset.grasps.count(outcome) for outcome in Outcome}
    bars = [f'<span style="color:{css(OUTCOMES[o])}">&#9632;</span> {count} {o.label}' for o, count in counts.items() if count]
    notes = "".join(f"<p><i>{html.escape(note)}</i></p>" for note in scene.notes)
    return f'<div style="padding:0 1em;font-size:0.85em"><p><b>{html.escape(scene.title)}</b></p><p>{"&ensp;".join(bars)}</p>{notes}</div>'
