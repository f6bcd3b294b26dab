"""A small picture of a mesh, seen from above its front corner: a ray a pixel, so that no display is needed."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from graspgen_cli.geometry.meshes import face_normals
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.records import TriangleMesh

SIZE = 72
"""Pixels, each way."""
_FINER = 2
"""Every pixel is the mean of this many rays each way."""
_FORWARD = np.array([-0.62, 0.62, -0.48]) / np.linalg.norm([-0.62, 0.62, -0.48])
_RIGHT = np.cross(_FORWARD, [0.0, 0.0, 1.0]) / np.linalg.norm(np.cross(_FORWARD, [0.0, 0.0, 1.0]))
_UP = np.cross(_RIGHT, _FORWARD)
_LIGHT = np.array([0.35, -0.55, 0.76])
_COLOUR, _BACKGROUND = np.array([148.0, 163.0, 184.0]), np.array([255.0, 255.0, 255.0])
_AMBIENT = 0.45


def thumbnail(mesh: TriangleMesh) -> bytes:
    """A PNG of SIZE x SIZE pixels."""
    center = (mesh.vertices.max(axis=0) + mesh.vertices.min(axis=0)) / 2
    radius = float(np.linalg.norm(mesh.vertices - center, axis=1).max())
    count = SIZE * _FINER
    at = ((np.arange(count) + 0.5) / count * 2 - 1) * radius
    x, y = np.meshgrid(at, -at)
    origin = center - 2 * radius * _FORWARD + x.reshape(-1, 1) * _RIGHT + y.reshape(-1, 1) * _UP
    _, face = RayCaster(mesh).first_hit(origin, np.broadcast_to(_FORWARD, origin.shape))
    normal = face_normals(mesh.vertices[mesh.faces])
    # Faces of meshes from elsewhere may be turned inside out.
    lit = np.abs(normal @ _LIGHT)[face]
    colour = np.where(face[:, None] < 0, _BACKGROUND, _COLOUR * (_AMBIENT + (1 - _AMBIENT) * lit)[:, None])
    pixels = colour.reshape(SIZE, _FINER, SIZE, _FINER, 3).mean(axis=(1, 3))
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).quantize(32).save(content, "PNG", optimize=True)
    return content.getvalue()


def data_uri(png: bytes) -> str:
    """The picture as the address of an <img> that needs no file."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
