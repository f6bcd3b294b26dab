"""The frames in which a mesh is cut into pieces and looked at: they go with its shape, wherever a file puts it."""

from __future__ import annotations

import numpy as np

from graspgen_cli.geometry.creases import aligned_frames
from graspgen_cli.geometry.meshes import triangle_mesh
from graspgen_cli.geometry.own_frame import pose_in_own_frame
from graspgen_cli.geometry.poses import pose, transform_points
from graspgen_cli.records import Floats, TriangleMesh

MOST_FRAMES = 3
"""Frames to cut in, one after another, as long as pieces stand too far off."""
FINEST = 2.0**-28
"""Share of an object's size to which coordinates are rounded before anything is cut: finer than any file, far coarser than last bits."""


def frames_to_cut_in(mesh: TriangleMesh) -> list[Floats]:
    """Poses (4, 4) of the mesh's frame in frames with axes along which to cut it, the best first."""
    pose_mesh_in_own = pose_in_own_frame(mesh.vertices, mesh.vertices.mean(axis=0))
    turns = aligned_frames(transform_points(pose_mesh_in_own, mesh.vertices), mesh.faces)
    return [pose(turn, np.zeros(3)) @ pose_mesh_in_own for turn in turns[:MOST_FRAMES]]


def brought(mesh: TriangleMesh, pose_mesh_in_frame: Floats) -> TriangleMesh:
    """The mesh in another frame, its coordinates rounded to FINEST of its size: faces across an axis lie in one plane, and it makes no
    difference which frame they came from."""
    vertices = transform_points(pose_mesh_in_frame, mesh.vertices)
    unit = 2.0 ** np.ceil(np.log2(np.ptp(vertices, axis=0).max())) * FINEST
    return triangle_mesh(np.round(vertices / unit) * unit, mesh.faces)
