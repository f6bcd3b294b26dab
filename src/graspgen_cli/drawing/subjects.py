"""From what the user names to what is drawn: grasps of any format with their object and gripper, or a gripper alone.

What `view` does: serves a page, or writes what it would show."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from graspgen_cli.dataset.collection import Collection, open_collection, read_entry
from graspgen_cli.drawing.figures import GraspScene
from graspgen_cli.drawing.gripper_page import GripperPage, gripper_html
from graspgen_cli.drawing.page import GraspPage
from graspgen_cli.drawing.still import grasp_model, grasp_picture, gripper_model
from graspgen_cli.drawing.web import grasp_page, web_server
from graspgen_cli.errors import GraspFileError, InputError, ObjectError
from graspgen_cli.files import write_atomically
from graspgen_cli.formats.format import Entry, ObjectGrasps
from graspgen_cli.grippers.find import builtin_grippers, load_gripper
from graspgen_cli.grippers.gripper_file import saved_grippers
from graspgen_cli.grippers.picture import gripper_picture
from graspgen_cli.objects.read import read_mesh
from graspgen_cli.objects.scales import id_problem, resolve_object_paths
from graspgen_cli.records import GraspBatch, Gripper, Outcome, TriangleMesh
from graspgen_cli.settings.commands import ReplayCommand, ViewCommand
from graspgen_cli.settings.inputs import GripperSettings, ObjectSettings

_MODELS = (".xml", ".mjcf", ".urdf", ".sdf", ".usd", ".usda", ".usdc", ".usdz")
_SAME_FRAME = 1e-6
"""Frames that differ by less in every entry are one."""
_HEADER = 4096
"""bytes of a YAML file in which an isaac_grasp file says what it is."""


@dataclass(frozen=True)
class GraspSource:
    """Where scenes come from: the entries of a collection, and the settings that say how to complete them."""

    collection: Collection
    settings: ViewCommand | ReplayCommand

    @property
    def titles(self) -> tuple[str, ...]:
        """What each entry is called in a list; with the gripper's name where there are several grippers."""
        several = len(self.collection.grippers) > 1
        return tuple(f"{entry.gripper}/{entry.name}" if several else entry.name for entry in self.collection.entries)

    def first(self) -> int:
        """Number of the entry to show first: that with the text of `object` in its title. Raises InputError where there is none."""
        wanted = self.settings.pick.object
        if not self.collection.entries:
            raise InputError(self.collection.damaged[0].summary)
        if wanted is None:
            return 0
        found = [number for number, title in enumerate(self.titles) if wanted.lower() in title.lower()]
        exact = [number for number in found if self.titles[number] == wanted]
        if not found:
            raise InputError(f"{self.collection.path}: no object with {wanted!r} in its name; there are {_some(self.titles)}")
        return (exact or found)[0]

    def scene(self, number: int) -> GraspScene:
        """The scene of an entry. Raises GraspFileError where the file cannot be read, InputError where the settings leave no grasp."""
        entry = self.collection.entries[number]
        grasps = read_entry(entry)
        gripper, gripper_note = self.gripper(entry, grasps)
        mesh, mesh_note = self._mesh(grasps)
        chosen = self.chosen(grasps, entry.shown)
        dataset = replace(grasps.dataset, grasps=in_our_frame(grasps, gripper)[chosen])
        notes = tuple(note for note in (mesh_note, gripper_note, *grasps.notes) if note)
        title = f"{grasps.dataset.object_id}  ·  {grasps.dataset.gripper_name or 'unnamed gripper'}"
        return GraspScene(title, dataset, chosen, mesh, gripper, notes)

    def chosen(self, grasps: ObjectGrasps, path: Path) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Indices of the grasps that the settings ask for."""
        outcome, count = grasps.dataset.grasps.outcome, len(grasps.dataset.grasps)
        if self.settings.pick.grasp is not None:
            if self.settings.pick.grasp >= count:
                raise InputError(f"{path}: there is no grasp {self.settings.pick.grasp}; the last is {count - 1}")
            return np.array([self.settings.pick.grasp])
        if self.settings.pick.outcome is None:
            return np.arange(count)
        chosen = np.flatnonzero(outcome == Outcome[self.settings.pick.outcome.name])
        if not len(chosen):
            raise InputError(f"{path}: none of its {count} grasps is {self.settings.pick.outcome}")
        return chosen

    def _mesh(self, grasps: ObjectGrasps) -> tuple[TriangleMesh | None, str]:
        """The object's mesh, or None and why."""
        dataset = grasps.dataset
        # The name comes from a file that anybody may have written.
        if problem := id_problem(dataset.object_id):
            return None, f"the object is not drawn: {dataset.object_id[:80]!r} {problem}"
        try:
            return read_mesh(object_root(self.settings.objects) / dataset.object_id, dataset.scale).mesh, ""
        except ObjectError as error:
            return None, f"the object is not drawn: {error}"

    def gripper(self, entry: Entry, grasps: ObjectGrasps) -> tuple[Gripper | None, str]:
        """The gripper that the settings name, else the file, else the file's folder; or None and why."""
        if "gripper_config" in self.settings.gripper.model_fields_set:
            return named_gripper(self.settings.gripper), ""
        name = grasps.dataset.gripper_name or entry.gripper
        if name not in known_names():
            return None, f"grasps are drawn as lines: no gripper called {name!r} is known; --gripper-config names one"
        return named_gripper(self.settings.gripper, name), ""


def in_our_frame(grasps: ObjectGrasps, gripper: Gripper | None) -> GraspBatch:
    """The grasps with poses of our gripper's base, or of GraspGen's frame where the gripper is not known. The file's frame may be
    another one: what both have in common is GraspGen's."""
    batch, offset = grasps.dataset.grasps, grasps.pose_graspgen_in_gripper
    if offset is None:
        return batch
    pose_ours_in_theirs = offset if gripper is None else offset @ gripper.pose_base_in_graspgen
    if np.abs(pose_ours_in_theirs - np.eye(4)).max() < _SAME_FRAME:
        return batch
    return replace(batch, pose_gripper_in_object=batch.pose_gripper_in_object @ pose_ours_in_theirs)


def open_source(settings: ViewCommand | ReplayCommand) -> GraspSource | Gripper:
    """What is to be shown: grasps under a path, or a gripper by name or file.

    Raises InputError where there is neither, GripperError where the gripper cannot be used.
    """
    path, source = settings.dataset.grasp_dataset, str(settings.dataset.grasp_dataset)
    if _is_gripper(source, path):
        return named_gripper(settings.gripper, source)
    if not path.exists():
        raise InputError(f"{source}: no such dataset, grasp file or gripper; grippers are {', '.join(sorted(known_names()))}")
    return GraspSource(open_collection(path), settings)


def object_root(settings: ObjectSettings) -> Path:
    """The folder that the names of the objects start from."""
    return resolve_object_paths(object_scales_json=settings.object_scales_json, object_dataset=settings.object_dataset)[1]


def _is_gripper(source: str, path: Path) -> bool:
    if path.is_dir():
        return False
    if source in known_names() or path.suffix.lower() in _MODELS:
        return True
    return path.suffix.lower() in (".yaml", ".yml") and path.is_file() and not _says_isaac_grasp(path)


def _says_isaac_grasp(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"isaac_grasp" in file.read(_HEADER)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def known_names() -> frozenset[str]:
    """The grippers that have a name: built in or saved."""
    return frozenset((*builtin_grippers(), *saved_grippers()))


def named_gripper(settings: GripperSettings, name: str | None = None) -> Gripper:
    """The measured gripper of that name, by default that of the settings."""
    return load_gripper(name or settings.gripper_config, options=settings)


def _some(titles: tuple[str, ...]) -> str:
    return ", ".join(titles[:5]) + (f" and {len(titles) - 5} more" if len(titles) > 5 else "")


@dataclass(frozen=True, eq=False)
class View:
    """What is to be shown, and how."""

    source: GraspSource | Gripper
    settings: ViewCommand

    @property
    def damaged(self) -> tuple[GraspFileError, ...]:
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
        content = grasp_picture(scene, settings.view.figure, width=settings.view.picture_width)
    else:
        content = grasp_model(scene, settings.view.figure) if suffix == ".glb" else grasp_page(scene, settings.view.figure).encode()
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
    with web_server(host=settings.view.host, port=settings.view.port) as server:
        if isinstance(source, Gripper):
            GripperPage(server, _with_own(source), lambda name: _loaded(source, name, settings)).show(source)
        else:
            GraspPage(server, source.titles, source.scene, kind=settings.view.figure).open(source.first())
        on_ready(f"http://{_address(settings.view.host)}:{server.get_port()}")
        while True:
            time.sleep(3600)


def _with_own(gripper: Gripper) -> list[str]:
    return sorted({*known_names(), gripper.name})


def _loaded(shown: Gripper, name: str, settings: ViewCommand) -> Gripper:
    """A gripper by its name; the one that was shown first may have come from a file."""
    return shown if name == shown.name else named_gripper(settings.gripper, name)


def _address(host: str) -> str:
    """The address to open where the server listens on all of the machine's."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
