"""Bodies of a USD stage: their shapes and masses."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from graspgen_cli.geometry.meshes import triangle_mesh, triangulate_polygons
from graspgen_cli.geometry.poses import inverse, pose
from graspgen_cli.grippers.links import Form, Link, Shape
from graspgen_cli.records import Floats

_CONVEX = ("convexHull", "boundingCube", "boundingSphere")
_UPRIGHT = {
    "X": np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]),
    "Y": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
    "Z": np.eye(3),
}
"""What takes z, the axis of our cylinders and capsules, to the axis that USD names."""


class Frames(Protocol):
    """Places in a stage (see read_usd)."""

    @property
    def meters(self) -> float:
        """A stage unit, m."""

    def matrix(self, prim: Any) -> Floats:
        """(4, 4) from the prim's space to the stage's, in stage units."""

    def rigid(self, prim: Any) -> Floats:
        """(4, 4) pose of the prim's frame in the stage, m."""


def link_from_prim(name: str, body: Any, prims: list[Any], frames: Frames) -> Link:
    """A rigid body: the shapes of the prims below it that belong to no other body, and its mass."""
    from pxr import UsdGeom

    place = inverse(frames.rigid(body))
    own = [prim for prim in prims if prim.IsA(UsdGeom.Gprim) and _nearest_body(prim) == body]
    colliding = [prim for prim in own if _collider(prim) is not None]
    chosen = colliding or [prim for prim in own if _shown(prim)]
    shapes = [shape for prim in chosen if (shape := _shape(prim, place, frames, collides=bool(colliding))) is not None]
    mass, frame, inertia = _mass(body, frames)
    return Link(name, tuple(shapes), mass, frame, inertia)


def _nearest_body(prim: Any) -> Any:
    while prim and "PhysicsRigidBodyAPI" not in prim.GetAppliedSchemas():
        prim = prim.GetParent()
    return prim


def _collider(prim: Any) -> Any:
    """The prim, or one above it within its body, that has the collision API and is switched on; None where there is none."""
    while prim:
        schemas = prim.GetAppliedSchemas()
        if "PhysicsCollisionAPI" in schemas:
            enabled = prim.GetAttribute("physics:collisionEnabled")
            return None if enabled and enabled.Get() is False else prim
        if "PhysicsRigidBodyAPI" in schemas:
            return None
        prim = prim.GetParent()
    return None


def _shown(prim: Any) -> bool:
    from pxr import UsdGeom

    image = UsdGeom.Imageable(prim)
    purposes = (UsdGeom.Tokens.default_, UsdGeom.Tokens.render)
    return image.ComputeVisibility() != UsdGeom.Tokens.invisible and image.ComputePurpose() in purposes


def _shape(prim: Any, body_from_stage: Floats, frames: Frames, *, collides: bool) -> Shape | None:
    """A prim as a shape in its body's frame; what is scaled unevenly, and every mesh, as a mesh. None for what has no surface."""
    from pxr import UsdGeom

    matrix = frames.matrix(prim)
    scale = np.linalg.norm(matrix[:3, :3], axis=0) * frames.meters
    even = float(np.ptp(scale)) < 1e-6 * float(scale.max())
    rigid = body_from_stage @ pose(_orthonormal(matrix[:3, :3]), matrix[:3, 3] * frames.meters)
    if prim.IsA(UsdGeom.Cube):
        half = float(UsdGeom.Cube(prim).GetSizeAttr().Get()) / 2
        return Shape(Form.BOX, rigid, tuple((half * scale).tolist()), collides=collides)
    if even and prim.IsA(UsdGeom.Sphere):
        return Shape(Form.SPHERE, rigid, (float(UsdGeom.Sphere(prim).GetRadiusAttr().Get() * scale[0]),), collides=collides)
    for kind, form in ((UsdGeom.Cylinder, Form.CYLINDER), (UsdGeom.Capsule, Form.CAPSULE)):
        if even and prim.IsA(kind):
            shape = kind(prim)
            size = (float(shape.GetRadiusAttr().Get() * scale[0]), float(shape.GetHeightAttr().Get() / 2 * scale[0]))
            turn = pose(_UPRIGHT[shape.GetAxisAttr().Get() or "Z"], np.zeros(3))
            return Shape(form, rigid @ turn, size, collides=collides)
    if not prim.IsA(UsdGeom.Mesh):
        return None
    points = np.asarray(UsdGeom.Mesh(prim).GetPointsAttr().Get() or [], np.float64).reshape(-1, 3)
    in_stage = (points @ matrix[:3, :3].T + matrix[:3, 3]) * frames.meters
    faces = _faces(prim, in_stage, mirrored=np.linalg.det(matrix[:3, :3]) < 0)
    if len(faces) == 0:
        return None
    vertices = in_stage @ body_from_stage[:3, :3].T + body_from_stage[:3, 3]
    return Shape(Form.MESH, np.eye(4), mesh=triangle_mesh(vertices, faces), collides=collides, convex=_approximation(prim) in _CONVEX)


def _approximation(prim: Any) -> str:
    collider = _collider(prim)
    attribute = collider.GetAttribute("physics:approximation") if collider else None
    return str(attribute.Get()) if attribute and attribute.IsValid() else "none"


def _faces(prim: Any, points: Floats, *, mirrored: bool) -> Any:
    """Triangles (T, 3) counter-clockwise seen from outside."""
    from pxr import UsdGeom

    mesh = UsdGeom.Mesh(prim)
    corners = np.asarray(mesh.GetFaceVertexIndicesAttr().Get() or [], np.int64)
    counts = np.asarray(mesh.GetFaceVertexCountsAttr().Get() or [], np.int64)
    if corners.size != counts.sum() or (corners.size and not 0 <= corners.min() <= corners.max() < len(points)):
        raise ValueError(f"{prim.GetPath()}: its faces name points that do not exist")
    triangles = []
    for loop in np.split(corners, np.cumsum(counts)[:-1]):
        if len(loop) == 3:
            triangles.append(loop[None])
        elif len(loop) > 3:
            triangles.append(loop[triangulate_polygons([points[loop]])])
    faces = np.concatenate(triangles) if triangles else np.zeros((0, 3), np.int64)
    left_handed = mesh.GetOrientationAttr().Get() == UsdGeom.Tokens.leftHanded
    return faces[:, ::-1] if mirrored != left_handed else faces


def _mass(body: Any, frames: Frames) -> tuple[float | None, Floats, Floats | None]:
    """Mass (kg), pose of the inertia's frame in the body's, and inertia (3, 3) kg m²; None where the file leaves them to the shapes."""
    from pxr import UsdPhysics

    api = UsdPhysics.MassAPI(body)
    mass, diagonal = api.GetMassAttr().Get(), api.GetDiagonalInertiaAttr().Get()
    if not mass or diagonal is None or not any(diagonal):
        return None, np.eye(4), None
    unit = UsdPhysics.GetStageKilogramsPerUnit(body.GetStage())
    matrix = frames.matrix(body)
    scale = np.linalg.norm(matrix[:3, :3], axis=0)
    center = np.asarray(api.GetCenterOfMassAttr().Get() or (0.0, 0.0, 0.0), np.float64)
    center = center * scale * frames.meters if np.isfinite(center).all() else np.zeros(3)
    turn = api.GetPrincipalAxesAttr().Get()
    quaternion = [turn.GetReal(), *turn.GetImaginary()] if turn is not None else [0.0, 0.0, 0.0, 0.0]
    rotation = Rotation.from_quat(quaternion, scalar_first=True).as_matrix() if any(quaternion) else np.eye(3)
    inertia = np.diag(np.asarray(diagonal, np.float64)) * unit * frames.meters**2
    return float(mass) * unit, pose(rotation, center), inertia


def _orthonormal(matrix: Floats) -> Floats:
    left, _, right = np.linalg.svd(matrix)
    rotation: Floats = left @ right
    return rotation if np.linalg.det(rotation) > 0 else -rotation
