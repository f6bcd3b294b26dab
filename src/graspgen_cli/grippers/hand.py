"""A gripper's moving geometry: collision parts, fingers, axes, pads, and the path from closed to open."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import mujoco
import numpy as np
import trimesh
from numpy.typing import NDArray

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import rotation_from_wxyz, transform_points
from graspgen_cli.grippers.fingers import Pad, Parts, approach_axis, closing_axis, find_fingers, flush_pad, largest_facet, vertices
from graspgen_cli.grippers.gripper_file import GripperFile
from graspgen_cli.grippers.links import convex_hull
from graspgen_cli.grippers.mechanism import ITERATIONS, Mechanism, MotionPath, motion_path
from graspgen_cli.grippers.model import GripperModel
from graspgen_cli.records import Floats, TriangleMesh

_SIDES = 32  # of the prisms around cylinders
_DECIMALS = 8
_SAMPLES = 17  # positions on the path at which pads are looked for; the middle one counts if all are equally good
_TOUCH = 0.0005  # m: parts with a smaller distance to the other finger at the touching position are in contact
_NEAR = 0.005  # m: the same for pads of swinging fingers, which touch with an edge only
_DEEP = 0.0002  # m: parts that never overlap by more slide along each other, and do not stop the fingers
_AS_LARGE = 0.95  # pads of at least this share of the largest area are equally good
_TURNS = 0.02  # rad, approximately: fingers that turn by less are parallel
_MOSTLY = 0.5  # share of the largest facet's area below which a flush pad is a swinging pad
_NO_PAD = Pad(np.zeros(3), (0.0, 0.0), np.zeros(3))


def _collision_parts(gripper: GripperModel) -> Parts:
    """For each body, the base first, its convex collision parts in the body's frame, m, as MuJoCo collides them.

    Boxes and the hulls of meshes are exact; spheres, capsules, cylinders and ellipsoids become polyhedra around them. Raises GripperError
    for other geoms.
    """
    model = gripper.model
    bodies: list[list[TriangleMesh]] = [[] for _ in range(model.nbody)]
    for geom in range(model.ngeom):
        if model.geom_contype[geom] or model.geom_conaffinity[geom]:
            rotation = rotation_from_wxyz(model.geom_quat[geom][None])[0]
            corners = _corners(gripper, geom) @ rotation.T + model.geom_pos[geom]
            # MuJoCo stores meshes in single precision; rounding restores the numbers of the file.
            bodies[model.geom_bodyid[geom]].append(convex_hull(np.round(corners, _DECIMALS) + 0.0))
    return tuple(tuple(parts) for parts in bodies[1:])


def _corners(gripper: GripperModel, geom: int) -> Floats:
    """Corners (P, 3) m of the convex polyhedron for a geom, in the geom's frame."""
    model = gripper.model
    size, kind = model.geom_size[geom], mujoco.mjtGeom(int(model.geom_type[geom]))
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        start, count = model.mesh_vertadr[model.geom_dataid[geom]], model.mesh_vertnum[model.geom_dataid[geom]]
        return np.asarray(model.mesh_vert[start : start + count], np.float64)
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return np.asarray(size * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]))
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        angle = 2 * np.pi * (np.arange(_SIDES) + 0.5) / _SIDES
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * size[0] / np.cos(np.pi / _SIDES)
        return np.concatenate([np.column_stack([ring, np.full(_SIDES, height)]) for height in (-size[1], size[1])])
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        ball, half = _around_sphere() * size[0], np.array([0.0, 0.0, size[1]])
        return np.concatenate([ball - half, ball + half])
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return np.asarray(_around_sphere() * size[0])
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return np.asarray(_around_sphere() * size)
    name = model.geom(geom).name or f"number {geom}"
    raise GripperError(f"{gripper.source}: collision geom {name} is a {kind.name[7:].lower()}; use boxes, cylinders, capsules or meshes")


def _around_sphere() -> Floats:
    """Vertices of a polyhedron around the unit sphere."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    nearest_face = float(np.einsum("fi,fi->f", ball.face_normals, ball.triangles[:, 0]).min())
    return np.asarray(ball.vertices, np.float64) / nearest_face


@dataclass(frozen=True, eq=False)
class Hand:
    """A gripper's moving geometry with its axes, and its path from closed to open.

    fingers: indices of bodies, the base 0. approach, closing: (3,) unit, in the base's frame.
    stops: (A, B) whether a shape of finger 0 and a shape of finger 1 stop the fingers. pads: of both fingers.
    contacts: (2, 3) m, the pads' contact points in the finger bodies' frames. notes: assumptions.
    """

    gripper: GripperModel
    mechanism: Mechanism
    path: MotionPath
    parts: Parts
    fingers: tuple[int, int]
    approach: Floats
    closing: Floats
    stops: NDArray[np.bool_]
    pads: tuple[Pad, Pad] = (_NO_PAD, _NO_PAD)
    contacts: Floats = field(default_factory=lambda: np.zeros((2, 3)))
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Name of the gripper's file in messages."""
        return self.gripper.source

    def contact_points(self, q: Floats) -> Floats:
        """The pads' contact points (2, 3) m in the base's frame at joint positions q."""
        poses = self.mechanism.body_poses(q)
        return np.stack([transform_points(poses[body], point[None])[0] for body, point in zip(self.fingers, self.contacts, strict=True)])

    def width(self, q: Floats) -> float:
        """Opening width at joint positions q, m: distance of the contact points along the closing axis."""
        first, second = self.contact_points(q)
        return float((second - first) @ self.closing)

    def gap(self, q: Floats) -> float:
        """Smallest distance between the shapes that stop the fingers, m; negative for overlaps."""
        return float(self.mechanism.distances(q, *self.fingers)[self.stops].min())


def find_hand(gripper: GripperModel, file: GripperFile, *, iterations: int = ITERATIONS) -> Hand:
    """Sweep the mechanism, and find the fingers, axes and pads that the gripper file omits.

    Raises GripperError if the model is no two-finger gripper.
    """
    mechanism, source, names = Mechanism(gripper, iterations=iterations), gripper.source, gripper.body_names
    path = motion_path(gripper, mechanism)
    parts = _collision_parts(gripper)
    ends = np.stack([mechanism.body_poses(q) for q in (path.knots[0], path.knots[-1])])
    for name in file.finger_bodies or ():
        if name not in names:
            raise GripperError(f"{source}: no body is called {name}; there are {', '.join(names)}")
    named = file.finger_bodies and (names.index(file.finger_bodies[0]), names.index(file.finger_bodies[1]))
    fingers = named or find_fingers(parts, names, ends, source)
    closing = closing_axis(parts, fingers, ends, source)
    notes: tuple[str, ...] = ()
    if file.approach_axis is None:
        approach, note = approach_axis(parts, fingers, mechanism.body_poses(path.at(path.end / 2)), closing, source)
        notes = (note,) if note else ()
    else:
        approach = np.asarray(file.approach_axis) / np.linalg.norm(file.approach_axis)
        closing = closing - (closing @ approach) * approach
        if np.linalg.norm(closing) < 0.1:
            raise GripperError(f"{source}: the fingers do not move towards each other across the approach axis {approach.tolist()}")
        closing = closing / np.linalg.norm(closing)
    stops = np.ones((len(parts[fingers[0]]), len(parts[fingers[1]])), bool)
    return _with_pads(Hand(gripper, mechanism, path, parts, fingers, approach, closing, stops, notes=notes), file.bite)


def _with_pads(hand: Hand, bite: float | None) -> Hand:
    """The hand with its pads, found where the pads face each other best, and with its path from closed to open."""
    positions = [hand.path.at(float(place)) for place in np.linspace(0, hand.path.end, _SAMPLES)]
    if _apart(hand, positions[0]) > _apart(hand, positions[-1]):
        hand, positions = replace(hand, path=hand.path.reversed()), positions[::-1]
    distances = np.stack([hand.mechanism.distances(q, *hand.fingers) for q in positions])  # (S, A, B)
    deep = distances.min(axis=0) < -_DEEP
    hand = replace(hand, stops=deep if deep.any() else np.ones_like(deep))
    gaps = distances[:, hand.stops].min(axis=1)
    apart = [index for index in range(_SAMPLES) if gaps[index:].min() > -_TOUCH]
    if not apart:
        raise GripperError(f"{hand.source}: the fingers overlap even where they are open; are they the right bodies?")
    pads = _pads(hand, positions, np.where(hand.stops, distances[apart[0]], np.inf), apart)
    back = bite if bite is not None else min(pad.size[0] for pad in pads) / 2
    return replace(hand, pads=pads, contacts=np.stack([pad.tip - back * pad.along for pad in pads]))


def _apart(hand: Hand, q: Floats) -> float:
    """Distance of the fingers' centres along the closing axis, m."""
    poses = hand.mechanism.body_poses(q)
    first, second = (transform_points(poses[body], vertices(hand.parts[body])).mean(axis=0) for body in hand.fingers)
    return float((second - first) @ hand.closing)


def _pads(hand: Hand, positions: list[Floats], nearest: Floats, apart: list[int]) -> tuple[Pad, Pad]:
    """The pads at the position where they face each other best.

    nearest: (A, B) m distances of the shapes that stop the fingers, at the touching position; apart: positions without overlap.
    """
    flush = [(index, _both_pads(hand, positions[index], nearest, _TOUCH, flat=False)) for index in apart]
    candidates = flush
    first, last = (hand.mechanism.body_poses(q)[list(hand.fingers), :3, :3] for q in (positions[0], positions[-1]))
    if np.abs(first - last).max() > _TURNS:
        swinging = [(index, _both_pads(hand, positions[index], nearest, _NEAR, flat=True)) for index in apart]
        if max(_area(pads) for _, pads in flush) < _MOSTLY * max(_area(pads) for _, pads in swinging):
            candidates = swinging
    largest = max(_area(pads) for _, pads in candidates)
    good = [entry for entry in candidates if _area(entry[1]) >= _AS_LARGE * largest]
    return min(good, key=lambda entry: abs(entry[0] - _SAMPLES // 2))[1]


def _area(pads: tuple[Pad, Pad]) -> float:
    return min(pad.size[0] * pad.size[1] for pad in pads)


def _both_pads(hand: Hand, q: Floats, nearest: Floats, tolerance: float, *, flat: bool) -> tuple[Pad, Pad]:
    """Pads at q of the parts in contact with the other finger: the innermost points, or with `flat` the largest facet."""
    poses = hand.mechanism.body_poses(q)
    find = largest_facet if flat else flush_pad
    near = nearest.min() + tolerance
    pads = []
    for side, (finger, inward) in enumerate(zip(hand.fingers, (hand.closing, -hand.closing), strict=True)):
        touching = tuple(part for part, d in zip(hand.parts[finger], nearest.min(axis=1 - side), strict=True) if d <= near)
        pads.append(find(touching, poses[finger], hand.approach, inward))
    return pads[0], pads[1]
