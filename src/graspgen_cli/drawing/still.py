"""Pictures (PNG) and models (glTF) of grasps and grippers, made without a browser and without a display."""

from __future__ import annotations

import numpy as np
import trimesh
from PIL import Image

from graspgen_cli.drawing.colours import OBJECT, OUTCOMES, Colour, body_colour, png, with_legend
from graspgen_cli.drawing.render import Solid, camera_around, renderer
from graspgen_cli.drawing.scenes import LINES, GraspScene, Instances
from graspgen_cli.geometry.meshes import join_meshes
from graspgen_cli.geometry.poses import pose
from graspgen_cli.records import Gripper, TriangleMesh
from graspgen_cli.settings.datasets import FigureKind

TOWARDS = np.array([0.6, 0.9, -0.55])
"""Viewing direction: from the front, the left and above."""
_UP = np.array([0.0, 0.0, 1.0])


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
